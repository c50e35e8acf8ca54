"""How figures look: one colour an augmentation, legible on both grounds, and drawings in few bytes."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from kdlib import augment
from kdlib.report import style

AUGMENTATIONS = [
    augment.label(names)
    for length in range(4)
    for names in itertools.permutations(("crop_flip", "cutout", "mixup", "cutmix"), length)
    if not {"mixup", "cutmix"} <= set(names) and "crop_flip" not in names[1:]
]


def contrast(colour: str, ground: str) -> float:
    """Contrast ratio as WCAG defines it."""

    def luminance(name):
        rgb = np.array(to_rgb(name))
        return np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((luminance(colour), luminance(ground)))
    return float((high + 0.05) / (low + 0.05))


def test_every_augmentation_has_a_colour_of_its_own_name():
    assert len(AUGMENTATIONS) > 10
    for one in AUGMENTATIONS:
        assert to_rgb(style.colour(one)) and style.colour(one) == style.colour(one)
    assert len(set(style.COLOURS.values())) == len(style.COLOURS)
    assert all(style.dashes(one) == "--" for one in AUGMENTATIONS if "+" in one)


def inverted(colour: str) -> np.ndarray:
    """What `filter: invert(1) hue-rotate(180deg)` makes of a colour (Filter Effects Module, section 9)."""
    half_turn = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
    return np.clip(half_turn @ (1 - np.array(to_rgb(colour))), 0, 1)


@pytest.mark.parametrize(("ground", "seen"), [("#ffffff", to_rgb), ("#14181e", inverted)], ids=["light", "dark"])
def test_text_and_colours_are_legible_on_light_and_on_dark(ground, seen):
    assert contrast(seen(style.GREY), ground) > 7
    for augmentation, colour in style.COLOURS.items():
        assert contrast(seen(colour), ground) > 3, augmentation
    assert all(contrast(seen(colour), ground) > 3 for colour in style.OTHER_COLOURS)


def test_the_style_sheet_inverts_line_drawings_on_dark_pages():
    sheet = (Path(__file__).parents[1] / "book" / "_static" / "book.css").read_text()
    images = r'html\[data-theme="dark"\] \.bd-article img\[src\$="\.svg"\]'
    assert re.search(images + r" \{[^}]*filter: invert\(1\) hue-rotate\(180deg\)", sheet)


def test_a_drawing_is_shortened_without_moving_what_it_shows():
    svg = b'<path d="M 1.2345 2.0 \nL 3.456 4.5 \nz\n" style="opacity: 0.15; stroke: none"/>'
    assert style.shorter(svg) == b'<path d="M 1.2 2.0 3.4 4.5 z " style="opacity:0.15;stroke:none"/>'
    tick = b'<text x="1.23456" transform="rotate(-0 1 2)">0.025</text>'
    assert style.shorter(tick) == b'<text x="1.23">0.025</text>'  # a number that is read is not cut
    assert style.shorter(b"<g>\n  <text>a b</text>\n</g>\n") == b"<g><text>a b</text></g>\n"
    assert style.shorter(b'<g id="line_1"><path id="m1"/></g>') == b'<g><path id="m1"/></g>'  # a marker is referred to
    turned = b'<text transform="rotate(-90 1 2)"/>'
    assert style.shorter(turned) == turned


def test_a_line_goes_from_point_to_point_and_comes_out_where_it_did():
    rng = np.random.default_rng(0)
    points = np.round(rng.uniform(-50, 600, (200, 2)), 1)
    line = " ".join(f"{value:.1f}" for value in points.ravel()).encode()
    short = style.shorter(b'<path d="M ' + line + b' " style="fill: none"/>').decode()
    told = re.fullmatch(r'<path d="m([^"]*)" style="fill:none"/>', short)[1]
    steps = np.array([float(one) for one in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", told)]).reshape(-1, 2)
    np.testing.assert_allclose(np.cumsum(steps, axis=0), points, atol=1e-9)
    assert len(told) < len(line)


def test_a_legend_names_each_augmentation_by_the_colour_it_is_drawn_in():
    shown = ["cutmix", "none", "cutmix", "crop_flip+mixup"]
    for bars in (False, True):
        figure = Figure()
        style.legend(figure, shown, bars=bars)
        (legend,) = figure.legends
        found = {text.get_text(): line for text, line in zip(legend.texts, legend.legend_handles, strict=True)}
        assert list(found) == ["CutMix", "none (baseline)", "crop and flip + MixUp"]
        for name, one in zip(found, ("cutmix", "none", "crop_flip+mixup"), strict=True):
            drawn = found[name].get_facecolor()[:3] if bars else to_rgb(found[name].get_color())
            assert drawn == to_rgb(style.colour(one))
