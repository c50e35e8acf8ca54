"""What is left of a student's gain without its teacher's knowledge, against differences of means."""

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun

from kdlib import study
from kdlib.causes import SHORT, SMOOTHING
from kdlib.report import editions, why
from kdlib.report.tables import show
from kdlib.results.measures import ACCURACY
from kdlib.results.restraint import KEEPS, LOSES, MORE, OPEN, TARGETS, restraint, says

SHUFFLED = f"{SHORT}+targets=shuffled"
LEVELS = {"alone": 0.60, "smoothed": 0.62, "uniform": 0.64, "random": 0.66, "logits": 0.70, "shuffled": 0.69}


def level(spec):
    if not hasattr(spec, "teacher"):
        return LEVELS["smoothed" if spec.recipe.label_smoothing else "alone"]
    if spec.teacher.recipe.epochs == 0:
        return LEVELS["uniform" if spec.teacher.model == "uniform" else "random"]
    return LEVELS[spec.targets]


@pytest.fixture(scope="module")
def made():
    settings = study.settings("why", "paper", changes=[SHORT, SHUFFLED])
    source = lambda specs: [FakeRun(spec, level(spec), images=1000) for spec in specs]  # noqa: E731
    return editions.changed_rows(settings, source), editions.untaught_rows(settings, source)


def by_seed(rows, chosen):
    """Accuracy by the student's seed, teachers averaged, of the runs whose spec is chosen."""
    own = rows[[chosen(run.spec) for run in rows["run"]]]
    return own.assign(value=[ACCURACY.value(run) for run in own["run"]]).groupby("seed")["value"].mean().to_numpy()


def of_labels(smoothing):
    return lambda spec: not hasattr(spec, "teacher") and spec.recipe.label_smoothing == smoothing


def test_each_is_less_no_teacher_and_less_the_student(made):
    students, untaught = made
    found = restraint(students, untaught)
    asked = [at for at in TARGETS.values() if at != "their means over each class"]  # which were not made
    assert list(dict.fromkeys(found["targets"])) == asked and len(found) == 2 * len(asked) - 1
    alone, smoothed = (by_seed(untaught, of_labels(one)) for one in (0, SMOOTHING))
    short = students.query("budget.str.startswith(@SHORT) and teacher_augmentation == 'none'")
    taught, shuffled = (by_seed(short, lambda spec, of=of: spec.targets == of) for of in ("logits", "shuffled"))
    by = found.set_index(["targets", "less"])["estimate"]
    assert by["the teacher's logits", "no teacher"] == pytest.approx((taught - alone).mean())
    assert by["nothing, labels smoothed", "no teacher"] == pytest.approx((smoothed - alone).mean())
    assert by["those of another image of the class", "the student"] == pytest.approx((shuffled - taught).mean())


def test_beside_who_has_no_trained_teacher_blocks_are_the_students_seeds(made):
    found = restraint(*made).set_index(["targets", "less"])["n"]
    assert found["nothing, labels smoothed", "no teacher"] == found["even odds", "no teacher"] == 4
    assert (
        found["the teacher's logits", "no teacher"] == found["those of another image of the class", "the student"] == 2
    )


def test_nothing_is_compared_where_there_is_no_short_training(made):
    students, untaught = made
    assert restraint(students[students["budget"] == ""], untaught).empty
    assert restraint(students, untaught[:0]).empty
    assert "*Left: not run.*" in show(restraint(students, untaught[:0]), "Left.", "tab-x")
    assert why.gain_left(restraint(students, untaught[:0])) == why.NOT_TRAINED


@pytest.mark.parametrize(
    "low, high, told", [(-0.004, 0.004, KEEPS), (-0.03, -0.001, LOSES), (0.001, 0.02, MORE), (-0.01, 0.01, OPEN),
                        (-0.004, -0.001, KEEPS), (np.nan, np.nan, OPEN)]
)  # fmt: skip
def test_what_an_interval_says(low, high, told):
    assert says(low, high, 0.005) == told


def test_the_answer_tells_the_gain_and_each_by_what_is_left(made):
    found = restraint(*made)
    said, table = why.gain_left(found), show(found, "Left.", "tab-x")
    gain = found.iloc[0]
    assert f"{why.points(gain['estimate'])} points (95 % interval" in said and said.count(". ") == 1
    for row in found[found["says"] != ""].itertuples():
        assert f"{row.targets} ({why.points(row.estimate)} points, " in said
    assert "| Learns from, beside labels | Less no teacher | Less the student | n |" in table


def test_outcomes_have_clauses_of_their_own_and_one_seed_tells_nothing(made):
    found = restraint(*made)
    given = [KEEPS, LOSES, MORE, OPEN]
    beside = found.index[found["says"] != ""]
    told = why.gain_left(found.assign(says=pd.Series(given, beside[:4]).reindex(found.index).fillna("")))
    assert [clause in told for clause in ("it is the same, to within", "it is less with", "it is more with")] == [
        True
    ] * 3
    assert told.endswith("can't be told.")
    assert why.gain_left(found.assign(low=np.nan, high=np.nan)) == why.UNTOLD
