"""Layers whose dates or bands are in different units, grids that are no chip's, units that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from harness.chips.chip import Label
from harness.chips.sources.files import read_chips
from harness.chips.units import MIXED, by_slice, s1_unit, s2_unit
from harness.errors import ChipError, UnitError
from tests.chips.made import write_folder


def change(path: Path, edit: object, **profile: object) -> None:
    """Rewrite a GeoTIFF."""
    with rasterio.open(path) as source:
        data, kept = source.read(), source.profile
        names = source.descriptions
    kept.update(profile)
    out = edit(data) if callable(edit) else data
    with rasterio.open(path, "w", **{**kept, "dtype": out.dtype}) as target:
        target.write(out)
        for i, name in enumerate(names, 1):
            if name:
                target.set_band_description(i, name)


def test_one_polarisation_in_power_and_one_in_db_is_mixed(tmp_path: Path) -> None:
    write_folder(tmp_path, ids=("a",), size_px=64)

    def half(data: np.ndarray) -> np.ndarray:
        out = data.astype("float32")
        out[0] = 10 ** (out[0] / 10)
        return out

    change(tmp_path / "S1RTC" / "a.tif", half)
    with pytest.raises(UnitError, match="not in one unit: date 0, band 1 looks like linear power; date 0, band 2"):
        read_chips(tmp_path)


def test_one_date_in_another_unit_is_mixed() -> None:
    db = np.random.default_rng(0).normal(-12, 3, (4, 2, 32, 32)).astype(np.float32)
    assert by_slice(db, s1_unit).verdict == "dB"
    db[2] = 10 ** (db[2] / 10)
    assert by_slice(db, s1_unit).verdict == MIXED


def test_one_band_in_reflectance_is_mixed() -> None:
    dn = np.random.default_rng(0).uniform(200, 3000, (1, 12, 32, 32)).astype(np.float32)
    assert by_slice(dn, s2_unit).verdict == "DN"
    dn[0, 5] /= 10_000
    assert by_slice(dn, s2_unit).verdict == MIXED


@pytest.mark.parametrize(
    ("modality", "unit", "edit", "words"),
    [
        ("S1RTC", "linear power", lambda d: ((d - d.mean()) / d.std()).astype("float32"), "power never is"),
        ("S2L2A", "DN", lambda d: (d / d.max() * 255).astype("uint8"), "8 bits or percent"),
    ],
)
def test_a_declared_unit_that_cannot_be_is_refused(
    tmp_path: Path, modality: str, unit: str, edit: object, words: str
) -> None:
    write_folder(tmp_path, ids=("a",), size_px=64)
    change(tmp_path / modality / "a.tif", edit, nodata=None)
    with pytest.raises(UnitError, match=words):
        read_chips(tmp_path, {modality: unit})


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"transform": rasterio.Affine(30, 0, 500000, 0, -30, 4500000)}, "pixels of 30 x -30"),
        ({"transform": rasterio.Affine(10, 0, 500000, 0, 10, 4500000)}, "north-up"),
        ({"crs": "EPSG:2263"}, "EPSG:2263 does not measure in metres"),
        ({"crs": "EPSG:3857"}, "EPSG:3857 does not measure in metres on the ground"),
    ],
)
def test_a_grid_that_is_no_chips_is_refused(tmp_path: Path, profile: dict[str, object], words: str) -> None:
    write_folder(tmp_path, ids=("a",), size_px=64)
    change(tmp_path / "S2L2A" / "a.tif", None, **profile)
    with pytest.raises(ChipError, match=words):
        read_chips(tmp_path)


def test_another_label_is_another_chip(tmp_path: Path) -> None:
    write_folder(tmp_path, ids=("a",), size_px=64)
    chip = read_chips(tmp_path)[0]
    labels = [Label(np.full((64, 64), i), "training-code", tmp_path, "source", "made") for i in (0, 1)]
    hashes = {type(chip)(chip.id, chip.grid, chip.layers, label).sha256 for label in (None, *labels)}
    assert len(hashes) == 3
