"""What predicts a good teacher, against scipy on a table made by hand."""

import numpy as np
import pandas as pd
import pytest
from fakes import NUMBER, numbers
from matplotlib.colors import to_hex
from scipy import stats

from kdlib.report.figures import said_and_reached
from kdlib.report.style import colour
from kdlib.report.tables import correlations
from kdlib.results import predictors as module
from kdlib.results.measures import Measure

ARMS = ("none", "crop_flip", "cutout", "mixup", "cutmix")


@pytest.fixture
def there(monkeypatch):
    """Random numbers of teachers (arms, seeds) and of two students of each, and their frames."""
    monkeypatch.setattr(module, "ACCURACY", Measure("accuracy", "accuracy", lambda run, split: run.value))
    rng = np.random.default_rng(3)
    said, reached = rng.normal(size=(5, 2)), rng.normal(size=(5, 2, 2))
    trained = {(("alone", arm), (t, t)): said[a, t] for a, arm in enumerate(ARMS) for t in (0, 1)}
    taught = {((arm, "none"), (t, s)): reached[a, t, s]
              for a, arm in enumerate(ARMS) for t in (0, 1) for s in (0, 1)}  # fmt: skip
    aside = {(("random", "none"), (0, 0)): 9.0, (("mixup", "mixup"), (0, 0)): 9.0}  # of no part in it
    return said, reached, numbers(trained, "resnet18", "", control=False), numbers(taught | aside)


def test_a_correlation_is_scipys_over_teachers_and_with_each_augmentation_left_out(there):
    said, reached, teachers, students = there
    (found,) = module.predictors(module.pairs_of(teachers, students, [NUMBER])).to_dict("records")
    means = reached.mean(axis=2)
    without = [stats.spearmanr(np.delete(said, a, 0).ravel(), np.delete(means, a, 0).ravel())[0] for a in range(5)]
    assert found["estimate"] == pytest.approx(stats.spearmanr(said.ravel(), means.ravel())[0])
    assert (found["low"], found["high"]) == pytest.approx((min(without), max(without)))
    assert (found["n"], found["network"], found["measure"]) == (10, "lenet", "number")


def test_a_teacher_without_such_a_number_or_without_students_is_left_out(there):
    _, _, teachers, students = there
    unasked = Measure("unasked", "unasked", lambda run, split: None if run is teachers["run"].iloc[0] else run.value)
    fewer = students[~((students["teacher_augmentation"] == "cutmix") & (students["teacher_seed"] == 1))]
    assert [
        row["n"] for row in module.predictors(module.pairs_of(teachers, fewer, [NUMBER, unasked])).to_dict("records")
    ] == [9, 8]


def test_three_augmentations_are_too_few(there):
    _, _, teachers, students = there
    few = students[students["teacher_augmentation"].isin(ARMS[:3])]
    found = module.predictors(module.pairs_of(teachers, few, [NUMBER]))
    assert found.empty and correlations(found, "None.", "tab-none") is None


def test_a_point_is_a_teachers_number_and_the_mean_of_its_students_in_the_colour_of_its_augmentation(there):
    said, reached, teachers, students = there
    later = students.assign(budget="long")  # is in the table alone
    picture = said_and_reached(module.pairs_of(teachers, pd.concat([students, later]), [NUMBER]))
    (axes,) = picture.figure.axes
    points = {to_hex(line.get_color()): line.get_xydata() for line in axes.lines}
    assert len(points) == len(ARMS) and axes.get_xlabel() == "number"
    for a, arm in enumerate(ARMS):
        np.testing.assert_allclose(points[to_hex(colour(arm))], np.c_[said[a], 100 * reached[a].mean(axis=1)])
    few = students[students["teacher_augmentation"].isin(ARMS[:3])]
    after_few = said_and_reached(module.pairs_of(teachers, pd.concat([few, later]), [NUMBER]))  # those of the table
    assert len(after_few.figure.axes[0].lines) == len(ARMS)
    none = said_and_reached(module.pairs_of(teachers, few, [NUMBER]))
    assert none.figure.texts[0].get_text().startswith("Too few augmentations")


def test_kinds_of_students_stand_side_by_side(there):
    _, _, teachers, students = there
    both = pd.concat([students.assign(budget="long"), students.assign(loss="batchmean", budget="chosen")])
    text = correlations(module.predictors(module.pairs_of(teachers, both, [NUMBER])), "All.", "tab-all")
    header, _, line = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("|")]
    assert header[0] == "Measure of the teacher"
    assert sorted(header[1:]) == ["Formula, chosen", "Released code, long"]
    assert line[0] == "number" and all("{.seeds}" in cell for cell in line[1:]) and "Teachers: 10." in text
