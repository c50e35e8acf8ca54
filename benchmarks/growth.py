"""How a student's training time grows with images and epochs: seconds, and a line fitted through their medians.

python benchmarks/growth.py     # results/<processor>/growth.json
"""

import statistics

import numpy as np
import timing
from timing import KD, alternate, keep, recipe

from kdlib import models, speed, train

IMAGES = (10_000, 20_000, 30_000, 40_000, 50_000)
EPOCHS = (1, 2, 3, 4)
BATCH_SIZE, FEW = 250, 10_000  # images of the runs with several epochs


def fit(images: int, epochs: int, training_set: train.TrainingSet, logits) -> float:
    part = train.TrainingSet(
        training_set.images[:images], training_set.labels[:images], training_set.mean, training_set.std
    )
    asked = recipe(BATCH_SIZE, epochs=epochs)
    model, teacher = models.build("lenet"), speed.StoredTeacher(logits[:images])
    return timing.seconds(lambda: train.fit(model, part, asked, teacher=teacher, distillation=KD))


def line(x: tuple[int, ...], seconds: list[list[float]]) -> dict:
    """Slope and offset of the medians by least squares, and what is left, as shares of the fitted values."""
    y = [statistics.median(values) for values in seconds]
    slope, offset = np.polyfit(x, y, 1)
    fitted = slope * np.array(x) + offset
    return {"slope": slope, "offset": offset, "residuals": ((y - fitted) / fitted).round(4).tolist()}


def main() -> None:
    training_set, logits = timing.cifar10(), timing.stored_logits()
    sides = {f"{n} images": lambda n=n: fit(n, 1, training_set, logits) for n in IMAGES}
    sides |= {f"{e} epochs": lambda e=e: fit(FEW, e, training_set, logits) for e in EPOCHS}
    found = alternate(sides)
    lines = {
        "images": line(IMAGES, [found[f"{n} images"] for n in IMAGES]),
        "epochs": line(EPOCHS, [found[f"{e} epochs"] for e in EPOCHS]),
    }
    keep("growth", lines=lines, seconds=found)


if __name__ == "__main__":
    main()
