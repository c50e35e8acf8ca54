"""Figures: what is drawn where is what was measured, in the colour and under the name that it has."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun, chapter
from matplotlib.colors import to_hex, to_rgb

from kdlib import budgets, data, metrics, study
from kdlib.report import figures
from kdlib.report.figures import OPEN_COLOUR, SAYS
from kdlib.report.style import GREY, colour
from kdlib.results import gaps, measures, paper
from kdlib.results.claims import judge, tidy
from kdlib.results.contrasts import contrasts
from kdlib.results.frame import frame
from kdlib.results.measures import ACCURACY
from kdlib.results.names import augmentation_name

SHARES = {"none": 0.70, "crop_flip": 0.75, "cutout": 0.66, "mixup": 0.60, "cutmix": 0.55}


def planted(spec) -> float:
    """Accuracy by the augmentation of the teacher's images; teachers are better than students."""
    of = getattr(spec, "teacher", spec)
    return SHARES.get("+".join(of.augmentations) or "none", 0.5) + (0.1 if of is spec else 0.0)


def edition(**options) -> SimpleNamespace:
    teachers, students = (chapter(name, planted, **options) for name in ("teachers", "students"))
    return SimpleNamespace(teachers=frame(teachers), students=frame([*teachers, *students], "long"))


def as_chosen(long: pd.DataFrame) -> pd.DataFrame:
    return long.assign(budget=long["budget"].replace("long", "chosen"))


@pytest.fixture(scope="module")
def full():
    arms = ["none", "crop_flip", "cutout", "cutmix", "crop_flip+cutmix"]
    return edition(seeds=(0, 1), augmentations=arms, budgets=["long"])


@pytest.fixture(scope="module")
def digits():
    return edition(seeds=(0,), dataset="digits", augmentations=["none", "cutmix"], students=["lenet"], budgets=["long"])


DRAWINGS = {
    "overview": lambda c: figures.overview(c.teachers, c.students),
    "calibration_bars": lambda c: figures.calibration_bars(c.teachers, c.students),
    "learning_curves": lambda c: figures.learning_curves(c.teachers),
    "student_learning_curves": lambda c: figures.student_learning_curves(c.students),
    "differences": lambda c: figures.from_baseline(c.students),
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
        assert "dc:date" not in shown["image/svg+xml"] and "fill:#ffffff" not in shown["image/svg+xml"]
    else:
        assert content.startswith(b"\x89PNG") and "image/png" in shown
    assert not picture.figure.get_suptitle()  # captions stand with the notebook


def lines_in(axes, shade: str) -> list[np.ndarray]:
    """The points of every line of a colour, diamonds apart, (M, 2) each."""
    return [
        line.get_xydata() for line in axes.lines
        if to_hex(line.get_color()) == to_hex(shade) and line.get_marker() != "D" and len(line.get_xydata())
    ]  # fmt: skip


# ---------------------------------------------------------------- bars


def test_a_bar_is_as_high_as_the_mean_of_its_runs_and_has_their_colour(full):
    axes = figures.overview(full.teachers, full.students).figure.axes[0]
    groups = [label.get_text() for label in axes.get_xticklabels()]
    assert groups == ["ResNet-18\nteacher", "LeNet\nstudent", "AlexNet\nstudent"]
    found = {(to_hex(bar.get_facecolor()), round(bar.get_x() + bar.get_width() / 2)): bar for bar in axes.patches}
    assert len(found) == 5 * 3
    for augmentation in ("none", "cutmix", "crop_flip+cutmix"):
        for place, (rows, side, network, loss) in enumerate(
            [
                (full.teachers, "augmentation", "resnet18", ""),
                (full.students, "teacher_augmentation", "lenet", "batchmean"),
                (full.students, "teacher_augmentation", "alexnet", "batchmean"),
            ]
        ):
            own = rows[(rows["network"] == network) & (rows["loss"] == loss) & (rows[side] == augmentation)]
            mean = np.mean([run.metrics["test"]["accuracy"] for run in own["run"]])
            assert found[to_hex(colour(augmentation)), place].get_height() == pytest.approx(mean)
    dots = np.concatenate([part.get_offsets() for part in axes.collections])
    assert len(dots) == len(full.teachers) + sum(  # every run of the panel stands over its bar
        (full.students["loss"] == "batchmean") & ~full.students["control"]
    )


def test_a_level_has_no_interval(full):
    axes = figures.calibration_bars(full.teachers, full.students).figure.axes[0]
    assert all(line.get_marker() == "D" for line in axes.lines)  # the paper's numbers and nothing else


def test_the_papers_values_stand_beside_the_same_data_only(full, digits):
    def legend(given):
        return [text.get_text() for text in figures.overview(given.teachers, given.students).figure.legends[0].texts]

    assert "the paper's" in legend(full) and "the paper's" not in legend(digits)
    axes = figures.overview(full.teachers, full.students).figure.axes[0]
    drawn = [line.get_ydata()[0] for line in axes.lines]
    assert paper.value(1, "cutmix", "lenet", "cifar10", "accuracy") in drawn and len(drawn) == 4 * 3


def test_every_budget_has_rows_of_its_own(full):
    both = pd.concat([full.students, as_chosen(full.students)])
    titles = [axes.get_title() for axes in figures.overview(full.teachers, both).figure.axes]
    assert titles[0] == "the formula's loss, long training" and "chosen training" in titles[2]
    three = both[(both["budget"] == "long") | (both["loss"] != "mean")]
    shown = [axes.get_visible() for axes in figures.overview(full.teachers, three).figure.axes]
    assert shown == [True, True, True, False]  # long, and then chosen


# ---------------------------------------------------------------- differences and effects


def test_differences_stand_in_their_row_at_their_size(full):
    figure = figures.from_baseline(full.students).figure
    lenet = figure.axes[0]
    rows = [label.get_text() for label in lenet.get_yticklabels()]
    assert rows[-2:] == ["random teacher", "no teacher"] and "CutMix" in rows
    for row in contrasts(full.students, ACCURACY).query("network == 'lenet' and who == 'cutmix'").itertuples():
        points = [line for line in lines_in(lenet, colour("cutmix")) if len(line) == 1]
        assert any(point[0, 0] == pytest.approx(100 * row.estimate) for point in points)
        assert {round(point[0, 1]) for point in points} == {rows.index("CutMix")}
    theirs, baseline = (paper.value(1, one, "lenet", "cifar10", "accuracy") for one in ("cutmix", "none"))
    diamonds = {round(line.get_ydata()[0]): line.get_xdata()[0] for line in lenet.lines if line.get_marker() == "D"}
    assert diamonds[rows.index("CutMix")] == pytest.approx(100 * (theirs - baseline))
    names = dict(zip([text.get_text() for text in figure.legends[0].texts], figure.legends[0].legend_handles))
    assert names["the formula's loss"].get_markerfacecolor() == GREY
    assert names["the released code's loss"].get_markerfacecolor() == "none"
    cutmix = contrasts(full.students, ACCURACY).query("network == 'lenet' and who == 'cutmix'").set_index("loss")
    formula, code = cutmix["estimate"]["batchmean"], cutmix["estimate"]["mean"]
    filled = {line.get_markerfacecolor() != "none": line.get_xdata()[0] for line in lenet.lines
              if line.get_marker() == "o" and line.get_color() == colour("cutmix")}  # fmt: skip
    assert filled == {True: pytest.approx(100 * formula), False: pytest.approx(100 * code)}


def test_a_gap_stands_at_its_size_in_the_colour_of_what_its_change_does():
    found = pd.DataFrame({
        "who": ["", "epochs=6", "epochs=12", "epochs=30"], "says": ["", gaps.MAKES, gaps.CLOSES, gaps.OPEN],
        "gap": [-0.001, -0.03, 0.02, 0.0], "gap_low": -0.04, "gap_high": 0.03, "dataset": "cifar10",
        "network": "lenet", "less": "",
    })  # fmt: skip
    figure = figures.gap_by_change(found).figure
    (axes,) = figure.axes
    points = {line.get_ydata()[0]: line for line in axes.lines if len(line.get_xdata()) == 1}
    assert [points[y].get_xdata()[0] for y in range(4)] == pytest.approx([-0.1, -3, 2, 0])
    assert [points[y].get_color() for y in (1, 2, 3)] == [SAYS["for"], SAYS["against"], OPEN_COLOUR]
    assert points[4].get_xdata()[0] == pytest.approx(100 * ((0.633 + 0.621) / 2 - 0.652))
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == ["as it is", "epochs 6", "epochs 12", "epochs 30", "the paper's"]
    of_digits = figures.gap_by_change(found.assign(dataset="digits")).figure.axes[0]
    assert "the paper's" not in [label.get_text() for label in of_digits.get_yticklabels()]
    both = figures.gap_by_change(pd.concat([found, found.assign(network="alexnet")])).figure.axes[0]
    named = [" ".join(label.get_text().split()) for label in both.get_yticklabels()]
    assert "LeNet, epochs 6" in named and "AlexNet, epochs 6" in named and "the paper's" not in named


@pytest.fixture(scope="module")
def judgements():
    teachers, long = (frame(chapter(name, planted, budgets=["long"]), "long") for name in ("teachers", "students"))
    return judge({"teachers": teachers, "students": pd.concat([long, as_chosen(long)])})


def test_a_forest_shows_each_effect_at_its_size_in_the_colour_of_what_it_says(judgements):
    own = [case for case in judgements if case.claim.id == 4]
    effects = tidy(own).query("primary and loss == 'batchmean' and budget == 'chosen'")
    figure = figures.forest({"paper": own}).figure
    (axes,) = figure.axes
    (effect,) = effects.itertuples()
    assert effect.says == "for" and effect.estimate < 0
    green = [line for line in axes.lines if line.get_color() == figures.SAYS["for"]]
    points = [line for line in green if line.get_marker() == "o"]
    assert any(line.get_xdata()[0] == pytest.approx(100 * effect.estimate) for line in points)
    intervals = [line.get_xdata() for line in green if len(line.get_xdata()) == 2]
    assert any(ends == pytest.approx([100 * effect.low, 100 * effect.high]) for ends in intervals)
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert diamonds == pytest.approx([100 * effect.paper] * 2)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["formula", "released code"]
    assert axes.yaxis_inverted()  # read from above


def test_a_forest_tells_editions_and_budgets_apart_as_its_legend_says(judgements):
    figure = figures.forest({"paper": judgements, "cpu": judgements}).figure
    (legend,) = figure.legends
    names = {text.get_text(): line for text, line in zip(legend.texts, legend.legend_handles, strict=True)}
    shapes = {name: (line.get_marker(), line.get_markerfacecolor() != "none") for name, line in names.items()}
    assert shapes["paper, chosen training"] == ("o", True) and shapes["paper, long training"] == ("o", False)
    assert shapes["cpu, chosen training"] == ("s", True) and shapes["cpu, long training"] == ("s", False)
    assert names["for the claim"].get_color() == figures.SAYS["for"]
    assert names["against it"].get_color() == figures.SAYS["against"]
    claims = [axes.get_title(loc="left") for axes in figure.axes]
    assert claims == [f"Claim {i}" for i in range(1, 14)]
    assert figure.get_size_inches()[0] < 4  # whole on a telephone, with text of a readable size
    both = {"paper": judgements, "cpu": judgements}
    halves = [figures.forest(both, half).figure for half in (0, 1)]
    assert [axes.get_title(loc="left") for half in halves for axes in half.axes] == claims
    assert all(len(half.legends[0].texts) == len(legend.texts) for half in halves)


def test_effects_on_teachers_alone_stand_once_whatever_the_loss(judgements):
    of_paper = figures.effects_of({"paper": judgements}).query("claim == 12")
    found = of_paper[of_paper["effect"] == "ECE of teachers: MixUp less the baseline"]
    assert len(found) == 1 and found["loss"].item() == "" and found["budget"].item() == ""


def test_a_rank_correlation_is_on_a_scale_of_its_own(judgements):
    units = figures.effects_of({"paper": judgements}).query("claim == 10").groupby("unit").size()
    assert set(units.index) == {"discrimination", "rank correlation"}


# ---------------------------------------------------------------- learning and its length


def trial(spec, accuracy: float) -> FakeRun:
    run = FakeRun(spec, images=50)
    run.history = run.history.assign(validation_accuracy=np.linspace(0.1, accuracy, len(run.history)))
    return run


@pytest.fixture(scope="module")
def trials():
    """LeNet is best after 12 epochs, and a MixUp teacher's student a point behind."""
    settings, found = study.settings("students", "paper", budgets=["long"]), []
    for epochs, level in zip((6, 12, 20), (0.60, 0.66, 0.64), strict=True):
        for loss, group in (("batchmean", "taught"), ("batchmean", "uniform"), ("mean", "taught")):
            for spec in budgets.length_trials(settings, "lenet", group, loss, 0.02, 10.0, epochs):
                behind = 0.01 if getattr(spec, "teacher", spec).augmentations == ("mixup",) else 0.0
                found.append(trial(spec, level - behind))
    return frame(found)


def test_the_curve_of_the_budget_has_epochs_below_and_its_best_ringed(trials):
    figure = figures.budget_curve(trials).figure
    top, bottom = figure.axes
    assert bottom.get_xlabel() == "epochs of training" and top.get_ylabel() == "validation accuracy"
    means = [line.get_xydata() for line in top.lines if line.get_color() == GREY and len(line.get_xdata()) == 3]
    assert len(means) == 2 and all((one[:, 0] == [6, 12, 20]).all() for one in means)
    assert means[0][:, 1] == pytest.approx(np.array([0.60, 0.66, 0.64]) - 0.01 / 5)
    rings = [line.get_xydata()[0] for line in top.lines if line.get_markersize() == 9]
    assert [ring[0] for ring in rings] == [12, 12]
    gaps = [line.get_ydata() for line in bottom.lines if line.get_color() == colour("mixup")]
    assert len(gaps) == 2 and all(gap == pytest.approx([-1.0] * 3) for gap in gaps)
    (uniform,) = [line for line in top.lines if line.get_color() == colour("uniform")]
    assert uniform.get_ydata() == pytest.approx([0.60, 0.66, 0.64])


def test_a_learning_curve_shows_the_images_held_out_where_some_were(trials, full):
    axes = figures.student_learning_curves(trials[trials["epochs"] == 12]).figure.axes
    assert [place.get_ylabel() for place in axes[:3]] == ["training loss", "training accuracy", "validation accuracy"]
    assert all(place.get_xlabel() == "epoch" for place in axes)
    (line,) = lines_in(axes[2], colour("mixup"))
    assert line[:, 0] == pytest.approx(range(1, 13)) and line[-1, 1] == pytest.approx(0.65)
    assert len(figures.student_learning_curves(full.students).figure.axes) == 2 * 2 * 2  # none was held out


def test_a_history_without_numbers_of_held_out_images_draws_none_of_them(digits):
    bare = [SimpleNamespace(history=run.history.assign(validation_accuracy=np.nan)) for run in digits.teachers["run"]]
    assert len(figures.learning_curves(digits.teachers.assign(run=bare)).figure.axes) == 2


def test_learning_curves_have_a_row_for_each_network_and_loss(full):
    titles = [axes.get_title() for axes in figures.student_learning_curves(full.students).figure.axes]
    assert len(titles) == 2 * 2 * 2 and len(set(titles)) == 4
    (line,) = lines_in(figures.learning_curves(full.teachers).figure.axes[1], colour("cutmix"))
    epochs = np.arange(1, len(line) + 1)
    assert line[:, 0] == pytest.approx(epochs) and line[:, 1] == pytest.approx(epochs / (epochs + 1))


# ---------------------------------------------------------------- matrices


def meshes(picture) -> dict[str, np.ndarray]:
    """The matrices of a picture by their titles, rows from above; NaN where nothing is drawn."""
    found = {}
    for place in picture.figure.axes:
        if place.collections and place.get_title():
            assert place.yaxis_inverted()
            values = np.ma.filled(place.collections[0].get_array().astype(float), np.nan)
            found[place.get_title()] = values.reshape(10, 10)
    return found


def test_confusion_has_labels_in_rows_and_predictions_in_columns(full):
    run = full.teachers["run"].iloc[0]
    logits, labels = run.predictions["test_logits"], run.predictions["test_labels"]
    shares = [[(logits[labels == i].argmax(axis=1) == j).mean() for j in range(10)] for i in range(10)]
    assert figures.confusion(run) == pytest.approx(np.array(shares))
    kept = FakeRun(run.spec, slim=True)
    assert figures.confusion(kept) == pytest.approx(figures.confusion(FakeRun(run.spec)))
    picture = figures.confusion_matrices(full.teachers)
    own = [figures.confusion(run) for run in full.teachers.query("augmentation == 'none'")["run"]]
    shown, off = meshes(picture)["none (baseline)"], ~np.eye(10, dtype=bool)
    assert shown[off] == pytest.approx(np.mean(own, axis=0)[off])
    lowest = picture.figure.axes[3]  # of the first column
    assert lowest.get_xlabel() == "prediction" and lowest.get_ylabel() == "label"
    assert [text.get_text() for text in lowest.get_yticklabels()] == list(data.CIFAR10_CLASSES)
    assert [text.get_text() for text in lowest.get_xticklabels()] == list(data.CIFAR10_CLASSES)


def test_matrices_mask_their_diagonal_and_share_a_scale(full):
    picture = figures.confusion_matrices(full.teachers)
    shown = meshes(picture)
    assert len(shown) == 5
    assert all((np.isnan(matrix) == np.eye(10, dtype=bool)).all() for matrix in shown.values())
    assert len({place.collections[0].get_clim() for place in picture.figure.axes if place.get_title()}) == 1


def test_students_have_a_panel_for_each_network_loss_and_contrasted_teacher(full):
    assert len(meshes(figures.student_confusion_matrices(full.students))) == 2 * 2 * 3


def test_figures_3_and_6_compare_the_baseline_with_all_of_cutmix(full, digits):
    shown = pd.DataFrame({"shown": ["none", "mixup", "cutmix", "crop_flip+cutmix"]})
    assert list(figures.contrasted(shown)["shown"]) == ["none", "cutmix", "crop_flip+cutmix"]
    assert len(figures.contrasted(shown[1:2])) == 1
    found = meshes(figures.confidence_by_class(full.teachers))
    assert list(found)[:2] == ["people", "teacher: none (baseline)"]
    people, off = measures.human_means(full.teachers["run"].iloc[0]), ~np.eye(10, dtype=bool)
    assert found["people"][off] == pytest.approx(people[off])
    assert "people" not in meshes(figures.confidence_by_class(digits.teachers))
    shown = meshes(figures.class_kl_matrices(full.teachers))["teacher: CutMix"]
    own = [measures.class_kl(run) for run in full.teachers.query("augmentation == 'cutmix'")["run"]]
    assert shown == pytest.approx(np.mean(own, axis=0))


# ---------------------------------------------------------------- reliability and the latent space


def test_reliability_has_confidence_below_and_accuracy_beside(full):
    axes = figures.reliability(full.teachers, full.students).figure.axes
    assert len(axes) == 6 and axes[0].get_xlabel() == "confidence" and axes[0].get_ylabel() == "accuracy"
    runs = list(full.teachers.query("augmentation == 'cutmix'")["run"])
    probs = np.concatenate([metrics.softmax(run.predictions["test_logits"]) for run in runs])
    labels = np.concatenate([run.predictions["test_labels"] for run in runs])
    (line,) = lines_in(axes[0], colour("cutmix"))
    assert len(line) > 2
    for confidence, accuracy in line:
        low = np.ceil(confidence * 15 - 1e-9) / 15 - 1 / 15
        own = (probs.max(axis=1) > low) & (probs.max(axis=1) <= low + 1 / 15)
        assert confidence == pytest.approx(probs.max(axis=1)[own].mean())
        assert accuracy == pytest.approx((probs.argmax(axis=1) == labels)[own].mean())


def test_reliability_is_of_the_students_whose_predictions_are_kept(digits):
    slim = [FakeRun(run.spec, people=False, slim=True) for run in digits.students.query("loss == 'mean'")["run"]]
    assert len(figures.reliability(digits.teachers, digits.students).figure.axes) == 3
    rest = pd.concat([digits.students.query("loss != 'mean'"), frame(slim, "long")])
    assert len(figures.reliability(digits.teachers, rest).figure.axes) == 2
    assert len(figures.reliability(digits.teachers, digits.students[:0]).figure.axes) == 1


def test_latent_maps_of_the_first_seed_and_their_silhouettes(full, digits):
    maps = figures.latent_maps(digits.teachers, seeds=(0, 1))
    assert [one.augmentation for one in maps] == ["none", "cutmix"]
    assert all(plane.shape == (len(one.labels), 2) for one in maps for plane in one.planes)
    assert not np.allclose(maps[0].planes[0], maps[0].planes[1])
    picture = figures.latent_space(digits.teachers, maps)
    assert len(picture.bytes()) < 150_000
    assert set(figures.silhouettes(digits.teachers, maps)["of"]) == {"classes"}

    maps = figures.latent_maps(full.teachers[:1], seeds=(0,))
    found = figures.silhouettes(full.teachers, maps).groupby(["of", "space"])["silhouette"]
    assert found.size().to_dict() == {
        ("classes", "embedding"): 2, ("classes", "t-SNE"): 1, ("groups", "embedding"): 2, ("groups", "t-SNE"): 1,
    }  # fmt: skip
    assert found.mean()["classes", "embedding"] > found.mean()["groups", "embedding"]  # classes are what is planted


def test_the_latent_space_names_classes_by_the_colour_of_their_points(full):
    maps = figures.latent_maps(full.teachers[:1], seeds=(0,))
    figure = figures.latent_space(full.teachers, maps).figure
    title = figure.legends[0].get_title().get_text()
    assert title == f"{len(maps[0].labels)} images, teachers' seed 0, seed of t-SNE 0"
    points = figure.axes[0].collections[0]
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.texts[:2]} == {"automobile", "truck"}  # group by group
    shades = {text.get_text(): line.get_color() for text, line in zip(legend.texts, legend.legend_handles, strict=True)}
    for label, plane, drawn, place in zip(
        maps[0].labels, maps[0].planes[0], points.get_facecolors(), points.get_offsets(), strict=True
    ):
        assert to_rgb(shades[data.CIFAR10_CLASSES[label]]) == pytest.approx(tuple(drawn[:3]))
        assert np.asarray(place) == pytest.approx(plane, rel=1e-5)


# ---------------------------------------------------------------- augmented images


def test_augmented_images_show_what_each_augmentation_does():
    loaded = data.load("digits")
    shown = [(), ("crop_flip",), ("cutout",), ("mixup",), ("cutmix",), ("crop_flip", "cutmix")]
    places = [place for place in figures.augmented_images("digits", shown).figure.axes if place.images]
    assert len(places) == len(shown)
    plain, *others = [place.images[0].get_array() for place in places]
    first = loaded.train.images[np.flatnonzero(loaded.train.labels == 0)[0]]
    assert (plain == first).all()  # not augmented, and back from normalising without a loss
    assert all((other != plain).any() for other in others)
    assert "“1”" in places[3].get_title() and "“1”" not in places[2].get_title()
    assert places[4].get_title().startswith(augmentation_name("cutmix"))


def test_figure_2_falls_back_on_the_digits_where_the_files_are_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    assert figures.data_at_hand("cifar10") == "digits" and "not on this machine" in figures.which_images("cifar10")
    assert figures.data_at_hand("digits") == "digits" and figures.which_images("digits") is None
