"""The paper's figures from our runs: lists of runs -> `Picture`s that a notebook displays.

Every arm has one colour in every figure, safe for colour-blind readers; crossed arms are dashed or hatched besides.
Lines and text are dark on a transparent ground. Line drawings are SVG with their text as text, and the style sheet
inverts their lightness on dark pages; maps of pixels and points are PNG, and keep a white card there. So every line
and bar has 3:1 against either page, and text more. An executed notebook stays small. Captions stand with the
notebooks, so that no figure repeats one as a title.
"""

import base64
import functools
import io
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from kdlib import augment, data, metrics, paper, stats, tables
from kdlib.runs import TSNE_CLASSES, Run
from kdlib.tables import Markdown, arm_name, loss_name, minus, network_name, name_of_test_set

GREY = "#4d4d4d"  # of axes and text
# Okabe and Ito's colours, and Tol's for the crossed arms, the light ones darkened to 3:1 against white.
COLOURS = {
    "none": "#005a94",
    "crop_flip": "#3a9bd9",
    "cutout": "#009e73",
    "mixup": "#c48600",
    "cutmix": "#b84a00",
    "crop_flip+cutout": "#999933",
    "crop_flip+mixup": "#8f7fd0",
    "crop_flip+cutmix": "#cc79a7",
    "alone": "#6b6b6b",
    "random": "#949494",
}
OTHER_COLOURS = ("#b8860b", "#4e9a9a", "#a6761d", "#b35c9e")
CLASS_COLOURS = ("#c48600", "#009e73", "#005a94", "#b84a00")
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib; a page without it takes any other
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": GREY,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "kdlib",
}
WIDTH = 7.6  # inches: the width of a page's column
MAP = "viridis"  # covers its ground, so that it reads the same on light and on dark
TSNE_SEEDS = (0, 1, 2)
TSNE_IMAGES = 100  # a class: what a chapter may take the time for
CLASSES = {"cifar10": data.CIFAR10_CLASSES, "mnist": data.DIGITS, "digits": data.DIGITS}
EXAMPLES = {"cifar10": ("truck", "automobile")}  # the image of Figure 2, and what it is mixed with


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure as a notebook shows it: `form` is `svg` or `png`."""

    figure: Figure
    form: str = "svg"
    dpi: int = 130  # of a png

    def bytes(self) -> bytes:
        """The file's content, made small; the same figure gives the same bytes."""
        out = io.BytesIO()
        dated = ("Creator", "Date", "Format", "Type") if self.form == "svg" else ("Software",)
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(
                out, format=self.form, dpi=self.dpi, transparent=True, bbox_inches="tight", pad_inches=0.04,
                metadata=dict.fromkeys(dated),
            )  # fmt: skip
        if self.form == "svg":
            return shorter(out.getvalue())
        few_colours = Image.open(out).quantize(256, method=Image.Quantize.FASTOCTREE)
        out = io.BytesIO()
        few_colours.save(out, "png", optimize=True)
        return out.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        content = self.bytes()
        if self.form == "svg":
            return {"image/svg+xml": content.decode(), "text/plain": "<figure>"}
        return {"image/png": base64.b64encode(content).decode(), "text/plain": "<figure>"}


def shorter(svg: bytes) -> bytes:
    """A drawing in fewer bytes: a tenth of a point is fine enough for a path, a hundredth for other
    coordinates, a line goes on where a path says nothing else, a turn by nothing is none, and nothing stands between
    tags. Its text stays as it is."""

    def path(found: re.Match) -> bytes:
        return re.sub(rb"\s*\n(?:L )?", b" ", re.sub(rb"(\.\d)\d+", rb"\1", found[0]))

    def tag(found: re.Match) -> bytes:
        return re.sub(rb"(\d\.\d\d)\d+", rb"\1", re.sub(rb' transform="rotate\(-?0 [^"]*"', b"", found[0]))

    return re.sub(rb">\s+<", b"><", re.sub(rb"<[^>]*>", tag, re.sub(rb' d="[^"]+"', path, svg)))


def styled(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Draw in the house style, and leave Matplotlib's settings as they were."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Picture:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def colour(arm: str) -> str:
    """The colour of an arm, the same wherever it appears, whatever other arms there are."""
    return COLOURS.get(arm) or OTHER_COLOURS[zlib.crc32(arm.encode()) % len(OTHER_COLOURS)]


def canvas(rows: int, columns: int, height: float, width: float = WIDTH, **options) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` axes, `height` inches high; axes as an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def legend(figure: Figure, arms: Iterable[str], *, bars: bool = False, more: Sequence = ()) -> None:
    """One legend for the whole figure, below it."""
    handles: list = []
    for arm in arms:
        if bars:
            handles.append(Patch(facecolor=colour(arm), hatch=hatch(arm), edgecolor=GREY, lw=0, label=arm_name(arm)))
        else:
            handles.append(Line2D([], [], color=colour(arm), ls=dashes(arm), label=arm_name(arm)))
    handles += more
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))


def dashes(arm: str) -> str:
    return "--" if "+" in arm else "-"


def hatch(arm: str) -> str:
    return "///" if "+" in arm else "..." if arm in tables.CONTROLS else ""


def class_names(runs: Sequence[Run]) -> Sequence[str]:
    """The classes of the data set that the runs are of."""
    spec = runs[0].spec
    if spec.dataset in CLASSES:
        return CLASSES[spec.dataset]
    return [str(k) for k in range(runs[0].predictions["test_logits"].shape[1])]


# ---------------------------------------------------------------- Figures 1 and 7: bars


def overview(teachers: Sequence[Run], students: Sequence[Run]) -> Picture:
    """Figure 1: accuracy of teachers and students by arm, and how far each is from the baseline's arm."""
    return bars(teachers, students, "accuracy", from_baseline=True)


def calibration_bars(teachers: Sequence[Run], students: Sequence[Run]) -> Picture:
    """Figure 7: expected calibration error of teachers and students by arm."""
    return bars(teachers, students, "ece", label="ECE")


@styled
def bars(
    teachers: Sequence[Run], students: Sequence[Run], metric: str, *, label: str = "", from_baseline: bool = False
) -> Picture:
    """A metric of teachers and students by arm, under each form of the loss; the paper's of Table 1 as diamonds.

    Whiskers are 95 % intervals over seeds, the spread pooled over arms, cut off by an axis that is made for the bars.
    With `from_baseline`, a second row shows each arm's difference from the baseline's arm, paired by seed.
    """
    reductions = tables.reductions(students)
    models = list(dict.fromkeys(run.spec.model for run in students if not tables.is_control(run)))
    of_teachers = tables.teachers_by_arm(teachers)
    arms = list(of_teachers)
    figure, axes = canvas(
        2 if from_baseline else 1, max(len(reductions), 1), 4.6 if from_baseline else 2.6, sharey="row", sharex="col"
    )
    dataset = teachers[0].spec.dataset
    for column, reduction in enumerate(reductions or [""]):
        groups = {"teacher": of_teachers}
        groups |= {model: tables.students_by_arm(students, model, reduction) for model in models}
        draw_bars(axes[0, column], groups, arms, metric, dataset, difference=False)
        if from_baseline:
            draw_bars(axes[1, column], groups, arms, metric, dataset, difference=True)
        axes[0, column].set_title(f"students under {loss_name(reduction)}" if reduction else "")
        names = [f"{network_name(teachers[0].spec.model)}\nteacher", *(f"{network_name(m)}\nstudent" for m in models)]
        axes[-1, column].set_xticks(range(len(names)), names)
    axes[0, 0].set_ylabel(label or metric)
    if from_baseline:
        axes[1, 0].set_ylabel("difference from\nthe baseline's arm")
    marks = [Line2D([], [], ls="", marker="D", ms=4, mfc="#f0f0f0", color=GREY, label="the paper's")]
    legend(figure, arms, bars=True, more=marks if dataset == "cifar10" else [])
    return Picture(figure)


def draw_bars(
    axes: Axes, groups: Mapping[str, tables.Groups], arms: list[str], metric: str, dataset: str, *, difference: bool
) -> None:
    width = 0.84 / len(arms)
    seen = [0.0]
    for place, (role, by_arm) in enumerate(groups.items()):
        values = scores(by_arm, metric)
        if difference:
            intervals = stats.differences_over_seeds(values, tables.BASELINE)
        else:
            intervals = stats.over_seeds_of_arms(values)
        for i, arm in enumerate(arms):
            x = place + (i - (len(arms) - 1) / 2) * width
            if found := intervals.get(arm):
                seen.append(found.mean)
                axes.bar(x, found.mean, width * 0.92, color=colour(arm), hatch=hatch(arm), edgecolor=GREY, lw=0)
                if found.n > 1:
                    whiskers = [[found.mean - found.low], [found.high - found.mean]]
                    axes.errorbar(x, found.mean, whiskers, color=GREY, lw=1)
            published = of_paper(role, arm, metric)
            if dataset == "cifar10" and published is not None:
                shown = published - of_paper(role, tables.BASELINE, metric) if difference else published
                seen.append(shown)
                axes.plot(x, shown, "D", ms=4, mfc="#f0f0f0", color=GREY)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.tick_params(axis="x", length=0)
    margin = 0.08 * (max(seen) - min(seen)) or 0.1
    axes.dataLim.intervaly = (min(seen) - margin * difference, max(seen) + margin)
    axes.margins(y=0)


def scores(by_arm: tables.Groups, metric: str) -> dict[str, dict[int, float]]:
    """A metric on the test images, by arm and seed."""
    return {arm: {run.spec.seed: run.metrics["test"][metric] for run in group} for arm, group in by_arm.items()}


def of_paper(role: str, arm: str, metric: str) -> float | None:
    """A cell of Table 1, None where it has none."""
    try:
        return paper.value(1, arm, role, "cifar10", metric)
    except paper.PaperError:
        return None


# ---------------------------------------------------------------- Figure 2: augmented images


def data_at_hand(dataset: str) -> str:
    """`dataset` where its files lie on this machine, else `digits`, which needs none."""
    return dataset if data.at_hand(dataset) else "digits"


@styled
def augmented_images(dataset: str, arms: Sequence[tuple[str, ...]]) -> Picture:
    """Figure 2: what each arm makes of one training image, with the labels that mixing leaves it."""
    loaded = data.load(data_at_hand(dataset))
    names = EXAMPLES.get(loaded.name, loaded.classes[:2])
    chosen = [int(np.flatnonzero(loaded.train.labels == loaded.classes.index(name))[0]) for name in names]
    images, labels = torch.as_tensor(loaded.train.images[chosen]), torch.arange(2)
    arms = [(), *(arm for arm in arms if arm)]
    columns = min(len(arms), 5)
    rows = -(-len(arms) // columns)
    figure, axes = canvas(rows, columns, 1.95 * rows)
    for place, arm in zip(axes.flat, arms):
        pixels, label = telling_example(images, labels, arm, loaded)
        place.imshow(pixels, interpolation="nearest")
        title = arm_name(augment.label(arm)) if arm else "as it is"
        said = f"“{names[0]}”"
        if isinstance(label, tuple):
            said = f"{label[2]:.2f} {said} +\n{1 - label[2]:.2f} “{names[1]}”"
        place.set_title(f"{title}\n{said}", fontsize=6.5)
    for place in axes.flat:
        place.set_axis_off()
    return Picture(figure, "png")


def telling_example(images: torch.Tensor, labels: torch.Tensor, arm: tuple[str, ...], loaded: data.Dataset):
    """The first draw that shows something: pixels 0..255 (H, W, 3) of the first image, and its labels.

    Of mixed arms it is one with the other image as partner and a share of 0.45 to 0.75, of others one that changes a
    sixth of the pixels or more.
    """
    mean, std = (torch.tensor(values, dtype=torch.float32) for values in (loaded.mean, loaded.std))
    for seed in range(1000):
        x, label = augment.augment(images, labels, arm, mean, std, torch.Generator().manual_seed(seed))
        pixels = ((x[0].permute(1, 2, 0) * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        changed = (pixels != images[0]).any(dim=2).float().mean()
        if isinstance(label, tuple):
            telling = label[1][0] != label[0][0] and 0.45 <= label[2] <= 0.75
            label = (*label[:2], float(label[2]))
        else:
            telling = not arm or changed >= 1 / 6
        if telling:
            break
    return pixels.numpy(), label


def which_images(dataset: str) -> Markdown | None:
    """A sentence where Figure 2 can't show the images of this page's data set."""
    if data_at_hand(dataset) == dataset:
        return None
    name = name_of_test_set(dataset, "test")
    return Markdown(f"*The files of {name} are not on this machine: digits, which need none, stand in for them below.*")


# ---------------------------------------------------------------- learning curves and confusion


@styled
def learning_curves(runs: Sequence[Run]) -> Picture:
    """Training loss and accuracy of teachers by epoch, mean over seeds, with the range of the seeds."""
    figure, (axes,) = canvas(1, 2, 2.8)
    by_arm = tables.teachers_by_arm(runs)
    draw_learning(axes, by_arm)
    legend(figure, by_arm)
    return Picture(figure)


@styled
def student_learning_curves(runs: Sequence[Run]) -> Picture:
    """Training loss and accuracy of students by epoch, a row for each architecture and form of the loss.

    Means over seeds alone: the arms lie so close that the ranges of their seeds would cover each other.
    """
    rows = [
        (model, form, tables.students_by_arm(runs, model, form))
        for model in dict.fromkeys(run.spec.model for run in runs if not tables.is_control(run))
        for form in tables.reductions(runs)
    ]
    figure, axes = canvas(len(rows), 2, 0.5 + 1.9 * len(rows), sharex="row")
    for pair, (model, form, by_arm) in zip(axes, rows, strict=True):
        draw_learning(pair, by_arm, ranges=False)
        for place in pair:
            place.set_title(f"{network_name(model)}, {loss_name(form)}", fontsize=8)
    legend(figure, dict.fromkeys(arm for *_, by_arm in rows for arm in by_arm))
    return Picture(figure)


def draw_learning(pair: Sequence[Axes], by_arm: tables.Groups, *, ranges: bool = True) -> None:
    """Loss on the first of two axes, on a logarithmic scale, and accuracy on the second; `ranges` are of the seeds."""
    for place, column in zip(pair, ("loss", "accuracy"), strict=True):
        for arm, group in by_arm.items():
            values = np.array([run.history[column] for run in group])
            epochs = group[0].history["epoch"]
            place.plot(epochs, values.mean(axis=0), color=colour(arm), ls=dashes(arm), lw=1.4)
            if ranges and len(group) > 1:
                place.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour(arm), alpha=0.2, lw=0)
        place.set(xlabel="epoch", ylabel=f"training {column}")
        place.locator_params(axis="x", integer=True)
    pair[0].set_yscale("log")
    pair[0].yaxis.set_minor_locator(matplotlib.ticker.NullLocator())


def confusion(run: Run) -> np.ndarray:
    """Share of the test images of each class (rows) that are taken for each class (columns), (K, K)."""
    labels, predicted = run.predictions["test_labels"], run.predictions["test_logits"].argmax(axis=1)
    size = run.predictions["test_logits"].shape[1]
    counts = np.bincount(labels.astype(int) * size + predicted, minlength=size * size).reshape(size, size)
    return counts / counts.sum(axis=1, keepdims=True)


def confusion_matrices(runs: Sequence[Run]) -> Picture:
    """Confusion of each teacher arm, mean over seeds, the diagonal masked, on one common scale."""
    panels = {
        arm_name(arm): np.mean([confusion(run) for run in group], axis=0)
        for arm, group in tables.teachers_by_arm(runs).items()
    }
    return matrices(panels, class_names(runs), "share of the class's images", "label", "prediction")


def student_confusion_matrices(runs: Sequence[Run]) -> Picture:
    """Confusion of the students of the baseline's teacher and of CutMix's, for each architecture and loss."""
    panels = {}
    for model in dict.fromkeys(run.spec.model for run in runs if not tables.is_control(run)):
        for form in tables.reductions(runs):
            by_arm = tables.students_by_arm(runs, model, form)
            for arm in contrasted(by_arm):
                title = f"{network_name(model)}, {tables.VARIANT_NAMES.get(form, form)}\n{arm_name(arm)}"
                panels[title] = np.mean([confusion(run) for run in by_arm[arm]], axis=0)
    return matrices(panels, class_names(runs), "share of the class's images", "label", "prediction", across=2)


@styled
def matrices(panels: Mapping[str, np.ndarray], classes: Sequence[str], label: str, rows: str, columns: str,
             *, mask: bool = True, across: int = 3) -> Picture:  # fmt: skip
    """Matrices (K, K) side by side on one common scale; `mask` leaves the diagonal out of picture and scale."""
    across = min(len(panels), across)
    down = -(-len(panels) // across)
    figure, axes = canvas(down, across, 0.45 + 2.45 * down, 0.7 + 2.3 * across, sharex=True, sharey=True)
    hidden = np.eye(len(classes), dtype=bool) & mask
    low = min(float(m[~hidden].min()) for m in panels.values())
    high = max(float(m[~hidden].max()) for m in panels.values())
    for place, (title, matrix) in zip(axes.flat, panels.items()):
        shown = place.imshow(np.where(hidden, np.nan, matrix), cmap=MAP, vmin=min(low, 0.0), vmax=high)
        place.set_title(title)
        place.tick_params(length=0, labelsize=6.5)
        place.set_xticks(range(len(classes)), classes, rotation=90)
        place.set_yticks(range(len(classes)), classes)
        place.spines[:].set_visible(False)
    for place in list(axes.flat)[len(panels):]:
        place.set_visible(False)
    for place in list(axes.flat)[max(len(panels) - across, 0) : len(panels)]:  # the lowest of each column
        place.set_xlabel(columns)
        place.tick_params(labelbottom=True)
    for place in axes[:, 0]:
        place.set_ylabel(rows)
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, aspect=28, pad=0.02)
    bar.set_label(label, color=GREY)
    bar.ax.tick_params(color=GREY, labelcolor=GREY, labelsize=7)
    bar.outline.set_visible(False)
    return Picture(figure, "png")


# ---------------------------------------------------------------- Figures 3 and 6: predictions by class


def contrasted(arms: Iterable[str]) -> list[str]:
    """The arms that Figures 3 and 6 compare: the baseline, CutMix, and CutMix after anything else; all, if none is."""
    arms = list(arms)
    return [arm for arm in arms if arm == tables.BASELINE or "cutmix" in arm.split("+")] or arms


def mean_predictions(run: Run) -> np.ndarray:
    """Mean prediction over the test images of each true class, (K, K)."""
    return metrics.class_means(metrics.softmax(run.predictions["test_logits"]), run.predictions["test_labels"])


def human_means(runs: Iterable[Run]) -> np.ndarray | None:
    """Mean distribution of people over the test images of each true class, (K, K); None where nobody was asked."""
    return next((np.array(run.metrics["human"]["class_means"]) for run in runs if "human" in run.metrics), None)


def confidence_by_class(runs: Sequence[Run]) -> Picture:
    """Figure 3: mean confidence by true class of people and of teachers, the diagonal masked, on one common scale."""
    by_arm = tables.teachers_by_arm(runs)
    people = human_means(runs)
    panels = {} if people is None else {"people": people}
    for arm in contrasted(by_arm):
        panels[f"teacher: {arm_name(arm)}"] = np.mean([mean_predictions(run) for run in by_arm[arm]], axis=0)
    return matrices(panels, class_names(runs), "mean confidence", "label", "confidence in")


def class_kl(run: Run) -> np.ndarray:
    """KL(people on class i || model on class j), (K, K), nats; where nobody was asked, the label stands for people."""
    probs, labels = metrics.softmax(run.predictions["test_logits"]), run.predictions["test_labels"]
    people = human_means([run])
    return metrics.class_kl_matrix(probs, np.eye(probs.shape[1]) if people is None else people, labels)


def class_kl_matrices(runs: Sequence[Run]) -> Picture:
    """Figure 6: the divergence of people on one class from a teacher on another, on one common scale."""
    by_arm = tables.teachers_by_arm(runs)
    panels = {
        f"teacher: {arm_name(arm)}": np.mean([class_kl(run) for run in by_arm[arm]], axis=0)
        for arm in contrasted(by_arm)
    }
    rows = "label" if human_means(runs) is None else "people on"
    return matrices(panels, class_names(runs), "KL divergence, nats", rows, "model on", mask=False)


def class_kl_sentence(runs: Sequence[Run]) -> Markdown:
    """What Figure 6 shows, in numbers: means on and off the diagonal."""
    off, said = None, []
    by_arm = tables.teachers_by_arm(runs)
    for arm in contrasted(by_arm):
        found = [class_kl(run) for run in by_arm[arm]]
        off = ~np.eye(len(found[0]), dtype=bool)
        means = [np.mean([m[where].mean() for m in found]) for where in (off, ~off)]
        said.append(f"{means[0]:.2f} nats ({means[1]:.3f} on the diagonal) for {arm_name(arm)}")
    if not said:
        return Markdown("Neither the baseline nor CutMix has been run.")
    people = "People's labels" if human_means(runs) is not None else "The labels, which stand in for people's,"
    return Markdown(f"{people} diverge from the teachers' mean predictions off the diagonal by {tables.listing(said)}.")


# ---------------------------------------------------------------- Figure 4: the latent space


@dataclass(frozen=True, eq=False)
class LatentMap:
    """One teacher's embeddings of four classes, in two dimensions under several seeds of t-SNE."""

    arm: str
    embeddings: np.ndarray  # (M, D) principal components
    labels: np.ndarray  # (M,)
    planes: tuple[np.ndarray, ...]  # (M, 2) each


def latent_maps(runs: Sequence[Run], seeds: Sequence[int] = TSNE_SEEDS) -> list[LatentMap]:
    """t-SNE of the stored embeddings of the first seed's teachers, the first 100 images of each class."""
    out = []
    for arm, group in tables.teachers_by_arm(runs).items():
        kept = group[0].latent
        labels = kept["labels"].astype(int)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == k)[:TSNE_IMAGES] for k in np.unique(labels)]))
        x, labels = kept["components"][chosen].astype(np.float32), labels[chosen]
        out.append(LatentMap(arm, x, labels, tuple(flattened(x, seed) for seed in seeds)))
    return out


def flattened(x: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of `x` (M, D) from a random start, so that seeds differ; (M, 2)."""
    perplexity = min(30.0, (len(x) - 1) / 3)
    with threadpool_limits(1):  # of so few points, threads cost more than they bring
        return TSNE(perplexity=perplexity, init="random", max_iter=500, random_state=seed).fit_transform(x)


@styled
def latent_space(runs: Sequence[Run], maps: Sequence[LatentMap]) -> Picture:
    """Figure 4: one t-SNE of each teacher arm, coloured by class."""
    classes = class_names(runs)
    across = min(len(maps), 3)
    down = -(-len(maps) // across)
    figure, axes = canvas(down, across, 0.4 + 2.4 * down)
    shown = list(dict.fromkeys(maps[0].labels.tolist()))
    colours = dict(zip(class_order(shown), CLASS_COLOURS))
    for place, one in zip(axes.flat, maps):
        plane = one.planes[0]
        sns.scatterplot(
            x=plane[:, 0], y=plane[:, 1], hue=one.labels, palette=colours, s=9, linewidth=0, alpha=0.75, legend=False,
            ax=place,
        )  # fmt: skip
        place.set_title(arm_name(one.arm))
    for place in axes.flat:
        place.set(xticks=[], yticks=[], xlabel="", ylabel="")
        place.spines[:].set(visible=True, alpha=0.4)
    for place in list(axes.flat)[len(maps):]:
        place.set_visible(False)
    handles = [Line2D([], [], ls="", marker="o", color=c, label=classes[k]) for k, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return Picture(figure, "png", dpi=100)


def class_order(labels: Iterable[int]) -> list[int]:
    """The classes of Figure 4 group by group, where the data set has groups of classes."""
    labels = set(labels)
    return next((list(order) for order in TSNE_CLASSES.values() if set(order) == labels), sorted(labels))


def silhouettes(runs: Sequence[Run], maps: Sequence[LatentMap], caption: str, name: str) -> Markdown:
    """What Figure 4 shows in numbers: silhouettes of the four classes and of their two groups.

    In the plane they are means over the seeds of t-SNE, of the first teacher of each arm; in the embedding itself,
    over all its seeds. A silhouette is in -1..1, and higher where clusters are tighter and further apart.
    """
    order = TSNE_CLASSES.get(runs[0].spec.dataset)
    by_arm = tables.teachers_by_arm(runs)
    header = ["Augmentation", "Classes, t-SNE", "Classes, embedding"]
    if order:
        header += ["Groups, t-SNE", "Groups, embedding"]
    partitions = [lambda labels: labels, *([lambda labels: grouped(labels, order)] if order else [])]
    lines, data = [], []
    for one in maps:
        found = []
        for partition in partitions:
            found.append([silhouette(plane, partition(one.labels)) for plane in one.planes])
            kept = [run.latent for run in by_arm[one.arm]]
            whole = [silhouette(k["components"].astype(np.float32), partition(k["labels"])) for k in kept]
            found.append(whole)
        marks = tables.marks(by_arm[one.arm])
        lines.append([arm_name(one.arm), *map(spread, found), tables.links(marks)])
        for of, values in zip(header[1:], found, strict=True):
            data += [{"arm": one.arm, "of": of, "silhouette": value, "runs": marks} for value in values]
    note = "t-SNE: mean over its seeds (least to most); embedding: mean over the teachers' seeds (least to most)."
    if not order:
        note += " This data set has no two groups of alike classes."
    rows = [[*header, "Runs"], [":---", *["---:"] * len(header)], *lines]
    return tables.directive(rows, f"{caption} {note}", name, pd.DataFrame(data))


def silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    return float(silhouette_score(x, labels))


def grouped(labels: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """0 for the classes of the first group, 1 for those of the second."""
    return np.isin(labels, order[2:]).astype(int)


def spread(values: Sequence[float]) -> str:
    """Mean and range as text.

    >>> spread([0.5, 0.7])
    '0.60 (0.50 to 0.70)'
    """
    text = f"{np.mean(values):.2f}"
    if len(values) > 1:
        text += f" ({min(values):.2f} to {max(values):.2f})"
    return minus(text)


# ---------------------------------------------------------------- Figure 5: reliability


MIN_IMAGES = 10  # of a bin, to be drawn


@styled
def reliability(teachers: Sequence[Run], students: Sequence[Run]) -> Picture:
    """Figure 5: accuracy against confidence of the first seed's teachers and students, with bands over images."""
    reductions = tables.reductions(students)
    models = list(dict.fromkeys(run.spec.model for run in students if not tables.is_control(run)))
    of_teachers = tables.teachers_by_arm(teachers)
    panels = [(0, 0, "teacher", of_teachers)]
    for row, reduction in enumerate(reductions):
        for column, model in enumerate(models, 1):
            title = f"{network_name(model)}, {loss_name(reduction)}"
            panels.append((row, column, title, tables.students_by_arm(students, model, reduction)))
    down = max(len(reductions), 1)
    figure, axes = canvas(down, 1 + len(models), 0.5 + 2.4 * down, sharex=True, sharey=True)
    drawn = set()
    for row, column, title, by_arm in panels:
        drawn.add((row, column))
        place = axes[row, column]
        place.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        for arm, group in by_arm.items():
            draw_reliability(place, arm, group[0])
        place.set_title(title, fontsize=8)
        place.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        if column == 0:
            place.set_ylabel("accuracy")
        if row == down - 1 or column == 0:
            place.set_xlabel("confidence")
            place.tick_params(labelbottom=True)
    for (row, column), place in np.ndenumerate(axes):
        if (row, column) not in drawn:
            place.set_visible(False)
    legend(figure, of_teachers)
    return Picture(figure)


def draw_reliability(axes: Axes, arm: str, run: Run) -> None:
    probs = metrics.softmax(run.predictions["test_logits"])
    curve = metrics.reliability_curve(probs, run.predictions["test_labels"], resamples=300)
    seen = curve.count >= MIN_IMAGES
    axes.fill_between(curve.confidence[seen], curve.low[seen], curve.high[seen], color=colour(arm), alpha=0.15, lw=0)
    line = {"color": colour(arm), "ls": dashes(arm), "lw": 1.3, "marker": "o", "ms": 2.5}
    axes.plot(curve.confidence[seen], curve.accuracy[seen], **line)

