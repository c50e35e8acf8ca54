"""Runs as a tidy frame, a row a run: pandas selects from here on.

A network trained on labels alone, a teacher or not, has `teacher_augmentation` "alone", or "smoothed" if its labels
are; a student's is the augmentation of its teacher's images, or "random" or "uniform" where the teacher was never
trained. `augmentation` is that of the network's own images. `control` marks networks beside which students are held:
those that learned from no trained teacher and are not teachers themselves.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from kdlib import KdlibError, augment
from kdlib.results.measures import Measure
from kdlib.runs import Run, is_taught, mark

COLUMNS = (
    "run", "mark", "dataset", "network", "width", "epochs", "budget", "loss", "teacher_augmentation", "augmentation",
    "teacher_seed", "seed", "control", "device",
)  # fmt: skip


class FrameError(KdlibError, ValueError):
    """Runs or measures that make no frame."""


def frame(runs: Iterable[Run], budget: str = "") -> pd.DataFrame:
    """The runs, each once, in the order given; the columns are `COLUMNS`.

    `loss` is "" for who is not taught, `teacher_seed` its own `seed` for who has no teacher. `budget` names the length
    of the students' training where there is more than one, so that frames of two budgets can be put together: networks
    are compared within a budget, though controls may train for another number of epochs than students do.
    """
    runs = list({run.key: run for run in runs}.values())
    teachers = {run.spec.teacher for run in runs if is_taught(run.spec)}
    learners = {run.spec.model for run in runs if hasattr(run.spec, "teacher")}
    rows = []
    for run in runs:
        spec, of = run.spec, getattr(run.spec, "teacher", None)
        teaches = of is None and (not learners or spec in teachers or spec.model not in learners)
        rows.append(
            {
                "run": run, "mark": mark(run.key), "dataset": spec.dataset, "network": spec.model,
                "width": spec.width, "epochs": spec.recipe.epochs, "budget": "" if teaches else budget,
                "loss": spec.reduction if of else "", "teacher_augmentation": _teaching(spec),
                "augmentation": augment.label(spec.augmentations), "teacher_seed": of.seed if of else spec.seed,
                "seed": spec.seed, "control": not (teaches or is_taught(spec)),
                "device": run.metrics["provenance"]["device"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _teaching(spec) -> str:
    """What stands in a student's column of its teacher's augmentation."""
    of = getattr(spec, "teacher", None)
    if of is None:
        return "smoothed" if spec.recipe.label_smoothing else "alone"
    if of.recipe.epochs:
        return augment.label(of.augmentations)
    return "uniform" if of.model == "uniform" else "random"


def of_first_budget(rows: pd.DataFrame) -> pd.DataFrame:
    """Each network's rows of the first budget that it has, the chosen length or the long one, as of one budget."""
    first = rows["budget"] == rows.groupby("network")["budget"].transform("first")
    return rows[first].assign(budget="first")


def measured(rows: pd.DataFrame, measures: Sequence[Measure], split: str | None = None) -> pd.DataFrame:
    """The same rows with a column a measure, called by its name; NaN where a run has no such number."""
    names = [measure.name for measure in measures]
    if len({*names, *rows.columns}) < len(names) + rows.shape[1]:
        raise FrameError(f"the measures are called {', '.join(names)}: expected names that are new to the frame")
    values = {one.name: [one.value(run, split) for run in rows["run"]] for one in measures}
    return rows.assign(**{name: pd.Series(found, rows.index, dtype=float) for name, found in values.items()})
