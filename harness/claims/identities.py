"""Identities between published metrics, as exact functions on intervals.

Each returns every value that its inputs allow. All are monotone in each argument (or use
each argument once), so evaluating corners gives the tight interval, not merely a wide one.
Definitions: IoU = TP/(TP+FP+FN), F1 = 2TP/(2TP+FP+FN), precision P = TP/(TP+FP), recall
R = TP/(TP+FN) (Powers 2011, Journal of Machine Learning Technologies 2(1)).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

from harness.claims.interval import Interval, mean

ONE = Fraction(1)
ZERO = Fraction(0)


def _corners(function: Callable[..., Fraction], *args: Interval) -> Interval:
    values = [function(*corner) for corner in product(*((a.lo, a.hi) for a in args))]
    return Interval(min(values), max(values))


def mean_iou(ious: list[Interval]) -> Interval:
    """MIoU (macro) = mean of the class IoUs. Also any other macro average of class figures."""
    return mean(ious)


def micro_iou(accuracy: Interval) -> Interval:
    """Micro IoU = acc / (2 - acc).

    Summed over classes, TP = acc x N and FP = FN = (1 - acc) x N, because every wrong pixel
    is one false positive and one false negative. Increasing in acc.
    """
    return _corners(lambda a: a / (2 - a), accuracy)


def f1_from_iou(iou: Interval) -> Interval:
    """F1 = 2 IoU / (1 + IoU) of one class, from both definitions. Increasing in IoU."""
    return _corners(lambda i: 2 * i / (1 + i), iou)


def iou_from_precision_recall(precision: Interval, recall: Interval) -> Interval:
    """IoU = PR / (P + R - PR), that is 1/IoU = 1/P + 1/R - 1. Increasing in both."""

    def f(p: Fraction, r: Fraction) -> Fraction:
        return ZERO if p == 0 or r == 0 else 1 / (1 / p + 1 / r - 1)

    return _corners(f, precision, recall)


def precision_from_iou_recall(iou: Interval, recall: Interval) -> Interval | None:
    """P = 1 / (1/IoU - 1/R + 1), the same identity solved for precision.

    Returns:
        None where the recall may lie below the IoU, which no confusion allows, or IoU is 0.
    """
    if iou.lo <= 0 or recall.lo < iou.hi:
        return None
    return _corners(lambda i, r: 1 / (1 / i - 1 / r + 1), iou, recall)


def binary_accuracy(iou0: Interval, iou1: Interval) -> Interval | None:
    """Accuracy of two classes = (I0 + I1 - 2 I0 I1) / (1 - I0 I1).

    With e = (FP+FN)/N the odds I/(1-I) are TP/e and TN/e, and TP + TN + e = 1. The
    derivative by I1 has the sign of (1 - I0)^2, so it never falls.

    Returns:
        None where both IoUs may be 1.
    """
    if iou0.hi * iou1.hi >= 1:
        return None
    return _corners(lambda a, b: (a + b - 2 * a * b) / (1 - a * b), iou0, iou1)


def binary_fractions(iou0: Interval, iou1: Interval) -> dict[str, Interval] | None:
    """TP, TN and FP+FN as fractions of all pixels, from the two IoUs alone.

    TP = I1 (1 - I0) / (1 - I0 I1), TN = I0 (1 - I1) / (1 - I0 I1),
    FP + FN = (1 - I0)(1 - I1) / (1 - I0 I1); see `binary_accuracy` for the derivation.

    Returns:
        Keys `tp`, `tn`, `errors`; None where both IoUs may be 1.
    """
    if iou0.hi * iou1.hi >= 1:
        return None
    return {
        "tp": _corners(lambda a, b: b * (1 - a) / (1 - a * b), iou0, iou1),
        "tn": _corners(lambda a, b: a * (1 - b) / (1 - a * b), iou0, iou1),
        "errors": _corners(lambda a, b: (1 - a) * (1 - b) / (1 - a * b), iou0, iou1),
    }


def _miss_share(iou: Interval, recall: Interval) -> Interval | None:
    """FN of the class / (FP + FN) = I/(1-I) x (1/R - 1): falls in R, rises in I."""
    if iou.hi >= 1 or recall.lo <= 0:
        return None
    return _corners(lambda i, r: i / (1 - i) * (1 / r - 1), iou, recall)


def binary_closure(iou0: Interval, iou1: Interval, recall0: Interval, recall1: Interval) -> Interval | None:
    """FN/(FP+FN) + FP/(FP+FN), which must be 1: I1/(1-I1) (1/R1-1) + I0/(1-I0) (1/R0-1).

    The false positives of one class are the misses of the other. Each figure enters once, so
    the interval is exact.

    Returns:
        None where an IoU may be 1 or a recall 0.
    """
    a, b = _miss_share(iou1, recall1), _miss_share(iou0, recall0)
    return None if a is None or b is None else a + b


def binary_prevalence(iou0: Interval, iou1: Interval, recall1: Interval) -> Interval | None:
    """Share of positive label pixels = TP / R1, TP from both IoUs.

    Rises in I1, falls in I0 and R1.
    """
    if iou0.hi * iou1.hi >= 1 or recall1.lo <= 0:
        return None
    full = _corners(lambda a, b, r: b * (1 - a) / (1 - a * b) / r, iou0, iou1, recall1)
    return full.clip(0, 1)


def binary_fpr(iou0: Interval, iou1: Interval, recall1: Interval) -> Interval | None:
    """FP / (FP + TN), with FP = (FP+FN) - FN and FN = TP (1/R1 - 1).

    In units of FP+FN: FP = 1 - m with m from `_miss_share`, TN = I0/(1-I0). Falls in m and I0.
    """
    miss = _miss_share(iou1, recall1)
    miss = miss.clip(0, 1) if miss is not None else None
    if miss is None or iou0.hi >= 1:
        return None

    def f(m: Fraction, i: Fraction) -> Fraction:
        tn = i / (1 - i)
        return (1 - m) / (1 - m + tn) if 1 - m + tn > 0 else ZERO

    return _corners(f, miss, iou0)


def accuracy_from_recalls(prevalences: list[Interval], recalls: list[Interval]) -> Interval:
    """Accuracy = sum over classes of prevalence x recall."""
    total = Interval(ZERO, ZERO)
    for prevalence, recall in zip(prevalences, recalls, strict=True):
        total = total + prevalence * recall
    return total


def inverse_frequency_prevalence(weight0: Interval, weight1: Interval) -> Interval:
    """Share of class 1 for which weights proportional to 1/frequency have this ratio.

    w0/w1 = f1/f0 and f0 + f1 = 1 give f1 = w0 / (w0 + w1). Rises in w0, falls in w1.
    """
    return _corners(lambda a, b: a / (a + b), weight0, weight1)


def lora_parameters_per_rank(shapes: list[tuple[int, int]]) -> int:
    """Parameters of one rank over the given linear layers: sum of (in + out).

    A is (r, in) and B is (out, r) (Hu et al. 2021, arXiv:2106.09685, section 4.1), so a layer
    adds r x (in + out).
    """
    return sum(a + b for a, b in shapes)


def product_of(parts: list[Interval]) -> Interval:
    """Product of intervals."""
    out = Interval(ONE, ONE)
    for part in parts:
        out = out * part
    return out
