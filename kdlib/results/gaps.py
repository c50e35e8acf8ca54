"""The headline's gap under each change of the chapter *Why*, and what the change does to it.

Students under all changes make one split-plot design (`contrasts`): a plot is a teacher's augmentation, an arm in it a
change, a block a teacher's seed.
"""

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
    plots = {
        (arm_under(one, change), BASELINE): one for one in rows["teacher_augmentation"].unique() for change in changes
    }
    cells, printed, found = Cells(as_arms(rows), measure, plots=plots), printed_gap(rows), []
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
            row |= {"share": row["estimate"] / printed, "says": says(row["low"], row["high"], measure.nil)}
            found.append(row if change else row | OF_UNCHANGED)
    return pd.DataFrame(found, columns=columns)


def as_arms(rows: pd.DataFrame) -> pd.DataFrame:
    """Students under several changes as networks of one kind."""
    names = [
        arm_under(augmentation, change)
        for augmentation, change in zip(rows["teacher_augmentation"], rows["budget"], strict=True)
    ]
    first = rows.iloc[0]
    return rows.assign(teacher_augmentation=names, loss=first["loss"], epochs=first["epochs"], budget="")


def arm_under(augmentation: str, change: str) -> str:
    """What an augmentation's students under a change are called, as arms."""
    return f"{augmentation} under {change.replace('+', ', ')}" if change else augmentation


def gap_under(change: str) -> dict[Arm, float]:
    """The weights of the gap under a change, by arm."""
    weights = dict.fromkeys(MIXED, 1 / len(MIXED)) | {BASELINE: -1.0}
    return {(arm_under(augmentation, change), BASELINE): weight for augmentation, weight in weights.items()}


def printed_gap(rows: pd.DataFrame) -> float:
    """The gap of accuracy in the paper's Table 1, of students of the same architecture; NaN where it prints none."""
    if rows["dataset"].iloc[0] != "cifar10":
        return np.nan
    try:
        return mean_difference(Column(ACCURACY, rows["network"].iloc[0], 1), "below", MIXED).printed()
    except paper.PaperError:
        return np.nan


def says(low: float, high: float, nil: float) -> str:
    """What the interval of what a change does says of it."""
    if -nil < low and high < nil:
        return NOTHING
    return MAKES if high < 0 else CLOSES if low > 0 else OPEN
