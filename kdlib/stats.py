"""From runs to intervals: over seeds, over images, and paired contrasts between arms over both.

Arms share seeds (initialisation and order) and test images, so arms are compared in pairs, within a seed and on the
same images. What would differ in a repetition is drawn by a hierarchical bootstrap:

- images: the test set is resampled with replacement, the same resample for every arm and seed (the images are crossed
  with the seeds, not nested in them). A metric made of sums over images is then a product with multinomial weights.
- seeds: three seeds have ten resamples, whose spread is too narrow and too coarse for an interval. So this level is
  drawn parametrically: residuals over seeds, times normal weights, widened to Student's t. With images that don't
  matter, the interval of two arms is the paired t-interval, exactly. With more arms, their spread over seeds is pooled
  as in a randomised block design: A arms and S seeds give (A - 1)(S - 1) degrees of freedom. That assumes that arms
  spread alike over seeds, and is what makes three seeds worth having.

A student has its teacher's seed, so that "seed" is one level: what a new teacher and a new student change together.
With one seed, the interval covers images alone. With more, a contrast's interval is never narrower than images alone
make that of the mean over these seeds, however little a few seeds happen to differ. Intervals of several contrasts are
widened after Bonferroni.
A is the number of arms, S of seeds, M of measured quantities an arm, B of image resamples, T = B * REPEATS of draws.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats as scipy_stats

from kdlib import KdlibError

LEVEL = 0.95
RESAMPLES = 4000  # of the images
REPEATS = 5  # draws of the seeds for each of them
WEIGHTS_AT_ONCE = 2_000_000  # 16 MB


class StatsError(KdlibError, ValueError):
    """Values that have no interval; the message says what was found and what was expected."""


class Interval(NamedTuple):
    """An estimate with its interval; `n` is the number of what was averaged (seeds or images)."""

    mean: float
    low: float
    high: float
    n: int


# --- One group of values -------------------------------------------------------------------------------------


def over_seeds(values: Iterable[float], level: float = LEVEL) -> Interval:
    """Mean of one value a seed, with Student's t interval at `level`; of one seed, low and high are NaN.

    >>> [round(x, 3) for x in over_seeds([0.90, 0.92, 0.94])]
    [0.92, 0.87, 0.97, 3]
    """
    values = _vector(values, "seed")
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, 1)
    return _student(mean, values.var(ddof=1) / n, n - 1, n, level)


BySeed = Mapping[Hashable, Mapping[int, float]]  # a value for each arm and seed


def over_seeds_of_arms(values: BySeed, level: float = LEVEL) -> dict[Hashable, Interval]:
    """Mean of each arm over seeds, with the interval at `level` of an arm among others.

    A few seeds tell little of how far an arm spreads, so the spread is pooled over the arms that have the same seeds,
    which are taken to spread alike: (MS_seeds + (A - 1) MS_rest) / A of a randomised block design, with Satterthwaite's
    degrees of freedom. Of arms without companions it is `over_seeds`. Where arms follow their seeds so closely that
    little is left to pool (nine tenths of their variance in common), intervals of two seeds cover the truth nine times
    in ten rather than nineteen in twenty.

    >>> found = over_seeds_of_arms({"a": {0: 0.90, 1: 0.92}, "b": {0: 0.95, 1: 0.95}})
    >>> {arm: [round(x, 3) for x in interval] for arm, interval in found.items()}
    {'a': [0.91, 0.88, 0.94, 2], 'b': [0.95, 0.92, 0.98, 2]}
    """
    found = {arm: over_seeds(by_seed.values(), level) for arm, by_seed in values.items()}
    for names, block in _blocks(values):
        n_arms, seeds = block.shape
        of_seeds, rest = _mean_squares(block)
        parts = np.array([of_seeds, (n_arms - 1) * rest]) / n_arms
        variance = parts.sum()
        dof = variance**2 * (seeds - 1) / (parts**2 / [1, n_arms - 1]).sum() if variance > 0 else 1
        found |= {arm: _student(block[i].mean(), variance / seeds, dof, seeds, level) for i, arm in enumerate(names)}
    return found


def differences_over_seeds(values: BySeed, baseline: Hashable, level: float = LEVEL) -> dict[Hashable, Interval]:
    """Mean of each other arm less the baseline, paired by seed, with its interval at `level`.

    Over arms that all have the baseline's seeds the spread is pooled: 2 MS_rest of a randomised block design, with its
    (A - 1)(S - 1) degrees of freedom. An arm with other seeds is paired over those that both have, on its own.

    >>> found = differences_over_seeds({"a": {0: 0.90, 1: 0.92}, "b": {0: 0.95, 1: 0.96}}, "a")
    >>> {arm: [round(x, 3) for x in interval] for arm, interval in found.items()}
    {'b': [0.045, -0.019, 0.109, 2]}
    """
    of_baseline = values.get(baseline, {})
    found = {}
    for arm, by_seed in values.items():
        apart = [value - of_baseline[seed] for seed, value in by_seed.items() if seed in of_baseline]
        if arm != baseline and apart:
            found[arm] = over_seeds(apart, level)
    for names, block in _blocks(values):
        if baseline in names:
            n_arms, seeds = block.shape
            variance, dof = 2 * _mean_squares(block)[1] / seeds, (n_arms - 1) * (seeds - 1)
            found |= {arm: _student(found[arm].mean, variance, dof, seeds, level) for arm in names if arm != baseline}
    return found


def _blocks(values: BySeed) -> Iterator[tuple[list[Hashable], np.ndarray]]:
    """Names and values (A, S) of arms that have the same seeds, wherever there are two or more of both."""
    companions: dict[frozenset[int], list[Hashable]] = {}
    for arm, by_seed in values.items():
        companions.setdefault(frozenset(by_seed), []).append(arm)
    for seeds, names in companions.items():
        if len(names) > 1 and len(seeds) > 1:
            yield names, np.array([[values[arm][seed] for seed in sorted(seeds)] for arm in names], dtype=np.float64)


def _mean_squares(block: np.ndarray) -> tuple[float, float]:
    """Of a randomised block design, values (A, S): between seeds, and what is left beside arms and seeds."""
    n_arms, seeds = block.shape
    of_seeds = _centred(block.mean(axis=0))
    rest = _centred(block, axis=1) - of_seeds
    return n_arms * float((of_seeds**2).sum()) / (seeds - 1), float((rest**2).sum()) / ((n_arms - 1) * (seeds - 1))


def _student(mean: float, variance: float, dof: float, n: int, level: float) -> Interval:
    """Student's t interval of a mean whose variance is known from `dof` degrees of freedom."""
    half = float(scipy_stats.t.ppf((1 + _share(level)) / 2, dof) * np.sqrt(variance))
    return Interval(float(mean), float(mean) - half, float(mean) + half, n)


def over_images(values: Iterable[float], level: float = LEVEL) -> Interval:
    """Mean of one value an image (right or wrong, or a loss), with its interval at `level` over the test images.

    Of right and wrong alone it is Wilson's interval, which has a meaning at 0 and 1 too; of other values Student's t.
    It says how much the mean would differ on other images of the kind, not how much between trainings.

    >>> [round(x, 3) for x in over_images([True] * 90 + [False] * 10)]
    [0.9, 0.826, 0.945, 100]
    """
    values = _vector(values, "image")
    if np.isin(values, (0.0, 1.0)).all():
        right, n = int(values.sum()), len(values)
        band = scipy_stats.binomtest(right, n).proportion_ci(_share(level), method="wilson")
        return Interval(right / n, float(band.low), float(band.high), n)
    return over_seeds(values, level)


# --- Resampling the images -----------------------------------------------------------------------------------


def first(means: np.ndarray) -> np.ndarray:
    """A quantity that is a plain mean over images, such as accuracy."""
    return means[..., 0]


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number made of sums over images, so that a bootstrap of it is a product of matrices.

    `value` turns means over images of `per_image` (N, F) into the number: means (..., F) -> (...). With `labels` (N,)
    it gets them class by class, (..., K, F), each still divided by N: a column of ones gives the share of the class.
    """

    per_image: np.ndarray
    value: Callable[[np.ndarray], np.ndarray] = first
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.per_image) != 2 or np.size(self.per_image) == 0:
            raise StatsError(f"per_image has shape {np.shape(self.per_image)}: expected (images, features)")
        if not np.isfinite(self.per_image).all():
            raise StatsError("per_image contains NaN or infinity: expected finite numbers")


def resample_images(
    quantities: Sequence[Quantity], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The quantities on the images as they are, (Q,), and on each resample of them, (B, Q).

    All quantities are of one test set; every resample is the same for all of them.
    """
    sizes = {len(q.per_image) for q in quantities}
    if len(sizes) != 1:
        raise StatsError(f"quantities are of {sorted(sizes)} images: expected one test set")
    (images,) = sizes
    order, classes = _by_class(quantities, images)
    plain, labelled = (_stacked(quantities, order, kept) for kept in (False, True))

    def evaluate(weights: np.ndarray) -> np.ndarray:
        means = {False: weights @ plain}
        if labelled.size:
            means[True] = np.stack([weights[:, part] @ labelled[part] for part in classes], axis=1)
        out, column = np.empty((len(weights), len(quantities))), {False: 0, True: 0}
        for i, q in enumerate(quantities):
            kind, width = q.labels is not None, q.per_image.shape[1]
            out[:, i] = q.value(means[kind][..., column[kind] : column[kind] + width])
            column[kind] += width
        return out

    values = evaluate(np.full((1, images), 1 / images))[0]
    weights = _multinomial(images, resamples, np.random.default_rng(seed))
    return values, np.concatenate([evaluate(block) for block in weights])


def _stacked(quantities: Sequence[Quantity], order: np.ndarray, labelled: bool) -> np.ndarray:
    """Features of all quantities with or without labels, (N, sum of F): one product serves them all."""
    chosen = [q.per_image[order] for q in quantities if (q.labels is not None) == labelled]
    return np.concatenate([np.empty((len(order), 0)), *chosen], axis=1)


def _by_class(quantities: Sequence[Quantity], images: int) -> tuple[np.ndarray, list[slice]]:
    """An order in which each class lies together, and where each lies."""
    labels = [q.labels for q in quantities if q.labels is not None]
    if not labels:
        return np.arange(images), []
    if any(len(one) != images or not np.array_equal(one, labels[0]) for one in labels):
        raise StatsError("quantities have different labels: expected one test set")
    order = np.argsort(labels[0], kind="stable")
    _, starts = np.unique(labels[0][order], return_index=True)
    return order, [slice(a, b) for a, b in zip(starts, [*starts[1:], images], strict=True)]


def _multinomial(images: int, resamples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each image is drawn, over the number of images: (b, N), b rows at a time.

    In float64: processors round sums differently, and with float32 that would be seen in what the book prints.
    """
    rows = max(1, WEIGHTS_AT_ONCE // images)
    for start in range(0, resamples, rows):
        b = min(rows, resamples - start)
        chosen = rng.integers(images, size=(b, images), dtype=np.int32)
        chosen += (np.arange(b, dtype=np.int32) * images)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=b * images).reshape(b, images)
        yield counts / images


# --- Arms over seeds and images ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Arms:
    """What was measured of each arm and seed, and what the bootstrap draws of it."""

    values: np.ndarray  # (A, S, M)
    resampled: np.ndarray  # (B, A, S, M) over images; NaN for a quantity that can't be resampled (see `arms`)
    over_seeds: np.ndarray  # (T, A, M): deviations of the means over seeds; 0 with one seed

    @property
    def seeds(self) -> int:
        return self.values.shape[1]

    def contrast(self, weights: np.ndarray, *, level: float = LEVEL, comparisons: int = 1) -> Interval:
        """The weighted sum of the arms' means over seeds, `weights` (A, M), as one of `comparisons` in a family."""
        weights = np.asarray(weights, dtype=np.float64)
        if weights.shape != self.values[:, 0].shape:
            expected = self.values[:, 0].shape
            raise StatsError(f"weights has shape {weights.shape}: expected {expected}, arms by quantities")
        used = weights != 0  # so that NaN stays with the quantity that has it
        estimate = float(self.values.mean(axis=1)[used] @ weights[used])
        by_seed = self.resampled.transpose(0, 2, 1, 3)[:, :, used] @ weights[used]  # (B, S)
        images = estimate + np.tile(_centred(by_seed.mean(axis=1)), REPEATS)
        draws = estimate + np.tile(_without_interaction(by_seed), REPEATS) + self.over_seeds[:, used] @ weights[used]
        both, images = (_interval(estimate, of, self.seeds, level, comparisons) for of in (draws, images))
        return both._replace(low=min(both.low, images.low), high=max(both.high, images.high))

    def rank_correlation(self, x: int, y: int, *, level: float = LEVEL, comparisons: int = 1) -> Interval:
        """Spearman's correlation over the arms between the means over seeds of quantities `x` and `y`, -1..1.

        The interval takes the arms as they are: it covers other seeds and images, not other arms (`permutation_p`
        does). It is on the wide side: noise on either quantity only blurs ranks, and what images and seeds do
        together counts twice.
        """
        means = self.values.mean(axis=1)
        draws = means + np.tile(_centred(self.resampled.mean(axis=2)), (REPEATS, 1, 1)) + self.over_seeds
        estimate = float(spearman(means[:, x], means[:, y]))
        return _interval(estimate, spearman(draws[..., x], draws[..., y]), self.seeds, level, comparisons)

    def permutation_p(self, x: int, y: int) -> float:
        """How likely it is that arms in random order correlate as strongly as quantities `x` and `y` do, 0..1."""
        means = self.values.mean(axis=1)
        return permutation_p(means[:, x], means[:, y])


def arms(values: np.ndarray, resampled: np.ndarray, seed: int = 0) -> Arms:
    """Arms from what was measured, `values` (A, S, M), and that on resamples of the images, `resampled` (B, A, S, M).

    A quantity that is not made of sums over stored images has NaN in `resampled`: its interval covers the seeds
    alone, and with one seed it has none.
    """
    values, resampled = np.asarray(values, dtype=np.float64), np.asarray(resampled, dtype=np.float64)
    if values.ndim != 3 or values.size == 0 or resampled.shape[1:] != values.shape:
        found = f"values has shape {values.shape}, resampled {resampled.shape}"
        raise StatsError(f"{found}: expected (A, S, M) and (B, A, S, M)")
    if not np.isfinite(values).all():
        raise StatsError("values contains NaN or infinity: expected a finite number for each arm, seed and quantity")
    if values.shape[1] > 1:
        resampled = np.where(np.isnan(resampled), values, resampled)
    rng = np.random.default_rng([seed, 1])
    return Arms(values, resampled, _seed_deviations(values, len(resampled) * REPEATS, rng))


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over the last axis, ties sharing their mean rank; 0 where one side is constant.

    >>> float(spearman(np.array([1, 2, 3]), np.array([10, 30, 20])))
    0.5
    """
    rx, ry = (_centred(scipy_stats.rankdata(side, axis=-1), axis=-1) for side in (x, y))
    norm = np.sqrt((rx**2).sum(-1) * (ry**2).sum(-1))
    return np.clip((rx * ry).sum(-1) / np.where(norm == 0, 1, norm), -1, 1)


def permutation_p(x: np.ndarray, y: np.ndarray) -> float:
    """Exact two-sided p of Spearman's correlation of two short vectors (K,), over all K! orders.

    >>> permutation_p(np.arange(5), np.arange(5) ** 2) == 2 / 120
    True
    """
    orders = np.array(list(itertools.permutations(y)))
    return float((np.abs(spearman(x, orders)) >= np.abs(spearman(x, y)) - 1e-9).mean())


def _seed_deviations(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How far means over other seeds would lie, (T, A, M): what arms share, and what is each arm's own.

    The two are independent in a block design. The first cancels in a contrast within a quantity; between
    quantities (a student against its teacher) it is what remains.
    """
    n_arms, seeds, measured = values.shape
    if seeds == 1:
        return np.zeros((draws, n_arms, measured))
    common = values.mean(axis=0)  # (S, M)
    own = values - common - values.mean(axis=1, keepdims=True) + common.mean(axis=0)
    shared = _t_noise(common - common.mean(axis=0), seeds - 1, (draws,), rng)
    shifts = shared[:, None, :] / np.sqrt(seeds)
    if n_arms == 1:
        return shifts
    each = _t_noise(own.reshape(-1, measured), (n_arms - 1) * (seeds - 1), (draws, n_arms), rng)
    return shifts + _centred(each, axis=1) / np.sqrt(seeds)


def _t_noise(residuals: np.ndarray, dof: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws of Student's t with the covariance of `residuals` (R, M) as scale; one chi-square for each first index."""
    normal = rng.standard_normal((*shape, len(residuals))) @ residuals / np.sqrt(dof)
    widening = np.sqrt(dof / rng.chisquare(dof, size=shape[0]))
    return normal * widening.reshape(-1, *[1] * (normal.ndim - 1))


def _without_interaction(by_seed: np.ndarray) -> np.ndarray:
    """Deviations of the mean over seeds on each resample, (B,), of a contrast on each resample and seed, (B, S).

    How images and seeds act together (an image that one training happens to get right) is in the spread over seeds
    already: its share of the variance is taken out here, or it would count twice.
    """
    mean = by_seed.mean(axis=1)
    deviations, seeds = _centred(mean), by_seed.shape[1]
    variance = deviations.var()
    if seeds == 1 or not variance > 0:
        return deviations
    interaction = _centred(by_seed - mean[:, None]).var(axis=0).sum() / (seeds - 1)
    return deviations * np.sqrt(max(0.0, 1 - interaction / (seeds * variance)))


def _interval(estimate: float, draws: np.ndarray, n: int, level: float, comparisons: int) -> Interval:
    tail = (1 - _share(level)) / (2 * comparisons)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), n)


def _centred(values: np.ndarray, axis: int = 0) -> np.ndarray:
    return values - values.mean(axis=axis, keepdims=True)


def _share(level: float) -> float:
    if not 0 < level < 1:
        raise StatsError(f"level is {level}: expected a share between 0 and 1, such as 0.95")
    return level


def _vector(values: Any, unit: str) -> np.ndarray:
    values = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise StatsError(f"values has shape {values.shape}: expected one number for each {unit}, and at least one")
    if not np.isfinite(values).all():
        raise StatsError(f"values contains NaN or infinity: expected a finite number for each {unit}")
    return values
