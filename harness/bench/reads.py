"""Chip read and store against plain rasterio and plain NumPy files, from a slow server on loopback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray

from harness.bench.pairs import take_turns
from harness.bench.scenes import requests_of, write_scenes
from harness.bench.served import QUERY, asked, serving
from harness.chips.assemble import read_chip
from harness.chips.reader import Header, Request, window
from harness.chips.recipe import Recipe
from harness.chips.scenes import AoiLock
from harness.chips.sources.cog import CogReader
from harness.chips.store import Store
from harness.chips.warp import project
from harness.errors import SourceError
from harness.records.bench import Pairs, Size

Arrays = dict[str, NDArray[Any]]
"""Pixels by address or modality."""

DELAY_S = 0.04
"""Before every answer: about what a store in another region takes."""


class Fresh:
    """Addresses with a query that no call had before, so that nothing is remembered from one call to the next."""

    calls = 0
    """Signers made so far."""

    def __init__(self) -> None:
        Fresh.calls += 1
        self._query = f"{QUERY}&call={Fresh.calls}"

    def signed(self, href: str) -> str:
        """The address with the query."""
        return f"{href}?{self._query}"

    def renewed(self, href: str, refused: str) -> str:
        """The same; nothing expires here."""
        return refused


def by_rasterio(requests: Sequence[Request]) -> Arrays:
    """Every window with rasterio's default settings, one after the other."""
    signer = Fresh()
    return {r.href: _one(signer.signed(r.href), r) for r in requests}


def _one(url: str, request: Request) -> NDArray[Any]:
    with rasterio.Env(), rasterio.open(url) as source:
        transform = tuple(source.transform)[:6]
        size = (source.height, source.width, source.count)
        header = Header(source.crs.to_epsg(), transform, *size, source.dtypes[0], source.nodata)
        win = window(header, request, project)
        pixels: NDArray[Any] = source.read(
            window=rasterio.windows.Window(win.col, win.row, win.width_px, win.height_px)
        )
        return pixels


def by_reader(requests: Sequence[Request]) -> Arrays:
    """Every window our way, with a reader that knows nothing yet."""
    with CogReader(Fresh()) as reader:
        return {r.href: w.data for r, w in reader.read_all(requests).items()}


def chip(lock: AoiLock, recipe: Recipe, store: Store | None) -> Arrays:
    """The finished chip, from the store where there is one, else from the server."""
    with CogReader(Fresh()) as reader:
        done = read_chip(lock, recipe, reader, store)
    if store is not None and done.read:
        raise SourceError(f"{done.read} windows were read from the server although the store was filled before")
    return {name: layer.data for name, layer in done.chip.layers.items()}


def same(found: Mapping[str, Arrays]) -> None:
    """Refuse results of two ways that differ in one bit.

    Raises:
        SourceError: Names the first array.
    """
    ours, plain = found["ours"], found["reference"]
    if ours.keys() != plain.keys():
        raise SourceError(f"the two ways read other things: {sorted(ours.keys() ^ plain.keys())[:3]}")
    for name in ours:
        a, b = np.squeeze(ours[name]), np.squeeze(plain[name])
        if a.shape != b.shape or a.dtype != b.dtype or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            raise SourceError(f"{name.rsplit('/', 1)[-1]}: the two ways read other pixels")


def reads(
    folder: Path, recipe: Recipe, rounds: int, step: Callable[[str], None], delay: float = DELAY_S
) -> tuple[list[Pairs], list[Size]]:
    """Rows of chip read and store.

    Args:
        folder: Empty; scenes and stores are written there.
        recipe: Says grid and resampling.
        rounds: Pairs of each row; the store's own rows have four times as many.
        step: Told what is being done.
        delay: Seconds before each answer of the server.

    Raises:
        SourceError: Two ways read other pixels, or a call took something from an earlier one.
    """
    served, held, plain = (folder / n for n in ("served", "store", "plain"))
    for each in (served, plain):
        each.mkdir(parents=True)
    with serving(served, delay) as address:
        step("writing the scenes of one chip")
        lock = write_scenes(served, address)
        requests = requests_of(lock, recipe)
        n = len(requests)
        step(f"chip read: {n} windows, ours and plain rasterio in turns")
        asked(address)
        took = take_turns(
            {"ours": lambda: by_reader(requests), "reference": lambda: by_rasterio(requests)}, rounds, check=same
        )
        gets = sum(method == "GET" for method, _ in asked(address))
        if gets < 2 * 2 * n * (rounds + 1):
            raise SourceError(f"{gets} requests for {2 * (rounds + 1)} readings of {n} windows: something was kept")
        where = f"{n} windows of {len(lock.timesteps)} scenes on loopback, {delay * 1000:g} ms before each answer"
        rows = [
            Pairs(
                id="chip read",
                group="chip read",
                ours="many windows at once, header and blocks only, new connections",
                reference="rasterio with its default settings, one window after the other",
                ours_s=took["ours"],
                reference_s=took["reference"],
                processes="one process",
                same="every pixel of every window equal",
                of=where,
            )
        ]
        store = Store(held)
        with CogReader(Fresh()) as reader:
            read_chip(lock, recipe, reader, store)
        step("store: the finished chip from the store, and from the server")
        again = take_turns(
            {"ours": lambda: chip(lock, recipe, store), "reference": lambda: chip(lock, recipe, None)},
            rounds,
            check=same,
        )
        rows.append(_store_row("store", "the finished chip, windows from the store", again, where))
    step("store: windows from the store, and from plain files")
    rows.append(_plain_files(store, requests, plain, rounds * 4))
    # Not the store's own bytes: it keeps equal windows once, and these scenes repeat one picture a pixel size.
    size = sum(p.stat().st_size for p in plain.iterdir())
    return rows, [Size(id="disk/store", kind="disk", what=f"one chip as {n} native windows", bytes=size)]


def _store_row(id_: str, ours: str, took: Mapping[str, list[float]], of: str) -> Pairs:
    return Pairs(
        id=id_,
        group="store",
        ours=ours,
        reference="the finished chip, windows from the server, our way",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same="every pixel of every layer equal",
        of=of,
    )


def _plain_files(store: Store, requests: Sequence[Request], folder: Path, rounds: int) -> Pairs:
    """Windows with their hashes checked, against NumPy files that are believed."""
    files = {r.href: folder / f"{i}.npy" for i, r in enumerate(requests)}

    def ours() -> Arrays:
        out = {}
        for request in requests:
            found = store.get(request)
            if found is None:
                raise SourceError(f"{request.href}: not in the store although it was put there")
            out[request.href] = found.data
        return out

    for href, pixels in ours().items():
        np.save(files[href], pixels, allow_pickle=False)
    took = take_turns(
        {"ours": ours, "reference": lambda: {href: np.load(path) for href, path in files.items()}},
        rounds,
        check=same,
    )
    return Pairs(
        id="store/windows",
        group="store",
        ours="native windows from the store, every hash checked",
        reference="numpy.load of the same pixels, nothing checked",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same="every pixel of every window equal",
        of=f"{len(requests)} windows, files in the page cache",
    )
