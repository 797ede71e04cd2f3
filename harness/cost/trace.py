"""Joules between two readings of a counter, or why they cannot be known.

The first and the last reading make the figure. Those in between add nothing: they show whether the
counter wrapped, was reset, stood still or jumped. docs/energy.md lists what is seen and what comes
of it; docs/meters-judged.md holds every rule against counters that were made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from harness.cost.energy import Joules, NotMeasured
from harness.cost.meter import Meter, Zone

WRAP_SHARE = 0.02
"""How far one wrap may put a step from its duration times the usual power, as a share of all joules."""

UNEVEN_SHARE = 0.01
"""Joules that neighbouring steps may together lie above or below the usual, as a share of all, besides one period."""

UNEVEN_LEAST = 0.15
"""A step within this share of the usual power is no departure from it."""

UNEVEN_PERIODS = 1.5
"""Nor one that so many periods explain: its two ends are each up to one period late."""

STUCK_PERIODS = 10
"""A counter that does not move in so many of its periods does not count."""

FEWEST_STEPS = 3
"""Steps that a usual power needs before a wrap is judged by it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a meter."""

    at_s: float
    """Clock when it was taken."""
    joules: tuple[float, ...] | None
    """By zone; None where it failed."""
    why: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class _Step:
    """Between two readings that succeeded."""

    seconds: float
    joules: float


def energy(readings: Sequence[Reading], meter: Meter, *, steady: bool = True) -> Joules | NotMeasured:
    """Joules from the first reading to the last, all zones together.

    Args:
        readings: In order of time; the ends of a window, and at least one between them.
        meter: What was read.
        steady: Whether one load was held throughout, so that uneven steps are a fault; False for idle.

    Returns:
        The joules, or the first reason why they are not known.
    """
    if len(readings) < 2:
        return NotMeasured(f"{meter.name}: {len(readings)} readings; a window has two ends")
    for which, end in (("first", readings[0]), ("last", readings[-1])):
        if end.joules is None:
            return NotMeasured(f"{meter.name}: the {which} reading failed: {end.why}")
    if not any(r.joules is not None for r in readings[1:-1]):
        return NotMeasured(f"{meter.name}: no reading inside the window succeeded, so nothing shows that it counted on")
    total = Joules(0.0)
    for index, zone in enumerate(meter.zones):
        points = [(r.at_s, r.joules[index]) for r in readings if r.joules is not None]
        found = _zone_energy(points, zone, meter.period_s, steady)
        if isinstance(found, str):
            return NotMeasured(f"{meter.name}: {zone.name}: {found}")
        total = total + Joules(found)
    return total


def _zone_energy(points: list[tuple[float, float]], zone: Zone, period_s: float, steady: bool) -> float | str:
    """Joules of one zone, or what is wrong with it."""
    steps: list[_Step] = []
    back: list[int] = []
    for (before_s, before), (after_s, after) in pairwise(points):
        step = _Step(after_s - before_s, after - before)
        if step.seconds <= 0:
            return f"readings {step.seconds:.3g} s apart: the clock did not advance"
        if zone.range_j is not None and step.seconds * zone.most_w >= zone.range_j:
            return (
                f"{step.seconds:.0f} s between readings, in which {zone.most_w:.0f} W would go round its range of "
                f"{zone.range_j:.0f} J; read it more often"
            )
        if step.joules < 0:
            back.append(len(steps))
        steps.append(step)
    if back:
        repaired = _unwrapped(steps, back, zone)
        if isinstance(repaired, str):
            return repaired
        steps = repaired
    return (
        _still(steps, period_s)
        or _too_much(steps, zone, period_s)
        or (_uneven(steps, period_s) if steady else None)
        or sum(step.joules for step in steps)
    )


def _unwrapped(steps: list[_Step], back: list[int], zone: Zone) -> list[_Step] | str:
    """The steps with the range added where the counter went back, or why that is no wrap."""
    lost = -steps[back[0]].joules
    said = f"went back by {lost:.6g} J"
    if zone.range_j is None:
        return f"{said}: reset, or readings mixed up; it has no range to wrap at"
    forward = [step.joules / step.seconds for step in steps if step.joules > 0]
    if len(forward) < FEWEST_STEPS:
        return f"{said}, and {len(forward)} other steps do not tell a wrap from a reset"
    usual_w = median(forward)
    due_j = usual_w * sum(step.seconds for step in steps)
    out = list(steps)
    for index in back:
        step = _Step(steps[index].seconds, steps[index].joules + zone.range_j)
        if abs(step.joules - usual_w * step.seconds) > WRAP_SHARE * due_j:
            return (
                f"{said}; a wrap at {zone.range_j:.6g} J would mean {step.joules:.4g} J in {step.seconds:.3g} s where "
                f"{usual_w * step.seconds:.4g} J were usual: reset, or readings mixed up"
            )
        out[index] = step
    return out


def _still(steps: list[_Step], period_s: float) -> str | None:
    """Whether the counter stood still; None where it did not."""
    still_s = 0.0
    for step in steps:
        still_s = still_s + step.seconds if step.joules == 0 else 0.0
        if still_s >= STUCK_PERIODS * period_s:
            return f"did not move for {still_s:.3g} s, {STUCK_PERIODS} of its periods or more: stuck, or not counting"
    if not any(step.joules for step in steps):
        return "did not move: stuck, not counting, or the window is shorter than its period"
    return None


def _too_much(steps: list[_Step], zone: Zone, period_s: float) -> str | None:
    """Whether a step is more than the device can draw; it may hold one period more than its own seconds."""
    highest_w = max(step.joules / (step.seconds + period_s) for step in steps)
    if highest_w > zone.most_w:
        return f"jumped: {highest_w:.4g} W in one step, and it cannot exceed {zone.most_w:.0f} W"
    return None


def _uneven(steps: list[_Step], period_s: float) -> str | None:
    """Whether neighbouring steps lie off the usual power by joules that matter: a lost or a foreign part."""
    usual_w = median(step.joules / step.seconds for step in steps)
    total_j = sum(step.joules for step in steps)
    allowed_j = UNEVEN_SHARE * total_j + usual_w * period_s
    off_j, since = 0.0, 0.0
    for step in steps:
        due_j = usual_w * step.seconds
        more_j = step.joules - due_j
        if abs(more_j) <= max(UNEVEN_LEAST, UNEVEN_PERIODS * period_s / step.seconds) * due_j:
            off_j = since = 0.0
            continue
        if off_j * more_j < 0:
            off_j = since = 0.0
        off_j, since = off_j + more_j, since + step.seconds
        if abs(off_j) > allowed_j:
            how = "more" if off_j > 0 else "less"
            return (
                f"uneven: {abs(off_j):.4g} J {how} in {since:.3g} s than the {usual_w:.4g} W of the other steps; the "
                "counter lost or gained some, or something else ran"
            )
    return None
