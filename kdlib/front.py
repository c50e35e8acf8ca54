"""The front page: what was found, in sentences, a figure and a table, all of it from stored runs.

The sentences are chosen by what the runs say, so that they are true of any edition. "Clearly" always means that the
whole of a 95% interval lies on one side of zero; the intervals of arms are those by which claims 1 to 3 are judged
(`kdlib.claims`), those of the controls are made in the same way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D

from kdlib import claims, tables
from kdlib.claims import Judgement
from kdlib.figures import GREY, Picture, canvas, colour, styled
from kdlib.runs import Run
from kdlib.stats import Interval
from kdlib.tables import (
    BASELINE, CONTROLS, SHORT_LOSSES, Markdown, arm_name, directive, listing, loss_name, minus, network_name,
)  # fmt: skip

HEADLINE = 4  # the claim that the paper's abstract makes of mixed samples
OF_STUDENTS = {"lenet": 2, "alexnet": 3}  # the claims that compare the students of every arm
VERDICTS = {  # in the singular and the plural
    claims.HOLDS: ("holds", "hold"),
    claims.FAILS: ("does not hold", "do not hold"),
    claims.UNDECIDED: ("is undecided", "are undecided"),
    claims.NOT_RUN: ("is not run", "are not run"),
}
WORTH = {
    "alone": "Beside the same network without a teacher, the student of the baseline teacher is {}",
    "random": "Beside the student of a teacher that was never trained, it is {}",
}
COUNTED = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Difference:
    """How much more accurate one student is than the baseline teacher's, architecture and loss being the same."""

    model: str
    reduction: str
    arm: str  # of the teacher's images, or a control
    interval: Interval
    paper: float | None = None

    @property
    def side(self) -> int:
        """1 if it is clearly above zero, -1 if clearly below, else 0."""
        return int(self.interval.low > 0) - int(self.interval.high < 0)


def differences(judgements: Sequence[Judgement], students: Sequence[Run]) -> list[Difference]:
    """Of every arm that the paper has, and of both controls, as far as there are runs."""
    found = []
    for model, claim in OF_STUDENTS.items():
        for case in judgements:
            if case.claim.id == claim and case.reduction is not None:
                found += [
                    Difference(model, case.reduction, one.effect.terms[0][1], one.interval, one.effect.paper())
                    for one in case.findings
                ]
                found += of_controls(students, model, case.reduction)
    return found


def of_controls(students: Sequence[Run], model: str, reduction: str) -> list[Difference]:
    """What no teacher and a random one are worth beside the baseline's; the two intervals cover together."""
    groups = tables.students_by_arm(students, model, reduction)
    controls = tables.controls(students, model, reduction)
    if BASELINE not in groups or not controls:
        return []
    intervals = tables.paired_accuracy(groups | controls, [(control, BASELINE) for control in controls])
    return [Difference(model, reduction, control, one) for control, one in zip(controls, intervals, strict=True)]


# ---------------------------------------------------------------- the sentences


def sentences(profile: str, judgements: Sequence[Judgement], found: Sequence[Difference]) -> Markdown:
    """The finding: the headline, what augmented teachers do, what a teacher is worth at all, how many claims hold."""
    said = [of_headline(judgements), of_mixed(judgements, found), of_distillation(found), of_claims(judgements)]
    return Markdown("\n\n".join([*warning(profile), *filter(None, said)]))


def warning(profile: str) -> list[str]:
    """What this edition can't say, before anything else; nothing of the full study."""
    said = {
        "demo": "This is the edition `demo`: narrow networks on small images of digits. It shows the study at work and "
        "says nothing of the paper's claims, whatever the figure and the table below may look like.",
        "cpu": "This is the edition `cpu`: its networks are reduced in width and in length of training, and what it "
        "finds is of these networks and not of the paper's.",
    }
    if profile not in said:
        return []
    return [f":::{{admonition}} An edition with limits\n:class: warning\n{said[profile]}\n:::"]


def of_headline(judgements: Sequence[Judgement]) -> str:
    """The verdict on the paper's headline and how its effects speak; empty where it has not been run."""
    cases = [case for case in judgements if case.claim.id == HEADLINE and case.verdict != claims.NOT_RUN]
    said = [f"{VERDICTS[case.verdict][0]} under {loss_name(case.reduction)} ({claims.tally(case)})" for case in cases]
    if not said:
        return ""
    return (
        "**The headline.** Do teachers trained on mixed samples impair their students? The paper's claim that they do, "
        f"for both architectures, {listing(said)}."
    )


def of_mixed(judgements: Sequence[Judgement], found: Sequence[Difference]) -> str:
    mixed = [one for one in found if one.arm in claims.MIXED]
    if not mixed:
        return "No students of teachers under MixUp and CutMix have been run."
    teacher = next((f for j in judgements if j.claim.id == 1 for f in j.findings), None)
    start = ""
    if teacher is not None:
        interval = teacher.interval
        how = (
            "clearly more" if interval.low > 0 else "clearly less" if interval.high < 0 else "not clearly more or less"
        )
        start = (
            f"The CutMix teacher is {how} accurate than the baseline teacher: the difference is {points(interval)}, "
            f"where the paper has {shown(teacher.effect.paper())} points. "
        )
    by_model = [mixed_students(model, [one for one in mixed if one.model == model]) for model in OF_STUDENTS]
    return (
        f"**A teacher trained on mixed samples.** {start}Beside the student of the baseline teacher, "
        f"{'; '.join(filter(None, by_model))}."
    )


def mixed_students(model: str, cases: Sequence[Difference]) -> str:
    """How the students of MixUp and CutMix teachers of one architecture differ from the baseline's, here and there."""
    if not cases:
        return ""
    below, above = ([one for one in cases if one.side == side] for side in (-1, 1))
    text = (
        f"{network_name(model)} students of MixUp and CutMix teachers are clearly less accurate in "
        f"{count(below, cases)} and clearly more accurate in {COUNTED[len(above)]}, the differences {span(cases)}"
    )
    text += of_images(cases)
    theirs = [one.paper for one in cases if one.paper is not None]
    return text + (f" (in the paper from {shown(min(theirs))} to {shown(max(theirs))})" if theirs else "")


def span(cases: Sequence[Difference], sign: int = 1) -> str:
    """The least and the largest of some differences: "from −0.8 to +2.0 points"."""
    means = sorted(sign * one.interval.mean for one in cases)
    return f"from {shown(means[0])} to {shown(means[-1])} points"


def of_images(cases: Sequence[Difference]) -> str:
    """What has to be known of the intervals where some are of one seed."""
    single = [network_name(one.model) for one in cases if one.interval.n == 1]
    return f", judged over test images alone for {listing(dict.fromkeys(single))}, with one seed" if single else ""


def of_distillation(found: Sequence[Difference]) -> str:
    """What the baseline teacher's student gains, so the differences are told with the other sign."""
    said = []
    for control, start in WORTH.items():
        cases = [one for one in found if one.arm == control]
        if cases:
            more, less = ([one for one in cases if one.side == side] for side in (-1, 1))
            said.append(
                start.format(f"clearly more accurate in {count(more, cases)}")
                + f" and clearly less accurate in {COUNTED[len(less)]}, the differences {span(cases, -1)}"
                f"{of_images(cases)}."
            )
    return f"**What a teacher is worth.** {' '.join(said)}" if said else ""


def of_claims(judgements: Sequence[Judgement]) -> str:
    said = []
    for reduction in SHORT_LOSSES:
        verdicts = [case.verdict for case in judgements if case.reduction in (reduction, None)]
        counts = {words: verdicts.count(verdict) for verdict, words in VERDICTS.items() if verdict in verdicts}
        parts = [f"{number} {one if number == 1 else more}" for (one, more), number in counts.items()]
        said.append(f"under {loss_name(reduction)} {listing(parts)}")
    return f"**The paper's claims.** Of {len({case.claim.id for case in judgements})}, {'; '.join(said)}."


def count(some: Sequence, of: Sequence) -> str:
    """How many of how many: "three of eight comparisons", "all four comparisons", "none of one comparison"."""
    of_what = f"{COUNTED[len(of)]} comparison{'s' if len(of) > 1 else ''}"
    return f"all {of_what}" if len(some) == len(of) > 1 else f"{COUNTED[len(some)]} of {of_what}"


def points(interval: Interval) -> str:
    """A difference in percentage points: "−0.8 points [−1.5, −0.1]"."""
    text = f"{shown(interval.mean)} points [{shown(interval.low)}, {shown(interval.high)}]"
    return text + (", the interval over test images alone" if interval.n == 1 else "")


def shown(difference: float) -> str:
    return minus(f"{100 * difference:+.1f}")


# ---------------------------------------------------------------- the figure and the table


@styled
def figure(found: Sequence[Difference]) -> Picture:
    """Differences from the student of the baseline teacher, with their intervals; the paper's as diamonds."""
    models = list(dict.fromkeys(one.model for one in found)) or list(OF_STUDENTS)
    rows = [arm for arm in (*claims.AUGMENTED, *CONTROLS) if any(one.arm == arm for one in found)]
    drawn, axes = canvas(1, len(models), 1.2 + 0.34 * len(rows), sharey=True)
    for place, model in zip(axes[0], models, strict=True):
        place.axvline(0, color=GREY, lw=0.8)
        for one in found:
            if one.model == model:
                draw_difference(place, one, rows.index(one.arm))
        place.set_title(f"{network_name(model)} students")
        place.set_xlabel("points of accuracy from the\nbaseline teacher's student")
        place.margins(x=0.06)
    axes[0, 0].set_yticks(range(len(rows)), [row_name(arm) for arm in rows])
    axes[0, 0].set_ylim(max(len(rows), 1) - 0.5, -0.5)
    marks = [
        Line2D([], [], ls="", marker="o", color=GREY, mfc=GREY, label="formula's loss"),
        Line2D([], [], ls="", marker="o", color=GREY, mfc="none", label="released code's loss"),
        Line2D([], [], ls="", marker="D", ms=4, mfc="#f0f0f0", color=GREY, label="the paper's"),
    ]
    drawn.legend(handles=marks, loc="outside lower center", ncols=3)
    return Picture(drawn)


def draw_difference(axes, one: Difference, row: int) -> None:
    formula = one.reduction == "batchmean"
    y = row + (-0.17 if formula else 0.17)
    shade = colour(one.arm)
    axes.plot([100 * one.interval.low, 100 * one.interval.high], [y, y], color=shade, lw=1.6)
    axes.plot(100 * one.interval.mean, y, "o", ms=5.5, color=shade, mfc=shade if formula else "none")
    if one.paper is not None and formula:
        axes.plot(100 * one.paper, row, "D", ms=4, mfc="#f0f0f0", color=GREY)


def row_name(arm: str) -> str:
    return arm_name(arm) if arm in CONTROLS else f"{arm_name(arm)} teacher"


def verdicts(judgements: Iterable[Judgement]) -> Markdown:
    """A row a claim: what it says and the verdict under each form of the loss; the numbers stand in their chapter."""
    lines = [["", "The paper's claim", "Formula", "Released code"], ["---:", ":---", ":---", ":---"]]
    for claim, cases in claims.grouped(list(judgements)):
        by_loss = {case.reduction: case for case in cases}
        lines.append([
            f"{{ref}}`{claim.id} <tab-claim-{claim.id}>`",  # to its effects
            f"{claim.statement} [{claim.source}]({claim.page}.ipynb)",
            *(told(by_loss.get(None) or by_loss[reduction]) for reduction in SHORT_LOSSES),
        ])  # fmt: skip
    text = (
        "The claims, and whether they hold; below each verdict, how many of its comparisons speak for the claim, "
        "against it, or leave it open. A claim holds if all speak for it, and does not hold if one speaks against it, however "
        "many speak for it. Claims on teachers alone have one verdict, which stands in both columns."
    )
    return directive(lines, text, "tab-front")


def told(case: Judgement) -> str:
    """A verdict in its colour, and how the claim's effects speak."""
    text = f"[{case.verdict}]{{.{case.verdict.replace(' ', '-')}}}"
    return text if case.verdict == claims.NOT_RUN else f"{text}<br>{claims.tally(case)}"
