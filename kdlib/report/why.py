"""The answer of the chapter *Why*, in three sentences: what length does, what the gap hangs on after short training,
and what a teacher's knowledge is worth.

What each outcome means was declared before the runs (`kdlib.causes`), and so were the words on length, but for those
on a gap that closes, which had it turn round. Those on the rest were put together anew, each change with its outcome,
when most results were known; the runs decide which outcome a change has, and its numbers (`kdlib.results.gaps`). The
last sentence has one outcome, its numbers, and was written when they were known.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pandas as pd

from kdlib.causes import SHORT, SHORT_EPOCHS
from kdlib.report.front import interval_in_points, points, within
from kdlib.report.markdown import Markdown
from kdlib.results.claims import MIXED
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN
from kdlib.results.names import BASELINE, listing, network_name

LENGTH = {  # what short training does, by what the interval says of it
    MAKES: "Short training makes the gap: {epochs} epochs change it by {does} points {within}, to {gap}, so that "
    "students of mixing teachers learn more slowly.",
    CLOSES: "Short training closes the gap: {epochs} epochs change it by {does} points {within}, to {gap}.",
    NOTHING: "Short training does nothing to the gap: {epochs} epochs change it by {does} points {within}.",
    OPEN: "Whether short training makes the gap can't be told: {epochs} epochs change it by {does} points {within}.",
}
WHERE = {  # the changes that are asked of the gap after short training
    "epochs=12+reduction=mean": "where the distillation term is as weak as in the released code's loss",
    "epochs=12+temperature=1": "where nothing is softened, at temperature 1",
    "epochs=12+targets=one_scale": "where all teachers' logits have one scale",
    "epochs=12+targets=class_means": "where teachers say the same of all images of a class",
    "epochs=12+kd_weight=0.1": "where the distillation term has a tenth of the weight and labels have the rest",
    "epochs=12+kd_weight=1.0": "where the distillation term has all the weight and labels have none",
}
GAIN = "closes by a gain"  # of MixUp's students or CutMix's, and not by what the baseline's lose
SAID = {  # what they do to it, in the order in which it is told
    GAIN: "it closes, as students of mixing teachers gain, {where}",
    CLOSES: "it closes, without a clear gain of mixing teachers' students, {where}",
    MAKES: "it grows {where}",
    NOTHING: "it stays, to within half a point, {where}",
    OPEN: "whether it changes {where} can't be told",
}
KNOWLEDGE = (
    "Over a network without a teacher, each kind trained for as long as held-out images favour, students of the "
    "baseline's teacher gain {taught}, those of a teacher that says nothing, and can only hold them back, {uniform}: "
    "what the teacher knows is worth {knows}."
)
UNTOLD = "One seed of each network can't tell what a change does from chance: this edition gives no answer."
NOT_TRAINED = "The students that would answer this have not been trained."


def causes_found(found: pd.DataFrame, each: pd.DataFrame, worth: pd.DataFrame) -> Markdown:
    """What the changes say, of those that were trained, network by network; `found` and `each` are what `gaps` and
    `by_augmentation` give, `worth` are contrasts of students and controls of the chosen lengths with the controls."""
    gained = each[each["augmentation"].isin(MIXED) & (each["low"] > 0)]
    asked = found[found["who"].isin([SHORT, *WHERE])]
    if asked.empty:
        return Markdown(NOT_TRAINED)
    if asked["low"].isna().all():
        return Markdown(UNTOLD)
    told = []
    for network, rows in asked.groupby("network", sort=False):
        by_change = {row.who: row for row in rows.itertuples()}
        gains = set(gained["change"][gained["network"] == network])
        before = f"{network_name(network)}: " if asked["network"].nunique() > 1 else ""
        of_network = worth[worth["network"] == network]
        said = [*of_length(by_change), *of_causes(by_change, gains), *of_knowledge(of_network)]
        told.append(before + " ".join(said))
    return Markdown("\n\n".join(told))


def of_length(rows: Mapping[str, tuple]) -> Iterator[str]:
    if row := rows.get(SHORT):
        does, gap = points(row.estimate), points(row.gap)
        yield LENGTH[row.says].format(epochs=SHORT_EPOCHS, does=does, within=within(row.low, row.high), gap=gap)


def of_causes(rows: Mapping[str, tuple], gains: Collection[str]) -> Iterator[str]:
    """One sentence on all of `WHERE`, by what they do; under those of `gains` students of a mixing teacher gain."""
    done = {one: rows[one].says for one in WHERE if one in rows}
    done |= {one: GAIN for one, says in done.items() if says == CLOSES and one in gains}
    told = []
    for outcome, clause in SAID.items():
        if where := [f"{WHERE[one]} {numbers(rows[one])}" for one, says in done.items() if says == outcome]:
            told.append(clause.format(where=listing(where)))
    if told:
        yield f"At {SHORT_EPOCHS} epochs {'; '.join(told)}."


def of_knowledge(worth: pd.DataFrame) -> Iterator[str]:
    rows = {(row.who, row.less): row for row in worth.itertuples() if not np.isnan(row.low)}
    asked = {"taught": (BASELINE, "alone"), "uniform": ("uniform", "alone"), "knows": (BASELINE, "uniform")}
    if all(pair in rows for pair in asked.values()):
        found = {name: rows[pair] for name, pair in asked.items()}
        said = {name: f"{points(row.estimate)} points {within(row.low, row.high)}" for name, row in found.items()}
        yield KNOWLEDGE.format(**said)


def numbers(row) -> str:
    """What a change does, in points, and the gap that is left."""
    return f"(by {points(row.estimate)} points, {interval_in_points(row.low, row.high)}, to {points(row.gap)})"
