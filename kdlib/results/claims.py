"""The paper's thirteen claims: what each comes to in numbers, and what our runs say on it.

A claim is a list of effects: contrasts between arms (`kdlib.results.contrasts`), each with the side it must lie on. The
first is the primary one. Effects that share a `part` are a part of the claim, which can hold without the others.

An effect is *nil* if its whole 95 % interval lies within the bound that its measure declares (`Measure.nil`, half a
point of accuracy); else *for* the claim or *against* it if the whole interval is on one side of the threshold, else
*open*, as it is where networks from different kinds of devices are compared. From one seed there is no interval, and
nothing can be told. A rank correlation over five augmentations is not testable: chance alone puts two orders of five
in full agreement once in 120 cases. Whether our interval excludes the size that the paper prints is another question.

A claim is *refuted* if its primary effect is against it after Holm's correction for the claim's effects; it *holds* if
all its effects are for it (which needs no correction); it *holds in part* if all effects of a part are; else there is
*no effect* if the primary one is nil, else it is *undecided*. It *can't be told* from one seed of the primary effect.
Claims on students are judged under each form of the loss and each budget that is stored.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from kdlib import KdlibError
from kdlib.results import measures, paper
from kdlib.results.contrasts import LEVEL, Cells, Kind
from kdlib.results.measures import Measure
from kdlib.results.names import AUGMENTATIONS, BASELINE, LOSSES, augmentation_name, listing, network_name
from kdlib.results.names import test_set_name as name_of_test_set

CHAPTERS = ("teachers", "students", "ablation", "mnist")  # whose runs the claims are judged on
ALL = tuple(AUGMENTATIONS)
AUGMENTED = ALL[1:]
MIXED = ("mixup", "cutmix")
TIE = 0.005  # half a point of accuracy: claim 6
FOR, AGAINST, OPEN, NIL, ONE_SEED = "for", "against", "open", "nil", "one seed"
HOLDS, IN_PART, REFUTED, NO_EFFECT, UNDECIDED = "holds", "holds in part", "refuted", "no effect", "undecided"
UNTOLD, NOT_TESTABLE, NOT_RUN = "can't be told", "not testable here", "not run"


class ClaimError(KdlibError, ValueError):
    """Runs that the claims can't be judged on."""


class Missing(Exception):
    """Why an effect is not run."""


# ---------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Column:
    """A measure of one kind of network, to be had under every augmentation; `table` is where the paper prints it."""

    measure: Measure
    network: str  # "teacher", or a student's architecture
    table: int | None = None
    chapter: str = "students"
    augmented: str = "teacher"  # whose images: "teacher", "student" or "both"
    split: str = "test"

    def arm(self, augmentation: str) -> tuple[str, str]:
        """As `kdlib.results.contrasts` has it."""
        if self.network == "teacher":
            return "alone", augmentation
        of = {"teacher": (1, 0), "student": (0, 1), "both": (1, 1)}[self.augmented]
        return tuple(augmentation if applied else BASELINE for applied in of)

    @property
    def test_set(self) -> str:
        """In the paper's own terms."""
        return "cinic10" if self.split == "shifted" else "mnist" if self.chapter == "mnist" else "cifar10"

    @property
    def who(self) -> str:
        """The networks, whose images are augmented, and the data set where it is not CIFAR-10."""
        if self.network == "teacher":
            return "teachers"
        augmented = {"teacher": "of augmented teachers", "student": "augmented alone"}
        whose = augmented.get(self.augmented, "augmented like their teachers")
        return f"{network_name(self.network)} students {whose}{' on MNIST' if self.chapter == 'mnist' else ''}"

    @property
    def quantity(self) -> str:
        return self.measure.title + (" under shift" if self.split == "shifted" else "")

    @property
    def title(self) -> str:
        return f"{self.quantity} of {self.who}"

    def printed(self, augmentation: str) -> float | None:
        if self.table is None:
            return None
        return paper.value(self.table, augmentation, self.network, self.test_set, self.measure.printed)


@dataclass(frozen=True)
class Effect:
    """One number with a side: a contrast (`terms`: weight, augmentation, column), or a rank correlation over the five
    augmentations (`ranked`: two columns), which is not testable."""

    title: str
    expected: str  # "above", "below" or "within"
    threshold: float = 0.0
    terms: tuple[tuple[float, str, Column], ...] = ()
    ranked: tuple[Column, ...] = ()
    part: str = ""  # of the claim, in words

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.ranked or tuple(dict.fromkeys(column for _, _, column in self.terms))

    @property
    def of_students(self) -> bool:
        return any(column.network != "teacher" for column in self.columns)

    def printed(self) -> float | None:
        """The same number of the paper's printed values; None where it prints none."""
        if any(column.table is None for column in self.columns):
            return None
        if self.ranked:
            return rank_correlation(*([column.printed(a) for a in ALL] for column in self.ranked))
        return float(sum(weight * column.printed(augmentation) for weight, augmentation, column in self.terms))

    def says(self, low: float, high: float) -> str:
        """What an interval says."""
        if np.isnan(low):
            return ONE_SEED
        t = self.threshold
        if self.expected == "within":
            return FOR if -t < low and high < t else AGAINST if low > t or high < -t else OPEN
        nil = self.columns[0].measure.nil
        if -nil < low and high < nil:
            return NIL
        low, high = (low, high) if self.expected == "above" else (-high, -low)
        return FOR if low > t else AGAINST if high < t else OPEN


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's; 0 where one side is constant.

    >>> rank_correlation([1, 2, 3], [10, 30, 20])
    0.5
    """
    return 0.0 if len(set(x)) == 1 or len(set(y)) == 1 else float(spearmanr(x, y).statistic)


def differences(
    column: Column,
    expected: str,
    some: Sequence[str],
    others: Sequence[str] = (BASELINE,),
    part: str = "",
    threshold=0.0,
) -> list[Effect]:
    """Each of some augmentations less each of others."""
    return [
        Effect(
            f"{column.title}: {augmentation_name(one)} less {_less(other)}", expected, threshold,
            ((1.0, one, column), (-1.0, other, column)), part=part,
        )
        for other in others
        for one in some
    ]  # fmt: skip


def _less(augmentation: str) -> str:
    return "the baseline" if augmentation == BASELINE else augmentation_name(augmentation)


def mean_difference(
    column: Column, expected: str, some: Sequence[str], others: Sequence[str] = (BASELINE,), part: str = ""
) -> Effect:
    """The mean of some augmentations less that of others."""
    terms = [(1 / len(some), one, column) for one in some] + [(-1 / len(others), one, column) for one in others]
    of, less = (
        _less(side[0]) if len(side) == 1 else
        "mean of all augmentations" if set(side) == set(AUGMENTED) else
        "mean of the others" if set(side) == set(ALL) - set(rest) else
        f"mean of {listing(map(augmentation_name, side))}"
        for side, rest in ((some, others), (others, some))
    )  # fmt: skip
    return Effect(f"{column.title}: {of} less {less}", expected, terms=tuple(terms), part=part)


def correlation(x: Column, y: Column, expected: str, threshold: float = 0.0) -> Effect:
    both = f"{x.quantity} with {y.title}" if x.who == y.who else f"{x.title} with {y.title}"
    return Effect(f"rank correlation over five augmentations: {both}", expected, threshold, ranked=(x, y))


# ---------------------------------------------------------------- the claims


@dataclass(frozen=True)
class Claim:
    """A statement of the paper; the first of its effects is the primary one."""

    id: int
    statement: str
    source: str
    page: str  # the chapter that shows it
    rule: str  # when it holds, in words
    effects: tuple[Effect, ...]

    @property
    def of_students(self) -> bool:
        return any(effect.of_students for effect in self.effects)


def declare() -> tuple[Claim, ...]:
    """The thirteen claims."""
    teacher = Column(measures.ACCURACY, "teacher", 1, "teachers")
    lenet, alexnet = (Column(measures.ACCURACY, network, 1) for network in ("lenet", "alexnet"))
    moved = Column(measures.ACCURACY, "teacher", 2, "teachers", split="shifted")
    moved_lenet, moved_alexnet = (
        Column(measures.ACCURACY, network, 2, split="shifted") for network in ("lenet", "alexnet")
    )
    mnist_accuracy, mnist_loss = (Column(one, "lenet", 3, "mnist") for one in (measures.ACCURACY, measures.LOSS))
    student_only = Column(measures.ACCURACY, "lenet", 7, "ablation", "student")
    both = Column(measures.ACCURACY, "lenet", 8, "ablation", "both")
    s_teacher = Column(measures.SEPARABILITY, "teacher", 4, "teachers")
    s_lenet, s_alexnet = (Column(measures.SEPARABILITY, network, 4) for network in ("lenet", "alexnet"))
    discrimination = Column(measures.DISCRIMINATION, "teacher", 5, "teachers")
    ece = Column(measures.ECE, "teacher", 1, "teachers")
    ece_lenet, ece_alexnet = (Column(measures.ECE, network, 1) for network in ("lenet", "alexnet"))
    kl_off, order, spread, distance = (
        Column(one, "teacher", None, "teachers")
        for one in (measures.KL_OFF_DIAGONAL, measures.HUMAN_ORDER, measures.SPREAD, measures.DISTANCE)
    )
    augmented, mixed, plain = AUGMENTED[::-1], MIXED[::-1], (BASELINE, "crop_flip", "cutout")
    rest = (*plain, "mixup")
    share = 1 / len(ALL)
    smaller = Effect(
        f"{ece_lenet.title} less that of teachers, mean of augmentations", "below",
        terms=tuple((sign * share, one, of) for sign, of in ((1, ece_lenet), (-1, ece)) for one in ALL),
        part="smaller models are better calibrated",
    )  # fmt: skip

    def separability(column: Column) -> list[Effect]:
        part = f"$S_f$ of MixUp's and CutMix's {network_name(column.network)} students is the lowest"
        return differences(column, "below", MIXED, plain, part)

    def calibration(column: Column) -> list[Effect]:
        return differences(column, "below", mixed, part=f"mixed samples give better calibrated {column.who}")

    def claim(id: int, statement: str, source: str, page: str, rule: str, *effects: Effect) -> Claim:
        return Claim(id, statement, source, page, rule, effects)

    raises, most = "every augmentation raises the teacher's accuracy", "CutMix raises it most"
    of_lenet, of_alexnet = "LeNet students are impaired", "AlexNet students are impaired"
    tighter, apart = "CutMix's clusters are more compressed", "CutMix's semantic groups lie further apart"
    return (
        claim(
            1,
            "Every augmentation raises the teacher's CIFAR-10 accuracy; CutMix most.",
            "Table 1",
            "01_teachers",
            "The teacher of each augmentation is more accurate than the baseline, and CutMix's more than each other's.",
            mean_difference(teacher, "above", AUGMENTED),
            *differences(teacher, "above", augmented, part=raises),
            *differences(teacher, "above", ["cutmix"], rest[1:], most),
        ),
        claim(
            2,
            "LeNet: the student of the baseline teacher is the best; every augmented teacher makes it worse.",
            "Table 1, Section 4.1",
            "02_students",
            "The LeNet student of each augmented teacher is less accurate than the baseline teacher's.",
            mean_difference(lenet, "below", AUGMENTED),
            *differences(lenet, "below", mixed, part="MixUp's and CutMix's teachers make it worse"),
            *differences(lenet, "below", ("cutout", "crop_flip"), part="Cutout's and crop and flip's do"),
        ),
        claim(
            3,
            "AlexNet: students of crop/flip and Cutout teachers beat the baseline's, students of MixUp and CutMix "
            "teachers fall behind it.",
            "Table 1, Section 4.2",
            "02_students",
            "Against the baseline teacher's, AlexNet students of crop/flip and Cutout teachers are more accurate, and "
            "those of MixUp and CutMix teachers less.",
            mean_difference(alexnet, "below", MIXED, ("crop_flip", "cutout")),
            *differences(alexnet, "below", mixed, part="students of MixUp and CutMix teachers fall behind"),
            *differences(alexnet, "above", ("crop_flip", "cutout"), part="those of the other two get ahead"),
        ),
        claim(
            4,
            "Teachers trained with mixed samples impair the student, for both architectures.",
            "Abstract",
            "02_students",
            "Students of MixUp and CutMix teachers are less accurate than the baseline teacher's, LeNet and AlexNet.",
            mean_difference(lenet, "below", MIXED, part=of_lenet),
            mean_difference(alexnet, "below", MIXED, part=of_alexnet),
            *differences(lenet, "below", mixed, part=of_lenet),
            *differences(alexnet, "below", mixed, part=of_alexnet),
        ),
        claim(
            5,
            "The same order holds under shift, on CINIC-10's ImageNet part.",
            "Table 2",
            "02_students",
            "Five augmentations, and accuracies under shift from so few images, are too few to test an order. The rank "
            "correlations between accuracy on the test set and on the shifted one are told as they are.",
            *(
                correlation(*pair, "above", 0.5)
                for pair in ((lenet, moved_lenet), (alexnet, moved_alexnet), (teacher, moved))
            ),
        ),
        claim(
            6,
            "MNIST: accuracies tie, but the student's test loss is lowest for the baseline teacher.",
            "Table 3",
            "04_mnist",
            f"Students of MixUp and CutMix teachers have a higher test loss than the baseline teacher's, and an "
            f"accuracy within {TIE:g} of it.",
            mean_difference(mnist_loss, "above", MIXED),
            *differences(mnist_loss, "above", mixed, part="the test loss is lowest for the baseline teacher"),
            *differences(mnist_accuracy, "within", mixed, part="accuracies tie", threshold=TIE),
        ),
        claim(
            7,
            "Augmenting only the student, under a baseline teacher, hurts it.",
            "Table 7",
            "03_ablation",
            "Under the baseline teacher, LeNet with each augmentation is less accurate than without.",
            mean_difference(student_only, "below", AUGMENTED),
            *differences(student_only, "below", mixed, part="MixUp and CutMix hurt it"),
            *differences(student_only, "below", ("cutout", "crop_flip"), part="Cutout and crop and flip do"),
        ),
        claim(
            8,
            "Augmenting both teacher and student hurts too.",
            "Table 8",
            "03_ablation",
            "With each augmentation of teacher and student, LeNet is less accurate than with neither augmented.",
            mean_difference(both, "below", AUGMENTED),
            *differences(both, "below", mixed, part="MixUp and CutMix hurt"),
            *differences(both, "below", ("cutout", "crop_flip"), part="Cutout and crop and flip do"),
        ),
        claim(
            9,
            "$S_f$ of every augmented teacher is above the baseline's; $S_f$ of MixUp's and CutMix's students is the "
            "lowest.",
            "Table 4",
            "05_dichotomy",
            "$S_f$ of the teacher of each augmentation is above the baseline's; $S_f$ of the students of MixUp and of "
            "CutMix teachers is below that of each of the three other teachers', LeNet and AlexNet.",
            mean_difference(s_teacher, "above", AUGMENTED),
            *differences(s_teacher, "above", augmented, part="$S_f$ of every augmented teacher is higher"),
            *separability(s_lenet),
            *separability(s_alexnet),
        ),
        claim(
            10,
            "Discrimination of every augmented teacher is above the baseline's; a less discriminative teacher makes "
            "the better student.",
            "Table 5",
            "05_dichotomy",
            "Discrimination (as Table 5 normalises it) of each augmentation's teacher is above the baseline's; its "
            "rank correlation with the student's accuracy, which the paper has negative, is not testable.",
            mean_difference(discrimination, "above", AUGMENTED),
            *differences(discrimination, "above", augmented, part="every augmented teacher discriminates more"),
            correlation(discrimination, lenet, "below"),
            correlation(discrimination, alexnet, "below"),
        ),
        claim(
            11,
            "The baseline's averaged predictions keep more of the human structure between classes (off the diagonal) "
            "than CutMix's.",
            "Figures 3 and 6",
            "05_dichotomy",
            "Off the diagonal, the mean KL divergence of people on one class from the teacher on another (Figure 6) is "
            "higher for CutMix than for the baseline, and the rank correlation of people's and the teacher's mean "
            "confidences is lower. The first falls with a teacher's confidence, whatever its order of classes.",
            *differences(kl_off, "above", ["cutmix"], part="CutMix's predictions are further from people's"),
            *differences(order, "below", ["cutmix"], part="CutMix's order of wrong classes is less like people's"),
        ),
        claim(
            12,
            "Mixed samples give better calibrated teachers and students; smaller models are better calibrated; the "
            "student's calibration has no direct relation to the teacher's augmentation.",
            "Table 1, Figures 5 and 7",
            "05_dichotomy",
            "ECE of teachers with MixUp and CutMix, and of their students, is below the baseline's; the mean ECE of "
            "LeNet students is below that of teachers. That two calibrations are unrelated is not testable.",
            mean_difference(ece, "below", MIXED),
            *(effect for column in (ece, ece_lenet, ece_alexnet) for effect in calibration(column)),
            smaller,
            correlation(ece, ece_lenet, "above"),
            correlation(ece, ece_alexnet, "above"),
        ),
        claim(
            13,
            "In the latent space CutMix's clusters are more compressed and the semantic groups lie further apart.",
            "Figure 4",
            "05_dichotomy",
            "In the principal components of the penultimate embeddings of automobile, truck, cat and bird, over the "
            "spread of all images: the spread within classes is lower for CutMix than for each other teacher, and the "
            "distance between vehicles and animals is larger.",
            mean_difference(spread, "below", ["cutmix"], rest),
            *differences(spread, "below", ["cutmix"], rest, tighter),
            *differences(distance, "above", ["cutmix"], rest, apart),
        ),
    )


CLAIMS = declare()


# ---------------------------------------------------------------- judging


@dataclass(frozen=True)
class Finding:
    """What the runs say on one effect; NaN and "" where there is no such number."""

    effect: Effect
    says: str
    estimate: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan
    n: int = 0  # teachers' seeds
    students: int = 0  # of each teacher
    clear: bool = False
    one_device: bool = True
    excluded: bool | None = None  # the size that the paper prints; None where it prints none of these data, or one seed
    runs: str = ""
    why_not: str = ""  # what is missing, of an effect that is not run


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim, under one form of the loss and budget ("" where no student is concerned)."""

    claim: Claim
    loss: str
    budget: str
    verdict: str
    held: tuple[str, ...]  # the parts that hold
    findings: tuple[Finding, ...]
    test_set: str = ""  # what it was judged on

    @property
    def primary(self) -> Finding:
        return self.findings[0]


def judge(made: Mapping[str, pd.DataFrame], claims: Sequence[Claim] = CLAIMS) -> list[Judgement]:
    """Verdicts from the frames of `CHAPTERS`, some of which may be missing: what they hold is then not run.

    A claim on students is judged once for each form of the loss and each `budget` in the frames.
    """
    if unknown := set(made) - set(CHAPTERS):
        raise ClaimError(f"frames are given for {listing(sorted(unknown))}: expected some of {', '.join(CHAPTERS)}")
    court = Court(made)
    losses = [*LOSSES, *(loss for loss in court.all("loss") if loss and loss not in LOSSES)]
    budgets = court.all("budget", of_students=True) or [""]
    cases = [
        (claim, loss, budget)
        for claim in claims
        for loss, budget in (itertools.product(losses, budgets) if claim.of_students else [("", "")])
    ]
    return [court.judge(*case) for case in cases]


class Court:
    """The frames, and what was measured of them, each once."""

    def __init__(self, made: Mapping[str, pd.DataFrame]):
        self.made = made
        self.cells: dict[tuple, Cells] = {}

    def all(self, column: str, of_students: bool = False) -> list[str]:
        frames = [rows[rows["loss"] != ""] if of_students else rows for rows in self.made.values()]
        return list(dict.fromkeys(value for rows in frames for value in rows[column]))

    def judge(self, claim: Claim, loss: str, budget: str) -> Judgement:
        findings = []
        for effect in claim.effects:
            try:
                findings.append(self.find(effect, loss, budget))
            except Missing as missing:
                findings.append(Finding(effect, NOT_RUN, why_not=str(missing)))
        chapters = dict.fromkeys(column.chapter for effect in claim.effects for column in effect.columns)
        datasets = {one for chapter in chapters if chapter in self.made for one in self.made[chapter]["dataset"]}
        test_set = listing(name_of_test_set(dataset, "test") for dataset in sorted(datasets)) if datasets else ""
        return Judgement(claim, loss, budget, *verdict(findings), tuple(findings), test_set)

    def find(self, effect: Effect, loss: str, budget: str) -> Finding:
        """What the runs say on an effect; raises `Missing` where some are not there."""
        if effect.ranked:
            levels = [[self.level(column, loss, budget, one) for one in ALL] for column in effect.ranked]
            return Finding(effect, NOT_TESTABLE, rank_correlation(*levels))
        (one, split), *others = dict.fromkeys((column.measure, column.split) for column in effect.columns)
        if others:
            raise ClaimError(f"{effect.title} has several measures: expected a contrast of one")
        cells = self.measured(tuple(dict.fromkeys(column.chapter for column in effect.columns)), one, split)
        weights: dict[tuple, float] = {}
        for weight, augmentation, column in effect.terms:
            at = self.place(cells, column, loss, budget, augmentation)
            weights[at] = weights.get(at, 0.0) + weight
        rows = cells.row(weights, {})
        if not rows:
            raise Missing(f"no seed has every network of {effect.title}")
        row = rows[0]
        told = {
            name: row[name] for name in ("estimate", "low", "high", "p", "n", "students", "clear", "one_device", "runs")
        }
        says = effect.says(row["low"], row["high"]) if row["one_device"] or np.isnan(row["low"]) else OPEN
        return Finding(effect, says, excluded=excluded(effect, row), **told)

    def measured(self, chapters: tuple[str, ...], measure: Measure, split: str) -> Cells:
        at = chapters, measure, split
        if at not in self.cells:
            frames = [self.made[chapter] for chapter in chapters if chapter in self.made]
            if len(frames) < len(chapters):
                raise Missing(f"no runs of the chapter {listing(c for c in chapters if c not in self.made)}")
            whole = pd.concat(frames, ignore_index=True).drop_duplicates(["mark", "budget"])
            self.cells[at] = Cells(whole, measure, split)
        return self.cells[at]

    def place(self, cells: Cells, column: Column, loss: str, budget: str, augmentation: str) -> tuple[Kind, tuple]:
        """Where a network of a column stands in the cells."""
        teacher, arm = column.network == "teacher", column.arm(augmentation)
        kinds = [
            kind
            for kind, arms in cells.arms.items()
            if arm in arms
            and (kind in cells.teachers if teacher else
                 (kind.network, kind.loss, kind.budget) == (column.network, loss, budget))
        ]  # fmt: skip
        if not kinds:
            who = "teacher" if teacher else f"{network_name(column.network)} student"
            raise Missing(f"no {who} with {column.measure.title} for {augmentation_name(augmentation)}")
        if len(kinds) > 1:
            raise ClaimError(f"{column.title}: there are {len(kinds)} sizes or lengths, expected one a budget")
        return kinds[0], arm

    def level(self, column: Column, loss: str, budget: str, augmentation: str) -> float:
        """The mean of a column over all runs."""
        cells = self.measured((column.chapter,), column.measure, column.split)
        kind, arm = self.place(cells, column, loss, budget, augmentation)
        return float(cells.values[list(cells.arms[kind][arm].values())].mean())


def excluded(effect: Effect, row: Mapping) -> bool | None:
    """Whether an interval has no number that the paper's printed digits could stand for."""
    printed, column = effect.printed(), effect.columns[0]
    ours = name_of_test_set(row["dataset"], row["split"])
    if printed is None or np.isnan(row["low"]) or ours != paper.PAPER_TEST_SETS[column.test_set]:
        return None
    rounding = sum(abs(weight) * paper.half_a_digit(column.table) for weight, _, column in effect.terms)
    return bool(row["low"] > printed + rounding or row["high"] < printed - rounding)


def verdict(findings: Sequence[Finding]) -> tuple[str, tuple[str, ...]]:
    """A claim's verdict, and those of its parts that hold."""
    primary, says = findings[0], {finding.says for finding in findings}
    parts = dict.fromkeys(finding.effect.part for finding in findings if finding.effect.part)
    held = tuple(part for part in parts if {one.says for one in findings if one.effect.part == part} == {FOR})
    if primary.says in (NOT_RUN, NOT_TESTABLE):
        return primary.says, ()
    if primary.says == ONE_SEED:
        return UNTOLD, ()
    if primary.says == AGAINST and holm([against(one) for one in findings])[0] <= 1 - LEVEL:
        return REFUTED, held
    if says == {FOR}:
        return HOLDS, held
    if held:
        return IN_PART, held
    return NO_EFFECT if primary.says == NIL else UNDECIDED, ()


def by_one_augmentation(case: Judgement) -> str:
    """The verdict if the first effect of one augmentation alone were the primary one, and not a mean's."""
    alone = [finding for finding in case.findings if len(finding.effect.terms) == 2][:1]
    return verdict([*alone, *(finding for finding in case.findings if finding not in alone)])[0]


def against(finding: Finding) -> float:
    """p of an effect that lies against the claim; 1 where it does not, or where it has no side or no interval."""
    sign = {"above": -1, "below": 1}.get(finding.effect.expected, 0)
    return finding.p if sign * finding.estimate > 0 and not np.isnan(finding.p) else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted after Holm (1979), in the order given.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    order, adjusted, largest = np.argsort(ps, kind="stable"), [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def tidy(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """A row an effect: claim, loss, budget and verdict, the effect with the paper's number and ours, what it says."""
    return pd.DataFrame(
        {
            "claim": case.claim.id, "loss": case.loss, "budget": case.budget, "verdict": case.verdict,
            "effect": finding.effect.title, "measure": finding.effect.columns[0].measure.name,
            "primary": finding is case.primary, "part": finding.effect.part,
            "expected": finding.effect.expected, "threshold": finding.effect.threshold,
            "paper": finding.effect.printed(), "estimate": finding.estimate, "low": finding.low, "high": finding.high,
            "p": finding.p, "n": finding.n, "students": finding.students, "one_device": finding.one_device,
            "says": finding.says, "excluded": finding.excluded, "runs": finding.runs, "why_not": finding.why_not,
        }
        for case in judgements
        for finding in case.findings
    )  # fmt: skip
