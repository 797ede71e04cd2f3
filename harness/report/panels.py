"""Pictures of a run: each chip as image, label, predictions and errors; threshold curves."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from harness.claims.schemes import Scheme
from harness.report.figures import drawing_style, svg
from harness.report.run_checks import UNLABELLED

FREE = ("#4a1486", "#e69f00", "#009e73", "#56b4e9", "#f0e442", "#d55e00", "#0072b2", "#4d4d4d", "#c8c8c8", "#cc79a7")
"""Classes without a known cover, in this order: seven hues of Okabe and Ito (2008), a violet, two greys."""

TWO = ("#d9d2c0", "#4a1486")
"""Classes 0 and 1 where there are two: ground and figure."""

COVER = {10: "#009e73", 20: "#a6761d", 30: "#b7df6b", 40: "#f0e442", 50: "#d55e00", 60: "#c8c8c8", 70: "#ffffff"}
COVER |= {80: "#0072b2", 90: "#56b4e9", 95: "#0b5345", 100: "#cc79a7"}
"""By ESA WorldCover code. Near the colours a reader expects, apart in the common forms of colour blindness."""

CORRECT, WRONG = "#d4dbe0", "#a50f15"
"""Error map; far apart in lightness, so that no hue is needed."""

STRIPES = (255, 190)
"""Grey levels of the diagonal stripes of unlabelled pixels."""

MARK = "random weights: mechanics only"
"""Written into pictures of such runs."""

WIDTH_IN, GAP_IN, LINE_IN, DPI = 6.6, 0.16, 0.235, 120
"""Width of a picture, space between panels, height of a text line, dots an inch."""

WRAP = 27
"""Characters of a panel's text line."""


@dataclass(frozen=True)
class Panel:
    """One square of the picture and what stands around it."""

    title: str
    """Above it."""
    image: NDArray[np.uint8]
    """Shape (H, W, 3)."""
    legend: list[tuple[str, str]] = field(default_factory=list)
    """Colour (`stripes` for unlabelled) and text of each entry."""
    note: str = ""
    """Under the legend."""
    smooth: bool = False
    """Whether it is an image and no class map."""
    marked: bool = False
    """Whether it comes from random weights, which is then written into it."""


@dataclass(frozen=True)
class Key:
    """How classes are drawn."""

    colours: list[str]
    """By index."""
    names: list[str]
    """By index."""
    scheme: str | None
    """Where the names come from; None where they are only numbers."""


def key(classes: int, scheme: Scheme | None) -> Key:
    """Names and colours of an adapter's classes.

    Args:
        classes: K.
        scheme: Names the classes; None where no scheme is given.
    """
    plain = list(TWO) if classes == 2 else [FREE[i % len(FREE)] for i in range(classes)]
    if scheme is None:
        return Key(plain, [f"class {i}" for i in range(classes)], None)
    names = [f"{i} {scheme.named(i)}" for i in range(classes)]
    known = {c.index: next((COVER[w] for w in c.worldcover if w in COVER), None) for c in scheme.classes}
    if not any(known.values()):
        return Key(plain, names, scheme.id)
    taken, colours = set[str](), []
    for index in range(classes):
        own = known.get(index)
        if own is None or own in taken:
            spare = [c for c in FREE if c not in taken and c not in known.values()]
            own = spare[0] if spare else FREE[index % len(FREE)]
        taken.add(own)
        colours.append(own)
    return Key(colours, names, scheme.id)


def drawn(text: str) -> str:
    """Text that the figures' font can draw; other characters as their code."""
    glyphs = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return "".join(c if c.isprintable() and ord(c) in glyphs else f"\\u{ord(c):04x}" for c in text)


def class_image(classes: NDArray[Any], colours: Sequence[str]) -> NDArray[np.uint8]:
    """A class map in colours, unlabelled pixels striped.

    Args:
        classes: Shape (H, W); UNLABELLED where there is none.
        colours: By index.

    Returns:
        Shape (H, W, 3).
    """
    table = (255 * np.array([mpl.colors.to_rgb(c) for c in colours])).round().astype(np.uint8)
    nothing = classes == UNLABELLED
    out = table[np.where(nothing, 0, classes)]
    rows, columns = np.indices(classes.shape)
    step = max(2, min(classes.shape) // 40)
    stripes = np.where((rows + columns) // step % 2, *STRIPES).astype(np.uint8)
    out[nothing] = stripes[nothing][:, None]
    return out


def _share(count: int, whole: int) -> str:
    share = 100 * count / whole
    return "under 1 %" if 0 < share < 1 else f"{share:.0f} %"


def class_panel(title: str, classes: NDArray[Any], names: Key, *, marked: bool = False) -> Panel:
    """A class map with its legend and the share of each class in all pixels."""
    shares = [_share(int(np.count_nonzero(classes == i)), classes.size) for i in range(len(names.names))]
    legend = [(c, f"{n}, {s}") for c, n, s in zip(names.colours, names.names, shares, strict=True)]
    if nothing := int(np.count_nonzero(classes == UNLABELLED)):
        legend.append(("stripes", f"unlabelled, {_share(nothing, classes.size)}"))
    note = "(no scheme given)" if names.scheme is None else f"(scheme {names.scheme})"
    return Panel(title, class_image(classes, names.colours), legend, note, marked=marked)


def error_panel(title: str, label: NDArray[Any], classes: NDArray[Any], *, marked: bool = False) -> Panel:
    """Where a prediction is its label, where not, and where nobody knows."""
    wrong = np.where(label == UNLABELLED, UNLABELLED, (label != classes).astype(np.int64))
    counts = [int(np.count_nonzero(wrong == i)) for i in (0, 1)]
    known = sum(counts)
    legend = [
        (colour, f"{name}, {_share(n, known)}" if known else name)
        for colour, name, n in zip((CORRECT, WRONG), ("correct", "wrong"), counts, strict=True)
    ]
    if known < wrong.size:
        legend.append(("stripes", "unlabelled"))
    return Panel(
        title, class_image(wrong, (CORRECT, WRONG)), legend, "(of the labelled pixels)" if known else "", marked=marked
    )


def _lines(text: str) -> list[str]:
    return textwrap.wrap(drawn(text), WRAP) or [""]


def _under(panel: Panel) -> int:
    return sum(len(_lines(text)) for _, text in panel.legend) + (len(_lines(panel.note)) if panel.note else 0)


def _scale(axes: Axes, width_px: int, gsd_m: float) -> None:
    """A bar of a round length, at most 40 % of the picture."""
    room = 0.4 * width_px * gsd_m
    power = 10.0 ** math.floor(math.log10(room))
    length = next(n * power for n in (5, 2, 1) if n * power <= room)
    span = length / gsd_m / width_px
    axes.add_patch(
        Rectangle((0.04, 0.035), span, 0.025, transform=axes.transAxes, facecolor="white", edgecolor="black", lw=0.8)
    )
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    outline = [withStroke(linewidth=2.5, foreground="black")]
    axes.text(
        0.04, 0.075, text, transform=axes.transAxes, color="white", va="bottom", fontsize=12, path_effects=outline
    )


def _draw(figure: Figure, panel: Panel, left: float, top: float, size: tuple[float, float], gsd_m: float) -> None:
    """One panel with a scale bar where gsd_m is known.

    Left and top are inches from the upper left corner, size the image's width and height.
    """
    width_in, height_in = figure.get_size_inches()
    title = _lines(panel.title)
    top += len(title) * LINE_IN + 0.04
    place = (left / width_in, 1 - (top + size[1]) / height_in, size[0] / width_in, size[1] / height_in)
    axes = figure.add_axes(place)
    axes.imshow(panel.image, interpolation="antialiased" if panel.smooth else "nearest")
    axes.set_axis_off()
    figure.text(place[0], 1 - (top - 0.09) / height_in, "\n".join(title), fontsize=13, va="baseline", linespacing=1.15)
    if math.isfinite(gsd_m) and gsd_m > 0:
        _scale(axes, panel.image.shape[1], gsd_m)
    if panel.marked:
        axes.text(
            0.03,
            0.97,
            "random weights",
            transform=axes.transAxes,
            va="top",
            fontsize=10.5,
            color="white",
            bbox={"facecolor": "black", "edgecolor": "none", "pad": 2.0, "alpha": 0.8},
        )
    y = top + size[1] + 0.07
    for colour, text in panel.legend:
        swatch: dict[str, Any] = {"facecolor": colour, "edgecolor": "#555555", "lw": 0.6}
        if colour == "stripes":
            swatch = {"facecolor": "white", "edgecolor": "#999999", "hatch": "//////", "lw": 0.6}
        box = (place[0], 1 - (y + 0.17) / height_in)
        figure.add_artist(
            Rectangle(box, 0.22 / width_in, 0.15 / height_in, transform=figure.transFigure, **swatch), clip=False
        )
        for line in _lines(text):
            figure.text(place[0] + 0.3 / width_in, 1 - (y + 0.095) / height_in, line, fontsize=11.5, va="center")
            y += LINE_IN
    for line in _lines(panel.note) if panel.note else []:
        figure.text(place[0], 1 - (y + 0.095) / height_in, line, fontsize=10.5, va="center", color="#555555")
        y += LINE_IN


def picture(title: str, panels: Sequence[Panel | None], gsd_m: float, *, random: bool) -> bytes:
    """Panels two a row, from the upper left.

    Args:
        title: Above all.
        panels: All of one size in pixels; None leaves a place empty. The first is there.
        gsd_m: Side of a pixel; NaN leaves the scale bar out.
        random: Whether weights were random, which is then written above.

    Returns:
        PNG, the same bytes for the same input.
    """
    rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    across = (WIDTH_IN - 3 * GAP_IN) / 2
    first = next(p for p in panels if p is not None)
    shape = first.image.shape
    height = min(max(across * shape[0] / shape[1], 0.6), 2 * across)
    size = (across, height)
    head = textwrap.wrap(drawn(title), 48) or [""]
    tall = [
        max(len(_lines(p.title)) for p in row if p) * LINE_IN
        + height
        + max(_under(p) for p in row if p) * LINE_IN
        + 0.35
        for row in rows
    ]
    top = GAP_IN + 0.27 * len(head) + (0.3 if random else 0)
    with drawing_style(), mpl.rc_context({"text.parse_math": False, "hatch.linewidth": 0.8}):
        figure = Figure(figsize=(WIDTH_IN, top + sum(tall)))
        full = figure.get_size_inches()[1]
        figure.text(
            GAP_IN / WIDTH_IN,
            1 - GAP_IN / full,
            "\n".join(head),
            fontsize=14,
            fontweight="bold",
            va="top",
            linespacing=1.2,
        )
        if random:
            figure.text(GAP_IN / WIDTH_IN, 1 - (top - 0.02) / full, MARK, fontsize=13, color=WRONG, va="bottom")
        top += 0.06
        for row, space in zip(rows, tall, strict=True):
            titles = max(len(_lines(p.title)) for p in row if p)
            for number, panel in enumerate(row):
                if panel is None:
                    continue
                down = top + (titles - len(_lines(panel.title))) * LINE_IN
                _draw(
                    figure,
                    panel,
                    GAP_IN + number * (across + GAP_IN),
                    down,
                    size,
                    gsd_m if panel is first else math.nan,
                )
            top += space
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white")
    return out.getvalue()


@dataclass(frozen=True)
class Curve:
    """One line of the threshold figure."""

    name: str
    """For the legend."""
    values: list[float | None]
    """At each threshold; None where undefined."""
    colour: str
    """Of the line."""
    style: str
    """Of the line; differs for each, so that colour is not needed."""


def thresholds(grid: Sequence[float], curves: Sequence[Curve], *, title: str, of: str, random: bool) -> str:
    """Curves against the threshold.

    Args:
        grid: Thresholds.
        curves: Each with a value a threshold.
        title: Above.
        of: Index and name of the class that the threshold is about.
        random: Whether weights were random, which is then written above.

    Returns:
        SVG text, the same for the same input.
    """
    with drawing_style(), mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.2, 4.4))
        axes = figure.add_subplot(1, 1, 1)
        for curve in curves:
            known = [(t, v) for t, v in zip(grid, curve.values, strict=True) if v is not None]
            axes.plot(
                [t for t, _ in known],
                [v for _, v in known],
                curve.style,
                color=curve.colour,
                lw=2,
                ms=5,
                label=drawn(curve.name),
            )
        axes.set(
            xlabel=drawn(f"threshold on the probability of class {of}"), ylabel="share", xlim=(0, 1), ylim=(0, 1.03)
        )
        axes.set_title(drawn(title) + (f"\n{MARK}" if random else ""), fontsize=12, loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=2, fontsize=11)
        return svg(figure)
