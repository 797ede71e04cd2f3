"""Small files out of a few bytes of a large one: the same pixels, and never zeros for what was not fetched."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from harness.chips.reader import Window
from harness.chips.sources.tiff import MOST_BYTES, TILE_SIZES, TILES, NoTiffError, directory

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


def big_tiff(*tags: tuple[int, int, int, bytes], place: int = 16, order: str = "<") -> bytes:
    """A BigTIFF that is a directory and nothing else; (number, type, count, eight bytes) of each tag."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HHHQ", 43, 8, 0, place)
    return head + struct.pack(order + "Q", len(tags)) + b"".join(struct.pack(order + "HHQ8s", *tag) for tag in tags)


def q(number: int, order: str = "<") -> bytes:
    return struct.pack(order + "Q", number)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("number", [2**63, 2**64 - 100])
def test_places_beyond_any_file_are_damage_and_never_negative(number: int, order: str) -> None:
    asked: list[int] = []

    def fetched(raw: bytes) -> Any:
        def fetch(at: int, length: int) -> bytes:
            asked.append(at)
            return raw[at : at + length].ljust(length, b"\0")

        return directory(fetch)

    with pytest.raises(NoTiffError, match="an offset beyond"):  # of the directory
        fetched(big_tiff(place=number, order=order))
    with pytest.raises(NoTiffError, match="an offset beyond"):  # of a tag's values
        fetched(big_tiff((TILES, 16, 2, q(number, order)), order=order))
    with pytest.raises(NoTiffError, match="a directory of"):
        fetched(b"".join([big_tiff(order=order)[:16], q(number, order)]))
    with pytest.raises(NoTiffError, match="which has"):
        fetched(big_tiff((TILES, 16, number, q(0, order)), order=order))
    assert max(asked) < 2**63


@pytest.mark.parametrize("damaged", [256, 257, 322, 323, TILES, TILE_SIZES])
def test_a_number_that_int64_has_not_is_damage(damaged: int) -> None:
    numbers = {256: 64, 257: 64, 322: 64, 323: 64, TILES: 400, TILE_SIZES: 8192}
    sound = directory(slices(big_tiff(*((tag, 16, 1, q(n)) for tag, n in numbers.items()))))
    assert sound.runs(sound.blocks(Window(0, 0, 64, 64))) == [(400, 8192)]
    numbers[damaged] = 2**64 - 8
    found = directory(slices(big_tiff(*((tag, 16, 1, q(n)) for tag, n in numbers.items()))))
    with pytest.raises(NoTiffError, match=f"tag {damaged} holds a number beyond"):
        found.runs(found.blocks(Window(0, 0, 64, 64)))


def slices(raw: bytes) -> Any:
    return lambda at, length: raw[at : at + length]


def test_the_values_of_a_directory_are_few_in_sum() -> None:
    asked: list[int] = []

    def fetch(at: int, length: int) -> bytes:
        asked.append(length)
        return raw[at : at + length].ljust(length, b"\0")

    half = MOST_BYTES // 2
    raw = big_tiff((TILES, 1, half, q(100)), (TILE_SIZES, 1, half, q(100)))
    assert len(directory(fetch).tags) == 2
    asked.clear()
    raw = big_tiff((TILES, 1, half, q(100)), (TILE_SIZES, 1, half, q(100)), (65000, 1, 1, q(0)))
    with pytest.raises(NoTiffError, match=f"values of {MOST_BYTES + 1} bytes up to tag 65000"):
        directory(fetch)
    raw = big_tiff(*((TILES, 1, half, q(100)) for _ in range(9)))  # of one number, over and over
    asked.clear()
    with pytest.raises(NoTiffError, match="values of"):
        directory(fetch)
    assert sum(asked) <= MOST_BYTES + 1000
