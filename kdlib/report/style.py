"""How figures look: one colour an augmentation, line drawings as SVG, maps as PNG, the same bytes every time.

Every augmentation has one colour in every figure, safe for colour-blind readers; where several are crossed, lines are
dashed and bars hatched besides. Lines and text are dark on a transparent ground. Line drawings are SVG with their text
as text, and the style sheet inverts their lightness on dark pages; maps of pixels and points are PNG, and keep a white
card there. So every line and bar has 3:1 against either page, and text more. Captions stand with the notebooks, so
that no figure repeats one as a title.
"""

import base64
import functools
import io
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from kdlib.results.names import augmentation_name

GREY = "#4d4d4d"  # of axes and text
# Okabe and Ito's colours, and Tol's for crossed augmentations, the light ones darkened to 3:1 against white.
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
    "uniform": "#8a4fbf",
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
PORTRAIT = 3.6  # inches: on a phone 340 pixels wide, where nine points become twelve pixels
MAP = "viridis"  # covers its ground, so that it reads the same on light and on dark
PAPER = {"ls": "", "marker": "D", "ms": 4, "mfc": "#f0f0f0", "color": GREY}  # the paper's value


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
    """A drawing in fewer bytes: a tenth of a point is fine enough for a path, a hundredth for other coordinates, a
    line goes on where a path says nothing else, from one point to the next, a turn by nothing is none, groups have
    no names, the font has one, and nothing stands between tags or within a style. Its text stays as it is."""

    def path(found: re.Match) -> bytes:
        return re.sub(rb"\s*\n(?:L )?", b" ", re.sub(rb"(\.\d)\d+", rb"\1", found[0]))

    def tag(found: re.Match) -> bytes:
        needed = re.sub(rb'(?<=<g) id="[^"]*"| transform="rotate\(-?0 [^"]*"', b"", found[0])
        dense = re.sub(rb'(?<= style=")[^"]*', lambda style: re.sub(rb"([:;]) ", rb"\1", style[0]), needed)
        return re.sub(rb"(\d\.\d\d)\d+", rb"\1", dense)

    svg = re.sub(rb">\s+<", b"><", re.sub(rb"<[^>]*>", tag, re.sub(rb' d="[^"]+"', path, svg)))
    svg = re.sub(rb'(?<= d=")M ([-\d. ]+?) ?(?=")', lambda line: from_point_to_point(line[1]), svg)
    return font_named_once(svg)


def font_named_once(svg: bytes) -> bytes:
    """A drawing whose text is all in one font, with that at its root.

    >>> font_named_once(b'<svg x="1"><text style="font-size:9px;font-family:A, serif;fill:red">a</text></svg>')
    b'<svg style="font-family:A, serif" x="1"><text style="font-size:9px;fill:red">a</text></svg>'
    """
    fonts = set(re.findall(rb';font-family:[^;"]*', svg))
    if len(fonts) != 1:
        return svg
    (font,) = fonts
    return svg.replace(font, b"").replace(b"<svg ", b'<svg style="' + font[1:] + b'" ', 1)


def from_point_to_point(points: bytes) -> bytes:
    """A line of SVG through points in tenths, "x y x y", each but the first told by how far it is from the last.

    >>> from_point_to_point(b"50.3 35.6 52.5 39.6 54.6 39.1")
    b'm50.3 35.6 2.2 4 2.1-.5'
    """
    tenths = np.array(points.split(), dtype=float).reshape(-1, 2)
    steps = np.diff(np.rint(10 * tenths).astype(int), axis=0, prepend=0).ravel()
    told = " ".join(f"{step / 10:g}" for step in steps)
    return f"m{re.sub(r' -', '-', re.sub(r'(?<![0-9])0[.]', '.', told))}".encode()


def styled(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Draw in the house style, and leave Matplotlib's settings as they were."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> Picture:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def colour(augmentation: str) -> str:
    """The colour of an augmentation or control, the same wherever it appears, whatever others there are."""
    return COLOURS.get(augmentation) or OTHER_COLOURS[zlib.crc32(augmentation.encode()) % len(OTHER_COLOURS)]


def dashes(augmentation: str) -> str:
    return "--" if "+" in augmentation else "-"


def hatch(augmentation: str) -> str:
    return "///" if "+" in augmentation else ""


def canvas(rows: int, columns: int, height: float, width: float = WIDTH, **options) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` axes, `height` inches high; axes as an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@styled
def words(text: str) -> Picture:
    """A sentence in the place of a figure that has nothing to show."""
    figure = Figure(figsize=(PORTRAIT, 0.5))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return Picture(figure)


def tiles(count: int, across: int, high: float, rest: float, width: float = WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, at most `across` beside each other, each `high` inches with `rest` for all."""
    across = min(count, across)
    down = -(-count // across)
    figure, axes = canvas(down, across, rest + high * down, width)
    for place in list(axes.flat)[count:]:
        place.set_visible(False)
    return figure, list(axes.flat)[:count]


def handle(label: str, **style) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **style)


def legend(figure: Figure, augmentations: Iterable[str], *, bars: bool = False, more: Sequence = ()) -> None:
    """One legend for the whole figure, below it."""
    handles: list = []
    for one in dict.fromkeys(augmentations):
        name = augmentation_name(one)
        if bars:
            handles.append(Patch(facecolor=colour(one), hatch=hatch(one), edgecolor=GREY, lw=0, label=name))
        else:
            handles.append(handle(name, color=colour(one), ls=dashes(one)))
    handles += more
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6))
