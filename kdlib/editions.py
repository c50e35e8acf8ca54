"""The same claims in two editions, side by side: does a finding depend on the size of the networks?

An edition is judged on its own runs (`kdlib.claims`); here the verdicts of two are compared, and nothing is pooled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdlib import claims, runs, study
from kdlib.claims import AGAINST, FAILS, FOR, HOLDS, NOT_RUN, Judgement
from kdlib.study import Settings
from kdlib.tables import SHORT_LOSSES, Markdown, directive, listing, network_name


@dataclass(frozen=True)
class Edition:
    """The settings of an edition's teachers and students, and its verdicts as `claims.judge` gives them."""

    settings: Settings
    judgements: Sequence[Judgement]

    @property
    def name(self) -> str:
        return f"`{self.settings.profile}`"


def beside_another(own: Edition) -> Markdown:
    """The verdicts of an edition and those of another that is stored, and how often they agree."""
    other = find_other(own.settings)
    if other is None:
        return Markdown("The runs of another edition on the same data are not stored here.")
    return Markdown(f"{agreement(own, other)}\n\n{table(own, other)}")


def find_other(own: Settings) -> Edition | None:
    """The other profile on the same data set, as far as its runs are stored; nothing is trained."""
    for profile in study.PROFILES:
        s = study.settings("students", profile)
        if profile == own.profile or s.dataset != own.dataset:
            continue
        specs = {name: study.CHAPTERS[name](study.settings(name, profile)) for name in claims.CHAPTERS}
        judgements = claims.judge({name: runs.stored(asked) for name, asked in specs.items()})
        if any(case.verdict != NOT_RUN for case in judgements):
            return Edition(s, judgements)
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
    same = sum(a.verdict == b.verdict for a, b in judged)
    opposite = [(a, b) for a, b in judged if {a.verdict, b.verdict} == {HOLDS, FAILS}]
    effects = [pair for a, b in judged for pair in zip(a.findings, b.findings, strict=True)]
    clear = [(a.says, b.says) for a, b in effects if {a.says, b.says} <= {FOR, AGAINST}]
    alike = sum(a == b for a, b in clear)
    told = "; ".join(
        f"claim {a.claim.id}{f' ({SHORT_LOSSES[a.reduction]})' if a.reduction else ''} {a.verdict} in {own.name} "
        f"and {b.verdict} in {other.name}"
        for a, b in opposite
    )
    return (
        f"Of {len(judged)} verdicts that both editions have, {same} are the same; "
        f"{f'these are the opposite: {told}' if opposite else 'none is the opposite'}. Of the {len(effects)} effects "
        f"behind them, {len(clear)} speak in both editions, for a claim or against it: {alike} on the same side, and "
        f"{len(clear) - alike} on different ones."
    )


def table(own: Edition, other: Edition) -> Markdown:
    """A row a claim: the verdict of each edition under each form of the loss, with its first effect."""
    header, align = ["", "First effect of the claim"], ["---:", ":---"]
    for edition in (own, other):
        header += [f"{edition.name}: {name}" for name in SHORT_LOSSES.values()]
        align += [":---"] * len(SHORT_LOSSES)
    rows, data = [], []
    of_both = (claims.grouped(edition.judgements) for edition in (own, other))
    for (claim, ours), (_, theirs) in zip(*of_both, strict=True):
        row = [f"{{ref}}`{claim.id} <tab-claim-{claim.id}>`", claim.effects[0].title]
        for edition, cases in ((own, ours), (other, theirs)):
            cells = [claims.shown_case(case) for case in cases]
            row += cells if claim.of_students else [*cells, "no student"]
            data += [{"profile": edition.settings.profile} | claims.as_row(case) for case in cases]
        rows.append(row)
    said = (
        "The claims in two editions: verdicts, and the first effect of each claim with its interval. "
        f"{networks(own)}; {networks(other)}."
    )
    return directive([header, align, *rows], said, "tab-editions", pd.DataFrame(data))


def networks(edition: Edition) -> str:
    """How large the networks of an edition are, how long they are trained, and how often."""
    s = edition.settings
    trained = [(s.teacher, s.teacher_epochs), *((model, s.student_epochs) for model in s.students)]
    sizes = [f"{network_name(model)} of width {s.width(model)}, {epochs} epochs" for model, epochs in trained]
    return f"{edition.name}: {'; '.join(sizes)}; seed{'s' if len(s.seeds) > 1 else ''} {listing(s.seeds)}"
