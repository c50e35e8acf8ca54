"""The same claims in two editions, side by side: does a finding depend on the size of the networks?

An edition is judged on its own runs (`kdlib.claims`); here the verdicts of two are compared, and nothing is pooled.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from kdlib import claims, runs, study
from kdlib.claims import AGAINST, FAILS, FOR, HOLDS, NOT_RUN, Judgement
from kdlib.runs import Run
from kdlib.study import Settings
from kdlib.tables import NO_BREAK, SHORT_LOSSES, Markdown, directive, name_of_test_set, sizes


@dataclass(frozen=True)
class Edition:
    """An edition's settings, runs and verdicts; the first two by chapter, as `claims.judge` takes them."""

    settings: Mapping[str, Settings]
    made: Mapping[str, Sequence[Run]]
    judgements: Sequence[Judgement]

    @property
    def profile(self) -> str:
        return self.settings["students"].profile

    @property
    def code(self) -> str:
        return f"`{self.profile}`"


def beside_another(own: Edition) -> Markdown:
    """The verdicts of an edition and those of another size, if that is stored whole, and how often they agree."""
    if not as_profile(own.settings):
        return Markdown(f"These are not the settings of `{own.profile}` alone: no edition differs in size alone.")
    profile = other_size(own.settings)
    if profile is None:
        return Markdown(f"Of `{own.profile}` there is no other size: the other editions are on other data.")
    settings = {name: study.settings(name, profile) for name in claims.CHAPTERS}
    asked = {name: study.CHAPTERS[name](s) for name, s in settings.items()}
    every = dict.fromkeys(itertools.chain(*asked.values()))
    there = {run.spec: run for run in runs.stored(every)}
    if len(there) < len(every):
        return Markdown(f"Of the {len(every)} runs of `{profile}` not all are stored here: there is no comparison yet.")
    made = {name: [there[spec] for spec in specs] for name, specs in asked.items()}
    other = Edition(settings, made, claims.judge(made))
    return Markdown(f"{agreement(own, other)}\n\n{table(own, other)}")


def as_profile(settings: Mapping[str, Settings]) -> bool:
    """Whether settings ask for the runs of their profile and for no others."""
    return all(
        study.CHAPTERS[name](s) == study.CHAPTERS[name](study.settings(name, s.profile))
        for name, s in settings.items()
    )


def other_size(settings: Mapping[str, Settings]) -> str | None:
    """The profile that has these chapters on the same data at another size; None where there is none."""
    for profile in study.PROFILES:
        if all(
            s.profile != profile and s.dataset == study.settings(name, profile).dataset for name, s in settings.items()
        ):
            return profile
    return None


def agreement(own: Edition, other: Edition) -> str:
    """How often two editions come to the same, in sentences."""
    theirs = {(case.claim.id, case.reduction): case for case in other.judgements if case.verdict != NOT_RUN}
    judged = [
        (case, theirs[case.claim.id, case.reduction])
        for case in own.judgements
        if case.verdict != NOT_RUN and (case.claim.id, case.reduction) in theirs
    ]
    if not judged:
        return "The two editions have no verdict in common."
    same = Counter(a.verdict for a, b in judged if a.verdict == b.verdict)
    which = "; ".join(f"*{verdict}*: {number}" for verdict, number in same.items())
    apart = [(a, b) for a, b in judged if a.verdict != b.verdict]
    opposite = sum({a.verdict, b.verdict} == {HOLDS, FAILS} for a, b in apart)
    told = "".join(
        f"\n- claim {a.claim.id}{f' ({SHORT_LOSSES[a.reduction]})' if a.reduction else ''}: "
        f"*{a.verdict}* in {own.code}, *{b.verdict}* in {other.code}"
        for a, b in apart
    )
    effects = [(a.says, b.says) for one, two in judged for a, b in zip(one.findings, two.findings, strict=True)]
    sides = (FOR, AGAINST)
    clear = [(a, b) for a, b in effects if a in sides and b in sides]
    alike = sum(a == b for a, b in clear)
    in_one = sum((a in sides) != (b in sides) for a, b in effects)
    in_neither = len(effects) - len(clear) - in_one
    return (
        f"Of the {len(effects)} effects behind the verdicts that both editions come to, counted in each claim under "
        f"each loss, {len(clear)} are clear in both, for the claim or against it: on the same side in {alike}, on "
        f"opposite sides in {len(clear) - alike}. {in_one} are clear in one edition alone, and {in_neither} in "
        f"neither. There are {len(judged)} such verdicts: the same in {same.total()} cases"
        f"{f' ({which})' if which else ''}, opposite in {opposite}"
        f"{', and differing in these:' if told else '.'}\n{told}"
    ).rstrip()


def table(own: Edition, other: Edition) -> Markdown:
    """A row a claim: the verdict of each edition under each form of the loss, with its first effect."""
    header, align = ["", "First effect of the claim"], ["---:", ":---"]
    for edition in (own, other):
        header += [f"{edition.code}: {name}" for name in SHORT_LOSSES.values()]
        align += [":---"] * len(SHORT_LOSSES)
    rows, data = [], []
    of_both = (claims.grouped(edition.judgements) for edition in (own, other))
    for (claim, ours), (_, theirs) in zip(*of_both, strict=True):
        row = [f"{{ref}}`{claim.id} <tab-claim-{claim.id}>`", claim.effects[0].title]
        for edition, cases in ((own, ours), (other, theirs)):
            # Six columns are wide: here an interval may be broken.
            row += [cell.replace(NO_BREAK, " ") for cell in claims.shown_cases(cases)]
            data += [{"profile": edition.profile} | claims.as_row(case) for case in cases]
        rows.append(row)
    said = (
        f"The claims in two editions: verdicts, and the first effect of each claim with its interval. {networks(own)}; "
        f"{networks(other)}. The runs of {other.code} are those of `python -m kdlib report --profile {other.profile}`."
    )
    return directive([header, align, *rows], said, "tab-editions", pd.DataFrame(data))


def networks(edition: Edition) -> str:
    """How large an edition's networks are, how long they are trained, and with which seeds, where claims have them."""
    made = edition.made
    main, moved = ([*made.get("teachers", ()), *made.get("students", ())], made.get("ablation", ()))
    data, again = (name_of_test_set(edition.settings[name].dataset, "test") for name in ("students", "mnist"))
    told = [f"{edition.code} on {data}: {sizes(main)}"]
    if moved:
        told.append(f"in the ablation {sizes(moved)}")
    if made.get("mnist"):
        told.append(f"on {again} {sizes(made['mnist'])}")
    return "; ".join(told)
