"""Small storms: `storms.py` does the large ones."""

import pytest
import storms
from small import AUGMENTED, RANDOM, STUDENT, TEACHER

from kdlib import runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("storms") / "runs"
    runs.ensure([TEACHER, RANDOM, STUDENT, AUGMENTED], store=folder)
    return sorted(path.parent for path in folder.glob("*/SHA256SUMS"))


def test_no_damage_is_read_as_other_numbers(made):
    found = storms.storm_of_damage(made, 150, seed=1)
    assert found["refused"] > 100 and found.total() == 150


def test_the_storm_notices_what_is_not_noticed(made, monkeypatch):
    monkeypatch.setattr("kdlib.runs.store.whole", lambda path, sums: path.read_bytes())
    monkeypatch.setattr(storms, "KINDS", ["a digit"])
    with pytest.raises(AssertionError, match="was read as other numbers"):
        storms.storm_of_damage(made, 150, seed=1)


def test_runs_whose_training_is_killed_are_the_same_in_the_end():
    assert storms.storm_of_kills([TEACHER, STUDENT], 4, seed=2, seconds=1.0)["kills"] >= 4


def test_parameters_without_meaning_are_refused_in_one_sentence():
    found = storms.storm_of_parameters(300, seed=3)
    assert found["refused"] > 100 and found["taken"] > 10
