"""The front page: the answer to the paper's question in a few sentences, what it depends on, and how long the students
behind it trained.

The sentences were written by a person, one for each outcome that the headline can have; which of them stands on the
page, and with which numbers, the runs decide (`kdlib.results.claims`).
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdlib import budgets, runs
from kdlib.causes import SHORT, SHORT_EPOCHS, longer_than
from kdlib.report.figures import LONG, budget_curve, student_learning_curves, taught
from kdlib.report.markdown import Markdown, number
from kdlib.report.style import Picture, words
from kdlib.results.claims import AGAINST, FOR, NIL, NOT_RUN, Effect, Finding, Judgement, excluded
from kdlib.results.frame import frame
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN
from kdlib.results.names import LOSSES, network_name
from kdlib.study import Settings

HEADLINE = 4  # the claim that the paper's abstract makes of mixed samples
SUPPORTED, SMALLER, NO_EFFECT, CONTRADICTED, AT_MOST, UNDECIDED = (
    "supported", "smaller than the paper's", "no effect", "contradicted", "smaller if any", "undecided",
)  # fmt: skip
ANSWERS = {  # {size} and {paper} are points without a sign, {gap} is a difference with one
    SUPPORTED: "Yes: {networks} that learn from a teacher trained on mixed images (MixUp, CutMix) are less accurate "
    "than those that learn from a teacher trained on plain images, by {size} points {interval}, where the paper has "
    "{paper}.",
    SMALLER: "Yes, but by less than the paper says: {networks} that learn from a teacher trained on mixed images "
    "(MixUp, CutMix) are less accurate than those that learn from a teacher trained on plain images, by {size} points "
    "{interval}, which excludes the paper's {paper}.",
    NO_EFFECT: "No: {networks} that learn from a teacher trained on mixed images (MixUp, CutMix) are as accurate as "
    "those that learn from a teacher trained on plain images, to within half a point: the difference is {gap} points "
    "{interval}, where the paper has −{paper}.",
    CONTRADICTED: "No, the opposite: {networks} that learn from a teacher trained on mixed images (MixUp, CutMix) are "
    "more accurate than those that learn from a teacher trained on plain images, by {size} points {interval}, where "
    "the paper has them {paper} points behind.",
    AT_MOST: "Not by as much as the paper says, if at all: {networks} that learn from a teacher trained on mixed "
    "images (MixUp, CutMix) differ in accuracy by {gap} points {interval} from those that learn from a teacher trained "
    "on plain images, and the interval excludes the paper's −{paper}.",
    UNDECIDED: "We can't tell whether {networks} that learn from a teacher trained on mixed images (MixUp, CutMix) are "
    "less accurate than those that learn from a teacher trained on plain images: the difference is {gap} points "
    "{interval}, where the paper has −{paper}.",
}
CHOSEN = (  # where a second budget follows
    "That is under the loss of the paper's formula, at the length of training that held-out images favour; "
)
# Its recipe is older than the choice, and the norm that it clips at is smaller: not the length alone differs.
SAME = (
    "long training, which clips gradients more tightly, ends with the same answer: there the difference is {gap} "
    "points {interval}."
)
AS_OPEN = (
    "long training, which clips gradients more tightly, does not settle it either: there the difference is {gap} "
    "points {interval}."
)
AFTER_LONG = "after long training, which clips gradients more tightly, "
INSTEAD = {  # of the long training, where it ends otherwise
    SUPPORTED: "the students of mixed images' teachers are less accurate, by {size} points {interval}, as the paper "
    "has it.",
    SMALLER: "the students of mixed images' teachers are less accurate, by {size} points {interval}, which is less "
    "than the paper has.",
    NO_EFFECT: "there is no such difference: it is {gap} points {interval}, within half a point.",
    CONTRADICTED: "the students of mixed images' teachers are more accurate, by {size} points {interval}.",
    AT_MOST: "it can't be told, though the paper's size is excluded: the difference is {gap} points {interval}.",
    UNDECIDED: "it can't be told: the difference is {gap} points {interval}.",
}
OTHER_NETWORK = "For {network} students{long} the difference is {gap} points {interval}, where the paper has −{paper}."
LONG_ALONE = ", which have the long training alone,"
INSTEAD_OF = "{epochs} epochs in place of {usual}{clipping}"
NO_TIGHTER = " and no tighter clipping"  # as long as the long training, or nearly: said of longer ones alone
IS = (
    "the difference is {gap} points {within}{paper}, a change of {does} {does_within} among the seeds that have both "
    "lengths."
)
EXCLUDES = {True: ", which excludes the paper's {printed}", False: ", which does not exclude the paper's {printed}"}
OTHER_LENGTHS = {  # what that does to the difference, by what the interval of the change says
    MAKES: f"With {INSTEAD_OF}, students of mixed images' teachers lose ground to the others: {IS}",
    CLOSES: f"With {INSTEAD_OF}, students of mixed images' teachers gain ground on the others: {IS}",
    NOTHING: f"With {INSTEAD_OF}, it stays, to within half a point: {IS}",
    OPEN: f"Whether {INSTEAD_OF} change it can't be told: {IS}",
}
ONE_LENGTH = (
    "These students were trained for one length; whether the answer depends on it can be read from trials of other "
    "lengths, where there are any (the curves beside)."
)
NO_ANSWER = "The students that would answer this have not been trained."
CAUTIONS = {  # what an edition can't say, before anything else; nothing of the full study
    "demo": "This is the edition `demo`: narrow networks on small images of digits. It shows the study at work and "
    "says nothing of the paper's claims, whatever the figures and the table below may look like.",
    "cpu": "This is the edition `cpu`: its networks are reduced in width and in length of training, and what it finds "
    "is of these networks and not of the paper's.",
}


def answer(profile: str, judgements: Sequence[Judgement], changes: pd.DataFrame | None = None) -> Markdown:
    """What the edition can't say, then the answer under the chosen budget, that under the long one, and after other
    lengths of training, if `changes` of `kdlib.results.gaps` have it."""
    found = headline(judgements)
    if not found:
        said = NO_ANSWER
    else:
        (_, first), *others = sorted(found.items(), key=lambda item: item[0] == LONG)
        after = of_other_lengths(changes, first.effect)
        then = [second(first, others[0][1])] if others else [] if after else [ONE_LENGTH]
        said = " ".join([told(ANSWERS[outcome(first)], first), *then])
        if listed := [f"- {one}" for one in (*after, *other_networks(judgements))]:
            said += "\n\n" + "\n".join(listed)
    if profile in CAUTIONS:
        said = f":::{{admonition}} An edition with limits\n:class: warning\n{CAUTIONS[profile]}\n:::\n\n{said}"
    return Markdown(said)


def headline(judgements: Sequence[Judgement]) -> dict[str, Finding]:
    """The headline's primary effect under the formula's loss, by budget: the mean of MixUp and CutMix less none."""
    return {case.budget: case.primary for case in of_headline(judgements) if case.primary.says != NOT_RUN}


def of_headline(judgements: Sequence[Judgement]) -> list[Judgement]:
    return [case for case in judgements if case.claim.id == HEADLINE and case.loss == next(iter(LOSSES))]


def outcome(effect: Finding) -> str:
    """Which of the outcomes an effect is; the paper's is a loss."""
    smaller = effect.excluded and abs(effect.estimate) < abs(effect.effect.printed())
    others = AT_MOST if effect.excluded else UNDECIDED
    return {FOR: SMALLER if smaller else SUPPORTED, NIL: NO_EFFECT, AGAINST: CONTRADICTED}.get(effect.says, others)


def second(first: Finding, long: Finding) -> str:
    ending = outcome(long)
    alike = AS_OPEN if ending in (AT_MOST, UNDECIDED) else SAME
    return told(CHOSEN + (alike if ending == outcome(first) else AFTER_LONG + INSTEAD[ending]), long)


def other_networks(judgements: Sequence[Judgement]) -> list[str]:
    """The headline's effect in students of other networks than the first, under the first budget that has them."""
    cases, found = sorted(of_headline(judgements), key=lambda case: case.budget == LONG), {}
    for case in cases:
        for one in case.findings[1:]:
            if len(one.effect.terms) == len(case.claim.effects[0].terms) and one.says != NOT_RUN:
                long = LONG_ALONE if case.budget == LONG != cases[0].budget else ""
                found.setdefault(one.effect, told(OTHER_NETWORK.replace("{long}", long), one))
    return list(found.values())


def of_other_lengths(changes: pd.DataFrame | None, effect: Effect) -> list[str]:
    """What short training does to the effect, and the longest that is longer than usual, a sentence each; none where
    there are no such students, or one seed of them, or where they train for no longer as it is."""
    if changes is None:
        return []
    found = changes[changes["network"] == effect.columns[0].network]
    by_change = {row.who: row for row in found.itertuples() if not np.isnan(row.low)}
    shorter = [SHORT] if SHORT in by_change and by_change[SHORT].epochs > SHORT_EPOCHS else []
    return [
        OTHER_LENGTHS[row.says].format(
            epochs=row.who.removeprefix("epochs="), usual=row.epochs, gap=points(row.gap),
            within=within(row.gap_low, row.gap_high), does=points(row.estimate), does_within=within(row.low, row.high),
            paper=beside_the_papers(effect, row), clipping="" if row.who == SHORT else NO_TIGHTER,
        ) for row in map(by_change.get, [*shorter, *longer_of(by_change)[-1:]])
    ]  # fmt: skip


def longer_of(rows: Mapping[str, tuple]) -> list[str]:
    """Those of the changes that train for longer than as it is, the longest last; `rows` of `gaps` by change."""
    usual = max((row.epochs for row in rows.values()), default=0)
    return [change for change in longer_than(usual) if change in rows]


def beside_the_papers(effect: Effect, row) -> str:
    """Whether the interval of a gap excludes what the paper prints, as a clause; none where it prints none of these."""
    of_gap = {"dataset": row.dataset, "split": row.split, "low": row.gap_low, "high": row.gap_high}
    says = excluded(effect, of_gap)
    return "" if says is None else EXCLUDES[says].format(printed=points(effect.printed()))


def within(low: float, high: float) -> str:
    return f"(95 % interval {points(low)} to {points(high)})"


def told(text: str, effect: Finding) -> str:
    """A sentence with the numbers of an effect, in points."""
    one_seed = "(from one teacher each, so that chance can't be told from an effect)"
    network = network_name(effect.effect.columns[0].network)
    return text.format(
        networks=f"small networks ({network})",
        network=network,
        size=number(100 * abs(effect.estimate), 1),
        gap=points(effect.estimate),
        paper=number(100 * abs(effect.effect.printed()), 1),
        interval=one_seed if np.isnan(effect.low) else within(effect.low, effect.high),
    )


def points(difference: float) -> str:
    return number(100 * difference, 1, "+")


# ---------------------------------------------------------------- how long students train


def length(settings: Settings) -> Picture:
    """What students reach on images held out, by the length of their training; words where no length was tried."""
    found = trials(settings)
    return budget_curve(found) if len(found) else words("No length was tried in this edition.")


def learning(settings: Settings, students: pd.DataFrame) -> Picture:
    """Learning curves of the longest trials, which have images held out; where no length was tried, of the students."""
    found = taught(trials(settings))
    longest = found[found["epochs"] == found.groupby(["network", "loss"])["epochs"].transform("max")]
    return student_learning_curves(longest if len(longest) else students)


def trials(settings: Settings) -> pd.DataFrame:
    """The stored trials of each length, at the rate and norm that were chosen: where there is every augmentation's."""
    found = []
    for network, group, loss in itertools.product(settings.students, budgets.LEARNERS, settings.reductions):
        if chosen := settings.networks[network].get("chosen"):
            rates = chosen["peak_lr"], chosen["clip_norm"]
            for epochs in budgets.LADDER:
                specs = budgets.length_trials(settings, network, group, loss, *rates, epochs)
                made = runs.stored(specs)
                found += made if len(made) == len(specs) else []
    return frame(found)
