"""The frame: who is a teacher, a student, a control, by whose images and seeds; measures as columns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fakes import FakeRun, chapter

from kdlib import runs, study
from kdlib.results.frame import COLUMNS, FrameError, frame, measured, of_first_budget
from kdlib.results.measures import ACCURACY, HUMAN_KL, LOSS
from kdlib.results.names import CONTROLS


def one(spec, **options):
    (row,) = frame([FakeRun(spec, **options)]).to_dict("records")
    return row


def settings(name="students", **overrides):
    return study.settings(name, "paper", budgets=["long"], **overrides)


def test_a_student_of_a_trained_teacher():
    s = settings()
    spec = replace(study.student(s, "lenet", study.teacher(s, ("cutmix",), 1), "mean", ("cutout",)), seed=3)
    row = one(spec)
    expected = {
        "dataset": "cifar10", "network": "lenet", "width": 64, "epochs": 60, "loss": "mean", "budget": "",
        "teacher_augmentation": "cutmix", "augmentation": "cutout", "teacher_seed": 1, "seed": 3, "control": False,
        "device": "a CPU", "mark": runs.mark(runs.key(spec)),
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


def test_the_controls_and_what_they_had_for_a_teacher():
    s = settings()
    specs = [study.student(s, "lenet", study.teacher(s, (), 0), "mean"), study.alone(s, "lenet", 5)]
    specs.append(study.student(s, "lenet", study.random_teacher(s, 2), "batchmean"))
    smoothed = replace(specs[1].recipe, label_smoothing=0.1)
    specs += [replace(specs[1], recipe=smoothed), study.student(s, "lenet", study.uniform_teacher(s), "mean")]
    rows = frame(map(FakeRun, specs))
    assert list(rows["teacher_augmentation"]) == ["none", "alone", "random", "smoothed", "uniform"]
    assert set(rows["teacher_augmentation"][1:]) == set(CONTROLS)
    assert list(rows["control"]) == [False, True, True, True, True]
    assert list(rows["loss"]) == ["mean", "", "batchmean", "", "mean"]
    assert list(rows["teacher_seed"]) == [0, 5, 2, 5, 0] and list(rows["seed"]) == [0, 5, 2, 5, 0]


def test_teachers_are_no_controls_whether_or_not_their_students_are_there():
    s = settings(teacher="lenet", teacher_epochs=7)  # the network of its own students
    teachers, students = study.teachers(s), study.students(s)
    assert not frame(map(FakeRun, teachers))["control"].any()
    rows = frame(map(FakeRun, teachers + students), budget="long")
    teaching = rows["epochs"] == 7
    assert not rows["control"][teaching].any() and (rows["budget"] == np.where(teaching, "", "long")).all()
    assert rows["control"][rows["teacher_augmentation"].isin(["alone", "random"]) & ~teaching].all()


def test_a_run_stands_once_and_no_runs_make_an_empty_frame():
    run = FakeRun(study.teacher(settings(), (), 0))
    assert len(frame([run, run])) == 1
    assert list(frame([]).columns) == list(COLUMNS) and frame([]).empty


def test_measures_are_columns_and_nothing_else_changes():
    rows = frame(chapter("mnist", dataset="mnist", seeds=(0,)))
    found = measured(rows, [ACCURACY, HUMAN_KL])
    pd.testing.assert_frame_equal(found[rows.columns], rows)
    assert list(found["accuracy"]) == [run.metrics["test"]["accuracy"] for run in rows["run"]]
    assert found["human_kl"].isna().all() and found["human_kl"].dtype == float  # nobody was asked
    assert measured(rows, [LOSS], split="shifted")["nll"].isna().all()
    kept = rows.iloc[::-2]
    assert list(measured(kept, [ACCURACY])["accuracy"]) == list(found["accuracy"][kept.index])


def test_two_columns_of_one_name_are_refused():
    rows = frame(chapter("teachers", seeds=(0,)))
    with pytest.raises(FrameError, match="accuracy, accuracy"):
        measured(rows, [ACCURACY, ACCURACY])
    with pytest.raises(FrameError):
        measured(measured(rows, [LOSS]), [LOSS])


def test_the_first_budget_of_each_network_is_shown_as_one():
    s = settings(students=["lenet", "alexnet"])
    long = frame(map(FakeRun, study.long_students(s)), "long")
    chosen = long[long["network"] == "lenet"].assign(budget="chosen")
    found = of_first_budget(pd.concat([chosen, long]))
    assert set(found["budget"]) == {"first"}
    pd.testing.assert_frame_equal(found[found["network"] == "lenet"], chosen.assign(budget="first"))
    alexnet = long[long["network"] == "alexnet"]
    pd.testing.assert_frame_equal(found[found["network"] == "alexnet"], alexnet.assign(budget="first"))
