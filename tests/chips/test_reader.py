"""Decisions before a read: grid, reach, window, nodata, resampling, offset."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chips.chip import Grid
from harness.chips.reader import (
    REACH_PX,
    Header,
    Request,
    chip_grid,
    item_offset,
    nodata_values,
    offsets,
    reach_of,
    resampling,
    window,
    window_transform,
)
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.scenes import AssetRef, Scene
from harness.chips.warp import project
from harness.errors import ChipError, RecipeError

NYC = (-73.98, 40.7)


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return read_recipes(Path(__file__).resolve().parents[2] / "eval" / "recipes")


def header(gsd: float, epsg: int = 32618, size: int = 1000) -> Header:
    return Header(epsg, (gsd, 0, 499_980, 0, -gsd, 4_510_020), size, size, 1, "uint16", None)


def asset(nodata: float | None = None, unit: str = "DN") -> AssetRef:
    return AssetRef(href="https://store.example/a.tif", bands=["B02"], gsd_m=10, unit=unit, nodata=nodata)


def scene(item: str, baseline: str | None) -> Scene:
    return Scene(collection="s2", item=item, datetime="2024-05-01T00:00:00Z", baseline=baseline, assets={})


def test_the_grid_is_a_knob_of_the_recipe(recipes: dict[str, Recipe]) -> None:
    (x,), (y,) = project([NYC[0]], [NYC[1]], 4326, 32618)
    centred = chip_grid(recipes["published-rerun"], NYC, 32618, project)
    assert centred.transform[2] + 1120 == pytest.approx(x, abs=1e-6)
    assert centred.transform[5] - 1120 == pytest.approx(y, abs=1e-6)
    snapped = chip_grid(recipes["training-code"], NYC, 32618, project)
    assert snapped.transform[2] % 10 == snapped.transform[5] % 10 == 0
    assert abs(snapped.transform[2] + 1280 - x) <= 5
    assert snapped.height_px == 256
    with pytest.raises(RecipeError, match="says no grid"):
        chip_grid(recipes["pretraining"], NYC, 32618, project)


def test_recipes_share_a_reach_so_that_an_ablation_reads_once(recipes: dict[str, Recipe]) -> None:
    centre = tuple(v[0] for v in project([NYC[0]], [NYC[1]], 4326, 32618))
    grids = [chip_grid(recipes[name], NYC, 32618, project) for name in ("published-rerun", "training-code", "card")]
    reaches = {reach_of(grid, (centre[0], centre[1])) for grid in grids}
    assert len(reaches) == 1
    assert reaches.pop().height_px == REACH_PX
    away = Grid(32618, (10, 0, 600_000, 0, -10, 4_400_000), 256, 256)
    assert reach_of(away, (centre[0], centre[1])) == away
    with pytest.raises(ChipError, match="north up"):
        reach_of(Grid(32618, (10, 0, 0, 0, 10, 0), 16, 16), (0, 0))


@given(
    gsd=st.sampled_from([10, 20, 60]),
    east=st.floats(0, 8000, allow_nan=False),
    south=st.floats(0, 8000, allow_nan=False),
)
def test_a_window_covers_its_reach_with_its_margin_and_hardly_more(gsd: int, east: float, south: float) -> None:
    reach = Grid(32618, (10, 0, 499_980 + 1000 + east, 0, -10, 4_510_020 - 1000 - south), 96, 96)
    win = window(header(gsd, size=20_000 // gsd), Request("a", reach, 1), project)
    a, _, x, _, e, y = window_transform(header(gsd), win)
    slack = 1e-5 * gsd
    assert x <= reach.transform[2] - 2 * gsd + slack
    assert y >= reach.transform[5] + 2 * gsd - slack
    assert x + win.width_px * a >= reach.transform[2] + 960 + 2 * gsd - slack
    assert y + win.height_px * e <= reach.transform[5] - 960 - 2 * gsd + slack
    assert win.width_px <= 960 / gsd + 6
    assert (x - 499_980) % gsd == 0


def test_a_window_is_cut_at_the_raster_and_empty_beyond() -> None:
    inside = Request("a", Grid(32618, (10, 0, 499_980 - 300, 0, -10, 4_510_020 + 300), 96, 96), 1)
    win = window(header(10), inside, project)
    assert (win.row, win.col, win.height_px, win.width_px) == (0, 0, 68, 68)
    beyond = Request("a", Grid(32618, (10, 0, 900_000, 0, -10, 4_510_020), 96, 96), 1)
    assert window(header(10), beyond, project).height_px == 0


def test_a_window_in_degrees_covers_the_chip() -> None:
    (x,), (y,) = project([NYC[0]], [NYC[1]], 4326, 32618)
    reach = Grid(32618, (10, 0, x - 1440, 0, -10, y + 1440), 288, 288)
    step = 1 / 3600
    dem = Header(4326, (step, 0, -74, 0, -step, 41), 3600, 3600, 1, "float32", None)
    win = window(dem, Request("a", reach, 1), project)
    a, _, west, _, e, north = window_transform(dem, win)
    lons, lats = project(
        [x - 1440, x + 1440, x - 1440, x + 1440], [y + 1440, y + 1440, y - 1440, y - 1440], 32618, 4326
    )
    assert west < min(lons) - step
    assert west + win.width_px * a > max(lons) + step
    assert north > max(lats) + step
    assert north + win.height_px * e < min(lats) - step
    assert win.height_px < 110


def test_nodata_is_the_sum_of_what_is_known() -> None:
    assert nodata_values("S2L2A", asset(), None) == (-9999, 0)
    assert nodata_values("S1RTC", asset(-32768), float("nan")) == (-32768, -9999)
    assert nodata_values("LULC", asset(0), 0) == (0,)
    assert 0 not in nodata_values("DEM", asset(), None)  # sea level


def test_resampling_is_the_recipes_and_never_averages_codes(recipes: dict[str, Recipe]) -> None:
    training, rerun = recipes["training-code"], recipes["published-rerun"]
    assert [resampling(training, "S2L2A", g) for g in (10, 20, 60)] == ["none", "nearest", "nearest"]
    assert resampling(training, "S1RTC", 10) == "none"
    assert resampling(training, "DEM", 30) == "bilinear"  # the recipe feeds zeros; the store's chip keeps a DEM
    assert resampling(rerun, "S2L2A", 60) == "bilinear"
    assert resampling(rerun, "LULC", 10) == "nearest"
    with pytest.raises(RecipeError, match="10m is as given"):
        resampling(recipes["pretraining"], "S2L2A", 10)
    with pytest.raises(RecipeError, match="30m is not there"):
        resampling(rerun, "S2L2A", 30)


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.14", 0), ("03.01", 0), ("04.00", 1000), ("05.10", 1000), ("05.11", 1000), (None, None), ("?", None)],
)
def test_the_baseline_decides_and_not_the_date(baseline: str | None, offset: int | None) -> None:
    assert item_offset(scene("x", baseline)) == offset


def test_a_catalogue_that_took_the_offset_out_is_believed() -> None:
    assert item_offset(scene("x", "05.10").model_copy(update={"s2_offset_dn": 0})) == 0


def test_one_side_stays_raw_and_two_sides_are_levelled_or_refused(recipes: dict[str, Recipe]) -> None:
    raw = recipes["published-rerun"]
    level = raw.model_copy(update={"s2_offset": raw.s2_offset.model_copy(update={"policy": "harmonise"})})
    old, new, odd = scene("old", "03.00"), scene("new", "05.00"), scene("odd", None)
    for recipe in (raw, level):
        assert (offsets([old], recipe, "a").chip, offsets([new, new], recipe, "a").chip) == (0, 1000)
        assert offsets([odd], recipe, "a").chip is None
        assert not offsets([new], recipe, "a").subtract
        with pytest.raises(ChipError, match="odd unknown"):
            offsets([new, odd], recipe, "a")
    both = offsets([old, new], level, "a")
    assert (both.chip, both.subtract) == (0, frozenset({"new"}))
    with pytest.raises(ChipError, match="mixed processing baselines"):
        offsets([old, new], raw, "a")
