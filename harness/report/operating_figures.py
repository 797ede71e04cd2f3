"""Figures of the operating points: precision against recall, and the reliability diagram with its counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.report.figures import CARD, RERUN, ZEROS, drawing_style, svg
from harness.report.panels import MARK, drawn
from harness.score.calibration import Calibration
from harness.score.sweep import SweepPoint

GREEN = "#3f7d4a"
"""Third line colour, as in the other figures."""


@dataclass(frozen=True)
class Spot:
    """A marked point of the precision-recall curve."""

    name: str
    """For the legend."""
    precision: float
    """0 to 1."""
    recall: float
    """0 to 1."""


SHAPES = (("o", RERUN), ("s", GREEN), ("D", "#7a5195"), ("^", "#4d4d4d"))
"""Marker and colour of each spot; shapes differ, so that colour is not needed."""


def precision_recall(
    points: Sequence[SweepPoint], spots: Sequence[Spot], prevalence: float | None, *, title: str, random: bool
) -> str:
    """Precision against recall over the swept thresholds.

    Args:
        points: Pooled counts.
        spots: Points to mark.
        prevalence: Precision of a map that marks by chance; None where undefined.
        title: Above.
        random: Whether weights were random, which is then written above.

    Returns:
        SVG text, the same for the same input.
    """
    known = [
        (p.threshold, p.matrix.tpr, p.matrix.precision)
        for p in sorted(points, key=lambda p: p.threshold)
        if p.matrix.tpr is not None and p.matrix.precision is not None
    ]
    with drawing_style(), mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.add_subplot(1, 1, 1)
        axes.plot(
            [r for _, r, _ in known], [p for _, _, p in known], "-", color=CARD, lw=2, marker=".", ms=7,
            label=f"{len(known)} thresholds",
        )  # fmt: skip
        for t, r, p in known[:1] + known[1:][-1:]:
            side = "left" if r < 0.1 else "right" if r > 0.9 else "center"
            axes.annotate(f"{t:g}", (r, p), textcoords="offset points", xytext=(0, 9), ha=side, fontsize=10, color=CARD)
        for spot, (shape, colour) in zip(spots, SHAPES[: len(spots)], strict=True):
            axes.plot(
                [spot.recall], [spot.precision], shape, ms=10, color=colour, mec="white", mew=1.2, ls="none",
                label=drawn(spot.name),
            )  # fmt: skip
        if prevalence is not None:
            axes.axhline(prevalence, color=ZEROS, lw=1.4, ls=":", label=f"by chance: {100 * prevalence:.1f} %")
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.03), ylim=(0, 1.05))
        axes.set_title(drawn(title) + (f"\n{MARK}" if random else ""), fontsize=12, loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=2, fontsize=11)
        return svg(figure)


def _count(value: float, _: int | None = None) -> str:
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def reliability_diagram(held: Calibration, *, title: str, of: str, random: bool) -> str:
    """Observed share against mean probability by bin, with the pixels of each bin below.

    Args:
        held: Bins.
        title: Above.
        of: Index and name of the class.
        random: Whether weights were random, which is then written above.

    Returns:
        SVG text, the same for the same input.
    """
    full = [b for b in held.bins if b.px]
    with drawing_style(), mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.2, 6.2))
        axes, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.12})
        axes.plot([0, 1], [0, 1], ":", color=ZEROS, lw=1.6, label="calibrated")
        axes.plot(
            [b.mean or 0.0 for b in full], [b.observed or 0.0 for b in full], "-o", color=CARD, lw=2, ms=6,
            label=f"this run, {len(full)} of {len(held.bins)} bins hold pixels",
        )  # fmt: skip
        if held.prevalence.value is not None:
            share = held.prevalence.value
            axes.axhline(share, color=RERUN, lw=1.4, ls="--", label=f"share in the labels: {100 * share:.1f} %")
        axes.set(ylabel="share in the labels", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
        axes.set_title(drawn(title) + (f"\n{MARK}" if random else ""), fontsize=12, loc="left")
        width = 1 / len(held.bins)
        below.bar(
            [b.low + width / 2 for b in full], [b.px for b in full], width=0.86 * width, color=CARD, log=bool(full)
        )
        if full:
            top = max(b.px for b in full)
            powers = [10**n for n in range(0, 13, 2) if 10**n <= 10 * top]
            below.yaxis.set_major_locator(FixedLocator(powers))
            below.yaxis.set_minor_locator(NullLocator())
            below.yaxis.set_major_formatter(FuncFormatter(_count))
            below.set_ylim(0.5, 4 * top)
        below.set(xlabel=drawn(f"probability of class {of}"), ylabel="pixels (log)")
        handles, labels = axes.get_legend_handles_labels()
        below.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.42), ncol=1, fontsize=11)
        return svg(figure)
