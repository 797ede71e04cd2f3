"""How often each kind of interval held the truth where the truth was known: `coverage.json`, read.

The file is written by `python -m tests.score.coverage`; docs/coverage.md is the same figures as a page.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from harness.records.quantity import Strict
from harness.score.clusters import Estimand

FILE = Path(__file__).with_name("coverage.json")
"""The simulated figures."""

WANTED = 0.93
"""Coverage that a 95 % interval must reach in the worst simulated case from ENOUGH_CLUSTERS on."""

ENOUGH_CLUSTERS = 20
"""With fewer, the best simulated method is used, whatever its coverage."""

ENOUGH = 0.5
"""Share of the simulated samples that must allow an interval before its coverage is told."""

Kind = Literal["pooled", "per_cluster", "pooled difference", "per_cluster difference"]
"""What an interval is about: an estimand, or the difference of two arms in it."""

Method = Literal["percentile", "bca", "jackknife_t", "t"]
"""percentile and bca: cluster bootstrap. jackknife_t: value and t jackknife errors, degrees of freedom
by the effective number of clusters, for pooled estimands. t: Student's interval of the clusters' own values,
for means over clusters."""


class Row(Strict):
    """One metric of one world under one method, at each number of clusters."""

    kind: Kind
    """What the interval is about."""
    world: str
    """World of `tests.score.worlds`."""
    metric: str
    """Metric."""
    method: Method
    """How the interval was made."""
    covered: list[int]
    """Samples whose interval held the truth."""
    given: list[int]
    """Samples that allowed an interval: the metric defined, also without each cluster."""
    width: list[float]
    """Mean width of the intervals given, in units of the metric; 0 where none was."""


class Coverage(Strict):
    """The simulation."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of this shape."""
    seed: int
    """Of the worlds."""
    drawn: int
    """Samples for each world and number of clusters."""
    replicates: int
    """Bootstrap resamples of each sample."""
    level: float
    """Confidence of the intervals."""
    clusters: list[int]
    """Numbers of clusters, ascending; each list of a row is along these."""
    truths: dict[str, float]
    """True value by `kind/world/metric`."""
    rows: list[Row]
    """Everything simulated."""

    @model_validator(mode="after")
    def _along_clusters(self) -> Coverage:
        if self.clusters != sorted(set(self.clusters)) or not self.clusters:
            raise ValueError("clusters are not ascending")
        for row in self.rows:
            if not len(row.covered) == len(row.given) == len(row.width) == len(self.clusters):
                raise ValueError(
                    f"{row.kind}/{row.world}/{row.metric}/{row.method}: not one figure for each of clusters"
                )
        return self


class Told(NamedTuple):
    """Simulated behaviour of one method at one number of clusters."""

    coverage: float
    """Lowest coverage over the simulated worlds and metrics."""
    clusters: int
    """Number of clusters that was simulated: the largest that is not above the one asked for."""
    width: float
    """Mean over worlds and metrics of the width, each in units of the narrowest method's."""


def methods(estimand: Estimand) -> tuple[Method, ...]:
    """Methods for an estimand; the t-interval bears the name that says of what it is."""
    return ("percentile", "bca", "jackknife_t") if estimand == "pooled" else ("percentile", "bca", "t")


@functools.cache
def coverage() -> Coverage:
    """The simulation that ships with the package."""
    return Coverage.model_validate(json.loads(FILE.read_text(encoding="utf-8")))


def simulated(kind: Kind, name: str, by: Coverage | None = None) -> bool:
    """Whether a metric of this name, of whichever class, was among those simulated for `kind`.

    Only then does the simulation speak for its interval.
    """

    def bare(of: str) -> str:
        return of.removeprefix("difference of ").partition("[")[0]

    return any(row.kind == kind and bare(row.metric) == bare(name) for row in (by or coverage()).rows)


def told(kind: Kind, method: Method, n: int, by: Coverage | None = None) -> Told | None:
    """What the simulation says of `method` at `n` clusters.

    Args:
        kind: What the interval is about.
        method: How it is made.
        n: Clusters; between two simulated numbers the smaller one speaks.
        by: Another simulation than the package's.

    Returns:
        None where nothing was simulated: fewer clusters than the fewest, or fewer than half of
        the samples of every world allowed an interval.
    """
    by = by or coverage()
    at = [i for i, simulated in enumerate(by.clusters) if simulated <= n]
    if not at:
        return None
    i = at[-1]
    shares, widths = [], []
    for row in by.rows:
        if row.kind != kind or row.method != method or row.given[i] < ENOUGH * by.drawn:
            continue
        rivals = [
            r.width[i] for r in by.rows if (r.kind, r.world, r.metric) == (kind, row.world, row.metric) and r.given[i]
        ]
        shares.append(row.covered[i] / row.given[i])
        widths.append(row.width[i] / min(rivals) if min(rivals) > 0 else 1.0)
    return Told(min(shares), by.clusters[i], sum(widths) / len(widths)) if shares else None


def best(kind: Kind, n: int, by: Coverage | None = None) -> Method:
    """The method to use at `n` clusters.

    The one with the highest lowest coverage, where more than the level counts as the level; of equals
    the narrowest.

    Raises:
        ValueError: Nothing was simulated at `n` clusters or fewer.
    """
    found = {method: told(kind, method, n, by) for method in get_args(Method)}
    known = {method: each for method, each in found.items() if each is not None}
    if not known:
        raise ValueError(f"no coverage was simulated for {kind} at {n} clusters or fewer; name a method")
    level = (by or coverage()).level
    return max(known, key=lambda method: (min(known[method].coverage, level), -known[method].width))
