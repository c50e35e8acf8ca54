"""What predicts a good teacher: numbers of teachers against the accuracy of their students, over all that are stored.

Teachers under five augmentations are no sample from which a correlation could be tested; beside each stand the lowest
and the highest with one augmentation left out, which tell whether a single one makes it.
"""

from collections.abc import Sequence

import pandas as pd

from kdlib.results.claims import rank_correlation
from kdlib.results.frame import measured
from kdlib.results.measures import ACCURACY, Measure
from kdlib.results.names import BASELINE, CONTROLS

KIND = ["network", "loss", "budget"]  # students that are looked at together
TEACHER = ["teacher_augmentation", "teacher_seed"]
FEWEST = 4  # augmentations, so that three are left


def predictors(teachers: pd.DataFrame, students: pd.DataFrame, of: Sequence[Measure]) -> pd.DataFrame:
    """Spearman's correlation of each measure of a teacher with the mean accuracy of its students on plain images.

    A row a measure and kind of students (`KIND`): `estimate` over all teachers, `n` of them, and `low` and `high`, the
    least and the most with one augmentation left out. Empty where there are fewer than `FEWEST` augmentations.
    """
    taught = ~students["teacher_augmentation"].isin(list(CONTROLS))
    plain = students[taught & (students["augmentation"] == BASELINE)]
    reached = measured(plain, [ACCURACY]).groupby([*KIND, *TEACHER], sort=False)["accuracy"].mean().rename("reached")
    said = {one: pd.Series([one.value(run) for run in teachers["run"]], dtype=float) for one in of}
    whose = pd.DataFrame(dict(zip(TEACHER, (teachers["augmentation"], teachers["seed"]), strict=True)))
    found = []
    for labels, group in reached.reset_index().groupby(KIND, sort=False):
        for one, values in said.items():
            pairs = group.merge(whose.reset_index(drop=True).assign(said=values).dropna(), on=TEACHER)
            arms = pairs["teacher_augmentation"].unique()
            if len(arms) < FEWEST:
                continue
            without = [with_reached(pairs[pairs["teacher_augmentation"] != arm]) for arm in arms]
            found.append(
                dict(zip(KIND, labels, strict=True)) | {"measure": one.title, "estimate": with_reached(pairs)}
                | {"low": min(without), "high": max(without), "n": len(pairs)}
            )  # fmt: skip
    return pd.DataFrame(found)


def with_reached(pairs: pd.DataFrame) -> float:
    return rank_correlation(pairs["said"], pairs["reached"])
