"""Editions of the book: the runs that a page shows as frames, what has to be known of them, and the other size.

A page never mixes editions; where two stand side by side, each has its own runs and verdicts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdlib import augment, metrics, runs, study
from kdlib.causes import SHORT
from kdlib.models import FULL_WIDTH
from kdlib.report.markdown import Markdown
from kdlib.results import claims
from kdlib.results.claims import CHAPTERS, Judgement
from kdlib.results.contrasts import weighted
from kdlib.results.frame import frame
from kdlib.results.measures import Measure
from kdlib.results.names import BASELINE, NETWORKS, augmentation_name, listing, network_name, test_set_name
from kdlib.runs import Run, Spec
from kdlib.study import STANDARD, Settings

Source = Callable[[Iterable[Spec]], Sequence[Run]]  # runs.stored, or runs.ensure on a device


# ---------------------------------------------------------------- a chapter's runs


def teacher_rows(settings: Settings, source: Source | None = None) -> pd.DataFrame:
    """The teachers of a chapter as a frame; what is not stored is trained."""
    return frame((source or _made(settings))(study.teachers(settings)))


def student_rows(settings: Settings, source: Source | None = None) -> pd.DataFrame:
    """The students and controls of a chapter under every budget, named in the frame."""
    source = source or _made(settings)
    found = [frame(source(study.OF_BUDGET[one](settings)), one) for one in settings.budgets]
    return pd.concat([one for one in found if len(one)] or found, ignore_index=True)


def ablation_rows(settings: Settings, source: Source | None = None) -> pd.DataFrame:
    """Students by whose images are augmented, and networks without a teacher; trained for the long budget."""
    return frame((source or _made(settings))(study.ablation(settings)), "long")


def changed_rows(settings: Settings, source: Source | None = None) -> pd.DataFrame:
    """The students of the chapter *Why*, each change in the place of a budget."""
    source = source or _made(settings)
    found = [frame(source(study.changed_students(settings, change)), change) for change in ("", *settings.changes)]
    return pd.concat(found, ignore_index=True)


def untaught_rows(settings: Settings) -> pd.DataFrame:
    """Who stands beside the students of short training in the chapter *Why* and learned from no trained teacher."""
    return frame(_made(settings)(study.untaught(settings)), SHORT)


def stored_changes(settings: Settings) -> pd.DataFrame:
    """Those of `changed_rows` that are stored, of each change either all or none; empty without the unchanged ones."""
    rows = changed_rows(settings, runs.stored)
    asked = {change: len(study.changed_students(settings, change)) for change in ("", *settings.changes)}
    whole = [change for change, of in rows.groupby("budget", sort=False) if len(of) == asked[change]]
    return rows[rows["budget"].isin(whole if "" in whole else [])]


def both(settings: Settings, source: Source | None = None) -> pd.DataFrame:
    return pd.concat([teacher_rows(settings, source), student_rows(settings, source)], ignore_index=True)


OF_CHAPTER = {"teachers": teacher_rows, "students": student_rows, "ablation": ablation_rows, "mnist": both}


def _made(settings: Settings) -> Source:
    return lambda specs: runs.ensure(specs, device=settings.device)


# ---------------------------------------------------------------- a whole edition


@dataclass(frozen=True)
class Edition:
    """Settings and frames by chapter, and the paper's claims judged on them."""

    settings: Mapping[str, Settings]
    frames: Mapping[str, pd.DataFrame]
    judgements: Sequence[Judgement]

    @property
    def profile(self) -> str:
        return self.settings["students"].profile


def edition(namespace: dict[str, Any]) -> Edition:
    """The edition that a notebook's parameters ask for; what is not stored of it is trained."""
    return _edition({chapter: study.from_notebook(namespace, chapter) for chapter in CHAPTERS})


def _edition(settings: Mapping[str, Settings], source: Source | None = None) -> Edition:
    frames = {chapter: OF_CHAPTER[chapter](own, source) for chapter, own in settings.items()}
    return Edition(settings, frames, claims.judge(frames))


def another(own: Edition) -> Edition | None:
    """The same study at another size, on the same data; None where there is none, or where it is not stored whole."""
    if not as_profile(own.settings) or (profile := other_size(own.settings)) is None:
        return None
    settings = {chapter: study.settings(chapter, profile) for chapter in CHAPTERS}
    every = {spec for chapter, one in settings.items() for spec in study.CHAPTERS[chapter](one)}
    return _edition(settings, runs.stored) if len(runs.stored(every)) == len(every) else None


def as_profile(settings: Mapping[str, Settings]) -> bool:
    """Whether settings ask for the runs of their profile and for no others."""
    return all(
        study.CHAPTERS[name](s) == study.CHAPTERS[name](study.settings(name, s.profile)) for name, s in settings.items()
    )


def other_size(settings: Mapping[str, Settings]) -> str | None:
    """The profile that has these chapters on the same data at another size; None where there is none."""
    for profile in study.PROFILES:
        if all(
            s.profile != profile and s.dataset == study.settings(name, profile).dataset for name, s in settings.items()
        ):
            return profile
    return None


# ---------------------------------------------------------------- crossed with crop and flip


def crossed_rows(own: Settings, chapter: str) -> pd.DataFrame:
    """Teachers and students of each augmentation alone and on images that are cropped and flipped first.

    Those of an edition, else of the edition of another size, whichever is stored whole; empty where neither is.
    Nothing is trained. `own` are the settings of `chapter`; the other edition is asked for its own.
    """
    asked = [own]
    if as_profile({chapter: own}) and (other := other_size({chapter: own})):
        asked.append(study.settings(chapter, other))
    for settings in asked:
        sides = (settings, study.crossed(settings))
        if () not in settings.augmentations or len(sides[1].augmentations) < 2:
            continue
        specs = [spec for side in sides for spec in (*study.teachers(side), *study.long_students(side))]
        specs = [spec for spec in dict.fromkeys(specs) if spec.model == settings.teacher or runs.is_taught(spec)]
        if len(found := runs.stored(specs)) == len(specs):
            return frame(found, "long")
    return frame([])


def on_top(rows: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """What augmentations do alone, on top of crop and flip, and the second less the first: contrasts, by `contrast`."""
    names = dict.fromkeys([*rows["augmentation"], *rows["teacher_augmentation"]])
    found = []
    for name in (one for one in names if f"{STANDARD}+{one}" in names):
        for arm in (lambda a: ("alone", a), lambda a: (a, BASELINE)):  # a teacher's, a student's
            alone = {arm(name): 1.0, arm(BASELINE): -1.0}
            top = {arm(f"{STANDARD}+{name}"): 1.0, arm(STANDARD): -1.0}
            change = top | {at: -weight for at, weight in alone.items()}
            told = {"alone, less none": alone, "with crop and flip, less it alone": top, "second less first": change}
            found += [weighted(rows, measure, of, name).assign(contrast=what) for what, of in told.items()]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


# ---------------------------------------------------------------- what has to be known of a page


def about(settings: Settings, rows: pd.DataFrame) -> Markdown:
    """What this edition of a chapter was made with, and what keeps it from being the paper's."""
    text = (
        f"This page was made with the profile `{settings.profile}`: {sizes(rows)}, on "
        f"{test_set_name(settings.dataset, 'test')}, teachers under "
        f"{listing(augmentation_name(augment.label(a)) for a in settings.augmentations)}; "
        f"{rows['mark'].nunique()} runs."
    )
    made = (run.metrics["provenance"].get("shifted") for run in rows["run"] if "shifted" in run.metrics)
    if shifted := next(made, None):
        text += f" The shifted test set is {shifted}."
    if slim := len({run.key for run in rows["run"] if run.is_slim}):
        text += f" Of {slim} of these the predicted classes alone are kept: numbers that need more are of the others."
    text += reduced(rows)
    if settings.profile == "demo":
        text += " This edition's data are small: it shows the study at work and says nothing of the claims."
    return Markdown(text)


def about_crossed(rows: pd.DataFrame) -> Markdown:
    """Whose runs `crossed_rows` has found."""
    if rows.empty:
        return Markdown("For the settings of this page no such runs are stored here.")
    return Markdown(f"These are runs of {sizes(rows)}.{reduced(rows)}")


def reduced(rows: pd.DataFrame) -> str:
    """A sentence on those of the paper's networks that are narrower here, empty where none is."""
    narrow = rows[rows["network"].isin(list(NETWORKS)) & (rows["width"] < FULL_WIDTH)]
    if narrow.empty:
        return ""
    return f" **These are reduced models**: {sizes(narrow)}. The paper's have width {FULL_WIDTH}."


def sizes(rows: pd.DataFrame) -> str:
    """The trained networks: how wide they are, for how many epochs they are trained, with which seeds."""
    trained = rows[rows["epochs"] > 0].groupby(["network", "width", "epochs"], sort=False)["seed"]
    return listing(
        f"{sized(network, width)} ({epochs} epochs, {_seeds(seeds)})" for (network, width, epochs), seeds in trained
    )


def sized(network: str, width: int) -> str:
    """A network and its width; LeNet has one size."""
    return network_name(network) + ("" if network == "lenet" else f" of width {width}")


def _seeds(seeds: Iterable[int]) -> str:
    found = sorted(set(seeds))
    return f"seed{'s' if len(found) > 1 else ''} {listing(found)}"


def unasked(rows: pd.DataFrame) -> Markdown | None:
    """That nobody was asked how the images of these networks look to people; None where people were."""
    if any("human" in run.metrics for run in rows["run"]):
        return None
    return Markdown(
        f"*How people label the images of {test_set_name(rows['dataset'].iloc[0], 'test')} is not known: what compares "
        "with people is left out below, or has the hard labels in their place.*"
    )


def people(rows: pd.DataFrame) -> Markdown | None:
    """How near people are to people, or that nobody was asked; None where that is not known here."""
    if said := unasked(rows):
        return said
    if (ceiling := runs.people_apart(rows["dataset"].iloc[0])) is None:
        return None
    return Markdown(
        f"People themselves diverge from each other by {ceiling:.3f} nats: the mean over images of the divergence "
        f"between random halves of those who judged it, one of them smoothed like the votes above (by "
        f"{metrics.HUMAN_SMOOTHING:g}; less smoothing gives more). A half has fewer votes than all, so that a model "
        "may be nearer."
    )
