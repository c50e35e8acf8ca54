"""The answer of the chapter Why: each outcome is told, with the numbers of the change."""

import itertools

import numpy as np
import pandas as pd
import pytest
from fakes import chapter

from kdlib import causes
from kdlib.report import why
from kdlib.results.frame import frame
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN

OUTCOMES = (MAKES, CLOSES, NOTHING, OPEN)
ASKED = (*why.TOLD, *why.WHERE)
WORTH = pd.DataFrame(
    [
        ("none", "alone", 0.013),
        ("uniform", "alone", 0.009),
        ("none", "uniform", 0.004),
        ("mixup", "uniform", -0.05),
        (why.ALL_TAUGHT, "uniform", -0.001),
    ],
    columns=["who", "less", "estimate"],
).assign(network="lenet", low=lambda d: d["estimate"] - 0.002, high=lambda d: d["estimate"] + 0.002)


def gaps(**says):
    """Rows of changes and what they do, each with numbers of its own."""
    rows = [("", "", np.nan, 0.0)]
    rows += [(who, does, 0.001 * i, -0.001 * i) for i, (who, does) in enumerate(says.items(), 11)]
    frame = pd.DataFrame(rows, columns=["who", "says", "estimate", "gap"]).assign(network="lenet")
    frame["less"] = ["epochs=12" if one.startswith("epochs=12+") else "" for one in frame["who"]]
    frame = frame.assign(low=frame["estimate"] - 0.002, high=frame["estimate"] + 0.002)
    return frame.assign(gap_low=frame["gap"] - 0.004, gap_high=frame["gap"] + 0.004, epochs=20)


def each(*gained, arm="mixup"):
    """Rows of what changes do to each augmentation's students: those of an arm gain by some, and no others."""
    rows = [("epochs=12+temperature=1", "none", 0.01), *((change, arm, 0.001) for change in gained)]
    frame = pd.DataFrame(
        [*rows, ("epochs=12+reduction=mean", "cutmix", -0.02)], columns=["change", "augmentation", "low"]
    )
    return frame.assign(network="lenet", high=frame["low"] + 0.001)


def answer(found, each, worth=WORTH[:0]):
    return why.causes_found(found, each, worth)


@pytest.mark.parametrize("change, does", list(itertools.product(ASKED, OUTCOMES)))
def test_each_outcome_is_told_with_its_numbers(change, does):
    said = answer(gaps(**{change: does}), each())
    assert said.startswith("- ") and said.endswith(".") and "{" not in said
    of_change, left = "+1.1 points (95 % interval +0.9 to +1.3)", "(to −1.1 points, −1.5 to −0.7)"
    numbers = {"epochs=12": [of_change]} | dict.fromkeys(why.WHERE, [left])
    of_protocol = ["−1.1 points (95 % interval −1.5 to −0.7)", "+1.1 (95 % interval +0.9 to +1.3)"]
    assert all(number in said for number in numbers.get(change, of_protocol[: 1 if does == NOTHING else 2]))
    others = {answer(gaps(**{change: other}), each()) for other in OUTCOMES if other != does}
    assert len(others) == 3 and said not in others


def test_what_is_said_was_declared():
    assert set(ASKED) <= {change for of in causes.QUESTIONS.values() for change in of}


def test_sentences_tell_each_change_once_and_by_what_it_does():
    asked = (*why.TOLD, *list(why.WHERE)[:4])
    outcomes = dict(zip(asked, (MAKES, CLOSES, OPEN, CLOSES, OPEN, CLOSES, NOTHING), strict=True))
    first, second, third, fourth = answer(gaps(**outcomes), each()).removeprefix("- ").split("\n- ")
    assert (
        first
        == "Short training makes the gap: 12 epochs change it by +1.1 points (95 % interval +0.9 to +1.3), to −1.1."
    )
    assert second == (
        "Under the released code's optimiser and schedule the gap closes: it is −1.2 points (95 % interval −1.6 to "
        "−0.8), a change of +1.2 (95 % interval +1.0 to +1.4)."
    )
    assert third == (
        "Under its form of the loss as well the gap is −1.3 points (95 % interval −1.7 to −0.9); whether that is a "
        "change, of +1.3 (95 % interval +1.1 to +1.5), can't be told."
    )
    assert fourth == (
        "At 12 epochs it closes, without a clear gain of mixing teachers' students, under the released code's weaker "
        "loss (to −1.4 points, −1.8 to −1.0) and with all teachers' logits on one scale (to −1.6 points, −2.0 to "
        "−1.2); it stays, to within half a point, with one and the same logits for all images of a class (to −1.7 "
        "points, −2.1 to −1.3); whether it changes at temperature 1, where nothing is softened (to −1.5 points, −1.9 "
        "to −1.1) can't be told."
    )


def test_of_causes_only_what_stands_beside_short_training_is_told():
    beside_long = gaps(**{"epochs=12": MAKES, "epochs=12+temperature=1": CLOSES}).assign(less="")
    assert "At 12 epochs" not in answer(beside_long, each())


def test_what_knowledge_is_worth_is_told_of_each_teacher_and_of_all_as_a_mean():
    def level(spec):
        of = getattr(spec, "teacher", None)
        if of is None or not of.recipe.epochs:  # nobody, or a teacher that knows nothing
            return 0.4 if of is None else 0.5
        return {(): 0.8, ("mixup",): 0.6}.get(of.augmentations, 0.7)

    rows = frame(chapter("students", level, seeds=(0, 1), students=["lenet"], budgets=["chosen"]), "chosen")
    found = why.worth_of_knowledge(rows.query("loss in ('', 'batchmean')"))
    by = {(row.who, row.less): row.estimate for row in found.itertuples()}
    assert np.isclose(by[why.ALL_TAUGHT, "uniform"], np.mean([0.8, 0.6, 0.7, 0.7, 0.7]) - 0.5, atol=0.01)
    assert np.isclose(by["mixup", "uniform"], 0.1, atol=0.01) and np.isclose(by["none", "alone"], 0.4, atol=0.01)
    controls = rows[rows["control"]]
    assert why.ALL_TAUGHT not in set(why.worth_of_knowledge(controls)["who"])
    assert why.worth_of_knowledge(frame([])).empty


def test_without_seeds_or_students_there_is_no_answer():
    one_seed = gaps(**dict.fromkeys(ASKED, OPEN)).assign(low=np.nan, high=np.nan)
    assert answer(one_seed, each()) == why.UNTOLD
    assert answer(gaps(**{"epochs=5": OPEN}), each()) == answer(gaps(), each()) == why.NOT_TRAINED


def test_each_network_has_its_own_answer():
    lenet, alexnet = (gaps(**{"epochs=12": does}) for does in (MAKES, OPEN))
    both = pd.concat([lenet, alexnet.assign(network="alexnet")])
    of_both = "LeNet:\n\n{}\n\nAlexNet:\n\n{}"
    assert answer(both, each()) == of_both.format(answer(lenet, each()), answer(alexnet, each()))


@pytest.mark.parametrize("arm, gains", [("mixup", True), ("cutmix", True), ("none", False)])
def test_a_gap_that_closes_by_a_gain_is_told_apart(arm, gains):
    weaker = "epochs=12+reduction=mean"
    said = answer(gaps(**{weaker: CLOSES}), each(weaker, arm=arm))
    assert ("it closes, as students of mixing teachers gain, under the released" in said) == gains
    assert ("it closes, without a clear gain of mixing teachers' students, under the released" in said) != gains
    short = answer(gaps(**{"epochs=12": CLOSES}), each("epochs=12"))
    assert short.startswith("- Short training closes the gap")
    of_other = each(weaker, arm=arm).assign(network="alexnet")
    assert "without a clear gain" in answer(gaps(**{weaker: CLOSES}), of_other)


@pytest.mark.parametrize(
    "longer, slower",
    [
        ({}, False), ({"epochs=6": NOTHING}, False), ({"epochs=30": NOTHING}, True), ({"epochs=60": CLOSES}, True),
        ({"epochs=30": MAKES}, False), ({"epochs=30": OPEN}, False),
        ({"epochs=30": NOTHING, "epochs=60": MAKES}, False), ({"epochs=30": NOTHING, "epochs=60": OPEN}, False),
        ({"epochs=30": NOTHING, "epochs=60": CLOSES}, True),
    ],
)  # fmt: skip
def test_that_students_learn_more_slowly_is_said_where_longer_training_makes_no_gap(longer, slower):
    said, *_ = answer(gaps(**{"epochs=12": MAKES}, **longer), each()).split("\n")
    assert said.endswith("to −1.1, so that students of mixing teachers learn more slowly.") == slower
    assert said.endswith("to −1.1.") != slower


@pytest.mark.parametrize("does", OUTCOMES)
def test_the_longest_training_is_told_after_the_short_one(does):
    lengths = {"epochs=12": OPEN, "epochs=30": MAKES, "epochs=60": does, causes.PROTOCOL: OPEN}
    _, said, protocol = answer(gaps(**lengths), each()).split("\n")
    assert "60 epochs " in said and "+1.3 points (95 % interval +1.1 to +1.5)" in said and "{" not in said
    assert ("to −1.3 (95 % interval −1.7 to −0.9)" in said) == (does != NOTHING) and "ahead" not in said
    assert protocol.startswith("- Under the released code's optimiser")
    ahead = gaps(**lengths).assign(gap=0.008, gap_low=0.004, gap_high=0.012)
    assert ("where students of mixing teachers are ahead." in answer(ahead, each())) == (does == CLOSES)
    lost = each().assign(change="epochs=60", augmentation="none", low=-0.03, high=-0.02)
    not_by_gain = "ahead: not that they gain by it, but the baseline's students lose more."
    assert (not_by_gain in answer(ahead, lost)) == (does == CLOSES)
    assert not_by_gain not in answer(ahead, pd.concat([lost, each("epochs=60")]))
    others = {answer(gaps(**lengths | {"epochs=60": other}), each()) for other in OUTCOMES}
    assert len(others) == 4
    as_long = gaps(**lengths).assign(epochs=60)
    assert "60 epochs" not in answer(as_long, each())


def test_a_gap_that_closes_from_both_sides_is_told_apart():
    weaker = "epochs=12+reduction=mean"
    gained = each(weaker)
    lost = pd.DataFrame(
        [(weaker, "none", -0.02, -0.01, "lenet")],
        columns=[*gained[["change", "augmentation", "low"]], "high", "network"],
    )
    said = answer(gaps(**{weaker: CLOSES}), pd.concat([gained, lost]))
    assert "it closes, as students of mixing teachers gain and the baseline's lose, under the released" in said
    assert "without a clear gain" in answer(gaps(**{weaker: CLOSES}), pd.concat([each(), lost]))
    unsure = pd.concat([gained, lost.assign(high=0.001)])
    assert "as students of mixing teachers gain, under the released" in answer(gaps(**{weaker: CLOSES}), unsure)


def test_outcomes_that_hang_on_what_chance_is_pooled_over_are_told():
    found = gaps(**{"epochs=12": MAKES, "epochs=12+targets=one_scale": OPEN})
    assert why.pooled_otherwise(found, found) == why.AS_IT_IS
    apart = found[1:].assign(says=[MAKES, CLOSES])
    said = why.pooled_otherwise(found, apart)
    assert said == (
        "Pooled so, the outcome would be another of *epochs 12, targets one_scale*: closes the gap (95 % interval +1.0 "
        "to +1.4)."
    )
    assert why.pooled_otherwise(found, apart.assign(low=np.nan, high=np.nan)) is None
    assert why.pooled_otherwise(found, apart.assign(network="alexnet")) is None
    two = [pd.concat([of, of.assign(network="alexnet", says=MAKES)]) for of in (found, apart)]
    assert "*LeNet, epochs 12, targets one_scale*: closes" in why.pooled_otherwise(*two)


def test_what_a_teacher_knows_is_told_beside_what_holding_back_does():
    found = gaps(**{"epochs=12": MAKES})
    last = answer(found, each(), WORTH).removeprefix(answer(found, each()))
    told = (f"+{one} points (95 % interval +{one - 0.2:.1f} to +{one + 0.2:.1f})" for one in (1.3, 0.9, 0.4))
    taught, held_back, knows = told
    assert last == (
        f"\n- What teachers know is worth −0.1 points (95 % interval −0.3 to +0.1) to their students on average over "
        f"all teachers, what the baseline's knows {knows}: over a network without a teacher, each kind trained for as "
        f"long as held-out images favour, the baseline's students gain {taught}, and those of a teacher that says "
        f"nothing, and can only hold them back, {held_back}."
    )


@pytest.mark.parametrize("lacking", [WORTH[1:], WORTH[:-1], WORTH.assign(low=np.nan), WORTH.assign(network="alexnet")])
def test_what_a_teacher_knows_is_told_of_seeds_and_of_both_controls_alone(lacking):
    found = gaps(**{"epochs=12": MAKES})
    assert answer(found, each(), lacking) == answer(found, each())
