"""How often the intervals of `kdlib.results.contrasts` cover the truth, by simulation: `python benchmarks/coverage.py`.

First the components of variance in the stored runs: what is left beside augmentations and seeds, what students' seeds
do under every teacher (where they are crossed with teachers' seeds), and what the test images do to all seeds alike.
Then the coverage of networks of five augmentations that differ by nothing but chance, for several numbers of teachers'
seeds, of students each, shares of the first two components, and sizes of the last. At last that of the chapter *Why*,
of a gap and of what a change does to it, where teachers differ under all changes. `--repeats` says how often.
"""

import argparse
import itertools

import numpy as np
import pandas as pd

from kdlib import runs, study
from kdlib.results import contrasts as engine
from kdlib.results.claims import MIXED as CLAIMED
from kdlib.results.frame import frame
from kdlib.results.gaps import gaps
from kdlib.results.measures import ACCURACY, Measure
from kdlib.results.names import AUGMENTATIONS, BASELINE

MIXED = {("mixup", BASELINE): 0.5, ("cutmix", BASELINE): 0.5, (BASELINE, BASELINE): -1.0}
IMAGES = 200
SIZES = ((2, 1), (2, 4), (2, 8), (5, 1), (5, 2), (5, 4))  # teachers' seeds, students of each
# Of the variance of a training: the teacher's part, the student's seed's, and its own.
SHARES = {"its own": (0, 0, 1), "teacher's": (1, 0, 0), "teacher's and own": (1, 0, 1), "all alike": (1, 1, 1)}
BY_IMAGES = (0.0, 0.5)  # standard deviation of a mean by its images, over that of a training


class Trained:
    """A made-up run: one number an image."""

    def __init__(self, images: np.ndarray):
        self.images, self.value, self.predictions = images, float(images.mean()), {"test_logits": images}


NUMBER = Measure("number", "number", lambda run, split: run.value, lambda run, split: run.images)
WHOLE = Measure("number", "number", lambda run, split: run.value)  # of no images: these share nothing


def components(rows: pd.DataFrame) -> pd.DataFrame:
    """Standard deviations of an augmentation's mean accuracy in points, a row for each kind of network with seeds."""
    cells, found = engine.Cells(rows, ACCURACY), []
    for kind, arms in cells.arms.items():
        compared = [(kind, arm) for arm in arms if engine.has_teacher(arm) or not kind.loss]
        design = engine.Design(cells, compared)
        if len(design.blocks) > 1 and len(compared) > 2:
            rest, _ = engine.mean_square_of_rest(design.means(cells.values, compared))
            seeds = engine.of_recurring_seeds(design.crossed(compared)) if kind.loss else 0.0
            images = design.means(cells.images, compared)
            pairs = [engine.of_same_images(one - images[0]) / 2 for one in images[1:]]
            size = {"teachers": design.n, "students": design.students}
            parts = {"in a block": rest, "students' seeds": seeds, "images": np.mean(pairs)}
            found.append(kind._asdict() | size | {name: 100 * np.sqrt(part) for name, part in parts.items()})
    return pd.DataFrame(found)


def drawn(seeds: int, students: int, shares: tuple, by_images: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers (arms, teachers, students, images) that differ by chance: of variance 1 a training."""
    of_teacher, of_student, own = np.sqrt(np.array(shares) / sum(shares))
    shape = len(AUGMENTATIONS), seeds, students
    trained = of_teacher * rng.normal(size=(*shape[:2], 1)) + of_student * rng.normal(size=(shape[0], 1, students))
    trained = trained + own * rng.normal(size=shape) + rng.normal(size=(1, *shape[1:]))  # a seed is one for all
    return trained[..., None] + rng.normal(size=(shape[0], 1, 1, IMAGES)) * by_images * np.sqrt(IMAGES)


def students_of(labels: list[tuple], *columns: str) -> pd.DataFrame:
    """A frame of students that differ in these columns alone."""
    return pd.DataFrame(labels, columns=columns).assign(
        dataset="cifar10", network="lenet", width=64, epochs=12, loss="mean", augmentation=BASELINE, control=False,
        device="a CPU", mark="",
    )  # fmt: skip


def coverage(seeds: int, students: int, shares: tuple, by_images: float, repeats: int) -> float:
    """The share of intervals that hold the truth, which is 0, of the mixed augmentations less the baseline."""
    rng, held = np.random.default_rng(0), 0
    labels = [(of, t, s) for of in AUGMENTATIONS for t in range(seeds) for s in range(students)]
    rows = students_of(labels, "teacher_augmentation", "teacher_seed", "seed").assign(budget="")
    for _ in range(repeats):
        values = drawn(seeds, students, shares, by_images, rng).reshape(len(rows), IMAGES)
        found = engine.weighted(rows.assign(run=[Trained(one) for one in values]), NUMBER, MIXED).iloc[0]
        held += found["low"] <= 0 <= found["high"]
    return held / repeats


def coverage_of_gaps(seeds: int, students: int, changes: int, teachers: float, repeats: int) -> tuple[float, float]:
    """The same of gaps under changes, and of what changes do; `teachers` is the standard deviation of what a teacher
    does under all changes, over that of a training."""
    rng, held = np.random.default_rng(0), []
    arms = (BASELINE, *CLAIMED)
    names = ("", *(f"epochs={n}" for n in range(1, changes)))
    labels = [(c, a, t, s) for c in names for a in arms for t in range(seeds) for s in range(students)]
    rows = students_of(labels, "budget", "teacher_augmentation", "teacher_seed", "seed")
    for _ in range(repeats):
        values = teachers * rng.normal(size=(len(arms), seeds, 1))
        values = values + rng.normal(size=(changes, len(arms), seeds, students))
        found = gaps(rows.assign(run=[Trained(np.array([one])) for one in values.ravel()]), WHOLE)
        ends = found[["gap_low", "gap_high", "low", "high"]].iloc[1]
        held.append((ends["gap_low"] <= 0 <= ends["gap_high"], ends["low"] <= 0 <= ends["high"]))
    return tuple(np.mean(held, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    for profile, budget in itertools.product(("paper", "cpu"), study.BUDGETS):
        settings = study.settings("students", profile, budgets=[budget])
        made = runs.stored(study.teachers(settings) + study.students(settings))
        print(f"{profile}, {budget}\n{components(frame(made, budget)).round(3).to_string()}\n")
    for seeds, students in SIZES:
        for whose, shares in SHARES.items():
            for by_images in BY_IMAGES if students > 1 or whose == "its own" else ():
                held = coverage(seeds, students, shares, by_images, repeats)
                print(f"{seeds} x {students}, variance {whose}, images {by_images}: {held:.3f}", flush=True)
    for students, teachers in itertools.product((2, 4), (0.0, 0.5, 1.0)):
        gap, change = coverage_of_gaps(2, students, 6, teachers, repeats)
        of = f"2 x {students}, 6 changes, teachers {teachers}"
        print(f"{of}: gaps {gap:.3f}, what changes do {change:.3f}", flush=True)


if __name__ == "__main__":
    main()
