"""Making runs on a cluster: a run that is missing is a task of Dask's, and its key is the task's.

Dask places tasks, repeats those whose worker died, and moves their results. Here is what it can't know: which workers
may make a run, what a student needs of its teacher, and how a finished run enters the store. The client alone reads
and writes the store: what a student learns from travels to it, and a finished run comes back, as bytes of files. A
student is submitted when its teacher is in the store, so that no teacher is trained twice because a machine went.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import logging
import math
import os
import platform
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import dask
import numpy as np
import torch
from distributed import Client, Future, KilledWorker, LocalCluster, Status, WorkerPlugin, as_completed, get_worker
from tqdm import tqdm

from kdlib import data, reason
from kdlib.runs import make
from kdlib.runs.specs import RunError, canonical, from_canonical, key
from kdlib.runs.states import Costs, in_words, size
from kdlib.runs.store import Run, open_store

Files = dict[str, bytes]  # of a run's folder, by name
TOPIC = "kdlib"  # of the events by which workers say what they begin, and which of them are refused
PATIENCE = "20s"  # with a scheduler that does not answer
WAITS = 30  # seconds for other workers' answers, where one can't read the question
LIVES = 10  # workers that may die under one run before it is taken for the cause
LARGE = {"distributed.admin.large-graph-warning-threshold": "1GB"}  # of a task: a teacher's weights are tens of MB


@contextlib.contextmanager
def connected(workers: int | None, address: str | None) -> Iterator[Client]:
    """A client of the scheduler at `address`, or of `workers` processes here: one GPU each, or a share of the cores.

    Raises `RunError` where no scheduler answers.
    """
    for logger in ("distributed", "distributed.client"):  # what goes wrong is told here, in one sentence
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    if address is None:
        share = 1 if torch.cuda.is_available() else max(1, (os.cpu_count() or 1) // workers)
        threads = {"OMP_NUM_THREADS": str(share), "MKL_NUM_THREADS": str(share)}
        try:
            local = LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=":0", env=threads,
                silence_logs=logging.ERROR,
            )  # fmt: skip
        except RuntimeError as error:
            raise RunError(f"{workers} workers can't be started here: {error}") from error
        with local, Client(local, timeout=PATIENCE) as client:
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise RunError(
            f"no scheduler of Dask's answers at {address}: start one by `python -m dask scheduler`"
        ) from error
    with client:
        yield client


# ---------------------------------------------------------------- on a worker


def environment(datasets: Iterable[str]) -> dict[str, str]:
    """What makes a run's numbers beside its spec, apart from the kind of machine."""
    versions = {"torch": torch.__version__, "numpy": np.__version__, "Python": platform.python_version()}
    return {"commit": make.commit(), **versions, **{name: data.load(name).checksum for name in sorted(datasets)}}


class Admission(WorkerPlugin):
    """Gives workers with the client's code, packages and data the resource that every run asks for: one at a time."""

    def __init__(self, datasets: Iterable[str], device: str):
        self.wanted, self.datasets, self.device = environment(datasets), sorted(datasets), device
        self.resource = "kdlib-" + hashlib.sha256(json.dumps(self.wanted).encode()).hexdigest()[:8]
        self.name = f"{self.resource}-{device}"

    async def setup(self, worker) -> None:
        try:
            found = await asyncio.to_thread(environment, self.datasets)
            device = device_here(worker, self.device)
            for what, wanted in self.wanted.items():
                if found[what] != wanted:
                    raise RunError(f"its {what} is {found[what][:16]}, the client's {wanted[:16]}")
        except Exception as error:  # whatever is wrong with it, the others go on
            told = f"worker {worker.address} is refused: {error}"
            worker.log_event(TOPIC, {"refused": told, "by": self.name})
            raise RunError(told) from error
        gpu = {"GPU": 1} if device == "cuda" else {}
        # The scheduler looks for tasks that nobody could do when a worker starts to run, not when it gets a resource.
        if worker.status is Status.running:  # and not on its way out
            worker.status = Status.paused
        try:
            await worker.set_resources(**{self.resource: 1}, **gpu)
        finally:
            if worker.status is Status.paused:
                worker.status = Status.running


def device_here(worker, device: str) -> str:
    """The device that a worker trains on; workers that see several GPUs and are numbered take one each."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    make.check_device(device)
    if device == "cuda" and isinstance(worker.name, int):
        torch.cuda.set_device(worker.name % torch.cuda.device_count())
    return device


def make_there(name: str, spec: dict, device: str, teaching: Files | None = None) -> Files:
    """Train the run called `name` on this worker, in a store of its own, and return the files of its folder.

    `teaching` is what is needed of its teacher's. Passes over augmented batches stay for the next run that shares them.
    """
    worker = get_worker()
    worker.log_event(TOPIC, {"key": name, "worker": worker.address})
    run = Run(from_canonical(spec), Path(worker.local_directory) / "runs")
    if run.key != name:
        raise RunError(f"{name} is {run.key} on {worker.address}: its extensions are of another version")
    teacher = run.beside(run.spec.teacher) if teaching else None
    for folder in {run.folder, *(run.store / ".passes").glob("*")} - {make.passes_of(run)}:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        if teacher:
            write_files(teacher.folder, teaching)
        out = io.StringIO()  # the client tells of progress, run by run
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), make.threads_for(run.spec):
            make.make_run(run, device_here(worker, device))
        return read_files(run.folder)
    finally:
        for done in filter(None, (run, teacher)):
            shutil.rmtree(done.folder, ignore_errors=True)


def given(files: Files) -> Files:
    """A task of its own, so that the scheduler can hand out what students learn from again when a worker dies."""
    return files


def read_files(folder: Path, names: Iterable[str] | None = None) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir() if names is None or path.name in names}


def write_files(folder: Path, files: Files) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


# ---------------------------------------------------------------- on the client


def make_on(client: Client, pending: dict[str, Run], device: str) -> None:
    """Make runs that are missing, given by their keys with each teacher before its students.

    A spec that fails fails alone, with the students that wait for it; all are named at the end by a `RunError`.
    """
    store = next(iter(pending.values())).store
    open_store(store)
    admission = Admission({run.spec.dataset for run in pending.values()}, device)
    work = Work(client, pending, admission)
    client.subscribe_topic(TOPIC, work.heard)
    try:
        admit(client, admission)
        if not client.scheduler_info()["workers"]:
            work.bar.write("no worker is there yet: waiting for one")
        with dask.config.set(LARGE):
            work.go_on()
    finally:
        client.unsubscribe_topic(TOPIC)
        work.bar.close()
    if work.failed:
        waiting = sum(map(len, work.waiting.values()))
        left = f", and {waiting} students wait for them" if waiting else ""
        told = "; ".join(f"{name}: {error}" for name, error in work.failed.items())
        raise RunError(f"{len(work.failed)} of {len(pending)} runs could not be made{left}: {told}")


def admit(client: Client, admission: Admission) -> None:
    """Ask all workers, those to come included; raises where there are some and none will do."""
    hint = "start it in this project's folder with the same packages, by `python -m dask"
    try:
        client.run_on_scheduler(given, {})  # it reads tasks before it hands them out
    except Exception as error:
        raise RunError(f"the scheduler can't read what a run is ({error}): {hint} scheduler`") from error
    try:
        client.register_plugin(admission, name=admission.name)
    except OSError:  # a worker went while it was asked: all others were asked as well
        return
    except Exception as error:  # of one worker
        for _ in range(WAITS):
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            if any(admission.resource in worker["resources"] for worker in workers):
                return
            if isinstance(error, RunError):  # all have answered, each for itself
                raise
            time.sleep(1)
        raise RunError(f"no worker can read what a run is ({error}): {hint} worker`") from error


class Work:
    """The runs of one call: waiting for a teacher, submitted, made or failed."""

    def __init__(self, client: Client, pending: dict[str, Run], admission: Admission):
        self.client, self.pending, self.admission = client, pending, admission
        self.waiting: dict[str | None, list[Run]] = defaultdict(list)  # by the key of the teacher, None for nobody
        for run in pending.values():
            teacher = key(run.spec.teacher) if make.taught_from(run.spec) else None
            self.waiting[teacher if teacher in pending else None].append(run)
        self.failed: dict[str, str] = {}
        self.begun: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()  # how often Dask gave a run up
        self.costs = Costs(next(iter(pending.values())).store, admission.device)
        self.left = {name: size(canonical(run.spec)) for name, run in pending.items()}
        self.futures = as_completed()
        self.bar = tqdm(total=len(pending), unit="run", disable=None)
        self.running: set[str] = set()
        self.told, self.text = -math.inf, ""

    def go_on(self) -> None:
        self.submit(None)
        for finished in self.futures.batches():
            # Of students that are handed out again: it may be lost for all of a teacher's at once.
            teaching: dict[Path, Future] = {}
            for future in finished:
                self.finish(future, teaching)

    def submit(self, teacher: str | None) -> None:
        """Those that wait for this teacher."""
        teaching: dict[Path, Future] = {}  # the scheduler keeps it while there are students that need it
        for run in self.waiting.pop(teacher, ()):
            self.hand_out(run, teaching)

    def hand_out(self, run: Run, teaching: dict[Path, Future]) -> None:
        """Teachers come first, those that most runs wait for before others."""
        resources = {self.admission.resource: 1} | ({"GPU": 1} if self.admission.device == "cuda" else {})
        priority = len(self.waiting.get(run.key, ())) + (0 if hasattr(run.spec, "teacher") else 1)
        self.futures.add(
            self.client.submit(
                make_there, run.key, canonical(run.spec), self.admission.device, self.taught(run, teaching),
                key=run.key, resources=resources, priority=priority,
            )
        )  # fmt: skip

    def taught(self, run: Run, teaching: dict[Path, Future]) -> Future | None:
        """What a student learns from, once for all students of that teacher that learn from it."""
        file = make.taught_from(run.spec)
        if file is None:
            return None
        path = run.beside(run.spec.teacher).folder / file
        if path not in teaching:
            files, on_admitted = read_files(path.parent, (file, "SHA256SUMS")), {self.admission.resource: 0}
            teaching[path] = self.client.submit(given, files, pure=False, resources=on_admitted)
        return teaching[path]

    def finish(self, future: Future, teaching: dict[Path, Future]) -> None:
        run = self.pending[future.key]
        try:
            files = future.result()
        except KilledWorker:
            self.lost[run.key] += 1  # by workers that it only waited at as well, or that had what it learns from
            if max(self.begun[run.key], self.lost[run.key]) < LIVES:
                future.release()
                self.client.sync(asyncio.sleep, 0)  # forgotten, before another task has the same key
                self.hand_out(run, teaching)
                return
            self.failed[run.key] = "its workers died again and again, for want of memory perhaps"
        except Exception as error:
            if future.status not in ("finished", "error"):
                raise RunError(
                    "the scheduler is gone, and its workers with it: start them again, and the same command goes on "
                    "with what is left"
                ) from error
            self.failed[run.key] = reason(error)
        else:
            with make.appearing(run) as aside:
                write_files(aside, files)
            self.costs.just_made(*(json.loads(files[name]) for name in ("spec.json", "metrics.json")))
            self.submit(run.key)
        future.release()
        self.tell(run.key)

    def tell(self, name: str) -> None:
        self.running.discard(name)
        del self.left[name]
        self.bar.update()
        if not self.left or time.monotonic() > self.told + 1:  # seconds
            costs = {of: self.costs.of_size(of) for of in set(self.left.values())}
            left = in_words([costs[of] for of in self.left.values()], len(self.running) + 1)
            self.told, self.text = time.monotonic(), f"; {len(self.running)} running, {len(self.left)} left, {left}"
            self.bar.set_postfix_str(self.text[2:])
        if self.bar.disable:
            print(f"{name} {'failed' if name in self.failed else 'is made'}{self.text}", flush=True)
            self.text = ""

    def heard(self, event: tuple[float, dict]) -> None:
        """What a worker says of itself, in a thread of the client's."""
        _, said = event
        if said.get("by") == self.admission.name:
            self.bar.write(said["refused"])
        elif said.get("key") in self.pending:
            self.begun[said["key"]] += 1
            self.running.add(said["key"])
            if self.begun[said["key"]] > 1:
                self.bar.write(f"{said['key']}: once more, on {said['worker']}, as the worker that made it is gone")


def at_work(client: Client) -> dict[str, str]:
    """The worker at each task that is being done."""
    doing = client.run(lambda dask_worker: [task.key for task in dask_worker.state.executing], on_error="ignore")
    return {name: worker for worker, names in doing.items() for name in names}
