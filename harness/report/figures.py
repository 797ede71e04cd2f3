"""Figures of the gap reports: SVG, the same bytes for the same input."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.claims.sweeps import Sweep
from harness.score.binary import ALL_ONES, ALL_ZEROS, BinaryMatrix, OperatingPoint

CARD, RERUN, ZEROS, ONES, GREY = "#0b5d8a", "#c2571a", "#6b6b6b", "#a8a8a8", "#d9d9d9"
"""Colours that stay apart in the common forms of colour blindness and in grey."""

INDEX_COLOURS = ("#3b78b0", "#b0413e", "#3f7d4a", "#b9a44c", "#7a5195")
"""Output indices 0 to 4."""


@contextmanager
def drawing_style() -> Iterator[None]:
    """Settings under which every figure is drawn, so that the same input gives the same bytes."""
    settings: dict[Any, Any] = {
        "svg.hashsalt": "harness",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "axes.axisbelow": True,
        "legend.frameon": False,
    }
    with mpl.rc_context(settings):
        yield


def svg(figure: Figure) -> str:
    """The figure as SVG text without date or creator."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", facecolor="white")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@dataclass(frozen=True)
class Mark:
    """One data set on the prevalence figure."""

    name: str
    """For the legend."""
    place: str
    """The set it was measured on."""
    matrix: BinaryMatrix
    """Published operating point."""
    colour: str
    """Line and marker."""


def _curve(point: OperatingPoint, shares: Iterable[float], metric: str) -> list[float]:
    return [getattr(point.at(float(s)), metric) or 0.0 for s in shares]


def prevalence(card: BinaryMatrix, rerun: BinaryMatrix) -> str:
    """IoU of class 1 and mIoU against prevalence, at constant TPR and FPR.

    Args:
        card: Card's test set, fractions or pixels.
        rerun: Rerun's set.

    Returns:
        SVG text. Left mIoU, right IoU of the positive class; markers at both published sets;
        constant maps as dashed lines.
    """
    shares = np.linspace(0.005, 0.6, 240)
    marks = (Mark("card's rates", "card's test set", card, CARD), Mark("rerun's rates", "six tiles", rerun, RERUN))
    with drawing_style():
        figure = Figure(figsize=(9.2, 4.1))
        for number, (metric, title) in enumerate((("miou", "mIoU"), ("iou1", "IoU of building")), 1):
            axes = figure.add_subplot(1, 2, number)
            zeros, ones = _curve(ALL_ZEROS, shares, metric), _curve(ALL_ONES, shares, metric)
            axes.plot(100 * shares, zeros, ls="--", lw=1.2, color=ZEROS, label="all-zeros")
            axes.plot(100 * shares, ones, ls=":", lw=1.6, color=ZEROS, label="all-ones")
            for mark in marks:
                point = OperatingPoint(mark.matrix.tpr or 0.0, mark.matrix.fpr or 0.0)
                axes.plot(100 * shares, _curve(point, shares, metric), color=mark.colour, lw=2, label=mark.name)
            for mark in marks:
                value = getattr(mark.matrix, metric)
                axes.plot(
                    100 * (mark.matrix.prevalence or 0), value, "o", ms=8, color=mark.colour, mec="white", mew=1.2
                )
                axes.annotate(
                    f"{mark.place} {value:.3f}" if metric == "miou" else f"{value:.3f}",
                    (100 * (mark.matrix.prevalence or 0), value),
                    textcoords="offset points",
                    xytext=(9, -15),
                    color=mark.colour,
                    fontsize=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
                )
            axes.set(
                xlabel="building share (%), rates held constant", ylabel=title, xlim=(0, 60), ylim=(0, 0.8), title=title
            )
            axes.title.set_fontsize(12)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncol=4, bbox_to_anchor=(0.5, -0.13), fontsize=10)
        figure.subplots_adjust(wspace=0.28)
        return svg(figure)


def sweep(data: Sweep, stated_best: float | None) -> str:
    """Every metric of a threshold sweep, with the author's choice and the constant map marked."""
    thresholds = [float(r.threshold) for r in data.rows]
    zeros = ALL_ZEROS.at(data.positives / data.pixels).miou or 0.0
    lines = (
        ("mIoU", [m.miou for m in data.matrices], CARD, "-"),
        ("IoU of building", [m.iou1 for m in data.matrices], RERUN, "-"),
        ("recall", [m.tpr for m in data.matrices], "#3f7d4a", "--"),
        ("precision", [m.precision for m in data.matrices], "#7a5195", "--"),
    )
    with drawing_style():
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.add_subplot(1, 1, 1)
        for name, values, colour, style in lines:
            known = [(t, v) for t, v in zip(thresholds, values, strict=True) if v is not None]
            axes.plot(
                [t for t, _ in known], [v for _, v in known], style, color=colour, lw=2, marker="o", ms=4, label=name
            )
        axes.axhline(zeros, color=ZEROS, lw=1.2, ls=":", label=f"all-zeros mIoU {zeros:.3f}")
        if stated_best is not None:
            axes.axvline(stated_best, color=GREY, lw=6, zorder=0)
            axes.annotate(
                "called best",
                (stated_best, 1.0),
                ha="left",
                va="bottom",
                fontsize=10,
                color=ZEROS,
                xytext=(6, 2),
                textcoords="offset points",
            )
        axes.set(xlabel="threshold on the probability of building", ylabel="score", xlim=(0, 1), ylim=(0, 1.08))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncol=3, fontsize=10)
        return svg(figure)


def shares(rows: Sequence[tuple[str, Sequence[int]]], names: Sequence[str]) -> str:
    """Stacked shares of output indices at each probe place.

    Args:
        rows: Place and pixel counts by index, in drawing order from the top.
        names: Legend entry of each index.
    """
    with drawing_style():
        figure = Figure(figsize=(8.4, 0.42 * len(rows) + 1.4))
        axes = figure.add_subplot(1, 1, 1)
        for y, (_, counts) in enumerate(rows):
            left, total = 0.0, sum(counts)
            for index, count in enumerate(counts):
                width = 100 * count / total
                axes.barh(y, width, left=left, color=INDEX_COLOURS[index], height=0.72, edgecolor="white", lw=0.4)
                if width >= 6:
                    axes.text(left + width / 2, y, f"{width:.0f}", ha="center", va="center", color="white", fontsize=9)
                left += width
        axes.set_yticks(range(len(rows)), [place.replace("_", " ") for place, _ in rows])
        axes.invert_yaxis()
        axes.set(xlabel="share of the chip (%)", xlim=(0, 100))
        axes.grid(visible=False)
        handles = [mpl.patches.Patch(color=INDEX_COLOURS[i], label=name) for i, name in enumerate(names)]
        figure.legend(
            handles=handles,
            loc="upper center",
            ncol=len(names),
            bbox_to_anchor=(0.5, 0.02),
            fontsize=10,
            columnspacing=1.2,
            handlelength=1.2,
        )
        return svg(figure)


def bars(names: Sequence[str], values: Sequence[float], ylabel: str, highlight: int) -> str:
    """One bar a class, one of them highlighted, values written at the ends."""
    with drawing_style():
        figure = Figure(figsize=(6.4, 3.4))
        axes: Axes = figure.add_subplot(1, 1, 1)
        for x, value in enumerate(values):
            axes.bar(x, value, color=RERUN if x == highlight else CARD, width=0.62)
            axes.annotate(
                f"{value:+.2f}",
                (x, value),
                ha="center",
                va="bottom" if value >= 0 else "top",
                textcoords="offset points",
                xytext=(0, 3 if value >= 0 else -3),
                fontsize=10,
            )
        axes.axhline(0, color="black", lw=0.8)
        axes.set_xticks(range(len(names)), names, fontsize=10)
        axes.set(ylabel=ylabel)
        low, high = min(0.0, *values), max(0.0, *values)
        room = 0.14 * (high - low)
        axes.set_ylim(low - room, high + room)
        axes.grid(visible=False, axis="x")
        return svg(figure)
