"""What of a student's gain over a network without a teacher is left without the teacher's knowledge.

The rules were declared in `kdlib.causes` (*Knowledge or restraint*).
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from kdlib.causes import SHORT
from kdlib.results.contrasts import COLUMNS, Arm, Cells, Kind
from kdlib.results.gaps import arm_under, as_arms
from kdlib.results.measures import ACCURACY, Measure
from kdlib.results.names import BASELINE

KEEPS, LOSES, MORE, OPEN = "keeps the gain", "loses of it", "more", "open"
SMOOTHED = "smoothed"  # labels, in the place of an augmentation of the images
TAUGHT: Arm = (arm_under(BASELINE, SHORT), BASELINE)
ALONE: Arm = ("alone", BASELINE)
TARGETS: dict[Arm, str] = {  # who is compared, by what it learns from beside labels
    TAUGHT: "the teacher's logits",
    (arm_under(BASELINE, f"{SHORT}+targets=class_means"), BASELINE): "their means over each class",
    (arm_under(BASELINE, f"{SHORT}+targets=shuffled"), BASELINE): "those of another image of the class",
    ("random", BASELINE): "the logits of a network that was never trained",
    ("uniform", BASELINE): "even odds",
    ("alone", SMOOTHED): "nothing, labels smoothed",
}
LESS = {ALONE: "no teacher", TAUGHT: "the student"}


def restraint(students: pd.DataFrame, untaught: pd.DataFrame, measure: Measure = ACCURACY) -> pd.DataFrame:
    """A row for each of `TARGETS` and of `LESS`, with the columns of `contrasts`, `targets` for `who`, and `says`.

    `students` are those of the chapter *Why*, their change as `budget`; `untaught` are `study.untaught`'s networks. Of
    what less the student, `says` is what the interval says of it (`kdlib.causes`). Empty where there are none.
    """
    columns = ["targets" if name == "who" else name for name in COLUMNS]
    of_baseline = students["teacher_augmentation"] == BASELINE
    short = students[of_baseline & students["budget"].str.startswith(SHORT)]
    if short.empty or untaught.empty:
        return pd.DataFrame(columns=[*columns, "says"])
    smoothed = [run.spec.recipe.label_smoothing > 0 for run in untaught["run"]]
    beside = untaught.assign(augmentation=untaught["augmentation"].mask(smoothed, SMOOTHED), budget="")
    cells = Cells(pd.concat([as_arms(short), beside], ignore_index=True), measure)
    of_students = [(kind, arms) for kind, arms in cells.arms.items() if kind.loss]  # who is not taught is beside each
    found = [row for kind, arms in of_students for row in compared(cells, kind, arms)]
    return pd.DataFrame(found, columns=[*columns, "says"])


def compared(cells: Cells, kind: Kind, arms: Mapping) -> Iterator[dict]:
    for arm, targets in TARGETS.items():
        for less, named in LESS.items():
            if arm != less and arm in arms and less in arms:
                sides = {"teacher_augmentation": "", "augmentation": ""}
                (row,) = cells.row({(kind, arm): 1.0, (kind, less): -1.0}, {"targets": targets, "less": named} | sides)
                yield row | {"says": says(row["low"], row["high"], cells.measure.nil) if less == TAUGHT else ""}


def says(low: float, high: float, nil: float) -> str:
    """What the interval of a network's accuracy less the student's says of it."""
    if -nil < low and high < nil:
        return KEEPS
    return LOSES if high < 0 else MORE if low > 0 else OPEN
