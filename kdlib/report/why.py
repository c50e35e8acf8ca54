"""The answers of the chapter *Why*: what length does to the gap, what the gap at 12 epochs hangs on, and what is left
of a student's gain without its teacher's knowledge.

What each outcome means was declared before the runs (`kdlib.causes`), and so were the words on length and on the gain.
Those on what the gap hangs on were put together anew, each change with its outcome, when most results were known; the
runs decide which outcome a change has, and its numbers (`kdlib.results.gaps`, `kdlib.results.restraint`).
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from kdlib.causes import SHORT
from kdlib.report.front import points, within
from kdlib.report.markdown import Markdown
from kdlib.results import restraint
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN
from kdlib.results.names import listing

LENGTH = {  # what short training does, by what the interval says of it
    MAKES: "Short training makes the gap: 12 epochs change it by {does} points {within}, to {gap}, so that students of "
    "mixing teachers learn more slowly.",
    CLOSES: "Short training turns the gap round: 12 epochs change it by {does} points {within}, to {gap}.",
    NOTHING: "Short training does nothing to the gap: 12 epochs change it by {does} points {within}.",
    OPEN: "Whether short training makes the gap can't be told: 12 epochs change it by {does} points {within}.",
}
WHERE = {  # the changes that are asked of the gap at 12 epochs
    "epochs=12+reduction=mean": "where the distillation term is as weak as in the released code's loss",
    "epochs=12+temperature=1": "where nothing is softened, at temperature 1",
    "epochs=12+targets=one_scale": "where all teachers' logits have one scale",
    "epochs=12+targets=class_means": "where teachers say the same of all images of a class",
}
SAID = {  # what they do to it, in the order in which it is told
    CLOSES: "it closes {where}",
    MAKES: "it grows {where}",
    NOTHING: "it stays, to within half a point, {where}",
    OPEN: "whether it changes {where} can't be told",
}
GAIN = "At 12 epochs the student of the baseline's teacher is {gain} points {within} above a network without a teacher."
LEFT = {  # what is left of that gain, by what is learned beside labels
    restraint.KEEPS: "it is the same, to within half a point, with {targets}",
    restraint.LOSES: "it is less with {targets}",
    restraint.MORE: "it is more with {targets}",
    restraint.OPEN: "whether it is with {targets} can't be told",
}
UNTOLD = "One seed of each network can't tell what a change does from chance: this edition gives no answer."
NOT_TRAINED = "The students that would answer this have not been trained."


def causes_found(found: pd.DataFrame) -> Markdown:
    """What the changes say, of those that were trained."""
    rows = {row.who: row for row in found.itertuples() if row.who in (SHORT, *WHERE)}
    if not rows:
        return Markdown(NOT_TRAINED)
    if all(np.isnan(row.low) for row in rows.values()):
        return Markdown(UNTOLD)
    return Markdown(" ".join([*of_length(rows), *of_causes(rows)]))


def of_length(rows: Mapping[str, tuple]) -> Iterator[str]:
    if row := rows.get(SHORT):
        does, gap = points(row.estimate), points(row.gap)
        yield LENGTH[row.says].format(does=does, within=within(row.low, row.high), gap=gap)


def of_causes(rows: Mapping[str, tuple]) -> Iterator[str]:
    """One sentence on all of `WHERE`, by what they do."""
    told = []
    for outcome, clause in SAID.items():
        if where := [
            f"{WHERE[one]} {numbers(rows[one])}" for one in WHERE if one in rows and rows[one].says == outcome
        ]:
            told.append(clause.format(where=listing(where)))
    if told:
        yield f"At 12 epochs {'; '.join(told)}."


def numbers(row) -> str:
    """What a change does, in points, and the gap that is left."""
    return f"(by {between(row)}, to {points(row.gap)})"


def gain_left(found: pd.DataFrame) -> Markdown:
    """What `kdlib.results.restraint` says of the gain, and of what is left of it."""
    taught, alone = restraint.TARGETS[restraint.TAUGHT], restraint.LESS[restraint.ALONE]
    rows = list(found.itertuples())
    gain = next((row for row in rows if (row.targets, row.less) == (taught, alone)), None)
    if gain is None:
        return Markdown(NOT_TRAINED)
    if np.isnan(gain.low):
        return Markdown(UNTOLD)
    told = []
    for outcome, clause in LEFT.items():
        if targets := [f"{row.targets} ({between(row)})" for row in rows if row.says == outcome]:
            told.append(clause.format(targets=listing(targets)))
    first = GAIN.format(gain=points(gain.estimate), within=within(gain.low, gain.high))
    return Markdown(f"{first} Beside that {'; '.join(told)}." if told else first)


def between(row) -> str:
    """A difference and its interval, in points."""
    return f"{points(row.estimate)} points, {points(row.low)} to {points(row.high)}"
