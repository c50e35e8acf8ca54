"""Runs on a cluster: the same bytes as one after another, whoever dies, and nothing trained twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from small import AUGMENTED, RANDOM, RECIPE, ROOT, STUDENT, TEACHER

from kdlib import __main__ as cli
from kdlib import runs, study
from kdlib.runs import Run, RunError, make, states

distributed = pytest.importorskip("distributed")
from kdlib.runs import cluster  # noqa: E402 (it imports distributed)

TIMES = ("metrics.json", "history.csv", "SHA256SUMS")  # hold how long it took, or the checksum of what does
ALONE = replace(TEACHER, model="lenet", width=64, augmentations=())
GRID = [STUDENT, AUGMENTED, replace(STUDENT, reduction="mean"), replace(AUGMENTED, teacher=RANDOM), ALONE]
FAILING = replace(ALONE, recipe=replace(RECIPE, peak_lr=1e30, clip_norm=None))
SLOW = replace(TEACHER, recipe=replace(RECIPE, epochs=6))


def bytes_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name not in TIMES}


def until(met, seconds=30):
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def client():
    with cluster.connected(2, None) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return runs.ensure([*GRID, SLOW], store=tmp_path_factory.mktemp("undisturbed"))


def test_a_grid_is_byte_for_byte_what_it_is_one_after_another(client, undisturbed, tmp_path):
    made = runs.ensure(GRID, cluster=client, device="cpu", store=tmp_path)
    assert [run.spec for run in made] == GRID
    for there, here in zip(made, undisturbed[: len(GRID)], strict=True):
        there.check()
        assert bytes_of(there) == bytes_of(here)
    assert not any((tmp_path / ".making").iterdir())


def test_what_the_store_has_is_never_submitted(client, undisturbed, monkeypatch):
    monkeypatch.setattr(client, "submit", lambda *_, **__: pytest.fail("a stored run was submitted"))
    runs.ensure(GRID, cluster=client, store=undisturbed[0].store)


def test_a_student_of_a_stored_teacher_learns_from_the_clients_files(client, undisturbed, tmp_path):
    (here,) = [run for run in undisturbed if run.spec == AUGMENTED]
    teacher = here.beside(TEACHER)
    cluster.write_files(tmp_path / teacher.key, cluster.read_files(teacher.folder))
    (made,) = runs.ensure([AUGMENTED], cluster=client, device="cpu", store=tmp_path)
    assert bytes_of(made) == bytes_of(here)


def test_a_spec_that_fails_fails_alone_and_is_named(client, tmp_path):
    with pytest.raises(RunError, match=f"1 of 2 runs could not be made: {runs.key(FAILING)}.*loss is"):
        runs.ensure([FAILING, ALONE], cluster=client, device="cpu", store=tmp_path)
    assert Run(ALONE, tmp_path).exists() and not Run(FAILING, tmp_path).exists()


def test_a_run_goes_on_elsewhere_when_its_worker_is_killed(client, undisturbed, tmp_path, capsys):
    killed = []

    def kill(event):
        if event[1].get("key") == runs.key(SLOW) and not killed:
            killed.append(event[1]["worker"])
            os.kill(pids[event[1]["worker"]], signal.SIGKILL)

    pids = client.run(os.getpid)
    heard = cluster.Work.heard
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster.Work, "heard", lambda self, event: (heard(self, event), kill(event)))
        (made,) = runs.ensure([SLOW], cluster=client, device="cpu", store=tmp_path)
    assert killed and bytes_of(made) == bytes_of(undisturbed[-1])
    assert f"{made.key}: once more" in capsys.readouterr().out
    client.wait_for_workers(2)


@pytest.mark.parametrize("what", ["commit", "torch", "digits"])
def test_another_worker_is_refused_in_one_sentence_before_it_trains(client, tmp_path, monkeypatch, what):
    real = cluster.environment
    monkeypatch.setattr(cluster, "environment", lambda datasets: real(datasets) | {what: "another"})
    with pytest.raises(RunError, match=rf"^worker tcp\S+ is refused: its {what} is \S+, the client's another$"):
        runs.ensure([ALONE], cluster=client, device="cpu", store=tmp_path)
    assert not Run(ALONE, tmp_path).exists()


def test_teachers_come_first_and_those_that_most_wait_for_before_others(client, tmp_path, monkeypatch):
    other = replace(TEACHER, augmentations=())
    pending = {}
    for spec in [*GRID, other]:
        make.add_pending(Run(spec, tmp_path), pending)
    work = cluster.Work(client, pending, cluster.Admission(["digits"], "cpu"))
    asked = {}
    monkeypatch.setattr(client, "submit", lambda *_, key, priority, **__: asked.__setitem__(key, priority))
    monkeypatch.setattr(work.futures, "add", lambda _: None)
    work.submit(work.ready())
    assert set(asked) == {runs.key(spec) for spec in (TEACHER, RANDOM, other, ALONE)}
    assert asked[runs.key(TEACHER)] > asked[runs.key(RANDOM)] > asked[runs.key(other)]


def test_a_client_that_is_killed_leaves_whole_runs_and_the_next_goes_on(tmp_path):
    command = [sys.executable, "-m", "kdlib", "run", "--workers", "1", "--chapter", "teachers"]
    command += ["--set", "teacher_epochs=1", "--set", "augmentations=[none, mixup]", "--set", "device=cpu"]
    environment = os.environ | {"KDLIB_RUNS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.glob("digits-*")), 60)
    first.kill()
    first.communicate()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "teachers: 2 runs" in done.stdout
    for spec in study.teachers(study.settings("teachers", teacher_epochs=1, augmentations=["none", "mixup"])):
        Run(spec, tmp_path).check()


def test_a_scheduler_that_forgets_is_told_of_in_one_sentence(client, tmp_path, monkeypatch):
    def forget(work, event):
        threading.Thread(target=client.cancel, args=(list(work.futures.futures),)).start()

    monkeypatch.setattr(cluster.Work, "heard", forget)
    with pytest.raises(RunError, match="the scheduler is gone: the same command goes on"):
        runs.ensure([SLOW], cluster=client, device="cpu", store=tmp_path)
    assert not Run(SLOW, tmp_path).exists()


def test_no_scheduler_at_an_address_is_one_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    assert cli.main(["run", "--chapter", "teachers", "--cluster", "tcp://127.0.0.1:9"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kdlib: no scheduler") and error.count("\n") == 1


def test_dask_is_not_imported_unless_asked_for(tmp_path):
    code = "import sys; from kdlib.__main__ import main; main(sys.argv[1:]); assert 'distributed' not in sys.modules"
    command = [sys.executable, "-c", code, "run", "--list", "--chapter", "teachers"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"KDLIB_RUNS": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert "5 to make" in done.stdout
    assert not any(tmp_path.iterdir())


def test_a_list_tells_states_and_time(undisturbed, tmp_path):
    store = undisturbed[0].store
    longer = replace(STUDENT, recipe=replace(RECIPE, epochs=3))
    orphan = replace(STUDENT, teacher=replace(TEACHER, seed=7))
    lines = list(states.states_of([STUDENT, longer, orphan], "cpu", store, {runs.key(longer): "tcp://one"}))
    assert lines[:2] == [f"{runs.key(TEACHER)}: made", f"{runs.key(STUDENT)}: made"]
    assert lines[2].startswith(f"{runs.key(longer)}: being made by tcp://one, about ")
    assert "to make, about" in lines[3] and "waiting for its teacher, about" in lines[4]
    assert lines[5].startswith("2 made, 1 being made, 1 to make, 1 waiting for its teacher; about ")


def test_times_are_of_runs_of_the_same_kind(undisturbed):
    store, costs = undisturbed[0].store, states.Costs(undisturbed[0].store, "cpu")
    seconds = [
        json.loads((store / runs.key(s) / "metrics.json").read_text())["provenance"]["seconds"] for s in GRID[:3:2]
    ]
    both = [*seconds, json.loads((store / runs.key(ALONE) / "metrics.json").read_text())["provenance"]["seconds"]]
    assert costs.of(replace(STUDENT, recipe=replace(RECIPE, epochs=4))) == pytest.approx(4 * float(np.median(both)))
    assert costs.of(RANDOM) == 0
    assert costs.of(replace(ALONE, model="alexnet")) is None
    assert states.Costs(store, "cuda").of(STUDENT) is None
