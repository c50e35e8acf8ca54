"""The paper's figures from tidy frames, and those of this study: frames -> `Picture`s that a notebook displays.

Frames are those of `kdlib.results.frame`, contrasts those of `kdlib.results.contrasts`: nothing is measured or
compared here but what a figure alone shows. Bars are means over runs and have no interval: the runs stand over them
as dots. An interval belongs to a difference, and is the one that the tables print.
"""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory
from threadpoolctl import threadpool_limits

from kdlib import augment, data, metrics
from kdlib.causes import QUESTIONS, question_of
from kdlib.report.markdown import Markdown
from kdlib.report.style import (
    CLASS_COLOURS,
    GREY,
    MAP,
    PAPER,
    PORTRAIT,
    WIDTH,
    Picture,
    canvas,
    colour,
    dashes,
    handle,
    hatch,
    legend,
    styled,
    tiles,
    words,
)  # fmt: skip
from kdlib.results import gaps, measures, paper
from kdlib.results.claims import MIXED, Effect, Judgement, tidy
from kdlib.results.contrasts import contrasts
from kdlib.results.frame import measured
from kdlib.results.measures import ACCURACY, ECE, Measure
from kdlib.results.names import (
    BASELINE,
    CONTROLS,
    LOSSES,
    augmentation_name,
    change_titles,
    loss_name,
    network_name,
    test_set_name,
)  # fmt: skip
from kdlib.results.predictors import KIND, predictors
from kdlib.runs import Run, predicted_classes

TSNE_SEEDS = (0, 1, 2)
TSNE_SHOWN = 100  # images a class, of those that are stored: what a chapter may take the time for
CLASSES = {"cifar10": data.CIFAR10_CLASSES, "mnist": data.DIGITS, "digits": data.DIGITS}
EXAMPLES = {"cifar10": ("truck", "automobile")}  # the image of Figure 2, and what it is mixed with
CURVES = {"loss": "training loss", "accuracy": "training accuracy", "validation_accuracy": "validation accuracy"}
POINTS = "points of accuracy"
LONG = "long"  # the budget beside the chosen one
SAYS = {"for": "#009e73", "against": "#b84a00", "nil": "#005a94"}  # what an effect says of its claim; else grey
OPEN_COLOUR = "#7a7a7a"
SHADES = {gaps.MAKES: SAYS["for"], gaps.CLOSES: SAYS["against"], gaps.NOTHING: SAYS["nil"]}  # of what a change does
BAR = 0.8  # of the distance of two groups: what their bars take together


# ---------------------------------------------------------------- which rows


def teaching(rows: pd.DataFrame) -> pd.DataFrame:
    """Teachers, with `shown`: the augmentation that a figure tells them apart by."""
    return (own := rows[(rows["loss"] == "") & ~rows["control"]]).assign(shown=own["augmentation"])


def taught(rows: pd.DataFrame) -> pd.DataFrame:
    """Students of trained teachers on plain images, with `shown`, their teacher's augmentation."""
    own = rows[(rows["loss"] != "") & ~rows["control"] & (rows["augmentation"] == BASELINE)]
    return own.assign(shown=own["teacher_augmentation"])


def kinds(students: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Students by network, loss and budget, with a title for each."""
    told = titles_of_budgets(students)
    for (network, loss, budget), rows in students.groupby(["network", "loss", "budget"], sort=False):
        yield f"{network_name(network)}, {LOSSES.get(loss, loss)}{told[budget]}", rows


def titles_of_budgets(rows: pd.DataFrame) -> dict[str, str]:
    """What a title says of a budget: nothing where there is one."""
    budgets = list(dict.fromkeys(rows["budget"]))
    return {one: f", {one} training" if one and len(budgets) > 1 else "" for one in budgets}


def class_names(rows: pd.DataFrame) -> Sequence[str]:
    """The classes of the data set that the runs are of."""
    run = rows["run"].iloc[0]
    if run.spec.dataset in CLASSES:
        return CLASSES[run.spec.dataset]
    return [str(k) for k in classes_of(run)]


def classes_of(run: Run) -> range:
    """The classes as numbers: each has an image in the test set."""
    return range(int(measures.labels(run).max()) + 1)


# ---------------------------------------------------------------- Figures 1 and 7: bars


def overview(teachers: pd.DataFrame, students: pd.DataFrame) -> Picture:
    """Figure 1: accuracy of teachers and students by augmentation."""
    return bars(teachers, students, ACCURACY)


def calibration_bars(teachers: pd.DataFrame, students: pd.DataFrame) -> Picture:
    """Figure 7: expected calibration error of teachers and students by augmentation."""
    return bars(teachers, students, ECE)


@styled
def bars(teachers: pd.DataFrame, students: pd.DataFrame, measure: Measure) -> Picture:
    """A measure of teachers and students by augmentation, a column a loss; the paper's of Table 1 as diamonds.

    Every budget has a row of its own.
    """
    of_teachers, of_students = teaching(teachers), taught(students)
    budgets, losses = (list(dict.fromkeys(of_students[name])) or [""] for name in ("budget", "loss"))
    told = titles_of_budgets(of_students) or {"": ""}
    figure, axes = canvas(len(budgets), len(losses), 2.3 * len(budgets), sharey="row")
    order = list(dict.fromkeys([*of_teachers["shown"], *of_students["shown"]]))
    for (i, budget), (j, loss) in itertools.product(enumerate(budgets), enumerate(losses)):
        own = students[(students["budget"] == budget) & students["loss"].isin(["", loss])]
        if len(of_students) and taught(own).empty:  # nothing is stored of this length under this loss
            axes[i, j].set_visible(False)
            continue
        draw_levels(axes[i, j], levels_of_both(of_teachers, taught(own), measure), measure, order)
        axes[i, j].set_title(f"{loss_name(loss)}{told[budget]}" if loss else "")
    for row in axes:
        row[0].set_ylabel(measure.title)
    of_paper = set(of_teachers["dataset"]) == {"cifar10"}
    legend(figure, order, bars=True, more=[handle("the paper's", **PAPER)] if of_paper else [])
    return Picture(figure)


def levels_of_both(teachers: pd.DataFrame, students: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Every run's value, with the `group` of bars that it belongs to."""
    both = measured(pd.concat([teachers, students], ignore_index=True), [measure])
    return both.assign(group=[group(row.network, row.loss) for row in both.itertuples()])


def group(network: str, loss: str) -> str:
    return f"{network_name(network)}\n{'student' if loss else 'teacher'}"


def draw_levels(axes: Axes, values: pd.DataFrame, measure: Measure, order: Sequence[str]) -> None:
    groups = list(dict.fromkeys(values["group"]))
    about = {"x": "group", "y": measure.name, "hue": "shown", "order": groups, "hue_order": order, "ax": axes}
    palette = {one: colour(one) for one in order}
    sns.barplot(values, palette=palette, errorbar=None, width=BAR, saturation=1, legend=False, **about)
    dots = {"size": 2.6, "linewidth": 0.5, "edgecolor": "#f0f0f0", "palette": dict.fromkeys(order, GREY)}
    sns.stripplot(values, dodge=True, jitter=False, legend=False, **dots, **about)
    for one, container in zip(order, axes.containers):
        for bar in container:
            bar.set(hatch=hatch(one), edgecolor=GREY, lw=0)
    for row in values.drop_duplicates(["group", "shown"]).itertuples():
        printed = of_paper(row, measure)
        if printed is not None:
            axes.plot(groups.index(row.group) + beside(order, row.shown), printed, **PAPER)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(axis="x", length=0)


def beside(order: Sequence[str], shown: str) -> float:
    """How far right of its group's middle an augmentation's bar stands."""
    return (order.index(shown) - (len(order) - 1) / 2) * BAR / len(order)


def of_paper(row, measure: Measure) -> float | None:
    """The cell of Table 1 about such networks; None where the data are not the paper's or it has none."""
    if row.dataset != "cifar10":
        return None
    try:
        return paper.value(1, row.shown, row.network if row.loss else "teacher", "cifar10", measure.printed)
    except paper.PaperError:
        return None


# ---------------------------------------------------------------- Figure 2: augmented images


def data_at_hand(dataset: str) -> str:
    """`dataset` where its files lie on this machine, else `digits`, which needs none."""
    return dataset if data.at_hand(dataset) else "digits"


@styled
def augmented_images(dataset: str, augmentations: Sequence[tuple[str, ...]]) -> Picture:
    """Figure 2: what each augmentation makes of one training image, with the labels that mixing leaves it."""
    loaded = data.load(data_at_hand(dataset))
    names = EXAMPLES.get(loaded.name, loaded.classes[:2])
    chosen = [int(np.flatnonzero(loaded.train.labels == loaded.classes.index(name))[0]) for name in names]
    images, labels = torch.as_tensor(loaded.train.images[chosen]), torch.arange(2)
    shown = [(), *(one for one in augmentations if one)]
    figure, axes = tiles(len(shown), 5, 1.95, 0)
    for place, one in zip(axes, shown, strict=True):
        pixels, label = telling_example(images, labels, one, loaded)
        place.imshow(pixels, interpolation="nearest")
        title = augmentation_name(augment.label(one)) if one else "as it is"
        said = f"“{names[0]}”"
        if isinstance(label, tuple):
            said = f"{label[2]:.2f} {said} +\n{1 - label[2]:.2f} “{names[1]}”"
        place.set_title(f"{title}\n{said}", fontsize=6.5)
        place.set_axis_off()
    return Picture(figure, "png")


def telling_example(images: torch.Tensor, labels: torch.Tensor, augmentations: tuple[str, ...], loaded: data.Dataset):
    """The first draw that shows something: pixels 0..255 (H, W, 3) of the first image, and its labels.

    Of mixed images it is one with the other image as partner and a share of 0.45 to 0.75, of others one that changes a
    sixth of the pixels or more.
    """
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (loaded.mean, loaded.std))
    for seed in range(1000):
        x, label = augment.augment(images, labels, augmentations, mean, std, torch.Generator().manual_seed(seed))
        pixels = ((x[0].permute(1, 2, 0) * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        changed = (pixels != images[0]).any(dim=2).float().mean()
        if isinstance(label, tuple):
            telling = label[1][0] != label[0][0] and 0.45 <= label[2] <= 0.75
            label = (*label[:2], float(label[2]))
        else:
            telling = not augmentations or changed >= 1 / 6
        if telling:
            break
    return pixels.numpy(), label


def which_images(dataset: str) -> Markdown | None:
    """A sentence where Figure 2 can't show the images of this page's data set."""
    if data_at_hand(dataset) == dataset:
        return None
    name = test_set_name(dataset, "test")
    return Markdown(f"*The files of {name} are not on this machine: digits, which need none, stand in for them below.*")


# ---------------------------------------------------------------- learning curves


@styled
def learning_curves(teachers: pd.DataFrame) -> Picture:
    """Learning curves of teachers: the mean over seeds, and the range of the seeds."""
    return curves([("", teaching(teachers))], ranges=True)


@styled
def student_learning_curves(students: pd.DataFrame) -> Picture:
    """Learning curves of students, a row of axes for each network, form of the loss and budget.

    Means over seeds alone: the augmentations lie so close that the ranges of their seeds would cover each other.
    """
    return curves(list(kinds(taught(students))), ranges=False)


def curves(groups: Sequence[tuple[str, pd.DataFrame]], *, ranges: bool) -> Picture:
    """Loss on a logarithmic scale and accuracy by epoch, and accuracy on the images held out where some were."""
    histories = [(title, history(rows)) for title, rows in groups]
    columns = [one for one in CURVES if any(one in of and of[one].notna().any() for _, of in histories)]
    figure, axes = canvas(len(histories), len(columns), 0.5 + 1.9 * len(histories) + 0.4 * ranges, sharex="row")
    for places, (title, of) in zip(axes, histories, strict=True):
        for place, column in zip(places, columns, strict=True):
            known = column in of and of[column].notna().any()
            place.set_visible(known)
            if known:
                draw_curve(place, of.dropna(subset=column), column, ranges)
            place.set(xlabel="epoch", ylabel=CURVES[column])
            place.set_title(title, fontsize=8)
        if "validation_accuracy" in columns:
            places[-1].sharey(places[-2])
        places[0].set_yscale("log")
        places[0].yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    legend(figure, [one for _, of in histories for one in of["shown"].unique()])
    return Picture(figure)


def history(rows: pd.DataFrame) -> pd.DataFrame:
    """The histories of runs under each other, with `shown` of each."""
    return pd.concat([row.run.history.assign(shown=row.shown) for row in rows.itertuples()], ignore_index=True)


def draw_curve(axes: Axes, of: pd.DataFrame, column: str, ranges: bool) -> None:
    order = list(of["shown"].unique())
    sns.lineplot(
        of, x="epoch", y=column, hue="shown", style="shown", hue_order=order, style_order=order, linewidth=1.4,
        palette={one: colour(one) for one in order}, legend=False, ax=axes,
        dashes={one: "" if dashes(one) == "-" else (3, 1.5) for one in order}, errorbar=("pi", 100) if ranges else None,
    )  # fmt: skip
    axes.locator_params(axis="x", integer=True)


# ---------------------------------------------------------------- how long a student learns


@styled
def budget_curve(trials: pd.DataFrame) -> Picture:
    """What students reach on images held out of the training set, against the epochs that they train in all.

    Above, the mean over the augmentations of their teachers, which decides how long students train (a ring is where it
    is highest), and the controls; below, the students of MixUp and CutMix teachers less the baseline's. A column a
    network; the formula's loss solid, others dashed.
    """
    found = trials.assign(validation=[run.history["validation_accuracy"].iloc[-1] for run in trials["run"]])
    networks = list(dict.fromkeys(found["network"]))
    figure, axes = canvas(2, len(networks), 4.6, PORTRAIT if len(networks) == 1 else WIDTH, sharex=True, sharey="row")
    for (top, bottom), network in zip(axes.T, networks, strict=True):
        own = found[found["network"] == network]
        for (control, loss), group in own[own["control"]].groupby(["teacher_augmentation", "loss"], sort=False):
            top.plot(*by_epochs(group["validation"], group["epochs"]), color=colour(control), ls=line(loss), lw=1)
        for loss, group in taught(own).groupby("loss", sort=False):
            epochs, mean = by_epochs(group["validation"], group["epochs"])
            top.plot(epochs, mean, "o", ms=3, ls=line(loss), color=GREY, lw=1.6)
            top.plot(epochs[np.argmax(mean)], mean.max(), "o", ms=9, mfc="none", color=GREY)
            draw_gaps(bottom, group, line(loss))
        top.set_title(network_name(network))
        bottom.axhline(0, color=GREY, lw=0.8)
        bottom.set(xlabel="epochs of training", xscale="log")
        ticks = sorted(set(own["epochs"]))
        bottom.set_xticks(ticks, ticks)
        bottom.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes[0, 0].set_ylabel("validation accuracy")
    axes[1, 0].set_ylabel("points from the\nbaseline's student")
    controls = [one for one in CONTROLS if one in set(found["teacher_augmentation"][found["control"]])]
    lines = [handle("mean of students", color=GREY, marker="o", ms=3, lw=1.6)]
    losses = [one for one in LOSSES if one in set(found["loss"])]
    lines += [handle(loss_name(one), color=GREY, ls=line(one)) for one in losses if len(losses) > 1]
    handles = [handle(augmentation_name(one), color=colour(one)) for one in (*MIXED, *controls)]
    figure.legend(handles=[*lines, *handles], loc="outside lower center", ncols=2 if len(networks) == 1 else 4)
    return Picture(figure)


def by_epochs(values: pd.Series, epochs: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of epochs, and the mean of the values at each."""
    mean = values.groupby(epochs).mean()
    return mean.index.to_numpy(), mean.to_numpy()


def draw_gaps(axes: Axes, group: pd.DataFrame, style: str) -> None:
    """Students of mixed teachers less the baseline's, in points, of seeds that both have."""
    by_seeds = group.pivot_table("validation", ["epochs", "teacher_seed", "seed"], "shown")
    for one in MIXED:
        if {one, BASELINE} <= set(by_seeds):
            gap = 100 * (by_seeds[one] - by_seeds[BASELINE]).dropna().groupby("epochs").mean()
            axes.plot(gap.index, gap, "o", ms=3, ls=style, color=colour(one), lw=1.4)


def line(loss: str) -> str:
    return "-" if loss in ("", "batchmean") else "--"


# ---------------------------------------------------------------- differences and effects


@styled
def from_baseline(students: pd.DataFrame) -> Picture:
    """How much more accurate a student is than the baseline teacher's, and what controls are: a panel a network.

    Every loss and budget has its interval; the paper's numbers are diamonds.
    """
    found = contrasts(students, ACCURACY).query("augmentation == @BASELINE and less == @BASELINE")
    found = found.assign(shown=found["who"])
    rows = sorted(dict.fromkeys(found["who"]), key=lambda one: one in CONTROLS)
    networks = list(dict.fromkeys(found["network"]))
    figure, axes = canvas(len(networks), 1, 0.9 + len(networks) * (0.7 + 0.36 * len(rows)), PORTRAIT, sharex=True)
    forms = list(dict.fromkeys(zip(found["loss"], found["budget"])))
    for place, network in zip(axes[:, 0], networks, strict=True):
        place.axvline(0, color=GREY, lw=0.8)
        for row in found[found["network"] == network].itertuples():
            y = rows.index(row.who) + spaced(forms, (row.loss, row.budget))
            shade = colour(row.who) if row.one_device else GREY
            mark = marker(is_other(row.budget, forms), row.loss == "batchmean", shade)
            place.plot([100 * row.low, 100 * row.high], [y, y], color=mark["color"], lw=1.3)
            place.plot(100 * row.estimate, y, **mark)
            printed = of_paper(row, ACCURACY)
            if printed is not None:
                gap = printed - of_paper(row._replace(shown=BASELINE), ACCURACY)
                place.plot(100 * gap, rows.index(row.who), **PAPER)
        place.set_yticks(range(len(rows)), [augmentation_name(one) for one in rows])
        place.set_ylim(len(rows) - 0.5, -0.5)
        place.set_title(f"{network_name(network)} students")
    axes[-1, 0].set_xlabel("points of accuracy from the\nbaseline teacher's student")
    figure.legend(handles=form_handles(forms, found), loc="outside lower center", ncols=1)
    return Picture(figure)


def marker(square: bool, filled: bool, shade: str) -> dict:
    face = shade if filled else "none"
    return {"marker": "s" if square else "o", "ms": 4.5, "ls": "", "color": shade, "mec": shade, "mfc": face}


def is_other(budget: str, forms: Iterable[tuple[str, str]]) -> bool:
    """Whether a budget is the long one, and not the only one; `forms` have their budget second."""
    return budget == LONG and {one for _, one in forms} != {LONG}


def spaced(forms: Sequence, form) -> float:
    """How far below its row's middle one of several marks stands."""
    return (forms.index(form) - (len(forms) - 1) / 2) * 0.72 / len(forms)


def form_handles(forms: Sequence[tuple[str, str]], found: pd.DataFrame) -> list[Line2D]:
    told, handles = titles_of_budgets(found), []
    for loss, budget in forms:
        mark = marker(is_other(budget, forms), loss == "batchmean", GREY)
        handles.append(handle(f"{loss_name(loss)}{told[budget]}", **mark))
    return handles + [handle("the paper's", **PAPER)] * (set(found["dataset"]) == {"cifar10"})


@styled
def gap_by_change(found: pd.DataFrame) -> Picture:
    """The headline's gap under each change of `kdlib.results.gaps`, in points, a panel a question.

    Hollow, and as a dashed line, is the gap of what a panel's changes stand beside, in each panel that has such. The
    first has the paper's, where it prints one and there is one network.
    """
    if found.empty:
        return words("There is no gap without both mixing teachers and the baseline's.")
    panels = panels_of(found.assign(label=change_titles(found["who"], found["network"])))
    one = found["network"].nunique() == 1
    printed = gaps.printed_gap(found["dataset"].iloc[0], found["network"].iloc[0]) if one else np.nan
    sizes = [len(own) for _, own in panels]
    sizes[0] += bool(np.isfinite(printed))
    figure, axes = canvas(
        len(panels), 1, 1.0 + sum(0.34 * size + 0.35 for size in sizes), PORTRAIT, sharex=True,
        gridspec_kw={"height_ratios": [size + 0.5 for size in sizes]},
    )  # fmt: skip
    for place, size, (question, own) in zip(axes[:, 0], sizes, panels, strict=True):
        place.set_title(question.capitalize(), loc="left", fontweight="bold")
        place.axvline(0, color=GREY, lw=0.8)
        for y, row in enumerate(own.itertuples()):
            shade = OPEN_COLOUR if row.beside else SHADES.get(row.says, OPEN_COLOUR)
            if row.beside:
                place.axvline(100 * row.gap, color=shade, lw=0.8, ls="--")
            place.plot([100 * row.gap_low, 100 * row.gap_high], [y, y], color=shade, lw=1.3)
            place.plot(100 * row.gap, y, **marker(False, not row.beside, shade))
        labels = [textwrap.fill(one, 26) for one in own["label"]]
        if size > len(own):
            place.plot(100 * printed, len(own), **PAPER)
            labels.append("the paper's")
        place.set_yticks(range(size), labels)
        place.set_ylim(size - 0.5, -0.5)
    axes[-1, 0].set_xlabel("gap, points of accuracy")
    handles = [handle(says, color=shade, lw=3) for says, shade in SHADES.items() if says in set(found["says"])]
    if gaps.OPEN in set(found["says"]):
        handles.append(handle("open, or one seed", color=OPEN_COLOUR, lw=3))
    handles.append(handle("what they stand beside", **marker(False, False, OPEN_COLOUR)))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return Picture(figure)


def panels_of(found: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The changes of each question in the order of `causes.QUESTIONS`, after what they stand `beside`."""
    changes = found[found["who"] != ""]
    asked = changes["who"].map(question_of)
    panels = []
    for question in sorted(asked.unique(), key=[*QUESTIONS, *asked].index):
        own = changes[asked == question]
        beside = found[found["who"].isin(set(own["less"]) - set(own["who"]))]
        panels.append((question, pd.concat([beside.assign(beside=True), own.assign(beside=False)])))
    return panels or [("", found.assign(beside=True))]


@styled
def said_and_reached(pairs: pd.DataFrame) -> Picture:
    """Each measure of a teacher against the accuracy of its students (`kdlib.results.predictors.pairs_of`).

    A point a teacher, a panel a measure; of several kinds of students the first of `predictors` alone.
    """
    correlated = predictors(pairs)
    if correlated.empty:
        return words("Too few augmentations have teachers and students that are stored.")
    own = pairs[(pairs[KIND] == correlated.iloc[0][KIND]).all(axis=1)]
    figure, axes = tiles(own["measure"].nunique(), 2, 1.45, 0.5, PORTRAIT)
    for place, (measure, of) in zip(axes, own.groupby("measure", sort=False), strict=True):
        for augmentation, points in of.groupby("teacher_augmentation", sort=False):
            place.plot(points["said"], 100 * points["reached"], **marker(False, True, colour(augmentation)))
        place.set_xlabel(measure)
        place.margins(0.12)
    for place in axes[::2]:
        place.set_ylabel("students, %")
    arms = own["teacher_augmentation"].unique()
    handles = [handle(augmentation_name(one), **marker(False, True, colour(one))) for one in arms]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return Picture(figure)


@styled
def forest(editions: Mapping[str, Sequence[Judgement]], half: int | None = None) -> Picture:
    """The primary effect of each claim, under each other: the paper's size as a diamond, ours with their intervals.

    `editions` are judgements by the name of their edition. With a `half`, 0 or 1, it shows the first half of the claims
    or the others, and explains the marks of all. What an effect says of its claim has a colour; editions and
    budgets have marks. It is narrow, so that a telephone shows it whole with text of a size that can be read.
    """
    effects = effects_of(editions).query("primary")
    forms = sorted(dict.fromkeys(zip(effects["edition"], effects["budget"])), key=lambda form: form[1] == LONG)
    forms = [form for form in forms if form[1]] or forms  # what is said of teachers alone is of no budget
    if half is not None:
        claims = list(dict.fromkeys(effects["claim"]))
        middle = -(-len(claims) // 2)
        effects = effects[effects["claim"].isin(claims[middle:] if half else claims[:middle])]
    if effects.empty:
        return words("There is no claim to show.")
    groups = list(effects.groupby(["claim", "unit"], sort=False))
    sizes = [sum(height for height, *_ in forest_lines(own)) for _, own in groups]
    figure, axes = canvas(
        len(groups), 1, 1.2 + sum(0.2 * size + 0.52 for size in sizes), PORTRAIT,
        gridspec_kw={"height_ratios": [0.2 * size + 0.1 for size in sizes]},
    )  # fmt: skip
    for place, ((claim, unit), own) in zip(axes[:, 0], groups, strict=True):
        draw_effects(place, own, forms, 100 if unit == POINTS else 1)
        place.set_xlabel(unit)
        place.set_title(f"Claim {claim}", loc="left", fontweight="bold")
    figure.legend(handles=forest_handles(forms), loc="outside lower center", ncols=2, columnspacing=1)
    return Picture(figure)


def effects_of(editions: Mapping[str, Sequence[Judgement]]) -> pd.DataFrame:
    """The effects of every edition, with the `unit` of their scale."""
    found = []
    for edition, judgements in editions.items():
        effects = [finding.effect for case in judgements for finding in case.findings]
        own = tidy(judgements).assign(edition=edition, unit=[unit_of(effect) for effect in effects])
        of_teachers = [all(column.network == "teacher" for column in effect.columns) for effect in effects]
        own.loc[of_teachers, ["loss", "budget"]] = ""  # the same under each form of the loss
        found.append(own.drop_duplicates(["claim", "effect", "loss", "budget"]))
    return pd.concat(found, ignore_index=True)


def unit_of(effect: Effect) -> str:
    if effect.ranked:
        return "rank correlation"
    measure = effect.columns[0].measure
    return POINTS if measure is ACCURACY else measure.title


def forest_lines(own: pd.DataFrame) -> list[tuple[int, str, pd.DataFrame | None]]:
    """Lines of text and of marks, from above: their height, their text, and the effects of a line of marks."""
    lines = []
    for title, of_title in own.groupby("effect", sort=False):
        lines += [(1, text, None) for text in textwrap.wrap(title, 54)]
        lines += [(2, LOSSES.get(loss, loss), group) for loss, group in of_title.groupby("loss", sort=False)]
    return lines


def draw_effects(axes: Axes, own: pd.DataFrame, forms: Sequence[tuple[str, str]], scale: float) -> None:
    y, ticks = 0.0, {}
    for height, text, group in forest_lines(own):
        middle = y + height / 2
        if group is None:
            left = blended_transform_factory(axes.figure.transFigure, axes.transData)
            axes.text(0.01, middle, text, transform=left, fontsize=8, va="center").set_in_layout(False)
        else:
            ticks[middle] = text
            axes.plot([0, 0], [y, y + height], color=GREY, lw=0.8, zorder=0)
            for row in group.itertuples():
                draw_effect(axes, row, middle + height * spaced(forms, form_of(row, forms)), forms, scale)
            axes.plot(scale * group["paper"].iloc[0], middle, **PAPER)
        y += height
    axes.set_ylim(y, 0)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=6)  # of numbers with a minus and two decimals there is no room for more


def form_of(row, forms: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Edition and budget of an effect; of teachers, which have no budget, the first of their edition."""
    return next(one for one in forms if one[0] == row.edition and row.budget in ("", one[1]))


def draw_effect(axes: Axes, row, y: float, forms: Sequence[tuple[str, str]], scale: float) -> None:
    shade = SAYS.get(row.says, OPEN_COLOUR)
    mark = marker(row.edition != forms[0][0], not is_other(row.budget, forms), shade)
    axes.plot([scale * row.low, scale * row.high], [y, y], color=shade, lw=1.4)
    axes.plot(scale * row.estimate, y, **mark)


def forest_handles(forms: Sequence[tuple[str, str]]) -> list[Line2D]:
    handles, several = [], len({budget for _, budget in forms}) > 1
    for edition, budget in forms:
        name = ", ".join(filter(None, [edition, f"{budget} training" if several else ""])) or "ours"
        handles.append(handle(name, **marker(edition != forms[0][0], not is_other(budget, forms), GREY)))
    handles.append(handle("the paper's", **PAPER))
    names = {"for": "for the claim", "against": "against it", "nil": "no effect", "open": "open, or one seed"}
    return handles + [handle(name, color=SAYS.get(says, OPEN_COLOUR), lw=3) for says, name in names.items()]


# ---------------------------------------------------------------- matrices: confusion, and Figures 3 and 6


def confusion(run: Run) -> np.ndarray:
    """Share of the test images of each class (rows) that are taken for each class (columns), (K, K)."""
    from sklearn.metrics import confusion_matrix  # slow to import

    predicted = predicted_classes(run.predictions)
    return confusion_matrix(measures.labels(run), predicted, labels=classes_of(run), normalize="true")


def confusion_matrices(teachers: pd.DataFrame) -> Picture:
    """Confusion of the teachers of each augmentation, mean over seeds, the diagonal masked, on one common scale."""
    panels = mean_matrices(teaching(teachers), confusion)
    return matrices(panels, class_names(teachers), "share of the class's images", "label", "prediction")


def student_confusion_matrices(students: pd.DataFrame) -> Picture:
    """Confusion of the students of the baseline's teacher and of CutMix's, for each kind of student."""
    panels = {}
    for title, rows in kinds(taught(students)):
        panels |= mean_matrices(contrasted(rows), confusion, f"{textwrap.fill(title, 26)}\n")
    return matrices(panels, class_names(students), "share of the class's images", "label", "prediction", across=2)


def confidence_by_class(teachers: pd.DataFrame) -> Picture:
    """Figure 3: mean confidence by true class of people and of teachers, the diagonal masked, on one common scale."""
    people = next((found for run in teachers["run"] if (found := measures.human_means(run)) is not None), None)
    panels = {} if people is None else {"people": people}
    panels |= mean_matrices(contrasted(teaching(teachers)), measures.mean_predictions, "teacher: ")
    return matrices(panels, class_names(teachers), "mean confidence", "label", "confidence in")


def class_kl_matrices(teachers: pd.DataFrame) -> Picture:
    """Figure 6: the divergence of people on one class from a teacher on another, on one common scale."""
    panels = mean_matrices(contrasted(teaching(teachers)), measures.class_kl, "teacher: ")
    rows = "people on" if any(measures.human_means(run) is not None for run in teachers["run"]) else "label"
    return matrices(panels, class_names(teachers), "KL divergence, nats", rows, "model on", mask=False)


def mean_matrices(rows: pd.DataFrame, of: Callable[[Run], np.ndarray], before: str = "") -> dict[str, np.ndarray]:
    """The mean over runs of a matrix (K, K), by augmentation."""
    return {
        f"{before}{augmentation_name(shown)}": np.mean([of(run) for run in group["run"]], axis=0)
        for shown, group in rows.groupby("shown", sort=False)
    }


def contrasted(rows: pd.DataFrame) -> pd.DataFrame:
    """Those that Figures 3 and 6 compare: the baseline's, CutMix's alone and after others; all, if none is."""
    chosen = rows["shown"].map(lambda one: one == BASELINE or "cutmix" in one.split("+")).astype(bool)
    return rows[chosen] if chosen.any() else rows


@styled
def matrices(panels: Mapping[str, np.ndarray], classes: Sequence[str], label: str, rows: str, columns: str,
             *, mask: bool = True, across: int = 3) -> Picture:  # fmt: skip
    """Matrices (K, K) side by side on one common scale; `mask` leaves the diagonal out of picture and scale."""
    across = min(len(panels), across)
    figure, axes = tiles(len(panels), across, 2.45, 0.45, 0.7 + 2.3 * across)
    hidden = np.eye(len(classes), dtype=bool) & mask
    low = min(0.0, *(float(m[~hidden].min()) for m in panels.values()))
    high = max(float(m[~hidden].max()) for m in panels.values())
    for i, (place, (title, matrix)) in enumerate(zip(axes, panels.items(), strict=True)):
        lowest = i + across >= len(panels)  # of its column
        sns.heatmap(
            matrix, mask=hidden, cmap=MAP, vmin=low, vmax=high, square=True, cbar=False, ax=place,
            xticklabels=classes if lowest else [], yticklabels=[] if i % across else classes,
        )  # fmt: skip
        place.set_title(title, fontsize=8)
        place.tick_params(length=0, labelsize=6.5)
        place.set(xlabel=columns if lowest else "", ylabel="" if i % across else rows)
    bar = figure.colorbar(axes[0].collections[0], ax=axes, shrink=0.7, aspect=28, pad=0.02)
    bar.set_label(label, color=GREY)
    bar.ax.tick_params(color=GREY, labelcolor=GREY, labelsize=7)
    bar.outline.set_visible(False)
    return Picture(figure, "png")


# ---------------------------------------------------------------- Figure 4: the latent space


@dataclass(frozen=True, eq=False)
class LatentMap:
    """One teacher's embeddings of four classes, in two dimensions under several seeds of t-SNE."""

    augmentation: str
    embeddings: np.ndarray  # (M, D) principal components
    labels: np.ndarray  # (M,)
    planes: tuple[np.ndarray, ...]  # (M, 2) each


def latent_maps(teachers: pd.DataFrame, seeds: Sequence[int] = TSNE_SEEDS) -> list[LatentMap]:
    """t-SNE of the stored embeddings of the first seed's teachers, the first `TSNE_SHOWN` images of each class."""
    out = []
    for row in teaching(teachers).drop_duplicates("shown").itertuples():
        labels = row.run.latent["labels"].astype(int)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == k)[:TSNE_SHOWN] for k in np.unique(labels)]))
        x, labels = row.run.latent["components"][chosen].astype(np.float32), labels[chosen]
        out.append(LatentMap(row.shown, x, labels, tuple(flattened(x, seed) for seed in seeds)))
    return out


def flattened(x: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of `x` (M, D) from a random start, so that seeds differ; (M, 2)."""
    from sklearn.manifold import TSNE  # slow to import

    perplexity = min(30.0, (len(x) - 1) / 3)
    with threadpool_limits(1):  # of so few points, threads cost more than they bring
        return TSNE(perplexity=perplexity, init="random", max_iter=500, random_state=seed).fit_transform(x)


@styled
def latent_space(teachers: pd.DataFrame, maps: Sequence[LatentMap]) -> Picture:
    """Figure 4: one t-SNE of each augmentation's teacher, coloured by class."""
    classes = class_names(teachers)
    figure, axes = tiles(len(maps), 3, 2.1, 0.4)
    groups = measures.GROUPS.get(teachers["dataset"].iloc[0], (np.unique(maps[0].labels).tolist(),))
    colours = dict(zip(itertools.chain(*groups), CLASS_COLOURS))
    for place, one in zip(axes, maps, strict=True):
        plane = one.planes[0]
        sns.scatterplot(
            x=plane[:, 0], y=plane[:, 1], hue=one.labels, palette=colours, s=9, linewidth=0, alpha=0.75, legend=False,
            ax=place,
        )  # fmt: skip
        place.set_title(augmentation_name(one.augmentation))
        place.set(xticks=[], yticks=[], xlabel="", ylabel="")
        place.spines[:].set(visible=True, alpha=0.4)
    handles = [handle(classes[k], ls="", marker="o", color=shade) for k, shade in colours.items()]
    seeds = f"teachers' seed {teaching(teachers)['seed'].iloc[0]}, seed of t-SNE {TSNE_SEEDS[0]}"
    title = f"{len(maps[0].labels)} images, {seeds}"
    figure.legend(handles=handles, loc="outside lower center", ncols=4, title=title, title_fontsize=7)
    return Picture(figure, "png", dpi=100)


def silhouettes(teachers: pd.DataFrame, maps: Sequence[LatentMap]) -> pd.DataFrame:
    """What Figure 4 shows in numbers: silhouettes of the four classes and, where there are any, of their two groups.

    A row a number: `augmentation`, `of` ("classes" or "groups"), `space` ("embedding", of each teacher, or "t-SNE", of
    each of its seeds and the first teacher), `silhouette` in -1..1, higher where clusters are tighter and further
    apart, and `runs`, the mark of the teacher.
    """
    from sklearn.metrics import silhouette_score  # slow to import

    groups = measures.GROUPS.get(teachers["dataset"].iloc[0])
    partitions = {"classes": lambda labels: labels}
    if groups:
        partitions["groups"] = lambda labels: np.isin(labels, groups[1]).astype(int)
    rows, own = [], teaching(teachers)
    for one, (of, partition) in itertools.product(maps, partitions.items()):
        same = own[own["shown"] == one.augmentation]
        spaces = [
            ("embedding", run.latent["components"].astype(np.float32), run.latent["labels"], mark)
            for run, mark in zip(same["run"], same["mark"], strict=True)
        ]
        spaces += [("t-SNE", plane, one.labels, same["mark"].iloc[0]) for plane in one.planes]
        for space, x, labels, mark in spaces:
            found = float(silhouette_score(x, partition(labels)))
            rows.append({"augmentation": one.augmentation, "of": of, "space": space, "silhouette": found, "runs": mark})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- Figure 5: reliability


MIN_IMAGES = 10  # of a bin, to be drawn


@styled
def reliability(teachers: pd.DataFrame, students: pd.DataFrame) -> Picture:
    """Figure 5: accuracy against confidence of teachers and of each kind of student, over all seeds that have it."""
    students = students[students["run"].map(lambda run: not run.is_slim).astype(bool)]
    panels = [("teacher", teaching(teachers)), *kinds(taught(students))]
    figure, axes = tiles(len(panels), 3, 2.3, 0.5)
    for place, (title, rows) in zip(axes, panels, strict=True):
        place.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        for shown, group in rows.groupby("shown", sort=False):
            draw_reliability(place, shown, group["run"])
        place.set_title(title, fontsize=8)
        place.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence", ylabel="accuracy")
    legend(figure, panels[0][1]["shown"])
    return Picture(figure)


def draw_reliability(axes: Axes, shown: str, runs: Iterable[Run]) -> None:
    probs = np.concatenate([measures.probabilities(run) for run in runs])
    labels = np.concatenate([measures.labels(run) for run in runs])
    curve = metrics.reliability_curve(probs, labels)
    seen = curve.count >= MIN_IMAGES
    style = {"color": colour(shown), "ls": dashes(shown), "lw": 1.3, "marker": "o", "ms": 2.5}
    axes.plot(curve.confidence[seen], curve.accuracy[seen], **style)
