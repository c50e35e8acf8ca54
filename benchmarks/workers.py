"""Twelve LeNet students of real CIFAR-10 (`KDLIB_DATA`) on one local worker of one thread, and on two.

    python benchmarks/workers.py [EPOCHS]

The teacher is the published one; Dask's start is not counted, its workers' reading of the data is, as it is for one.
"""

import sys
import tempfile
import time
from pathlib import Path

from distributed import Client, LocalCluster
from timing import keep, runs, silent, study

from kdlib.runs import cluster

TIMES = ("metrics.json", "history.csv", "SHA256SUMS")


def students(epochs: int) -> list[runs.Spec]:
    settings = study.settings("students", "cpu", seeds=[0], students=["lenet"], student_epochs=epochs)
    taught = [spec for spec in study.students(settings) if runs.is_taught(spec)]
    return [*taught, *(study.student(settings, "lenet", taught[0].teacher, "batchmean", seed=seed) for seed in (1, 2))]


def seconds(specs: list[runs.Spec], store: Path, workers: int) -> float:
    for teacher in {runs.Run(spec.teacher) for spec in specs}:
        (store / teacher.key).mkdir(parents=True, exist_ok=True)
        cluster.write_files(store / teacher.key, cluster.read_files(teacher.folder))
    local = LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=":0")
    with local, Client(local) as client, silent():
        client.wait_for_workers(workers)
        started = time.perf_counter()
        runs.ensure(specs, cluster=client, device="cpu", store=store)
        return time.perf_counter() - started


def made(store: Path) -> dict[str, bytes]:
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in store.glob("cifar10-*/*") if p.name not in TIMES}


if __name__ == "__main__":
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    specs = students(epochs)
    with tempfile.TemporaryDirectory() as folder:
        one, two, after = (Path(folder, name) for name in ("one", "two", "after"))
        times = {"one": [round(seconds(specs, one, 1), 3)], "two": [round(seconds(specs, two, 2), 3)]}
        print(times)
        with silent(), runs.threads(1):
            for teacher in {runs.Run(spec.teacher) for spec in specs}:
                cluster.write_files(after / teacher.key, cluster.read_files(teacher.folder))
            runs.ensure(specs, store=after)
        same = made(one) == made(two) == made(after)
        print(f"the same bytes as one after another: {same}")
    keep("workers", students=len(specs), epochs=epochs, seconds=times, same_bytes=same)
