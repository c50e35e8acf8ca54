"""Train a stored run again and tell how the two differ: what `python -m kdlib again KEY` does.

On the type of CPU that made it, with the same packages and threads, a run comes out bit for bit. Elsewhere, and on a
GPU, where kernels are chosen by timing them, sums may be rounded in another order, training carries that on, and what
can be expected is a network as good, not the same one.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kdlib import runs
from kdlib.runs import Distilled, Run
from kdlib.runs.store import PREDICTIONS, predicted_classes
from kdlib.speed import precision_on


@dataclass(frozen=True)
class Comparison:
    """A stored run beside the same spec trained here, on the test images."""

    key: str
    identical: bool  # all logits, bit for bit; of a slim run the whole file of predictions
    agreement: float  # share of images on which both name the same class
    accuracy_then: float
    accuracy_now: float
    largest_difference: float | None  # of any logit; None of a slim run
    device_then: str
    device_now: str
    accuracy_difference: float  # now less then

    def __str__(self) -> str:
        where = f"trained on {self.device_then} then, {self.device_now} now"
        if self.identical:
            return f"{self.key}: the same predictions, bit for bit ({where})"
        largest = self.largest_difference
        differs = "other predictions" if largest is None else f"largest difference of a logit {largest:.3g}"
        return (
            f"{self.key}: the same class for {self.agreement:.1%} of the test images, accuracy {self.accuracy_now:.4f} "
            f"after {self.accuracy_then:.4f}, {differs} ({where})"
        )


def again(name: str, device: str) -> Comparison:
    """Train the stored run with the key `name` again on `device`, aside, and compare; the store stays as it is.

    On the CPU it gets as many threads as then, if it was made on one. A student needs what it is
    `runs.taught_from`: raises `RunError` where that is missing.
    """
    then = runs.find(name)
    then.check()
    if then.spec.held_out:
        raise runs.RunError(f"{name} was judged on images held out, and its predictions are not kept: none to compare")
    needed = [Run(then.spec.teacher)] if isinstance(then.spec, Distilled) else []
    for teacher in needed:
        teacher.check()
        runs.check_teaching(then)
    made = then.metrics["provenance"]
    precision = made.get("precision", then.spec.recipe.precision)  # runs that do not tell had what was asked
    if (here := precision_on(device, then.spec.recipe.precision)) != precision:
        raise runs.RunError(
            f"{name} was trained in {precision}, and {device} here computes in {here}: two precisions are not compared"
        )
    threads = made["threads"] if device == "cpu" and made["device"].endswith("CPU") else torch.get_num_threads()
    with tempfile.TemporaryDirectory() as aside, runs.threads(threads):
        for teacher in needed:
            shutil.copytree(teacher.folder, Path(aside) / teacher.key)
        (now,) = runs.ensure([then.spec], device=device, store=Path(aside))
        return compared(then, now)


def compared(then: Run, now: Run) -> Comparison:
    """Two trainings of one spec beside each other."""
    a, b = (predicted_classes(run.predictions) for run in (then, now))
    if then.is_slim:
        identical, largest = then.sums[PREDICTIONS] == now.sums[PREDICTIONS], None
    else:
        x, y = (run.predictions["test_logits"] for run in (then, now))
        identical = x.tobytes() == y.tobytes()
        largest = float(np.abs(x.astype(np.float64) - y.astype(np.float64)).max())
    return Comparison(
        key=then.key,
        identical=identical,
        agreement=float((a == b).mean()),
        accuracy_then=then.metrics["test"]["accuracy"],
        accuracy_now=now.metrics["test"]["accuracy"],
        largest_difference=largest,
        device_then=then.metrics["provenance"]["device"],
        device_now=now.metrics["provenance"]["device"],
        accuracy_difference=now.metrics["test"]["accuracy"] - then.metrics["test"]["accuracy"],
    )
