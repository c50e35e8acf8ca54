"""The front page: its sentences say what the runs say, whatever that is."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import test_claims
from test_claims import LEVEL, chapter
from test_extensions import papermill

from kdlib import claims, front, stats, tables
from kdlib.front import Difference
from kdlib.runs import Distilled as Student, Supervised as Teacher
from kdlib.stats import Interval

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
few_resamples = test_claims.few_resamples  # of the bootstrap, here too


def accuracies(random=LEVEL, alone=LEVEL, **by_arm):
    """Accuracy of students by their teacher's arm, and of the controls."""
    of_arm = test_claims.student_arm(**by_arm)

    def accuracy(spec):
        if isinstance(spec, Teacher):
            return alone
        return of_arm(spec) if spec.teacher.recipe.epochs else random

    return accuracy


def page(students, teachers=None):
    judgements = claims.judge({"students": students} | ({"teachers": teachers} if teachers else {}))
    return judgements, front.differences(judgements, students)


def test_a_planted_harm_of_mixed_samples_is_told():
    students = chapter("students", accuracies(mixup=0.5, cutmix=0.4))
    teachers = chapter("teachers", lambda spec: 0.9 if spec.augmentations == ("cutmix",) else LEVEL)
    text = front.of_mixed(*page(students, teachers))
    assert "is clearly more accurate than the baseline teacher" in text and "where the paper has +10.2" in text
    assert text.count("clearly less accurate in all four comparisons and clearly more accurate in none") == 2
    told = [float(number.replace("−", "-")) for number in re.findall(r"differences from ([+−][\d.]+) to", text)]
    assert told == pytest.approx([100 * (0.4 - LEVEL)] * 2, abs=2)
    assert "test images alone" not in text  # there are three seeds


def test_a_planted_gain_is_told_as_such():
    text = front.of_mixed(*page(chapter("students", accuracies(mixup=0.8, cutmix=0.8))))
    assert text.count("clearly less accurate in none of four comparisons and clearly more accurate in four") == 2


def test_no_difference_is_neither():
    text = front.of_mixed(*page(chapter("students", accuracies())))
    assert text.count("clearly less accurate in none of four comparisons and clearly more accurate in none") == 2


def test_one_network_may_differ_where_the_other_does_not():
    def accuracy(spec):
        return accuracies(**({"mixup": 0.5, "cutmix": 0.4} if spec.model == "alexnet" else {}))(spec)

    judgements, found = page(chapter("students", accuracy, seeds=(0,)))
    lenet, alexnet = front.of_mixed(judgements, found).split("; ")
    assert "LeNet students" in lenet and "in none of four" in lenet and "(in the paper from −3.1 to −1.9)" in lenet
    assert "AlexNet students" in alexnet and "in all four" in alexnet and "over test images alone" in alexnet
    headline = front.of_headline(judgements)
    assert headline.count("is undecided under") == 2 and headline.count("2\N{NO-BREAK SPACE}for") == 2


def test_a_headline_that_was_not_run_is_not_told():
    judgements, _ = page([])
    assert front.of_headline(judgements) == ""


def test_what_a_teacher_is_worth_is_told_from_its_student():
    text = front.of_distillation(page(chapter("students", accuracies(random=0.4, alone=0.9)))[1])
    _, without, of_random = text.split("Beside ")
    assert "is clearly more accurate in none of four comparisons and clearly less accurate in four" in without
    assert "is clearly more accurate in all four comparisons and clearly less accurate in none" in of_random
    for part, planted in ((without, LEVEL - 0.9), (of_random, LEVEL - 0.4)):
        told = [float(number.replace("−", "-")) for number in re.findall(r"[+−]\d+\.\d", part)]
        assert len(told) == 2 and told == pytest.approx([100 * planted] * 2, abs=2)


def test_controls_are_mean_differences_with_intervals_that_hold_the_truth():
    students = chapter("students", accuracies(alone=0.5, random=0.6))
    found = {(d.model, d.reduction, d.arm): d.interval for d in page(students)[1]}
    for (model, reduction, arm), interval in found.items():
        if arm not in ("alone", "random"):
            continue
        mine = [r for r in students if r.spec.model == model]
        base = {
            r.spec.seed: r for r in mine
            if isinstance(r.spec, Student) and r.spec.reduction == reduction and r.spec.teacher.recipe.epochs
            and not r.spec.teacher.augmentations
        }  # fmt: skip
        other = {
            r.spec.seed: r for r in mine
            if (isinstance(r.spec, Teacher) if arm == "alone" else
                isinstance(r.spec, Student) and r.spec.reduction == reduction and not r.spec.teacher.recipe.epochs)
        }  # fmt: skip
        share = {
            run.key: np.mean(run.predictions["test_logits"].argmax(1) == run.predictions["test_labels"])
            for run in [*base.values(), *other.values()]
        }
        by_hand = np.mean([share[other[s].key] - share[base[s].key] for s in base])
        assert interval.mean == pytest.approx(by_hand) and interval.n == 3
        assert interval.low < {"alone": 0.5, "random": 0.6}[arm] - LEVEL < interval.high
    assert len(found) == 2 * 2 * 6


def test_arms_have_the_intervals_of_the_claims():
    judgements, found = page(chapter("students", accuracies(cutmix=0.6)))
    case = next(j for j in judgements if j.claim.id == 2 and j.reduction == "mean")
    told = {d.arm: d.interval for d in found if (d.model, d.reduction) == ("lenet", "mean")}
    assert {f.effect.terms[0][1]: f.interval for f in case.findings} == {a: told[a] for a in claims.AUGMENTED}


def test_verdicts_are_counted_under_each_loss():
    judgements, _ = page(chapter("students", accuracies(mixup=0.5, cutmix=0.4, crop_flip=0.6, cutout=0.6)))
    text = front.of_claims(judgements)
    for reduction, name in tables.SHORT_LOSSES.items():
        verdicts = [j.verdict for j in judgements if j.reduction in (reduction, None)]
        assert len(verdicts) == 13
        part = next(part for part in text.split("; ") if name in part)
        for verdict in set(verdicts):
            one, more = front.VERDICTS[verdict]
            number = verdicts.count(verdict)
            assert f"{number} {one if number == 1 else more}" in part


@pytest.mark.parametrize("profile", ["demo", "cpu"])
def test_a_small_edition_warns_and_the_full_one_does_not(profile):
    judgements, found = page(chapter("students", accuracies()))
    assert front.sentences(profile, judgements, found).startswith(":::{admonition}")
    assert not front.sentences("paper", judgements, found).startswith(":::")
    if profile == "demo":
        assert "says nothing of the paper's claims" in front.sentences(profile, judgements, found)


def test_without_students_it_says_so_and_draws_nothing():
    judgements, found = page([])
    assert found == [] and "No students" in front.sentences("paper", judgements, found)
    assert "13 are not run" in front.of_claims(judgements)
    assert b"<svg" in front.figure(found).bytes()


@pytest.mark.parametrize(("low", "high", "side"), [(0.1, 0.3, 1), (-0.3, -0.1, -1), (-0.1, 0.3, 0)])
def test_clearly_is_a_whole_interval_on_one_side(low, high, side):
    assert Difference("lenet", "mean", "cutmix", Interval((low + high) / 2, low, high, 2)).side == side


def test_the_figure_and_the_table_show_every_row():
    judgements, found = page(chapter("students", accuracies()))
    drawn = front.figure(found).bytes().decode()
    for text in ("CutMix teacher", "no teacher", "random teacher", "LeNet students", "AlexNet students"):
        assert text in drawn
    table = front.verdicts(judgements)
    headline = next(case for case in judgements if case.claim.id == front.HEADLINE)
    assert claims.tally(headline) in table and "**" not in table
    for claim in range(1, 14):
        assert table.count(f"\n| {{ref}}`{claim} <tab-claim-{claim}>` |") == 1
    assert "](" not in table.partition("download=")[2] and "{." not in table.partition("download=")[2]  # plain as CSV
    assert stats.RESAMPLES == 500  # of the fixture: this file is quick


# --- the notebook ---


def test_the_page_takes_the_parameters_of_the_verdicts_and_holds_no_outputs():
    front_page, verdicts = (
        [cell for cell in nbformat.read(NOTEBOOKS / name, as_version=4).cells if cell.cell_type == "code"]
        for name in ("00_intro.ipynb", "06_verdicts.ipynb")
    )
    assert front_page[0].source == verdicts[0].source and "parameters" in front_page[0].metadata.tags
    for cell in front_page:
        assert cell.outputs == [] and cell.execution_count is None
        assert {"hide-input", "hide-cell"} & set(cell.metadata.tags)


def test_a_page_that_lacks_most_runs_is_made_all_the_same(tmp_path):
    tiny = dict(augmentations="[none, cutmix]", students="[lenet]")
    executed = papermill("intro", tmp_path / "out.ipynb", {"KDLIB_RUNS": str(tmp_path / "runs")}, **tiny)
    assert "says nothing of the paper's claims" in executed and "are not run" in executed
