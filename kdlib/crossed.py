"""Arms that are cropped and flipped first: do cutting and mixing do the same on top of that as they do alone?

The accuracies that the paper prints suggest that its CutMix teacher was cropped and flipped as well, and that its MixUp
and Cutout teachers were not. Here each of these arms stands alone and crossed with crop and flip. Nothing is trained
for it: what is stored of an edition, or of the one of another size, is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdlib import paper, runs, study
from kdlib.claims import signed
from kdlib.editions import as_profile, other_size
from kdlib.models import FULL_WIDTH
from kdlib.runs import Run, is_taught
from kdlib.study import STANDARD, Settings
from kdlib.tables import (
    ACCURACY, BASELINE, PAPER_SETS, Groups, Markdown, arm_name, cautions, clearly, compare, differences, loss_name,
    network_name, ours, reduced, reductions, sizes, students_by_arm, teachers_by_arm,
)  # fmt: skip

ALONE, CROSSED = "alone", "with crop and flip"
STARTS = {ALONE: BASELINE, CROSSED: STANDARD}  # what the arms of each side are compared with
DIFFERENCES = {ALONE: "alone, less none", CROSSED: "with crop and flip, less it alone"}
CHANGE = "second less first"


@dataclass(frozen=True)
class Crossing:
    """Runs of one edition under arms alone and with crop and flip."""

    settings: Settings
    teachers: Sequence[Run]
    students: Sequence[Run]


def stored(own: Settings, chapter: str) -> Crossing | None:
    """Those of an edition, else of the edition of another size; None where neither has them all.

    `own` are the settings of `chapter`; the other edition is asked for its own of the same chapter. A reader's settings
    have no edition of another size. There is nothing to compare without the arm without augmentation and one that cuts
    or mixes.
    """
    asked = [own]
    if as_profile({chapter: own}) and (other := other_size({chapter: own})):
        asked.append(study.settings(chapter, other))
    for settings in asked:
        both = (settings, study.crossed(settings))
        if () not in settings.augmentations or len(both[1].augmentations) < 2:
            continue
        teachers = list(dict.fromkeys(spec for side in both for spec in study.teachers(side)))
        students = list(dict.fromkeys(spec for side in both for spec in study.students(side) if is_taught(spec)))
        found = Crossing(settings, runs.stored(teachers), runs.stored(students))
        if (len(found.teachers), len(found.students)) == (len(teachers), len(students)):
            return found
    return None


def about(found: Crossing | None) -> Markdown:
    """Whose runs these are, in words."""
    if found is None:
        return Markdown("For the settings of this page no such runs are stored here.")
    settings, shown = found.settings, [*found.teachers, *found.students]
    narrow = f" Networks of a width below {FULL_WIDTH} are **reduced models**." if reduced(shown) else ""
    return Markdown(
        f"These are runs of the profile `{settings.profile}`: {sizes(shown)}, in batches of {settings.batch_size} "
        f"images.{narrow}"
    )


def by_network(found: Crossing, model: str) -> dict[str, dict[str, dict[str, Groups]]]:
    """The `sides` of teachers and students, by network and form of the loss; teachers have none, "" here."""
    of_students = {form: students_by_arm(found.students, model, form) for form in reductions(found.students)}
    return {
        "teacher": {"": sides(teachers_by_arm(found.teachers))},
        model: {form: sides(by_arm) for form, by_arm in of_students.items()},
    }


def sides(by_arm: Groups) -> dict[str, Groups]:
    """Arms alone, and arms with crop and flip by what they have besides."""
    return {
        ALONE: {arm: group for arm, group in by_arm.items() if not is_crossed(arm)},
        CROSSED: {arm.removeprefix(f"{STANDARD}+"): group for arm, group in by_arm.items() if is_crossed(arm)},
    }


def is_crossed(arm: str) -> bool:
    return STANDARD in arm.split("+")


def accuracies(found: Crossing, model: str) -> pd.DataFrame:
    """Accuracy of teachers and of students under either side's arms, beside the paper's one (Table 1)."""
    frames = [
        compare(1, network, groups, [ACCURACY], ["cifar10"], network=network, loss=form)
        for network, by_form in by_network(found, model).items()
        for form, groups in by_form.items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    return frame[frame["n"] > 0]  # no augmentation has no crop and flip, and crop and flip is not alone


def effects(found: Crossing, model: str) -> pd.DataFrame:
    """What cutting and mixing do on each side: accuracy less that of no augmentation, or of crop and flip alone.

    And whether that is another thing: the second of these differences less the first. Intervals are widened for the
    number of differences: of the teachers, and of the students under all forms of the loss together.
    """
    frames = []
    for network, by_form in by_network(found, model).items():
        groups, pairs = {}, {}
        for form, of_form in by_form.items():
            for side, by_arm in of_form.items():
                groups |= {(form, side, arm): group for arm, group in by_arm.items()}
            for arm in (arm for arm in of_form[ALONE] if arm != BASELINE):
                alone, crossed = (((form, side, arm), (form, side, start)) for side, start in STARTS.items())
                pairs |= {
                    (form, arm, DIFFERENCES[ALONE]): alone,
                    (form, arm, DIFFERENCES[CROSSED]): crossed,
                    (form, arm, CHANGE): crossed + alone,
                }
        frames.append(differences(groups, pairs).assign(network=network))
    return pd.concat(frames, ignore_index=True)


def beside_paper(frame: pd.DataFrame) -> Markdown:
    """What arms do to teachers on top of crop and flip, by `effects` and in the paper; nothing on data it lacks."""
    teachers = paper.load().query("table == 1 and role == 'teacher' and test_set == 'cifar10'")
    accuracy = teachers[teachers["metric"] == "accuracy"].set_index("model")["value"]
    rows = frame[(frame["network"] == "teacher") & (frame["variant"] == DIFFERENCES[CROSSED])]
    theirs = accuracy - accuracy[STANDARD]
    told = [
        f"{arm_name(row['arm'])} {ours(row)} (the paper's of this name {signed(theirs[row['arm']])})"
        for _, row in rows.iterrows()
        if row["test_set"] == PAPER_SETS["cifar10"] and row["arm"] in theirs
    ]
    text = "Teachers with crop and flip, their accuracy less that of crop and flip alone"
    return Markdown(f"{text}: {'; '.join(told)}." if told else "")


def in_words(frame: pd.DataFrame) -> Markdown:
    """With which arms the differences of `effects` are clear of zero, by their intervals."""
    said = []
    for (network, form), rows in frame.groupby(["network", "loss"], sort=False):
        who = "Teachers" if network == "teacher" else f"{network_name(network)} students under {loss_name(form)}"
        alone, crossed = (clearly(rows[rows["variant"] == name]) for name in DIFFERENCES.values())
        change = clearly(rows[rows["variant"] == CHANGE], "larger", "smaller")
        said.append(
            f"{who}: compared with no augmentation, {alone}; with crop and flip, compared with it alone, {crossed}; "
            f"the second difference, compared with the first, {change}."
        )
    return Markdown("\n".join(f"- {sentence}" for sentence in [*said, *cautions(frame)]))
