"""Times of the published edition's runs that were trained on a GPU, as the store holds them.

python benchmarks/stored.py     # results/<device of the runs>/stored.json
"""

import statistics
from collections.abc import Iterable

import timing  # noqa: F401  puts the project's folder on the path
import torch
from store import published
from timing import keep
from torch.utils.flop_counter import FlopCounterMode

from kdlib import models, runs
from kdlib.runs import Distilled, Run, Supervised


def epoch_seconds(made: Iterable[Run]) -> list[float]:
    """Each run's median epoch: the first one holds the compilation."""
    return [round(float(run.history.seconds.median()), 4) for run in made]


def teraflops_an_epoch(images: int) -> float:
    """Forward and backward of `images` images through ResNet-18 of width 64; backward is twice the forward."""
    model = models.build("resnet18")
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 32, 32))
    return 3 * counter.get_total_flops() * images / 1e12


def main() -> None:
    grid = [run for run in runs.stored(published()) if "CPU" not in run.metrics["provenance"]["device"]]
    made = [run for run in grid if run.spec.dataset == "cifar10" and run.spec.recipe.epochs]
    teachers = [run for run in made if isinstance(run.spec, Supervised) and run.spec.model == "resnet18"]
    lenets = [run for run in made if isinstance(run.spec, Distilled) and run.spec.model == "lenet"]
    clean = [run for run in lenets if not run.spec.augmentations]
    augmented = [run for run in lenets if run.spec.augmentations]
    crop_flip = [run for run in teachers if run.spec.augmentations == ("crop_flip",)]
    batch_size = crop_flip[0].spec.recipe.batch_size
    devices = sorted({run.metrics["provenance"]["device"] for run in grid})
    keep(
        "stored",
        of=" ".join(devices),
        devices=devices,
        batch_size=batch_size,
        teacher_epoch_seconds=epoch_seconds(crop_flip),
        teraflops_an_epoch=round(teraflops_an_epoch(50_000 // batch_size * batch_size), 2),
        lenet_run_seconds=[run.metrics["provenance"]["seconds"] for run in clean],
        lenet_epochs=clean[0].spec.recipe.epochs,
        clean_student_epoch_seconds=statistics.median(epoch_seconds(clean)),
        augmented_student_epoch_seconds=statistics.median(epoch_seconds(augmented)),
        augmented_student_epochs=sum(run.spec.recipe.epochs for run in augmented),
        grid_runs=len(grid),
        grid_seconds=round(sum(run.metrics["provenance"]["seconds"] for run in grid), 1),
    )


if __name__ == "__main__":
    main()
