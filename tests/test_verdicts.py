"""Claims as tables: each verdict in its own column, with its primary effect, and every effect one table further."""

from types import SimpleNamespace

import pytest
from fakes import chapter

from kdlib.report import verdicts
from kdlib.report.markdown import MISSING, number
from kdlib.results import claims
from kdlib.results.frame import frame


def harmed(spec):
    """Students of MixUp and CutMix teachers are far less accurate."""
    return 0.4 if any(one in str(getattr(spec, "teacher", "")) for one in ("mixup", "cutmix")) else 0.7


def judged(accuracy, *budgets, **options):
    made = chapter("students", accuracy, seeds=(0, 1), **options)
    return [case for one in budgets or ("long",) for case in claims.judge({"students": frame(made, one)})]


@pytest.fixture(scope="module")
def judgements():
    return judged(harmed)


def rows(table):
    header, _, *lines = [line[2:-2].split(" | ") for line in table.splitlines() if line.startswith("|")]
    return header, {line[0]: line for line in lines}


def test_each_claim_has_its_verdicts_and_a_link_to_its_effects(judgements):
    header, lines = rows(verdicts.table(judgements))
    assert header[3:] == ["Formula", "Released code", "n"] and len(lines) == 13
    fourth = lines["{ref}`4 <tab-claim-4>`"]
    case = next(case for case in judgements if case.claim.id == 4 and case.loss == "batchmean")
    assert case.verdict == claims.HOLDS
    assert fourth[3].startswith("[holds]{.verdict .holds}<br>**−") and f"{case.primary.estimate:.3f}"[1:] in fourth[3]
    assert verdicts.EXCLUDED in fourth[3] and "excludes the size that the paper prints" in verdicts.table(judgements)
    assert lines["{ref}`1 <tab-claim-1>`"][3].startswith("[not run]{.verdict .not-run}")
    assert lines["{ref}`1 <tab-claim-1>`"][4] == MISSING


def test_a_verdict_on_teachers_is_told_once_and_one_on_students_under_each_loss():
    level = lambda spec: 0.7 if hasattr(spec, "teacher") else 0.9  # noqa: E731
    made = {name: frame(chapter(name, level, seeds=(0, 1)), "long") for name in ("teachers", "students")}
    _, lines = rows(verdicts.table(claims.judge(made)))
    assert lines["{ref}`10 <tab-claim-10>`"][4] == verdicts.SAME and "<br>" in lines["{ref}`10 <tab-claim-10>`"][3]
    assert all(verdicts.SAME not in line for at, line in lines.items() if at[6:8] in ("2 ", "4 ", "3 "))


def test_verdicts_that_hang_on_the_primary_effect_are_told_with_where(judgements):
    assert verdicts.primary_matters(judgements).endswith("the verdicts would be the same.")

    def cutmix_alone_impairs(spec):
        of = getattr(spec, "teacher", spec)
        return {("cutmix",): 0.6, ("mixup",): 0.97}.get(of.augmentations, 0.7)

    cases = judged(cutmix_alone_impairs)
    fourth = next(case for case in cases if case.claim.id == 4)
    then = claims.by_one_augmentation(fourth)
    assert (fourth.verdict, then) == (claims.REFUTED, claims.UNDECIDED)
    said = verdicts.primary_matters(cases)
    assert "{ref}`claim 4 <tab-claim-4>` *undecided* in place of *refuted*" in said and "claim 9 " not in said
    both = [*judgements, *judged(cutmix_alone_impairs, "chosen")]
    where = "`claim 4 <tab-claim-4>` (formula, chosen; released code, chosen) *undecided* in place of *refuted*"
    assert where in verdicts.primary_matters(both)
    some = judged(cutmix_alone_impairs, "chosen", augmentations=["none", "cutmix"])  # no mean is run
    assert verdicts.primary_matters(some) is None
    assert verdicts.primary_matters([*judgements, *some]) == verdicts.primary_matters(judgements)
    one_seed = claims.judge({"students": frame(chapter("students", seeds=(0,)), "long")})
    assert verdicts.primary_matters(one_seed) is None


def test_two_budgets_stand_side_by_side(judgements):
    both = [*judgements, *judged(lambda spec: 0.7, "chosen")]
    header, lines = rows(verdicts.table(both))
    assert header[3:7] == ["Formula, long", "Released code, long", "Formula, chosen", "Released code, chosen"]
    fourth = lines["{ref}`4 <tab-claim-4>`"]
    assert "holds" in fourth[3] and "holds" not in fourth[5]


def test_what_holds_of_a_claim_that_holds_in_part_is_said():
    in_part = judged(lambda spec: 0.4 if "mixup" in str(getattr(spec, "teacher", "")) + "cutmix" else harmed(spec))
    case = next(case for case in in_part if case.verdict == claims.IN_PART)
    assert f": {case.held[0]}" in verdicts.verdict_cell(case)


def test_one_seed_tells_nothing():
    made = frame(chapter("students", harmed, seeds=[0]), "long")
    table = verdicts.effects(claims.judge({"students": made}), 4)
    assert "one seed" in table and "{.seeds}" not in table and "can't tell a difference from chance" in table


def test_every_effect_has_the_papers_number_ours_and_what_it_says(judgements):
    header, lines = rows(verdicts.effects(judgements, 2))
    assert header == ["Effect", "Expected", "Paper", "Formula", "Released code", "n", "Runs"]
    claim = next(claim for claim in claims.CLAIMS if claim.id == 2)
    assert list(lines) == [effect.title for effect in claim.effects]
    for effect in claim.effects:
        line = lines[effect.title]
        assert line[2] == number(effect.printed(), sign="+") and line[5] == "2"
    mixup = next(line for title, line in lines.items() if title.endswith("MixUp less the baseline"))
    assert mixup[3].startswith("**−") and " for [−" in mixup[3] and mixup[6].count("](run:s0-") == 4


def test_two_editions_stand_side_by_side_and_differences_are_bold(judgements):
    own = SimpleNamespace(profile="paper", judgements=judgements, frames={"students": frame(chapter("students"))})
    same = judged(lambda spec: 0.7)
    other = SimpleNamespace(profile="cpu", judgements=same, frames=own.frames)
    table = verdicts.two_editions(own, other)
    header, _ = rows(table)
    fourth = [line for line in table.splitlines() if "tab-claim-4>" in line]
    assert header[3:] == ["`paper`", "`cpu`"] and len(fourth) == 2
    assert all("[**holds**]{.verdict .holds}" in line for line in fourth)
    assert "[**" not in verdicts.two_editions(own, own)
    assert "no comparison" in verdicts.two_editions(own, None)
