"""Small files out of a few bytes of a large one: the same pixels, and never zeros for what was not fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from harness.chips.reader import Window
from harness.chips.sources.tiff import NoTiffError, directory

WIN = Window(70, 90, 100, 130)

LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", "predictor": 2},
    "strips": {"compress": "lzw"},
    "one block": {"tiled": True, "blockxsize": 512, "blockysize": 512},
    "big endian": {"tiled": True, "blockxsize": 64, "blockysize": 64, "ENDIANNESS": "BIG"},
    "BigTIFF": {"tiled": True, "blockxsize": 64, "blockysize": 64, "BIGTIFF": "YES"},
    "bands apart": {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"},
    "bands together": {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"},
}


def made(folder: Path, layout: str) -> tuple[bytes, Any]:
    data = np.random.default_rng(5).integers(1, 60_000, (2, 300, 400)).astype(np.uint16)
    shape = {"driver": "GTiff", "count": 2, "height": 300, "width": 400, "dtype": "uint16", "crs": "EPSG:32618"}
    place = rasterio.Affine(10, 0, 5e5, 0, -10, 45e5)
    with rasterio.open(folder / "a.tif", "w", transform=place, **shape, **LAYOUTS[layout]) as out:
        out.write(data)
    return (folder / "a.tif").read_bytes(), data[:, 70:170, 90:220]


def pixels(file: bytes) -> Any:
    with MemoryFile(file, ext=".tif") as memory, memory.open(driver="GTiff") as source:
        return source.read(window=rasterio.windows.Window(WIN.col, WIN.row, WIN.width_px, WIN.height_px))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_small_file_has_the_windows_pixels(layout: str, tmp_path: Path) -> None:
    whole, expected = made(tmp_path, layout)
    found = directory(lambda at, length: whole[at : at + length])
    blocks = found.blocks(WIN)
    fetched = {(at, length): whole[at : at + length] for at, length in found.runs(blocks)}
    assert np.array_equal(pixels(found.small(blocks, fetched)), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_block_that_was_not_fetched_is_an_error_and_no_zeros(layout: str, tmp_path: Path) -> None:
    whole, _ = made(tmp_path, layout)
    found = directory(lambda at, length: whole[at : at + length])
    blocks = found.blocks(WIN)
    fetched = {(at, length): whole[at : at + length] for at, length in found.runs(blocks[:-1])} if blocks[1:] else {}
    with pytest.raises(RasterioError):
        pixels(found.small(blocks[:-1], fetched))


@pytest.mark.parametrize("raw", [b"<html><body>sign in</body></html>", bytes(64), b"II*\0" + bytes(60)])
def test_other_bytes_are_no_tiff(raw: bytes) -> None:
    with pytest.raises(NoTiffError):
        directory(lambda at, length: raw[at : at + length])
