"""docs/coverage.md from the simulated figures."""

from __future__ import annotations

import math
from typing import get_args

from harness.score.simulated import ENOUGH, ENOUGH_CLUSTERS, WANTED, Coverage, Kind, Row, best, told
from tests.score.worlds import WORLDS

KINDS: dict[Kind, str] = {
    "pooled": "Pooled: the metric of one matrix over all clusters",
    "per_cluster": "Mean over clusters of each cluster's metric",
    "pooled difference": "Difference of two arms on the same chips, pooled",
    "per_cluster difference": "Difference of two arms on the same chips, mean over clusters",
}


def page(of: Coverage) -> str:
    """The whole page, as Markdown."""
    error = 100 * math.sqrt(of.level * (1 - of.level) / of.drawn)
    low = 100 * math.sqrt(0.7 * 0.3 / of.drawn)
    worlds = "\n".join(f"- **{world.name}**: {world.text}." for world in WORLDS)
    parts = [
        f"""# Do the intervals hold the truth?

Written by `python -m tests.score.coverage`; `--check` simulates again and fails where a coverage differs by more than
the draw explains. The same figures lie in `harness/score/coverage.json`, from which every interval quotes its own.
Nothing here is about a real model: the scenes are made up so that the truth is known.

## How

{of.drawn:,} samples of each number of clusters from each world; a {100 * of.level:g} % interval by each method, from
the functions that make the intervals of reports; {of.replicates:,} resamples each. *Covered* is the share of intervals
that hold the true value of the estimand, which comes from 400,000 scenes. One standard error of a coverage is
{error:.1f} points near {100 * of.level:g} % and {low:.1f} near 70 %.

{worlds}

In each, class shares, difficulty, readiness to mark a class, and each rate vary from scene to scene; where a class is
common it is also marked more readily (correlation 0.5), so TPR and FPR rise together. The second arm of a difference
is better by 0.15 in the logits of the right cells, with differences of its own in each scene.

- *percentile*, *bca*: whole clusters are drawn with replacement.
- *jackknife_t*: the value plus and minus t delete-one jackknife errors. The degrees of freedom are one less than the
  effective number of clusters, (sum of pixels)^2 / sum of squared pixels over clusters, for the pixels that the metric
  divides by: n - 1 where all clusters weigh the same, fewer where few of them hold most of a class.
- *t*: Student's interval of the clusters' own values, n - 1 degrees of freedom (for a mean, the jackknife's).
- A sample without the class in all clusters but one gets no interval; the share is among those that got one. A dash:
  fewer than {100 * ENOUGH:.0f} % did.

## What is used

The method whose lowest coverage over worlds and metrics is highest, where more than {100 * of.level:g} % counts as
{100 * of.level:g} %; of equals the narrowest. That lowest coverage, below, is printed beside every interval. From
{ENOUGH_CLUSTERS} clusters on it is at least {100 * WANTED:.0f} %, which a test holds. With two clusters, or where they
weigh like fewer than 2.5, an interval is given and called not useful, whatever its coverage: it is that wide.
"""
    ]
    parts.append(_chosen(of))
    for kind in get_args(Kind):
        rows = [row for row in of.rows if row.kind == kind]
        if rows:
            parts.append(f"\n## {KINDS[kind]}\n\nCovered, %, by clusters.\n\n{_table(of, rows)}")
    parts.append(f"\n## Width\n\nMean width of the pooled intervals, in hundredths of the metric.\n\n{_widths(of)}")
    return "".join(parts)


def _header(of: Coverage, *names: str) -> str:
    columns = [*names, *map(str, of.clusters)]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(names)}{'--:|' * len(of.clusters)}\n"


def _chosen(of: Coverage) -> str:
    out = "\n" + _header(of, "estimand")
    for kind in get_args(Kind):
        cells = []
        for n in of.clusters:
            method = best(kind, n, of)
            each = told(kind, method, n, of)
            cells.append("-" if each is None else f"{method} {_percent(each.coverage)}")
        out += f"| {kind} | {' | '.join(cells)} |\n"
    return out


def _table(of: Coverage, rows: list[Row]) -> str:
    out = _header(of, "world", "metric", "method")
    for row in rows:
        cells = [
            _percent(held / given) if given >= ENOUGH * of.drawn else "-"
            for held, given in zip(row.covered, row.given, strict=True)
        ]
        out += f"| {row.world} | {row.metric} | {row.method} | {' | '.join(cells)} |\n"
    return out


def _widths(of: Coverage) -> str:
    out = _header(of, "world", "metric", "method")
    for row in of.rows:
        if row.kind == "pooled":
            cells = [f"{100 * wide:.1f}" if wide else "-" for wide in row.width]
            out += f"| {row.world} | {row.metric} | {row.method} | {' | '.join(cells)} |\n"
    return out


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
