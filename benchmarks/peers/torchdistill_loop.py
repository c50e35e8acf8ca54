"""torchdistill's `DistillationBox` on the same student, teacher and images; prints seconds and accuracy as JSON.

    python torchdistill_loop.py VERSION IMAGES BATCH_SIZE STEPS WORKERS [CACHE] [--score]

Each version lives in a folder of its own, made by `pip install --no-deps --target` beside the system's temporary
files, so that nothing of this project depends on it. CACHE holds the teacher's outputs, one file an image, as
version 1.1.4 writes them in its first epoch; without it the teacher is in every step.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import timing  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import RandomSampler  # noqa: E402

from kdlib import models  # noqa: E402
from peers.usual import Images  # noqa: E402

HERE = Path(__file__).resolve()


def installed(version: str) -> Path:
    folder = Path(tempfile.gettempdir()) / "kdlib-benchmarks" / f"torchdistill-{version}"
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*pip, f"torchdistill=={version}"], check=True)
    return folder


def run(version: str, images: int, batch_size: int, steps: int, workers: int, cache: Path | None, score=False) -> dict:
    """Call this script in a process of its own, where only `version` is on the path."""
    words = [version, images, batch_size, steps, workers, *([cache] if cache else []), *(["--score"] if score else [])]
    environment = os.environ | {"PYTHONPATH": str(installed(version))}
    done = subprocess.run([sys.executable, HERE, *map(str, words)], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_cache(folder: Path, logits: torch.Tensor) -> None:
    """What `DistillationBox.get_teacher_output` of 1.1.4 saves of each image."""
    for index, row in enumerate(logits):
        name = f"{index:04d}"
        path = folder / name[-4:] / f"{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"teacher_outputs": row.clone(), "extracted_outputs": {".": {"output": row.clone()}}}, path)


def configuration(recipe, batch_size: int, total: int, workers: int, cache: Path | None) -> dict:
    loader = {
        "dataset_id": "train",
        "sampler": {"class_or_func": RandomSampler},
        "kwargs": {"batch_size": batch_size, "num_workers": workers, "drop_last": True},
    }
    kd = {
        "key": "KDLoss",
        "kwargs": {
            "student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".",
            "teacher_module_io": "output", "temperature": 20.0, "alpha": 0.5, "reduction": "batchmean",
        },
    }  # fmt: skip
    forward = {"forward_proc": "forward_batch_only"}
    return {
        "num_epochs": 1,
        "train_data_loader": loader | ({"cache_output": str(cache)} if cache else {}),
        "teacher": {**forward, "requires_grad": False},
        "student": {**forward, "requires_grad": True},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": recipe.peak_lr, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
            "max_grad_norm": recipe.clip_norm,
        },
        "scheduler": {
            "key": "LambdaLR",
            "kwargs": {"lr_lambda": lambda step: recipe.learning_rate(step, total) / recipe.peak_lr},
            "scheduling_step": 1,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("version")
    for name in ("images", "batch_size", "steps", "workers"):
        parser.add_argument(name, type=int)
    parser.add_argument("cache", nargs="?", type=Path)
    parser.add_argument("--score", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    from torchdistill.core.distillation import get_distillation_box

    whole = timing.cifar10(asked.images)
    dataset = Images(whole.images, whole.labels, whole.mean, whole.std)
    student = models.build("lenet")
    recipe, total = timing.recipe(asked.batch_size), asked.images // asked.batch_size
    config = configuration(recipe, asked.batch_size, total, asked.workers, asked.cache)
    teacher = models.build("resnet18").eval()
    box = get_distillation_box(teacher, student, {"train": dataset}, config, torch.device("cpu"), None, False, 1.0)
    warmup = 0 if asked.score else 1
    box.pre_epoch_process(epoch=0)
    started = time.perf_counter()
    for i, (x, labels, extra) in enumerate(box.train_data_loader):
        if i == warmup:
            started = time.perf_counter()
        box.pre_forward_process()
        box.post_forward_process(loss=box.forward_process(x, labels, extra))
        if i + 1 == warmup + asked.steps:
            break
    out = {"seconds": time.perf_counter() - started}
    if asked.score:
        out["accuracy"] = timing.test_accuracy(student)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
