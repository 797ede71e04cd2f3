"""The picture of `harness think`: input, generated, reference. Arrays and words in, PNG out."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch
from numpy.typing import NDArray

from harness.errors import ReportError
from harness.records.think import LULC_CLASSES, NDVI_RANGE

Pixels = NDArray[np.float32]

RANDOM = "random weights: mechanics only"
"""Written over every generated panel and above all of them, where it is true."""

LULC_COLOURS = (
    "#ffffff",
    "#2166ac",
    "#1b7837",
    "#7fbfb0",
    "#e6c229",
    "#b2182b",
    "#a6794b",
    "#c6dbef",
    "#969696",
    "#c9d97a",
)
"""By index of LULC_CLASSES; apart in lightness as well as in hue where classes meet often."""

NDVI_SHOWN = (-0.2, 1.0)
"""NDVI at the ends of the colour bar; beyond them the end's colour."""

STRETCH = (2.0, 98.0)
"""Percentiles of the three bands together that become black and white."""


def stretch_rgb(bands: Pixels) -> tuple[Pixels, str]:
    """Red, green and blue pixels on one common scale, so that colours keep their balance.

    Args:
        bands: Shape (3, H, W), any unit, NaN where nodata.

    Returns:
        Shape (H, W, 3) in 0..1, nodata white; and the stretch in words.

    Raises:
        ReportError: No valid pixel.
    """
    valid = bands[np.isfinite(bands)]
    if not valid.size:
        raise ReportError("input picture: no valid pixel in red, green or blue")
    low, high = np.percentile(valid, STRETCH)
    scaled = np.clip((bands - low) / max(high - low, 1e-9), 0, 1)
    rgb: Pixels = np.moveaxis(np.where(np.isfinite(bands).all(axis=0), scaled, 1), 0, -1).astype(np.float32)
    return rgb, f"stretch {low:.0f} to {high:.0f} DN (percentiles {STRETCH[0]:g} and {STRETCH[1]:g} of all three bands)"


@dataclass(frozen=True)
class Row:
    """One generated modality."""

    modality: str
    """LULC or NDVI."""
    generated: NDArray[np.generic]
    """Shape (H, W): output indices, or NDVI."""
    reference: NDArray[np.generic] | None
    """Shape (H, W): codes that mean what the indices do, or NDVI; NaN where nodata. None where the chip has none."""


STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "font.size": 10}
"""Settings of the whole picture."""


def picture(
    chip: str,
    rgb: Pixels,
    rgb_words: str,
    rows: Sequence[Row],
    gsd_m: float,
    random: Sequence[str],
    words: Sequence[str] = (),
) -> bytes:
    """`compose` as PNG, the same bytes for the same input."""
    with mpl.rc_context(STYLE):
        out = io.BytesIO()
        figure = compose(chip, rgb, rgb_words, rows, gsd_m, random, words)
        figure.savefig(out, format="png", facecolor="white", metadata={"Software": None})
    return out.getvalue()


def compose(
    chip: str,
    rgb: Pixels,
    rgb_words: str,
    rows: Sequence[Row],
    gsd_m: float,
    random: Sequence[str],
    words: Sequence[str] = (),
) -> Figure:
    """Input | generated | reference, one row a modality, legends at the right, metres along the edges.

    Args:
        chip: Id, for the title.
        rgb: Shape (H, W, 3) in 0..1.
        rgb_words: Bands and stretch.
        rows: At least one.
        gsd_m: Side of a pixel.
        random: Parts with random weights; empty where all came from published files.
        words: Further lines below.

    Raises:
        ReportError: No row, an unknown modality, or a map of another size than the input.
    """
    height, width = rgb.shape[:2]
    _check(rows, (height, width))
    extent = (0.0, width * gsd_m, height * gsd_m, 0.0)
    figure = Figure(figsize=(13.0, 3.75 * len(rows) + 1.5), dpi=110)
    grid = GridSpec(len(rows), 4, figure, width_ratios=(1, 1, 1, 0.9), left=0.055, right=0.99)
    foot = _foot([rgb_words, *words])
    inches = figure.get_figheight()
    grid.update(top=1 - 1.0 / inches, bottom=(0.7 + 0.18 * len(foot)) / inches, hspace=0.26, wspace=0.2)
    axes = figure.add_subplot(grid[0, 0])
    axes.imshow(rgb, extent=extent, interpolation="nearest")
    _frame(axes, "input: S2L2A, B04 B03 B02", first=True)
    for number, row in enumerate(rows):
        _row(figure, grid, number, row, extent, bool(random))
    title = f"{chip}: {width * gsd_m:.0f} m x {height * gsd_m:.0f} m, {width} x {height} px of {gsd_m:g} m"
    figure.text(0.06, 1 - 0.3 / inches, title, fontsize=13, weight="bold", va="center")
    if random:
        line = f"{RANDOM} (no published weights in: {', '.join(random)})"
        figure.text(0.06, 1 - 0.58 / inches, line, fontsize=11, color="#b2182b", weight="bold", va="center")
    figure.text(0.06, 0.12 / inches, "\n".join(foot), fontsize=8.5, va="bottom", linespacing=1.45)
    return figure


def _check(rows: Sequence[Row], size: tuple[int, int]) -> None:
    if not rows:
        raise ReportError("picture: nothing was generated")
    for row in rows:
        if row.modality not in ("LULC", "NDVI"):
            raise ReportError(f"picture: no way to draw {row.modality}; there are LULC and NDVI")
        for name, pixels in (("generated", row.generated), ("reference", row.reference)):
            if pixels is not None and pixels.shape != size:
                raise ReportError(f"picture: {name} {row.modality} is {pixels.shape}, the input {size}")


def _foot(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in textwrap.wrap(line, 165, subsequent_indent="   ")]


def _frame(axes: Axes, title: str, *, first: bool) -> None:
    """Title and metres; the vertical axis is named where the panel is the first of its row."""
    axes.set_title(title, fontsize=10.5)
    axes.set_xlabel("m from the west edge", fontsize=8.5)
    if first:
        axes.set_ylabel("m from the north edge", fontsize=8.5)
    axes.tick_params(labelsize=8)


def _row(
    figure: Figure,
    grid: GridSpec,
    number: int,
    row: Row,
    extent: tuple[float, float, float, float],
    random: bool,
) -> None:
    classes = row.modality == "LULC"
    colours = (ListedColormap(LULC_COLOURS) if classes else mpl.colormaps["YlGn"]).with_extremes(bad="#d9d9d9")
    norm = BoundaryNorm(np.arange(-0.5, len(LULC_COLOURS)), colours.N) if classes else Normalize(*NDVI_SHOWN)
    for column, (name, pixels) in enumerate((("generated", row.generated), ("reference", row.reference)), 1):
        axes = figure.add_subplot(grid[number, column])
        if pixels is None:
            axes.text(0.5, 0.5, f"the chip has no {row.modality}", ha="center", va="center", transform=axes.transAxes)
            axes.set_axis_off()
            continue
        axes.imshow(np.asarray(pixels, np.float64), extent=extent, cmap=colours, norm=norm, interpolation="nearest")
        _frame(axes, f"{name}: {row.modality}", first=number > 0 and column == 1)
        if random and name == "generated":
            axes.text(
                0.5,
                0.5,
                RANDOM,
                ha="center",
                va="center",
                transform=axes.transAxes,
                fontsize=10,
                weight="bold",
                color="#b2182b",
                bbox={"facecolor": "white", "edgecolor": "#b2182b", "pad": 4.0},
            )
    cell = figure.add_subplot(grid[number, 3])
    cell.set_axis_off()
    if classes:
        _classes(cell, row)
    else:
        _bar(figure, cell, colours, norm)


def _classes(cell: Axes, row: Row) -> None:
    """Names of the classes that either map holds, with their share of the generated one and of the reference."""
    shares = [_shares(row.generated), None if row.reference is None else _shares(row.reference)]
    handles = []
    for index, name in enumerate(LULC_CLASSES):
        found = [s[index] for s in shares if s is not None]
        if any(found):
            text = " | ".join(f"{100 * s:.1f}" for s in found)
            handles.append(Patch(facecolor=LULC_COLOURS[index], edgecolor="#6b6b6b", label=f"{index} {name}  {text}"))
    head = "generated" if shares[1] is None else "generated | reference"
    cell.legend(
        handles=handles,
        loc="center left",
        frameon=False,
        fontsize=9,
        title=f"share of the chip in %\n{head}",
        title_fontsize=9,
        alignment="left",
        borderaxespad=0,
    )


def _shares(pixels: NDArray[np.generic]) -> list[float]:
    values = np.asarray(pixels, np.float64)
    return [float((values == index).mean()) for index in range(len(LULC_CLASSES))]


def _bar(figure: Figure, cell: Axes, colours: mpl.colors.Colormap, norm: Normalize) -> None:
    place = cell.inset_axes((0.0, 0.06, 0.1, 0.84))
    figure.colorbar(mpl.cm.ScalarMappable(norm, colours), cax=place, extend="both")
    place.set_title("NDVI", fontsize=9, loc="left", pad=14)
    place.tick_params(labelsize=8)
    for end in NDVI_RANGE:
        place.axhline(end, color="black", lw=1.2)
    cell.text(
        0.34,
        0.5,
        f"lines: {NDVI_RANGE[0]:.3f} and {NDVI_RANGE[1]:.3f};\nthe tokenizer's decoder\nclips to this range\n\n"
        "grey: no data",
        fontsize=8.5,
        va="center",
    )
