"""The rules that choose how long a student trains: what they choose, and that no test image is asked."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kdlib import KdlibError, budgets, data, study
from kdlib.runs import make, stored

SETTINGS = study.settings("students", "cpu")


def made(accuracy, clipped=0.0):
    return SimpleNamespace(history=pd.DataFrame({"validation_accuracy": [0.99, accuracy], "clipped": [clipped] * 2}))


@pytest.mark.parametrize(
    ("accuracies", "chosen", "climbed"),
    [
        ([0.60, 0.65, 0.66, 0.64, 0.9], 20, 4),  # left where it has fallen, whatever lies beyond
        ([0.60, 0.65, 0.646, 0.66, 0.64], 30, 5),  # a little lower is no fall
        ([0.65, 0.65, 0.65, 0.65, 0.65], 6, 5),  # of equals the shortest
        ([0.60, 0.61, 0.62, 0.63, 0.64], 60, 5),
    ],
)
def test_the_ladder_is_climbed_until_accuracy_falls(accuracies, chosen, climbed):
    asked = []

    def accuracy(epochs):
        asked.append(epochs)
        return accuracies[budgets.LADDER.index(epochs)]

    assert budgets.choose_length(accuracy) == chosen
    assert asked == list(budgets.LADDER[:climbed])


def test_the_rate_is_the_best_of_those_that_rarely_clip_any_student():
    often, rarely, best = budgets.RATES
    trials = {often: [made(0.7), made(0.9, 0.06)], rarely: [made(0.6), made(0.6, 0.05)], best: [made(0.5), made(0.8)]}
    assert budgets.choose_rate(trials) == best
    with pytest.raises(KdlibError, match="clip"):
        budgets.choose_rate({often: trials[often]})


def test_the_mean_is_over_augmentations_after_the_last_epoch():
    assert budgets.validation_accuracy([made(0.6), made(0.7)]) == pytest.approx(0.65)


@pytest.mark.parametrize(("group", "count"), [("taught", 5), ("random", 1), ("uniform", 1), ("alone", 1)])
def test_trials_are_judged_on_images_held_out_and_differ_in_length_and_rate_alone(group, count):
    specs = budgets.length_trials(SETTINGS, "lenet", group, "mean", 0.02, 10.0, 6)
    assert len(specs) == count and all(spec.held_out == budgets.HELD_OUT for spec in specs)
    assert {(spec.recipe.epochs, spec.recipe.peak_lr, spec.recipe.clip_norm) for spec in specs} == {(6, 0.02, 10.0)}
    final = budgets.candidates(SETTINGS, "lenet", group, "mean")
    assert [spec.recipe.batch_size for spec in specs] == [spec.recipe.batch_size for spec in final]


def test_images_held_out_are_stratified_and_always_the_same_and_none_is_trained_on():
    whole = data.load("digits")
    part, kept = data.held_out(whole, 300)
    again, _ = data.held_out(whole, 300)
    assert np.array_equal(part.test.images, again.test.images)
    assert len(part.train.labels) + 300 == len(whole.train.labels) and part.shifted is None
    assert np.array_equal(part.train.images, whole.train.images[kept])
    everything = np.concatenate([part.train.images, part.test.images]).reshape(len(whole.train.labels), -1)
    assert sorted(map(bytes, everything)) == sorted(map(bytes, whole.train.images.reshape(len(everything), -1)))
    shares = np.bincount(part.test.labels) / np.bincount(whole.train.labels)
    assert shares.max() - shares.min() < 0.02
    with pytest.raises(KdlibError, match="held_out"):
        data.held_out(whole, 5)


@pytest.mark.parametrize(("reduction", "groups"), [("batchmean", ["taught", "uniform", "alone"]), ("mean", ["taught"])])
def test_the_profile_holds_what_the_rules_choose_of_the_committed_trials(reduction, groups, monkeypatch):
    monkeypatch.setattr(make, "fit", None)
    settings = study.settings("students", "paper")
    recipes = {group: settings.chosen("lenet", group, reduction) for group in groups}
    chosen = budgets.choose(settings, "lenet", reduction, groups)
    assert {(one.peak_lr, one.clip_norm) for one in recipes.values()} == {(chosen["peak_lr"], chosen["clip_norm"])}
    assert {group: one.epochs for group, one in recipes.items()} == chosen["epochs"]


def test_a_choice_trains_what_the_store_lacks_and_reads_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    monkeypatch.setattr(budgets, "HELD_OUT", 300)
    monkeypatch.setattr(budgets, "LADDER", (1, 2))
    monkeypatch.setattr(budgets, "TRIAL_EPOCHS", 1)
    monkeypatch.setattr(budgets, "RATES", ((0.05, 1e6),))
    settings = study.settings("students", "demo", teacher_epochs=1, augmentations=["none", "mixup"])
    chosen = budgets.choose(settings, "lenet", "batchmean", ["taught", "uniform"])
    assert chosen["peak_lr"] == 0.05 and set(chosen["epochs"]) == {"taught", "uniform"}
    monkeypatch.setattr(make, "fit", None)
    assert budgets.choose(settings, "lenet", "batchmean", ["taught", "uniform"]) == chosen


def test_trials_at_the_long_budgets_norm_clip_as_the_chapter_says():
    settings = study.settings("students", "paper")
    long = settings.recipe("lenet", 1)
    trials = budgets.rate_trials(settings, "lenet")[long.peak_lr, long.clip_norm]
    clipped = {run.spec.teacher.augmentations: run.history["clipped"].mean() for run in stored(trials)}
    assert clipped[()] > 0.5 and max(clipped["mixup",], clipped["cutmix",]) < 0.1
