"""Two-class confusion at many thresholds from one pass over the probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.score.binary import BinaryMatrix
from harness.score.confusion import check_array, check_integers, outside, pieces, refuse

ROUNDING = 8
"""Units of the dtype's machine epsilon by which a probability may leave 0..1: blending of tiles rounds."""

THRESHOLDS: Final = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Swept for two-class adapters."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """Confusion at one threshold."""

    threshold: float
    """A pixel is positive where its probability is above this; at it, it is negative."""
    matrix: BinaryMatrix
    """Whole pixels, as Python ints."""


def sweep(
    score: NDArray[np.floating[Any]],
    label: NDArray[np.integer[Any]],
    thresholds: Sequence[float],
    positive: int = 1,
    ignore_index: int | None = -1,
    classes: int = 2,
) -> tuple[SweepPoint, ...]:
    """Count the pixels above each threshold, exactly: each count is that of NumPy's `score > threshold`.

    Above and not at: argmax gives a tie to the lower index, so that a probability of exactly 0.5
    is negative in both. NumPy compares in the dtype of `score`, and so does this: a threshold of
    0.6 means the float32 next to 0.6 where the probabilities are float32.

    Args:
        score: Probability of class `positive`, shape (H, W) or any other, 0 to 1; a number
            everywhere, ignored pixels included.
        label: Class indices, same shape; `ignore_index` where the label says nothing.
        thresholds: Decision thresholds, 0 to 1, in any order.
        positive: Class that `score` is about; all other classes together are negative.
        ignore_index: Label value to leave out; None where each pixel must have a class.
        classes: K of the label's scheme; a label value outside 0..K-1 is an error, not a negative.

    Returns:
        One point for each threshold, in the order given.

    Raises:
        ValueError: Not a probability (NaN or outside 0..1; says how many pixels), no floating
            dtype, another shape, no threshold or one outside 0..1, or a label as
            `ConfusionMatrix.from_maps` refuses it.
    """
    _check(score, label, thresholds, positive, ignore_index, classes)
    steps = np.unique(np.asarray(thresholds, dtype=np.float64).astype(score.dtype))
    above = np.zeros(2 * (steps.size + 1), dtype=np.int64)  # pixels by (thresholds passed, positive label)
    slack = ROUNDING * float(np.finfo(score.dtype).eps)
    strange, values = 0, Counter[int]()
    for p, truth in pieces(score, label):
        known = np.ones(truth.shape, np.bool_) if ignore_index is None else truth != ignore_index
        values.update(outside(truth[known], classes))
        strange += int(np.count_nonzero(~((p >= -slack) & (p <= 1 + slack))))
        passed = np.searchsorted(steps, p[known], side="left")  # how many thresholds lie strictly below
        above += np.bincount(2 * passed + (truth[known] == positive), minlength=above.size)
    refuse("label", values, classes, ignore_index)
    if strange:
        raise ValueError(f"score is NaN or outside 0 to 1 on {strange:,} of {score.size:,} px: give probabilities")
    beyond = above.reshape(-1, 2)[::-1].cumsum(axis=0)[::-1]  # row n: pixels that pass n thresholds or more
    out = []
    for threshold in thresholds:
        rank = int(np.searchsorted(steps, score.dtype.type(threshold))) + 1
        (negatives, positives), (fp, tp) = beyond[0].tolist(), beyond[rank].tolist()
        out.append(SweepPoint(float(threshold), BinaryMatrix(tp, fp, positives - tp, negatives - fp)))
    return tuple(out)


def pooled(sweeps: Iterable[Sequence[SweepPoint]]) -> tuple[SweepPoint, ...]:
    """Add the sweeps of several chips, threshold by threshold.

    Raises:
        ValueError: There is none, or two have other thresholds.
    """
    rows = [tuple(points) for points in sweeps]
    if not rows:
        raise ValueError("no sweep to pool")
    grid = [point.threshold for point in rows[0]]
    for row in rows[1:]:
        if [point.threshold for point in row] != grid:
            raise ValueError(f"sweeps at {grid} and at {[point.threshold for point in row]} do not add")
    out = []
    for column in zip(*rows, strict=True):
        matrix = column[0].matrix
        for point in column[1:]:
            matrix = matrix + point.matrix
        out.append(SweepPoint(column[0].threshold, matrix))
    return tuple(out)


def _check(
    score: NDArray[Any],
    label: NDArray[Any],
    thresholds: Sequence[float],
    positive: int,
    ignore_index: int | None,
    classes: int,
) -> None:
    check_integers("label", label, classes, ignore_index)
    check_array("score", score, np.floating)
    if score.shape != label.shape:
        raise ValueError(f"score is {score.shape}, label {label.shape}: not the same pixels")
    if not 0 <= positive < classes:
        raise ValueError(f"positive class {positive} is none of 0 to {classes - 1}")
    if not len(thresholds):
        raise ValueError("no threshold given")
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold {threshold} is no probability")
