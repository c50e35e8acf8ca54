"""The paper's thirteen claims, each with the contrasts that decide it, and their verdicts on stored runs.

The effects and the sides they must lie on were written down before any verdict on full-size networks was seen.
Corrected after a first verdict had been seen, as intervals on its page were wrong and not for the verdicts that change:
over which arms the spread of seeds is pooled, that an interval over seeds is no narrower than images alone make it, and
the rule of "unrelated".

A claim is a list of effects: contrasts between arms, or rank correlations over the arms. Each effect gets an interval
at 95%, widened after Bonferroni for the number of effects in its claim (`kdlib.stats`), and speaks for the claim,
against it, or is open:

- "above" t, "below" t: for it, if the whole interval is on that side of t; against it, if the whole is on the other.
- "within" t: for it, if the interval is inside -t..t; against it, if it is outside altogether.
- "unrelated": against it, if an exact two-sided permutation test over the K! orders of the K arms rejects at 0.05
  over the number of effects in the claim; else open, since no data can show that there is nothing. The arms are the
  sample here. Five arms give p = 2/120 at the least: in a claim of four effects or more it is always open.

The interval of a rank correlation takes the arms as they are: it covers other seeds and images, not other
augmentations. What is "above" or "below" (claims 5 and 10) is said of these arms alone.

A claim holds if every effect that can speak for it does, does not hold if at least one speaks against it, and is
undecided otherwise. It is not run where a run or a part of the data is missing. Claims on students are judged under
each form of the loss: "batchmean" as the paper writes it, "mean" as the released code computes it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import entr

from kdlib import KdlibError, metrics, paper, stats
from kdlib.runs import Run, Supervised as Teacher, is_taught
from kdlib.stats import Interval, Quantity
from kdlib.tables import (
    NO_BREAK, Markdown, arm_name, class_gram, directive, links, marks, minus, name_of_test_set, network_name,
)  # fmt: skip

REDUCTIONS = {"batchmean": "as the paper writes the loss", "mean": "as the released code computes it"}
CHAPTERS = ("teachers", "students", "ablation", "mnist")  # whose runs the claims are judged on
ARMS = paper.MODELS
AUGMENTED = ARMS[1:]
MIXED = ("mixup", "cutmix")
HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
FOR, AGAINST, OPEN = "for", "against", "open"
ECE_BINS = 15
TIE = 0.005  # half a percentage point of accuracy: claim 6
SIGNIFICANCE = 0.05  # of the permutation test of "unrelated", over the number of effects in the claim
SAME_ORDER = 0.5  # Spearman's correlation of two orders of five arms: claim 5
GROUPS = {"cifar10": ((1, 9), (2, 3))}  # Figure 4's two semantic groups: vehicles, animals


class ClaimError(KdlibError, ValueError):
    """Runs that the claims can't be judged on."""


class Missing(Exception):
    """Why a claim is not run: a run, or a part of the data, that is not there."""


# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Measure:
    """A number of a network: `of` a run gives it as sums over the images of `part`, or (`part` None) as it is."""

    title: str
    of: Callable[[Run], Any]
    part: str | None = "test"
    printed_as: str = ""  # the metric's name in paper.csv; "" where the paper prints no number


def predictions(run: Run, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) and labels (N,) on one of the test sets."""
    if f"{part}_logits" not in run.predictions:
        raise Missing(f"{run.spec.dataset} has no {part} test set")
    return metrics.softmax(run.predictions[f"{part}_logits"]), run.predictions[f"{part}_labels"].astype(np.int64)


def accuracy(run: Run, part: str = "test") -> Quantity:
    probs, labels = predictions(run, part)
    return Quantity((probs.argmax(axis=1) == labels)[:, None].astype(np.float64))


def shifted_accuracy(run: Run) -> Quantity:
    return accuracy(run, "shifted")


def test_loss(run: Run) -> Quantity:
    """Negative log-likelihood: Table 3's loss."""
    probs, labels = predictions(run, "test")
    chosen = probs[np.arange(len(labels)), labels]
    return Quantity(-np.log(np.maximum(chosen, metrics.FLOOR))[:, None])


def calibration_error(run: Run) -> Quantity:
    """ECE with bins (lo, hi]: the absolute sum of correct - confidence in each bin, over the images."""
    probs, labels = predictions(run, "test")
    confidence = np.minimum(probs.max(axis=1), 1.0)
    bins = np.searchsorted(np.linspace(0, 1, ECE_BINS + 1), confidence, side="left") - 1
    gap = (probs.argmax(axis=1) == labels) - confidence
    return Quantity(np.eye(ECE_BINS)[bins] * gap[:, None], lambda means: np.abs(means).sum(axis=-1))


def class_separability(run: Run) -> Quantity:
    """S_f (Section 5), classes by their label."""
    return by_class(run, separability_of)


def by_class(run: Run, value: Callable[[np.ndarray], np.ndarray]) -> Quantity:
    """A number of the mean predictions of each true class, `value`: (..., K, K) -> (...)."""
    probs, labels = predictions(run, "test")
    with_share = np.concatenate([np.ones((len(probs), 1)), probs], axis=1)
    return Quantity(with_share, lambda means: value(means[..., 1:] / means[..., :1]), labels)


def separability_of(p: np.ndarray) -> np.ndarray:
    """Mean over ordered pairs of KL(p_i || p_j); the logarithms are taken once a class, not once a pair."""
    log_p = np.log(np.maximum(p, metrics.FLOOR))
    own = (p * log_p).sum(axis=-1).mean(axis=-1)
    return own - (p.mean(axis=-2) * log_p.mean(axis=-2)).sum(axis=-1)


def human_class_means(run: Run) -> np.ndarray:
    if "human" not in run.metrics:
        raise Missing(f"people have not labelled the test images of {run.spec.dataset}")
    return np.asarray(run.metrics["human"]["class_means"])


def kl_off_diagonal(run: Run) -> Quantity:
    """Mean of KL(people on class i || model on class j) over i != j: how bright Figure 6 is off its diagonal."""
    human = human_class_means(run)
    off = 1 - np.eye(len(human))
    own = -(off * entr(human).sum(axis=1, keepdims=True)).sum()  # of h log h, once for each pair

    def value(p: np.ndarray) -> np.ndarray:
        cross = human @ np.log(np.maximum(p, metrics.FLOOR)).swapaxes(-1, -2)
        return (own - (off * cross).sum(axis=(-2, -1))) / off.sum()

    return by_class(run, value)


def human_order(run: Run) -> Quantity:
    """Spearman's correlation of people's and the model's mean confidences off the diagonal (Figure 3): which wrong
    classes are the likely ones, however confident the model is."""
    human = human_class_means(run)
    off = ~np.eye(len(human), dtype=bool)
    return by_class(run, lambda p: stats.spearman(p[..., off], human[off]))


def table_discrimination(run: Run) -> float:
    """Class discrimination in Table 5's own normalisation, so that it stands on the paper's scale."""
    return metrics.discrimination(class_gram(run), convention="table")


def latent(run: Run, value: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Quantity:
    """A number of the stored principal components of the penultimate embeddings of Figure 4's classes.

    `value` gets the classes' shares (..., K), means (..., K, d) and mean squared lengths (..., K).
    """
    if run.spec.dataset not in GROUPS:
        raise Missing(f"the classes of {run.spec.dataset} form no two semantic groups")
    x = run.latent["components"].astype(np.float64)
    rows = np.concatenate([np.ones((len(x), 1)), (x**2).sum(axis=1, keepdims=True), x], axis=1)

    def of_means(means: np.ndarray) -> np.ndarray:
        share = means[..., 0]
        return value(share, means[..., 2:] / share[..., None], means[..., 1] / share)

    return Quantity(rows, of_means, run.latent["labels"].astype(np.int64))


def total_variance(share: np.ndarray, centre: np.ndarray, squared: np.ndarray) -> np.ndarray:
    middle = (share[..., None] * centre).sum(axis=-2)
    return (share * squared).sum(axis=-1) - (middle**2).sum(axis=-1)


def cluster_spread(run: Run) -> Quantity:
    """Root-mean-square distance of an image from the centre of its class, over that from the centre of all, 0..1."""

    def value(share: np.ndarray, centre: np.ndarray, squared: np.ndarray) -> np.ndarray:
        within = (share * (squared - (centre**2).sum(axis=-1))).sum(axis=-1)
        return np.sqrt(within / total_variance(share, centre, squared))

    return latent(run, value)


def group_distance(run: Run) -> Quantity:
    """Distance between the centres of the two semantic groups, over the RMS distance from the centre of all, 0..2."""

    def value(share: np.ndarray, centre: np.ndarray, squared: np.ndarray) -> np.ndarray:
        classes = sorted(k for group in GROUPS[run.spec.dataset] for k in group)
        ends = []
        for group in GROUPS[run.spec.dataset]:
            rows = [classes.index(k) for k in group]
            weight = share[..., rows, None] / share[..., rows].sum(axis=-1)[..., None, None]
            ends.append((weight * centre[..., rows, :]).sum(axis=-2))
        return np.linalg.norm(ends[0] - ends[1], axis=-1) / np.sqrt(total_variance(share, centre, squared))

    return latent(run, value)


ACCURACY = Measure("accuracy", accuracy, "test", "accuracy")
SHIFTED = Measure("accuracy under shift", shifted_accuracy, "shifted", "accuracy")
LOSS = Measure("test loss", test_loss, "test", "loss")
CALIBRATION = Measure("ECE", calibration_error, "test", "ece")
SEPARABILITY = Measure("$S_f$", class_separability, "test", "class_separability")
DISCRIMINATION = Measure("discrimination", table_discrimination, None, "discrimination")
KL_OFF_DIAGONAL = Measure("class KL from people, off the diagonal", kl_off_diagonal)
HUMAN_ORDER = Measure("rank correlation with people, off the diagonal", human_order)
SPREAD = Measure("spread within classes", cluster_spread, "latent")
DISTANCE = Measure("distance between groups", group_distance, "latent")


# ---------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Column:
    """A measure of one kind of network, to be had for every arm; `table` is where the paper prints it."""

    measure: Measure
    role: str  # "teacher", or a student's architecture
    table: int | None = None
    chapter: str = "students"
    augmented: tuple[str, ...] = ("teacher",)  # whose images the arm is applied to

    @property
    def test_set(self) -> str:
        """In the paper's own terms."""
        return "cinic10" if self.measure.part == "shifted" else "mnist" if self.chapter == "mnist" else "cifar10"

    @property
    def who(self) -> str:
        """The networks, whose images are augmented, and the data set where it is not CIFAR-10."""
        if self.role == "teacher":
            return "teachers"
        augmented = {
            ("teacher",): "of augmented teachers",
            ("student",): "augmented alone",
            ("teacher", "student"): "augmented like their teachers",
        }[self.augmented]
        return f"{network_name(self.role)} students {augmented}{' on MNIST' if self.chapter == 'mnist' else ''}"

    @property
    def title(self) -> str:
        return f"{self.measure.title} of {self.who}"

    def paper(self, arm: str) -> float | None:
        if self.table is None:
            return None
        return paper.value(self.table, arm, self.role, self.test_set, self.measure.printed_as)


@dataclass(frozen=True)
class Effect:
    """One number with a side: a contrast (`terms`: weight, arm, column) or a rank correlation (`x` with `y`)."""

    title: str
    expected: str  # "above", "below", "within", "unrelated"
    threshold: float = 0.0
    terms: tuple[tuple[float, str, Column], ...] = ()
    x: Column | None = None
    y: Column | None = None

    @property
    def columns(self) -> list[Column]:
        return [self.x, self.y] if self.x else [column for _, _, column in self.terms]

    def paper(self) -> float | None:
        """The same number of the paper's printed values; None where it prints none."""
        if any(column.table is None for column in self.columns):
            return None
        if self.x:
            x, y = (np.array([column.paper(arm) for arm in ARMS]) for column in (self.x, self.y))
            return float(stats.spearman(x, y))
        return float(sum(weight * column.paper(arm) for weight, arm, column in self.terms))

    def find(self, of: stats.Arms, arms: Sequence[str], columns: Sequence[Column], comparisons: int) -> "Finding":
        """What `of`, measured of these arms and columns, says on it, as one of `comparisons` effects of a claim."""
        interval = self.interval(of, arms, columns, comparisons)
        if self.expected != "unrelated":
            return Finding(self, interval, self.says(interval.low, interval.high))
        p = of.permutation_p(columns.index(self.x), columns.index(self.y))
        return Finding(self, interval, AGAINST if p <= SIGNIFICANCE / comparisons else OPEN, p)

    def interval(self, of: stats.Arms, arms: Sequence[str], columns: Sequence[Column], comparisons: int) -> Interval:
        if self.x:
            return of.rank_correlation(columns.index(self.x), columns.index(self.y), comparisons=comparisons)
        weights = np.zeros((len(arms), len(columns)))
        for weight, arm, column in self.terms:
            weights[arms.index(arm), columns.index(column)] += weight
        return of.contrast(weights, comparisons=comparisons)

    def says(self, low: float, high: float) -> str:
        """Whether an interval speaks for the claim, against it, or is open; the ends may coincide."""
        if self.expected == "unrelated":
            raise ClaimError(f"{self.title}: an interval with fixed arms does not decide it, expected `Effect.find`")
        t = self.threshold
        if self.expected == "within":
            return FOR if -t < low and high < t else AGAINST if low > t or high < -t else OPEN
        sign = 1 if self.expected == "above" else -1
        low, high, t = sorted((sign * low, sign * high)) + [sign * t]
        return FOR if low > t else AGAINST if high < t else OPEN


def differences(column: Column, expected: str, arms: Iterable[str], than: str = "none", threshold: float = 0.0):
    """Each of `arms` less the arm `than`."""
    return [
        Effect(
            f"{column.title}: {arm_name(arm)} less {'the baseline' if than == 'none' else arm_name(than)}",
            expected,
            threshold,
            terms=((1.0, arm, column), (-1.0, than, column)),
        )
        for arm in arms
    ]


def correlation(x: Column, y: Column, expected: str, threshold: float = 0.0) -> Effect:
    both = f"{x.measure.title} with {y.title}" if x.who == y.who else f"{x.title} with {y.title}"
    return Effect(f"rank correlation over these arms: {both}", expected, threshold, x=x, y=y)


def role_difference(ours: Column, others: Column, expected: str) -> Effect:
    """The mean over all arms of one kind of network less that of another."""
    share = 1 / len(ARMS)
    terms = [(share, arm, ours) for arm in ARMS] + [(-share, arm, others) for arm in ARMS]
    return Effect(f"{ours.title} less that of teachers, mean of arms", expected, terms=tuple(terms))


@dataclass(frozen=True)
class Claim:
    """A statement of the paper; the first of its effects stands for it in the table of verdicts."""

    id: int
    statement: str
    source: str
    page: str  # the chapter that shows it
    rule: str  # when it holds, in words
    effects: tuple[Effect, ...]

    @property
    def columns(self) -> list[Column]:
        return list(dict.fromkeys(column for effect in self.effects for column in effect.columns))

    @property
    def arms(self) -> list[str]:
        """What it can't be judged without; other arms only add to what is known of the spread over seeds."""
        if any(effect.x for effect in self.effects):
            return list(ARMS)
        used = {arm for effect in self.effects for _, arm, _ in effect.terms}
        return [arm for arm in ARMS if arm in used]

    @property
    def of_students(self) -> bool:
        return any(column.role != "teacher" for column in self.columns)

    @property
    def reductions(self) -> tuple[str | None, ...]:
        """Under which forms of the loss it is judged; None where no student is concerned."""
        return tuple(REDUCTIONS) if self.of_students else (None,)


def declare() -> tuple[Claim, ...]:
    """The thirteen claims."""
    teacher = Column(ACCURACY, "teacher", 1, "teachers")
    lenet, alexnet = Column(ACCURACY, "lenet", 1), Column(ACCURACY, "alexnet", 1)
    shifted = [Column(SHIFTED, "teacher", 2, "teachers"), Column(SHIFTED, "lenet", 2), Column(SHIFTED, "alexnet", 2)]
    mnist_accuracy, mnist_loss = Column(ACCURACY, "lenet", 3, "mnist"), Column(LOSS, "lenet", 3, "mnist")
    student_only = Column(ACCURACY, "lenet", 7, "ablation", ("student",))
    both = Column(ACCURACY, "lenet", 8, "ablation", ("teacher", "student"))
    s_teacher = Column(SEPARABILITY, "teacher", 4, "teachers")
    s_students = [Column(SEPARABILITY, "lenet", 4), Column(SEPARABILITY, "alexnet", 4)]
    discrimination = Column(DISCRIMINATION, "teacher", 5, "teachers")
    ece = Column(CALIBRATION, "teacher", 1, "teachers")
    ece_lenet, ece_alexnet = Column(CALIBRATION, "lenet", 1), Column(CALIBRATION, "alexnet", 1)
    kl_off, order, spread, distance = (
        Column(measure, "teacher", None, "teachers") for measure in (KL_OFF_DIAGONAL, HUMAN_ORDER, SPREAD, DISTANCE)
    )
    rest = ("none", "crop_flip", "cutout", "mixup")
    return (
        Claim(
            1,
            "Every augmentation raises the teacher's CIFAR-10 accuracy; CutMix most.",
            "Table 1",
            "01_teachers",
            "The teacher of each augmentation is more accurate than the baseline, and CutMix's more than each other's.",
            (
                *differences(teacher, "above", reversed(AUGMENTED)),
                *(e for other in rest[1:] for e in differences(teacher, "above", ["cutmix"], other)),
            ),
        ),
        Claim(
            2,
            "LeNet: the student of the baseline teacher is the best; every augmented teacher makes it worse.",
            "Table 1, Section 4.1",
            "02_students",
            "The LeNet student of each augmented teacher is less accurate than the baseline teacher's.",
            tuple(differences(lenet, "below", reversed(AUGMENTED))),
        ),
        Claim(
            3,
            "AlexNet: students of crop/flip and Cutout teachers beat the baseline's, students of MixUp and CutMix "
            "teachers fall behind it.",
            "Table 1, Section 4.2",
            "02_students",
            "Against the baseline teacher's, AlexNet students of crop/flip and Cutout teachers are more accurate, and "
            "those of MixUp and CutMix teachers less.",
            (
                *differences(alexnet, "below", reversed(MIXED)),
                *differences(alexnet, "above", ("crop_flip", "cutout")),
            ),
        ),
        Claim(
            4,
            "Teachers trained with mixed samples impair the student, for both architectures.",
            "Abstract",
            "02_students",
            "Students of MixUp and CutMix teachers are less accurate than the baseline teacher's, LeNet and AlexNet.",
            (*differences(lenet, "below", reversed(MIXED)), *differences(alexnet, "below", reversed(MIXED))),
        ),
        Claim(
            5,
            "The same order holds under shift, on CINIC-10's ImageNet part.",
            "Table 2",
            "02_students",
            f"For students of each architecture and for teachers, the rank correlation over the five arms between "
            f"accuracy on the test set and on the shifted one is above {SAME_ORDER}. It is said of these arms alone.",
            tuple(
                correlation(clean, moved, "above", SAME_ORDER)
                for clean, moved in zip((lenet, alexnet, teacher), (*shifted[1:], shifted[0]), strict=True)
            ),
        ),
        Claim(
            6,
            "MNIST: accuracies tie, but the student's test loss is lowest for the baseline teacher.",
            "Table 3",
            "04_mnist",
            f"Students of MixUp and CutMix teachers have a higher test loss than the baseline teacher's, and an "
            f"accuracy within {TIE:g} of it.",
            (
                *differences(mnist_loss, "above", reversed(MIXED)),
                *differences(mnist_accuracy, "within", reversed(MIXED), threshold=TIE),
            ),
        ),
        Claim(
            7,
            "Augmenting only the student, under a baseline teacher, hurts it.",
            "Table 7",
            "03_ablation",
            "Under the baseline teacher, LeNet with each augmentation is less accurate than without.",
            tuple(differences(student_only, "below", reversed(AUGMENTED))),
        ),
        Claim(
            8,
            "Augmenting both teacher and student hurts too.",
            "Table 8",
            "03_ablation",
            "With each augmentation of teacher and student, LeNet is less accurate than with neither augmented.",
            tuple(differences(both, "below", reversed(AUGMENTED))),
        ),
        Claim(
            9,
            "$S_f$ of every augmented teacher is above the baseline's; $S_f$ of MixUp's and CutMix's students is the "
            "lowest.",
            "Table 4",
            "05_dichotomy",
            "$S_f$ of the teacher of each augmentation is above the baseline's; $S_f$ of the students of MixUp and of "
            "CutMix teachers is below that of each of the three other arms, LeNet and AlexNet.",
            (
                *differences(s_teacher, "above", reversed(AUGMENTED)),
                *(
                    effect
                    for column in s_students
                    for other in ("none", "crop_flip", "cutout")
                    for effect in differences(column, "below", MIXED, other)
                ),
            ),
        ),
        Claim(
            10,
            "Discrimination of every augmented teacher is above the baseline's; a less discriminative teacher makes "
            "the better student.",
            "Table 5",
            "05_dichotomy",
            "Discrimination (as Table 5 normalises it) of the teacher of each augmentation is above the baseline's, "
            "and over the five arms its rank correlation with the student's accuracy is negative, LeNet and AlexNet. "
            "The correlation is said of these arms alone.",
            (
                *differences(discrimination, "above", reversed(AUGMENTED)),
                correlation(discrimination, lenet, "below"),
                correlation(discrimination, alexnet, "below"),
            ),
        ),
        Claim(
            11,
            "The baseline's averaged predictions keep more of the human structure between classes (off the diagonal) "
            "than CutMix's.",
            "Figures 3 and 6",
            "05_dichotomy",
            "Off the diagonal, the mean KL divergence of people on one class from the teacher on another (Figure 6) is "
            "higher for CutMix than for the baseline, and the rank correlation of people's and the teacher's mean "
            "confidences is lower.",
            (*differences(kl_off, "above", ["cutmix"]), *differences(order, "below", ["cutmix"])),
        ),
        Claim(
            12,
            "Mixed samples give better calibrated teachers and students; smaller models are better calibrated; the "
            "student's calibration has no direct relation to the teacher's augmentation.",
            "Table 1, Figures 5 and 7",
            "05_dichotomy",
            "ECE of teachers with MixUp and CutMix, and of their students, is below the baseline's; the mean ECE of "
            "LeNet students is below that of teachers; and the rank correlation between a teacher's and its student's "
            "ECE is not rejected as chance by a permutation test over the orders of the arms (which alone shows "
            "nothing: among this many effects, five arms can't reject it).",
            (
                *(e for c in (ece, ece_lenet, ece_alexnet) for e in differences(c, "below", reversed(MIXED))),
                role_difference(ece_lenet, ece, "below"),
                correlation(ece, ece_lenet, "unrelated"),
                correlation(ece, ece_alexnet, "unrelated"),
            ),
        ),
        Claim(
            13,
            "In the latent space CutMix's clusters are more compressed and the semantic groups lie further apart.",
            "Figure 4",
            "05_dichotomy",
            "In the principal components of the penultimate embeddings of automobile, truck, cat and bird, over the "
            "spread of all images: the spread within classes is lower for CutMix than for each other teacher, and the "
            "distance between vehicles and animals is larger.",
            (
                *(e for other in rest for e in differences(spread, "below", ["cutmix"], other)),
                *(e for other in rest for e in differences(distance, "above", ["cutmix"], other)),
            ),
        ),
    )


CLAIMS = declare()


# ---------------------------------------------------------------- judging


@dataclass(frozen=True)
class Finding:
    """What the runs say on one effect."""

    effect: Effect
    interval: Interval
    says: str
    p: float | None = None  # of the permutation test, where that decides
    runs: tuple[str, ...] = ()  # of each network that is compared, over seeds, as `tables.links` has them


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim, under one form of the loss (None: no student is concerned)."""

    claim: Claim
    reduction: str | None
    verdict: str
    findings: tuple[Finding, ...] = ()
    why_not: str = ""  # what is missing, of a claim that is not run
    test_set: str = ""  # what it was judged on

    @property
    def seeds(self) -> list[int]:
        """How many seeds stand behind its effects: networks may have different numbers of them."""
        return sorted({finding.interval.n for finding in self.findings})

    def count(self, says: str) -> int:
        return sum(finding.says == says for finding in self.findings)


def judge(made: Mapping[str, Sequence[Run]], claims: Sequence[Claim] = CLAIMS) -> list[Judgement]:
    """Verdicts from finished runs, by chapter as `study.CHAPTERS` makes them: teachers, students, ablation and mnist.

    Nothing but what is stored of the runs is read; a chapter may be missing, and its claims are then not run.
    """
    for chapter in made:
        if chapter not in CHAPTERS:
            raise ClaimError(f"runs are given for a chapter {chapter!r}: expected some of {', '.join(CHAPTERS)}")
    found = {chapter: index_runs(chapter, runs) for chapter, runs in made.items()}
    cases: list[tuple[Claim, str | None, dict[tuple, Run] | str]] = []
    wanted: dict[tuple[str, Measure], tuple[Run, Any]] = {}
    for claim in claims:
        for reduction in claim.reductions:
            try:
                runs = needed_runs(claim, reduction, found)
                for (column, _, _), run in runs.items():
                    if (run.key, column.measure) not in wanted:
                        wanted[run.key, column.measure] = run, column.measure.of(run)
            except Missing as missing:
                cases.append((claim, reduction, str(missing)))
            else:
                cases.append((claim, reduction, runs))
    measured = measure_all(wanted)
    return [
        Judgement(claim, reduction, NOT_RUN, why_not=runs)
        if isinstance(runs, str)
        else decide(claim, reduction, runs, measured)
        for claim, reduction, runs in cases
    ]


def index_runs(chapter: str, runs: Iterable[Run]) -> dict[tuple, Run]:
    """Students of trained teachers by (architecture, reduction, teacher's arm, student's arm, seed), and the runs of
    the chapter on teachers by ("teacher", None, arm, None, seed). Controls are left out."""
    found: dict[tuple, Run] = {}
    for run in runs:
        spec = run.spec
        if is_taught(spec):
            place = (spec.model, spec.reduction, spec.teacher.augmentations, spec.augmentations, spec.seed)
        elif isinstance(spec, Teacher) and chapter == "teachers":
            place = ("teacher", None, spec.augmentations, None, spec.seed)
        else:
            continue
        if found.setdefault(place, run).key != run.key:
            raise ClaimError(f"{found[place].key} and {run.key} are of one arm and seed: expected one run of each")
    return found


def needed_runs(claim: Claim, reduction: str | None, found: Mapping[str, Mapping[tuple, Run]]) -> dict[tuple, Run]:
    """The runs of a claim's columns by (column, arm, seed): of its own arms, and of what others there are."""
    runs: dict[tuple, Run] = {}
    for column in claim.columns:
        for arm in ARMS:
            images = () if arm == "none" else (arm,)
            of_teacher, of_student = (images if who in column.augmented else () for who in ("teacher", "student"))
            if column.role == "teacher":
                place = ("teacher", None, of_teacher, None)
            else:
                place = (column.role, reduction, of_teacher, of_student)
            here = {at[-1]: run for at, run in found.get(column.chapter, {}).items() if at[:-1] == place}
            if not here and arm in claim.arms:
                who = "teacher" if column.role == "teacher" else f"{network_name(column.role)} student"
                raise Missing(f"no {who} for {arm_name(arm)}")
            runs |= {(column, arm, seed): run for seed, run in here.items()}
    for effect in claim.effects:
        common_seeds(effect, claim.arms, runs)
    return runs


def common_seeds(effect: Effect, arms: Sequence[str], runs: Mapping[tuple, Run]) -> list[int]:
    """The seeds that every arm has in all that an effect compares."""
    places = [(column, arm) for column in effect.columns for arm in arms]
    seeds = set.intersection(*({at[2] for at in runs if at[:2] == place} for place in places))
    if not seeds:
        raise Missing(f"no seed has every arm of {effect.title}")
    return sorted(seeds)


def measure_all(wanted: Mapping[tuple, tuple[Run, Any]]) -> dict[tuple, tuple[float, np.ndarray | None]]:
    """Each measure of each run, with its bootstrap over images (None where it has none): one pass a test set."""
    by_images: dict[tuple, list[tuple]] = defaultdict(list)
    measured: dict[tuple, tuple[float, np.ndarray | None]] = {}
    for at, (run, value) in wanted.items():
        if isinstance(value, Quantity):
            by_images[run.spec.dataset, at[1].part].append(at)
        else:
            measured[at] = value, None
    for places in by_images.values():
        values, drawn = stats.resample_images([wanted[at][1] for at in places])
        measured |= {at: (float(values[i]), drawn[:, i]) for i, at in enumerate(places)}
    return measured


def decide(
    claim: Claim, reduction: str | None, runs: Mapping[tuple, Run], measured: Mapping[tuple, tuple]
) -> Judgement:
    """Every effect of a claim, and the verdict that they give."""
    compared: dict[tuple[Column, ...], tuple[stats.Arms, list[str]]] = {}
    findings = []
    for effect in claim.effects:
        columns = tuple(dict.fromkeys(effect.columns))
        seeds = common_seeds(effect, claim.arms, runs)
        if columns not in compared:
            arms = pooled_arms(columns, seeds, runs)
            compared[columns] = compare(columns, arms, seeds, runs, measured), arms
        of, arms = compared[columns]
        places = [(c, arm) for _, arm, c in effect.terms] or [(c, arm) for c in columns for arm in arms]
        compared_runs = (marks(runs[column, arm, seed] for seed in seeds) for column, arm in places)
        finding = effect.find(of, arms, columns, len(claim.effects))
        findings.append(replace(finding, runs=tuple(dict.fromkeys(compared_runs))))
    test_set = name_of_test_set(next(iter(runs.values())).spec.dataset, "test")
    return Judgement(claim, reduction, verdict(findings), tuple(findings), test_set=test_set)


def pooled_arms(columns: Sequence[Column], seeds: Sequence[int], runs: Mapping[tuple, Run]) -> list[str]:
    """Every arm that has these seeds: the spread over seeds is that of all, so that it does not depend on the claim."""
    return [arm for arm in ARMS if all((column, arm, seed) in runs for column in columns for seed in seeds)]


def compare(
    columns: Sequence[Column],
    arms: Sequence[str],
    seeds: Sequence[int],
    runs: Mapping[tuple, Run],
    measured: Mapping[tuple, tuple],
) -> stats.Arms:
    """What was measured in some columns, of every arm and seed."""
    values = np.empty((len(arms), len(seeds), len(columns)))
    drawn = np.full((stats.RESAMPLES, *values.shape), np.nan)
    for at in np.ndindex(values.shape):
        arm, seed, column = arms[at[0]], seeds[at[1]], columns[at[2]]
        values[at], over_images = measured[runs[column, arm, seed].key, column.measure]
        if over_images is not None:
            drawn[(slice(None), *at)] = over_images
    return stats.arms(values, drawn)


def verdict(findings: Iterable[Finding]) -> str:
    findings = list(findings)
    if any(finding.says == AGAINST for finding in findings):
        return FAILS
    speaking = [finding for finding in findings if finding.effect.expected != "unrelated"]
    return HOLDS if all(finding.says == FOR for finding in speaking) else UNDECIDED


# ---------------------------------------------------------------- the page


def verdict_table(judgements: Sequence[Judgement], name: str = "tab-verdicts") -> Markdown:
    """One row a claim: its first effect in the paper and here, how its effects speak, and the verdicts."""
    header = ["", "Claim, and its first effect", "Paper", "Formula", "Released code", "Seeds"]
    align = ["---:", ":---", "---:", ":---", ":---", "---:"]
    rows, data = [], []
    for claim, cases in grouped(judgements):
        data += [as_row(case) for case in cases]
        rows.append([
            f"{{ref}}`{claim.id} <tab-claim-{claim.id}>`",  # to its effects
            f"{claim.statement} [{claim.source}]({claim.page}.ipynb)<br>*{claim.effects[0].title}*",
            shown(claim.effects[0].paper()),
            *shown_cases(cases),
            " / ".join(str(n) for n in sorted({n for case in cases for n in case.seeds})) or "–",
        ])  # fmt: skip
    said = f"The paper's claims, and whether they hold. {caption(judgements)}"
    return directive([header, align, *rows], said, name, pd.DataFrame(data))


def as_row(case: Judgement) -> dict:
    """A verdict as a row of data."""
    of = case.claim
    return {
        "claim": of.id, "statement": of.statement, "source": of.source, "loss": case.reduction,
        "verdict": case.verdict, "why not run": case.why_not,
    } | {says: case.count(says) for says in (FOR, AGAINST, OPEN)}  # fmt: skip


def effect_table(judgements: Sequence[Judgement], claim: int) -> Markdown:
    """Every effect of one claim: the paper's number, ours under each form of the loss, and what each says."""
    of, cases = next((of, cases) for of, cases in grouped(judgements) if of.id == claim)
    reasons = dict.fromkeys(case.why_not for case in cases if case.verdict == NOT_RUN)
    cases = [case for case in cases if case.verdict != NOT_RUN]
    header, align = ["Effect", "Expected", "Paper", "says"], [":---", ":---", "---:", ":---"]
    for case in cases:
        header += [{None: "Ours", "batchmean": "Formula", "mean": "Released code"}[case.reduction], "says"]
        align += ["---:", ":---"]
    if cases:
        header.append("Runs")
        align.append("---:")
    rows, data = [], []
    for i, effect in enumerate(of.effects):
        printed = effect.paper()
        about = {"effect": effect.title, "expected": shown_expectation(effect), "paper": printed}
        data += [
            about
            | {"loss": case.reduction, "says": case.findings[i].says, "p": case.findings[i].p}
            | case.findings[i].interval._asdict()
            | {"runs": " ".join(case.findings[i].runs)}
            for case in cases
        ] or [about]
        row = [effect.title, shown_expectation(effect), shown(printed)]
        row.append("–" if printed is None or effect.expected == "unrelated" else effect.says(printed, printed))
        for case in cases:
            row += [shown_interval(case.findings[i].interval), shown_says(case.findings[i])]
        if cases:
            row.append(" · ".join(" / ".join(map(links, case.findings[i].runs)) for case in cases))
        rows.append(row)
    why = f" Not run: {'; '.join(reasons)}." if reasons else ""
    text = f"Claim {of.id}: {of.statement} *Rule:* {of.rule}{why}"
    return directive([header, align, *rows], text, f"tab-claim-{of.id}", pd.DataFrame(data))


def grouped(judgements: Sequence[Judgement]) -> Iterator[tuple[Claim, list[Judgement]]]:
    claims = dict.fromkeys(judgement.claim for judgement in judgements)
    for claim in claims:
        yield claim, [judgement for judgement in judgements if judgement.claim == claim]


def shown_cases(cases: Sequence[Judgement]) -> list[str]:
    """A claim's verdicts, a cell for each form of the loss."""
    cells = [shown_case(case) for case in cases]
    return cells if cases[0].claim.of_students else [*cells, "no student"]


def shown_case(case: Judgement) -> str:
    """A verdict, the interval of the first effect, and how many effects speak how."""
    if case.verdict == NOT_RUN:
        return f"**{NOT_RUN}**: {case.why_not}"
    estimate, _, interval = shown_interval(case.findings[0].interval).partition(" ")
    return f"**{case.verdict}**<br>{estimate} {interval.replace(' (', '<br>(').replace(' ', NO_BREAK)}<br>{tally(case)}"


def tally(case: Judgement) -> str:
    """How many of a claim's effects speak how: "2 for, 0 against, 6 open"."""
    return ", ".join(f"{case.count(says)}{NO_BREAK}{says}" for says in (FOR, AGAINST, OPEN))


def caption(judgements: Sequence[Judgement]) -> str:
    """What the numbers of the table are."""
    run = [case for case in judgements if case.verdict != NOT_RUN]
    if not run:
        return "Nothing has been run."
    text = "Intervals are at 95%, widened after Bonferroni for the number of effects in a claim, "
    alone = {n == 1 for case in run for n in case.seeds}
    text += {
        (False,): "over seeds and test images.",
        (True,): "over the test images alone, as there is one seed.",
        (False, True): "over seeds and test images; where there is one seed, over the test images alone.",
    }[tuple(sorted(alone))]
    sets = dict.fromkeys(case.test_set for case in run)
    return f"{text} Judged on {', '.join(sets)}."


def shown(value: float | None) -> str:
    return "–" if value is None else signed(value)


def shown_interval(interval: Interval) -> str:
    if np.isnan(interval.low):
        return f"{signed(interval.mean)} (one seed: no interval)"
    alone = " (images alone)" if interval.n == 1 else ""
    return f"{signed(interval.mean)} [{signed(interval.low)}, {signed(interval.high)}]{alone}"


def shown_says(finding: Finding) -> str:
    return finding.says if finding.p is None else f"{finding.says} (p = {finding.p:.2f})"


def shown_expectation(effect: Effect) -> str:
    if effect.expected == "unrelated":
        return "no relation"
    return f"{effect.expected} {'±' if effect.expected == 'within' else ''}{effect.threshold:g}"


def signed(value: float) -> str:
    return minus(f"{value:+.3f}")
