"""Native pixels onto a grid: copied where they coincide, averaged over valid ones where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.chips import warp
from harness.chips.chip import Grid
from harness.chips.mosaic import Piece
from harness.chips.warp import coincide, onto, project
from harness.errors import RecipeError
from tests.chips.cogs import Ramp, centres

EAST, NORTH = 500_000.0, 4_500_000.0


def source(size: int = 40, step: float = 10, epsg: int = 32618) -> Piece:
    transform = (step, 0.0, EAST, 0.0, -step, NORTH)
    x, y = centres(transform, size, size)
    return Piece(Ramp(32618, EAST, NORTH).at(x, y, epsg).astype(np.float32), epsg, transform)


def grid(east_m: float, south_m: float, size: int = 16) -> Grid:
    return Grid(32618, (10, 0, EAST + east_m, 0, -10, NORTH - south_m), size, size)


@pytest.mark.parametrize("how", ["none", "nearest", "bilinear"])
def test_pixels_that_coincide_are_copied_whatever_the_knob(how: str) -> None:
    piece = source()
    out = onto([piece], grid(30, 70), how)  # type: ignore[arg-type]
    assert np.array_equal(out[0], piece.data[7:23, 3:19])
    assert coincide(piece, grid(30, 70)) == (7, 3)
    assert coincide(piece, grid(35, 70)) is None


def test_outside_the_piece_is_nan() -> None:
    out = onto([source()], grid(-50, -30), "none")[0]
    assert np.isnan(out[:3]).all()
    assert np.isnan(out[:, :5]).all()
    assert np.isfinite(out[3:, 5:]).all()
    out = onto([source()], grid(-53, -33), "bilinear")[0]
    assert np.isnan(out[:3]).all()
    assert np.isfinite(out[4:, 6:]).all()


@pytest.mark.parametrize("step", [10.0, 20.0, 60.0])
@pytest.mark.parametrize("shift", [(3.0, 4.0), (5.0, 5.0), (0.1, 9.9)])
def test_bilinear_gives_a_plane_back_and_nearest_its_own_pixel(step: float, shift: tuple[float, float]) -> None:
    piece, target = source(step=step), grid(100 + shift[0], 100 + shift[1])
    ramp = Ramp(32618, EAST, NORTH)
    assert np.abs(onto([piece], target, "bilinear")[0] - ramp.over(target)).max() < 0.01
    if shift != (5.0, 5.0):  # there centres lie on pixels' edges, and either neighbour is nearest
        expected = ramp.nearest(target, step)
        x, y = centres(target.transform, 16, 16)
        inside = (x - EAST) % step != 0
        if step == 60:  # NORTH is a multiple of 10 and 20 only
            rows, cols = np.floor((NORTH - y) / step), np.floor((x - EAST) / step)
            expected = ramp.at(EAST + (cols + 0.5) * step, NORTH - (rows + 0.5) * step, 32618)
        assert np.abs(onto([piece], target, "nearest")[0] - expected)[inside].max() < 0.01


@pytest.mark.parametrize("epsg", [32617, 32619])
def test_another_zone_lands_within_a_hundredth_of_a_pixel(epsg: int) -> None:
    (x,), (y,) = project([EAST], [NORTH], 32618, epsg)
    west, north = round(x / 60) * 60.0 - 600, round(y / 60) * 60.0 + 600
    transform = (10.0, 0.0, west, 0.0, -10.0, north)
    ramp = Ramp(32618, EAST, NORTH)
    piece = Piece(ramp.at(*centres(transform, 120, 120), epsg).astype(np.float32), epsg, transform)
    found = onto([piece], grid(-80, -80), "bilinear")[0]
    assert np.abs(found - ramp.over(grid(-80, -80))).max() < 0.1 * 0.7  # GDAL without XSCALE is 0.5 off


def test_a_gap_takes_part_in_no_value_and_keeps_its_place() -> None:
    piece = source()
    holed = piece.data.copy()
    holed[12, 12] = np.nan
    flat = Piece(np.where(np.isnan(holed), np.float32(np.nan), np.float32(100)), piece.epsg, piece.transform)
    out = onto([flat, source()], grid(54, 56), "bilinear")
    gap = np.isnan(out[0])
    assert gap.sum() == 1
    row, col = (int(v[0]) for v in np.nonzero(gap))
    x, y = EAST + 54 + 10 * (col + 0.5), NORTH - 56 - 10 * (row + 0.5)
    assert (int((x - EAST) // 10), int((NORTH - y) // 10)) == (12, 12)
    assert np.nanmax(np.abs(out[0] - 100)) < 1e-4  # neighbours of the gap: the mean of what is there
    assert np.isfinite(out[1]).all()  # a gap in one band is none in another


@pytest.mark.parametrize("how", ["nearest", "bilinear"])
@pytest.mark.parametrize("step", [10.0, 20.0, 60.0])
def test_numpy_and_gdal_agree_within_one_reference_system(how: str, step: float) -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1000, (40, 40)).astype(np.float32)
    values[rng.uniform(size=values.shape) < 0.1] = np.nan
    piece = Piece(values, 32618, source(step=step).transform)
    target = grid(37.3, 51.9)
    by_gdal = warp._warped(values[None], piece, target, warp.KERNELS[how])
    by_gdal[np.isnan(warp._warped(values[None], piece, target, warp.KERNELS["nearest"]))] = np.nan
    assert np.isnan(by_gdal).any()
    assert np.allclose(onto([piece], target, how), by_gdal, atol=1e-2, equal_nan=True)  # type: ignore[arg-type]


def test_a_value_that_means_nodata_elsewhere_is_kept() -> None:
    zeros = Piece(np.zeros((40, 40), np.float32), 32618, source().transform)
    assert (onto([zeros], grid(53, 57), "bilinear")[0] == 0).all()


def test_as_given_is_no_kernel() -> None:
    with pytest.raises(RecipeError, match="as given"):
        onto([source()], grid(3, 3), "as given")
