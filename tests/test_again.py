"""A stored run trained again: the same bit for bit here, told apart where it is not, and the store left alone."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from small import AUGMENTED, RANDOM, ROOT, STUDENT, TEACHER

from kdlib import runs
from kdlib.__main__ import main
from kdlib.runs import RunError, again
from kdlib.runs.store import write_sums

OF_RANDOM = dataclasses.replace(STUDENT, teacher=RANDOM)
SPECS = [TEACHER, RANDOM, STUDENT, AUGMENTED, OF_RANDOM]


@pytest.mark.parametrize("spec", [TEACHER, STUDENT, AUGMENTED, OF_RANDOM])
def test_a_run_comes_out_bit_for_bit(store, spec):
    before = sorted(path.name for path in store.rglob("*"))
    found = again.again(runs.key(spec), "cpu")
    assert found.identical and found.agreement == 1 and found.accuracy_difference == 0
    assert str(found).startswith(f"{runs.key(spec)}: the same predictions, bit for bit")
    assert sorted(path.name for path in store.rglob("*")) == before
    assert os.environ["KDLIB_RUNS"] == str(store)


def test_a_run_that_differs_is_told_apart(store, capsys):
    name = runs.key(STUDENT)
    with np.load(store / name / "predictions.npz") as kept:
        arrays = dict(kept)
    arrays["test_logits"][:9] = -arrays["test_logits"][:9]
    np.savez_compressed(store / name / "predictions.npz", **arrays)
    write_sums(store / name)
    assert main(["again", name, "--device", "cpu", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert not found["identical"] and found["agreement"] == 1 - 9 / len(arrays["test_logits"])
    assert found["largest_difference"] == 2 * np.abs(arrays["test_logits"][:9].astype(float)).max()


@pytest.mark.parametrize(
    "fault, says",
    [
        (lambda store, name: name + "0", "there is no run"),
        (lambda store, name: shutil.rmtree(store / runs.key(TEACHER)) or name, "there is no run"),
        (lambda store, name: (store / name / "spec.json").write_text("{}") and name, "describes no run"),
        (lambda store, name: shutil.copytree(store / name, store / "other").name, "describes"),
    ],
    ids=["unknown", "no teacher", "no spec", "renamed"],
)
def test_what_cannot_be_trained_again_is_said_in_one_sentence(store, fault, says, capsys):
    name = fault(store, runs.key(STUDENT))
    assert main(["again", name, "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_an_augmented_student_needs_the_teachers_weights(store):
    (store / runs.key(TEACHER) / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="students that augment their images need it"):
        again.again(runs.key(AUGMENTED), "cpu")


def test_a_student_needs_the_teachers_logits(store):
    (store / runs.key(TEACHER) / "train_logits.npy.xz").unlink()
    with pytest.raises(RunError, match="students that learn from it need it"):
        again.again(runs.key(STUDENT), "cpu")


def test_every_committed_run_is_found_by_its_key():
    names = [path.parent.name for path in (ROOT / "runs").glob("*/spec.json")]
    assert len(names) > 50
    for name in names:
        run = runs.find(name)
        assert run.key == name and runs.canonical(run.spec) == json.loads((run.folder / "spec.json").read_text())


def test_runs_of_two_precisions_are_not_compared(store):
    path = store / runs.key(STUDENT) / "metrics.json"
    content = json.loads(path.read_text())
    assert content["provenance"]["precision"] == "float32"
    content["provenance"]["precision"] = "bfloat16"
    path.write_text(json.dumps(content))
    write_sums(path.parent)
    with pytest.raises(RunError, match="trained in bfloat16, and cpu here computes in float32"):
        again.again(runs.key(STUDENT), "cpu")
