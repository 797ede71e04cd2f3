"""How sure: each headline's interval by name, and every cluster's own value where there are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.claims.rules import Rules
from harness.claims.scored import headlines
from harness.claims.verdicts import expected
from harness.records import AdapterRun, Measurement
from harness.report.run_tables import Table, escaped
from harness.report.words import num, pct
from harness.score.scenes import probes, sampled, scene_names

ESTIMANDS = {"pooled": "pooled", "per_cluster": "mean over clusters", None: "not stated"}
"""What is estimated, in words."""

OLDER = "the record is older than these words and does not say how its interval was made"
"""Stands where a record says nothing."""


@dataclass(frozen=True)
class Sure:
    """One adapter's headlines."""

    adapter: str
    """Adapter id."""
    measured: list[Measurement]
    """In the order of the table."""
    show_below: int
    """With fewer clusters each is shown."""
    one_each: bool
    """Whether every chip is taken as a cluster of its own, because none names a scene or parent."""
    probes: list[str]
    """Scored chips of role `probe`, which enter no interval."""

    def table(self) -> Table:
        """Value, interval and simulated coverage of each."""
        return Table(
            ["headline", "estimand", "value", "interval", "simulated coverage", "clusters"],
            "llrrrr",
            [_row(m) for m in self.measured],
        )

    @property
    def few(self) -> list[Measurement]:
        """Headlines of which every cluster is shown, each quantity once."""
        found = {(m.quantity.metric, m.quantity.class_index): m for m in reversed(self.measured)}
        return [m for m in reversed(found.values()) if m.clusters and m.n < self.show_below]

    def clusters(self) -> Table:
        """Every cluster's own value."""
        few = self.few
        names = list(dict.fromkeys(name for m in few for name in m.clusters))
        rows = [[escaped(name), *(num(m.clusters.get(name), 4) for m in few)] for name in names]
        return Table(["cluster", *(_what(m) for m in few)], "l" + "r" * len(few), list(rows))

    def left_out(self) -> str:
        """Chips of role `probe` by name."""
        return ", ".join(map(escaped, self.probes))

    def words(self) -> list[str]:
        """What each interval is, or why there is none; equal words once."""
        found: dict[str, list[str]] = {}
        for m in self.measured:
            found.setdefault(m.why, []).append(f"{_what(m)}, {ESTIMANDS[m.estimand]}")
        return [f"{'; '.join(who)}: {escaped(why)}." for why, who in found.items()]


def sure(run: AdapterRun, rules: Rules) -> Sure:
    """One adapter's headlines, made from the matrices of its record."""
    chips = sampled(run.chips)
    named = scene_names(run.chips)
    alone = all(chip.cluster is None and named[chip.chip] == chip.chip for chip in chips)
    unseen = alone and not all(chip.shares_ground is not None for chip in chips)
    return Sure(run.adapter, headlines(run, rules), rules.report.show_below, unseen, probes(run.chips))


def _what(m: Measurement) -> str:
    q = m.quantity
    return escaped(q.metric if q.class_index is None else f"{q.metric}, class {q.class_index}")


def _row(m: Measurement) -> Sequence[str]:
    ends = "none" if m.interval is None else f"[{num(m.interval[0], 4)}, {num(m.interval[1], 4)}]"
    held = "none" if m.coverage_simulated is None else pct(m.coverage_simulated, 1)
    value = num(m.value, 4) if m.value is not None else "undefined"
    if m.interval is not None and m.level is not None:
        ends = f"{ends} at {100 * m.level:g} %"
    return [_what(m), ESTIMANDS[m.estimand], value, ends, held, str(m.n)]


def beside(
    measurement: Measurement, rules: Rules, tolerance: str | None, scenes: int | None, inconclusive: bool
) -> str:
    """What stands beside a claim's figure of ours: the interval by name, few clusters, scenes needed, prediction.

    Args:
        measurement: Ours.
        rules: Verdict rules.
        tolerance: The claim's.
        scenes: Independent scenes behind the card's figure, as far as anybody says.
        inconclusive: Whether nothing could be concluded; only then scenes are asked for.
    """
    m = measurement
    said = [f"{ESTIMANDS[m.estimand]}: {m.why or OLDER}"]
    if m.clusters and m.n < rules.report.show_below:
        said.append("each cluster: " + ", ".join(f"{name} {num(v, 4)}" for name, v in m.clusters.items()))
    if inconclusive:
        asked = next((n for n in m.needed if tolerance and float(tolerance) == n.tolerance), None)
        if asked is not None and asked.scenes is not None:
            said.append(
                f"{asked.scenes} scenes would confirm a claim that is exactly right with a probability of "
                f"{asked.probability:g} ({asked.why})"
            )
        elif asked is not None:
            said.append(f"scenes needed: {asked.why}")
    band = None if scenes is None or m.whole else expected(m, scenes, rules)
    if band is not None and band.low is not None and band.high is not None:
        said.append(f"another set should lie within [{num(band.low, 4)}, {num(band.high, 4)}]: {band.why}")
    return escaped(". ".join(said))
