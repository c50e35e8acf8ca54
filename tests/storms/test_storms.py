"""Small storms: `storms.py` does the large ones."""

import shutil

import pytest
import storms
from small import AUGMENTED, RANDOM, STUDENT, TEACHER

from kdlib import KdlibError, runs
from kdlib.runs import Run


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
    with pytest.raises((AssertionError, OSError)):
        storms.storm_of_damage(made, 150, seed=1)


def test_runs_whose_training_is_killed_are_the_same_in_the_end():
    assert storms.storm_of_kills([TEACHER, STUDENT], 4, seed=2, seconds=1.0)["kills"] >= 4


def test_parameters_without_meaning_are_refused_in_one_sentence():
    found = storms.storm_of_parameters(300, seed=3)
    assert found["refused"] > 100 and found["taken"] > 10


def test_a_copy_of_a_run_reads_the_same(made, tmp_path):
    shutil.copytree(made[0], tmp_path / made[0].name)
    spec = next(spec for spec in (TEACHER, RANDOM, STUDENT, AUGMENTED) if runs.key(spec) == made[0].name)
    assert storms.numbers(Run(spec, tmp_path)) == storms.numbers(Run(spec, made[0].parent))
    with pytest.raises(KdlibError):
        storms.numbers(Run(spec, tmp_path / "nowhere"))
