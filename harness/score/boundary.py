"""Boundary F1: how well class boundaries meet within a few pixels, counted in whole pixels.

After the idea of Csurka, Larlus and Perronnin (2013, What is a good evaluation measure for semantic segmentation?,
BMVC): precision is the share of predicted boundary pixels with a boundary pixel of the label near, recall the other
way round. Here counts of several chips are summed before the ratio is taken; theirs is a mean over images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records.spatial import BoundaryCount
from harness.score.confusion import check_integers, outside, refuse
from harness.score.metrics import Value

TOLERANCES_PX = (1, 3)
"""How far a counterpart may be; at 10 m, a pixel of co-registration and a 30 m cell."""

Mask = NDArray[np.bool_]


def edge(own: Mask, known: Mask) -> Mask:
    """Pixels of a class that touch a known pixel of another class, on one of four sides.

    The rim of the image and the rim of unlabelled ground are no boundary: nobody knows what lies beyond.

    Args:
        own: Shape (H, W): pixels of the class.
        known: Shape (H, W): pixels with a class.
    """
    other = known & ~own
    beside = np.zeros_like(own)
    beside[1:] |= other[:-1]
    beside[:-1] |= other[1:]
    beside[:, 1:] |= other[:, :-1]
    beside[:, :-1] |= other[:, 1:]
    out: Mask = own & known & beside
    return out


def near(edges: Mask, tolerance_px: int) -> Mask:
    """Pixels whose centre lies within `tolerance_px` of a pixel of `edges`, Euclidean."""
    height, width = edges.shape
    out = np.zeros_like(edges)
    reach = range(-tolerance_px, tolerance_px + 1)
    for dy in reach:
        for dx in reach:
            if dy * dy + dx * dx > tolerance_px * tolerance_px or abs(dy) >= height or abs(dx) >= width:
                continue
            to = (slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx)))
            of = (slice(max(0, -dy), height + min(0, -dy)), slice(max(0, -dx), width + min(0, -dx)))
            out[to] |= edges[of]
    return out


def boundary_counts(
    label: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    classes: int,
    ignore_index: int | None = -1,
    tolerances_px: Sequence[int] = TOLERANCES_PX,
) -> list[BoundaryCount]:
    """Count boundary pixels and those with a counterpart near, by class and tolerance.

    Both maps are looked at where the label says something, so that the rim of unlabelled ground is a boundary of
    neither. A predicted boundary beside such ground can still lack a counterpart that the label does not show.

    Args:
        label: Class indices, shape (H, W); `ignore_index` where it says nothing.
        prediction: Class indices, same shape.
        classes: K.
        ignore_index: Label value to leave out; None where each pixel must have a class.
        tolerances_px: Whole pixels, 0 or more.

    Returns:
        One record for each class and tolerance, classes first.

    Raises:
        ValueError: Another shape or number of dimensions, a value that is no class, or a negative tolerance.
    """
    check_integers("label", label, classes, ignore_index)
    check_integers("prediction", prediction, classes, ignore_index)
    if label.ndim != 2 or label.shape != prediction.shape:
        raise ValueError(f"label is {label.shape}, prediction {prediction.shape}; one shape (H, W) is needed")
    if any(t < 0 for t in tolerances_px):
        raise ValueError(f"tolerances {list(tolerances_px)}; none may be negative")
    known = np.ones(label.shape, np.bool_) if ignore_index is None else label != ignore_index
    for name, values in (("label", label[known]), ("prediction", prediction)):
        refuse(name, Counter(outside(values, classes)), classes, ignore_index if name == "label" else None)
    out = []
    for index in range(classes):
        true, guess = edge(label == index, known), edge(prediction == index, known)
        for tolerance in tolerances_px:
            out.append(
                BoundaryCount(
                    class_index=index,
                    tolerance_px=tolerance,
                    label_px=int(true.sum()),
                    label_near_px=int((true & near(guess, tolerance)).sum()),
                    predicted_px=int(guess.sum()),
                    predicted_near_px=int((guess & near(true, tolerance)).sum()),
                )
            )
    return out


@dataclass(frozen=True)
class BoundaryScore:
    """Boundary scores of one class at one tolerance, over the chips that were added up."""

    class_index: int
    """Class."""
    tolerance_px: int
    """Pixels."""
    label_px: int
    """Boundary pixels of the label."""
    predicted_px: int
    """Boundary pixels of the prediction."""
    precision: Value
    """Share of predicted boundary pixels with a counterpart near."""
    recall: Value
    """Share of the label's boundary pixels with a counterpart near."""
    f1: Value
    """2 P R / (P + R); 0 where one map has a boundary and nothing meets; undefined where neither has one."""


def pooled_boundary(chips: Iterable[Sequence[BoundaryCount]]) -> list[BoundaryScore]:
    """Sum counts over chips and take the ratios.

    Raises:
        ValueError: Chips were counted for other classes or tolerances.
    """
    total: dict[tuple[int, int], list[int]] = {}
    keys: set[tuple[int, int]] | None = None
    for counts in chips:
        here = {(c.class_index, c.tolerance_px) for c in counts}
        if (keys is not None and here != keys) or len(here) != len(counts):
            raise ValueError(f"boundary counts of {sorted(here)} and of {sorted(keys or here)} do not add")
        keys = here
        for c in counts:
            held = total.setdefault((c.class_index, c.tolerance_px), [0, 0, 0, 0])
            for i, px in enumerate((c.label_px, c.label_near_px, c.predicted_px, c.predicted_near_px)):
                held[i] += px
    return [_score(index, tolerance, *held) for (index, tolerance), held in sorted(total.items())]


def _score(
    index: int, tolerance: int, label: int, label_near: int, predicted: int, predicted_near: int
) -> BoundaryScore:
    none = Value(None, f"class {index} has no boundary in label or prediction")
    precision = Value(predicted_near / predicted) if predicted else Value(None, f"class {index}: no predicted boundary")
    recall = Value(label_near / label) if label else Value(None, f"class {index}: no boundary in the label")
    if not label and not predicted:
        f1 = none
    elif not label_near or not predicted_near:
        f1 = Value(0.0)
    else:
        p, r = predicted_near / predicted, label_near / label
        f1 = Value(2 * p * r / (p + r))
    return BoundaryScore(index, tolerance, label, predicted, precision, recall, f1)
