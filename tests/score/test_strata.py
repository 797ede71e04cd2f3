"""Counts by kind of land against loops over cells."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.score.confusion import ConfusionMatrix
from harness.score.strata import BUILT, CELL_PX, OTHER, UNKNOWN, WATER, inside, strata


def maps(seed: int, rows: int = 100, columns: int = 70) -> tuple[NDArray[np.int64], ...]:
    """Label, prediction and land; cells at the edges are cut, one cell's land is unknown."""
    rng = np.random.default_rng(seed)
    label, found = rng.integers(-1, 3, (rows, columns)), rng.integers(0, 3, (rows, columns))
    coarse = rng.choice([OTHER, BUILT, WATER], (rows // 10 + 1, columns // 10 + 1), p=[0.4, 0.45, 0.15])
    land = np.kron(coarse, np.ones((10, 10), np.int64))[:rows, :columns]
    land[:CELL_PX, :CELL_PX] = UNKNOWN
    land[:5, :5] = WATER  # known on too little of it
    return label, found, land


@pytest.mark.parametrize("seed", range(3))
def test_every_cell_is_in_one_stratum_of_each_kind(seed: int) -> None:
    label, found, land = maps(seed)
    rows = strata(label, found, land, 3)
    for kind, code in (("built-up", BUILT), ("water", WATER)):
        wanted: dict[tuple[float | None, float], ConfusionMatrix] = {}
        cells: dict[tuple[float | None, float], int] = {}
        for top in range(0, label.shape[0], CELL_PX):
            for left in range(0, label.shape[1], CELL_PX):
                at = (slice(top, top + CELL_PX), slice(left, left + CELL_PX))
                known = land[at] != UNKNOWN
                if known.mean() < 0.5:
                    continue
                share = (land[at] == code).sum() / known.sum()
                edges: list[tuple[float | None, float]] = [(None, 0), (0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
                name = next(e for e in edges if share <= e[1])
                matrix = ConfusionMatrix.from_maps(label[at], found[at], 3)
                wanted[name] = wanted[name] + matrix if name in wanted else matrix
                cells[name] = cells.get(name, 0) + 1
        for row in (r for r in rows if r.land == kind):
            key = (row.above, row.to)
            assert row.cells == cells.get(key, 0)
            assert row.matrix == wanted.get(key, ConfusionMatrix.empty(3))
    assert sum(r.cells for r in rows if r.land == "water") == 4 * 3 - 1


def test_inside_built_up_land_other_pixels_do_not_count() -> None:
    label, found, land = maps(0)
    within = inside(label, found, land == BUILT, 3)
    by_hand = [[int(((label == i) & (found == j) & (land == BUILT)).sum()) for j in range(3)] for i in range(3)]
    assert [list(r) for r in within.counts] == by_hand
    assert within.ignored == int(((label == -1) & (land == BUILT)).sum())


def test_a_share_at_an_edge_belongs_below_it() -> None:
    land = np.zeros((CELL_PX, CELL_PX), np.int64)
    land[: CELL_PX // 4] = BUILT
    zero = np.zeros_like(land)
    found = [(r.above, r.to) for r in strata(zero, zero, land, 2) if r.land == "built-up" and r.cells]
    assert found == [(0.0, 0.25)]


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one \\(H, W\\) is needed"):
        strata(np.zeros((4, 4), int), np.zeros((4, 4), int), np.zeros((4, 5), int), 2)
