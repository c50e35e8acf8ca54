"""Arms crossed with crop and flip: whose runs are shown, and that each is compared with its own starting point."""

from dataclasses import replace

import numpy as np
import pytest
from test_tables import made, row

from kdlib import crossed, paper, runs, study, tables
from kdlib.crossed import ALONE, CHANGE, CROSSED, DIFFERENCES


def every_run(settings):
    """What is stored of an edition that has the arms on both sides."""
    sides = (settings, study.crossed(settings))
    return {spec: made(spec) for side in sides for spec in study.teachers_and_students(side)}


@pytest.fixture
def store(monkeypatch):
    """The runs that are stored, by spec."""
    held = {}
    monkeypatch.setattr(runs, "stored", lambda specs: [held[spec] for spec in specs if spec in held])
    return held


@pytest.fixture(scope="module")
def full():
    return study.settings("ablation", "paper")


@pytest.fixture
def crossing(store, full):
    store |= every_run(full)
    return crossed.stored(full, "ablation")


def test_each_arm_is_crossed_once_and_crop_and_flip_stays_alone(full):
    arms = study.crossed(full).augmentations
    assert arms == tuple(("crop_flip", *more) for more in ((), ("cutout",), ("mixup",), ("cutmix",)))
    assert study.crossed(replace(full, augmentations=(("crop_flip", "mixup"), ("crop_flip",)))).augmentations == ()


def test_an_edition_shows_its_own_runs_if_it_has_them_all(store, full):
    assert crossed.stored(full, "ablation") is None
    reduced = study.settings("ablation", "cpu")
    store |= every_run(reduced)
    assert crossed.stored(full, "ablation").settings == reduced == crossed.stored(reduced, "ablation").settings
    store |= every_run(full)
    found = crossed.stored(full, "ablation")
    assert found.settings == full and {run.spec.width for run in [*found.teachers, *found.students]} == {64}
    (gone, *_) = (spec for spec in store if spec.width == 64 and "crop_flip" in spec.augmentations)
    del store[gone]
    assert crossed.stored(full, "ablation").settings == reduced


def test_settings_of_a_readers_and_other_data_have_no_edition_of_another_size(store):
    store |= every_run(study.settings("ablation", "cpu"))
    assert crossed.stored(study.settings("ablation", "paper", temperature=4), "ablation") is None
    assert crossed.stored(study.settings("ablation", "demo"), "ablation") is None


ARMS = {
    "nothing to cross": ["none"],
    "nothing that cuts or mixes": ["none", "crop_flip"],
    "no start": ["crop_flip"],
    "no start on one side": ["crop_flip", "mixup", "crop_flip+mixup"],
}


@pytest.mark.parametrize("arms", ARMS.values(), ids=ARMS)
def test_arms_without_a_comparison_show_nothing(store, arms):
    settings = study.settings("ablation", "paper", augmentations=arms)
    store |= every_run(settings)
    assert crossed.stored(settings, "ablation") is None


def test_controls_may_be_missing(store, full):
    store |= {spec: run for spec, run in every_run(full).items() if runs.is_taught(spec) or spec.model == "resnet18"}
    assert crossed.stored(full, "ablation").settings == full


def test_it_is_said_whose_runs_these_are_and_which_are_reduced(store, full):
    assert "no such runs are stored" in crossed.about(None)
    reduced = study.settings("ablation", "cpu")
    store |= every_run(reduced)
    said = crossed.about(crossed.stored(full, "ablation"))
    assert "profile `cpu`: ResNet-18 of width 16 (15 epochs, seed 0) and LeNet (40 epochs, seed 0), in batches" in said
    assert "a width below 64 are **reduced models**" in said
    store |= every_run(full)
    assert "reduced" not in crossed.about(crossed.stored(full, "ablation"))


def accuracy(found, network, arm, form=None):
    names = () if arm == "none" else tuple(arm.split("+"))
    (run,) = (
        run
        for run in (found.teachers if form is None else found.students)
        if (run.spec.augmentations == names if form is None else is_student(run.spec, names, form))
    )
    return run.metrics["test"]["accuracy"]


def is_student(spec, names, form):
    return runs.is_taught(spec) and (spec.teacher.augmentations, spec.reduction) == (names, form)


def test_either_side_stands_beside_the_papers_one(crossing):
    frame = crossed.accuracies(crossing, "lenet")
    assert len(frame) == 3 * (4 + 4) and set(frame["n"]) == {1}
    published = paper.load().query("table == 1 and test_set == 'cifar10' and metric == 'accuracy'")
    published = published[published["model"] == "cutmix"].set_index("role")["value"]
    for role, form in (("teacher", None), ("lenet", "mean")):
        value = published[role]
        for variant, arm in ((ALONE, "cutmix"), (CROSSED, "crop_flip+cutmix")):
            found = row(frame, network=role, loss=form or "", variant=variant, arm="cutmix")
            assert found["ours"] == accuracy(crossing, role, arm, form)
            assert found["paper"] == value and found["difference"] == pytest.approx(found["ours"] - value)
    assert set(frame[frame["variant"] == ALONE]["arm"]) == {"none", "cutout", "mixup", "cutmix"}
    assert set(frame[frame["variant"] == CROSSED]["arm"]) == {"crop_flip", "cutout", "mixup", "cutmix"}


def test_each_side_has_its_own_starting_point(crossing):
    frame = crossed.effects(crossing, "lenet")
    assert len(frame) == 3 * 3 + 2 * 3 * 3
    for role, form in (("teacher", None), ("lenet", "batchmean"), ("lenet", "mean")):
        expected = {
            DIFFERENCES[side]: accuracy(crossing, role, arm, form) - accuracy(crossing, role, start, form)
            for side, arm, start in ((ALONE, "mixup", "none"), (CROSSED, "crop_flip+mixup", "crop_flip"))
        }
        expected[CHANGE] = expected[DIFFERENCES[CROSSED]] - expected[DIFFERENCES[ALONE]]
        for variant, value in expected.items():
            found = row(frame, network=role, loss=form or "", arm="mixup", variant=variant)
            assert found["ours"] == pytest.approx(value) and found["low"] < found["ours"] < found["high"]
        widths = frame[frame["network"] == role].assign(width=frame["high"] - frame["low"]).groupby("variant")["width"]
        assert widths.mean()[CHANGE] > widths.mean()[DIFFERENCES[ALONE]]  # of four networks, not of two


def test_intervals_are_widened_for_teachers_and_for_students_apart(crossing, monkeypatch):
    asked = []
    paired = tables.paired_accuracy
    monkeypatch.setattr(tables, "paired_accuracy", lambda *given: asked.append(given) or paired(*given))
    crossed.effects(crossing, "lenet")
    assert [len(pairs) for _, pairs in asked] == [9, 18]


def test_clear_differences_are_told_by_side(crossing):
    frame = crossed.effects(crossing, "lenet")
    up = (frame["variant"] == DIFFERENCES[ALONE]) & (frame["arm"] == "cutout")
    down = (frame["variant"] == DIFFERENCES[CROSSED]) & (frame["arm"] != "cutout")
    frame = frame.assign(low=np.where(up, 0.1, -0.2), high=np.where(down, -0.1, 0.2))
    said = crossed.in_words(frame).splitlines()
    assert said[0] == (
        "- Teachers: compared with no augmentation, better in this one training with Cutout; with crop and flip, "
        "compared with it alone, worse in this one training with MixUp and with CutMix; the second difference, "
        "compared with the first, neither clearly larger nor smaller."
    )
    assert said[1].startswith("- LeNet students under the formula's loss: ") and len(said) == 4
    assert "one seed" in said[-1]
    elsewhere = frame.assign(one_device=frame["variant"] == DIFFERENCES[ALONE], devices="a CPU and a GPU")
    said = crossed.in_words(elsewhere)
    assert "better in this one training with Cutout; with crop and flip, compared with it alone, neither" in said
    assert "(a CPU and a GPU): *with crop and flip, less it alone* (Cutout, MixUp and CutMix)" in said
    again = crossed.in_words(frame.assign(n=2))
    assert "clearly better with Cutout" in again and "one training" not in again and "one seed" not in again


def test_what_an_arm_does_to_teachers_on_top_of_crop_and_flip_stands_beside_the_papers(crossing):
    frame = crossed.effects(crossing, "lenet")
    mine = row(frame, network="teacher", arm="cutmix", variant=DIFFERENCES[CROSSED])
    cutmix, standard = (paper.value(1, arm, "teacher", "cifar10", "accuracy") for arm in ("cutmix", "crop_flip"))
    said = crossed.beside_paper(frame)
    assert f"CutMix {tables.ours(mine)} (the paper's of this name +{cutmix - standard:.3f})." in said
    assert said.count("(") == 3
    assert crossed.beside_paper(frame.assign(test_set="digits")) == ""
    own = frame.assign(arm=frame["arm"].replace("mixup", "my own"))
    assert crossed.beside_paper(own).count("(") == 2


def test_the_tables_can_be_read(crossing):
    shown = tables.render(crossed.accuracies(crossing, "lenet"), "Both.", "tab-crossed")
    assert "| Network | Loss | Augmentation | Paper | Ours, alone | Diff. | Ours, with crop and flip | Diff. |" in shown
    assert shown.count("| teacher | – | none (baseline) |") == 1 and "not run" not in shown and "ours |" not in shown
    shown = tables.render(crossed.effects(crossing, "lenet"), "Effects.", "tab-crossed-effects")
    header = "| Alone, less none | With crop and flip, less it alone | Second less first | n | Runs |"
    assert header in shown and "| LeNet | formula | Cutout |" in shown
