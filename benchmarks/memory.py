"""Peak resident memory of a CIFAR-10 teacher run at batch 512: steps of training, then inference as at a run's end.

python benchmarks/memory.py [RUNS]     # results/<processor>/memory.json
"""

import resource
import subprocess
import sys

import timing
from timing import keep, recipe

from kdlib import models, train

BATCH_SIZE, STEPS = 512, 2


def peak() -> float:
    """GB that this process has held at once, after the steps of one epoch and the inference of 2,000 images."""
    whole, few = timing.cifar10(), timing.cifar10(BATCH_SIZE * STEPS)
    model = models.build("resnet18")
    with timing.silent():
        train.fit(model, few, recipe(BATCH_SIZE, "bfloat16"), augmentations=("crop_flip", "cutmix"))
    train.infer(model, whole.images[:2000], whole.mean, whole.std)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main(runs: int = timing.REPEATS) -> None:
    command = [sys.executable, __file__, "once"]
    found = [float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) for _ in range(runs)]
    print(found)
    keep("memory", batch_size=BATCH_SIZE, gigabytes=found)


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        print(peak())
    else:
        main(*map(int, sys.argv[1:]))
