"""The directory of a TIFF, read from a few bytes: where a window's blocks lie, and a small file of these alone.

GDAL decodes; it is only kept from the network. What is handed to it holds every tag of the file's
first image and the blocks that were fetched. Any other block lies beyond its end, so that a block
that was wrongly left out is an error and never a picture of zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.chips.reader import Window

Fetch = Callable[[int, int], bytes]
"""(offset, length) -> that many bytes of the file; whatever it raises passes through."""

SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
"""Bytes of a value, by TIFF type."""

WHOLE: Final = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}
"""Types of whole numbers, as numpy names them."""

WIDTH, HEIGHT, SAMPLES, ROWS, PLANES, TILE_WIDTH, TILE_HEIGHT = 256, 257, 277, 278, 284, 322, 323
STRIPS, STRIP_SIZES, TILES, TILE_SIZES = 273, 279, 324, 325

ELSEWHERE: Final = frozenset({330, 34665, 34853, 40965})
"""Tags that lead to further directories, of which the small file has none."""

PLACE: Final = frozenset({34735, 34736, 34737})
"""The reference system: GDAL takes a millisecond over it, and once is enough."""

MOST_TAGS, MOST_BYTES = 1000, 2**26
"""Of one directory, and of all its values; more is taken for a damaged file."""

MOST: Final = 2**63 - 1
"""A larger number of a BigTIFF is taken for damage: no file is so long, and it would be negative as an int64."""

BEYOND: Final = 2**62
"""Where the blocks lie that were not fetched: past any file's end."""

GAP: Final = 2**16
"""Bytes between two blocks that are fetched along, as they cost less than another request."""


class NoTiffError(ValueError):
    """Bytes that are no TIFF, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One value, as the file has it."""

    kind: int
    """TIFF type."""
    count: int
    """Values."""
    raw: bytes
    """In the file's byte order."""


@dataclass(frozen=True)
class Directory:
    """The first image of a TIFF."""

    order: str
    """`<` or `>`."""
    tags: Mapping[int, Tag]
    """By number."""

    @cached_property
    def look(self) -> tuple[object, ...]:
        """All but where the blocks lie: two files that look the same have the same header."""
        where = {STRIPS, STRIP_SIZES, TILES, TILE_SIZES}
        return (self.order, *((number, tag) for number, tag in self.tags.items() if number not in where))

    @cached_property
    def _tiled(self) -> bool:
        return TILES in self.tags

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return self._numbers(TILES if self._tiled else STRIPS)

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return self._numbers(TILE_SIZES if self._tiled else STRIP_SIZES)

    def blocks(self, win: Window) -> list[int]:
        """Numbers of the blocks that hold a window, in every band.

        Raises:
            NoTiffError: The file has fewer blocks than its size asks for.
        """
        width, height = self._number(WIDTH), self._number(HEIGHT)
        if self._tiled:
            across_px, down_px = self._number(TILE_WIDTH), self._number(TILE_HEIGHT)
        else:
            across_px, down_px = width, min(self._number(ROWS, height), height)
        if min(width, height, across_px, down_px) < 1:
            raise NoTiffError("an image without pixels")
        across, down = -(-width // across_px), -(-height // down_px)
        planes = self._number(SAMPLES, 1) if self._number(PLANES, 1) == 2 else 1
        if min(len(self._offsets), len(self._sizes)) < across * down * planes:
            raise NoTiffError("blocks are missing from its directory")
        rows = range(win.row // down_px, (win.row + win.height_px - 1) // down_px + 1)
        cols = range(win.col // across_px, (win.col + win.width_px - 1) // across_px + 1)
        return [(p * down + r) * across + c for p in range(planes) for r in rows for c in cols]

    def runs(self, blocks: Sequence[int]) -> list[tuple[int, int]]:
        """(offset, length) of what must be fetched for these blocks; neighbours together."""
        out: list[tuple[int, int]] = []
        for start, size in sorted((int(self._offsets[i]), int(self._sizes[i])) for i in blocks):
            if not size:
                continue  # a block of nodata that the writer left out
            if out and start - (out[-1][0] + out[-1][1]) <= GAP:
                out[-1] = (out[-1][0], max(out[-1][1], start + size - out[-1][0]))
            else:
                out.append((start, size))
        return out

    def small(self, blocks: Sequence[int] = (), fetched: Mapping[tuple[int, int], bytes] | None = None) -> bytes:
        """A BigTIFF of this image with some of its blocks.

        Args:
            blocks: Numbers of the blocks that it shall hold; with any, it states no reference system.
            fetched: By run, as `runs` names them.
        """
        left_out = ELSEWHERE | PLACE if blocks else ELSEWHERE
        where = TILES if self._tiled else STRIPS
        kept = {number: tag for number, tag in self.tags.items() if number not in left_out}
        offsets = np.where(self._sizes[: len(self._offsets)] > 0, BEYOND, 0)
        room = {number: len(tag.raw) for number, tag in kept.items()} | {where: 8 * len(offsets)}
        values = 16 + 8 + 20 * len(kept) + 8
        place = values + sum(size for size in room.values() if size > 8)
        for (start, length), body in (fetched or {}).items():
            for i in blocks:
                if self._sizes[i] and start <= self._offsets[i] and self._offsets[i] + self._sizes[i] <= start + length:
                    offsets[i] = place + int(self._offsets[i]) - start
            place += len(body)
        kept[where] = Tag(16, len(offsets), offsets.astype(self.order + "u8").tobytes())
        out = [b"II" if self.order == "<" else b"MM", struct.pack(self.order + "HHHQ", 43, 8, 0, 16)]
        out.append(struct.pack(self.order + "Q", len(kept)))
        apart = []
        for number, tag in sorted(kept.items()):
            inline = tag.raw.ljust(8, b"\0")
            if len(tag.raw) > 8:
                inline = struct.pack(self.order + "Q", values)
                values += len(tag.raw)
                apart.append(tag.raw)
            out.append(struct.pack(self.order + "HHQ", number, tag.kind, tag.count) + inline)
        return b"".join([*out, bytes(8), *apart, *(fetched or {}).values()])

    def _number(self, number: int, absent: int | None = None) -> int:
        if number not in self.tags and absent is not None:
            return absent
        return int(self._numbers(number)[0])

    def _numbers(self, number: int) -> NDArray[np.int64]:
        tag = self.tags.get(number)
        if tag is None or tag.kind not in WHOLE or not tag.count:
            raise NoTiffError(f"tag {number} is {'no whole number' if tag else 'missing'}")
        out: NDArray[Any] = np.frombuffer(tag.raw, self.order + WHOLE[tag.kind])
        if out.max() > MOST:
            raise NoTiffError(f"tag {number} holds a number beyond {MOST}")
        return out.astype(np.int64)


def directory(fetch: Fetch) -> Directory:
    """Read the first directory of a TIFF or BigTIFF.

    Raises:
        NoTiffError: Another kind of file, or a damaged one.
    """
    start = fetch(0, 8)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or start[2:4] not in (struct.pack(order + "H", 42), struct.pack(order + "H", 43)):
        raise NoTiffError("not a TIFF")
    big = struct.unpack(order + "H", start[2:4])[0] == 43
    if big:
        (place,) = struct.unpack(order + "Q", fetch(8, 8))
        (count,) = struct.unpack(order + "Q", fetch(_placed(place), 8))
        place, layout, room = place + 8, "HHQ8s", 8
    else:
        (place,) = struct.unpack(order + "I", start[4:8])
        (count,) = struct.unpack(order + "H", fetch(place, 2))
        place, layout, room = place + 2, "HHI4s", 4
    if not 0 < count <= MOST_TAGS:
        raise NoTiffError(f"a directory of {count} tags")
    tags, total = {}, 0
    for number, kind, values, inline in struct.iter_unpack(
        order + layout, fetch(place, count * struct.calcsize(order + layout))
    ):
        if kind not in SIZES:
            continue  # a reader shall skip types that it does not know
        size = values * SIZES[kind]
        total += size
        if total > MOST_BYTES:
            raise NoTiffError(f"values of {total} bytes up to tag {number}, which has {values}")
        where = int.from_bytes(inline, "little" if order == "<" else "big")
        tags[number] = Tag(kind, values, inline[:size] if size <= room else fetch(_placed(where), size))
    return Directory(order, tags)


def _placed(offset: int) -> int:
    """An offset that a file can have."""
    if offset > MOST:
        raise NoTiffError(f"an offset beyond {MOST}")
    return offset
