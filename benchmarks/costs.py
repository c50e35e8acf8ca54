"""What the report of a profile takes, made from nothing: time, memory and disk, into book/costs.json.

    python benchmarks/costs.py demo
    python benchmarks/costs.py cpu one-epoch

Runs go into a folder of their own that is removed afterwards, so that all are trained. Memory is the largest sum of
the resident memory of the command and all its processes, looked at twice a second; what they share counts in each.
With `one-epoch`, for profiles that take hours, each network is trained for one epoch, without notebooks and pages, and
the time of its epoch is multiplied by their number.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import timing

from kdlib import runs, study

ROOT = Path(__file__).resolve().parents[1]
COSTS = ROOT / "book" / "costs.json"


def resident(process: psutil.Process) -> int:
    """Bytes of resident memory of a process and its descendants."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            pass
    return total


def watched(words: list[str], store: str) -> tuple[float, int]:
    """Seconds and peak memory of `python -m kdlib` with these words and an empty store."""
    started, peak = time.monotonic(), 0
    command = [sys.executable, "-m", "kdlib", *words]
    process = psutil.Popen(command, env=os.environ | {"KDLIB_RUNS": store}, cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"kdlib {' '.join(words)} failed with exit status {process.returncode}: nothing was measured")
    return time.monotonic() - started, peak


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def where() -> str:
    machine = timing.machine()
    return f"on {machine['date']} on {machine['processor']}, {machine['cores']} cores"


def measure_one_epoch(profile: str) -> dict[str, str | float]:
    """The same from one epoch of each network."""
    short = {"teacher_epochs": 1, "student_epochs": 1}
    words = ["run", "--profile", profile, *(w for name, value in short.items() for w in ("--set", f"{name}={value}"))]
    with tempfile.TemporaryDirectory() as store:
        _, peak = watched(words, store)
        os.environ["KDLIB_RUNS"] = store
        seconds = 0.0
        kinds = zip(study.all_specs(profile), study.all_specs(profile, **short), strict=True)
        for whole, tried in {runs.key(whole): (whole, tried) for whole, tried in kinds}.values():
            run = runs.Run(tried)
            epochs = float(run.history["seconds"].sum())
            seconds += run.metrics["provenance"]["seconds"] + epochs * (whole.recipe.epochs - tried.recipe.epochs)
        stored = sum(path.stat().st_size for path in Path(store).glob("*/*") if path.suffix != ".safetensors")
    return {
        "memory": f"{peak / 1e9:.1f} GB",
        "disk": f"{stored / 1e6:.0f} MB of runs, without weights",
        "how": f"from one epoch of each network, without notebooks and pages, {where()}",
        "seconds": round(seconds, 1),
    }


def measure(profile: str) -> dict[str, str | float]:
    with tempfile.TemporaryDirectory() as store:
        seconds, peak = watched(["report", "--profile", profile], store)
        stored, built = size_of(Path(store)), size_of(ROOT / "_build" / "report" / profile)
    return {
        "memory": f"{peak / 1e9:.1f} GB",
        "disk": f"{stored / 1e6:.0f} MB of runs, {built / 1e6:.0f} MB of pages",
        "how": f"the whole report, made from nothing {where()}",
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["one-epoch"]):
        sys.exit("usage: python benchmarks/costs.py PROFILE [one-epoch]")
    costs = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.is_file() else {}
    costs[sys.argv[1]] = (measure_one_epoch if sys.argv[2:] else measure)(sys.argv[1])
    COSTS.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(costs[sys.argv[1]], indent=1))
