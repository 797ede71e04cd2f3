"""What the 57 windows of one chip cost, read in several ways from a slow loopback server; a script, not a test.

`python -m tests.chips.bench_reads` prints medians, ratios within the run, requests a window and peak
memory. Every measurement is a fresh process (GDAL remembers URLs), rounds are interleaved, and the
load of the machine stands beside them. stackstac and odc-stac take part where they are installed.
All ways read from one server, which does as little as a server can: it is the clock of this bench.

GDAL looks for nine sidecar files (HEAD) of an address without a query string, and for none of one
with it. Signed addresses have one, so that is the serial way here; `bare` is the other, for comparison.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.windows

from harness.bench import scenes
from harness.bench.memory import peak_bytes
from harness.bench.scenes import EPSG, GSD, LONLAT, write_scenes
from harness.bench.served import QUERY, serving
from harness.chips.assemble import read_chip
from harness.chips.chip import MODALITIES
from harness.chips.reader import Header, Request, window
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.scenes import AoiLock
from harness.chips.sources.cog import THREADS, CogReader
from harness.chips.store import Store
from harness.chips.warp import project
from harness.places import eval_folder

TUNED: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 65536,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": 0,
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_CACHE_SIZE": 2**28,  # 57 windows at once do not fit into the usual 16 MB and are read twice
}
"""What a careful user of rasterio's own network client would set."""

MAIN_WAYS: tuple[str, ...] = (
    "default",
    "bare",
    "tuned",
    "threads16",
    "threads32",
    "threads57",
    "stackstac16",
    "stackstac57",
)
MAIN_WAYS += ("odc16", "odc57", "pool32", "pool", "chip", "store", "storewindows")
SLOW = ("bare", "tuned")

WHAT = {
    "default": "rasterio, serial, default settings",
    "bare": "the same, addresses without a query",
    "tuned": "rasterio, serial, tuned",
    "threads": "rasterio, tuned, plain thread pool",
    "stackstac": "stackstac, tuned, warped",
    "odc": "odc-stac, tuned, warped",
    "pool": "ours, windows",
    "chip": "ours, to the finished chip",
    "store": "ours, finished chip from the store",
    "storewindows": "ours, windows from the store",
}
"""Ways, without the number of threads."""


def recipe() -> Recipe:
    return read_recipes(eval_folder() / "recipes")["published-rerun"]


class Long:
    """Queries as long as real ones."""

    def signed(self, href: str) -> str:
        """The address with its query."""
        return f"{href}?{QUERY}"

    def renewed(self, href: str, refused: str) -> str:
        """The same; nothing expires here."""
        return refused


def signed(href: str) -> str:
    return Long().signed(href)


def requests_of(lock: AoiLock) -> list[Request]:
    return scenes.requests_of(lock, recipe())


def grid_of(lock: AoiLock) -> Any:
    return scenes.grid_of(lock, recipe())


def alone(request: Request, options: dict[str, Any], query: bool = True) -> int:
    """One window with rasterio alone."""
    href = signed(request.href) if query else request.href
    with rasterio.Env(**options), rasterio.open(href) as source:
        transform = tuple(source.transform)[:6]
        epsg = source.crs.to_epsg()
        header = Header(epsg, transform, source.height, source.width, source.count, source.dtypes[0], None)
        win = window(header, request, project)
        return int(source.read(window=rasterio.windows.Window(win.col, win.row, win.width_px, win.height_px)).size)


def serial(lock: AoiLock, options: dict[str, Any], query: bool = True) -> int:
    """One after the other."""
    return sum(alone(request, options, query) for request in requests_of(lock))


def plain(lock: AoiLock, threads: int) -> int:
    """The same, tuned, in a pool of threads."""
    with ThreadPoolExecutor(threads) as several:
        return sum(several.map(lambda request: alone(request, TUNED), requests_of(lock)))


def pool(lock: AoiLock, threads: int) -> int:
    """Ours, native windows only."""
    with CogReader(Long(), threads) as reader:
        return sum(w.data.size for w in reader.read_all(requests_of(lock)).values())


def chip(lock: AoiLock, store: Store | None) -> int:
    """Ours, to the finished chip, bilinear."""
    with CogReader(Long()) as reader:
        return sum(layer.data.size for layer in read_chip(lock, recipe(), reader, store).chip.layers.values())


def items(lock: AoiLock, modality: str) -> list[Any]:
    """Scenes as STAC items, signed, for the two libraries that want them."""
    import pystac

    out = []
    for step in lock.timesteps:
        for scene in step.scenes if step.modality == modality else []:
            item = pystac.Item(
                scene.item,
                {"type": "Point", "coordinates": list(LONLAT)},
                [LONLAT[0] - 0.1, LONLAT[1] - 0.1, LONLAT[0] + 0.1, LONLAT[1] + 0.1],
                __import__("datetime").datetime.fromisoformat(scene.datetime),
                {"proj:epsg": scene.epsg, "proj:code": f"EPSG:{scene.epsg}"},
                stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
            )
            for key, asset in scene.assets.items():
                kind = str(GSD[key]) if modality == "S2L2A" else modality[:2].lower() if modality == "S1RTC" else "dem"
                file = {"10": "s2_10", "20": "s2_20", "60": "s2_60"}.get(kind, kind)
                with rasterio.open(Path(os.environ["BENCH_FOLDER"]) / f"{file}.tif") as source:
                    extra = {"proj:transform": list(source.transform)[:6], "proj:shape": list(source.shape)}
                item.add_asset(
                    key,
                    pystac.Asset(
                        signed(asset.href),
                        media_type="image/tiff; application=geotiff; profile=cloud-optimized",
                        roles=["data"],
                        extra_fields=extra,
                    ),
                )
            out.append(item)
    return out


def by_stackstac(lock: AoiLock, threads: int) -> int:
    import dask
    import stackstac

    grid = grid_of(lock)
    west, north = grid.transform[2], grid.transform[5]
    stacks = [
        stackstac.stack(
            found,
            assets=list(MODALITIES[m].bands),
            epsg=EPSG,
            bounds=(west, north - 2240, west + 2240, north),
            resolution=10,
            snap_bounds=False,
            dtype=np.dtype("float32"),
            fill_value=np.float32(np.nan),
            rescale=False,
            errors_as_nodata=(),
            resampling=rasterio.enums.Resampling.bilinear,
            gdal_env=stackstac.DEFAULT_GDAL_ENV.updated(TUNED),
        )
        for m, found in PREPARED.items()
    ]
    return sum(a.size for a in dask.compute(*[s.data for s in stacks], scheduler="threads", num_workers=threads))


def by_odc(lock: AoiLock, threads: int) -> int:
    import odc.stac
    from odc.geo.geobox import GeoBox

    grid = grid_of(lock)
    west, north = grid.transform[2], grid.transform[5]
    box = GeoBox.from_bbox((west, north - 2240, west + 2240, north), f"EPSG:{EPSG}", resolution=10)
    odc.stac.configure_rio(cloud_defaults=False, **TUNED)

    def load(modality: str) -> int:
        found = odc.stac.load(
            PREPARED[modality], bands=list(MODALITIES[modality].bands), geobox=box, resampling="bilinear", pool=threads
        )
        return sum(v.size for v in found.data_vars.values())

    with ThreadPoolExecutor(len(PREPARED)) as together:  # one call reads one collection; they do not wait for another
        return sum(together.map(load, PREPARED))


PREPARED: dict[str, list[Any]] = {}
"""Items, made before the clock starts."""


def child(way: str, file: Path) -> None:
    """Measure one way in this process and print seconds, peak memory and pixels."""
    lock = AoiLock.model_validate_json(file.read_text(encoding="utf-8"))
    digits = "".join(c for c in way if c.isdigit())
    store = Store(Path(os.environ["BENCH_FOLDER"]) / "store")
    ways: dict[str, Callable[[], int]] = {
        "default": lambda: serial(lock, {}),
        "bare": lambda: serial(lock, {}, query=False),
        "tuned": lambda: serial(lock, TUNED),
        "threads": lambda: plain(lock, int(digits)),
        "pool": lambda: pool(lock, int(digits or THREADS)),
        "chip": lambda: chip(lock, None),
        "store": lambda: chip(lock, store),
        "storewindows": lambda: sum(w.data.size for r in requests_of(lock) if (w := store.get(r)) is not None),
        "stackstac": lambda: by_stackstac(lock, int(digits)),
        "odc": lambda: by_odc(lock, int(digits)),
    }
    run = ways[way.rstrip("0123456789")]
    if way.startswith(("stackstac", "odc")):
        importlib.import_module("stackstac" if way.startswith("s") else "odc.stac")
        PREPARED.update({m: items(lock, m) for m in ("S2L2A", "S1RTC", "DEM")})
    project([0], [0], 4326, EPSG)
    recipe()
    if way == "store":
        run()  # fills it in the first round; what is measured is a second chip of a process
    began = time.perf_counter()
    size = run()
    took = time.perf_counter() - began
    mark = peak_bytes()
    print(json.dumps([took, None if mark is None else mark / 2**20, size]))


def main() -> None:
    """Serve, measure in rounds, print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=1, help="of the serial ways that nothing is compared with")
    parser.add_argument("--delay", type=float, default=0.04, help="seconds a request")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "LOCK"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        child(words.child[0], Path(words.child[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), words.rounds, words.slow_rounds, words.delay)


def measure(folder: Path, rounds: int, slow: int, delay: float) -> None:
    """All ways, interleaved."""
    with serving(folder, delay) as base:
        lock = write_scenes(folder, base)
        file = folder / "lock.json"
        file.write_text(lock.model_dump_json(), encoding="utf-8")
        assert len(requests_of(lock)) == 57
        have = {n: importlib.util.find_spec(n) is not None for n in ("stackstac", "odc")}
        ways = [w for w in MAIN_WAYS if have.get(w.rstrip("0123456789"), True)]
        ratios: dict[str, list[float]] = {w: [] for w in ways}
        took: dict[str, list[float]] = {w: [] for w in ways}
        asked: dict[str, dict[str, float]] = {}
        memory: dict[str, float] = {}
        load = [os.getloadavg()[0]]
        for i in range(rounds):
            for way in ways if i < slow else [w for w in ways if w not in SLOW]:
                urllib.request.urlopen(f"{base}/-/log").close()  # noqa: S310 (loopback)
                env = {**os.environ, "BENCH_FOLDER": str(folder)}
                run = [sys.executable, "-m", "tests.chips.bench_reads", "--child", way, str(file)]
                out = subprocess.run(run, env=env, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
                if out.returncode:
                    sys.exit(f"{way}: {out.stderr}")
                print(f"round {i} {way}: {out.stdout.strip()}", file=sys.stderr, flush=True)
                seconds, peak, _ = json.loads(out.stdout.splitlines()[-1])
                took[way].append(seconds)
                ratios[way].append(took["default"][-1] / seconds)
                memory[way] = max(math.nan if peak is None else peak, memory.get(way, 0))
                with urllib.request.urlopen(f"{base}/-/log") as answer:  # noqa: S310
                    log = json.load(answer)
                asked.setdefault(way, {m: sum(r[0] == m for r in log) / 57 for m in ("HEAD", "GET")})
                load.append(os.getloadavg()[0])
    print(f"57 windows, {delay * 1000:g} ms a request; {os.cpu_count()} cores, load {min(load):.1f} to {max(load):.1f}")
    print("way           median s  best s  rounds  x serial  HEAD/window  GET/window  peak MiB")
    for way in ways:
        t = took[way]
        print(
            f"{way:13} {statistics.median(t):8.3f} {min(t):7.3f} {len(t):7d} {statistics.median(ratios[way]):9.1f} "
            f"{asked[way]['HEAD']:12.2f} {asked[way]['GET']:11.2f} {memory[way]:9.0f}  {WHAT[way.rstrip('0123456789')]}"
        )
    print("floor                                                    0.00        2.00            header, blocks")
    print("x serial: of the last serial reading before it, the median over rounds")


if __name__ == "__main__":
    main()
