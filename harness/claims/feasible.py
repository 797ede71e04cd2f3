"""Whether any two-class confusion matrix prints all of a card's figures.

Single identities join two or three figures. A card can satisfy each of them and still be
impossible, because the figures together leave no matrix. This module decides that by interval
constraint propagation with bisection (Benhamou and Older 1997, Journal of Logic Programming
32(1)): boxes are only ever narrowed by what a constraint implies, so an empty search is a proof.

Variables, in units of the wrong pixels FP + FN: a = TP, b = TN, s = FN. All metrics of two
classes follow: IoU1 = a/(1+a), recall1 = a/(a+s), precision1 = a/(a+1-s), accuracy =
(a+b)/(1+a+b), prevalence1 = (a+s)/(1+a+b), and the same for class 0 with b and 1-s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from harness.claims.interval import Interval

SLACK = 1e-9
"""Relative widening of every bound: far above float64 rounding, far below any printed digit."""

LARGE = 1e12
"""Largest odds looked at: one wrong pixel in 10^12, more than any data set holds."""

BUDGET = 250
"""Boxes looked at before giving up without a verdict."""

SMALL = 1e-6
"""Relative width at which a box that no constraint empties counts as a solution."""

Range = tuple[float, float]


class _Empty(Exception):  # noqa: N818 - a signal within this module, never an error
    """The box holds no solution."""


@dataclass
class _Box:
    a: Range
    b: Range
    s: Range

    def narrow(self, name: str, lo: float, hi: float) -> None:
        old_lo, old_hi = getattr(self, name)
        lo, hi = lo - SLACK * (1 + abs(lo)), hi + SLACK * (1 + abs(hi))
        new = (max(old_lo, lo), min(old_hi, hi))
        if new[0] > new[1]:
            raise _Empty
        setattr(self, name, new)

    @property
    def t(self) -> Range:
        """1 - s: the share of wrong pixels that are FP."""
        return 1 - self.s[1], 1 - self.s[0]


def _odds(x: float) -> float:
    return inf if x >= 1 else x / (1 - x)


def _share(top: Range, rest: Range) -> Range:
    """Range of top / (top + rest)."""
    lo = top[0] / (top[0] + rest[1]) if top[0] + rest[1] > 0 else 0.0
    hi = top[1] / (top[1] + rest[0]) if top[1] + rest[0] > 0 else 1.0
    return lo, hi


def _rate(box: _Box, hits: str, misses: str, r: Range) -> None:
    """Hits / (hits + misses) within r, where misses is `s`, or `t` for 1 - s."""
    h = getattr(box, hits)
    if r[1] <= 0 and h[0] > 0:
        raise _Empty
    lo = h[0] * (1 / r[1] - 1) if r[1] > 0 else 0.0
    hi = h[1] * (1 / r[0] - 1) if r[0] > 0 else inf
    if misses == "s":
        box.narrow("s", lo, hi)
    else:
        box.narrow("s", 1 - hi, 1 - lo)
    m = getattr(box, misses)
    box.narrow(hits, m[0] * _odds(r[0]) if m[0] > 0 else 0.0, m[1] * _odds(r[1]) if m[1] > 0 or r[1] < 1 else inf)


def _sum(box: _Box, r: Range) -> None:
    """A + b within r."""
    box.narrow("a", r[0] - box.b[1], r[1] - box.b[0])
    box.narrow("b", r[0] - box.a[1], r[1] - box.a[0])


def _macro(box: _Box, r: Range, forth: Callable[[float], float], back: Callable[[float], float]) -> None:
    """forth(a) + forth(b) within 2 r, with `forth` rising and `back` its inverse."""
    for one, other in (("a", "b"), ("b", "a")):
        o = getattr(box, other)
        lo, hi = 2 * r[0] - forth(o[1]), 2 * r[1] - forth(o[0])
        if hi < -SLACK or lo > 1 + SLACK:
            raise _Empty
        box.narrow(one, back(max(lo, 0.0)), back(min(max(hi, 0.0), 1.0)))


def _prevalence(box: _Box, p: Range) -> None:
    """(a + s) / (1 + a + b) within p, solved for each variable in turn."""
    lo, hi = p
    a, b, s = box.a, box.b, box.s
    box.narrow("s", lo * (1 + b[0]) - (1 - lo) * a[1], hi * (1 + b[1]) - (1 - hi) * a[0])
    if hi < 1:
        box.narrow("a", (lo * (1 + b[0]) - s[1]) / (1 - lo), (hi * (1 + b[1]) - s[0]) / (1 - hi))
    if lo > 0:
        box.narrow("b", ((1 - hi) * a[0] + s[0]) / hi - 1, ((1 - lo) * a[1] + s[1]) / lo - 1)


def _mean_recall(box: _Box, r: Range) -> None:
    """Mean of both recalls within r."""
    for hits, misses, other_hits, other_misses in (("a", "s", "b", "t"), ("b", "t", "a", "s")):
        o = _share(getattr(box, other_hits), getattr(box, other_misses))
        lo, hi = 2 * r[0] - o[1], 2 * r[1] - o[0]
        if hi < -SLACK or lo > 1 + SLACK:
            raise _Empty
        _rate(box, hits, misses, (max(lo, 0.0), min(max(hi, 0.0), 1.0)))


def _iou_of(x: float) -> float:
    return 1.0 if x == inf else x / (1 + x)


def _f1_of(x: float) -> float:
    return 1.0 if x == inf else 2 * x / (1 + 2 * x)


def _apply(box: _Box, metric: str, index: int | None, r: Range) -> None:
    hits = "b" if index == 0 else "a"
    misses, extra = ("t", "s") if index == 0 else ("s", "t")
    if metric == "iou":
        box.narrow(hits, _odds(r[0]), _odds(r[1]))
    elif metric == "f1":
        box.narrow(hits, _odds(r[0]) / 2, _odds(r[1]) / 2)
    elif metric in ("recall", "class_accuracy"):
        _rate(box, hits, misses, r)
    elif metric == "precision":
        _rate(box, hits, extra, r)
    elif metric == "prevalence":
        _prevalence(box, r if index != 0 else (1 - r[1], 1 - r[0]))
    elif metric == "accuracy":
        _sum(box, (_odds(r[0]), _odds(r[1])))
    elif metric == "mIoU_micro":
        _sum(box, (_odds(2 * r[0] / (1 + r[0])), _odds(2 * r[1] / (1 + r[1]))))
    elif metric == "mIoU":
        _macro(box, r, _iou_of, _odds)
    elif metric == "f1_macro":
        _macro(box, r, _f1_of, lambda f: _odds(f) / 2)
    elif metric == "mean_class_accuracy":
        _mean_recall(box, r)


METRICS_USED = frozenset(
    [
        "iou",
        "f1",
        "recall",
        "class_accuracy",
        "precision",
        "prevalence",
        "accuracy",
        "mIoU_micro",
        "mIoU",
        "f1_macro",
        "mean_class_accuracy",
    ]
)
"""Metrics that constrain a two-class matrix."""


def _settle(box: _Box, figures: list[tuple[str, int | None, Range]]) -> None:
    """Apply all constraints until nothing narrows by more than a hundredth."""
    for _ in range(40):
        before = (box.a, box.b, box.s)
        for metric, index, r in figures:
            _apply(box, metric, index, r)
        moved = [
            old[1] - old[0] > 0 and (new[1] - new[0]) < 0.99 * (old[1] - old[0])
            for old, new in zip(before, (box.a, box.b, box.s), strict=True)
        ]
        if not any(moved):
            return


def possible(figures: list[tuple[str, int | None, Interval]]) -> bool | None:
    """Whether a two-class confusion matrix has all these figures.

    Args:
        figures: Metric, class index (0, 1, or None for whole-map metrics), printed interval.

    Returns:
        False only where it is proved that none has. True where a box of relative width
        `SMALL` survives; None where the budget ran out, or a perfect map may be meant.
    """
    if all(interval.hi >= 1 for metric, _, interval in figures if metric != "prevalence"):
        return None
    plain = [(m, i, (max(0.0, float(v.lo)), min(1.0, float(v.hi)))) for m, i, v in figures]
    stack = [_Box((0.0, LARGE), (0.0, LARGE), (0.0, 1.0))]
    for _ in range(BUDGET):
        if not stack:
            return False
        box = stack.pop()
        try:
            _settle(box, plain)
        except _Empty:
            continue
        sizes = {
            name: (hi - lo) / (1 + abs(hi)) if name != "s" else hi - lo
            for name, (lo, hi) in (("a", box.a), ("b", box.b), ("s", box.s))
        }
        widest = max(sizes, key=lambda n: sizes[n])
        if sizes[widest] < SMALL:
            return True
        lo, hi = getattr(box, widest)
        # Odds span many magnitudes: split them where the IoU is halved, not the number.
        middle = (lo + hi) / 2 if widest == "s" else _odds((_iou_of(lo) + _iou_of(hi)) / 2)
        for part in ((lo, middle), (middle, hi)):
            half = _Box(box.a, box.b, box.s)
            setattr(half, widest, part)
            stack.append(half)
    return None if stack else False
