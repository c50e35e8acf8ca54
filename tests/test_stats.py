"""Intervals against analytic ones, and their coverage on data whose truth is known."""

import doctest

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdlib import stats


def contrast(values, resamples=400, **options):
    """First arm less second, of `values` (2, S, N), with few resamples."""
    arms, seeds, images = values.shape
    quantities = [stats.Quantity(one[:, None]) for one in values.reshape(-1, images)]
    means, drawn = stats.resample_images(quantities, resamples)
    shape = arms, seeds, 1
    return stats.arms(means.reshape(shape), drawn.reshape(-1, *shape)).contrast([[1.0], [-1.0]], **options)


def without_images(values):
    """Arms whose images are of no account, from `values` (A, S)."""
    values = np.asarray(values)[..., None]
    return stats.arms(values, np.full((stats.RESAMPLES, *values.shape), np.nan))


def test_docstring_examples():
    assert doctest.testmod(stats).failed == 0


def test_over_seeds_is_the_t_interval_of_scipy():
    values = [0.91, 0.93, 0.90, 0.95]
    found = stats.over_seeds(values)
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval()
    assert found == pytest.approx((np.mean(values), expected.low, expected.high, 4))


def test_arms_that_share_seeds_pool_their_spread_as_a_mixed_model_does():
    values = np.array([[0.91, 0.93, 0.90], [0.80, 0.84, 0.81], [0.70, 0.71, 0.72], [0.60, 0.65, 0.62]])
    arms, seeds = values.shape
    found = stats.over_seeds_of_arms({arm: dict(enumerate(row)) for arm, row in enumerate(values)})
    # By hand, from the mean squares of a randomised block design and Satterthwaite's degrees of freedom.
    seed_effects, arm_effects = values.mean(0) - values.mean(), values.mean(1) - values.mean()
    rest = values - values.mean() - seed_effects - arm_effects[:, None]
    ms_seeds = arms * (seed_effects**2).sum() / (seeds - 1)
    ms_rest = (rest**2).sum() / ((arms - 1) * (seeds - 1))
    of_one_value = (ms_seeds - ms_rest) / arms + ms_rest  # the components between seeds and within
    a, b = ms_seeds / arms, ms_rest * (arms - 1) / arms
    dof = (a + b) ** 2 / (a**2 / (seeds - 1) + b**2 / ((arms - 1) * (seeds - 1)))
    half = scipy_stats.t.ppf(0.975, dof) * np.sqrt(of_one_value / seeds)
    assert [one.mean for one in found.values()] == pytest.approx(values.mean(1))
    assert [one.high - one.mean for one in found.values()] == pytest.approx([half] * arms)


def test_differences_from_a_baseline_are_paired_and_pool_what_is_left():
    values = np.array([[0.91, 0.93, 0.90], [0.80, 0.84, 0.81], [0.70, 0.71, 0.72]])
    arms, seeds = values.shape
    found = stats.differences_over_seeds({arm: dict(enumerate(row)) for arm, row in enumerate(values)}, 0)
    assert list(found) == [1, 2]
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    dof = (arms - 1) * (seeds - 1)
    half = scipy_stats.t.ppf(0.975, dof) * np.sqrt(2 * (rest**2).sum() / dof / seeds)
    for arm, one in found.items():
        assert one.mean == pytest.approx((values[arm] - values[0]).mean())
        assert (one.mean - one.low, one.high - one.mean) == pytest.approx((half, half))
    pair = stats.differences_over_seeds({arm: dict(enumerate(values[arm])) for arm in (0, 1)}, 0)[1]
    assert pair == pytest.approx(stats.over_seeds(values[1] - values[0]))  # the paired t interval
    other = stats.differences_over_seeds({"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {1: 2.5, 2: 4.1}, "c": {7: 1.0}}, "a")
    assert other == {"b": stats.over_seeds([0.5, 4.1 - 4.0])}
    assert stats.differences_over_seeds({"b": {0: 1.0}}, "a") == {}


def test_arms_are_pooled_only_with_those_of_the_same_seeds():
    found = stats.over_seeds_of_arms({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 2: 1.1}, "c": {0: 5.0}})
    assert found["a"] == stats.over_seeds([1.0, 2.0]) and found["b"] == stats.over_seeds([1.0, 1.1])
    assert found["c"].n == 1 and np.isnan(found["c"].low)


@pytest.mark.parametrize(
    ("seeds", "shared", "least"), [(2, 0.0, 0.93), (2, 0.5, 0.93), (3, 0.0, 0.93), (3, 0.8, 0.92), (2, 0.9, 0.88)]
)
def test_the_interval_of_an_arm_among_others_covers_the_truth(seeds, shared, least):
    """`shared` is the part of the variance over seeds that all five arms have in common."""
    rng = np.random.default_rng(0)
    size = (4000, 5, seeds)
    noise = np.sqrt(shared) * rng.normal(size=(size[0], 1, seeds)) + np.sqrt(1 - shared) * rng.normal(size=size)
    covered = [
        found.low < 0 < found.high
        for one in noise
        for found in [stats.over_seeds_of_arms({arm: dict(enumerate(row)) for arm, row in enumerate(one)})[0]]
    ]
    assert least < np.mean(covered) < 0.97


def test_one_seed_has_a_mean_and_no_interval():
    found = stats.over_seeds([0.9])
    assert found.mean == 0.9 and found.n == 1 and np.isnan([found.low, found.high]).all()


def test_all_images_right_still_has_an_interval():
    found = stats.over_images(np.ones(100))
    assert found.mean == found.high == 1 and 0.95 < found.low < 0.97


def test_losses_of_images_have_a_t_interval():
    losses = np.random.default_rng(0).exponential(size=500)
    expected = scipy_stats.ttest_1samp(losses, 0).confidence_interval()
    assert stats.over_images(losses)[1:3] == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [1.0, np.nan]])
def test_values_without_an_interval_are_refused(values):
    with pytest.raises(stats.StatsError, match="values"):
        stats.over_seeds(values)
    with pytest.raises(stats.StatsError, match="values"):
        stats.over_images(np.asarray(values))


# --- The bootstrap against analytic oracles ------------------------------------------------------------------


def test_with_one_seed_it_is_the_paired_interval_over_images():
    rng = np.random.default_rng(1)
    common = rng.normal(size=2000)
    ours, others = common + rng.normal(0.1, 0.5, 2000), common + rng.normal(0, 0.5, 2000)
    found = contrast(np.stack([ours, others])[:, None], stats.RESAMPLES)
    expected = stats.over_images(ours - others)
    half = expected.high - expected.mean
    assert found.n == 1 and found.mean == pytest.approx(expected.mean)
    assert found.low == pytest.approx(expected.low, abs=0.1 * half)
    assert found.high == pytest.approx(expected.high, abs=0.1 * half)


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_without_images_two_arms_have_the_paired_t_interval(seeds):
    values = np.random.default_rng(seeds).normal(size=(2, seeds))
    found = without_images(values).contrast([[1.0], [-1.0]])
    expected = stats.over_seeds(values[0] - values[1])
    half = expected.high - expected.mean
    assert found.mean == pytest.approx(expected.mean) and found.n == seeds
    assert found.low == pytest.approx(expected.low, abs=0.1 * half)
    assert found.high == pytest.approx(expected.high, abs=0.1 * half)


def test_more_arms_pool_their_spread_as_a_block_design():
    n_arms, seeds = 5, 3
    values = np.random.default_rng(4).normal(size=(n_arms, seeds)) + np.array([0.0, 3.0, -2.0])
    found = without_images(values).contrast([[1.0], [-1.0], [0.0], [0.0], [0.0]])
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    dof = (n_arms - 1) * (seeds - 1)
    half = scipy_stats.t.ppf(0.975, dof) * np.sqrt(2 * (residuals**2).sum() / dof / seeds)
    assert found.high - found.mean == pytest.approx(half, rel=0.05)


def test_a_contrast_of_two_quantities_keeps_what_seeds_do_to_each():
    values = np.random.default_rng(5).normal(size=(4, 3, 2))
    resampled = np.full((stats.RESAMPLES, *values.shape), np.nan)
    found = stats.arms(values, resampled).contrast(np.tile([0.25, -0.25], (4, 1)))
    expected = stats.over_seeds((values[..., 0] - values[..., 1]).mean(axis=0))
    assert found.high - found.mean == pytest.approx(expected.high - expected.mean, rel=0.1)


def test_what_seeds_share_does_not_widen_a_paired_interval():
    values = np.random.default_rng(6).normal(size=(2, 3))
    plain, moved = (without_images(v).contrast([[1.0], [-1.0]]) for v in (values, values + [10, -20, 30]))
    assert moved == pytest.approx(plain)


def test_bonferroni_widens_to_the_quantile_of_the_family():
    values = np.random.default_rng(7).normal(size=(2, 12))
    one, four = (without_images(values).contrast([[1.0], [-1.0]], comparisons=k) for k in (1, 4))
    expected = scipy_stats.t.ppf(1 - 0.025 / 4, 11) / scipy_stats.t.ppf(0.975, 11)
    assert (four.high - four.low) / (one.high - one.low) == pytest.approx(expected, rel=0.06)


def test_a_quantity_without_images_and_one_seed_has_no_interval():
    values = np.ones((2, 1, 2)) * [[[1.0, 5.0]], [[2.0, 3.0]]]
    resampled = np.broadcast_to(values, (50, *values.shape)).copy()
    resampled[..., 1] = np.nan
    of = stats.arms(values, resampled)
    assert np.isnan(of.contrast([[0, 1.0], [0, -1.0]]).low)
    assert of.contrast([[1.0, 0], [-1.0, 0]]) == (-1, -1, -1, 1)  # the other quantity is not touched by it


def test_quantities_by_class_are_as_if_each_resample_were_taken():
    rng = np.random.default_rng(8)
    labels, x = rng.integers(3, size=60), rng.normal(size=(60, 2))

    def spread_of_means(means):
        return (means[..., 1:] / means[..., :1]).std(axis=-2).sum(axis=-1)

    quantity = stats.Quantity(np.column_stack([np.ones(60), x]), spread_of_means, labels)
    plain = stats.Quantity(x[:, :1])
    values, drawn = stats.resample_images([quantity, plain], resamples=5, seed=3)
    order = np.argsort(labels, kind="stable")
    counts = np.concatenate(list(stats._multinomial(60, 5, np.random.default_rng(3)))) * 60
    assert np.allclose(counts.sum(axis=1), 60)
    for row, count in zip(drawn, counts, strict=True):
        chosen = order[np.repeat(np.arange(60), np.rint(count).astype(int))]
        means = np.array([x[chosen][labels[chosen] == k].mean(axis=0) for k in range(3)])
        assert row == pytest.approx([means.std(axis=0).sum(), x[chosen, 0].mean()], rel=1e-4)
    means = np.array([x[labels == k].mean(axis=0) for k in range(3)])
    assert values == pytest.approx([means.std(axis=0).sum(), x[:, 0].mean()])


def test_the_same_call_gives_the_same_interval():
    values = np.random.default_rng(9).normal(size=(2, 3, 50))
    assert contrast(values) == contrast(values)


def test_spearman_is_scipys_and_0_of_a_constant():
    x, y = np.random.default_rng(10).integers(4, size=(2, 7, 9))
    expected = [scipy_stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert stats.spearman(x, y) == pytest.approx(expected)
    assert stats.spearman(np.ones(4), np.arange(4)) == 0


def test_rank_correlation_is_certain_of_arms_far_apart_and_open_of_noise():
    rng = np.random.default_rng(11)
    far = np.arange(5)[:, None, None] + rng.normal(0, 0.01, (5, 3, 2))
    noise = rng.normal(size=(5, 3, 2))
    sure, unsure = (stats.arms(v, np.full((2000, *v.shape), np.nan)).rank_correlation(0, 1) for v in (far, noise))
    assert sure == (1, 1, 1, 3)
    assert unsure.low < -0.5 and unsure.high > 0.5


def test_permutation_p_is_scipys_over_all_orders():
    x, y = np.random.default_rng(15).normal(size=(2, 5))
    for ours, others in [(x, y), (x, -(x**3)), (np.round(x), np.round(y))]:
        expected = scipy_stats.permutation_test(
            (ours,), lambda one, others=others: stats.spearman(one, others), permutation_type="pairings"
        ).pvalue
        assert stats.permutation_p(ours, others) == pytest.approx(expected)
    assert stats.permutation_p(np.ones(4), np.arange(4)) == 1


@pytest.mark.parametrize(
    ("quantities", "message"),
    [
        ([stats.Quantity(np.ones((3, 1))), stats.Quantity(np.ones((4, 1)))], "one test set"),
        ([stats.Quantity(np.ones((2, 1)), labels=np.array(own)) for own in ([0, 1], [1, 0])], "different labels"),
    ],
)
def test_quantities_of_two_test_sets_are_refused(quantities, message):
    with pytest.raises(stats.StatsError, match=message):
        stats.resample_images(quantities)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(stats.StatsError, match="per_image"):
        stats.Quantity(np.ones(3))
    with pytest.raises(stats.StatsError, match="resampled"):
        stats.arms(np.ones((2, 3, 1)), np.ones((9, 2, 2, 1)))
    with pytest.raises(stats.StatsError, match="weights"):
        without_images(np.ones((2, 3))).contrast([1.0, -1.0])


@pytest.mark.parametrize("comparisons", [1, 4])
@pytest.mark.parametrize("n_arms", [2, 5])
def test_seeds_that_agree_by_luck_leave_the_interval_of_the_images(n_arms, comparisons):
    """All that differs between seeds is which images are right: that they are right equally often is luck."""
    images, seeds = 2000, 2
    rng = np.random.default_rng(16)
    right = np.arange(images) < 0.7 * images
    values = np.stack([[rng.permutation(right) for _ in range(seeds)] for _ in range(n_arms)]).astype(float)
    quantities = [stats.Quantity(one[:, None]) for one in values.reshape(-1, images)]
    means, drawn = stats.resample_images(quantities, 2000)
    of = stats.arms(means.reshape(n_arms, seeds, 1), drawn.reshape(-1, n_arms, seeds, 1))
    weights = np.eye(n_arms)[:, [0]] - np.eye(n_arms)[:, [1]]
    found = of.contrast(weights, comparisons=comparisons)
    averaged = stats.arms(means.reshape(n_arms, seeds, 1).mean(axis=1, keepdims=True),
                          drawn.reshape(-1, n_arms, seeds, 1).mean(axis=2, keepdims=True))  # fmt: skip
    alone = averaged.contrast(weights, comparisons=comparisons)
    assert found.low <= alone.low + 1e-6 and found.high >= alone.high - 1e-6
    difference = (values[0] - values[1]).mean(axis=0)  # of the mean over seeds, image by image
    half = scipy_stats.norm.ppf(1 - 0.025 / comparisons) * difference.std() / np.sqrt(images)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


# --- Coverage ------------------------------------------------------------------------------------------------

REPETITIONS = 250
# 3 standard errors of a share of 0.95 in so many repetitions; too wide an interval is the lesser fault.
AT_LEAST = 0.95 - 3 * np.sqrt(0.95 * 0.05 / REPETITIONS)


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "of_images", "of_both"),
    [(3, 0.05, 0.3, 0.4), (2, 0.05, 0.1, 0.1), (3, 0.0, 0.3, 0.4), (1, 0.0, 0.3, 0.4)],
    ids=["all", "seeds", "images", "one seed"],
)
def test_intervals_cover_a_known_difference(seeds, of_seeds, of_images, of_both):
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(REPETITIONS):
        values = (
            np.array([0.2, 0.0])[:, None, None]
            + rng.normal(0, of_seeds, (2, seeds, 1))
            + rng.normal(0, of_images, (2, 1, 200))
            + rng.normal(0, of_both, (2, seeds, 200))
        )
        found = contrast(values)
        covered += found.low <= 0.2 <= found.high
    assert AT_LEAST <= covered / REPETITIONS <= 1


def test_a_family_of_intervals_covers_together():
    rng = np.random.default_rng(13)
    weights = [np.eye(5)[:, [k]] - np.eye(5)[:, [0]] for k in range(1, 5)]
    covered = 0
    for _ in range(REPETITIONS):
        values = rng.normal(size=(5, 3, 1))
        of = stats.arms(values, np.full((400, *values.shape), np.nan))
        found = [of.contrast(w, comparisons=4) for w in weights]
        covered += all(i.low <= 0 <= i.high for i in found)
    assert AT_LEAST <= covered / REPETITIONS <= 1


def test_images_and_seeds_together_are_counted_once():
    """Where nearly all chance is in images and seeds together, the interval is no wider than it needs to be."""
    rng = np.random.default_rng(14)
    widths, errors = [], []
    for _ in range(60):
        found = contrast(rng.normal(size=(2, 20, 100)))
        widths.append(found.high - found.low)
        errors.append(found.mean)
    assert np.mean(widths) == pytest.approx(2 * 2.09 * np.std(errors), rel=0.25)
