"""Arms that are cropped and flipped first: is what cutting and mixing do the same on top of that?

The accuracies that the paper prints suggest that its CutMix teacher was cropped and flipped as well, and that its MixUp
and Cutout teachers were not. Here each of these arms stands alone and crossed with crop and flip. Nothing is trained
for it: what is stored of an edition, or of the one of another size, is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kdlib import runs, study
from kdlib.editions import as_profile, other_size
from kdlib.runs import Run
from kdlib.study import STANDARD, Settings
from kdlib.tables import (
    ACCURACY, BASELINE, Groups, Markdown, arm_name, clearly, compare, differences, loss_name, network_name, of_one_seed,
    reduced, reductions, sizes, students_by_arm, teachers_by_arm,
)  # fmt: skip

ALONE, CROSSED = "alone", "with crop and flip"
# What the arms of each side are compared with, and how such a difference is called.
STARTS = {ALONE: BASELINE, CROSSED: STANDARD}
DIFFERENCES = {ALONE: "alone, less none", CROSSED: "with crop and flip, less crop and flip"}


@dataclass(frozen=True)
class Crossing:
    """Runs of one edition under arms alone and with crop and flip."""

    settings: Settings
    teachers: Sequence[Run]
    students: Sequence[Run]


def stored(own: Settings, chapter: str) -> Crossing | None:
    """Those of an edition, else of the edition of another size; None where neither has them all.

    `own` are settings of `chapter`, which the other edition is asked with as well: so it has the same part of its own
    seeds and students. Settings of a reader's have no edition of another size.
    """
    asked = [own]
    if as_profile({chapter: own}) and (other := other_size({chapter: own})):
        asked.append(study.settings(chapter, other))
    for settings in asked:
        sides = (settings, study.crossed(settings))
        teachers, students = (
            list(dict.fromkeys(spec for side in sides for spec in specs(side)))
            for specs in (study.teachers, study.students)
        )
        found = Crossing(settings, runs.stored(teachers), runs.stored(students))
        if (len(found.teachers), len(found.students)) == (len(teachers), len(students)):
            return found
    return None


def about(found: Crossing | None) -> Markdown:
    """Whose runs these are, in words."""
    if found is None:
        return Markdown("No edition here has these runs yet.")
    shown = [*found.teachers, *found.students]
    return Markdown(f"These are runs of the profile `{found.settings.profile}`: {sizes(shown)}.{reduced(shown)}")


def sides(found: Crossing, model: str) -> dict[tuple[str, str], dict[str, Groups]]:
    """By network and form of the loss: arms alone, and arms with crop and flip by what they have besides."""
    by_arm = {("teacher", ""): teachers_by_arm(found.teachers)}
    by_arm |= {(model, form): students_by_arm(found.students, model, form) for form in reductions(found.students)}
    return {
        network: {
            ALONE: {arm: group for arm, group in arms.items() if not is_crossed(arm)},
            CROSSED: {arm.removeprefix(f"{STANDARD}+"): group for arm, group in arms.items() if is_crossed(arm)},
        }
        for network, arms in by_arm.items()
    }


def is_crossed(arm: str) -> bool:
    return STANDARD in arm.split("+")


def accuracies(found: Crossing, model: str) -> pd.DataFrame:
    """Accuracy of teachers and of students under either side's arms, beside the paper's one (Table 1)."""
    frames = [
        compare(1, network, groups, [ACCURACY], ["cifar10"], network=network, loss=form)
        for (network, form), groups in sides(found, model).items()
    ]
    frame = pd.concat(frames, ignore_index=True)
    return frame[frame["n"] > 0]  # no augmentation has no crop and flip, and crop and flip is not alone


def effects(found: Crossing, model: str) -> pd.DataFrame:
    """What cutting and mixing do on each side: accuracy less that of no augmentation, or of crop and flip alone.

    Intervals are widened for the number of differences: of the teachers, and of the students under all forms of the
    loss together.
    """
    frames = []
    for network in ("teacher", model):
        groups, pairs = {}, {}
        for (name, form), of_network in sides(found, model).items():
            if name != network:
                continue
            for side, by_arm in of_network.items():
                groups |= {(form, side, arm): group for arm, group in by_arm.items()}
                pairs |= {
                    (form, arm, DIFFERENCES[side]): ((form, side, arm), (form, side, STARTS[side]))
                    for arm in by_arm
                    if arm != STARTS[side]
                }
        frames.append(differences(groups, pairs).assign(network=network))
    return pd.concat(frames, ignore_index=True)


def beside_paper(frame: pd.DataFrame) -> Markdown:
    """The teachers of `accuracies` less the one with crop and flip alone, the paper's and ours, in points.

    Nothing where the paper's are of other data.
    """
    teachers = frame[frame["network"] == "teacher"].set_index(["variant", "arm"])
    if teachers["difference"].isna().all():
        return Markdown()
    start = teachers.loc[CROSSED, STANDARD]
    said = ["Points of accuracy between each teacher and the one with crop and flip alone:", ""]
    for arm in teachers.loc[ALONE].index.drop(BASELINE):
        alone, crossed = teachers.loc[ALONE, arm], teachers.loc[CROSSED, arm]
        said.append(
            f"- {arm_name(arm)}: the paper's {_points(alone['paper'] - start['paper'])}, ours "
            f"{_points(alone['ours'] - start['ours'])} alone and {_points(crossed['ours'] - start['ours'])} with crop "
            "and flip."
        )
    return Markdown("\n".join(said))


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def in_words(frame: pd.DataFrame) -> Markdown:
    """With which arms the differences of `effects` are clear of zero, by their intervals."""
    said = []
    for (network, form), rows in frame.groupby(["network", "loss"], sort=False):
        who = "Teachers" if network == "teacher" else f"{network_name(network)} students under {loss_name(form)}"
        alone, crossed = (clearly(rows[rows["variant"] == name]) for name in DIFFERENCES.values())
        said.append(f"{who}: beside no augmentation {alone}; on top of crop and flip, and beside it, {crossed}.")
    return Markdown("\n".join(f"- {sentence}" for sentence in [*said, *of_one_seed(frame)]))
