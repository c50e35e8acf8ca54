"""The answer of the chapter *Why*, a sentence each: what length does, what the released code's way of training does,
what the gap hangs on after short training, and what a teacher's knowledge is worth.

What each outcome means was declared before the runs (`kdlib.causes`), and so were the words on length, but for those on
a gap that closes, which had it turn round, and those on the released protocol. That students learn more slowly is said
since an audit only where longer training was tried, as the rule has it; the words on longer training were written when
its first result was known, and that nobody need gain by it when its second was. Those on the rest were put together
anew, each change with its outcome, when most results were known; the runs decide which outcome a change has, and its
numbers (`kdlib.results.gaps`). The last sentence has one outcome, its numbers, and was written when they were known;
the mean of all teachers came into it afterwards, as the baseline's alone is the largest.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pandas as pd

from kdlib.causes import PROTOCOL, SHORT, SHORT_EPOCHS
from kdlib.report.front import longer_of, points, within
from kdlib.report.markdown import Markdown
from kdlib.results.claims import MIXED
from kdlib.results.contrasts import contrasts, weighted
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN
from kdlib.results.measures import ACCURACY
from kdlib.results.names import BASELINE, change_titles, listing, network_name

LENGTH = {  # what short training does, by what the interval says of it
    MAKES: "Short training makes the gap: {epochs} epochs change it by {does} points {within}, to {gap}{slower}.",
    CLOSES: "Short training closes the gap: {epochs} epochs change it by {does} points {within}, to {gap}.",
    NOTHING: "Short training does nothing to the gap: {epochs} epochs change it by {does} points {within}.",
    OPEN: "Whether short training makes the gap can't be told: {epochs} epochs change it by {does} points {within}.",
}
SLOWER = ", so that students of mixing teachers learn more slowly"  # where longer training is known to make no gap
LONGER = {  # what the longest training does that is longer than usual, told with the gap that it leaves
    MAKES: "Longer training makes a gap: {epochs} epochs change it by {does} points {within}, to {gap} {gap_within}.",
    CLOSES: "Longer training closes it: {epochs} epochs change it by {does} points {within}, to {gap} {gap_within}"
    "{ahead}.",
    NOTHING: "Longer training does nothing to it: {epochs} epochs change it by {does} points {within}.",
    OPEN: "Whether longer training changes it can't be told: {epochs} epochs do by {does} points {within}, to {gap} "
    "{gap_within}.",
}
AHEAD = ", where students of mixing teachers are ahead{not_by_gain}"
NOT_BY_GAIN = ": not that they gain by it, but the baseline's students lose more"
PROTOCOLS = {  # what training as the released code does, told with the gap that it leaves
    MAKES: "{how} the gap grows: it is {gap} points {gap_within}, a change of {does} {within}.",
    CLOSES: "{how} the gap closes: it is {gap} points {gap_within}, a change of {does} {within}.",
    NOTHING: "{how} the gap stays, to within half a point: it is {gap} points {gap_within}.",
    OPEN: "{how} the gap is {gap} points {gap_within}; whether that is a change, of {does} {within}, can't be told.",
}
TOLD = {  # the changes that have a sentence of their own, and how it begins
    SHORT: (LENGTH, ""),
    PROTOCOL: (PROTOCOLS, "Under the released code's optimiser and schedule"),
    f"{PROTOCOL}+reduction=mean": (PROTOCOLS, "Under its form of the loss as well"),
}
WHERE = {  # the changes that are asked of the gap after short training
    "epochs=12+reduction=mean": "under the released code's weaker loss",
    "epochs=12+temperature=1": "at temperature 1, where nothing is softened",
    "epochs=12+targets=one_scale": "with all teachers' logits on one scale",
    "epochs=12+targets=class_means": "with one and the same logits for all images of a class",
    "epochs=12+kd_weight=0.1": "with a tenth of the weight on the teacher",
    "epochs=12+kd_weight=1.0": "with no weight on the labels",
}
GAIN = "closes by a gain"  # of MixUp's students or CutMix's
BOTH = "closes from both sides"  # as those gain and the baseline's lose
SAID = {  # what they do to it, in the order in which it is told
    GAIN: "it closes, as students of mixing teachers gain, {where}",
    BOTH: "it closes, as students of mixing teachers gain and the baseline's lose, {where}",
    CLOSES: "it closes, without a clear gain of mixing teachers' students, {where}",
    MAKES: "it grows {where}",
    NOTHING: "it stays, to within half a point, {where}",
    OPEN: "whether it changes {where} can't be told",
}
KNOWLEDGE = (
    "What teachers know is worth {all} to their students on average over all teachers, what the baseline's knows "
    "{knows}: over a network without a teacher, each kind trained for as long as held-out images favour, the "
    "baseline's students gain {taught}, and those of a teacher that says nothing, and can only hold them back, "
    "{uniform}."
)
OTHERWISE = "Pooled so, the outcome would be another of {told}."
AS_IT_IS = "Pooled so, no outcome would be another."
ALL_TAUGHT = "mean of all teachers"
UNTOLD = "One seed of each network can't tell what a change does from chance: this edition gives no answer."
NOT_TRAINED = "The students that would answer this have not been trained."


def causes_found(found: pd.DataFrame, each: pd.DataFrame, worth: pd.DataFrame) -> Markdown:
    """What the changes say, of those that were trained, network by network; `found` and `each` are what `gaps` and
    `by_augmentation` give, `worth` are contrasts of students and controls of the chosen lengths with the controls."""
    gained = each[each["augmentation"].isin(MIXED) & (each["low"] > 0)]
    asked = found[found["who"].isin([*TOLD, *WHERE])]
    if asked.empty:
        return Markdown(NOT_TRAINED)
    if asked["low"].isna().all():
        return Markdown(UNTOLD)
    lost = each[(each["augmentation"] == BASELINE) & (each["high"] < 0)]
    told = []
    for network in asked["network"].unique():
        by_change = {row.who: row for row in found[found["network"] == network].itertuples()}
        gains, losses = (set(some["change"][some["network"] == network]) for some in (gained, lost))
        before = f"{network_name(network)}:\n\n" if asked["network"].nunique() > 1 else ""
        of_network = worth[worth["network"] == network]
        said = [*of_training(by_change, gains, losses), *of_causes(by_change, gains, losses), *of_knowledge(of_network)]
        told.append(before + "\n".join(f"- {sentence}" for sentence in said))
    return Markdown("\n\n".join(told))


def of_training(rows: Mapping[str, tuple], gains: Collection[str], losses: Collection[str]) -> Iterator[str]:
    """A sentence on each of `TOLD` that was trained, and on longer training; under the changes of `gains` students of a
    mixing teacher gain, under those of `losses` the baseline's lose."""
    longer = dict.fromkeys(longer_of(rows)[-1:], (LONGER, ""))
    told = {SHORT: TOLD[SHORT]} | longer | TOLD
    for change, row, (words, how) in ((one, rows[one], of) for one, of in told.items() if one in rows):
        not_by_gain = NOT_BY_GAIN if change in losses and change not in gains else ""
        yield words[row.says].format(
            epochs=change.removeprefix("epochs="), does=points(row.estimate), within=within(row.low, row.high),
            gap=points(row.gap), gap_within=within(row.gap_low, row.gap_high), how=how,
            slower=SLOWER if only_short(rows) else "",
            ahead=AHEAD.format(not_by_gain=not_by_gain) if row.gap_low > 0 else "",
        )  # fmt: skip


def only_short(rows: Mapping[str, tuple]) -> bool:
    """Whether students were trained for longer than as they are, and the gap stayed or closed."""
    longer = [rows[change].says for change in longer_of(rows)]
    return bool(longer) and {NOTHING, CLOSES}.issuperset(longer)


def of_causes(rows: Mapping[str, tuple], gains: Collection[str], losses: Collection[str]) -> Iterator[str]:
    """One sentence on all of `WHERE`, by what they do; under those of `gains` students of a mixing teacher gain, under
    those of `losses` the baseline's lose."""
    done = {one: rows[one].says for one in WHERE if one in rows and rows[one].less == SHORT}
    done |= {one: BOTH if one in losses else GAIN for one, says in done.items() if says == CLOSES and one in gains}
    told = []
    for outcome, clause in SAID.items():
        if where := [f"{WHERE[one]} {left(rows[one])}" for one, says in done.items() if says == outcome]:
            told.append(clause.format(where=listing(where)))
    if told:
        yield f"At {SHORT_EPOCHS} epochs {'; '.join(told)}."


def left(row) -> str:
    """The gap that a change leaves, in points, with its interval."""
    return f"(to {points(row.gap)} points, {points(row.gap_low)} to {points(row.gap_high)})"


def worth_of_knowledge(students: pd.DataFrame) -> pd.DataFrame:
    """Contrasts of students and controls with a network without a teacher and with students of even odds, and of all
    trained teachers' students, their mean, with the latter: what knowledge is worth, in accuracy."""
    found = contrasts(students, ACCURACY, minus=["alone", "uniform"])
    trained = students.loc[~students["control"].astype(bool), "teacher_augmentation"].unique()
    weights = {(one, BASELINE): 1 / len(trained) for one in trained} | {("uniform", BASELINE): -1.0}
    average = [weighted(students, ACCURACY, weights, ALL_TAUGHT, "uniform")] if len(trained) else []
    return pd.concat([found[found["loss"] != ""], *average])


def of_knowledge(worth: pd.DataFrame) -> Iterator[str]:
    rows = {(row.who, row.less): row for row in worth.itertuples() if not np.isnan(row.low)}
    asked = {
        "taught": (BASELINE, "alone"), "uniform": ("uniform", "alone"),
        "knows": (BASELINE, "uniform"), "all": (ALL_TAUGHT, "uniform"),
    }  # fmt: skip
    if all(pair in rows for pair in asked.values()):
        found = {name: rows[pair] for name, pair in asked.items()}
        said = {name: f"{points(row.estimate)} points {within(row.low, row.high)}" for name, row in found.items()}
        yield KNOWLEDGE.format(**said)


def pooled_otherwise(found: pd.DataFrame, apart: pd.DataFrame) -> Markdown | None:
    """Whose outcome is another where chance is judged by changes beside the same one alone: `pooled_apart`. None where
    nothing is told from chance."""
    both = found.merge(apart, on=["network", "who"], suffixes=("", "_apart"))
    titles = change_titles(both["who"], both["network"])
    both = both.assign(change=titles).dropna(subset=["low", "low_apart"])
    if both.empty:
        return None
    told = [
        f"*{row.change}*: {row.says_apart} {within(row.low_apart, row.high_apart)}"
        for row in both[both["says"] != both["says_apart"]].itertuples()
    ]
    return Markdown(OTHERWISE.format(told=listing(told)) if told else AS_IT_IS)
