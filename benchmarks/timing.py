"""What every benchmark shares: the data, sides timed in turn, and results kept as JSON with the machine's name."""

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
sys.path.insert(0, str(HERE.parent))

from kdlib import data, runs, study, train  # noqa: E402  after the project's folder is on the path

KD = train.Distillation(temperature=20.0, kd_weight=0.5, direction="teacher_student", reduction="batchmean")
REPEATS = 5
# Kinds of processor by the instructions that PyTorch finds, the best first: two of one name need not be of one kind.
KINDS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 with bf16",
    "avx512_f": "AVX-512",
    "avx2": "AVX2",
    "arm_bf16": "Arm with bf16",
}


def recipe(batch_size: int, precision: str = "float32", epochs: int = 1) -> train.Recipe:
    """The `cpu` edition's recipe of LeNet, with another size of batch or precision where asked for."""
    return train.Recipe(epochs, batch_size, peak_lr=0.05, weight_decay=5e-4, precision=precision, clip_norm=2.0)


def cifar10(images: int = 50_000) -> train.TrainingSet:
    whole = data.load("cifar10")
    return train.to_device(whole.train.images[:images], whole.train.labels[:images], whole.mean, whole.std, "cpu")


def stored_logits() -> torch.Tensor:
    """Logits (50,000, 10) of the published edition's baseline teacher, ResNet-18 of width 64."""
    baseline = study.teachers(study.settings("teachers", "paper", augmentations=["none"]))[0]
    return torch.as_tensor(runs.Run(baseline).train_logits())


def test_accuracy(model: torch.nn.Module) -> float:
    whole = data.load("cifar10")
    test = train.to_device(whole.test.images, whole.test.labels, whole.mean, whole.std, "cpu")
    return train.validated(model, test)["validation_accuracy"]


@contextlib.contextmanager
def silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    with silent():
        work()
    return time.perf_counter() - started


def alternate(sides: dict[str, Callable[[], float]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Seconds of each side, asked for in turn; a first round warms up and is not counted."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(repeats + 1):
        for name, measure in sides.items():
            value = measure()
            if i:
                found[name].append(round(value, 6))
                print(f"{name}: {value:.3f} s", flush=True)
    first = statistics.median(next(iter(found.values())))
    for name, values in found.items():
        print(f"{name}: median {statistics.median(values):.3f} s, ratio {statistics.median(values) / first:.2f}")
    return found


def kind() -> str:
    """The instructions of this processor that decide how fast it trains, and how it rounds."""
    known = getattr(torch.cpu, "get_capabilities", dict)()  # of PyTorch from 2.12 on
    return next((name for flag, name in KINDS.items() if known.get(flag)), torch.backends.cpu.get_cpu_capability())


def machine() -> dict[str, Any]:
    names = [line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return {
        "processor": re.sub(r"\((R|TM)\)| Processor$", "", name) + f", {kind()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "torchvision", "numpy")},
        "commit": runs.commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def processor_seconds() -> tuple[float, float]:
    """Seconds of all cores in use since the machine's start (Linux), and those of this process and its children."""
    own = sum(os.times()[:4])
    path = Path("/proc/stat")
    if not path.exists():
        return own, own
    user, nice, system = map(int, path.read_text(encoding="utf-8").split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK"), own


STARTED = time.monotonic(), processor_seconds()


def others() -> float:
    """The share of the cores that other processes have used since this one started."""
    used, own = processor_seconds()
    other = (used - STARTED[1][0]) - (own - STARTED[1][1])
    return round(max(other, 0) / (time.monotonic() - STARTED[0]) / (os.cpu_count() or 1), 3)


def keep(name: str, of: str = "", **measured: Any) -> None:
    """Write results/<of, or else the processor>/<name>.json, so that another machine's results stay beside it."""
    content = {"machine": machine() | {"cores_used_by_others": others()}, **measured}
    folder = RESULTS / "-".join(re.findall("[a-z0-9]+", (of or content["machine"]["processor"]).lower()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
