"""A ResNet-18 (width 64) teacher under crop, flip and CutMix: images a second, and the share of the input side.

python benchmarks/teachers.py     # results/<processor>/teachers.json
"""

import time

import timing
from peers import usual
from timing import alternate, keep, recipe

from kdlib import models, train

ARM = ("crop_flip", "cutmix")
BATCH_SIZE, STEPS = 128, 10  # so many that what `fit` does once hardly counts, as in an epoch


def ours(training_set: train.TrainingSet) -> float:
    """Seconds of STEPS steps of `train.fit`, bfloat16 and channels-last."""
    model = models.build("resnet18")
    asked = recipe(BATCH_SIZE, "bfloat16")
    return timing.seconds(lambda: train.fit(model, training_set, asked, augmentations=ARM))


def input_side(training_set: train.TrainingSet) -> float:
    """Seconds of the batches of STEPS steps alone."""
    started = time.perf_counter()
    for _ in train.batches(training_set, STEPS, BATCH_SIZE, ARM, 0, 0):
        pass
    return time.perf_counter() - started


def usually(images: usual.Images, workers: int) -> float:
    model = models.build("resnet18")
    return usual.train(model, usual.cutmix(model), images, BATCH_SIZE, STEPS, workers, lambda step: 0.05)


def main() -> None:
    training_set = timing.cifar10(BATCH_SIZE * STEPS)
    whole = timing.cifar10()
    images = usual.Images(whole.images, whole.labels, whole.mean, whole.std, augmented=True)
    tuned = {workers: usually(images, workers) for workers in (0, 1, 2)}
    workers = min(tuned, key=tuned.get)
    sides = {
        "kdlib": lambda: ours(training_set),
        "input": lambda: input_side(training_set),
        "usual loop": lambda: usually(images, workers),
    }
    keep("teachers", workers=workers, images=BATCH_SIZE * STEPS, batch_size=BATCH_SIZE, seconds=alternate(sides))


if __name__ == "__main__":
    main()
