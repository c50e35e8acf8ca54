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
PAUSE = (1.0, 12.0)  # seconds between two kills


def start(store: Path, *more: str) -> subprocess.Popen:
    environment = os.environ | {"KDLIB_RUNS": str(store), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, *more], cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True)


def workers(client: subprocess.Popen) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(client.pid).children(recursive=True) if "spawn_main" in str(child.cmdline())
    ]


def disturbed(store: Path, of_workers: int, of_clients: int) -> dict[str, int]:
    """Make the grid, and kill at random while there is something left to make; what was done to it."""
    left = {"workers": of_workers, "clients": of_clients}
    log = ""
    while True:
        client = start(store, "--workers", "2")
        end = time.monotonic() + (random.uniform(20, 60) if left["clients"] else float("inf"))
        while client.poll() is None and time.monotonic() < end:
            time.sleep(random.uniform(*PAUSE))
            if left["workers"] and client.poll() is None and (found := workers(client)):
                random.choice(found).send_signal(signal.SIGKILL)
                left["workers"] -= 1
        if client.poll() is None and left["clients"]:
            client.kill()
            left["clients"] -= 1
        log += client.communicate()[0]
        if client.returncode == 0:
            again = log.count("once more")
            return {"workers_killed": of_workers - left["workers"], "clients_killed": of_clients - left["clients"],
                    "told_again": again, "told_made": log.count(" is made")}  # fmt: skip


def files(store: Path) -> dict[str, bytes]:
    found = (path for path in store.glob("*/*") if path.parent.name[0] != "." and path.name not in TIMES)
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]] or [50, 10]
    with tempfile.TemporaryDirectory() as folder:
        found = disturbed(Path(folder, "disturbed"), *numbers)
        print(found, flush=True)
        undisturbed = start(Path(folder, "undisturbed"))
        undisturbed.communicate()
        one, other = files(Path(folder, "disturbed")), files(Path(folder, "undisturbed"))
        differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        print(f"{len(one)} files, {len(differ)} of them not as undisturbed", *differ[:5], flush=True)
    keep("kills", **found, runs=len({name.partition("/")[0] for name in one}), files=len(one), differ=len(differ))
