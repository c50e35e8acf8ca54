"""The front page: for every outcome that the runs can have, the sentences that a person wrote for it."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun, chapter

from kdlib import budgets, runs, study
from kdlib.report import front
from kdlib.results import claims
from kdlib.results.claims import CLAIMS, Finding, Judgement, judge
from kdlib.results.frame import frame

CLAIM = next(claim for claim in CLAIMS if claim.id == front.HEADLINE)
EFFECT = CLAIM.effects[0]
EFFECTS = {  # estimate, low, high, what it says, whether it excludes the paper's size
    front.SUPPORTED: (-0.024, -0.031, -0.017, claims.FOR, False),
    front.SMALLER: (-0.0116, -0.0148, -0.0083, claims.FOR, True),
    front.NO_EFFECT: (0.0012, -0.0021, 0.0044, claims.NIL, True),
    front.CONTRADICTED: (0.0163, 0.0123, 0.0204, claims.AGAINST, True),
    front.AT_MOST: (-0.0042, -0.0108, 0.0024, claims.OPEN, True),
    front.UNDECIDED: (-0.0091, -0.0289, 0.0132, claims.OPEN, False),
}


def judged(**of_budget) -> list[Judgement]:
    """The headline's judgements with one of `EFFECTS` for each budget."""
    found = []
    for budget, name in of_budget.items():
        estimate, low, high, says, excluded = EFFECTS[name]
        finding = Finding(EFFECT, says, estimate, low, high, n=3, excluded=excluded)
        other = Finding(EFFECT, claims.OPEN)  # under the other loss
        by_loss = {"mean": other, "batchmean": finding}
        found += [Judgement(CLAIM, loss, budget, "", (), (one,)) for loss, one in by_loss.items()]
    return found


def test_the_headline_is_mixed_samples_less_the_baseline():
    assert CLAIM.source == "Abstract" and {arm for _, arm, _ in EFFECT.terms} == {"mixup", "cutmix", "none"}
    assert EFFECT.expected == "below" and EFFECT.printed() < 0


@pytest.mark.parametrize("name", EFFECTS)
def test_every_outcome_has_an_answer_with_its_numbers(name):
    text = front.answer("paper", judged(chosen=name))
    opening = {
        front.SUPPORTED: "Yes: ", front.SMALLER: "Yes, but by less", front.NO_EFFECT: "No: ",
        front.CONTRADICTED: "No, the opposite: ", front.AT_MOST: "Not by as much as the paper says, if at all: ",
        front.UNDECIDED: "We can't tell whether ",
    }[name]  # fmt: skip
    assert text.startswith(opening) and text.endswith(front.ONE_LENGTH)
    estimate, low, high, *_ = EFFECTS[name]
    assert f"(95 % interval {front.points(low)} to {front.points(high)})" in text
    assert f"{abs(100 * estimate):.1f} points" in text and "2.5" in text and "LeNet" in text
    assert ("are less accurate" in text) == (name not in (front.NO_EFFECT, front.CONTRADICTED, front.AT_MOST))
    assert ("are more accurate" in text.replace("\n", " ")) == (name == front.CONTRADICTED)


@pytest.mark.parametrize("long", EFFECTS)
@pytest.mark.parametrize("chosen", EFFECTS)
def test_two_budgets_make_two_sentences_whichever_way_each_ends(chosen, long):
    text = front.answer("paper", judged(long=long, chosen=chosen))  # whichever comes first in the frames
    assert len(re.findall(r"\.(?= [A-Z]|$)", text)) == 2
    first, second = text.split(". ", 1)[0], text.split(". ", 1)[1]
    assert first + "." == front.answer("paper", judged(chosen=chosen)).replace(f" {front.ONE_LENGTH}", "")
    assert ("the same answer" in second or "does not settle it either" in second) == (chosen == long)
    _, low, high, *_ = EFFECTS[long]
    assert f"{front.points(low)} to {front.points(high)}" in second
    if chosen != long:
        assert ("less accurate" in second) == (long in (front.SUPPORTED, front.SMALLER))
        assert ("more accurate" in second) == (long == front.CONTRADICTED)
        assert ("can't be told" in second) == (long in (front.AT_MOST, front.UNDECIDED))
        assert ("size is excluded" in second) == (long == front.AT_MOST)


CHANGES = {  # gap and what makes it, each with its interval, by what the change says
    front.MAKES: ((-0.0187, -0.0263, -0.0111), (-0.0145, -0.0262, -0.0028)),
    front.CLOSES: ((0.0113, 0.0037, 0.0189), (0.0155, 0.0038, 0.0272)),
    front.NOTHING: ((-0.0072, -0.0104, -0.0040), (-0.0030, -0.0048, -0.0012)),
    front.OPEN: ((-0.0121, -0.0203, -0.0039), (-0.0079, -0.0196, 0.0038)),
}


def changed(says, network="lenet", epochs=20):
    """Rows of `gaps` of one network: as it is, and with short training."""
    (gap, gap_low, gap_high), (estimate, low, high) = CHANGES[says]
    rows = [
        {"who": "", "says": "", "gap": -0.004, "gap_low": -0.012, "gap_high": 0.004, "low": np.nan},
        {"who": front.SHORT, "says": says, "gap": gap, "gap_low": gap_low, "gap_high": gap_high, "low": low}
        | {"estimate": estimate, "high": high},
    ]
    return pd.DataFrame(rows).assign(network=network, epochs=epochs, dataset="cifar10", split="test")


@pytest.mark.parametrize("says", CHANGES)
@pytest.mark.parametrize("name", EFFECTS)
def test_what_shorter_training_does_is_a_sentence_with_the_gap_and_its_change(name, says):
    budgets_ = {"chosen": name, "long": front.NO_EFFECT}
    without, text = front.answer("paper", judged(**budgets_)), front.answer("paper", judged(**budgets_), changed(says))
    assert text.startswith(f"{without}\n\n- ") and "{" not in text
    last = text.removeprefix(without)
    assert "12 epochs in place of 20" in last and ("half a point" in last) == (says == front.NOTHING)
    gap, change = ([front.points(one) for one in numbers] for numbers in CHANGES[says])
    assert f"is {gap[0]} points (95 % interval {gap[1]} to {gap[2]})" in last
    of_change = f"a change of {change[0]} (95 % interval {change[1]} to {change[2]})"
    assert last.endswith(f"{of_change} among the seeds that have both lengths.")
    assert ("lose ground" in last, "gain ground" in last) == (says == front.MAKES, says == front.CLOSES)
    assert ("can't be told" in last) == (says == front.OPEN)
    excluding = CHANGES[says][0][1] > -0.025  # of the paper
    assert f"{gap[2]}), which {'excludes' if excluding else 'does not exclude'} the paper's −2.5, a change of" in last
    elsewhere = changed(says).assign(dataset="mnist")
    assert "the paper's" not in front.answer("paper", judged(**budgets_), elsewhere).removeprefix(without)


def test_short_training_is_told_of_where_it_is_shorter_and_of_the_headlines_network_alone():
    two = pd.concat([changed(front.CLOSES, network="alexnet"), changed(front.MAKES)])
    text = front.answer("paper", judged(chosen=front.AT_MOST), two)
    assert "lose ground" in text and "gain ground" not in text and front.ONE_LENGTH not in text
    without = front.answer("paper", judged(chosen=front.AT_MOST))
    for nothing in (changed(front.MAKES)[:1], changed(front.MAKES)[:0], changed(front.MAKES).assign(low=np.nan),
                    changed(front.MAKES, epochs=12), changed(front.MAKES, network="alexnet")):  # fmt: skip
        assert front.answer("paper", judged(chosen=front.AT_MOST), nothing) == without


def test_the_claims_other_network_is_told_of_under_the_first_budget_that_has_it():
    first, long = judged(chosen=front.AT_MOST)[1], judged(long=front.AT_MOST)[1]
    of_other = CLAIM.effects[1]
    assert of_other.columns[0].network == "alexnet"
    lacking, one_seed = Finding(of_other, claims.NOT_RUN), Finding(of_other, claims.ONE_SEED, -0.0105)
    single = Finding(CLAIM.effects[4], claims.ONE_SEED, -0.03)

    def told(**others):
        cases = {"chosen": first, "long": long}
        given = [
            dataclasses.replace(cases[at], findings=(*cases[at].findings, one, single)) for at, one in others.items()
        ]
        before = front.answer("paper", [cases[at] for at in others])
        return front.answer("paper", given).removeprefix(before)

    numbers = (
        f"the difference is {front.points(-0.0105)} points (from one teacher each, so that chance can't be told from "
        f"an effect), where the paper has −{-100 * of_other.printed():.1f}."
    )
    assert told(long=one_seed) == told(chosen=one_seed) == f"\n\n- For AlexNet students {numbers}"
    for order in ({"chosen": lacking, "long": one_seed}, {"long": one_seed, "chosen": lacking}):
        assert told(**order) == f"\n\n- For AlexNet students, which have the long training alone, {numbers}"
    assert (
        told(long=dataclasses.replace(one_seed, estimate=0.5), chosen=one_seed)
        == f"\n\n- For AlexNet students {numbers}"
    )
    assert told(chosen=lacking) == ""


def test_the_long_training_of_the_full_study_clips_more_tightly_as_the_page_says():
    for network in study.settings("students", "paper").networks.values():
        if chosen := network.get("chosen"):
            assert network["clip_norm"] < chosen["clip_norm"]
    others = (study.settings("students", profile).networks for profile in ("demo", "cpu"))
    assert not any("chosen" in network for networks in others for network in networks.values())


def test_longer_training_is_told_after_the_short_one_and_the_longest_alone():
    short = changed(front.MAKES)
    longer = [changed(front.CLOSES)[1:].assign(who=f"epochs={epochs}") for epochs in (30, 60)]
    cases = judged(chosen=front.AT_MOST, long=front.UNDECIDED)
    before, text = (front.answer("paper", cases, pd.concat([short, *more])) for more in ([], longer))
    last = text.removeprefix(f"{before}\n- ")
    assert last.startswith(
        "With 60 epochs in place of 20 and no tighter clipping, students of mixed images' teachers gain ground on the "
        "others: the difference"
    )
    assert "30 epochs" not in text
    one_seed = pd.concat([short, longer[0].assign(low=np.nan)])
    as_long = pd.concat([short, *longer]).assign(epochs=60)
    assert front.answer("paper", cases, one_seed) == before and "60 epochs in" not in front.answer(
        "paper", cases, as_long
    )


def test_a_loss_larger_than_the_papers_supports_it_too():
    larger = Finding(EFFECT, claims.FOR, -0.06, -0.07, -0.05, n=3, excluded=True)
    assert front.outcome(larger) == front.SUPPORTED


def test_one_seed_leaves_the_answer_open_and_says_why():
    finding = Finding(EFFECT, claims.ONE_SEED, -0.03, n=1)
    text = front.answer("paper", [Judgement(CLAIM, "batchmean", "", "", (), (finding,))])
    assert text.startswith("We can't tell") and "one teacher each" in text and "nan" not in text


def test_without_the_students_there_is_no_answer():
    assert front.answer("paper", []) == front.NO_ANSWER
    missing = Judgement(CLAIM, "batchmean", "", claims.NOT_RUN, (), (Finding(EFFECT, claims.NOT_RUN),))
    assert front.answer("paper", [missing]) == front.NO_ANSWER


@pytest.mark.parametrize(("profile", "warned"), [("demo", True), ("cpu", True), ("paper", False)])
def test_an_edition_with_limits_says_so_first(profile, warned):
    text = front.answer(profile, judged(chosen=front.SMALLER))
    assert text.startswith(":::{admonition}") == warned and (f"`{profile}`" in text) == warned


def test_a_planted_harm_and_a_planted_gain_are_answered_as_such():
    def planted(level):
        def accuracy(spec):
            of = getattr(spec, "teacher", spec).augmentations
            return level if of in (("mixup",), ("cutmix",)) else 0.7

        return frame(chapter("students", accuracy, budgets=["long"]), "long")

    harmed, helped = (front.answer("paper", judge({"students": planted(level)})) for level in (0.4, 0.9))
    assert harmed.startswith("Yes: ") and helped.startswith("No, the opposite")
    both = pd.concat([planted(0.4).assign(budget="chosen"), planted(0.9)])
    told = front.answer("paper", judge({"students": both}))
    assert told.startswith("Yes: ") and "after long training" in told and "more accurate" in told


def test_the_length_of_training_is_drawn_from_the_trials_that_chose_it(monkeypatch):
    settings = study.settings("students", "paper", students=["lenet"], reductions=["batchmean"])
    settings.networks["lenet"]["chosen"] = {"peak_lr": 0.02, "clip_norm": 10.0, "epochs": {"taught": {"batchmean": 12}}}
    students = frame(chapter("students", seeds=(0,), students=["lenet"], reductions=["batchmean"], budgets=["long"]))
    monkeypatch.setattr(runs, "stored", lambda specs: [])
    assert len(front.learning(settings, students).figure.axes) == 2
    assert "No length was tried" in front.length(settings)._repr_mimebundle_()["image/svg+xml"]

    def stored(specs):
        assert all(spec.held_out == budgets.HELD_OUT and spec.recipe.peak_lr == 0.02 for spec in specs)
        made = [FakeRun(spec, images=50) for spec in specs]
        for run in made:
            run.history = run.history.assign(validation_accuracy=np.linspace(0, 0.6, len(run.history)))
        return made

    monkeypatch.setattr(runs, "stored", stored)
    ticks = [text.get_text() for text in front.length(settings).figure.axes[1].get_xticklabels()]
    assert ticks == [str(epochs) for epochs in budgets.LADDER]

    def unfinished(specs):
        return stored(specs)[: 1 if specs[0].recipe.epochs > 20 else None]

    monkeypatch.setattr(runs, "stored", unfinished)
    top = front.length(settings).figure.axes[0]
    (means,) = [line.get_xdata() for line in top.lines if line.get_marker() == "o" and len(line.get_xdata()) > 1]
    shown = front.learning(settings, students).figure.axes
    assert len(shown) == 3 and shown[2].lines[0].get_xdata()[-1] == 20
    assert list(means) == [6, 12, 20]  # of longer ones there is not every augmentation's
