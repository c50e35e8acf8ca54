"""Contrasts: each interval against an independent computation, the same wherever it is asked for, and its coverage."""

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import NUMBER, FakeRun, numbers
from scipy import stats

from kdlib import study
from kdlib.results import contrasts as module
from kdlib.results.contrasts import ContrastError, contrasts, variance_of_blocks, weighted
from kdlib.results.frame import frame, measured
from kdlib.results.measures import ACCURACY

ARMS = [(name, "none") for name in ("none", "crop_flip", "cutout", "mixup", "cutmix")]
LONG = {"budgets": ["long"]}
MIXED = {("mixup", "none"): 0.5, ("cutmix", "none"): 0.5, ("none", "none"): -1.0}


def design(arms, seeds, *, students=(None,), control=False, shape=(), seed=0):
    """Random numbers by arm and pair of seeds; a student has its teacher's seed where `students` names none."""
    rng = np.random.default_rng(seed)
    pairs = [(t, t if s is None else s) for t in seeds for s in students]
    return {(arm, pair): rng.normal(size=shape) if shape else rng.normal() for arm in arms for pair in pairs}


def row(found, **labels):
    for name, value in labels.items():
        found = found[found[name] == value]
    assert len(found) == 1, f"{len(found)} rows for {labels}"
    return found.iloc[0]


def least_squares(y, factors):
    """Coefficients, their covariance over the variance of the residuals, that variance, and its degrees of freedom."""
    columns = [np.ones(len(y))]
    for factor in factors:
        columns += [np.array([one == level for one in factor], float) for level in sorted(set(factor))[1:]]
    x = np.array(columns).T
    coefficients, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    rest = y - x @ coefficients
    dof = len(y) - rank
    return coefficients, np.linalg.pinv(x.T @ x), (rest**2).sum() / dof, dof


# ---------------------------------------------------------------- against independent computations


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_two_arms_are_students_paired_t(seeds):
    values = design(ARMS[:2], range(seeds))
    found = contrasts(numbers(values), NUMBER).iloc[0]
    one, other = ([values[arm, (s, s)] for s in range(seeds)] for arm in (ARMS[1], ARMS[0]))
    test = stats.ttest_rel(one, other)
    interval = test.confidence_interval(0.95)
    expected = [np.mean(one) - np.mean(other), interval.low, interval.high, test.pvalue]
    np.testing.assert_allclose(found[["estimate", "low", "high", "p"]].astype(float), expected)
    assert (found["who"], found["less"], found["n"], found["students"]) == ("crop_flip", "none", seeds, 1)


def test_several_arms_are_a_randomised_block_design():
    values = design(ARMS, range(3))
    y = np.array(list(values.values()))
    order = [f"{ARMS.index(arm)}" for arm, _ in values]  # the baseline is the first level
    coefficients, covariance, variance, dof = least_squares(y, [order, [pair for _, pair in values]])
    assert dof == 4 * 2
    found = contrasts(numbers(values), NUMBER)
    for i, (name, _) in enumerate(ARMS[1:], 1):
        half = stats.t.ppf(0.975, dof) * np.sqrt(variance * covariance[i, i])
        one = row(found, who=name)
        np.testing.assert_allclose(
            [one["estimate"], one["low"], one["high"]], coefficients[i] + half * np.array([0, -1, 1])
        )
    weights = np.zeros(len(coefficients))
    weights[[3, 4]] = 0.5  # of mixup and cutmix, less the first level
    half = stats.t.ppf(0.975, dof) * np.sqrt(variance * weights @ covariance @ weights)
    mixed = weighted(numbers(values), NUMBER, MIXED, who="mixed", less="none").iloc[0]
    np.testing.assert_allclose(mixed["high"] - mixed["estimate"], half)
    np.testing.assert_allclose(mixed["estimate"], weights @ coefficients)


def test_students_of_one_teacher_are_averaged():
    """Blocks are teachers: a student more of each does not add degrees of freedom."""
    values = design(ARMS[:3], (0, 1, 2), students=(0,))
    spread = {
        (arm, (t, s)): value + (1 if s else -1) for (arm, (t, _)), value in values.items() for s in (0, 1)
    }  # the students' difference is the same everywhere
    columns = ["estimate", "low", "high", "p", "n"]
    one, two = contrasts(numbers(values), NUMBER), contrasts(numbers(spread), NUMBER)
    pd.testing.assert_frame_equal(one[columns], two[columns])
    assert set(one["students"]) == {1} and set(two["students"]) == {2}


def test_what_images_do_in_all_blocks_is_added():
    values = design(ARMS[:2], range(3), shape=(40,))
    common = np.random.default_rng(5).normal(size=40)
    values = {(arm, pair): value + common * (arm == ARMS[1]) for (arm, pair), value in values.items()}
    apart = [values[ARMS[1], (s, s)] - values[ARMS[0], (s, s)] for s in range(3)]
    covariance = np.mean([np.cov(apart[a], apart[b])[0, 1] for a, b in itertools.combinations(range(3), 2)])
    assert covariance > 0.5
    blocks = np.mean(apart, axis=1)
    of_seeds = blocks.var(ddof=1) / 3
    variance = of_seeds + covariance / 40
    dof = variance**2 / (of_seeds**2 / 2)  # Satterthwaite's: that of the images is known
    found = contrasts(numbers(values), NUMBER).iloc[0]
    assert found["high"] - found["estimate"] == pytest.approx(stats.t.ppf(0.975, dof) * np.sqrt(variance))
    means = contrasts(numbers({at: value.mean() for at, value in values.items()}), NUMBER).iloc[0]
    assert means["estimate"] == pytest.approx(found["estimate"]) and means["high"] < found["high"]


def test_what_images_do_is_known_by_the_students_that_have_them():
    """A slim student counts with its number alone: of the others is what images have in common."""
    two = design(ARMS[:2], range(2), students=(0, 1), shape=(40,))
    slim = {at: value.mean() if at[1][1] else value for at, value in two.items()}
    first = {at: value for at, value in two.items() if not at[1][1]}
    found, of_first, of_two = (module.Cells(numbers(values), NUMBER) for values in (slim, first, two))
    arms = [(kind, arm) for kind in found.arms for arm in ARMS[:2]]
    by_image = [module.Design(cells, arms).means(cells.images, arms) for cells in (found, of_first)]
    np.testing.assert_array_equal(*by_image)
    by_block = [module.Design(cells, arms).means(cells.values, arms) for cells in (found, of_two)]
    np.testing.assert_allclose(*by_block)


def test_images_count_of_the_blocks_in_which_each_arm_has_them():
    values = design(ARMS[:2], range(3), shape=(40,))
    common = np.random.default_rng(5).normal(size=40)
    values = {(arm, pair): value + common * (arm == ARMS[1]) for (arm, pair), value in values.items()}
    apart = [values[ARMS[1], (s, s)] - values[ARMS[0], (s, s)] for s in range(3)]

    def without_images(*seeds):
        return {at: value.mean() if at[1][1] in seeds and at[0] == ARMS[1] else value for at, value in values.items()}

    found = contrasts(numbers(without_images(2)), NUMBER).iloc[0]
    of_seeds = np.mean(apart, axis=1).var(ddof=1) / 3
    variance = of_seeds + np.cov(apart[0], apart[1])[0, 1] / 40
    half = stats.t.ppf(0.975, 2 * (variance / of_seeds) ** 2) * np.sqrt(variance)
    assert found["high"] - found["estimate"] == pytest.approx(half)
    alone = contrasts(numbers(without_images(1, 2)), NUMBER).iloc[0]  # one block tells nothing of what blocks share
    means = contrasts(numbers({at: value.mean() for at, value in values.items()}), NUMBER).iloc[0]
    assert alone["high"] == pytest.approx(means["high"])


def test_images_that_have_nothing_in_common_take_nothing_away():
    noise = np.random.default_rng(1).normal(size=(1, 40))
    values = {(arm, (s, s)): (1 - 2 * s) * noise[0] * i + s * i for i, arm in enumerate(ARMS[:2]) for s in (0, 1)}
    found = contrasts(numbers(values), NUMBER).iloc[0]
    means = contrasts(numbers({at: value.mean() for at, value in values.items()}), NUMBER).iloc[0]
    assert found["high"] == pytest.approx(means["high"])


@pytest.mark.parametrize("excess", [0.0, 3.0])
def test_what_students_seeds_do_in_all_blocks_is_added(excess):
    """Mean squares of a three-way layout, as differences of residual sums of squares."""
    values = design(ARMS[:3], (0, 1), students=(0, 1, 2, 3))
    own = np.random.default_rng(2).normal(size=(3, 4)) * excess
    values = {(arm, (t, s)): v + own[ARMS.index(arm), s] for (arm, (t, s)), v in values.items()}
    y = np.array(list(values.values()))
    a, t, s = ([str(one) for one in factor] for factor in zip(*((arm, t, s) for arm, (t, s) in values), strict=True))

    def rest(*factors):
        *_, variance, dof = least_squares(y, factors)
        return variance * dof, dof

    def both(*factors):
        return [" ".join(levels) for levels in zip(*factors, strict=True)]

    of_three, dof = rest(both(a, t), both(a, s), both(t, s))
    without, dof_without = rest(both(a, t), both(t, s))
    by_student = (without - of_three) / (dof_without - dof)
    without, dof_without = rest(both(a, s), both(t, s))
    by_teacher = (without - of_three) / (dof_without - dof)
    recurring = max(0.0, by_student - of_three / dof)
    assert (recurring > 1) == (excess > 0)
    variance = 2 * (by_teacher + recurring) / (2 * 4)
    found = contrasts(numbers(values), NUMBER).iloc[0]
    assert found["high"] - found["estimate"] == pytest.approx(stats.t.ppf(0.975, 2) * np.sqrt(variance))


def test_kinds_are_compared_by_students_paired_t():
    lenet, alexnet = design(ARMS, range(3), seed=1), design(ARMS, range(3), seed=2)
    rows = pd.concat([numbers(lenet), numbers(alexnet, network="alexnet")])
    cells = module.Cells(rows, NUMBER)
    kinds = {kind.network: kind for kind in cells.arms}
    weights = {(kinds[n], arm): sign / 5 for n, sign in (("lenet", 1), ("alexnet", -1)) for arm in ARMS}
    (found,) = cells.row(weights, {"who": "lenet", "less": "alexnet"})
    means = [[np.mean([values[arm, (s, s)] for arm in ARMS]) for s in range(3)] for values in (lenet, alexnet)]
    interval = stats.ttest_rel(*means).confidence_interval()
    assert (found["low"], found["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


# ---------------------------------------------------------------- blocks, pools, pairs


def test_one_seed_has_no_interval():
    found = contrasts(numbers(design(ARMS, [0], shape=(50,))), NUMBER)
    assert len(found) == 4 and found[["low", "high", "p"]].isna().all(axis=None) and not found["clear"].any()


def test_beside_a_control_blocks_are_students_seeds_and_teachers_are_averaged():
    taught = design(ARMS, (0, 1), students=(0, 1, 2))
    uniform = design([("uniform", "none")], (0,), students=(0, 1, 2, 9), seed=1)
    found = row(contrasts(numbers(taught | uniform), NUMBER, minus=["uniform"]), who="cutmix")
    means = {arm: [np.mean([taught[arm, (t, s)] for t in (0, 1)]) for s in range(3)] for arm in ARMS}
    control = [uniform[("uniform", "none"), (0, s)] for s in range(3)]
    values = np.array([*means.values(), control])
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    assert (found["n"], found["students"]) == (2, 3)
    assert found["estimate"] == pytest.approx(np.mean(means[ARMS[4]]) - np.mean(control))
    recurring = module.of_recurring_seeds(
        np.array([[[taught[arm, (t, s)] for t in (0, 1)] for s in range(3)] for arm in ARMS])
    )
    variance = (rest**2).sum() / (5 * 2) * 2 / 3 + recurring
    assert found["high"] - found["estimate"] == pytest.approx(stats.t.ppf(0.975, 10) * np.sqrt(variance))


def test_a_network_without_a_teacher_is_beside_the_students_under_each_loss():
    taught, alone = design(ARMS, (0, 1)), design([("alone", "none")], (0, 1), seed=1)
    rows = pd.concat([numbers(taught), numbers(design(ARMS, (0, 1), seed=2), loss="batchmean"), numbers(alone)])
    rows.loc[rows["teacher_augmentation"] == "alone", "epochs"] = 20  # it has a length of its own
    found = contrasts(rows, NUMBER, minus=["alone"])
    assert found.groupby("loss").size().to_dict() == {"batchmean": 5, "mean": 5}
    assert set(found["epochs"]) == {60}
    one = row(found, loss="mean", who="mixup")
    expected = np.mean([taught[("mixup", "none"), (s, s)] - alone[("alone", "none"), (s, s)] for s in (0, 1)])
    assert one["estimate"] == pytest.approx(expected)
    both = pd.concat([rows, numbers(alone).assign(epochs=30)])
    with pytest.raises(ContrastError, match="20 and 30"):
        contrasts(both, NUMBER, minus=["alone"])
    same = contrasts(pd.concat([both, numbers(alone)]), NUMBER, minus=["alone"])  # 60 epochs, as the students
    assert len(same) == 10


def test_pairs_differ_in_one_augmentation_alone():
    arms = [("none", "none"), ("cutmix", "none"), ("none", "cutmix"), ("cutmix", "cutmix"), ("alone", "cutmix")]
    values = design([*arms, ("alone", "none")], (0, 1))
    rows = numbers(values)
    found = contrasts(rows, NUMBER)
    pairs = {(one["who"], one["less"], one["augmentation"]) for _, one in found.iterrows()}
    assert pairs == {(who, "none", own) for who in ("cutmix", "alone") for own in ("none", "cutmix")}
    own = contrasts(rows, NUMBER, of="augmentation")
    assert {(one["loss"], one["teacher_augmentation"]) for _, one in own.iterrows()} == {
        ("mean", "none"), ("mean", "cutmix"), ("", "alone"),
    }  # fmt: skip
    both = row(found, who="cutmix", augmentation="cutmix")
    expected = np.mean([values[arms[3], (s, s)] - values[arms[2], (s, s)] for s in (0, 1)])
    assert both["estimate"] == pytest.approx(expected)
    controls = contrasts(rows, NUMBER, minus=["none", "alone"])
    assert len(controls.query("who == 'alone'")) == 2 and not len(controls.query("who == 'none'"))


def test_an_interval_is_the_same_on_every_page():
    """Whatever else a frame has: other families, other losses, other networks, other seeds of others."""
    teacher, students, both = ([("cutmix" if t else "none", "cutout" if o else "none") for t, o in on]
                               for on in (((1, 0),), ((0, 1),), ((1, 1),)))  # fmt: skip
    crossed = [("crop_flip+cutmix", "none"), ("crop_flip+cutout", "none")]
    of_page = design(ARMS, (0, 1))
    more = design([*teacher, *students, *both, *crossed, ("random", "none")], (0, 1, 2), seed=4)
    rows = numbers(of_page)
    wide = pd.concat([
        rows, numbers({at: v for at, v in more.items() if at not in of_page}),
        numbers(design(ARMS, (0, 1, 2), seed=6), loss="batchmean"), numbers(design(ARMS, (0, 1), seed=7), "alexnet"),
    ])  # fmt: skip
    alone = contrasts(rows, NUMBER)
    among = contrasts(wide, NUMBER).merge(alone[["network", "loss", "augmentation", "who", "less"]])
    pd.testing.assert_frame_equal(alone, among, check_dtype=False)
    assert len(alone) == 4


def test_each_family_has_its_own_spread():
    calm, wild = design(ARMS, (0, 1, 2)), design([("none", "cutmix"), ("none", "mixup")], (0, 1, 2))
    wild = {at: 100 * value for at, value in wild.items()}
    rows = numbers(calm | wild)
    of_teachers = row(contrasts(rows, NUMBER), who="cutmix", augmentation="none")
    of_own = row(contrasts(rows, NUMBER, of="augmentation"), who="cutmix", teacher_augmentation="none")
    assert of_own["high"] - of_own["low"] > 20 * (of_teachers["high"] - of_teachers["low"])


def test_seeds_that_not_all_have_are_left_out():
    values = design(ARMS[:2], (0, 1, 2)) | design(ARMS[2:3], (1, 2), seed=1)
    found = contrasts(numbers(values), NUMBER)
    assert dict(zip(found["who"], found["n"], strict=True)) == {"crop_flip": 3, "cutout": 2}
    less = {pair[0]: values[ARMS[2], pair] - values[ARMS[0], pair] for _, pair in values if pair[0] > 0}
    assert row(found, who="cutout")["estimate"] == pytest.approx(np.mean(list(less.values())))
    assert contrasts(numbers(design(ARMS[:1], [0]) | design(ARMS[1:2], [1])), NUMBER).empty


def test_a_difference_of_differences_is_a_contrast():
    arms = [("none", "none"), ("crop_flip", "none"), ("cutmix", "none"), ("crop_flip+cutmix", "none")]
    values = design(arms, (0, 1))
    weights = dict(zip(arms, (1, -1, -1, 1), strict=True))
    found = weighted(numbers(values), NUMBER, weights).iloc[0]
    expected = np.mean([sum(w * values[arm, (s, s)] for arm, w in weights.items()) for s in (0, 1)])
    assert found["estimate"] == pytest.approx(expected)
    array = np.array([[values[arm, (s, s)] for s in (0, 1)] for arm in arms])
    rest, dof = module.mean_square_of_rest(array)
    assert found["high"] - found["estimate"] == pytest.approx(stats.t.ppf(0.975, dof) * np.sqrt(rest * 4 / 2))


# ---------------------------------------------------------------- what is clear, what is refused


def clear_of_zero(device=lambda arm, seed: "a CPU"):
    values = {(arm, (s, s)): 10.0 * (arm != ARMS[0]) + 0.01 * s * i for i, arm in enumerate(ARMS) for s in (0, 1, 2)}
    rows = numbers(values)
    rows["device"] = [device(arm, s) for arm, (s, _) in values]
    return contrasts(rows, NUMBER)


def test_clear_is_a_whole_interval_on_one_side_of_zero():
    assert clear_of_zero()["clear"].all()
    found = contrasts(numbers(design(ARMS, range(3))), NUMBER)
    assert (found["clear"] == ((found["low"] > 0) | (found["high"] < 0))).all() and not found["clear"].all()
    assert ((found["p"] < 0.05) == found["clear"]).all()


def test_networks_from_other_kinds_of_devices_are_not_clear():
    mixed = clear_of_zero(lambda arm, seed: "a GPU" if arm == ARMS[1] and seed == 1 else "a CPU")
    assert not row(mixed, who="crop_flip")["clear"] and not row(mixed, who="crop_flip")["one_device"]
    assert row(mixed, who="cutout")["clear"]
    by_block = clear_of_zero(lambda arm, seed: f"device {seed}")  # each block on one
    assert by_block["clear"].all() and by_block["one_device"].all()


def test_the_marks_are_of_the_compared_alone():
    rows = numbers(design(ARMS, (0, 1)))
    found = row(contrasts(rows, NUMBER), who="mixup")
    assert set(found["runs"].split()) == set(
        " ".join(rows["mark"][rows["teacher_augmentation"].isin(["mixup", "none"])]).split()
    )


def test_of_no_runs_there_is_no_contrast():
    assert contrasts(frame([]), ACCURACY).empty and weighted(frame([]), ACCURACY, MIXED).empty
    assert list(contrasts(frame([]), ACCURACY).columns) == list(module.COLUMNS)


def test_what_has_no_meaning_is_refused():
    rows = numbers(design(ARMS, (0, 1)))
    with pytest.raises(ContrastError, match="of is 'loss'"):
        contrasts(rows, NUMBER, of="loss")
    with pytest.raises(ContrastError, match="add up to 1"):
        weighted(rows, NUMBER, {ARMS[0]: 1.0})
    with pytest.raises(ContrastError, match="differ in no augmentation and no seed"):
        contrasts(pd.concat([rows, numbers(design(ARMS[:1], [0], seed=8))]), NUMBER)
    assert weighted(rows, NUMBER, {("invert", "none"): 1.0, ARMS[0]: -1.0}).empty


def test_what_is_not_measured_is_not_compared():
    s = study.settings("students", "paper", seeds=[0, 1], students=["lenet"], reductions=["mean"], **LONG)
    rows = frame(FakeRun(spec, shifted=False) for spec in study.students(s))
    assert contrasts(rows, ACCURACY, split="shifted").empty
    assert list(contrasts(rows, ACCURACY, split="shifted").columns) == list(module.COLUMNS)


def test_networks_of_another_length_are_another_kind():
    s = study.settings("students", "paper", seeds=[0, 1], students=["lenet"], reductions=["mean"], **LONG)
    specs = [spec for spec in study.students(s) if hasattr(spec, "teacher")]
    short = [replace(spec, recipe=replace(spec.recipe, epochs=9)) for spec in specs]
    found = contrasts(frame(map(FakeRun, specs + short)), ACCURACY)
    assert found.groupby("epochs").size().to_dict() == {9: 5, 60: 5}
    of_short = contrasts(frame(map(FakeRun, short)), ACCURACY)
    pd.testing.assert_frame_equal(found[found["epochs"] == 9].reset_index(drop=True), of_short)


def test_students_of_their_own_seeds_beside_controls_of_their_own_lengths():
    s = study.settings("students", "paper", seeds=[0, 1], students=["lenet"], reductions=["mean"], **LONG)

    def students(of, epochs):
        recipe = s.recipe("lenet", epochs)
        return [study.student(s, "lenet", of, "mean", seed=seed, recipe=recipe) for seed in range(4)]

    specs = [one for t in (0, 1) for a in s.augmentations for one in students(study.teacher(s, a, t), 12)]
    specs += students(study.uniform_teacher(s), 6) + students(study.random_teacher(s, 0), 20)
    alone = [study.alone(s, "lenet", seed) for seed in range(4)]
    specs += [replace(spec, recipe=s.recipe("lenet", 9)) for spec in alone]
    rows = frame(map(FakeRun, specs), "chosen")
    found = contrasts(rows, ACCURACY, minus=["none", "alone", "random", "uniform"])
    assert set(found["epochs"]) == {12} and set(found["budget"]) == {"chosen"} and found["low"].notna().all()
    taught = found[~found["who"].isin(["alone", "random", "uniform"])]
    assert set(taught["n"]) == {2} and set(taught["students"]) == {4}
    assert found.groupby("less").size().to_dict() == {"none": 7, "alone": 6, "random": 5, "uniform": 4}
    value = measured(rows, [ACCURACY]).groupby("teacher_augmentation")["accuracy"].mean()
    for _, one in found.iterrows():
        assert one["estimate"] == pytest.approx(value[one["who"]] - value[one["less"]])


# ---------------------------------------------------------------- coverage


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("coverage", Path(__file__).parents[1] / "benchmarks" / "coverage.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("seeds, students", [(2, 4), (2, 8), (5, 4)])
@pytest.mark.parametrize("whose", ["teacher's and own", "all alike"])
def test_intervals_cover_the_truth(benchmark, seeds, students, whose):
    """93 to 97 %, give or take 2.5 standard errors of 200 simulations."""
    assert 0.885 <= benchmark.coverage(seeds, students, benchmark.SHARES[whose], 0.5, 200) < 1


def test_the_simulation_sees_what_is_left_out(benchmark, monkeypatch):
    """Without the share of the images, or of the students' seeds, intervals are too narrow by far."""
    assert benchmark.coverage(2, 1, (0, 0, 1), 2.0, 100) > 0.89
    monkeypatch.setattr(module, "of_same_images", lambda contrast: 0.0)
    assert benchmark.coverage(2, 1, (0, 0, 1), 2.0, 100) < 0.8
    assert benchmark.coverage(5, 4, (0, 1, 1), 0.0, 100) > 0.89
    monkeypatch.setattr(module, "of_recurring_seeds", lambda values: 0.0)
    assert benchmark.coverage(5, 4, (0, 1, 1), 0.0, 100) < 0.8


def test_the_components_that_were_put_in_are_found(benchmark):
    rng = np.random.default_rng(0)
    values = benchmark.drawn(40, 20, (1, 2, 1), 0.0, rng)[..., 0]
    rest, _ = module.mean_square_of_rest(values.mean(axis=2))
    assert rest == pytest.approx(0.25 + 0.25 / 20, rel=0.25)  # the teacher's, and the training's own
    assert module.of_recurring_seeds(values) == pytest.approx(0.5 / 20, rel=0.3)


def test_plots_have_as_many_arms_each():
    with pytest.raises(ContrastError, match="plots have 1 and 2 arms"):
        variance_of_blocks(np.array([1.0, -1.0, 0.0]), np.ones((3, 2)), ["a", "a", "b"])
