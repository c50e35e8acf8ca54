"""The headline's gap under changes, against a computation of its own."""

import numpy as np
import pandas as pd
import pytest
from fakes import NUMBER, numbers
from scipy import stats

from kdlib.report.figures import gap_by_change
from kdlib.report.tables import changes_of_gap
from kdlib.results import gaps as module
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN, gaps, says

CHANGES = ("", "epochs=6", "epochs=12", "epochs=12+temperature=4")
ARMS = ("none", "mixup", "cutmix")
LESS = ("", "", "", "epochs=12")


def students(teachers=2, own=2, seed=0):
    """A random number for each change, arm and pair of seeds, as (changes, arms, teachers, students), and the frame."""
    values = np.random.default_rng(seed).normal(size=(len(CHANGES), len(ARMS), teachers, own))
    parts = [
        numbers(
            {((arm, "none"), (t, s)): values[c, a, t, s]
             for a, arm in enumerate(ARMS) for t in range(teachers) for s in range(own)},
            budget=change, epochs=10 + c, mark=f"{c}",
        ) for c, change in enumerate(CHANGES)
    ]  # fmt: skip
    return values, pd.concat(parts, ignore_index=True)


def test_a_gap_is_of_the_mean_of_mixing_teachers_less_the_baselines():
    values, rows = students()
    found = gaps(rows, NUMBER)
    means = values.mean(axis=(2, 3))
    expected = means[:, 1:].mean(axis=1) - means[:, 0]
    assert tuple(found["who"]) == CHANGES and tuple(found["less"]) == LESS
    np.testing.assert_allclose(found["gap"], expected)
    np.testing.assert_allclose(found["estimate"], [np.nan, *(expected[1:3] - expected[0]), expected[3] - expected[2]])
    assert set(found["n"]) == {2} and set(found["students"]) == {2}


def test_what_is_left_beside_changes_and_blocks_is_pooled_over_all_changes():
    values, rows = students(teachers=3, own=1)
    cells = values[..., 0].reshape(-1, 3)  # (arms under changes, blocks)
    rest = cells - cells.mean(0) - cells.mean(1)[:, None] + cells.mean()
    dof = (len(cells) - 1) * 2
    half = stats.t.ppf(0.975, dof) * np.sqrt((rest**2).sum() / dof / 3 * np.array([1.5, 3.0, 3.0, 3.0]))
    found = gaps(rows, NUMBER)
    np.testing.assert_allclose(found["gap_high"] - found["gap"], half[0])
    np.testing.assert_allclose((found["high"] - found["estimate"])[1:], half[1:])


def test_without_both_mixing_teachers_there_is_no_gap():
    rows = students()[1].query("teacher_augmentation != 'mixup'")
    found = gaps(rows, NUMBER)
    assert found.empty and changes_of_gap(found, "None.", "tab-none") is None
    assert gap_by_change(found).figure.texts[0].get_text().startswith("There is no gap")


def test_one_seed_leaves_it_open():
    found = gaps(students(teachers=1, own=1)[1], NUMBER)
    assert found["low"].isna().all() and tuple(found["says"]) == ("", OPEN, OPEN, OPEN)


@pytest.mark.parametrize(
    "low, high, said",
    [(-0.02, -0.001, MAKES), (0.001, 0.02, CLOSES), (-0.004, 0.004, NOTHING), (-0.004, -0.001, NOTHING),
     (-0.02, 0.004, OPEN), (-0.004, 0.02, OPEN), (np.nan, np.nan, OPEN)],
)  # fmt: skip
def test_what_an_interval_says(low, high, said):
    assert says(low, high, 0.005) == said


def test_the_papers_gap_is_of_its_table():
    rows = students()[1]
    assert module.printed_gap(rows) == pytest.approx((0.633 + 0.621) / 2 - 0.652)
    assert np.isnan(module.printed_gap(rows.assign(dataset="digits")))
    assert np.isnan(module.printed_gap(rows.assign(network="perceptron")))
