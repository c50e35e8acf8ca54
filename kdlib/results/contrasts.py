"""Comparisons: who less whom, each with one interval wherever it is asked for.

Networks of one kind (network, loss, data, budget) make a randomised block design: A augmentations, each in S blocks.
Networks of one seed share initialisation and order of images, so a block is a seed: that of the teacher, its students
averaged; where a control takes part, which has no trained teacher, that of the student, over the teachers averaged.
A contrast of weights w (sum 0) has the variance

    MS_rest sum(w^2) / S      what augmentations do otherwise with another seed, on (A - 1)(S - 1) degrees of freedom
    + what blocks share       since the same images, and the same seeds of the other network, come back in each of them:
                              no comparison of blocks shows what these do to an augmentation

and Student's t interval at 95 %. The images' share is the mean covariance, over pairs of blocks, of the contrast image
by image, over N, of the blocks in which each arm has such numbers; that of recurring seeds is (MS of augmentation by
recurring seed - MS of all three) sum(w^2) / (S R), R seeds. Neither counts where it is negative. Degrees of freedom are
Satterthwaite's: the first share, from thousands of images, is as good as known; the other is taken to be known as well
as MS_rest. With one block there is no interval: images alone cover another training in three of four cases. Contrasts
between kinds pair the blocks: S - 1 degrees of freedom.

MS_rest is pooled over all augmentations of the frame that are of the contrast's families and have its seeds, so that it
depends on the data and on no page: families are whose images are augmented (teacher's, student's, both alike), and
whether several augmentations are composed. Nothing is widened for the number of comparisons: that is for verdicts.

Arms may have teachers in common, as students of one augmentation's teachers do that learn in several ways: these make a
plot of a split-plot design (Cochran and Cox 1957). What a teacher does to all of them alike cancels where weights
add up to 0 within each plot, and counts once, however many arms show it, where they do not (`variance_of_blocks`).
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from kdlib import KdlibError
from kdlib.results.measures import Measure
from kdlib.results.names import BASELINE, CONTROLS, listing

LEVEL = 0.95
SIDES = ("teacher_augmentation", "augmentation")

Arm = tuple[str, str]  # augmentation of the teacher's images (or a control), and of the network's own


class ContrastError(KdlibError, ValueError):
    """Networks that can't be compared."""


class Kind(NamedTuple):
    """Networks that differ in augmentations and seeds alone; `loss` is "" of those that are not taught."""

    dataset: str
    network: str
    width: int
    loss: str
    budget: str
    epochs: int


COLUMNS = (
    *Kind._fields, "measure", "title", "digits", "split", *SIDES, "who", "less", "estimate", "low", "high", "p", "n",
    "students", "clear", "one_device", "runs",
)  # fmt: skip


def contrasts(
    rows: pd.DataFrame,
    measure: Measure,
    of: str = "teacher_augmentation",
    minus: Sequence[str] = (BASELINE,),
    split: str | None = None,
) -> pd.DataFrame:
    """Every pair of networks of one kind that differ in column `of` alone, less those that have one of `minus` there.

    `of` is "teacher_augmentation" (what a teacher does, at the same images of the student's own) or "augmentation"
    (what a network's own images do, under the same teacher). A row a pair, with the columns `COLUMNS`: `who` and `less`
    are the two values of `of`; `teacher_augmentation` and `augmentation` are those of `who`. `estimate` has its
    interval `low`, `high` (NaN from one seed) and two-sided `p`; `n` counts teachers' seeds, `students` those of each
    teacher. `clear` says that the whole interval is on one side of zero, and that in each block all networks are from
    one kind of device (`one_device`); `runs` are the marks of the compared.
    """
    if of not in SIDES:
        raise ContrastError(f"of is {of!r}: expected {' or '.join(SIDES)}")
    cells, side = Cells(rows, measure, split), SIDES.index(of)
    found = []
    for kind, arms in cells.arms.items():
        for i, less in enumerate(minus):
            for arm in arms:
                other = (less, arm[1]) if side == 0 else (arm[0], less)
                if arm[side] in minus[: i + 1] or other not in arms or not cells.own(kind, (arm, other)):
                    continue
                names = {"who": arm[side], "less": less} | dict(zip(SIDES, arm, strict=True))
                found += cells.row({(kind, arm): 1.0, (kind, other): -1.0}, names)
    return pd.DataFrame(found, columns=list(COLUMNS))


def weighted(
    rows: pd.DataFrame,
    measure: Measure,
    weights: Mapping[Arm, float],
    who: str = "",
    less: str = "",
) -> pd.DataFrame:
    """A weighted sum of networks of one kind, a row for each kind that has them all; columns as in `contrasts`.

    `weights` add up to 0: of the mean of two augmentations less the baseline they are 1/2, 1/2 and -1; of a difference
    of differences 1, -1, -1, 1.
    """
    cells = Cells(rows, measure)
    found = []
    for kind, arms in cells.arms.items():
        if all(arm in arms for arm in weights) and cells.own(kind, weights):
            names = {"who": who, "less": less} | dict.fromkeys(SIDES, "")
            found += cells.row({(kind, arm): weight for arm, weight in weights.items()}, names)
    return pd.DataFrame(found, columns=list(COLUMNS))


class Cells:
    """What was measured of each kind and arm of a frame: `arms[kind][arm]` has the row of each pair of seeds, the
    teacher's and the student's."""

    def __init__(
        self, rows: pd.DataFrame, measure: Measure, split: str | None = None, plots: Mapping[Arm, str] | None = None
    ):
        """`plots` names, of arms whose teachers are the same, the plot that they are in."""
        self.measure, self.split, self.plots = measure, split or measure.split, plots or {}
        values = [measure.value(run, split) for run in rows["run"]]
        self.rows = rows.assign(value=pd.Series(values, rows.index, dtype=float)).dropna(subset="value")
        self.rows = self.rows.reset_index(drop=True)
        self.values = self.rows["value"].to_numpy()
        self.arms: dict[Kind, dict[Arm, dict[tuple[int, int], int]]] = {}
        alike = ["dataset", "network", "width", "loss", "budget", "epochs"]
        control = self.rows["control"].astype(bool)  # of no rows it has another type
        controls, networks = self.rows[control], self.rows[~control]
        for labels, group in networks.groupby(alike, sort=False):
            kind = Kind(*labels)
            self.arms[kind] = self._by_arm(group) | (self._controls(controls, kind) if kind.loss else {})
        self.teachers = {kind for kind in self.arms if not kind.loss}
        taught = {kind[:5] for kind in self.arms}
        for labels, group in controls.groupby(alike, sort=False):
            kind = Kind(*labels)
            if kind[:5] not in taught:
                alone = self._controls(controls, kind) if kind.loss else {}
                self.arms[kind] = alone | self._by_arm(group)

    def _by_arm(self, group: pd.DataFrame) -> dict[Arm, dict[tuple[int, int], int]]:
        found: dict[Arm, dict[tuple[int, int], int]] = {}
        for row in group[[*SIDES, "teacher_seed", "seed"]].itertuples(name=None):
            at, *arm, teacher_seed, seed = row
            other = found.setdefault(tuple(arm), {}).setdefault((teacher_seed, seed), at)
            if other != at:
                marks = listing(self.rows["mark"][[other, at]])
                raise ContrastError(f"runs {marks} differ in no augmentation and no seed: pass those of one setting")
        return found

    def _controls(self, controls: pd.DataFrame, kind: Kind) -> dict[Arm, dict[tuple[int, int], int]]:
        """The controls of a kind of students, trained for as many epochs as these, or for a number of their own."""
        same = controls[(controls[["dataset", "network", "width", "budget"]] == [*kind[:3], kind.budget]).all(axis=1)]
        found = {}
        for name, group in same[same["loss"].isin(["", kind.loss])].groupby("teacher_augmentation", sort=False):
            if (group["epochs"] == kind.epochs).any():
                group = group[group["epochs"] == kind.epochs]
            if group["epochs"].nunique() > 1:
                raise ContrastError(
                    f"controls ({name}) of {kind.network} have {listing(sorted(group['epochs'].unique()))} epochs, its "
                    f"students {kind.epochs}: name the budgets of the frames"
                )
            found |= self._by_arm(group)
        return found

    def own(self, kind: Kind, arms: Iterable[Arm]) -> bool:
        """Whether a contrast is this kind's, not one among networks without a teacher, which all kinds share."""
        return not kind.loss or any(arm[0] != "alone" for arm in arms)

    @functools.cached_property
    def images(self) -> np.ndarray | None:
        """The measure image by image, (rows, N), NaN of slim runs that lack it; None where there are no such numbers of
        one test set."""
        found = [self.measure.images(run, self.split) for run in self.rows["run"]]
        sizes = {len(one) for one in found if one is not None}
        if len(sizes) != 1:
            return None
        unknown = np.full(sizes.pop(), np.nan)
        return np.array([unknown if one is None else one for one in found], dtype=np.float64)

    def row(self, weights: Mapping[tuple[Kind, Arm], float], names: Mapping[str, str]) -> list[dict]:
        """The contrast of these weights as a row of a frame, none where no seed has all of its networks."""
        if abs(sum(weights.values())) > 1e-9:
            raise ContrastError(f"the weights of a contrast add up to {sum(weights.values()):g}: expected 0")
        design = Design(self, [at for at, weight in weights.items() if weight])
        if not design.blocks:
            return []
        w = np.array([weight for weight in weights.values() if weight])
        estimate, variance, dof = design.estimate(w)
        half, p = np.nan, np.nan
        if dof:
            error = np.sqrt(variance)
            half = stats.t.ppf((1 + LEVEL) / 2, dof) * error
            p = 2 * stats.t.sf(abs(estimate) / error, dof) if error else float(estimate == 0)
        low, high = estimate - half, estimate + half
        compared = self.rows.iloc[[row for block in design.rows for row in block]]
        one_device = all(self.rows["device"].iloc[block].nunique() == 1 for block in design.rows)
        kind = next(iter(weights))[0]
        return [
            kind._asdict() | self.measure.named | {"split": self.split} | dict(names)
            | {"estimate": estimate, "low": low, "high": high, "p": p, "n": design.n, "students": design.students}
            | {"clear": is_clear(low, high, one_device), "one_device": one_device}
            | {"runs": " ".join(dict.fromkeys(compared["mark"]))}
        ]  # fmt: skip


class Design:
    """Where the networks of a contrast, and those that spread as they do, stand in blocks of seeds."""

    def __init__(self, cells: Cells, compared: Sequence[tuple[Kind, Arm]]):
        self.cells, self.compared = cells, list(compared)
        # Beside a control blocks are the students' seeds; a teacher beside students is of its own seed's block.
        self.side = int(any(kind.loss and not has_teacher(arm) for kind, arm in self.compared))
        taught = [set(cells.arms[kind][arm]) for kind, arm in self.compared if has_teacher(arm)]
        untaught = [set(cells.arms[kind][arm]) for kind, arm in self.compared if not has_teacher(arm)]
        pairs = set.intersection(*taught) if taught else set()
        in_blocks = [{pair[self.side] for pair in pairs}] if taught else []
        self.blocks = sorted(set.intersection(*in_blocks, *({seed for _, seed in one} for one in untaught)))
        if not taught:  # students spread as the compared controls do
            pairs = set(cells.arms[self.compared[0][0]].get((BASELINE, BASELINE), ()))
        self.pairs = sorted(pair for pair in pairs if pair[self.side] in self.blocks)
        self.n = len({teacher_seed for teacher_seed, _ in self.pairs}) if taught else len(self.blocks)
        self.students = -(-len(self.pairs) // self.n) if taught and self.n else 1

    @property
    def rows(self) -> list[list[int]]:
        """The rows of all that is compared, in each block."""
        by_block = zip(*(self.places(*at) for at in self.compared), strict=True)
        return [list(itertools.chain(*of_arms)) for of_arms in by_block]

    def places(self, kind: Kind, arm: Arm) -> list[list[int]]:
        """The rows of an arm in each block."""
        of = self.cells.arms[kind][arm]
        if has_teacher(arm):
            return [[of[pair] for pair in self.pairs if pair[self.side] == block] for block in self.blocks]
        return [[row for (_, seed), row in of.items() if seed == block] for block in self.blocks]

    def pool(self) -> list[tuple[Kind, Arm]]:
        """The compared, then all other arms of their families that have their seeds, if all plots have as many."""
        kind = self.compared[0][0]
        wanted = {one for _, arm in self.compared if (one := family(arm))} or {("taught", "teacher", False)}
        starts = {(BASELINE if who == "taught" else who, BASELINE) for who, *_ in wanted}

        def alike(arm: Arm, of: Mapping[tuple[int, int], int]) -> bool:
            there = {pair for pair in of if pair in self.pairs} if has_teacher(arm) else set(of)
            complete = not has_teacher(arm) or len(there) == len(self.pairs)
            in_all = {pair[self.side if has_teacher(arm) else 1] for pair in there}.issuperset(self.blocks)
            return complete and in_all and (family(arm) in wanted or arm in starts)

        others = [(kind, arm) for arm, of in self.cells.arms[kind].items() if alike(arm, of)]
        pooled = list(dict.fromkeys([*self.compared, *others]))
        sizes = Counter(self.plots(pooled)).values()
        return pooled if len(set(sizes)) == 1 else self.compared

    def plots(self, arms: Iterable[tuple[Kind, Arm]]) -> list[str]:
        return [str(self.cells.plots.get(arm, arm)) for _, arm in arms]

    def estimate(self, weights: np.ndarray) -> tuple[float, float, float]:
        """Estimate, its variance and degrees of freedom of the contrast of `weights`; NaN and 0 with one block."""
        one_kind = len({kind for kind, _ in self.compared}) == 1
        arms = self.pool() if one_kind else self.compared
        w = np.concatenate([weights, np.zeros(len(arms) - len(weights))])
        values = self.means(self.cells.values, arms)  # (A, S)
        estimate, blocks = float(w @ values.mean(axis=1)), len(self.blocks)
        if blocks == 1:
            return estimate, np.nan, 0
        taught = np.array([has_teacher(arm) for _, arm in arms])
        crossed, w_crossed = self.crossed([at for at, one in zip(arms, taught, strict=True) if one]), w[taught]
        plots = self.plots(arms)
        if not one_kind:  # halves of the contrast are two arms: Student's paired t
            values, crossed = halves(w @ values), halves(np.tensordot(w_crossed, crossed, 1))
            w, w_crossed, plots = np.array([1.0, -1.0]), np.array([1.0, -1.0]), ["one", "other"]
        of_blocks, dof = variance_of_blocks(w, values, plots)
        of_seeds, of_images = of_blocks + of_recurring_seeds(crossed) * (w_crossed**2).sum(), 0.0
        if self.cells.images is not None:
            by_image = self.means(self.cells.images, self.compared)  # (compared, S, N)
            known = ~np.isnan(by_image).any(axis=(0, 2))
            if known.sum() > 1:
                of_images = of_same_images(np.tensordot(weights, by_image[:, known], 1))
        variance = of_seeds + of_images
        return estimate, variance, dof * (variance / of_seeds) ** 2 if of_seeds else np.inf

    def means(self, values: np.ndarray, arms: Iterable[tuple[Kind, Arm]]) -> np.ndarray:
        """The mean of each arm in each block, (A, S, ...), of the rows whose values are known."""
        known = ~np.isnan(values.reshape(len(values), -1)[:, 0])

        def mean(rows: list[int]) -> np.ndarray:
            return values[[row for row in rows if known[row]] or rows].mean(axis=0)

        return np.array([[mean(rows) for rows in self.places(*at)] for at in arms])

    def crossed(self, taught: Sequence[tuple[Kind, Arm]]) -> np.ndarray:
        """(A, S, R): each arm in each block with each seed of the other network; R is 1 where they are not crossed."""
        recurring = sorted({pair[1 - self.side] for pair in self.pairs})
        if len(self.pairs) < len(self.blocks) * len(recurring) or not taught:
            return np.zeros((len(taught), len(self.blocks), 1))
        pairs = [[(block, seed) if self.side == 0 else (seed, block) for seed in recurring] for block in self.blocks]
        found = [[[self.cells.arms[kind][arm][pair] for pair in row] for row in pairs] for kind, arm in taught]
        return self.cells.values[np.array(found)]


def is_clear(low: float, high: float, one_device: bool) -> bool:
    """Whether a whole interval is on one side of zero, of networks from one kind of device; NaN is on none."""
    return bool(one_device and (low > 0 or high < 0))


def has_teacher(arm: Arm) -> bool:
    """Whether a network learns from a trained teacher."""
    return arm[0] not in CONTROLS


def family(arm: Arm) -> tuple[str, str, bool] | None:
    """Who is taught, whose images are augmented, and whether several augmentations are composed; None where images
    are plain: the start of every family."""
    teacher, own = arm
    if own == BASELINE and teacher in (BASELINE, *CONTROLS):
        return None
    if not has_teacher(arm):
        return teacher, "own", "+" in own
    both = "both" if own == teacher else "unlike"
    whose = "teacher" if own == BASELINE else "student" if teacher == BASELINE else both
    return "taught", whose, "+" in teacher + own


# ---------------------------------------------------------------- components of variance


def halves(contrast: np.ndarray) -> np.ndarray:
    """Two arms whose difference is the contrast (S, ...)."""
    return np.stack([contrast, -contrast]) / 2


def mean_square_of_rest(values: np.ndarray) -> tuple[float, int]:
    """Of a randomised block design (A, S): what is left beside arms and blocks, and its degrees of freedom.

    >>> mean_square_of_rest(np.array([[1.0, 2.0], [1.0, 4.0]]))
    (1.0, 1)
    """
    rest = _centred(_centred(values, 0), 1)
    dof = (values.shape[0] - 1) * (values.shape[1] - 1)
    return float((rest**2).sum() / dof), dof


def variance_of_blocks(weights: np.ndarray, values: np.ndarray, plots: Sequence[str]) -> tuple[float, float]:
    """Variance of a contrast of arms (A, S) by what they do otherwise in another block, and its degrees of freedom.

    With one arm a plot it is MS_rest sum(w^2) / S. With C arms in each, and W the sum of a plot's weights, it is

        (MS_whole sum(W^2) + MS_within (sum(w^2) - sum(W^2) / C)) / S

    where MS_whole is what is left beside plots and blocks of the plots' means, and MS_within what is left beside arms
    and blocks within plots; the degrees of freedom of such a sum are Satterthwaite's.
    """
    members = [np.flatnonzero(np.array(plots) == plot) for plot in dict.fromkeys(plots)]
    if len(sizes := {len(one) for one in members}) > 1:
        raise ContrastError(f"plots have {listing(sorted(sizes))} arms: expected as many in each")
    whole, dof = mean_square_of_rest(np.array([values[one].mean(axis=0) for one in members]))
    whole *= sum(weights[one].sum() ** 2 for one in members) / values.shape[1]
    if (arms := len(members[0])) == 1:
        return whole, dof
    parts = [mean_square_of_rest(values[one]) for one in members]
    within = np.mean([mean_square for mean_square, _ in parts]) / values.shape[1]
    within *= sum((weights[one] ** 2).sum() - weights[one].sum() ** 2 / arms for one in members)
    of_parts = whole**2 / dof + within**2 / sum(dof for _, dof in parts)
    return whole + within, (whole + within) ** 2 / of_parts if of_parts else np.inf


def of_recurring_seeds(values: np.ndarray) -> float:
    """Variance of an arm's mean, of weight 1, by the R seeds that recur in all blocks; values (A, S, R)."""
    arms, blocks, seeds = values.shape
    if arms < 2 or seeds < 2:
        return 0.0
    by_seed = _centred(_centred(values.mean(axis=1), 0), 1)
    rest = _centred(_centred(_centred(values, 0), 1), 2)
    dof = (arms - 1) * (seeds - 1)
    excess = blocks * (by_seed**2).sum() / dof - (rest**2).sum() / (dof * (blocks - 1))
    return max(0.0, float(excess)) / (blocks * seeds)


def of_same_images(contrast: np.ndarray) -> float:
    """Variance of a mean over blocks by the N images that all share; the contrast in each block and image, (S, N)."""
    blocks, images = contrast.shape
    covariances = contrast.sum(axis=0).var(ddof=1) - contrast.var(axis=1, ddof=1).sum()
    return max(0.0, float(covariances)) / (blocks * (blocks - 1)) / images


def _centred(values: np.ndarray, axis: int) -> np.ndarray:
    return values - values.mean(axis=axis, keepdims=True)
