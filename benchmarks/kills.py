"""Workers and clients killed at random while a demo grid is made: is it whole at the end, and byte for byte the same?

python benchmarks/kills.py [KILLS OF WORKERS] [OF CLIENTS]
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
from timing import HERE, keep

COMMAND = [
    sys.executable,
    "-m",
    "kdlib",
    "run",
    "--chapter",
    "students",
    "--set",
    "device=cpu",
    "--set",
    "student_epochs=16",
]
TIMES = ("metrics.json", "history.csv", "SHA256SUMS")
PAUSE = (2.0, 20.0)  # seconds between two kills of workers: some while they start, most while they train
LIFE = (30.0, 90.0)  # seconds of a client that is to be killed


def start(store: Path, *more: str) -> subprocess.Popen:
    environment = os.environ | {"KDLIB_RUNS": str(store), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, *more], cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True)


def workers(client: subprocess.Popen) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(client.pid).children(recursive=True) if "spawn_main" in str(child.cmdline())
    ]


def disturbed(store: Path, left: Counter, log: list[str]) -> None:
    """Make the grid, and kill at random while there is something left to make; `left` is what is still to be killed."""
    while True:
        client = start(store, "--workers", "2")
        end = time.monotonic() + (random.uniform(*LIFE) if left["clients"] else float("inf"))
        while client.poll() is None and time.monotonic() < end:
            time.sleep(random.uniform(*PAUSE))
            if left["workers"] and client.poll() is None and (found := workers(client)):
                random.choice(found).send_signal(signal.SIGKILL)
                left["workers"] -= 1
        if client.poll() is None and left["clients"]:
            client.kill()
            left["clients"] -= 1
        log.append(client.communicate()[0])
        print(f"{len(files(store))} files; still to be killed: {dict(left)}", flush=True)
        if client.returncode == 0:
            return


def files(store: Path) -> dict[str, bytes]:
    found = (path for path in store.glob("*/*") if path.parent.name[0] != "." and path.name not in TIMES)
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]] or [50, 10]
    left, log, grids = Counter(dict(zip(("workers", "clients"), numbers, strict=True))), [], []
    with tempfile.TemporaryDirectory() as folder:
        while left.total() or not grids:
            store = Path(folder, f"disturbed-{len(grids)}")
            disturbed(store, left, log)
            grids.append(files(store))
        start(Path(folder, "undisturbed")).communicate()
        whole = files(Path(folder, "undisturbed"))
    differ = sorted({name for one in grids for name in one.keys() | whole.keys() if one.get(name) != whole.get(name)})
    found = {
        "workers_killed": numbers[0], "clients_killed": numbers[1], "grids": len(grids),
        "told_again": "".join(log).count("once more"), "runs": len({name.partition("/")[0] for name in whole}),
        "files": len(whole), "differ": len(differ),
    }  # fmt: skip
    print(found, *differ[:5], flush=True)
    keep("kills", **found)
