"""How far neighbouring tiles disagree, by distance from a tile's edge; and tiled against one pass."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from harness.chips.tensors import PATCH_PX, Inputs
from harness.errors import TopologyError
from harness.models.tiles import CROP_PX, DELTA_PX, Predict, one_pass

NEAR_PX = 8
"""Width of the band along a seam that is compared with the rest of the overlap."""


@dataclass(frozen=True)
class Seams:
    """Disagreement of two tiles' own predictions where both saw the pixel, before any blending."""

    pairs: int
    """Pairs of neighbouring tiles."""
    pixels: int
    """Pixels compared."""
    by_distance: NDArray[np.float64]
    """Share of pixels whose argmax differs, by distance in px from the nearer edge of the two
    tiles, 0 first, shape (overlap // 2,)."""
    logits_by_distance: NDArray[np.float64]
    """Mean |difference| of logits, likewise."""
    dropped: float
    """Share in what tiling drops: nearer to the edge than delta."""
    near: float
    """Share within `NEAR_PX` of a seam: from delta to delta + NEAR_PX."""
    interior: float
    """Share in the rest of the overlap."""

    @property
    def ratio(self) -> float | None:
        """`near` over `interior`; None where tiles agree everywhere inside, so that there is nothing to divide by."""
        return self.near / self.interior if self.interior else None


@dataclass(frozen=True)
class Agreement:
    """Two predictions of the same pixels."""

    pixels: int
    """Pixels compared."""
    argmax: float
    """Share of pixels with the same class."""
    mean_difference: float
    """Mean |difference| of logits."""
    max_difference: float
    """Largest |difference| of logits."""
    spread: float
    """Standard deviation of the second one's logits, to hold the two above against."""


def seams(
    predict: Predict,
    inputs: Inputs,
    crop_px: int = CROP_PX,
    delta_px: int = DELTA_PX,
    shift_px: int | None = None,
    near_px: int = NEAR_PX,
) -> Seams:
    """Predict overlapping tiles one by one and compare neighbours, side by side and one above the other.

    Pixels at the other two edges of a pair, which both tiles share, are left out.

    Args:
        predict: As `harness.models.tiles.tiled`.
        inputs: An image of at least one tile and `shift_px` more along one side.
        crop_px: Side of a tile.
        delta_px: Pixels that tiling drops.
        shift_px: Step between the tiles that are compared; half a tile where left out, a multiple
            of 16, so that both see a pixel at the same place within a patch. At the stride of tiling
            itself an overlap is all seam and has no interior.
        near_px: Width of the band along a seam.

    Raises:
        TopologyError: The image is too small, or the overlap has no interior.
    """
    shift = crop_px // 2 // PATCH_PX * PATCH_PX if shift_px is None else shift_px
    overlap = crop_px - shift
    if overlap <= 2 * (delta_px + near_px):
        raise TopologyError(
            f"{inputs.chip_id}: tiles {shift} px apart overlap by {overlap} px, which leaves nothing beyond the "
            f"{delta_px + near_px} px at either edge; take a smaller shift"
        )
    height, width = next(iter(inputs.arrays.values())).shape[-2:]
    starts = list(product(range(0, height - crop_px + 1, shift), range(0, width - crop_px + 1, shift)))
    tiles = {
        (y, x): one_pass(
            predict, {m: a[..., y : y + crop_px, x : x + crop_px] for m, a in inputs.arrays.items()}, inputs.chip_id
        )
        for y, x in starts
    }
    cross = slice(delta_px + near_px, crop_px - delta_px - near_px)
    differ, apart = [], []
    for y, x in starts:
        for other, turned in (((y, x + shift), False), ((y + shift, x), True)):
            if other not in tiles:
                continue
            one, two = tiles[y, x], tiles[other]
            if turned:
                one, two = one.swapaxes(1, 2), two.swapaxes(1, 2)
            one, two = one[:, cross, shift:], two[:, cross, :overlap]
            differ.append((one.argmax(0) != two.argmax(0)).mean(axis=0))
            apart.append(np.abs(one - two).mean(axis=(0, 1)))
    if not differ:
        raise TopologyError(
            f"{inputs.chip_id}: {height} x {width} px holds no two tiles of {crop_px} px that are {shift} px apart"
        )
    curve, logits = (_folded(np.mean(rows, axis=0)) for rows in (differ, apart))
    edge = delta_px + near_px
    return Seams(
        pairs=len(differ),
        pixels=len(differ) * overlap * (cross.stop - cross.start),
        by_distance=curve,
        logits_by_distance=logits,
        dropped=float(curve[:delta_px].mean()) if delta_px else 0.0,
        near=float(curve[delta_px:edge].mean()),
        interior=float(curve[edge:].mean()),
    )


def _folded(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the values that are equally far from either end."""
    half = len(columns) // 2
    out: NDArray[np.float64] = (columns[:half] + columns[::-1][:half]) / 2
    return out


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> Agreement:
    """Compare two predictions, logits (K, H, W) both.

    Raises:
        TopologyError: Their shapes differ.
    """
    if one.shape != other.shape:
        raise TopologyError(f"predictions of {one.shape} and {other.shape} cannot be compared pixel by pixel")
    apart = np.abs(one.astype(np.float64) - other)
    return Agreement(
        pixels=int(one[0].size),
        argmax=float((one.argmax(0) == other.argmax(0)).mean()),
        mean_difference=float(apart.mean()),
        max_difference=float(apart.max()),
        spread=float(other.std(dtype=np.float64)),
    )
