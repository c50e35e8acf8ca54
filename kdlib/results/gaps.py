"""The headline's gap under each change of the chapter *Why*, and what the change does to it.

Students under all changes make one split-plot design (`contrasts`): a plot is a teacher's augmentation, an arm in it a
change, a block a teacher's seed.
"""

import itertools

import numpy as np
import pandas as pd

from kdlib.causes import reference_of
from kdlib.results import paper
from kdlib.results.claims import MIXED, Column, mean_difference
from kdlib.results.contrasts import COLUMNS, Arm, Cells
from kdlib.results.measures import ACCURACY, Measure
from kdlib.results.names import BASELINE

MAKES, CLOSES, NOTHING, OPEN = "makes the gap", "closes the gap", "nothing", "open"
OF_UNCHANGED = dict.fromkeys(("estimate", "low", "high", "p", "share"), np.nan) | {"clear": False, "says": ""}


def gaps(rows: pd.DataFrame, measure: Measure = ACCURACY) -> pd.DataFrame:
    """A row a change, with the columns of `contrasts`: `who` is the change, `less` its reference, "" none.

    `rows` are students with their change as `budget`. `estimate`, `low` and `high` are of what the change does, and of
    the unchanged NaN; `gap`, `gap_low` and `gap_high` of the gap under it; `share` is of the paper's gap, `says` what
    the interval says (`kdlib.causes`). Empty where a mixing teacher or the baseline's has no students.
    """
    columns = [*COLUMNS, "gap", "gap_low", "gap_high", "share", "says"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    changes = tuple(dict.fromkeys(rows["budget"]))
    cells, found = cells_of(rows, measure), []
    for change in changes:
        reference = reference_of(change, changes)
        own, beside = gap_under(change), gap_under(reference)
        does = own | {arm: -weight for arm, weight in beside.items()} if change else own
        names = {"who": change, "less": reference, "teacher_augmentation": "", "augmentation": ""}
        for kind, arms in cells.arms.items():
            if not all(arm in arms for arm in does):
                continue
            (gap,) = cells.row({(kind, arm): weight for arm, weight in own.items()}, {})
            (row,) = cells.row({(kind, arm): weight for arm, weight in does.items()}, names)
            row |= {"gap": gap["estimate"], "gap_low": gap["low"], "gap_high": gap["high"]}
            printed = printed_gap(kind.dataset, kind.network)
            row |= {"share": row["estimate"] / printed, "says": says(row["low"], row["high"], measure.nil)}
            found.append(row if change else row | OF_UNCHANGED)
    return pd.DataFrame(found, columns=columns)


def pooled_apart(rows: pd.DataFrame, measure: Measure = ACCURACY) -> pd.DataFrame:
    """The changed of `gaps`, but what is left to chance is pooled over those alone that stand beside the same one."""
    changes = tuple(dict.fromkeys(rows["budget"]))
    beside = {change: reference_of(change, changes) for change in changes if change}
    found = [gaps(rows[:0])]
    for one in dict.fromkeys(beside.values()):
        family = [one, *(change for change, reference in beside.items() if reference == one)]
        found.append(gaps(rows[rows["budget"].isin(family)], measure).query("who != @one"))
    return pd.concat([one for one in found if len(one)] or found, ignore_index=True)


def by_augmentation(rows: pd.DataFrame, measure: Measure = ACCURACY) -> pd.DataFrame:
    """What each change does to the students of each augmentation's teachers: a row of both, with the columns of
    `contrasts`, `change` and `beside` for `who` and `less`. `rows` as in `gaps`."""
    found = []
    if len(rows):
        changes, cells = tuple(dict.fromkeys(rows["budget"])), cells_of(rows, measure)
        for change, augmentation in itertools.product(filter(None, changes), rows["teacher_augmentation"].unique()):
            reference = reference_of(change, changes)
            arm, beside = ((arm_under(augmentation, one), BASELINE) for one in (change, reference))
            names = {"who": change, "less": reference, "teacher_augmentation": "", "augmentation": augmentation}
            for kind, arms in cells.arms.items():
                if arm in arms and beside in arms:
                    found += cells.row({(kind, arm): 1.0, (kind, beside): -1.0}, names)
    return pd.DataFrame(found, columns=list(COLUMNS)).rename(columns={"who": "change", "less": "beside"})


def cells_of(rows: pd.DataFrame, measure: Measure) -> Cells:
    """Students under several changes as one split-plot design."""
    arms = as_arms(rows)
    names = zip(arms["teacher_augmentation"], arms["augmentation"], strict=True)
    return Cells(arms, measure, plots=dict(zip(names, rows["teacher_augmentation"], strict=True)))


def as_arms(rows: pd.DataFrame) -> pd.DataFrame:
    """Students of a network under several changes as networks of one kind, that of the unchanged."""
    names = [
        arm_under(augmentation, change)
        for augmentation, change in zip(rows["teacher_augmentation"], rows["budget"], strict=True)
    ]
    unchanged = rows.groupby("network")[["loss", "epochs"]].transform("first")
    return rows.assign(teacher_augmentation=names, budget="", **unchanged)


def arm_under(augmentation: str, change: str) -> str:
    """What an augmentation's students under a change are called, as arms."""
    return f"{augmentation} under {change.replace('+', ', ')}" if change else augmentation


def gap_under(change: str) -> dict[Arm, float]:
    """The weights of the gap under a change, by arm."""
    weights = dict.fromkeys(MIXED, 1 / len(MIXED)) | {BASELINE: -1.0}
    return {(arm_under(augmentation, change), BASELINE): weight for augmentation, weight in weights.items()}


def printed_gap(dataset: str, network: str) -> float:
    """The gap of accuracy in the paper's Table 1, of students of the same architecture; NaN where it prints none."""
    if dataset != "cifar10":
        return np.nan
    try:
        return mean_difference(Column(ACCURACY, network, 1), "below", MIXED).printed()
    except paper.PaperError:
        return np.nan


def says(low: float, high: float, nil: float) -> str:
    """What the interval of what a change does says of it."""
    if -nil < low and high < nil:
        return NOTHING
    return MAKES if high < 0 else CLOSES if low > 0 else OPEN
