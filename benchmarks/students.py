"""A LeNet student of a ResNet-18 (width 64) teacher: seconds an epoch of 50,000 images, ours and others'.

    python benchmarks/students.py PART     # results/<processor>/students_<part>.json

PART is bare, cached, usual, shared or accuracy.
"""

import sys
import tempfile
import time
from pathlib import Path

import timing
import torch
from peers import torchdistill_loop, usual
from timing import KD, alternate, keep, recipe

from kdlib import augment, models, speed, train

BATCH_SIZE = 256
STEPS = 50_000 // BATCH_SIZE


def ours(training_set: train.TrainingSet, logits: torch.Tensor) -> float:
    """Seconds of one epoch of `train.fit` from stored logits, whatever else it does counted."""
    model = models.build("lenet")
    teacher = speed.StoredTeacher(logits)
    return timing.seconds(lambda: train.fit(model, training_set, recipe(BATCH_SIZE), teacher=teacher, distillation=KD))


def bare(batches: list[tuple], model: torch.nn.Module) -> float:
    """Seconds of forward, backward and step alone, on batches made before."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    started = time.perf_counter()
    for x, labels, logits in batches:
        optimizer.zero_grad()
        usual.kd_loss(model(x), logits, labels).backward()
        optimizer.step()
    return time.perf_counter() - started


def against_bare() -> dict:
    training_set, logits = timing.cifar10(), timing.stored_logits()
    made = [
        (augment.normalise(x, training_set.mean, training_set.std).contiguous(), y, z)
        for x, y, z in zip(*(t.split(BATCH_SIZE) for t in (training_set.images, training_set.labels, logits)))
    ][:STEPS]
    sides = {
        "kdlib": lambda: ours(training_set, logits),
        "bare": lambda: bare(made, models.build("lenet")),
        "bare, ReLU before pooling": lambda: bare(made, usual.LeNet(models.FULL_WIDTH, 10)),
    }
    return {"seconds": alternate(sides)}


def fewer(seconds: float, steps: int) -> float:
    """Seconds of `steps` steps scaled to an epoch."""
    return seconds * STEPS / steps


def fastest(workers: dict[int, float]) -> int:
    return min(workers, key=workers.get)


def against_cache(version: str = "1.1.4", steps: int = 40) -> dict:
    training_set, logits = timing.cifar10(), timing.stored_logits()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        torchdistill_loop.write_cache(cache, logits)

        def theirs(workers: int, steps: int = steps) -> float:
            result = torchdistill_loop.run(version, 50_000, BATCH_SIZE, steps, workers, cache)
            return fewer(result["seconds"], steps)

        tuned = {workers: theirs(workers, 15) for workers in (0, 1, 2)}
        sides = {"kdlib": lambda: ours(training_set, logits), f"torchdistill {version}": lambda: theirs(fastest(tuned))}
        found = alternate(sides)
    return {"workers": fastest(tuned), "steps": steps, "seconds": found}


def against_teacher_in_the_loop(version: str = "1.1.5", steps: int = 3) -> dict:
    training_set, logits = timing.cifar10(), timing.stored_logits()
    teacher = models.build("resnet18")
    images = usual.Images(training_set.images, training_set.labels, training_set.mean, training_set.std)

    def usually(workers: int) -> float:
        student = models.build("lenet")
        loss = usual.distil(student, teacher)
        return fewer(usual.train(student, loss, images, BATCH_SIZE, steps, workers, lambda step: 0.05), steps)

    def theirs(workers: int) -> float:
        return fewer(torchdistill_loop.run(version, 50_000, BATCH_SIZE, steps, workers, None)["seconds"], steps)

    tuned = {workers: usually(workers) for workers in (0, 1, 2)}
    sides = {
        "kdlib": lambda: ours(training_set, logits),
        "usual loop": lambda: usually(fastest(tuned)),
        f"torchdistill {version}": lambda: theirs(fastest(tuned)),
    }
    return {"workers": fastest(tuned), "steps": steps, "seconds": alternate(sides)}


def accuracy(images: int = 4000, batch_size: int = 50) -> dict:
    """Test accuracy after one epoch on fewer images and smaller batches, with the same rates and the same teacher."""
    training_set, asked = timing.cifar10(images), recipe(batch_size)
    steps = images // batch_size
    teacher = models.build("resnet18").eval()
    logits, _ = train.infer(teacher, training_set.images, training_set.mean, training_set.std, batch_size=250)
    scores: dict[str, list[float]] = {"kdlib": []}
    for seed in range(5):
        student = models.build("lenet")
        with timing.silent():
            train.fit(student, training_set, asked, teacher=speed.StoredTeacher(logits), distillation=KD, seed=seed)
        scores["kdlib"].append(timing.test_accuracy(student))
    student = models.build("lenet")
    seen = usual.Images(training_set.images, training_set.labels, training_set.mean, training_set.std)
    rate = lambda step: asked.learning_rate(step, steps)  # noqa: E731
    usual.train(student, usual.distil(student, teacher), seen, batch_size, steps, 1, rate, warmup=0)
    scores["usual loop"] = [timing.test_accuracy(student)]
    with tempfile.TemporaryDirectory() as folder:
        torchdistill_loop.write_cache(Path(folder), logits)
        for version, cache in (("1.1.4", Path(folder)), ("1.1.5", None)):
            result = torchdistill_loop.run(version, images, batch_size, steps, 1, cache, score=True)
            scores[f"torchdistill {version}"] = [result["accuracy"]]
    return {"images": images, "batch_size": batch_size, "accuracy": scores}


def shared(width: int = 16, steps: int = 40) -> dict:
    """A student under CutMix whose teacher sees its batches, and one that finds its teacher's passes kept."""
    training_set, asked = timing.cifar10(steps * BATCH_SIZE), recipe(BATCH_SIZE)
    teacher = models.build("resnet18", width=width)

    def student(passes: Path | None) -> float:
        said = dict(teacher=speed.LiveTeacher(teacher, "bfloat16", passes), distillation=KD)
        model = models.build("lenet")
        return timing.seconds(lambda: train.fit(model, training_set, asked, augmentations=("cutmix",), **said))

    with tempfile.TemporaryDirectory() as folder:
        student(Path(folder))
        found = alternate({"kept": lambda: student(Path(folder)), "teacher": lambda: student(None)})
    return {"width": width, "steps": steps, "seconds": found}


PARTS = {
    "bare": against_bare,
    "cached": against_cache,
    "usual": against_teacher_in_the_loop,
    "accuracy": accuracy,
    "shared": shared,
}

if __name__ == "__main__":
    part = sys.argv[1]
    keep(f"students_{part}", batch_size_timed=BATCH_SIZE, **PARTS[part]())
