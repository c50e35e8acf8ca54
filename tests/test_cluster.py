"""Runs on a cluster: the same bytes as one after another, whoever dies, and nothing trained twice."""

import gc
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
from small import AUGMENTED, RANDOM, RECIPE, ROOT, STUDENT, TEACHER

from kdlib import __main__ as cli
from kdlib import runs, study
from kdlib.runs import Run, RunError, make, states

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402

from kdlib.runs import cluster  # noqa: E402 (it imports distributed)

TIMES = ("metrics.json", "history.csv", "SHA256SUMS")  # hold how long it took, or the checksum of what does
ALONE = replace(TEACHER, model="lenet", width=64, augmentations=())
GRID = [STUDENT, AUGMENTED, replace(STUDENT, reduction="mean"), replace(AUGMENTED, teacher=RANDOM), ALONE]
FAILING = replace(ALONE, recipe=replace(RECIPE, peak_lr=1e30, clip_norm=None))
SLOW = replace(TEACHER, recipe=replace(RECIPE, epochs=2))


def bytes_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.name not in TIMES}


def until(met, seconds=120):
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def client():
    """Of three workers, which are forked from one process that has imported everything, where there is such a thing."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    with dask.config.set({"distributed.worker.multiprocessing-method": method}):
        # In place of Dask's own list; the second is what PyTorch imports when it first trains.
        distributed.utils.get_mp_context().set_forkserver_preload(["kdlib.runs.cluster", "torch._dynamo"])
        with cluster.connected(3, None) as client:
            client.wait_for_workers(3)
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


@pytest.mark.parametrize("patience", [0, 3])  # Dask's: with none, it leaves it to us to hand the run out again
def test_a_run_goes_on_elsewhere_when_its_worker_is_killed(client, undisturbed, tmp_path, capsys, patience):
    client.run_on_scheduler(
        lambda dask_scheduler, count: setattr(dask_scheduler, "allowed_failures", count), count=patience
    )
    made = made_though_killed(client, tmp_path)
    assert bytes_of(made) == bytes_of(undisturbed[-1])
    assert f"{made.key}: once more" in capsys.readouterr().out


def made_though_killed(client, store):
    """The slow run, whose worker is killed when it begins."""
    pids, killed, heard = client.run(os.getpid, on_error="ignore"), [], cluster.Work.heard

    def kill(event):
        if event[1].get("key") == runs.key(SLOW) and not killed:
            killed.append(event[1]["worker"])
            os.kill(pids[event[1]["worker"]], signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster.Work, "heard", lambda self, event: (heard(self, event), kill(event)))
        (made,) = runs.ensure([SLOW], cluster=client, device="cpu", store=store)
    assert killed
    return made


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
    work.submit(None)
    assert set(asked) == {runs.key(spec) for spec in (TEACHER, RANDOM, other, ALONE)}
    assert asked[runs.key(TEACHER)] > asked[runs.key(RANDOM)] > asked[runs.key(other)]


WORDS = ["run", "--chapter", "teachers", "--set", "teacher_epochs=1", "--set", "augmentations=[none, mixup]"]
WORDS += ["--set", "batch_size=256", "--set", "device=cpu"]
LISTED_THEN_MADE = """
import sys
from kdlib.__main__ import main

main([*sys.argv[1:], "--list"])
print("without Dask:", "distributed" not in sys.modules, flush=True)
main([*sys.argv[1:], "--workers", "1"])
"""


@pytest.fixture(scope="module", autouse=True)
def killed(tmp_path_factory):
    """What `a_killed_client` returns, to be waited for: it starts while others do."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit(a_killed_client, tmp_path_factory.mktemp("killed"))


def a_killed_client(store):
    """The store of a client that was killed when it had made a run, what the client told, and its workers."""
    first = subprocess.Popen(
        [sys.executable, "-c", LISTED_THEN_MADE, *WORDS], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"KDLIB_RUNS": str(store)},
    )  # fmt: skip
    told = [first.stdout.readline() for _ in range(4)]
    untouched = not any(store.iterdir())
    until(lambda: list(store.glob("digits-*")))
    its_own = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.communicate()
    return store, "".join(told), untouched, its_own


def test_a_client_that_is_killed_leaves_whole_runs_and_the_next_goes_on(client, killed, monkeypatch, capsys):
    store, _, _, its_own = killed.result()
    assert len(list(store.glob("digits-*"))) == 1
    assert its_own and psutil.wait_procs(its_own, timeout=120)[1] == []
    monkeypatch.setenv("KDLIB_RUNS", str(store))
    assert cli.main([*WORDS, "--cluster", client.scheduler.address]) == 0
    assert "teachers: 2 runs" in capsys.readouterr().out
    for spec in study.teachers(
        study.settings("teachers", teacher_epochs=1, batch_size=256, augmentations=["none", "mixup"])
    ):
        Run(spec, store).check()


def test_a_scheduler_that_forgets_is_told_of_in_one_sentence(client, tmp_path, monkeypatch):
    def forget(work, event):
        threading.Thread(target=client.cancel, args=(list(work.futures.futures),)).start()

    monkeypatch.setattr(cluster.Work, "heard", forget)
    with pytest.raises(RunError, match="the scheduler is gone, .* the same command goes on"):
        runs.ensure([SLOW], cluster=client, device="cpu", store=tmp_path)
    assert not Run(SLOW, tmp_path).exists()


def in_this_process(workers):
    """A cluster whose scheduler and workers start at once."""
    return distributed.LocalCluster(
        n_workers=workers, processes=False, protocol="tcp", threads_per_worker=1, dashboard_address=":0"
    )


WITHOUT_US = """
import sys
from importlib import import_module

class Hidden:
    def find_spec(self, name, *_):
        if name == "kdlib":
            raise ModuleNotFoundError("No module named 'kdlib'", name=name)

sys.meta_path.insert(0, Hidden())
import_module(f"distributed.cli.dask_{sys.argv.pop(1)}").main()
"""


def dask_process(*words):
    """Dask's command where `kdlib` can't be imported."""
    return subprocess.Popen(
        [sys.executable, "-c", WITHOUT_US, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_a_worker_without_this_package_is_left_out(undisturbed, tmp_path):
    with (
        in_this_process(workers=1) as here,
        distributed.Client(here) as client,
        dask_process("worker", "--no-nanny", "--no-dashboard", here.scheduler_address) as other,
    ):
        client.wait_for_workers(2, timeout=120)
        (made,) = runs.ensure([STUDENT], cluster=client, device="cpu", store=tmp_path / "runs")
        other.kill()
    assert bytes_of(made) == bytes_of(undisturbed[0])


def test_runs_wait_for_a_worker_that_comes_later(undisturbed, tmp_path, capsys):
    with (
        ThreadPoolExecutor() as pool,
        in_this_process(workers=0) as here,
        distributed.Client(here) as client,
    ):
        made = pool.submit(runs.ensure, [ALONE], cluster=client, device="cpu", store=tmp_path)
        until(lambda: client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.unrunnable)))
        here.scale(1)
        assert bytes_of(made.result(timeout=60)[0]) == bytes_of(undisturbed[len(GRID) - 1])
    assert "no worker is there yet" in capsys.readouterr().out


def test_a_scheduler_without_this_package_is_one_sentence(tmp_path):
    port = free_port()
    words = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with dask_process(*words) as process, cluster.connected(None, f"tcp://127.0.0.1:{port}") as client:
        with pytest.raises(
            RunError, match=r"^the scheduler can't read what a run is \(No module named 'kdlib'\): start"
        ):
            runs.ensure([ALONE], cluster=client, device="cpu", store=tmp_path)
        process.kill()


def test_no_scheduler_at_an_address_is_one_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    assert cli.main(["run", "--chapter", "teachers", "--cluster", "tcp://127.0.0.1:9"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kdlib: no scheduler") and error.count("\n") == 1


def test_dask_is_not_imported_unless_asked_for(killed):
    _, told, untouched, _ = killed.result()
    assert "2 to make" in told and "without Dask: True" in told
    assert untouched


def test_where_another_process_was_first_its_run_stays(undisturbed, tmp_path):
    run, late = (Run(ALONE, tmp_path) for _ in range(2))
    killed = tmp_path / ".making" / f"{run.key}.killed"
    killed.mkdir(parents=True)
    with make.appearing(late) as behind:
        cluster.write_files(behind, {"spec.json": b"second"})
        with make.appearing(run) as aside:
            cluster.write_files(aside, {"spec.json": b"first"})
    assert (run.folder / "spec.json").read_bytes() == b"first"
    assert not any((tmp_path / ".making").iterdir())


def test_what_is_told_is_of_ones_own_runs_and_counted_once_a_kind(client, undisturbed, tmp_path, monkeypatch, capsys):
    store = undisturbed[0].store
    pending = {run.key: run for run in (Run(replace(ALONE, seed=seed), tmp_path) for seed in range(1, 100))}
    work = cluster.Work(client, pending, cluster.Admission(["digits"], "auto"))
    work.heard((0.0, {"refused": "of another commit", "by": "another client"}))
    assert "refused" not in capsys.readouterr().out
    asked = []
    monkeypatch.setattr(states.statistics, "median", lambda times: asked.append(times) or 3600.0)
    work.costs.just_made(
        *(json.loads((store / runs.key(ALONE) / name).read_text()) for name in ("spec.json", "metrics.json"))
    )
    work.tell(next(iter(pending)))
    assert len(asked) == 1 and "98 left, about 98.0 h" in capsys.readouterr().out


class Submitted:
    """In place of a future: what it was asked for failed, as workers went."""

    def __init__(self, task, *_, key=None, **__):
        self.task, self.key, self.released = task, key, False

    def result(self):
        raise distributed.KilledWorker("given-1", None, 3)

    def release(self):
        self.released = True


class Batches:
    """In place of `as_completed`: these have ended, and what is added to them never does."""

    def __init__(self, ended):
        self.ended, self.added = ended, []
        self.add = self.added.append

    def batches(self):
        return self.ended


@pytest.fixture
def students_of_a_stored_teacher(client, undisturbed, tmp_path, monkeypatch):
    """Their work, and what was submitted of it and is still held."""
    teacher = undisturbed[0].beside(TEACHER)
    cluster.write_files(tmp_path / teacher.key, cluster.read_files(teacher.folder))
    pending = {run.key: run for run in (Run(replace(AUGMENTED, seed=seed), tmp_path) for seed in (1, 2))}
    work = cluster.Work(client, pending, cluster.Admission(["digits"], "cpu"))
    held, work.futures = weakref.WeakSet(), set()

    def submit(*arguments, **named):
        held.add(future := Submitted(*arguments, **named))
        return future

    monkeypatch.setattr(client, "submit", submit)
    work.submit(None)
    gc.collect()
    return work, held


def test_what_students_learn_from_is_let_go_of_when_they_are_submitted(students_of_a_stored_teacher):
    work, held = students_of_a_stored_teacher
    assert len(work.futures) == 2 and set(held) == work.futures


def test_a_run_whose_teaching_was_lost_too_often_is_handed_out_anew(students_of_a_stored_teacher):
    work, _ = students_of_a_stored_teacher
    lost = work.futures.pop()
    work.finish(lost, {})
    assert lost.released and not work.failed
    assert {future.key for future in work.futures} == set(work.pending)
    for _ in range(cluster.LIVES - 1):  # it never begins: what it learns from is lost each time
        assert not work.failed
        (again,) = (future for future in work.futures if future.key == lost.key)
        work.futures.remove(again)
        work.finish(again, {})
    assert list(work.failed) == [lost.key] and not work.begun


def test_a_failure_without_words_is_named_by_its_kind(students_of_a_stored_teacher):
    def out_of_memory():
        raise MemoryError

    work, _ = students_of_a_stored_teacher
    future = work.futures.pop()
    future.result, future.status = out_of_memory, "error"
    work.finish(future, {})
    assert work.failed == {future.key: "MemoryError"}


def test_what_was_lost_for_all_students_of_a_teacher_is_read_again_once(students_of_a_stored_teacher, monkeypatch):
    work, _ = students_of_a_stored_teacher
    read = []
    monkeypatch.setattr(cluster, "read_files", lambda folder, _: read.append(folder))
    work.futures = Batches([list(work.futures)])
    work.waiting.clear()
    work.go_on()
    assert len(read) == 1 and {future.key for future in work.futures.added} == set(work.pending)


def test_a_list_tells_states_and_time(undisturbed, tmp_path):
    store = undisturbed[0].store
    longer = replace(STUDENT, recipe=replace(RECIPE, epochs=3))
    orphan = replace(STUDENT, teacher=replace(TEACHER, seed=7))
    lines = list(states.states_of([STUDENT, longer, orphan], "cpu", store, {runs.key(longer): "tcp://one"}))
    assert lines[:2] == [f"{runs.key(TEACHER)}: made", f"{runs.key(STUDENT)}: made"]
    assert lines[2].startswith(f"{runs.key(longer)}: being made by tcp://one, about ")
    assert "to make, about" in lines[3] and "waiting for its teacher, about" in lines[4]
    assert lines[5].startswith("2 made, 1 being made, 1 to make, 1 waiting for its teacher; about ")


def test_a_lock_that_cannot_be_tried_is_not_taken_for_work(tmp_path):
    run = Run(ALONE, tmp_path)
    (tmp_path / ".locks" / run.key).mkdir(parents=True)
    assert states.state(run, {}) == states.TO_MAKE


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


def test_the_time_left_is_of_the_kind_of_device_that_runs_are_made_on(undisturbed):
    store, costs = undisturbed[0].store, states.Costs(undisturbed[0].store, "auto")
    files = [json.loads((store / runs.key(ALONE) / name).read_text()) for name in ("spec.json", "metrics.json")]
    costs.learn(*files)
    assert costs.of(ALONE) is None
    costs.just_made(*files)
    assert costs.of(ALONE) == pytest.approx(files[1]["provenance"]["seconds"])


@pytest.mark.parametrize("content", ["[]", "{", '{"provenance": 1}'])
def test_a_damaged_run_tells_nothing_of_times(undisturbed, tmp_path, content):
    (tmp_path / "digits-damaged").mkdir()
    (tmp_path / "digits-damaged" / "spec.json").write_text((undisturbed[0].folder / "spec.json").read_text())
    (tmp_path / "digits-damaged" / "metrics.json").write_text(content)
    assert not states.Costs(tmp_path, "cpu").of_epoch
