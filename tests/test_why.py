"""The answer of the chapter Why: each outcome is told, with the numbers of the change."""

import itertools

import numpy as np
import pandas as pd
import pytest

from kdlib import causes
from kdlib.report import why
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN

OUTCOMES = (MAKES, CLOSES, NOTHING, OPEN)
ASKED = ("epochs=12", *why.WHERE)
WORTH = pd.DataFrame(
    [("none", "alone", 0.013), ("uniform", "alone", 0.009), ("none", "uniform", 0.004), ("mixup", "uniform", -0.05)],
    columns=["who", "less", "estimate"],
).assign(network="lenet", low=lambda d: d["estimate"] - 0.002, high=lambda d: d["estimate"] + 0.002)


def gaps(**says):
    """Rows of changes and what they do, each with numbers of its own."""
    rows = [("", "", np.nan, 0.0)]
    rows += [(who, does, 0.001 * i, -0.001 * i) for i, (who, does) in enumerate(says.items(), 11)]
    frame = pd.DataFrame(rows, columns=["who", "says", "estimate", "gap"]).assign(network="lenet")
    return frame.assign(low=frame["estimate"] - 0.002, high=frame["estimate"] + 0.002)


def each(*gained, arm="mixup"):
    """Rows of what changes do to each augmentation's students: those of an arm gain by some, and no others."""
    rows = [("epochs=12+temperature=1", "none", 0.01), *((change, arm, 0.001) for change in gained)]
    frame = pd.DataFrame([*rows, (ASKED[1], "cutmix", -0.02)], columns=["change", "augmentation", "low"])
    return frame.assign(network="lenet")


def answer(found, each, worth=WORTH[:0]):
    return why.causes_found(found, each, worth)


@pytest.mark.parametrize("change, does", list(itertools.product(ASKED, OUTCOMES)))
def test_each_outcome_is_told_with_its_numbers(change, does):
    said = answer(gaps(**{change: does}), each())
    assert "by +1.1 points" in said and "95 % interval +0.9 to +1.3" in said and said.endswith(".") and "{" not in said
    others = {answer(gaps(**{change: other}), each()) for other in OUTCOMES if other != does}
    assert len(others) == 3 and said not in others


def test_what_is_said_was_declared():
    assert set(ASKED) <= {change for of in causes.QUESTIONS.values() for change in of}


def test_two_sentences_tell_each_change_once_and_by_what_it_does():
    outcomes = dict(zip(ASKED[:5], (MAKES, CLOSES, OPEN, CLOSES, NOTHING), strict=True))
    said = answer(gaps(**outcomes), each())
    first, second = said.split(". At 12 epochs ")
    assert "12 epochs change it by +1.1 points (95 % interval +0.9 to +1.3), to −1.1" in first
    closes, stays, untold = second.split("; ")
    scale, weaker = why.WHERE["epochs=12+targets=one_scale"], why.WHERE["epochs=12+reduction=mean"]
    of_weaker, of_scale = "(by +1.2 points, 95 % interval +1.0 to +1.4, to −1.2)", "(by +1.4 points, 95 % interval +1.2"
    unclear = "it closes, without a clear gain of mixing teachers' students,"
    assert closes == f"{unclear} {weaker} {of_weaker} and {scale} {of_scale} to +1.6, to −1.4)"
    assert stays.startswith("it stays, to within half a point, where teachers say the same of all images of a class (")
    assert untold.startswith("whether it changes where nothing is softened, at temperature 1 (by +1.3 points, ")
    assert untold.endswith(", to −1.3) can't be told.")


def test_without_seeds_or_students_there_is_no_answer():
    one_seed = gaps(**dict.fromkeys(ASKED, OPEN)).assign(low=np.nan, high=np.nan)
    assert answer(one_seed, each()) == why.UNTOLD
    assert answer(gaps(**{"epochs=5": OPEN}), each()) == answer(gaps(), each()) == why.NOT_TRAINED


def test_each_network_has_its_own_answer():
    lenet, alexnet = (gaps(**{"epochs=12": does}) for does in (MAKES, OPEN))
    both = pd.concat([lenet, alexnet.assign(network="alexnet")])
    of_lenet, of_alexnet = answer(both, each()).split("\n\n")
    assert of_lenet == f"LeNet: {answer(lenet, each())}"
    assert of_alexnet == f"AlexNet: {answer(alexnet, each())}"


@pytest.mark.parametrize("arm, gains", [("mixup", True), ("cutmix", True), ("none", False)])
def test_a_gap_that_closes_by_a_gain_is_told_apart(arm, gains):
    weaker = ASKED[1]
    said = answer(gaps(**{weaker: CLOSES}), each(weaker, arm=arm))
    assert ("it closes, as students of mixing teachers gain, where the distillation" in said) == gains
    assert ("it closes, without a clear gain of mixing teachers' students, where the distillation" in said) != gains
    short = answer(gaps(**{"epochs=12": CLOSES}), each("epochs=12"))
    assert short.startswith("Short training closes the gap")
    of_other = each(weaker, arm=arm).assign(network="alexnet")
    assert "without a clear gain" in answer(gaps(**{weaker: CLOSES}), of_other)


def test_what_a_teacher_knows_is_told_beside_what_holding_back_does():
    found = gaps(**{"epochs=12": MAKES})
    last = answer(found, each(), WORTH).removeprefix(answer(found, each()))
    assert last.startswith(" Over a network without a teacher, ") and "{" not in last
    told = (f"+{one} points (95 % interval +{one - 0.2:.1f} to +{one + 0.2:.1f})" for one in (1.3, 0.9, 0.4))
    taught, held_back, knows = told
    assert f"teacher gain {taught}, " in last and f"hold them back, {held_back}: " in last
    assert last.endswith(f"what the teacher knows is worth {knows}.")


@pytest.mark.parametrize("lacking", [WORTH[1:], WORTH.assign(low=np.nan), WORTH.assign(network="alexnet")])
def test_what_a_teacher_knows_is_told_of_seeds_and_of_both_controls_alone(lacking):
    found = gaps(**{"epochs=12": MAKES})
    assert answer(found, each(), lacking) == answer(found, each())
