"""WorldCover codes under every scheme of the registry: nodata ignored, footprints where the scheme has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine

from harness.chips.chip import Grid
from harness.chips.worldcover import read_local, to_scheme, wants_buildings
from harness.claims.schemes import WORLDCOVER, Scheme, read_schemes
from harness.errors import ChipError

SCHEMES = read_schemes(Path(__file__).parents[2] / "eval" / "schemes")
CODES = np.array([[0, 10, 20, 30], [40, 50, 60, 70], [80, 90, 95, 100]], np.uint8)
"""Every code, and nodata."""

GRID = Grid(32618, (10.0, 0.0, 585000.0, 0.0, -10.0, 4510000.0), 40, 30)


def index_of(scheme: Scheme, code: int) -> int:
    """The index that a reader of the scheme's file would give a code."""
    return next((each.index for each in scheme.classes if code in each.worldcover), -1)


@pytest.mark.parametrize("name", [n for n in SCHEMES if n != "footprints"])
def test_every_code_becomes_its_schemes_index_and_nodata_none(name: str) -> None:
    scheme = SCHEMES[name]
    nothing = np.zeros(CODES.shape, np.int64)
    label = to_scheme(CODES, scheme, Path("map.tif"), nothing if wants_buildings(scheme) else None)
    assert label.data.tolist() == [[index_of(scheme, int(c)) if c else -1 for c in line] for line in CODES]
    assert label.data[0, 0] == -1
    assert label.scheme == name


def test_the_training_code_and_the_card_disagree_as_their_files_say() -> None:
    training = to_scheme(CODES, SCHEMES["training-code"], Path("map.tif")).data
    card = to_scheme(CODES, SCHEMES["card"], Path("map.tif"), np.zeros(CODES.shape, np.int64)).data
    assert training.tolist() == [[-1, 2, 2, 3], [3, 1, 4, 4], [0, 0, 0, 4]]
    assert card.tolist() == [[-1, 1, 1, 1], [3, 0, 3, 2], [2, 1, 1, 1]]


def test_footprints_lie_on_top_and_built_up_land_that_nobody_mapped_has_no_label() -> None:
    codes = np.array([[50, 50, 50, 10, 0]], np.uint8)
    buildings = np.array([[1, 0, -1, -1, 1]], np.int64)
    assert to_scheme(codes, SCHEMES["card"], Path("m"), buildings).data.tolist() == [[4, 0, -1, 1, 4]]
    assert to_scheme(codes, SCHEMES["training-code"], Path("m"), buildings).data.tolist() == [[1, 1, 1, 2, -1]]
    assert [n for n, s in SCHEMES.items() if wants_buildings(s)] == [
        "card",
        "footprints",
        "published-rerun",
        "training-doc",
    ]


def test_a_building_class_without_footprints_is_refused() -> None:
    with pytest.raises(ChipError, match="give the footprints of the chip"):
        to_scheme(CODES, SCHEMES["card"], Path("m"))
    with pytest.raises(ChipError, match="no class names a WorldCover code"):
        to_scheme(CODES, SCHEMES["footprints"], Path("m"), np.zeros(CODES.shape, np.int64))
    with pytest.raises(ChipError, match="footprints \\(2, 2\\)"):
        to_scheme(CODES, SCHEMES["card"], Path("m"), np.zeros((2, 2), np.int64))


def test_another_maps_codes_are_refused() -> None:
    with pytest.raises(ChipError, match=r"\[1, 5\] are no ESA WorldCover"):
        to_scheme(np.array([[1, 5, 10]], np.uint8), SCHEMES["training-code"], Path("terramesh.tif"))


def test_codes_that_a_scheme_does_not_name_are_said() -> None:
    label = to_scheme(CODES, SCHEMES["riprap-app"], Path("m"))
    assert "codes [20, 30, 70, 90, 95, 100] stand in no class" in label.why
    assert (label.data == -1).sum() == 7


def write_map(path: Path) -> NDArray[np.uint8]:
    """A map in degrees at WorldCover's pixel size around the grid, with a hole of nodata; its pixels."""
    random = np.random.default_rng(3)
    held = random.choice(np.array(list(WORLDCOVER), np.uint8), (60, 50))
    held[20:40, 20:40] = 0
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 60, "width": 50, "nodata": 0}
    transform = Affine(1 / 12000, 0.0, -73.9935, 0.0, -1 / 12000, 40.7370)
    with rasterio.open(path, "w", **profile, crs="EPSG:4326", transform=transform) as out:
        out.write(held, 1)
    return held


def test_a_local_map_is_read_at_the_nearest_pixel(tmp_path: Path) -> None:
    held = write_map(tmp_path / "map.tif")
    codes = read_local(tmp_path / "map.tif", GRID)
    x, y = np.meshgrid(585005 + 10 * np.arange(30), 4509995 - 10 * np.arange(40))
    lon, lat = Transformer.from_crs(32618, 4326, always_xy=True).transform(x, y)
    col, line = np.floor((lon + 73.9935) * 12000).astype(int), np.floor((40.7370 - lat) * 12000).astype(int)
    inside = (col >= 0) & (col < 50) & (line >= 0) & (line < 60)
    direct = np.where(inside, held[np.clip(line, 0, 59), np.clip(col, 0, 49)], 0)
    assert inside.mean() > 0.3
    assert (direct == 0).any()
    assert np.array_equal(codes, direct)


def test_beyond_the_map_there_is_nodata(tmp_path: Path) -> None:
    write_map(tmp_path / "map.tif")
    far = Grid(32618, (10.0, 0.0, 685000.0, 0.0, -10.0, 4510000.0), 8, 8)
    assert (read_local(tmp_path / "map.tif", far) == 0).all()


def test_a_broken_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_bytes(b"<html>")
    with pytest.raises(ChipError, match="cannot be read as a map"):
        read_local(tmp_path / "map.tif", GRID)
