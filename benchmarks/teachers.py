"""A ResNet-18 teacher under crop, flip and CutMix: as its profile has it, the same in float32, and the usual loop.

python benchmarks/teachers.py full [STEPS]        # width 64: results/<processor>/teachers.json
python benchmarks/teachers.py reduced [STEPS]     # width 16: results/<processor>/teachers_reduced.json
"""

import sys
import time

import timing
from peers import usual
from timing import alternate, keep, recipe

from kdlib import models, speed, train

ARM = ("crop_flip", "cutmix")
# Width, size of a batch, and so many steps that what `fit` does once hardly counts, as in an epoch.
FULL, REDUCED = (64, 128, 10), (16, 256, 12)


def ours(training_set: train.TrainingSet, width: int, batch_size: int, precision: str) -> float:
    """Seconds of an epoch of `train.fit`."""
    model = models.build("resnet18", width=width)
    return timing.seconds(lambda: train.fit(model, training_set, recipe(batch_size, precision), augmentations=ARM))


def input_side(training_set: train.TrainingSet, batch_size: int) -> float:
    """Seconds of the batches of an epoch alone."""
    started = time.perf_counter()
    for _ in train.batches(training_set, len(training_set.images) // batch_size, batch_size, ARM, 0, 0):
        pass
    return time.perf_counter() - started


def measured(width: int, batch_size: int, steps: int) -> dict:
    training_set, whole = timing.cifar10(batch_size * steps), timing.cifar10()
    images = usual.Images(whole.images, whole.labels, whole.mean, whole.std, augmented=True)

    def usually(workers: int, steps: int = steps) -> float:
        model = models.build("resnet18", width=width)
        return usual.train(model, usual.cutmix(model), images, batch_size, steps, workers, lambda step: 0.05)

    tuned = {workers: usually(workers, max(steps // 4, 1)) for workers in (0, 1, 2)}
    workers = min(tuned, key=tuned.get)
    sides = {
        "kdlib": lambda: ours(training_set, width, batch_size, "bfloat16"),
        "input": lambda: input_side(training_set, batch_size),
        "usual loop": lambda: usually(workers),
    }
    if width < models.FULL_WIDTH:
        sides["kdlib in float32"] = lambda: ours(training_set, width, batch_size, "float32")
    precision = speed.precision_on("cpu", "bfloat16")
    said = {"width": width, "workers": workers, "images": batch_size * steps, "batch_size": batch_size}
    return {"precision": precision, **said, "seconds": alternate(sides)}


if __name__ == "__main__":
    width, batch_size, steps = {"full": FULL, "reduced": REDUCED}[sys.argv[1]]
    found = measured(width, batch_size, *([int(text) for text in sys.argv[2:]] or [steps]))
    keep("teachers" if sys.argv[1] == "full" else "teachers_reduced", **found)
