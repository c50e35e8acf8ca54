"""The answer of the chapter Why: each outcome has its sentence, with the numbers of the change."""

import itertools

import numpy as np
import pandas as pd
import pytest

from kdlib import causes
from kdlib.report import why
from kdlib.results.gaps import CLOSES, MAKES, NOTHING, OPEN

OUTCOMES = (MAKES, CLOSES, NOTHING, OPEN)


def gaps(**says):
    """Rows of changes and what they do, each with numbers of its own."""
    rows = [("", "", np.nan, 0.0)]
    rows += [(who, does, 0.001 * i, -0.001 * i) for i, (who, does) in enumerate(says.items(), 11)]
    frame = pd.DataFrame(rows, columns=["who", "says", "estimate", "gap"])
    return frame.assign(low=frame["estimate"] - 0.002, high=frame["estimate"] + 0.002)


@pytest.mark.parametrize("change, does", list(itertools.product(why.SAID, OUTCOMES)))
def test_each_outcome_has_a_sentence_with_its_numbers(change, does):
    said = why.causes_found(gaps(**{change: does}))
    assert "by +1.1 points (95 % interval +0.9 to +1.3)" in said and said.endswith(".") and "{" not in said
    others = {why.causes_found(gaps(**{change: other})) for other in OUTCOMES if other != does}
    assert len(others) == 3 and said not in others


def test_what_is_said_was_declared():
    assert set(why.SAID) <= {change for of in causes.QUESTIONS.values() for change in of}


def test_answers_stand_in_the_order_of_the_questions():
    said = why.causes_found(gaps(**dict.fromkeys(reversed(why.SAID), OPEN)))
    places = [said.index(text) for text in ("short training", "one scale", "same of all images")]
    assert places == sorted(places)


def test_without_seeds_or_students_there_is_no_answer():
    one_seed = gaps(**dict.fromkeys(why.SAID, OPEN)).assign(low=np.nan, high=np.nan)
    assert why.causes_found(one_seed) == why.UNTOLD
    assert why.causes_found(gaps(**{"epochs=5": OPEN})) == why.causes_found(gaps()) == why.NOT_TRAINED
