"""Bars of a bridge: each share, what other scenes split into, how they read, and whether they tell where a gap is from.

Rules of `harness.score.bridge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from harness.score.corners import Factor
from harness.score.resample import SAME
from harness.score.tested import Tested

Verdict = Literal["told", "told but for sampling", "cannot be told"]
"""told: of the bars of the floor or more, those that are established hold at least MOSTLY of the sum (without signs).
told but for sampling: so they do, at least one is established, and beside them what is left of the other scenes makes
the floor or more without being beyond what other scenes would do. cannot be told: they hold less, nothing is
established beside what is left, or there is no interval to say so."""

MOSTLY: Final = 0.8
"""Part of all that is large enough to be spoken of that must be established. Set 2026-11-21."""


BEYOND: Final = "beyond what other scenes would do"
UNTESTABLE: Final = "not testable"
MIGHT: Final = "other scenes might show up to"
COUNTED: Final = "established for these scenes, whose label shares are counted"
LABELS: Final = "other label shares"
RATES: Final = "other rates on the other scenes"


@dataclass(frozen=True)
class Part:
    """What label shares, or rates, make up of a population's share."""

    what: str
    """LABELS or RATES."""
    effect: float
    """In units of the metric; the parts sum to the share."""
    low: float | None
    """Lower end of its interval; None with the reason in `why`. Of label shares: as they are, rates vary. Of rates:
    the band of what other scenes would do."""
    high: float | None
    """Upper end."""
    established: bool
    """Whether it is at least the floor and its interval, corrected for all that is looked at, excludes 0."""
    why: str
    """The reading in words."""
    p: float | None
    """Two-sided p on its jackknife error, corrected by Holm's method; None without an error."""


@dataclass(frozen=True)
class Share:
    """One bar."""

    factor: Factor
    """What was switched."""
    effect: float
    """Shapley share, in units of the metric; positive where switching from A's to B's setting raises it."""
    low: float | None
    """Lower end of the interval over clusters, for this share alone; None with the reason in `why`."""
    high: float | None
    """Upper end."""
    from_start: float
    """Effect of switching it alone at A's end."""
    from_end: float
    """Effect of switching it last, at B's end."""
    detectable: bool
    """Whether it is at least the floor and its interval, corrected for all that is looked at, excludes 0."""
    why: str
    """The reading in words."""
    p: float | None = None
    """Two-sided p of the share on its jackknife error, corrected by Holm's method; None without an error."""
    parts: tuple[Part, ...] = ()
    """Of a population: its label shares and its rates. Else none."""
    parts_why: str = ""
    """Why a population has none."""


def points(value: float) -> str:
    """A difference in points: hundredths of the metric, with its sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def share_of(
    factor: Factor, test: Tested, p: float | None, first: float, last: float, floor: float, level: float
) -> Share:
    """A share with its reading.

    Args:
        factor: What was switched.
        test: Its effect and error.
        p: Corrected by Holm's method; None without an error.
        first: Effect alone at A's end.
        last: Effect last at B's end.
        floor: Smallest effect that is spoken of.
        level: Confidence.
    """
    half, value = test.half, test.value
    low, high = (None, None) if half is None else (value - half, value + half)
    sure = p is not None and p < 1 - level
    found = sure and abs(value) >= floor
    if found:
        why = BEYOND
    elif abs(value) < floor and sure:
        why = f"no detectable effect: smaller than {100 * floor:g} points"
    elif p is None and abs(value) >= SAME:
        why = f"{UNTESTABLE}; {test.why}"
    else:
        why = "no detectable effect"
        if test.why:
            why += f"; {test.why}"
        elif low is not None and high is not None:
            why += f"; {MIGHT} {100 * max(abs(low), abs(high)):.1f} points"
    return Share(factor, value, low, high, first, last, found, why, p)


def parts_of(
    pair: tuple[Tested, Tested], ps: tuple[float | None, float | None], floor: float, level: float
) -> tuple[Part, Part]:
    """Label shares and rates of a population, read."""
    out = []
    for what, test, p in zip((LABELS, RATES), pair, ps, strict=True):
        sure, small = p is not None and p < 1 - level, abs(test.value) < floor
        low, high = (None, None) if test.half is None else (test.value - test.half, test.value + test.half)
        beyond = COUNTED if what == LABELS else BEYOND
        if p is None and abs(test.value) >= SAME:
            why = f"{UNTESTABLE}; {test.why}"
        elif small:
            why = f"less than {100 * floor:g} points"
        else:
            why = beyond if sure else f"not {beyond}" if what == RATES else "not beyond the spread of the rates"
        out.append(Part(what, test.value, low, high, sure and not small, why, p))
    return out[0], out[1]


def untestable(share: Share | Part) -> bool:
    """Whether something changed and no p says what other scenes would do."""
    return share.p is None and abs(share.effect) >= SAME


def verdict_of(shares: Sequence[Share], n: int, floor: float) -> tuple[Verdict, str]:
    """Whether the bars that are large enough are established, and what other scenes leave open."""
    bars: list[tuple[str, Share | Part, bool]] = []
    left: list[str] = []
    for share in shares:
        if share.detectable or not share.parts:
            bars.append((share.factor.id, share, share.detectable))
            continue
        labels, rates = share.parts
        bars.append((f"{share.factor.id} ({LABELS})", labels, labels.established))
        if rates.established or untestable(rates):
            bars.append((f"{share.factor.id} ({RATES})", rates, rates.established))
        elif abs(rates.effect) >= floor:
            left.append(with_interval(f"{share.factor.id} ({RATES})", rates))
        elif abs(share.effect) >= floor and not labels.established:  # each part is small, both together are not
            left.append(with_interval(share.factor.id, share))
    least = f"{100 * floor:g} points"
    open_ones = [
        (name, b) for name, b, sure in bars if not sure and (abs(b.effect) >= max(floor, SAME) or untestable(b))
    ]
    large = math.fsum(abs(b.effect) for _, b, _ in bars if abs(b.effect) >= floor)
    rest = f"; {', '.join(left)} is left, not {BEYOND}" if left else ""
    told: Verdict = "told but for sampling" if left else "told"
    if not open_ones and large:
        counted = any(isinstance(b, Part) and b.what == LABELS and sure for _, b, sure in bars)
        which = "all else" if left else "each share"
        return told, f"{which} of {least} or more is {'established' if counted else BEYOND}{rest}"
    if not open_ones and left:
        return "cannot be told", f"nothing is established{rest}"
    if not open_ones:
        reach = max(
            (max(abs(s.low), abs(s.high)) for s in shares if s.low is not None and s.high is not None), default=0
        )
        more = f", though {MIGHT} {100 * reach:.1f} points" if reach >= floor else ""
        return told, f"no share reaches {least}{more}"
    sure = math.fsum(abs(b.effect) for _, b, held in bars if held)
    said = ", ".join(with_interval(name, b) for name, b in open_ones)
    reasons = sorted({b.why.removeprefix(f"{UNTESTABLE}; ") for _, b in open_ones if b.p is None})
    because = "; ".join(reasons) if reasons else f"{n} scenes do not separate this from their own spread"
    if sure and sure >= MOSTLY * large:
        return (
            told,
            f"{100 * sure / large:.0f} % of the larger shares are established; open stays {said}: {because}{rest}",
        )
    return "cannot be told", f"{said}: {because}{rest}"


def with_interval(name: str, bar: Share | Part) -> str:
    """A bar with its interval."""
    between = "" if bar.low is None or bar.high is None else f" [{points(bar.low)}, {points(bar.high)}]"
    return f"{name} {points(bar.effect)}{between}"
