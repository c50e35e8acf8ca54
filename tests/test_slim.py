"""A network of which the predicted classes alone are kept: whole, compared image by image, made again, and refused
what it lacks."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from small import HELD_OUT, RANDOM, STUDENT, TEACHER

from kdlib import metrics, runs
from kdlib.__main__ import main
from kdlib.results import measures
from kdlib.results.measures import ACCURACY, ECE, HUMAN_KL, LOSS
from kdlib.runs import Run, RunError, again, check, slim
from kdlib.runs.store import write_sums

SPECS = [TEACHER, RANDOM, STUDENT, HELD_OUT]
NAME = runs.key(STUDENT)


def test_accuracy_is_what_it_was_image_by_image_and_the_rest_is_read_from_the_scores(store):
    whole = Run(STUDENT)
    before = {one: one.value(whole) for one in (ACCURACY, LOSS, ECE)}
    images = ACCURACY.images(whole)
    assert main(["slim", NAME]) == 0
    names = {path.name for path in (store / NAME).iterdir()}
    assert names == {"spec.json", "metrics.json", "history.csv", "classes.npz", "SHA256SUMS"}
    run = Run(STUDENT)
    assert {one: one.value(run) for one in before} == before
    np.testing.assert_array_equal(ACCURACY.images(run), images)
    assert LOSS.images(run) is None and HUMAN_KL.value(run) is None
    report = metrics.classification_report(np.eye(10)[run.predictions["test_classes"]], run.predictions["test_labels"])
    assert report == pytest.approx({name: run.metrics["test"][name] for name in report})


def test_every_measure_is_what_it_was_or_none(store):
    every = {one for value in vars(measures).values() for one in (value if isinstance(value, tuple) else [value])
             if isinstance(one, measures.Measure)}  # fmt: skip
    whole = Run(STUDENT)
    before = {(one, split): one.value(whole, split) for one in every for split in ("test", "shifted")}
    slim.slim(NAME)
    run = Run(STUDENT)
    assert {one.value(run, split) for one, split in before} > {None}
    assert all(one.value(run, split) in (None, value) for (one, split), value in before.items())


def test_it_is_whole_and_not_made_again(store, capsys):
    slim.slim(NAME)
    (found,) = runs.ensure([STUDENT])
    assert found.is_slim and main(["check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"4 runs in {store}, 4 of them whole"
    content = {path.name: path.read_bytes() for path in (store / NAME).iterdir()}
    slim.slim(NAME)  # once more
    assert {path.name: path.read_bytes() for path in (store / NAME).iterdir()} == content


def test_what_was_broken_off_is_done_by_the_same_command(store):
    predictions = (store / NAME / "predictions.npz").read_bytes()
    slim.slim(NAME)
    (store / NAME / "predictions.npz").write_bytes(predictions)  # as if killed before they were taken away
    assert check.walk(store).faults == {} and Run(STUDENT).is_slim
    (store / NAME / ".classes.npz.1.tmp").write_bytes(b"")  # or while they were written
    slim.slim(NAME)
    assert not (store / NAME / "predictions.npz").exists() and check.walk(store).faults == {}


def other_class(folder):
    with np.load(folder / "classes.npz") as held:
        arrays = dict(held)
    arrays["test_classes"] = arrays["test_classes"][::-1]
    np.savez_compressed(folder / "classes.npz", **arrays)
    write_sums(folder)


@pytest.mark.parametrize(
    "damage, says",
    [
        (other_class, "metrics.json can't be used, computed again, accuracy of test is"),
        (lambda folder: (folder / "classes.npz").unlink(), "classes.npz can't be used, it is missing"),
        (lambda folder: (folder / "classes.npz").write_bytes(b"x"), "classes.npz can't be used, its sha256"),
    ],
    ids=["other classes", "none", "garbage"],
)
def test_damage_is_named(store, damage, says):
    slim.slim(NAME)
    damage(store / NAME)
    ((fault,),) = check.walk(store).faults.values()
    assert says in str(fault)


def test_whoever_needs_its_predictions_is_told(store):
    slim.slim(NAME)
    with pytest.raises(RunError, match="has no test_logits, since its predicted classes alone are kept: set"):
        Run(STUDENT).predictions["test_logits"]  # noqa: B018


def test_made_again_it_is_compared_by_classes_and_by_the_checksum_of_its_predictions(store, capsys):
    slim.slim(NAME)
    found = again.again(NAME, "cpu")
    assert found.identical and found.agreement == 1 and found.largest_difference is None
    assert str(found).startswith(f"{NAME}: the same predictions, bit for bit")
    sums = (store / NAME / "SHA256SUMS").read_text()
    (store / NAME / "SHA256SUMS").write_text(re.sub(r"\w{64}(?=  predictions)", "0" * 64, sums))
    assert main(["again", NAME, "--device", "cpu"]) == 0
    assert "the same class for 100.0% of the test images" in (out := capsys.readouterr().out) and "other predic" in out


@pytest.mark.parametrize("spec", [TEACHER, HELD_OUT], ids=["a teacher", "images held out"])
def test_of_others_all_is_kept(store, spec):
    name = runs.key(spec)
    before = {path.name: path.read_bytes() for path in (store / name).iterdir()}
    said = "was not judged on the test set, or students learn from it: of such runs all is kept"
    with pytest.raises(RunError, match=said):
        slim.slim(name)
    assert {path.name: path.read_bytes() for path in (store / name).iterdir()} == before


def test_a_network_without_a_teacher_may_have_taught_none(store):
    name = runs.key(TEACHER)
    for student in (STUDENT, HELD_OUT):
        shutil.rmtree(store / runs.key(student))
    before = ACCURACY.value(Run(TEACHER))
    assert slim.slim(name).is_slim and ACCURACY.value(Run(TEACHER)) == before
    assert check.walk(store).faults == {}


def test_another_run_that_is_damaged_is_no_hindrance(store):
    (store / runs.key(HELD_OUT) / "spec.json").write_text("{")
    assert slim.slim(NAME).is_slim


def test_one_that_another_process_is_at_is_left(store):
    with FileLock(store / ".locks" / NAME), pytest.raises(RunError, match="another process is at work on"):
        slim.slim(NAME)
    assert not Run(STUDENT).is_slim


def test_one_that_another_process_slims_meanwhile_is_done(store, monkeypatch):
    real = slim.locked

    def after_another(of: Path, name: str):
        monkeypatch.setattr(slim, "locked", real)
        slim.slim(name)
        return real(of, name)

    monkeypatch.setattr(slim, "locked", after_another)
    assert slim.slim(NAME).is_slim and check.walk(store).faults == {}
