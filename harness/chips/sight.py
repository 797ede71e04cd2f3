"""Cloud and data on a chip, seen in the scene classification of its scenes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.chips.chip import Grid
from harness.chips.mosaic import Piece, first_valid, lay, masked
from harness.chips.reader import Request
from harness.chips.scenes import Scene
from harness.chips.select import Sight, sight
from harness.chips.sources.cog import CogReader, NativeWindow
from harness.chips.store import Store
from harness.chips.warp import onto
from harness.errors import SourceError

SCL = "SCL"
"""Scene classification of Sentinel-2, 20 m; 0 is nodata."""


class Sights:
    """Judges mosaics by their scene classification; windows go through the store, so that a second lock reads none."""

    def __init__(self, reader: CogReader, store: Store | None = None) -> None:
        self._reader, self._store = reader, store

    def __call__(self, scenes: Sequence[Scene], grid: Grid) -> Sight:
        """What a mosaic shows on a chip.

        Args:
            scenes: In the order in which they are laid.
            grid: The chip's.

        Raises:
            SourceError: A scene without classification, or one that cannot be read.
        """
        requests = [self._request(scene, grid) for scene in scenes]
        found = self._windows(requests)
        pieces = [p for request in requests if (p := _piece(found[request])) is not None]
        if not pieces:
            return sight(np.zeros((grid.height_px, grid.width_px), np.uint8))
        laid = first_valid([onto([piece], grid, "nearest")[0] for piece in lay(pieces)])
        return sight(np.nan_to_num(laid, nan=0).astype(np.uint8))

    def _request(self, scene: Scene, grid: Grid) -> Request:
        asset = next((a for a in scene.assets.values() if SCL in a.bands), None)
        if asset is None:
            raise SourceError(f"{scene.item}: no scene classification; cloud on the chip cannot be judged")
        return Request(asset.href, grid, len(asset.bands), scene.epsg, asset.etag, asset.size_bytes)

    def _windows(self, requests: Sequence[Request]) -> dict[Request, NativeWindow]:
        if self._store is None:
            return self._reader.read_all(requests)
        found = {r: kept for r in requests if (kept := self._store.get(r)) is not None}
        absent = [r for r in requests if r not in found]
        return {**found, **(self._reader.read_all(absent, self._store.put) if absent else {})}


def _piece(found: NativeWindow) -> Piece | None:
    if not found.data.size:
        return None
    return Piece(masked(found.data[0], (0.0,)), found.header.epsg, found.transform)
