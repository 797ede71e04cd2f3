"""Masks and mosaics: what is nodata, and who gives a pixel where several could."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chips.mosaic import Piece, first_valid, lay, masked, offset_between
from harness.errors import ChipError

NAN = float("nan")


def piece(values: list[list[float]], col: float = 0, row: float = 0, epsg: int = 32618, step: float = 10) -> Piece:
    """A piece whose corner lies `col` and `row` pixels from (500000, 4500000)."""
    corner = (step, 0.0, 500_000 + step * col, 0.0, -step, 4_500_000 - step * row)
    return Piece(np.asarray(values, np.float32), epsg, corner)


def test_every_kind_of_nodata_becomes_nan() -> None:
    raw = np.array([0, 1, 65535, 7], np.uint16)
    assert np.array_equal(masked(raw, (0, -9999)), [np.nan, 1, 65535, 7], equal_nan=True)
    power = np.array([-32768, 0, -0.1, np.nan, np.inf, 0.2], np.float32)
    assert np.array_equal(masked(power, (-32768,), positive=True), [np.nan] * 5 + [np.float32(0.2)], equal_nan=True)
    sea = np.array([0, -3, -32767], np.float32)
    assert np.array_equal(masked(sea, (-32767,)), [0, -3, np.nan], equal_nan=True)  # height 0 is no gap
    assert masked(raw, ()).dtype == np.float32
    assert raw[0] == 0  # the window itself is not written to


def test_the_first_that_has_a_pixel_gives_it() -> None:
    (one,) = lay([piece([[1, NAN], [NAN, NAN]]), piece([[5, 6], [NAN, 8]]), piece([[9, 9], [9, 9]])])
    assert one.data.tolist() == [[1, 6], [9, 8]]


@pytest.mark.parametrize(("col", "row"), [(1, 0), (-1, 0), (0, 2), (-2, -2)])
def test_a_neighbour_is_laid_where_it_lies(col: int, row: int) -> None:
    (out,) = lay([piece([[1, 2], [3, 4]]), piece([[5, 6], [7, 8]], col, row)])
    a, _, x, _, e, y = out.transform
    for values, c, r in (([[1, 2], [3, 4]], 0, 0), ([[5, 6], [7, 8]], col, row)):
        for i in range(2):
            for j in range(2):
                east, north = 500_000 + 10 * (c + j), 4_500_000 - 10 * (r + i)
                found = out.data[round((north - y) / e), round((east - x) / a)]
                first = 0 <= r + i < 2 and 0 <= c + j < 2
                assert found == ([[1, 2], [3, 4]][r + i][c + j] if first else values[i][j])
    assert np.isnan(out.data).sum() == out.data.size - 8 + (col in (1, -1)) * 2


def test_other_lattices_stay_apart_and_keep_their_turn() -> None:
    here = piece([[1.0]])
    assert [len(lay([here, other])) for other in (piece([[2.0]], epsg=32619), piece([[2.0]], col=0.5))] == [2, 2]
    assert len(lay([here, piece([[2.0]], step=20)])) == 2
    assert [p.epsg for p in lay([here, piece([[2.0]], epsg=32619), here])] == [32618, 32619, 32618]
    assert offset_between(here, piece([[2.0]], col=3, row=-2)) == (-2, 3)
    with pytest.raises(ChipError, match="no scene reaches"):
        lay([])


@given(st.lists(st.lists(st.sampled_from([np.nan, 1.0, 2.0]), min_size=4, max_size=4), min_size=1, max_size=4))
def test_a_value_is_always_the_first_valid_one(rows: list[list[float]]) -> None:
    layers = [np.asarray([row], np.float32) for row in rows]
    expected = [next((v for v in column if not np.isnan(v)), np.nan) for column in zip(*rows, strict=True)]
    assert np.array_equal(first_valid(layers)[0], np.asarray(expected, np.float32), equal_nan=True)
    (laid,) = lay([piece([row]) for row in rows])
    assert np.array_equal(laid.data[0], np.asarray(expected, np.float32), equal_nan=True)
