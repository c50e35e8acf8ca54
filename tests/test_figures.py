"""Figures: one colour an arm, pictures that are small and always the same, and the numbers behind them."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.metrics import confusion_matrix
from test_tables import chapter

from kdlib import augment, data, figures, paper, tables

ARMS = [
    augment.label(names)
    for length in range(4)
    for names in itertools.permutations(("crop_flip", "cutout", "mixup", "cutmix"), length)
    if not {"mixup", "cutmix"} <= set(names) and "crop_flip" not in names[1:]
]


@pytest.fixture(scope="module")
def full():
    arms = ["none", "crop_flip", "cutout", "cutmix", "crop_flip+cutmix"]
    return chapter("dichotomy", seeds=(0, 1), augmentations=arms)


@pytest.fixture(scope="module")
def digits():
    return chapter("dichotomy", seeds=(0,), dataset="digits", augmentations=["none", "cutmix"], students=["lenet"])


def contrast(colour: str, ground: str) -> float:
    """Contrast ratio as WCAG defines it."""

    def luminance(name):
        rgb = np.array(to_rgb(name))
        return np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((luminance(colour), luminance(ground)))
    return float((high + 0.05) / (low + 0.05))


def test_every_arm_has_a_colour_of_its_own_name():
    assert len(ARMS) > 10
    for arm in ARMS:
        assert to_rgb(figures.colour(arm)) and figures.colour(arm) == figures.colour(arm)
    assert len(set(figures.COLOURS.values())) == len(figures.COLOURS)
    assert all(figures.dashes(arm) == "--" for arm in ARMS if "+" in arm)


def inverted(colour: str) -> np.ndarray:
    """What `filter: invert(1) hue-rotate(180deg)` makes of a colour (Filter Effects Module, section 9)."""
    half_turn = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
    return np.clip(half_turn @ (1 - np.array(to_rgb(colour))), 0, 1)


@pytest.mark.parametrize(("ground", "seen"), [("#ffffff", to_rgb), ("#14181e", inverted)], ids=["light", "dark"])
def test_text_and_arms_are_legible_on_light_and_on_dark(ground, seen):
    assert contrast(seen(figures.GREY), ground) > 7
    for arm, colour in figures.COLOURS.items():
        assert contrast(seen(colour), ground) > 3, arm
    assert all(contrast(seen(colour), ground) > 3 for colour in figures.OTHER_COLOURS)


def test_the_style_sheet_inverts_line_drawings_on_dark_pages():
    style = (Path(__file__).parents[1] / "book" / "_static" / "book.css").read_text()
    images = r'html\[data-theme="dark"\] \.bd-article img\[src\$="\.svg"\]'
    assert re.search(images + r" \{[^}]*filter: invert\(1\) hue-rotate\(180deg\)", style)


DRAWINGS = {
    "overview": lambda c: figures.overview(c.teachers, c.students),
    "calibration_bars": lambda c: figures.calibration_bars(c.teachers, c.students),
    "learning_curves": lambda c: figures.learning_curves(c.teachers),
    "student_learning_curves": lambda c: figures.student_learning_curves(c.students),
    "confusion_matrices": lambda c: figures.confusion_matrices(c.teachers),
    "student_confusion_matrices": lambda c: figures.student_confusion_matrices(c.students),
    "confidence_by_class": lambda c: figures.confidence_by_class(c.teachers),
    "class_kl_matrices": lambda c: figures.class_kl_matrices(c.teachers),
    "reliability": lambda c: figures.reliability(c.teachers, c.students),
}


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("which", ["full", "digits"])
def test_a_picture_is_small_transparent_and_the_same_each_time(name, which, request):
    given = request.getfixturevalue(which)
    picture, again = (DRAWINGS[name](given) for _ in range(2))
    content = picture.bytes()
    assert content == again.bytes()
    assert len(content) < 150_000
    shown = picture._repr_mimebundle_()
    if picture.form == "svg":
        assert shown["image/svg+xml"].lstrip().startswith("<?xml") and "<text" in shown["image/svg+xml"]
        assert "dc:date" not in shown["image/svg+xml"] and "fill: #ffffff" not in shown["image/svg+xml"]
    else:
        assert content.startswith(b"\x89PNG") and "image/png" in shown
    assert not picture.figure.get_suptitle()  # captions stand with the notebook


def test_a_drawing_is_shortened_without_moving_what_it_shows():
    svg = b'<path d="M 1.2345 2.0 \nL 3.456 4.5 \nz\n" style="opacity: 0.15"/>'
    assert figures.shorter(svg) == b'<path d="M 1.2 2.0 3.4 4.5 z " style="opacity: 0.15"/>'
    tick = b'<text x="1.23456" transform="rotate(-0 1 2)">0.025</text>'
    assert figures.shorter(tick) == b'<text x="1.23">0.025</text>'  # a number that is read is not cut
    assert figures.shorter(b"<g>\n  <text>a b</text>\n</g>\n") == b"<g><text>a b</text></g>\n"
    turned = b'<text transform="rotate(-90 1 2)"/>'
    assert figures.shorter(turned) == turned


def test_students_have_a_row_for_each_network_and_loss(full):
    titles = [axes.get_title() for axes in figures.student_learning_curves(full.students).figure.axes]
    assert len(titles) == 2 * 2 * 2 and len(set(titles)) == 4
    panels = [axes for axes in figures.student_confusion_matrices(full.students).figure.axes if axes.get_title()]
    assert len(panels) == 2 * 2 * 3  # networks, losses; the baseline, CutMix, and CutMix after crop and flip


def test_the_papers_values_stand_beside_the_same_data_only(full, digits):
    def legend(given):
        return [text.get_text() for text in figures.overview(given.teachers, given.students).figure.legends[0].texts]

    assert "the paper's" in legend(full) and "the paper's" not in legend(digits)
    assert figures.of_paper("lenet", "cutmix", "accuracy") == paper.value(1, "cutmix", "lenet", "cifar10", "accuracy")
    assert figures.of_paper("lenet", "crop_flip+cutmix", "accuracy") is None


def test_scores_are_told_apart_by_arm_and_seed(full):
    by_arm = tables.students_by_arm(full.students, "lenet", "mean")
    found = figures.scores(by_arm, "accuracy")
    assert list(found) == list(by_arm) and set(found["cutmix"]) == set(full.settings.seeds)
    for run in by_arm["cutmix"]:
        assert found["cutmix"][run.spec.seed] == run.metrics["test"]["accuracy"]


def test_confusion_is_scikit_learns(full):
    run = full.teachers[0]
    labels, predicted = run.predictions["test_labels"], run.predictions["test_logits"].argmax(1)
    assert figures.confusion(run) == pytest.approx(confusion_matrix(labels, predicted, normalize="true"))


def test_matrices_mask_their_diagonal_and_share_a_scale(full):
    picture = figures.confusion_matrices(full.teachers)
    found = [place.images[0] for place in picture.figure.axes if place.images]
    images = [image for image in found if len(image.get_array()) == 10]  # the colour bar has one too
    assert len(images) == 5 and len({image.get_clim() for image in images}) == 1
    assert all(np.ma.getmaskarray(image.get_array()).diagonal().all() for image in images)


def test_figures_3_and_6_compare_the_baseline_with_all_of_cutmix(full, digits):
    assert figures.contrasted(["none", "mixup", "cutmix", "crop_flip+cutmix"]) == ["none", "cutmix", "crop_flip+cutmix"]
    titles = [place.get_title() for place in figures.confidence_by_class(full.teachers).figure.axes]
    assert titles[:2] == ["people", "teacher: none (baseline)"]
    assert "people" not in [place.get_title() for place in figures.confidence_by_class(digits.teachers).figure.axes]
    assert "People's labels" in figures.class_kl_sentence(full.teachers)
    assert "stand in" in figures.class_kl_sentence(digits.teachers)


def test_latent_maps_of_the_first_seed_and_their_silhouettes(full, digits):
    maps = figures.latent_maps(digits.teachers, seeds=(0, 1))
    assert [one.arm for one in maps] == ["none", "cutmix"]
    assert all(plane.shape == (len(one.labels), 2) for one in maps for plane in one.planes)
    assert not np.allclose(maps[0].planes[0], maps[0].planes[1])
    assert len(figures.latent_space(digits.teachers, maps).bytes()) < 150_000
    assert "no two groups" in figures.silhouettes(digits.teachers, maps, "S.", "s")
    maps = figures.latent_maps(full.teachers[:1], seeds=(0,))
    assert "Groups, t-SNE" in figures.silhouettes(full.teachers, maps, "S.", "s")
    assert figures.class_order([1, 2, 3, 9]) == [1, 9, 3, 2]
    assert figures.grouped(np.array([1, 9, 3, 2]), (1, 9, 3, 2)).tolist() == [0, 0, 1, 1]


def test_augmented_images_show_what_each_arm_does():
    loaded = data.load("digits")
    arms = [(), ("crop_flip",), ("cutout",), ("mixup",), ("cutmix",), ("crop_flip", "cutmix")]
    picture = figures.augmented_images("digits", arms)
    shown = [place for place in picture.figure.axes if place.images]
    assert len(shown) == len(arms)
    plain, *others = [place.images[0].get_array() for place in shown]
    first = loaded.train.images[np.flatnonzero(loaded.train.labels == 0)[0]]
    assert (plain == first).all()  # not augmented, and back from normalising without a loss
    assert all((other != plain).any() for other in others)
    assert "“1”" in shown[3].get_title() and "“1”" not in shown[2].get_title()


def test_figure_2_falls_back_on_the_digits_where_the_files_are_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    assert figures.data_at_hand("cifar10") == "digits" and "not on this machine" in figures.which_images("cifar10")
    assert figures.data_at_hand("digits") == "digits" and figures.which_images("digits") is None
    for name in (*data._FILES["cifar10"][:3], "cinic10-imagenet-sample.npz"):
        (tmp_path / name).touch()
    assert figures.data_at_hand("cifar10") == "cifar10"
