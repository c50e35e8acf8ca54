"""Tidy frames as numbered tables. One builder, `show`, for all of them; their numbers come from `kdlib.results`.

A frame of levels (what networks score, beside the paper's number where it prints one) shows means, and after each the
seeds that it is of: a level has no interval. A frame of contrasts (who less whom) shows differences, each with its one
interval. Any other frame is shown as it is. Marks tell what has to be known of a number, each explained once under its
table.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kdlib import augment
from kdlib.models import FULL_WIDTH
from kdlib.report.markdown import (
    LEFT,
    MISSING,
    NO_BREAK,
    RIGHT,
    SPREAD,
    Markdown,
    aside,
    csv_link,
    interval,
    links_once,
    number,
    numbered,
    pipes,
    run_links,
)  # fmt: skip
from kdlib.results import measures, names
from kdlib.results.measures import Measure
from kdlib.results.names import augmentation_name, listing, network_name
from kdlib.results.paper import levels, rows_of
from kdlib.runs import is_taught

# Measures that stand side by side, by what the table is about.
LAYOUTS: dict[str, tuple[Measure, ...]] = {
    "weights": (measures.PRECISION, measures.WEIGHTED_PRECISION, measures.F1, measures.WEIGHTED_F1),
    "human_kl": (measures.HUMAN_KL, measures.MODEL_HUMAN_KL, measures.RELEASED_HUMAN_KL),
    "likeness": (measures.KL_OFF_DIAGONAL, measures.HUMAN_ORDER),
    "calibration": measures.CALIBRATIONS,
    "training": (measures.trained("accuracy"), measures.trained("loss"), measures.ACCURACY, measures.LOSS),
    "restraint": (measures.trained("accuracy"), measures.ACCURACY, measures.CONFIDENCE, measures.LOGIT_SIZE),
    "conventions": tuple(
        replace(one, title=f"{one.title}, {told}")
        for convention, told in (("pairs", "means over pairs"), ("printed", "as printed"))
        for one in measures.in_class_space(convention)
    ),
}
PLACES = {6: "teacher's", 7: "student's", 8: "both"}  # whose images are augmented, by the paper's table
LABELS = (
    "contrast", "change", "test_set", "budget", "network", "loss", "measure",
    "teacher_augmentation", "augmentation", "place", "of", "space", "less",
)  # fmt: skip
SHOWN: dict[str, Callable[[str], str]] = {  # labels as the page has them, those of other columns as they are
    "augmentation": augmentation_name,
    "change": names.change_name,
    "less": lambda less: f"less {augmentation_name(less)}",
    "network": network_name,
    "loss": lambda loss: names.LOSSES.get(loss, loss),  # a network without a teacher has none
}
OF_EACH = "*n*: teachers' seeds × students of each, in the order of the columns where they differ."
OF_MAPS = "*n*: teachers' seeds × seeds of t-SNE, in the order of the columns."
FEW = 3  # seeds that are all shown


def side_by_side(rows: pd.DataFrame, layout: str | Sequence[Measure], table: int = 1) -> pd.DataFrame:
    """Numbers that the paper does not print, of the networks that one of its tables is about, controls included.

    `layout` is one of `LAYOUTS`, or measures. What no network has, for want of people's labels or a second test set,
    is left out.
    """
    chosen = LAYOUTS[layout] if isinstance(layout, str) else tuple(layout)
    of_table = rows_of(rows, table).drop(columns=["network", "augmentation"])
    of_table = of_table.rename(columns={"as_network": "network", "row": "augmentation"})
    found = levels(of_table, chosen, by=("dataset", "network", "augmentation", "loss", "budget"))
    return found[found.groupby("measure")["n"].transform("max") > 0]


def places(rows: pd.DataFrame, chosen: Sequence[Measure]) -> pd.DataFrame:
    """Numbers by whose images are augmented (`place`), in the way that the row says: Tables 6, 7 and 8 in one view."""
    return pd.concat([side_by_side(rows, chosen, n).assign(place=place) for n, place in PLACES.items()])


def gathered(numbers: pd.DataFrame, value: str) -> pd.DataFrame:
    """A frame with a row a number in column `value`, its run's mark in `runs`, as one of levels: a row a label."""
    labels = [c for c in LABELS if c in numbers]
    found = numbers.groupby(labels, sort=False).agg(
        ours=(value, "mean"), seeds=(value, tuple), n=("runs", "nunique"),
        runs=("runs", lambda of: " ".join(of.unique())),
    )  # fmt: skip
    return found.reset_index().assign(measure=value, title=value, digits=2, test_set="")


# ---------------------------------------------------------------- one builder


def show(frame: pd.DataFrame, caption: str, name: str, across: str | Sequence[str] | None = None) -> Markdown:
    """A tidy frame as a numbered table of the book.

    Columns of `LABELS` say what a number is of: those `across` stand side by side (by default what a contrast is less,
    else forms of the loss and lengths of training), others that hold several values label the rows; what holds one
    value is left out, and so is a column without a number.
    """
    if frame.empty:
        return Markdown(f"*{caption.rstrip('.')}: not run.*")
    if "estimate" in frame:
        return _pivoted(frame, caption, name, across, difference, below_differences)
    if "ours" in frame:
        return _pivoted(frame, caption, name, across, _level, _below_levels)
    return _plain(frame, caption, name)


def _pivoted(frame: pd.DataFrame, caption: str, name: str, across, cell: Callable, below: Callable) -> Markdown:
    data = _labelled(frame)
    several = [c for c in LABELS if c in data and data[c].nunique() > 1]
    if "budget" in several and len(set(data["budget"]) - {""}) < 2:  # that of teachers is no other one
        several.remove("budget")
    chosen = [across] if isinstance(across, str) else across or (["less"] if "less" in several else ["loss", "budget"])
    side = [c for c in chosen if c in data and (c != "budget" or c in several)]
    # A frame of controls and students has an arm in each row, and perhaps only one.
    labels = [c for c in several if c not in side] or ["augmentation"]
    order = {c: {value: i for i, value in enumerate(dict.fromkeys(data[c]))} for c in [*labels, *side]}
    data = data.iloc[np.lexsort([data[c].map(order[c]) for c in reversed(labels)])]
    filled = data[data["n"] > 0] if data["n"].any() else data
    columns = list(dict.fromkeys(filled[side].itertuples(index=False, name=None))) if side else [()]
    columns.sort(key=lambda column: [order[c][value] for c, value in zip(side, column, strict=True)])
    with_paper = "printed" in data and any(data["printed"])
    differing = with_paper and len(columns) < 3  # there is no room for more
    header = [names.COLUMNS.get(c, c.capitalize()) for c in labels]
    if with_paper:
        sets = dict.fromkeys(theirs for _, theirs in _of_other_data(data.itertuples()))
        header.append(f"Paper ({', '.join(sets)})" if sets else "Paper")
    for column in columns:
        told = filter(None, (SHOWN.get(c, str)(value) for c, value in zip(side, column, strict=True)))
        title = ", ".join(["ours", *told] if with_paper else told) or "ours"
        header.append(title[0].upper() + title[1:])
        header += ["Difference" if len(columns) == 1 else "Diff."] * differing
    header += ["n", "Runs"]
    lines, before = [], [""] * len(labels)
    for _, rows in data.groupby(labels, sort=False):
        found = list(rows.itertuples(index=False))
        shown = [SHOWN.get(c, str)(getattr(found[0], c)) for c in labels]
        new = [i for i, (old, now) in enumerate(zip(before, shown, strict=True)) if old != now] or [0]
        line, before = [text if i >= new[0] else "" for i, text in enumerate(shown)], shown
        if with_paper:
            line.append(found[0].printed.replace("-", "−") or MISSING)
        by_column = {tuple(getattr(row, c) for c in side): row for row in found}
        for column in columns:
            row = by_column.get(column)
            line.append(cell(row, row.digits) if row else MISSING)
            if differing:
                line.append(number(row.difference, row.digits, "+") if row else MISSING)
        line += [counts(map(by_column.get, columns)), links_once(rows["runs"])]
        lines.append(line)
    numbers = [SPREAD, *[RIGHT] * differing] * len(columns)
    align = [*[LEFT] * len(labels), *[RIGHT] * with_paper, *numbers, RIGHT, RIGHT]
    return numbered([header, align, *lines], caption, name, _as_csv(frame), below(list(data.itertuples())))


def _labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns of `LABELS` that it can have; of a contrast, `augmentation` is who is compared."""
    data = frame.reset_index(drop=True)
    if "test_set" not in data:
        data["test_set"] = list(map(names.test_set_name, data["dataset"], data["split"]))
    if "who" in data:
        data = data.drop(columns=["augmentation", "teacher_augmentation"]).rename(columns={"who": "augmentation"})
    if "printed" in data:  # a measure has as many digits as the paper gives it, at least
        of_paper = data["printed"].str.partition(".")[2].str.len()
        data["digits"] = np.maximum(data["digits"], of_paper.groupby(data["measure"]).transform("max"))
    return data.assign(measure=data["title"]).drop(columns="title")


def _level(row, digits: int) -> str:
    """A mean, and after it the seeds that it is of."""
    if not row.n:
        return getattr(row, "absent", "") or MISSING
    seeds = [number(value, digits) for value in row.seeds]
    if len(seeds) > FEW:
        seeds = [interval(min(row.seeds), max(row.seeds), digits)]
    return number(row.ours, digits) + aside(", ".join(seeds) if len(row.seeds) > 1 else "")


def difference(found, digits: int = 3, after: str = "") -> str:
    """A difference (of contrasts, of a claim's effects), bold if it is clear of zero and grey between kinds of machine,
    with what is said of it and its interval after it."""
    text = number(found.estimate, digits, "+")
    if found.clear:
        text = f"**{text}**"
    elif not found.one_device:
        text = f"[{text}]{{.grey}}"
    return text + after + spread(found.low, found.high, digits)


def spread(low: float, high: float, digits: int) -> str:
    """An interval after its number, nothing where there is none."""
    return aside("" if np.isnan(low) else interval(low, high, digits))


def _below_levels(rows: Sequence) -> str:
    most = max(len(row.seeds) for row in rows)
    told = []
    if most > 1:
        told.append(f"After a mean: its seeds{', or the range of more than three' if most > FEW else ''}.")
    if any(len(row.seeds) > row.n for row in rows):
        told.append(OF_MAPS if hasattr(rows[0], "space") else OF_EACH)
    if other := _of_other_data(rows):
        ours, theirs = (listing(dict.fromkeys(sets)) for sets in zip(*other, strict=True))
        told.append(f"Ours are of {ours}, the paper's of {theirs}: other data, so no difference is formed.")
    return " ".join(told)


def _of_other_data(rows: Iterable) -> list[tuple[str, str]]:
    """Our test set and the paper's, of the numbers that it prints of another."""
    return [(row.test_set, row.paper_set) for row in rows
            if getattr(row, "printed", "") and row.paper_set != row.test_set]  # fmt: skip


def below_differences(found: Iterable) -> str:
    """What the marks of `difference` mean, as far as they are there."""
    found, told = [one for one in found if one.n], []
    if not all(np.isnan(one.low) for one in found):
        told.append("After a difference: its 95 % {ref}`interval <intervals>`; **bold** if that is clear of zero.")
    if any(np.isnan(one.low) for one in found):
        told.append("Without an interval: one seed, which can't tell a difference from chance.")
    if not all(one.one_device for one in found):
        told.append("[Grey]{.grey}: between networks from different kinds of machine.")
    if any(getattr(one, "students", 0) > 1 for one in found):
        told.append(OF_EACH)
    return " ".join(told)


def counts(found: Iterable) -> str:
    """How many teachers' seeds the numbers of a row have, and students of each: one count, or one a column, where
    `found` has None for what is not there."""
    counted = [(one.n, _students(one)) if one and one.n else None for one in found]
    several = any(one and one[1] > 1 for one in counted)
    told = [MISSING if one is None else f"{NO_BREAK}×{NO_BREAK}".join(map(str, one[: 1 + several])) for one in counted]
    differing = set(told) - {MISSING}
    return f"{NO_BREAK}/ ".join(told) if len(differing) > 1 else "".join(differing) or MISSING


def _students(found) -> int:
    return getattr(found, "students", 0) or -(-len(getattr(found, "seeds", ())) // found.n)


def _as_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without what rounds, repeats another column or says nothing of any row."""
    data = frame.drop(columns=[c for c in ("title", "printed", "digits") if c in frame])
    if "seeds" in data:
        data["seeds"] = [" ".join(f"{value:.10g}" for value in seeds) for seeds in data["seeds"]]
    return data.drop(columns=[c for c in data if (data[c] == "").all()])


def _plain(frame: pd.DataFrame, caption: str, name: str) -> Markdown:
    """A frame as it is, the index first: floats to three digits, augmentations by their names."""
    header = [frame.index.name or "", *frame.columns]
    align = [LEFT, *(LEFT if frame[c].dtype == object else RIGHT for c in frame)]
    lines = [
        [augmentation_name(str(label)), *map(_text, values)]
        for label, values in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    return numbered([header, align, *lines], caption, name, frame.reset_index())


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def changes_of_gap(found: pd.DataFrame, caption: str, name: str) -> Markdown | None:
    """What changes do to the headline's gap (`kdlib.results.gaps`), a line a change; None where there is no gap."""
    if found.empty:
        return None
    header = ["Change", "Beside", "Gap", "What it does", "Of the paper's gap", "So it", "n", "Runs"]
    lines, told = [header, [LEFT, LEFT, SPREAD, SPREAD, RIGHT, LEFT, RIGHT, RIGHT]], list(found.itertuples())
    for title, row in zip(names.change_titles(found["who"], found["network"]), told, strict=True):
        gap = number(row.gap, row.digits, "+") + spread(row.gap_low, row.gap_high, row.digits)
        does = difference(row, row.digits) if row.who else MISSING
        share = MISSING if np.isnan(row.share) else f"{number(100 * row.share, 0)} %"
        beside = names.change_name(row.less) if row.who else MISSING
        lines.append([
            title, beside, gap, does, share, row.says or MISSING, counts([row]),
            links_once([row.runs]),
        ])  # fmt: skip
    foot = below_differences(row for row in told if row.who)  # what is not changed has no difference
    return numbered(lines, caption, name, found.drop(columns=["title", "digits", "split"]), foot)


def correlations(found: pd.DataFrame, caption: str, name: str) -> Markdown | None:
    """Of `kdlib.results.predictors`: a line a measure, a column a kind of students; None where there is nothing."""
    if found.empty:
        return None
    several = [c for c in ("network", "loss", "budget") if found[c].nunique() > 1]
    kinds = [tuple(kind) for kind in found[several].drop_duplicates().itertuples(index=False)]
    cells = {
        (row.measure, tuple(getattr(row, c) for c in several)):
            number(row.estimate, 2, "+") + spread(row.low, row.high, 2) for row in found.itertuples()
    }  # fmt: skip
    titles = [", ".join(SHOWN.get(c, str)(value) for c, value in zip(several, kind, strict=True)) for kind in kinds]
    header = ["Measure of the teacher", *(title[:1].upper() + title[1:] or "Correlation" for title in titles)]
    lines = [[one, *(cells.get((one, kind), MISSING) for kind in kinds)] for one in found["measure"].unique()]
    below = (
        f"After a correlation: the least and the most with one augmentation left out. Teachers: "
        f"{listing(dict.fromkeys(found['n']))}."
    )
    return numbered([header, [LEFT, *[SPREAD] * len(kinds)], *lines], caption, name, found, below)


# ---------------------------------------------------------------- tables of runs


def recipes(rows: pd.DataFrame, caption: str, name: str) -> Markdown:
    """How the networks were trained, a line for each architecture and length of training."""
    lines = {}
    for spec in (run.spec for run in rows["run"] if run.spec.recipe.epochs):
        recipe, taught = spec.recipe, hasattr(spec, "teacher")
        lines[taught, spec.model, recipe] = [
            network_name(spec.model).replace("-", "\N{NON-BREAKING HYPHEN}"),
            "labels and teacher" if taught else "labels",
            MISSING if spec.model == "lenet" else f"{spec.width}",  # LeNet has one size
            f"{recipe.epochs}", f"{recipe.batch_size}", f"{recipe.peak_lr:g}", f"{recipe.weight_decay:g}",
            f"{recipe.clip_norm:g}" if recipe.clip_norm else MISSING,
        ]  # fmt: skip
    header = ["Network", "Learns from", "Width", "Epochs", "Batch", "Peak rate", "Weight decay", "Clipped at"]
    return numbered([header, [LEFT, LEFT, *[RIGHT] * 6], *lines.values()], caption, name)


@dataclass(frozen=True)
class Expectation:
    """The accuracy that a network of this width, trained long enough with a sound recipe, is known to reach."""

    dataset: str
    model: str
    epochs: int  # at least
    augmentation: str | None  # None: every one
    low: float
    high: float = 1.0
    width: int = FULL_WIDTH
    source: str = "what such networks usually reach, with or without a teacher"

    def applies(self, spec) -> bool:
        same = (spec.dataset, spec.model, spec.width) == (self.dataset, self.model, self.width)
        # What nobody knows is what to expect of the students of a random teacher.
        of = getattr(spec, "teacher", spec)
        known = of is spec or is_taught(spec)
        named = self.augmentation in (None, augment.label(of.augmentations))
        return same and known and named and spec.recipe.epochs >= self.epochs

    def told(self) -> str:
        return f"at least {self.low:.3f}" if self.high == 1 else f"{self.low:.2f} to {self.high:.2f}"


REPORTED = (
    "what the baselines of [airbench](https://github.com/KellerJordan/cifar10-airbench) and, less a margin for shorter "
    "training, DeVries and Taylor (2017) reach"
)
LEARNED = "what a network that has learned its task reaches"
EXPECTATIONS = (
    Expectation("cifar10", "resnet18", 80, "crop_flip", 0.945, source=REPORTED),
    Expectation("cifar10", "resnet18", 80, "none", 0.86, 0.90, source=REPORTED),
    Expectation("mnist", "alexnet", 10, None, 0.99),
    Expectation("mnist", "lenet", 10, None, 0.99),
    Expectation("cifar10", "lenet", 30, None, 0.60, 0.75),
    Expectation("digits", "resnet18", 1, None, 0.95, width=8, source=LEARNED),
    Expectation("digits", "lenet", 1, None, 0.95, source=LEARNED),
    Expectation("digits", "alexnet", 1, None, 0.90, width=8, source=LEARNED),
)


def sanity(rows: pd.DataFrame, caption: str, name: str) -> Markdown | None:
    """Test accuracy of the networks beside what is expected of their like; who is outside is named below.

    None where nothing is known beforehand of networks of that size on that data.
    """
    lines, outside, data, sources = [], [], [], []
    for expected in EXPECTATIONS:
        own = rows[[expected.applies(run.spec) for run in rows["run"]]]
        if own.empty:
            continue
        found = [measures.ACCURACY.value(run) for run in own["run"]]
        missed = [not expected.low <= accuracy <= expected.high for accuracy in found]
        inside = f"{len(found) - sum(missed)} of {len(found)}"
        line = {
            "Network": network_name(expected.model),
            "Augmentation": augmentation_name(expected.augmentation) if expected.augmentation else "each",
            "Expected": expected.told(),
            "Found": number(found[0], 4) if len(found) == 1 else interval(min(found), max(found), 4),
            "Inside": f"**{inside}**" if any(missed) else inside,
        }  # fmt: skip
        lines.append([*line.values(), links_once([" ".join(own["mark"])])])
        sources.append(expected.source)
        data.append(line | {"Inside": inside, "Runs": " ".join(own["mark"])})
        outside += [
            f"{_in_words(row)} with {accuracy:.4f}, expected {expected.told()} ({run_links(row.mark)})"
            for row, accuracy, out in zip(own.itertuples(), found, missed, strict=True) if out
        ]  # fmt: skip
    if not lines:
        return None
    below = f"Expected is {'; '.join(dict.fromkeys(sources))}."
    if outside:
        below += f" **Outside of what is expected**: {'; '.join(outside)}."
    header, align = [*data[0]], [LEFT, LEFT, RIGHT, RIGHT, RIGHT, RIGHT]
    return numbered([header, align, *lines], caption, name, pd.DataFrame(data), below)


def _in_words(row) -> str:
    """A network: what it is, and whose images are augmented."""
    loss = f", {names.LOSSES.get(row.loss, row.loss)}" if row.loss else ""
    images = augmentation_name(row.teacher_augmentation if row.loss else row.augmentation)
    if row.loss and row.augmentation != names.BASELINE:
        images += f", own images: {augmentation_name(row.augmentation)}"
    return f"{network_name(row.network)}{loss} ({images})"


def every_run(rows: pd.DataFrame) -> Markdown:
    """Every run of a chapter, with a link to its record: what it scored, what it took, and what it was made with."""
    scores = {"accuracy": measures.ACCURACY, "test loss": measures.LOSS, "ECE": measures.ECE}
    of = {one: [measure.value(run) for run in rows["run"]] for one, measure in scores.items()}
    shifted = [measures.ACCURACY.value(run, "shifted") for run in rows["run"]]
    made = [run.metrics["provenance"] for run in rows["run"]]
    data = pd.DataFrame({
        "run": [run.key for run in rows["run"]],
        "teacher's images": rows["teacher_augmentation"].where(rows["loss"] != "", "").to_list(),
        "own images": rows["augmentation"].to_list(), "loss": rows["loss"].to_list(), "seed": rows["seed"].to_list(),
        **of, "shifted accuracy": shifted,
        **{one: [each[one] for each in made] for one in ("seconds", "device", "commit")},
    })  # fmt: skip
    scored = (*scores, "shifted accuracy")
    shown = data.astype(object)
    for column in scored:
        shown[column] = [number(value, 4) for value in data[column]]
    shown["run"] = [f"[{run}](run:{mark})" for run, mark in zip(data["run"], rows["mark"], strict=True)]
    align = [RIGHT if column in (*scored, "seed", "seconds") else LEFT for column in data]
    lines = [list(map(str, line)) for line in shown.itertuples(index=False)]
    return Markdown(f"{pipes([list(data), align, *lines])}\n\n{csv_link(data, 'runs')}\n")
