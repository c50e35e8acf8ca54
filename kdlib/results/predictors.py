"""What predicts a good teacher: numbers of teachers against the accuracy of their students, over all that are stored.

Teachers under five augmentations are no sample from which a correlation could be tested; beside each stand the lowest
and the highest with one augmentation left out, which tell whether a single one makes it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdlib.results.claims import rank_correlation
from kdlib.results.frame import measured
from kdlib.results.measures import ACCURACY, Measure
from kdlib.results.names import BASELINE, CONTROLS

KIND = ["network", "loss", "budget"]  # students that are looked at together
TEACHER = ["teacher_augmentation", "teacher_seed"]
FEWEST = 4  # augmentations, so that three are left


def pairs_of(teachers: pd.DataFrame, students: pd.DataFrame, of: Sequence[Measure]) -> pd.DataFrame:
    """Each teacher's measures beside the mean accuracy of its students on plain images.

    A row a teacher, measure and kind of students (`KIND`): `measure` is its title, `said` its value, `reached` the
    accuracy. A teacher without such a number, or without students, has no row.
    """
    taught = ~students["teacher_augmentation"].isin(list(CONTROLS))
    plain = students[taught & (students["augmentation"] == BASELINE)]
    reached = measured(plain, [ACCURACY]).groupby([*KIND, *TEACHER], sort=False)["accuracy"].mean().rename("reached")
    whose = dict(zip(TEACHER, (teachers["augmentation"], teachers["seed"]), strict=True))
    values = {one.title: np.array([one.value(run) for run in teachers["run"]], dtype=float) for one in of}
    said = [pd.DataFrame(whose | {"said": numbers, "measure": title}) for title, numbers in values.items()]
    return reached.reset_index().merge(pd.concat(said).dropna(), on=TEACHER)


def predictors(pairs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of each measure of a teacher with the accuracy of its students, from `pairs_of`.

    A row a measure and kind of students (`KIND`): `estimate` over all teachers, `n` of them, and `low` and `high`, the
    least and the most with one augmentation left out. Empty where there are fewer than `FEWEST` augmentations.
    """
    found = []
    for labels, group in pairs.groupby([*KIND, "measure"], sort=False):
        arms = group["teacher_augmentation"].unique()
        if len(arms) < FEWEST:
            continue
        without = [with_reached(group[group["teacher_augmentation"] != arm]) for arm in arms]
        found.append(
            dict(zip([*KIND, "measure"], labels, strict=True)) | {"estimate": with_reached(group)}
            | {"low": min(without), "high": max(without), "n": len(group)}
        )  # fmt: skip
    return pd.DataFrame(found)


def with_reached(pairs: pd.DataFrame) -> float:
    return rank_correlation(pairs["said"], pairs["reached"])
