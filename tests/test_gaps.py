"""The headline's gap under changes, against a computation of its own."""

import numpy as np
import pandas as pd
import pytest
from fakes import NUMBER, numbers
from scipy import stats

from kdlib.report.figures import gap_by_change
from kdlib.report.tables import changes_of_gap, show
from kdlib.results import gaps as module
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN, gaps, says

CHANGES = ("", "epochs=6", "epochs=12", "epochs=12+temperature=4")
ARMS = ("none", "mixup", "cutmix")
LESS = ("", "", "", "epochs=12")


def students(teachers=2, own=2, of_teacher=0.0):
    """A random number for each change, arm and pair of seeds, as (changes, arms, teachers, students), and the frame.

    `of_teacher` is the size of what each teacher does under all changes.
    """
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(CHANGES), len(ARMS), teachers, own))
    values += of_teacher * rng.normal(size=(len(ARMS), teachers, 1))
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


def left_beside(values):
    """Sum of squares of what is left beside rows and columns."""
    return ((values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()) ** 2).sum()


def test_what_a_teacher_does_under_all_changes_cancels_in_what_a_change_does_and_counts_once_in_a_gap():
    values, rows = students(teachers=3, own=1)
    cells = values[..., 0].swapaxes(0, 1)  # (arms, changes, blocks)
    within, whole = sum(map(left_beside, cells)) / 18, left_beside(cells.mean(1)) / 4  # 3 * 3 * 2 and 2 * 2
    found = gaps(rows, NUMBER)
    half = stats.t.ppf(0.975, 18) * np.sqrt(within * 2 * 1.5 / 3)
    np.testing.assert_allclose((found["high"] - found["estimate"])[1:], half)
    parts = np.array([whole, within * 3 / 4]) * 1.5 / 3
    half = stats.t.ppf(0.975, parts.sum() ** 2 / (parts**2 / [4, 18]).sum()) * np.sqrt(parts.sum())
    np.testing.assert_allclose(found["gap_high"] - found["gap"], half)


def test_pooled_apart_is_what_a_frame_of_the_changes_beside_one_alone_gives():
    _, rows = students(teachers=3)
    short = rows[rows["budget"].isin(["epochs=12", "epochs=12+temperature=4"])]
    of_short, of_others = gaps(short, NUMBER), gaps(rows[~rows["budget"].str.contains("temp")], NUMBER)
    expected = pd.concat([of_others[of_others["who"] != ""], of_short[of_short["who"] != "epochs=12"]])
    found = module.pooled_apart(rows, NUMBER)
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))
    whole = gaps(rows, NUMBER)[1:].reset_index(drop=True)
    pd.testing.assert_series_equal(found["estimate"], whole["estimate"])
    assert not np.isclose(found["high"], whole["high"]).any()
    assert module.pooled_apart(rows[:0], NUMBER).empty and module.pooled_apart(rows[rows["budget"] == ""]).empty


def test_what_teachers_do_widens_gaps_and_not_what_changes_do():
    one, other = (gaps(students(teachers=3, own=1, of_teacher=size)[1], NUMBER) for size in (0.0, 10.0))
    np.testing.assert_allclose((one["high"] - one["low"])[1:], (other["high"] - other["low"])[1:])
    assert (other["gap_high"] - other["gap_low"] > 3 * (one["gap_high"] - one["gap_low"])).all()


def test_a_change_that_lacks_an_arm_has_no_gap_and_leaves_the_others_theirs():
    values, rows = students()
    fewer = gaps(rows.query("not (budget == 'epochs=6' and teacher_augmentation == 'mixup')"), NUMBER)
    found = gaps(rows, NUMBER).query("who != 'epochs=6'")
    assert tuple(fewer["who"]) == tuple(found["who"]) and fewer["gap_low"].notna().all()
    np.testing.assert_allclose(fewer["estimate"], found["estimate"])


def test_without_both_mixing_teachers_there_is_no_gap():
    rows = students()[1].query("teacher_augmentation != 'mixup'")
    found = gaps(rows, NUMBER)
    assert found.empty and changes_of_gap(found, "None.", "tab-none") is None
    assert gap_by_change(found).figure.texts[0].get_text().startswith("There is no gap")
    assert gaps(rows[:0], NUMBER).columns.tolist() == found.columns.tolist()


def test_a_panel_has_the_changes_of_a_question_after_what_they_stand_beside():
    found = gaps(students()[1], NUMBER)
    length, scale = gap_by_change(found).figure.axes
    assert [axes.get_title(loc="left") for axes in (length, scale)] == ["Length", "Scale"]
    named = [[label.get_text() for label in axes.get_yticklabels()] for axes in (length, scale)]
    assert named == [["as it is", "epochs 6", "epochs 12", "the paper's"], ["epochs 12", "epochs 12, temperature 4"]]
    for axes, who in ((length, CHANGES[:3]), (scale, CHANGES[2:])):
        places = {line.get_ydata()[0]: line for line in axes.lines if line.get_marker() == "o"}
        for y, change in enumerate(who):
            assert places[y].get_xdata()[0] == pytest.approx(100 * found.set_index("who")["gap"][change])
            assert (places[y].get_markerfacecolor() == "none") == (y == 0)
        (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed.get_xdata()[0] == places[0].get_xdata()[0]


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
    assert module.printed_gap("cifar10", "lenet") == pytest.approx((0.633 + 0.621) / 2 - 0.652)
    assert np.isnan(module.printed_gap("digits", "lenet")) and np.isnan(module.printed_gap("cifar10", "perceptron"))


def test_each_network_has_its_own_gap_length_and_share():
    rows = students()[1]
    other = rows.assign(network="alexnet", epochs=rows["epochs"] + 40, mark=rows["mark"] + "a")
    found = gaps(pd.concat([rows, other]), NUMBER).groupby("network")
    assert {network: set(of["epochs"]) for network, of in found} == {"lenet": {10}, "alexnet": {50}}
    for network, of in found:
        changed = of[of["who"] != ""]
        np.testing.assert_allclose(changed["share"], changed["estimate"] / module.printed_gap("cifar10", network))


def test_what_a_change_does_is_told_of_each_augmentations_students():
    values, rows = students(teachers=3, own=1, of_teacher=5.0)
    found = module.by_augmentation(rows, NUMBER)
    means, beside = values.mean(axis=(2, 3)), {"": 0, "epochs=12": 2}
    assert len(found) == 3 * len(ARMS)
    for row in found.itertuples():
        at, arm = CHANGES.index(row.change), ARMS.index(row.augmentation)
        assert row.estimate == pytest.approx(means[at, arm] - means[beside[row.beside], arm])
    cells = values[..., 0].swapaxes(0, 1)  # (arms, changes, blocks): what a teacher does under all changes cancels
    half = stats.t.ppf(0.975, 18) * np.sqrt(sum(map(left_beside, cells)) / 18 * 2 / 3)
    np.testing.assert_allclose(found["high"] - found["estimate"], half)
    table = show(found, "Each.", "tab-x", "augmentation")
    assert (
        "| Change | None (baseline) | MixUp | CutMix | n | Runs |" in table
        and "\n| epochs 12, temperature 4 |" in table
    )
    assert module.by_augmentation(rows[:0], NUMBER).empty
