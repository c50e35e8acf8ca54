"""Workers and clients killed at random while a grid of the demo's networks is made: is it the same, byte for byte?

python benchmarks/kills.py [KILLS OF WORKERS] [OF CLIENTS]
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import psutil
from timing import HERE, keep

COMMAND = [sys.executable, "-m", "kdlib", "run", "--chapter", "students"]
# With AlexNets, though the demo has none: the grid lasts longer.
for setting in ("device=cpu", "students=[lenet, alexnet]", "teacher_epochs=2", "student_epochs=4"):
    COMMAND += ["--set", setting]
TIMES = ("metrics.json", "history.csv", "SHA256SUMS")
LIFE = (1.0, 15.0)  # seconds of the processor that a worker may use: some die while they start, most while they train


def start(store: Path, *more: str) -> subprocess.Popen:
    environment = os.environ | {"KDLIB_RUNS": str(store), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, *more], cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True)


def worn_out(client: subprocess.Popen, lives: dict[int, float]) -> psutil.Process | None:
    """A worker that has used up its life."""
    for child in psutil.Process(client.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in str(child.cmdline()) and sum(child.cpu_times()[:2]) > lives[child.pid]:
                return child
    return None


def disturbed(store: Path, kills: list[str], log: list[str]) -> None:
    """Make the grid; whenever a worker's life is over, it or the client is killed, whichever is the next of `kills`."""
    while True:
        client, lives = start(store, "--workers", "2"), defaultdict(lambda: random.uniform(*LIFE))
        while client.poll() is None:
            time.sleep(0.3)
            worker = worn_out(client, lives) if kills else None
            if worker:
                (client if kills.pop() == "client" else worker).send_signal(signal.SIGKILL)
        log.append(client.communicate()[0])
        print(f"{len(files(store))} files; still to be killed: {dict(Counter(kills))}", flush=True)
        if client.returncode == 0:
            return


def files(store: Path) -> dict[str, bytes]:
    found = (path for path in store.glob("*/*") if path.parent.name[0] != "." and path.name not in TIMES)
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]] or [50, 10]
    kills, log, grids = ["worker"] * numbers[0] + ["client"] * numbers[1], [], []
    random.shuffle(kills)
    with tempfile.TemporaryDirectory() as folder:
        while kills or not grids:
            store = Path(folder, f"disturbed-{len(grids)}")
            disturbed(store, kills, log)
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
