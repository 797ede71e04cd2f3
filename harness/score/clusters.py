"""Stacks of confusion matrices, one a cluster, and metrics of many matrices at once.

A cluster is what may be taken as independent of the others: a scene or a parent cell, never one of
the chips cut from it. All arrays here end in K x K, rows label, columns prediction, pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import Value
from harness.vocabulary import METRICS

Floats = NDArray[np.float64]

Estimand = Literal["pooled", "per_cluster"]
"""What a figure over clusters estimates. pooled: the metric of one matrix over all pixels of all
clusters; per_cluster: the mean over clusters of each cluster's own metric."""

EXACT = 1 << 53
"""Sums of pixels up to here are exact in float64."""


@dataclass(frozen=True)
class StackMetric:
    """A metric of many matrices at once. NaN is *undefined*; it is never turned into 0."""

    name: str
    """For messages and tables: `mIoU`, `iou[1]`."""
    of: Callable[[Floats], Floats]
    """(..., K, K) pixels to (...); NaN where undefined."""
    lo: float | None = None
    """Smallest possible value; None where open."""
    hi: float | None = None
    """Largest possible value; None where open."""
    seen: Callable[[Floats], Floats] | None = None
    """(..., K, K) to (..., C): pixels that each of the metric's C ratios divides by, from which the effective
    number of clusters follows. None: all counted pixels."""
    fixed: Callable[[Floats], StackMetric | str] | None = None
    """For a mean over classes that says not which: from one matrix to the same mean over the classes
    defined there, or to the reason why there is none. None where there is nothing to fix."""
    weakest: bool = False
    """Whether of its ratios the one that fewest clusters speak for decides the effective number of clusters, as where
    one is taken from the other; False: their mean."""

    def settled(self, pooled: Floats) -> StackMetric | str:
        """This metric over the classes that `pooled` defines, so that every resample means the same.

        A mean over whatever classes a resample happens to hold is another quantity each time.
        """
        return self if self.fixed is None else self.fixed(pooled)


def stacked(matrices: Sequence[ConfusionMatrix] | NDArray[np.integer[Any]]) -> Floats:
    """Matrices of n clusters as one array (n, K, K), checked.

    Args:
        matrices: Confusion matrices, or an integer array (n, K, K) in pixels.

    Raises:
        ValueError: No cluster, other than K x K with K >= 2 throughout, no integers, a negative
            count, or more pixels than float64 adds exactly.
    """
    if isinstance(matrices, np.ndarray):
        array: NDArray[Any] = matrices
    else:
        sizes = sorted({m.classes for m in matrices})
        if len(sizes) > 1:
            raise ValueError(f"clusters of {sizes} classes do not pool: bring all to one scheme")
        array = np.array([m.counts for m in matrices], dtype=np.int64)
    if not array.size:
        raise ValueError("no cluster given")
    if array.ndim != 3 or array.shape[1] != array.shape[2] or array.shape[1] < 2:
        raise ValueError(f"matrices have shape {array.shape}; (clusters, K, K) with K >= 2 is needed")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"matrices are {array.dtype}; whole pixels are needed, as an integer dtype")
    if (array < 0).any():
        raise ValueError(f"cluster {int(np.argwhere(array < 0)[0][0])} has a negative count")
    floats = array.astype(np.float64)
    if floats.sum() > EXACT:
        raise ValueError(f"{floats.sum():.3g} px in all; above {EXACT:.3g} sums are no longer exact")
    return floats


def _ratio(part: Floats, whole: Floats) -> Floats:
    out: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return out


def _hit(m: Floats) -> Floats:
    out: Floats = np.diagonal(m, axis1=-2, axis2=-1)
    return out


def _label(m: Floats) -> Floats:
    out: Floats = np.einsum("...ij->...i", m)  # five times faster than sum over so short an axis
    return out


def _predicted(m: Floats) -> Floats:
    out: Floats = np.einsum("...ij->...j", m)
    return out


def _both(m: Floats) -> Floats:
    return _label(m) + _predicted(m)


def _union(m: Floats) -> Floats:
    return _both(m) - _hit(m)


def _all(m: Floats) -> Floats:
    out: Floats = m.sum((-1, -2))[..., None]
    return out


def _every(m: Floats) -> Floats:
    return np.broadcast_to(_all(m), m.shape[:-1])


def _correct(m: Floats) -> Floats:
    out: Floats = _hit(m).sum(-1)[..., None]
    return out


def _wrong_twice(m: Floats) -> Floats:
    return 2 * _all(m) - _correct(m)


@dataclass(frozen=True)
class Ratio:
    """A metric as pixels over pixels, one column a class or one for the whole map."""

    part: Callable[[Floats], Floats]
    """(..., K, K) to (..., C)."""
    whole: Callable[[Floats], Floats]
    """(..., K, K) to (..., C); the ratio is undefined where it is 0."""

    def __call__(self, m: Floats) -> Floats:
        """(..., K, K) to (..., C); NaN where undefined."""
        return _ratio(self.part(m), self.whole(m))


IOU, RECALL, PRECISION = Ratio(_hit, _union), Ratio(_hit, _label), Ratio(_hit, _predicted)
F1 = Ratio(lambda m: 2 * _hit(m), _both)

BY_CLASS: dict[str, Ratio] = {
    "iou": IOU,
    "class_accuracy": RECALL,
    "recall": RECALL,
    "precision": PRECISION,
    "f1": F1,
    "prevalence": Ratio(_label, _every),
}
"""Of one class."""

OF_MAP: dict[str, Ratio] = {"accuracy": Ratio(_correct, _all), "mIoU_micro": Ratio(_correct, _wrong_twice)}
"""Of the whole map, C = 1."""

MEANS: dict[str, Ratio] = {"mIoU": IOU, "mean_class_accuracy": RECALL, "f1_macro": F1}
"""Means over classes of these."""

NAMES = sorted({**BY_CLASS, **OF_MAP, **MEANS})
"""Metrics that `metric` makes."""


def metric(name: str, class_index: int | None = None, over: Sequence[int] | None = None) -> StackMetric:
    """A metric by its name in `harness.score.metrics`, for many matrices; the values are the same.

    Args:
        name: `mIoU`, `mean_class_accuracy`, `f1_macro`, `accuracy`, `mIoU_micro`, or one of a class:
            `iou`, `recall`, `class_accuracy`, `precision`, `f1`, `prevalence`.
        class_index: The class, for a metric of one class.
        over: For a mean over classes, the classes; it is undefined where one of them is. None: those
            that a matrix defines, which `interval` fixes to those of the pooled matrix.

    Raises:
        ValueError: No such metric, or a class given where none belongs or missing where one does.
    """
    if name not in NAMES:
        raise ValueError(f"no metric {name!r} for stacks; there are {', '.join(NAMES)}")
    if (class_index is None) == (name in BY_CLASS):
        raise ValueError(
            f"{name} is {'of one class: give' if name in BY_CLASS else 'of no single class: omit'} class_index"
        )
    if over is not None and (name not in MEANS or not over or len(set(over)) != len(over) or min(over) < 0):
        raise ValueError(f"over={list(over)} for {name}; it takes distinct classes, of a mean over classes")
    known = METRICS[name]
    if name in OF_MAP:
        return StackMetric(name, _columns(OF_MAP[name], (0,)), known.lo, known.hi, OF_MAP[name].whole)
    if class_index is not None or over is not None:
        ratio, chosen = (MEANS[name], tuple(over)) if over is not None else (BY_CLASS[name], (class_index or 0,))
        label = name if class_index is None else f"{name}[{class_index}]"
        return StackMetric(label, _columns(ratio, chosen), known.lo, known.hi, _seen(ratio, chosen))

    def fixed(pooled: Floats) -> StackMetric | str:
        defined = ~np.isnan(MEANS[name](pooled))
        kept = defined.reshape(-1, defined.shape[-1])  # one row a matrix: two where arms are compared
        if (kept != kept[0]).any():
            unlike = np.flatnonzero((kept != kept[0]).any(0)).tolist()
            return (
                f"class {unlike} is defined in one arm only, so the two means are not one quantity; say which classes"
            )
        if not kept[0].any():
            return "no pixel is counted"
        return metric(name, over=np.flatnonzero(kept[0]).tolist())

    return StackMetric(name, _mean_defined(MEANS[name]), known.lo, known.hi, MEANS[name].whole, fixed)


def each(name: str, of: Callable[[ConfusionMatrix], Value | float | None]) -> StackMetric:
    """Any function of one matrix as a metric of stacks, matrix by matrix: right, and slow.

    Args:
        name: For messages.
        of: From a matrix to its value; None, NaN or a `Value` without one where undefined.
    """

    def loop(m: Floats) -> Floats:
        flat = m.reshape(-1, *m.shape[-2:])
        out = np.empty(len(flat))
        for row, counts in enumerate(flat):
            cells = tuple(tuple(int(cell) for cell in line) for line in counts)
            found = of(ConfusionMatrix(cells))
            value = found.value if isinstance(found, Value) else found
            out[row] = np.nan if value is None else value
        return out.reshape(m.shape[:-2])

    return StackMetric(name, loop)


def difference(of: StackMetric) -> StackMetric:
    """Second arm minus first, of matrices (..., 2, K, K); undefined where either arm is."""
    spread = None if of.lo is None or of.hi is None else of.hi - of.lo

    def minus(m: Floats) -> Floats:
        return of.of(m[..., 1, :, :]) - of.of(m[..., 0, :, :])

    def fixed(pooled: Floats) -> StackMetric | str:
        settled = of.settled(pooled)
        return settled if isinstance(settled, str) else difference(settled)

    def seen(m: Floats) -> Floats:
        one = of.seen or _all
        return np.concatenate([one(m[..., 0, :, :]), one(m[..., 1, :, :])], axis=-1)

    lo = None if spread is None else -spread
    hold = None if of.fixed is None else fixed
    return StackMetric(f"difference of {of.name}", minus, lo, spread, seen, hold, of.weakest)


def _columns(ratio: Ratio, chosen: tuple[int, ...]) -> Callable[[Floats], Floats]:
    """Mean of some columns of a ratio; undefined where one of them is."""

    def mean(m: Floats) -> Floats:
        _check_class(max(chosen), m)
        out: Floats = ratio(m)[..., list(chosen)].mean(-1)
        return out

    return mean


def _seen(ratio: Ratio, chosen: tuple[int, ...]) -> Callable[[Floats], Floats]:
    def pixels(m: Floats) -> Floats:
        return ratio.whole(m)[..., list(chosen)]

    return pixels


def _mean_defined(ratio: Ratio) -> Callable[[Floats], Floats]:
    def mean(m: Floats) -> Floats:
        parts = ratio(m)
        defined = ~np.isnan(parts)
        return _ratio(np.where(defined, parts, 0.0).sum(-1), defined.sum(-1).astype(np.float64))

    return mean


def effective_clusters(stack: Floats, metric: StackMetric, estimand: Estimand, cell: int = 2) -> Floats:
    """How many clusters of equal weight the clusters amount to.

    (sum of pixels)^2 / sum of squared pixels over clusters (Kish 1965, Survey Sampling; section not looked
    up), of the pixels that the metric divides by, averaged over its classes, or the least of them where the metric
    says so. n where all clusters weigh the same, 1 where one outweighs all others. In a mean over clusters each weighs
    the same.

    Args:
        stack: (..., n, cells).
        metric: Of the cells.
        estimand: What is estimated.
        cell: Axes of the cells.

    Returns:
        (...); at least 1, at most n.
    """
    if estimand == "per_cluster":
        return np.full(stack.shape[: -cell - 1], float(stack.shape[-cell - 1]))
    seen = metric.seen or _all
    pixels = seen(stack)
    squared = (pixels**2).sum(-2)
    each = np.divide(pixels.sum(-2) ** 2, squared, out=np.ones_like(squared), where=squared > 0)
    out: Floats = each.min(-1) if metric.weakest else each.mean(-1)
    return out


def _check_class(index: int, m: Floats) -> None:
    if not 0 <= index < m.shape[-1]:
        raise ValueError(f"class {index} of matrices with classes 0 to {m.shape[-1] - 1}")
