"""Calibration of two-class probabilities: reliability bins, ECE and Brier score, from whole numbers that add.

ECE is named by Naeini, Cooper and Hauskrecht (2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning,
AAAI, 2901-2907), the score by Brier (1950, Monthly Weather Review 78(1), 1-3). ECE here is of the probability of class
1 in bins of equal width, as torchmetrics' BinaryCalibrationError has it, not of the more probable class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records.operating import NANO, Reliability
from harness.score.confusion import check_array, check_integers, outside, pieces, refuse
from harness.score.metrics import NOTHING, Value
from harness.score.sweep import ROUNDING

BINS = 20
"""Bins of width 0.05; their edges are the swept thresholds."""


def reliability(
    score: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    ignore_index: int | None = -1,
    bins: int = BINS,
) -> Reliability:
    """Count pixels, positive labels and probabilities by bin.

    Edges are rounded to the dtype of `score`, as thresholds are in `harness.score.sweep`; a probability at an edge
    is in the bin below it.

    Args:
        score: Probability of class 1, any shape, 0 to 1.
        label: 0 or 1, same shape; `ignore_index` where the label says nothing.
        ignore_index: Label value to leave out; None where each pixel must have a class.
        bins: How many, of equal width.

    Raises:
        ValueError: Not a probability, no floating dtype, another shape, a label that is neither 0 nor 1, no bin.
    """
    check_integers("label", label, 2, ignore_index)
    check_array("score", score, np.floating)
    if score.shape != label.shape:
        raise ValueError(f"score is {score.shape}, label {label.shape}: not the same pixels")
    if bins < 1:
        raise ValueError(f"{bins} bins; one or more are needed")
    edges = np.array([i / bins for i in range(1, bins)]).astype(score.dtype)
    slack = ROUNDING * float(np.finfo(score.dtype).eps)
    px, positive, total = (np.zeros(bins, np.int64) for _ in range(3))
    squared, strange, values = 0, 0, Counter[int]()
    for p, truth in pieces(score, label):
        strange += int(np.count_nonzero(~((p >= -slack) & (p <= 1 + slack))))
        known = np.ones(truth.shape, np.bool_) if ignore_index is None else truth != ignore_index
        values.update(outside(truth[known], 2))
        if strange or values:
            continue  # the rest is read only to say how many pixels are wrong
        bin_, one = np.searchsorted(edges, p[known], side="left"), truth[known] == 1
        share = np.clip(p[known].astype(np.float64), 0.0, 1.0)
        px += np.bincount(bin_, minlength=bins)
        positive += np.bincount(bin_[one], minlength=bins)
        np.add.at(total, bin_, np.rint(share * NANO).astype(np.int64))
        squared += int(np.rint((share - one) ** 2 * NANO).astype(np.int64).sum())
    refuse("label", values, 2, ignore_index)
    if strange:
        raise ValueError(f"score is NaN or outside 0 to 1 on {strange:,} of {score.size:,} px: give probabilities")
    return Reliability(
        px=px.tolist(), positive_px=positive.tolist(), probability_nano=total.tolist(), squared_error_nano=squared
    )


def pooled_reliability(chips: Iterable[Reliability]) -> Reliability:
    """Add the bins of several chips.

    Raises:
        ValueError: There is none, or two have another number of bins.
    """
    held = list(chips)
    if not held:
        raise ValueError("no reliability bins to pool")
    sizes = sorted({len(r.px) for r in held})
    if len(sizes) > 1:
        raise ValueError(f"{sizes[0]} and {sizes[-1]} bins do not add")
    columns = zip(*((r.px, r.positive_px, r.probability_nano) for r in held), strict=True)
    px, positive, total = ([sum(cells) for cells in zip(*column, strict=True)] for column in columns)
    return Reliability(
        px=px,
        positive_px=positive,
        probability_nano=total,
        squared_error_nano=sum(r.squared_error_nano for r in held),
    )


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability diagram."""

    low: float
    """Lower edge; a probability at it is in the bin below, but 0 is in the first."""
    high: float
    """Upper edge, in the bin."""
    px: int
    """Labelled pixels."""
    mean: float | None
    """Mean probability; None where the bin is empty."""
    observed: float | None
    """Share of class 1 in the label; None where the bin is empty."""


@dataclass(frozen=True)
class Calibration:
    """What reliability bins say."""

    px: int
    """Labelled pixels."""
    bins: tuple[Bin, ...]
    """From 0 to 1."""
    ece: Value
    """Mean over pixels of the gap between mean probability and observed share of their bin. It depends on the bins."""
    brier: Value
    """Mean over pixels of the squared difference of probability and label."""
    brier_constant: Value
    """The same of a map that gives every pixel the share of class 1 in these labels, which no map of new land knows."""
    mean: Value
    """Mean probability."""
    prevalence: Value
    """Share of class 1 in the label."""


def calibration(held: Reliability) -> Calibration:
    """Reliability diagram, ECE and Brier score of bins."""
    many, n = len(held.px), sum(held.px)
    bins = tuple(
        Bin(
            low=i / many,
            high=(i + 1) / many,
            px=px,
            mean=total / NANO / px if px else None,
            observed=positive / px if px else None,
        )
        for i, (px, positive, total) in enumerate(zip(held.px, held.positive_px, held.probability_nano, strict=True))
    )
    if not n:
        none = Value(None, NOTHING)
        return Calibration(0, bins, none, none, none, none, none)
    gap = sum(
        abs(total - NANO * positive) for positive, total in zip(held.positive_px, held.probability_nano, strict=True)
    )
    share = sum(held.positive_px) / n
    return Calibration(
        px=n,
        bins=bins,
        ece=Value(gap / NANO / n),
        brier=Value(held.squared_error_nano / NANO / n),
        brier_constant=Value(share * (1 - share)),
        mean=Value(sum(held.probability_nano) / NANO / n),
        prevalence=Value(share),
    )
