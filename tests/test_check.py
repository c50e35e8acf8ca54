"""A walk through a store: every damage is named, nothing whole is, and what is set aside is made again."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock
from small import HELD_OUT, RANDOM, ROOT, STUDENT, TEACHER

from kdlib import runs
from kdlib.__main__ import main
from kdlib.runs import RunError, check
from kdlib.runs.store import write_sums

SPECS = [TEACHER, RANDOM, STUDENT, HELD_OUT]
KEYS = [runs.key(spec) for spec in SPECS]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_whole_store_is_whole(store, capsys):
    before = files(store)
    assert main(["check"]) == 0 and main(["check", "--seal", "--repair"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"4 runs in {store}, 4 of them whole"
    assert files(store) == before


def rewrite(name, edit):
    """Another content under checksums of its own: what no checksum tells."""

    def damage(folder):
        (folder / name).write_text(edit((folder / name).read_text()))
        write_sums(folder)

    return damage


def other_logits(folder):
    with np.load(folder / "predictions.npz") as held:
        arrays = dict(held)
    arrays["test_logits"] = arrays["test_logits"][::-1]
    np.savez_compressed(folder / "predictions.npz", **arrays)
    write_sums(folder)


def other_accuracy(text):
    content = json.loads(text)
    (content.get("test") or content["validation"])["accuracy"] -= 0.01
    return json.dumps(content)


DAMAGED = {
    "no history": (0, lambda folder: (folder / "history.csv").unlink(), "history.csv can't be used, it is missing"),
    "weights": (1, lambda folder: (folder / "weights.safetensors").write_bytes(b"0"), "weights.safetensors can't"),
    "a file more": (0, lambda folder: (folder / "notes").write_text("x"), "notes can't be used, SHA256SUMS does"),
    "no checksums": (2, lambda folder: (folder / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
    "an empty folder": (2, lambda folder: shutil.rmtree(folder) or folder.mkdir(), "has no SHA256SUMS"),
    "another's spec": (2, rewrite("spec.json", lambda t: t.replace("lenet", "alexnet")), "it describes another run"),
    "no spec": (2, rewrite("spec.json", lambda text: "5"), "spec.json can't be used"),
    "an epoch too few": (0, rewrite("history.csv", lambda t: t.splitlines()[0]), "it should hold 1 whole rows"),
    "a score": (2, rewrite("metrics.json", other_accuracy), "computed again, accuracy of test is"),
    "a score of images held out": (3, rewrite("metrics.json", other_accuracy), "accuracy of validation is"),
    "no score": (2, rewrite("metrics.json", lambda t: t.replace('"test"', '"tset"')), "it holds tset"),
    "no provenance": (2, rewrite("metrics.json", lambda t: t.replace('"provenance"', '"from"')), "it holds test"),
    "no number": (2, rewrite("metrics.json", lambda t: t.replace('"accuracy"', '"acc"')), "accuracy of test"),
    "other predictions": (0, other_logits, "of test is"),
}  # fmt: skip


@pytest.mark.parametrize("which, damage, says", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_run_is_named_and_the_exit_status_tells(store, capsys, which, damage, says):
    damage(store / KEYS[which])
    assert main(["check"]) == 2
    out, err = capsys.readouterr()
    (named,) = [line for line in out.splitlines() if KEYS[which] in line]
    assert says in named and err == f"kdlib: 1 runs of {store} are not whole: see above\n"


def test_every_damaged_file_of_a_run_is_named(store, capsys):
    (store / KEYS[0] / "metrics.json").write_text("{}")
    (store / KEYS[0] / "history.csv").unlink()
    (store / KEYS[0] / "latent.npz").write_bytes(b"")
    assert main(["check"]) == 2
    out, err = capsys.readouterr()
    named = [line.partition(" ")[0] for line in out.splitlines()[:-1]]
    assert named == [str(store / KEYS[0] / name) for name in ("history.csv", "latent.npz", "metrics.json")]
    assert err == f"kdlib: 1 runs of {store} are not whole: see above\n"


def test_a_file_that_a_run_can_do_without_is_told_of_where_it_is_missing(store, capsys):
    (store / KEYS[0] / "latent.npz").unlink()
    assert main(["check"]) == 0
    told = f"{store / KEYS[0] / 'latent.npz'} is not there, which only figures and claims on its latent space need"
    assert capsys.readouterr().out.startswith(f"{told}: restore it for them\n4 runs in")


def test_a_damaged_run_is_set_aside_as_it_is_and_made_again(store, capsys):
    kept = files(store / KEYS[2])
    (store / KEYS[2] / "metrics.json").write_text("{}")
    assert main(["check", "--repair"]) == 0
    (aside,) = (store / ".damaged").iterdir()
    assert aside.name.startswith(KEYS[2]) and files(aside) == kept | {"metrics.json": b"{}"}
    runs.ensure(SPECS)
    again = files(store / KEYS[2])
    assert again["predictions.npz"] == kept["predictions.npz"] and main(["check"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_without_checksums_is_never_set_aside_but_given_them_where_its_scores_are_right(store, capsys):
    expected = files(store)
    for key in KEYS:
        (store / key / "SHA256SUMS").unlink()
    assert main(["check", "--repair"]) == 2 and not (store / ".damaged").exists()
    assert main(["check", "--seal"]) == 0 and files(store) == expected
    (store / KEYS[2] / "SHA256SUMS").unlink()
    path = store / KEYS[2] / "metrics.json"
    path.write_text(other_accuracy(path.read_text()))
    assert main(["check", "--seal"]) == 2 and not (store / KEYS[2] / "SHA256SUMS").exists()
    assert "computed again" in capsys.readouterr().out


def test_a_run_of_an_extension_that_is_not_loaded_here_is_checked_all_the_same(store, capsys):
    spec = json.loads((store / KEYS[2] / "spec.json").read_text()) | {"augmentations": ["theirs"]}
    folder = store / f"digits-lenet-theirs-{check.digest(spec)}"
    shutil.copytree(store / KEYS[2], folder)
    (folder / "spec.json").write_text(json.dumps(spec))
    write_sums(folder)
    assert main(["check"]) == 0


def test_what_killed_processes_leave_is_told_and_what_living_ones_are_at_is_not(store, capsys):
    for name in ("a-run.1f", "b-run.2e"):
        (store / ".making" / name).mkdir(parents=True)
        os.utime(store / ".making" / name, (0, 0))
    (store / ".checkpoints").mkdir(exist_ok=True)
    (store / ".checkpoints" / "c-run.pt").write_bytes(b"")
    (store / ".passes" / "d").mkdir(parents=True)
    (store / ".passes" / "d" / "0.99.tmp").write_bytes(b"")
    with FileLock(store / ".locks" / "b-run"):
        assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()[:-1]
    assert [line.split(" ")[0] for line in lines] == [
        str(store / name) for name in (".making/a-run.1f", ".checkpoints/c-run.pt", ".passes/d/0.99.tmp")
    ]


def test_what_a_clusters_client_has_just_begun_to_write_is_not_told_to_be_of_a_killed_process(store, capsys):
    (store / ".making" / "a-run.1f").mkdir(parents=True)
    assert main(["check"]) == 0
    assert f"{store / '.making' / 'a-run.1f'} is being written by a cluster's client" in capsys.readouterr().out


def test_a_run_that_another_process_is_at_is_not_moved(store):
    (store / KEYS[2] / "metrics.json").write_text("{}")
    with FileLock(store / ".locks" / KEYS[2]), pytest.raises(RunError, match="another process is at work on"):
        check.walk(store, repair=True)
    assert (store / KEYS[2]).is_dir()


def test_a_store_that_is_not_there_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "none"))
    assert main(["check"]) == 2 and not (tmp_path / "none").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_the_committed_runs_are_whole():
    done = subprocess.run([sys.executable, "-m", "kdlib", "check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
