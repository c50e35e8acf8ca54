"""What a cluster costs beside training: overhead of a task, memory of the client, and what 1,000 workers would gain.

    python benchmarks/cluster.py

The overhead is measured on two local workers with 10,000 specs whose making is a no-op. The simulation takes run times
of the published grid, each kind's median, for the paper's grid with 20 seeds, and hands runs to workers as Dask does:
the first free worker gets the ready run with the highest priority.
"""

import heapq
import json
import resource
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from timing import keep, runs, silent, study

from kdlib.runs import cluster, states
from kdlib.runs.make import add_pending, taught_from

SPECS, WORKERS, SEEDS = 10_000, (1, 10, 100, 1000), 20


def nothing(name: str, spec: dict, device: str, teaching: dict | None = None) -> dict[str, bytes]:
    """In place of training: the files of a run that did nothing."""
    return {"spec.json": json.dumps(spec).encode(), "metrics.json": b"{}"}


def overhead() -> tuple[float, float]:
    """Seconds a task, and megabytes that the client grows by; runs are written to this machine's disk."""
    first = study.alone(study.settings("students", "demo"), "lenet", 0)
    specs = [replace(first, seed=seed) for seed in range(SPECS)]
    cluster.make_there = nothing
    with tempfile.TemporaryDirectory() as store, cluster.connected(2, None) as client, silent():
        client.wait_for_workers(2)
        before, started = megabytes(), time.perf_counter()
        runs.ensure(specs, cluster=client, device="cpu", store=Path(store))
        return (time.perf_counter() - started) / SPECS, megabytes() - before


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of kilobytes, on Linux


def simulated(
    pending: dict[str, runs.Run], seconds: dict[str, float], workers: int, per_task: float
) -> dict[str, float]:
    """Seconds until the last run is made, and what bounds them; the client hands out a run in `per_task` seconds."""
    heirs, taught = Counter(), {}
    for name, run in pending.items():
        if taught_from(run.spec):
            taught[name] = runs.key(run.spec.teacher)
            heirs[taught[name]] += 1
    students: dict[str, list[str]] = {}
    for name, teacher in taught.items():
        students.setdefault(teacher, []).append(name)
    priority = {n: heirs[n] + (0 if hasattr(run.spec, "teacher") else 1) for n, run in pending.items()}
    order = {name: i for i, name in enumerate(pending)}
    ready = [(-priority[n], order[n], n) for n in pending if n not in taught]
    heapq.heapify(ready)
    now, client_free, free, busy = 0.0, 0.0, workers, []
    while ready or busy:
        while ready and free:
            _, _, name = heapq.heappop(ready)
            client_free = max(client_free, now) + per_task
            heapq.heappush(busy, (client_free + seconds[name], name))
            free -= 1
        now, name = heapq.heappop(busy)
        free += 1
        for student in students.get(name, ()):
            heapq.heappush(ready, (-priority[student], order[student], student))
    longest = max(seconds[n] + (seconds[taught[n]] if n in taught else 0) for n in pending)
    total = sum(seconds.values())
    return {
        "workers": workers,
        "seconds": now,
        "work": total,
        "longest_chain": longest,
        "client": per_task * len(pending),
    }


def grid() -> tuple[dict[str, runs.Run], dict[str, float], int]:
    """The runs of the paper's chapters with 20 seeds, the seconds of each, and how many more are of unknown length."""
    costs = states.Costs(runs.default_store(), "cuda")
    pending: dict[str, runs.Run] = {}
    with tempfile.TemporaryDirectory() as empty:
        for spec in study.all_specs("paper", seeds=list(range(SEEDS)), device="cpu"):
            add_pending(runs.Run(spec, Path(empty)), pending)
    seconds = {name: costs.of(run.spec) for name, run in pending.items()}
    unknown = [name for name, cost in seconds.items() if cost is None]
    known = {name: cost for name, cost in seconds.items() if cost is not None}
    return {name: pending[name] for name in known}, known, len(unknown)


if __name__ == "__main__":
    per_task, grown = overhead()
    pending, seconds, unknown = grid()
    found = [simulated(pending, seconds, workers, per_task) for workers in WORKERS]
    keep(
        "cluster",
        specs=SPECS,
        seconds_a_task=per_task,
        client_megabytes=grown,
        runs=len(pending),
        seeds=SEEDS,
        unknown=unknown,
        simulated=found,
    )
