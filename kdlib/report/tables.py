"""Tidy frames as numbered tables. One builder, `show`, for all of them; their numbers come from `kdlib.results`.

A frame of levels (what networks score, beside the paper's number where it prints one) shows means, and under each the
seeds that it is of: a level has no interval. A frame of contrasts (who less whom) shows differences, each with its one
interval. Any other frame is shown as it is. Marks tell what has to be known of a number, each explained once under its
table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kdlib import augment
from kdlib.models import FULL_WIDTH
from kdlib.report.markdown import (
    LEFT,
    MISSING,
    RIGHT,
    Markdown,
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
    "contrast", "convention", "edition", "test_set", "budget", "network", "loss", "measure", "teacher_augmentation",
    "augmentation", "place", "of", "space", "less",
)  # fmt: skip
FEW = 3  # seeds that are all shown


def side_by_side(
    rows: pd.DataFrame, layout: str | Sequence[Measure], table: int = 1, split: str | None = None
) -> pd.DataFrame:
    """Numbers that the paper does not print, of the networks that one of its tables is about, controls included.

    `layout` is one of `LAYOUTS`, or measures. What no network has, for want of people's labels or a second test set,
    is left out.
    """
    chosen = LAYOUTS[layout] if isinstance(layout, str) else tuple(layout)
    of_table = rows_of(rows, table).drop(columns=["network", "augmentation"])
    of_table = of_table.rename(columns={"as_network": "network", "row": "augmentation"})
    found = levels(of_table, chosen, split, ("dataset", "network", "augmentation", "loss", "budget"))
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
    else the forms of the loss), others that hold several values label the rows; what holds one value is left out.
    """
    if frame.empty:
        return Markdown(f"*{caption.rstrip('.')}: not run.*")
    if "estimate" in frame:
        return _pivoted(frame, caption, name, across, _contrast, _below_contrasts)
    if "ours" in frame:
        return _pivoted(frame, caption, name, across, _level, _below_levels)
    return _plain(frame, caption, name)


def _pivoted(frame: pd.DataFrame, caption: str, name: str, across, cell: Callable, below: Callable) -> Markdown:
    data = _labelled(frame)
    several = [c for c in LABELS if c in data and data[c].nunique() > 1]
    if "budget" in several and len(set(data["budget"]) - {""}) < 2:  # that of teachers is no other one
        several.remove("budget")
    chosen = [across] if isinstance(across, str) else across or ["less" if "less" in several else "loss"]
    side = [c for c in chosen if c in data]
    # A frame of controls and students has an arm in each row, and perhaps only one.
    labels = [c for c in several if c not in side] or ["augmentation"]
    order = [data[c].map({value: i for i, value in enumerate(dict.fromkeys(data[c]))}) for c in labels]
    data = data.iloc[np.lexsort(order[::-1])]
    columns = list(dict.fromkeys(data[side].itertuples(index=False, name=None))) if side else [()]
    with_paper = "printed" in data and (data["printed"] != "").any()
    header = [names.COLUMNS.get(c, c.capitalize()) for c in labels]
    header += [_paper_title(data)] if with_paper else []
    for column in columns:
        title = ", ".join(filter(None, (_shown(c, value) for c, value in zip(side, column, strict=True))))
        header += [_title(title, with_paper), *(["Difference" if len(columns) == 1 else "Diff."] if with_paper else [])]
    header += ["n", "Runs"]
    lines, before = [], [""] * len(labels)
    for _, rows in data.groupby(labels, sort=False):
        first = rows.iloc[0]
        shown = [_shown(c, first[c]) for c in labels]
        new = [i for i, (old, now) in enumerate(zip(before, shown, strict=True)) if old != now] or [0]
        line, before = [text if i >= new[0] else "" for i, text in enumerate(shown)], shown
        if with_paper:
            line.append(first["printed"].replace("-", "−") or MISSING)
        by_column = {tuple(row[c] for c in side): row for row in rows.to_dict("records")}
        for column in columns:
            row = by_column.get(column)
            line.append(cell(row) if row else MISSING)
            if with_paper:
                line.append(_signed(row["difference"], row["digits"]) if row else MISSING)
        line += [" / ".join(dict.fromkeys(map(_count, rows.to_dict("records")))), links_once(rows["runs"])]
        lines.append(line)
    align = [LEFT] * len(labels) + [RIGHT] * (len(header) - len(labels))
    return numbered([header, align, *lines], caption, name, _as_csv(frame), below(data))


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


def _level(row: dict[str, Any]) -> str:
    """A mean, and under it the seeds that it is of."""
    if not row["n"]:
        return row.get("absent") or MISSING
    digits = int(row["digits"])
    mean, seeds = number(row["ours"], digits), [number(value, digits) for value in row["seeds"]]
    if len(seeds) == 1:
        return mean
    if len(seeds) > FEW:
        seeds = [interval(min(row["seeds"]), max(row["seeds"]), digits)]
    return f"{mean} <br>[{', '.join(seeds)}]{{.seeds}}"


def _contrast(row: dict[str, Any]) -> str:
    """A difference, bold if it is clear of zero and grey between kinds of machine, and under it its interval."""
    digits = int(row["digits"])
    text = number(row["estimate"], digits, "+")
    if row["clear"]:
        text = f"**{text}**"
    elif not row["one_device"]:
        text = f"[{text}]{{.grey}}"
    if np.isnan(row["low"]):
        return text
    return f"{text} <br>[{interval(row['low'], row['high'], digits)}]{{.seeds}}"


def _below_levels(data: pd.DataFrame) -> str:
    most = max(map(len, data["seeds"]), default=0)
    told = []
    if most > 1:
        told.append(f"Under a mean: its seeds{', or the range of more than three' if most > FEW else ''}.")
    if "printed" in data:
        other = data[(data["printed"] != "") & (data["paper_set"] != data["test_set"])]
        if len(other):
            ours, theirs = (listing(dict.fromkeys(other[c])) for c in ("test_set", "paper_set"))
            told.append(f"Ours are of {ours}, the paper's of {theirs}: other data, so no difference is formed.")
    return " ".join(told)


def _below_contrasts(data: pd.DataFrame) -> str:
    told = []
    if data["low"].notna().any():
        told.append("Under a difference: its 95 % interval; **bold** if that is clear of zero.")
    if data["low"].isna().any():
        told.append("Without an interval: one seed, which can't tell a difference from chance.")
    if not data["one_device"].all():
        told.append("[Grey]{.grey}: between networks from different kinds of machine.")
    return " ".join(told)


def _count(row: dict[str, Any]) -> str:
    """How many teachers' seeds, and students of each."""
    students = row.get("students") or max(1, len(row.get("seeds", ())) // max(row["n"], 1))
    return f"{row['n']} × {students}" if students > 1 else f"{row['n']}"


def _shown(column: str, value: str) -> str:
    """A label as the page has it."""
    if column == "augmentation":
        return augmentation_name(value)
    if column == "less":
        return f"less {augmentation_name(value)}"
    if column == "network":
        return network_name(value)
    if column == "loss":
        return names.LOSSES.get(value, value)  # a network without a teacher has none
    return value


def _title(text: str, with_paper: bool) -> str:
    if with_paper or not text:
        return f"Ours, {text}" if text else "Ours"
    return text[0].upper() + text[1:]


def _paper_title(data: pd.DataFrame) -> str:
    other = data[(data["printed"] != "") & (data["paper_set"] != data["test_set"])]
    return f"Paper ({', '.join(dict.fromkeys(other['paper_set']))})" if len(other) else "Paper"


def _signed(value: float, digits: int) -> str:
    return MISSING if np.isnan(value) else number(value, int(digits), "+")


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

    def applies(self, spec) -> bool:
        same = (spec.dataset, spec.model, spec.width) == (self.dataset, self.model, self.width)
        # What nobody knows is what to expect of the students of a random teacher.
        of = getattr(spec, "teacher", spec)
        known = of is spec or is_taught(spec)
        named = self.augmentation in (None, augment.label(of.augmentations))
        return same and known and named and spec.recipe.epochs >= self.epochs

    def told(self) -> str:
        return f"at least {self.low:.3f}" if self.high == 1 else f"{self.low:.2f} to {self.high:.2f}"


# Of ResNet-18: airbench's baselines, and DeVries & Taylor (2017) with a margin for the shorter training. Of LeNet and
# MNIST: what such networks usually reach, with or without a teacher. Of digits: that a network of the demo edition has
# learned its task.
EXPECTATIONS = (
    Expectation("cifar10", "resnet18", 80, "crop_flip", 0.945),
    Expectation("cifar10", "resnet18", 80, "none", 0.86, 0.90),
    Expectation("mnist", "alexnet", 10, None, 0.99),
    Expectation("mnist", "lenet", 10, None, 0.99),
    Expectation("cifar10", "lenet", 30, None, 0.60, 0.75),
    Expectation("digits", "resnet18", 1, None, 0.95, width=4),
    Expectation("digits", "lenet", 1, None, 0.95),
    Expectation("digits", "alexnet", 1, None, 0.90, width=8),
)


def sanity(rows: pd.DataFrame, caption: str, name: str) -> Markdown | None:
    """Test accuracy of each network, seed by seed, beside what is expected of its like; loud where one is outside.

    None where nothing is known beforehand of networks of that size on that data.
    """
    lines, outside = [], []
    for (network, loss, teaching, own, _), group in rows.groupby(
        ["network", "loss", "teacher_augmentation", "augmentation", "epochs"], sort=False
    ):
        for expected in (one for one in EXPECTATIONS if one.applies(group["run"].iloc[0].spec)):
            found = [measures.ACCURACY.value(run) for run in group["run"]]
            missed = [f"{accuracy:.4f}" for accuracy in found if not expected.low <= accuracy <= expected.high]
            who = f"{network_name(network)}{f', {names.LOSSES.get(loss, loss)}' if loss else ''}"
            images = augmentation_name(teaching if loss else own)
            if loss and own != "none":
                images += f", own images: {augmentation_name(own)}"
            if missed:
                outside.append(f"{who} ({images}) with {listing(missed)}, expected {expected.told()}")
            lines.append([
                who, images, expected.told(), ", ".join(f"{accuracy:.4f}" for accuracy in found),
                f"**{len(found) - len(missed)} of {len(found)}**" if missed else "yes",
                run_links(" ".join(group["mark"])),
            ])  # fmt: skip
    if not lines:
        return None
    header = ["Network", "Augmentation", "Expected", "Found, by seed", "Inside", "Runs"]
    table = numbered([header, [LEFT, LEFT, RIGHT, RIGHT, LEFT, RIGHT], *lines], caption, name)
    return Markdown(f"{table}\n**Outside of what is expected**: {'; '.join(outside)}.\n" if outside else table)


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
        shown[column] = ["" if pd.isna(value) else number(value, 4) for value in data[column]]
    shown["run"] = [f"[{run}](run:{mark})" for run, mark in zip(data["run"], rows["mark"], strict=True)]
    align = [RIGHT if column in (*scored, "seed", "seconds") else LEFT for column in data]
    lines = [list(map(str, line)) for line in shown.itertuples(index=False)]
    return Markdown(f"{pipes([list(data), align, *lines])}\n\n{csv_link(data, 'runs')}\n")
