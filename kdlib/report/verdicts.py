"""The paper's claims and whether they hold: a table of verdicts, and a table of effects for each claim.

What is judged and how stands in `kdlib.results.claims`; here it is shown.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pandas as pd

from kdlib.report.editions import Edition, sizes
from kdlib.report.markdown import LEFT, MISSING, RIGHT, SPREAD, Markdown, links_once, number, numbered
from kdlib.report.tables import below_differences, counts, difference
from kdlib.results import claims, names
from kdlib.results.claims import NOT_RUN, Finding, Judgement

EXCLUDED = "†"
SAME = "the same"  # where a verdict hangs on teachers, beside the one before it


def table(judgements: Sequence[Judgement], name: str = "tab-verdicts") -> Markdown:
    """A row a claim: its primary effect in the paper, and the verdict under each form of the loss and budget."""
    cases = columns(judgements)
    header = ["", "Claim, and its primary effect", "Paper", *(title(*case, cases).capitalize() for case in cases), "n"]
    lines = []
    for claim, own in by_claim(judgements).items():
        primary = claim.effects[0]
        shown = [verdict_cell(own[case]) if case in own else "" for case in cases]
        if not claim.of_students:
            shown = [verdict_cell(own["", ""]), *[MISSING] * (len(cases) - 1)]
        lines.append([
            f"{{ref}}`{claim.id} <tab-claim-{claim.id}>`",  # to its effects
            f"{claim.statement} [{claim.source}]({claim.page}.ipynb)<br>*{primary.title}*",
            number(primary.printed(), sign="+"),
            *(shown if primary.of_students else told_once(shown)),
            counts(own[case].primary if case in own else None for case in (cases if claim.of_students else own)),
        ])  # fmt: skip
    sets = names.listing(dict.fromkeys(case.test_set for case in judgements if case.test_set))
    caption = f"The paper's claims, and whether they hold{f', judged on {sets}' if sets else ''}."
    align = [RIGHT, LEFT, RIGHT, *[LEFT] * len(cases), RIGHT]
    data = claims.tidy(judgements).query("primary").drop(columns=["primary", "part", "runs"])
    return numbered([header, align, *lines], caption, name, data, below(case.primary for case in judgements))


def effects(judgements: Sequence[Judgement], claim: int) -> Markdown:
    """Every effect of one claim: the paper's number, ours under each form of the loss and budget, what each says."""
    own = {(case.loss, case.budget): case for case in judgements if case.claim.id == claim}
    of = next(iter(own.values())).claim
    shown = {at: own[at] for at in (columns(own.values()) if of.of_students else own)}
    header = ["Effect", "Expected", "Paper", *(title(*at, list(shown)).capitalize() for at in shown), "n", "Runs"]
    lines = []
    for i, effect in enumerate(of.effects):
        found = [case.findings[i] for case in shown.values()]
        lines.append([
            effect.title, expectation(effect), number(effect.printed(), sign="+"), *map(effect_cell, found),
            counts(found),
            links_once(one.runs for one in found),
        ])  # fmt: skip
    align = [LEFT, LEFT, RIGHT, *[SPREAD] * len(shown), RIGHT, RIGHT]
    caption = f"Claim {of.id}: {of.statement} *Rule:* {of.rule}"
    data = claims.tidy(own.values()).drop(columns=["claim"])
    note = below(finding for case in shown.values() for finding in case.findings)
    return numbered([header, align, *lines], caption, f"tab-claim-{of.id}", data, note)


def columns(judgements: Iterable[Judgement]) -> list[tuple[str, str]]:
    """Form of the loss and budget of each column: those that there are students of, or all."""
    of_students = [case for case in judgements if case.claim.of_students]
    run = {
        (case.loss, case.budget)
        for case in of_students
        if any(found.effect.of_students and found.says != NOT_RUN for found in case.findings)
    }
    every = dict.fromkeys((case.loss, case.budget) for case in of_students)
    return [at for at in every if at in run] or list(every)


def by_claim(judgements: Iterable[Judgement]) -> dict[claims.Claim, dict[tuple[str, str], Judgement]]:
    found: dict = {}
    for case in judgements:
        found.setdefault(case.claim, {})[case.loss, case.budget] = case
    return found


def title(loss: str, budget: str, among: Sequence[tuple[str, str]]) -> str:
    """A column's: the form of the loss, and the budget where there are several."""
    several = len({one for _, one in among}) > 1
    return ", ".join(filter(None, (names.LOSSES.get(loss, loss), budget if several else ""))) or "ours"


def verdict_cell(case: Judgement) -> str:
    """A verdict, what holds of a claim that holds in part, and the primary effect with its interval."""
    told = f"[{case.verdict}]{{.verdict .{slug(case.verdict)}}}"
    if case.verdict == NOT_RUN:
        return told  # what is missing stands in the CSV
    parts = f": {'; '.join(case.held)}" if case.verdict == claims.IN_PART else ""
    return f"{told}{parts}<br>{estimate(case.primary)}"


def told_once(cells: Sequence[str]) -> list[str]:
    """Cells, each with a number only if that is not the one before it.

    >>> told_once(["refuted<br>0.1", "refuted<br>0.1", "holds<br>0.2", "–", "–"])
    ['refuted<br>0.1', 'the same', 'holds<br>0.2', '–', '–']
    """
    return [SAME if cell == before and "<br>" in cell else cell for before, cell in pairwise(["", *cells])]


def slug(verdict: str) -> str:
    """A verdict as the style sheet calls it.

    >>> slug("can't be told")
    'cant-be-told'
    """
    return verdict.replace("'", "").replace(" ", "-")


def effect_cell(finding: Finding) -> str:
    """Ours, and what it says of the claim."""
    return NOT_RUN if finding.says == NOT_RUN else estimate(finding, f" {finding.says}")


def estimate(finding: Finding, says: str = "") -> str:
    """Ours with its interval, and a mark where that excludes the size that the paper prints."""
    return difference(finding, after=EXCLUDED * bool(finding.excluded) + says)


def below(findings: Iterable[Finding]) -> str:
    found = list(findings)
    excluded = f" {EXCLUDED}: it excludes the size that the paper prints, whose own uncertainty is not known."
    return below_differences(found) + (excluded if any(finding.excluded for finding in found) else "")


def primary_matters(judgements: Sequence[Judgement]) -> Markdown | None:
    """Where a verdict hangs on which effect is the primary one; None where nothing is told of any claim."""
    nothing = {NOT_RUN, claims.UNTOLD, claims.NOT_TESTABLE}
    told = []
    for claim, own in by_claim(judgements).items():
        both = {at: (case.verdict, claims.by_one_augmentation(case)) for at, case in own.items()}
        for now, then in dict.fromkeys(pair for pair in both.values() if len(set(pair)) > 1):
            under = [title(*at, list(own)) for at, pair in both.items() if pair == (now, then)]
            where = f" ({'; '.join(under)})" if len(under) < len(own) else ""
            if not nothing & {now, then}:
                told.append(f"{{ref}}`claim {claim.id} <tab-claim-{claim.id}>`{where} *{then}* in place of *{now}*")
    if nothing.issuperset(case.verdict for case in judgements):
        return None
    effect = "If the first effect of one augmentation alone were the primary one of each claim,"
    return Markdown(f"{effect} the verdicts would be {'; '.join(told) or 'the same'}.")


def expectation(effect: claims.Effect) -> str:
    return f"{effect.expected} {'±' if effect.expected == 'within' else ''}{effect.threshold:g}"


def two_editions(own: Edition, other: Edition | None) -> Markdown:
    """Verdicts and primary effects of two editions, a row for each case that both have; bold where they differ."""
    if other is None:
        return Markdown("Of this edition's settings no other size is stored here as a whole: there is no comparison.")
    theirs = {(case.claim.id, case.loss, case.budget): case for case in other.judgements}
    pairs = [(case, theirs.get((case.claim.id, case.loss, case.budget))) for case in own.judgements]
    pairs = [(a, b) for a, b in pairs if b and NOT_RUN not in (a.verdict, b.verdict)]
    cases = list(dict.fromkeys((a.loss, a.budget) for a, _ in pairs if a.claim.of_students))
    lines = []
    for a, b in pairs:
        cells = [verdict_cell(a), verdict_cell(b)]
        if a.verdict != b.verdict:
            cells = [re.sub(r"^\[(.*?)\]", r"[**\1**]", cell) for cell in cells]
        of = title(a.loss, a.budget, cases) if a.claim.of_students else "no student"
        lines.append([f"{{ref}}`{a.claim.id} <tab-claim-{a.claim.id}>`", a.claim.effects[0].title, of, *cells])
    header = ["", "Primary effect", "Students", f"`{own.profile}`", f"`{other.profile}`"]
    told = "; ".join(f"`{one.profile}`: {sizes(pd.concat(one.frames.values()))}" for one in (own, other))
    data = pd.concat([claims.tidy(one.judgements).query("primary").assign(edition=one.profile) for one in (own, other)])
    caption = f"The claims in two editions, verdicts in bold where they differ. {told}."
    data = data.drop(columns=["primary", "part", "runs"])
    return numbered(
        [header, [RIGHT, LEFT, LEFT, LEFT, LEFT], *lines],
        caption,
        "tab-editions",
        data,
        below(case.primary for pair in pairs for case in pair),
    )
