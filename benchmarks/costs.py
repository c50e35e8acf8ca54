"""What the report of a profile takes, made from nothing: time, memory and disk, into book/costs.json.

    python benchmarks/costs.py demo

Runs go into a folder of their own that is removed afterwards, so that all are trained. Memory is the largest sum of
the resident memory of the command and all its processes, looked at twice a second; what they share counts in each.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import timing  # noqa: F401  puts the project's folder on the path
from kdlib import pages


def resident(process: psutil.Process) -> int:
    """Bytes of resident memory of a process and its descendants."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            pass
    return total


def measure(profile: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as store:
        environment = os.environ | {"KDLIB_RUNS": store}
        started = time.monotonic()
        command = [sys.executable, "-m", "kdlib", "report", "--profile", profile]
        process = psutil.Popen(command, env=environment, cwd=pages.ROOT, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(0.5)
        seconds = time.monotonic() - started
        if process.returncode:
            sys.exit(f"the report failed with exit status {process.returncode}: nothing was measured")
        stored, built = pages.size_of(Path(store)), pages.size_of(pages.ROOT / "_build" / "report" / profile)
    return {
        "time": pages.shown_time(seconds),
        "memory": f"{peak / 1e9:.1f} GB",
        "disk": f"{stored / 1e6:.0f} MB of runs, {built / 1e6:.0f} MB of pages",
        "how": f"the whole report, made from nothing on {time.strftime('%Y-%m-%d')} on {pages.processor()}",
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/costs.py PROFILE")
    costs = json.loads(pages.COSTS.read_text()) if pages.COSTS.is_file() else {}
    costs[sys.argv[1]] = measure(sys.argv[1])
    pages.COSTS.write_text(json.dumps(costs, indent=1) + "\n")
    print(json.dumps(costs[sys.argv[1]], indent=1))
