"""Counts by kind of land: cells with little or much built-up land and water, and pixels inside built-up land."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.score.confusion import ConfusionMatrix

UNKNOWN, OTHER, BUILT, WATER = -1, 0, 1, 2
"""Codes of a land map: what a land-cover map says of a pixel, as far as it matters here."""

CELL_PX = 32
"""Side of a cell: 320 m of 10 m pixels, about two blocks of a city. Cells at an edge may be smaller."""

KNOWN = 0.5
"""A cell enters where the land-cover map knows at least this share of its pixels."""

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares between strata. The first stratum has none of the land at all; each other one starts above an edge and ends
at the next. Set 2026-11-21, before any run with published weights."""

KINDS: dict[Literal["built-up", "water"], int] = {"built-up": BUILT, "water": WATER}
"""Kinds of land that cells are sorted by."""


@dataclass(frozen=True)
class Stratum:
    """Cells with a like share of one kind of land."""

    land: Literal["built-up", "water"]
    """Which kind."""
    above: float | None
    """Share above which cells enter; None for the cells that have none of it."""
    to: float
    """Share up to which they enter."""
    cells: int
    """How many."""
    matrix: ConfusionMatrix
    """Label against prediction on their pixels."""


def strata(
    label: NDArray[np.integer[Any]], prediction: NDArray[np.integer[Any]], land: NDArray[np.integer[Any]], classes: int
) -> tuple[Stratum, ...]:
    """Count a prediction by the built-up and the water share of cells.

    Args:
        label: Class indices, shape (H, W); -1 where there is none.
        prediction: Class indices, same shape.
        land: UNKNOWN, OTHER, BUILT or WATER, same shape.
        classes: K.

    Returns:
        One stratum for each kind of land and range of shares, empty ones included.

    Raises:
        ValueError: Other shapes, or as `ConfusionMatrix.from_maps`.
    """
    if label.shape != land.shape or label.ndim != 2:
        raise ValueError(f"label of {label.shape}, land of {land.shape}: one (H, W) is needed")
    rows, columns = (np.arange(n) // CELL_PX for n in label.shape)
    cell = rows[:, None] * (int(columns[-1]) + 1) + columns[None]
    known = np.bincount(cell[land != UNKNOWN], minlength=int(cell.max()) + 1)
    size = np.bincount(cell.ravel())
    enters = (known >= KNOWN * size) & (known > 0)
    out = []
    for kind, code in KINDS.items():
        share = np.bincount(cell[land == code], minlength=len(size)) / np.maximum(known, 1)
        for above, to in ((None, 0.0), *pairwise(EDGES)):
            chosen = enters & (share <= to) & (share > (-1.0 if above is None else above))
            matrix = inside(label, prediction, chosen[cell], classes)
            out.append(Stratum(kind, above, to, int(chosen.sum()), matrix))
    return tuple(out)


def inside(
    label: NDArray[np.integer[Any]], prediction: NDArray[np.integer[Any]], where: NDArray[np.bool_], classes: int
) -> ConfusionMatrix:
    """Count a prediction on some pixels only, e.g. built-up land.

    Raises:
        ValueError: As `ConfusionMatrix.from_maps`.
    """
    return ConfusionMatrix.from_maps(label[where], prediction[where], classes)
