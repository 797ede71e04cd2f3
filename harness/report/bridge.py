"""The page of a bridge: sentence, table, waterfall. A pure function of its record, without torch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from harness.places import write_file
from harness.records.bridge import BridgeRecord, ResultRecord, read_bridge
from harness.report.figures import CARD, GREY, ONES, RERUN, ZEROS, drawing_style, svg
from harness.report.render import tidy
from harness.report.run_tables import escaped, fenced
from harness.report.words import environment
from harness.score.bars import RATES, points
from harness.score.bridge import RULES, Factor, bridge
from harness.score.confusion import ConfusionMatrix

FIGURE = "figures/bridge.svg"
"""Name of the waterfall below the run folder."""

UNEXPLAINED = "unexplained"
"""Name of the row between the published figure and its rerun."""

MARK = "random weights: mechanics only"
"""Written into the figure of such runs."""

SAME = 1e-12
"""Figures computed again may differ by rounding of floats alone."""

BELOW_IN = 0.42
"""Inches from the axis to the legend: room for its figures and its name."""

WRAP = 19
"""Characters of a label line beside a bar."""


@dataclass(frozen=True)
class Bar:
    """One row of the waterfall."""

    name: str
    """Beside it."""
    left: float
    """Value that it starts from."""
    right: float
    """Value that it leads to."""
    low: float | None = None
    """Lower end of the interval around `right`; None where there is none."""
    high: float | None = None
    """Upper end."""
    effect: float = 0.0
    """As the record has it; `right - left` but for the rounding of floats."""
    kind: str = "share"
    """`level` for a figure, `share` for an effect, `quiet` for one that is not detectable, `rest` for what is
    unexplained."""


def bars(result: ResultRecord, ends: tuple[str, str]) -> list[Bar]:
    """Rows from the published figure to the other end; each effect starts where the one before it ends."""
    out = []
    if result.claimed is not None:
        out.append(Bar("published", 0.0, result.claimed, kind="level"))
        band = result.band
        low, high = (None, None) if band is None else (result.claimed + band[0], result.claimed + band[1])
        out.append(Bar(UNEXPLAINED, result.claimed, result.start, low, high, result.unexplained or 0.0, "rest"))
    out.append(Bar(f"{ends[0]}, run here", 0.0, result.start, kind="level"))
    at = result.start
    for share in result.shares:
        low, high = (None, None) if share.low is None or share.high is None else (at + share.low, at + share.high)
        spoken = any(part.established or abs(part.effect) >= result.floor for part in share.parts)
        if spoken and not share.detectable:
            for part in share.parts:
                low, high = (None, None) if part.low is None or part.high is None else (at + part.low, at + part.high)
                left = part.what == RATES and part.p is not None and part.p >= 1 - result.level
                kind = "share" if part.established else "rest" if left else "quiet"
                name = f"{share.factor}: {part.what}"
                out.append(Bar(name, at, at + part.effect, low, high, part.effect, kind))
                at += part.effect
            continue
        kind = "share" if share.detectable else "quiet"
        out.append(Bar(share.factor, at, at + share.effect, low, high, share.effect, kind))
        at += share.effect
    out.append(Bar(f"{ends[1]}, run here", 0.0, result.end, kind="level"))
    return out


def waterfall(record: BridgeRecord) -> str:
    """The bars as SVG: figures in blue, effects in orange, those not detectable hatched, unexplained in grey.

    The line on a bar is the interval of its effect. Sampling has no bar: it is the dashed frame over what is
    unexplained, as far as other scenes may lie off.
    """
    result = record.result
    rows = bars(result, _names(record))
    with drawing_style():
        figure = Figure(figsize=(6.4, 0.52 * len(rows) + 1.5))
        axes: Axes = figure.add_subplot(1, 1, 1)
        lows = [v for b in rows for v in (b.right, b.low, b.high) if v is not None]
        lowest, highest = min(lows), max(lows)
        room = max(0.02, 0.12 * (highest - lowest))
        for y, bar in enumerate(rows):
            _bar(axes, y, bar)
            if y + 1 < len(rows):
                axes.plot([bar.right, bar.right], [y, y + 1], color=ZEROS, lw=0.8, ls=":", zorder=1)
        for y, bar in enumerate(rows):
            ends = [
                v for v in (bar.left if bar.kind != "level" else None, bar.right, bar.low, bar.high) if v is not None
            ]
            text = f"{bar.right:.4f}" if bar.kind == "level" else points(bar.effect)
            axes.annotate(
                text, (max(ends), y), textcoords="offset points", xytext=(6, 0), va="center", fontsize=10, color="black"
            )
        axes.set_yticks(range(len(rows)), [textwrap.fill(b.name, WRAP) for b in rows], fontsize=10)
        axes.set_xlim(lowest - room, highest + 2.4 * room)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(f"{result.metric}; effects in points")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(visible=False, axis="y")
        if record.weights == "random":
            axes.set_title(MARK, fontsize=11, color="#a50f15", loc="left", fontweight="bold")
        below = -(BELOW_IN + axes.xaxis.labelpad / 72) / (figure.get_figheight() * axes.get_position().height)
        figure.legend(
            handles=_legend({b.kind for b in rows}),
            loc="upper center",
            bbox_to_anchor=(0.4, below),
            bbox_transform=axes.transAxes,
            ncol=2,
            fontsize=10,
        )
        return svg(figure)


LOOKS: dict[str, dict[str, Any]] = {
    "share": {"facecolor": RERUN},
    "quiet": {"facecolor": "white", "edgecolor": RERUN, "hatch": "////", "linewidth": 1.0},
    "rest": {"facecolor": ONES},
}
"""How each kind of bar is drawn, whatever its factor; a bar and its entry in the legend look the same."""


def _bar(axes: Axes, y: int, bar: Bar) -> None:
    """One row. A figure is a mark and no bar, as the axis does not begin at 0."""
    if bar.kind == "level":
        axes.plot([bar.right, bar.right], [y - 0.36, y + 0.36], color=CARD, lw=5, solid_capstyle="butt", zorder=3)
        return
    axes.barh(y, bar.right - bar.left, left=bar.left, height=0.56, zorder=2, **LOOKS[bar.kind])
    if bar.low is not None and bar.high is not None:
        if bar.kind == "rest":
            axes.barh(
                y,
                bar.high - bar.low,
                left=bar.low,
                height=0.84,
                facecolor="none",
                edgecolor="black",
                lw=1.0,
                ls="--",
                zorder=3,
            )
            return
        axes.plot([bar.low, bar.high], [y, y], color="black", lw=1.4, zorder=3)
        for end in (bar.low, bar.high):
            axes.plot([end, end], [y - 0.13, y + 0.13], color="black", lw=1.4, zorder=3)
    if abs(bar.effect) < SAME:
        axes.plot([bar.right, bar.right], [y - 0.28, y + 0.28], color=GREY, lw=2, zorder=2)


LEGEND: dict[str, str] = {
    "level": "figure",
    "share": "effect of a difference",
    "quiet": "no detectable effect",
    "rest": "unexplained, or left to sampling",
}
"""What each kind of row is, in the order of the legend."""


HEADLINES: dict[str, str] = {
    "told": "What the differences do is told",
    "told but for sampling": "What the differences do is told, but not whether the other scenes are harder",
    "cannot be told": "It cannot be told where the difference comes from",
}
"""First words of the reading, by verdict."""


def _legend(kinds: Collection[str]) -> list[Artist]:
    """One entry for each kind that is drawn."""
    made: dict[str, Artist] = {
        "level": Line2D([], [], color=CARD, lw=5, solid_capstyle="butt", label=LEGEND["level"]),
        **{kind: Patch(**LOOKS[kind], label=LEGEND[kind]) for kind in LOOKS},
    }
    return [made[kind] for kind in LEGEND if kind in kinds]


def _names(record: BridgeRecord) -> tuple[str, str]:
    """The two ends, as the figure names them."""
    return ("first run", "second run") if record.source == "runs" else (record.start_name, record.end_name)


@dataclass(frozen=True)
class Check:
    """Something counted again from the record."""

    text: str
    """What."""
    holds: bool
    """Whether it came out the same."""

    @property
    def status(self) -> str:
        """For the box in front of it."""
        return "consistent" if self.holds else "inconsistent"


def checks(record: BridgeRecord) -> list[Check]:
    """The arithmetic made again from the stored matrices."""
    corners = {
        frozenset(c.switched): {
            name: ConfusionMatrix(tuple(tuple(row) for row in m), c.ignored_px[name]) for name, m in c.matrices.items()
        }
        for c in record.corners
    }
    published = record.published
    again = bridge(
        [Factor(f.id, f.kind, f.says) for f in record.factors],
        corners,
        record.metric,
        record.class_index,
        None if published is None else published.value,
        claim_scenes="others" if published is None else published.scenes,
        claim_clusters=None if published is None else published.clusters,
        over=record.over,
        level=record.result.level,
        floor=record.result.floor,
    )
    held = record.result
    total = math.fsum(s.effect for s in held.shares)
    same = all(abs(a.effect - b.effect) < SAME for a, b in zip(held.shares, again.shares, strict=True))
    found = [
        Check(
            "the metric at both ends, from the stored matrices", _near((held.start, held.end), (again.start, again.end))
        ),
        Check("every share, from the stored matrices", same),
        Check("shares sum to the difference of the ends, to 1e-9", abs(held.end - held.start - total) <= 1e-9),
    ]
    if held.rules != RULES:  # parts, readings and words are those of the rules of then
        return found
    parts = all(
        _near([p.effect for p in a.parts], [p.effect for p in b.parts])
        for a, b in zip(held.shares, again.shares, strict=True)
    )
    return [
        *found,
        Check("what label shares and rates make of other scenes, from the same", parts),
        Check("the sentence, from the same", held.sentence == again.sentence),
    ]


def _near(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(abs(x - y) < SAME for x, y in zip(a, b, strict=True))


def between(low: float | None, high: float | None) -> str:
    """An interval in points; a dash where there is none."""
    return "-" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def render_bridge(folder: Path) -> dict[str, str]:
    """Render a bridge.

    Args:
        folder: Holds bridge.json.

    Returns:
        File name below the folder -> text: bridge.md and its figure. The same for the same folder.

    Raises:
        RegistryError: The record is not there or wrong.
    """
    record = read_bridge(folder)
    found = checks(record)
    text = (
        environment()
        .get_template("bridge.md.j2")
        .render(
            b=record,
            r=record.result,
            names=_names(record),
            random=record.weights == "random",
            nothing=record.result.verdict == "told"
            and not any(s.detectable or any(p.established for p in s.parts) for s in record.result.shares),
            headline=HEADLINES[record.result.verdict],
            left=any(b.kind == "rest" and b.name != UNEXPLAINED for b in bars(record.result, _names(record))),
            framed=any(b.kind == "rest" and b.low is not None for b in bars(record.result, _names(record))),
            rules=RULES,
            split=[s for s in record.result.shares if s.parts],
            scored=[c for c in record.chips if c.scored],
            unscored=[c for c in record.chips if not c.scored],
            factors={f.id: f for f in record.factors},
            grouped=[f for f in record.factors if len(f.knobs) > 1],
            strong=[i for i in record.result.interactions if abs(i[2]) >= record.result.floor / 2],
            checks=found,
            broken=[c for c in found if not c.holds],
            figure=FIGURE,
            points=points,
            between=between,
            md=escaped,
            fenced=fenced,
        )
    )
    return {"bridge.md": tidy(text), FIGURE: waterfall(record)}


def write_bridge_report(folder: Path) -> list[Path]:
    """Render and write beside bridge.json, the figure first, each file whole or not at all.

    Returns:
        Paths written, the page last.

    Raises:
        RegistryError: The record is wrong, or the folder cannot be written.
    """
    files = render_bridge(folder)
    for name in (FIGURE, "bridge.md"):
        write_file(folder / name, files[name])
    return [folder / FIGURE, folder / "bridge.md"]
