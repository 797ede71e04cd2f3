"""A few scenes at production addresses with the catalogue that describes them: enough for a whole chip.

Two Sentinel-2 dates, one under cloud; two Sentinel-1 passes; a DEM and a WorldCover tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from harness.chips.aois import Aoi
from harness.chips.chip import MODALITIES
from harness.chips.recipe import Dates, Recipe, read_recipes
from harness.chips.scenes import AoiLock, Scene
from tests.chips.cogs import PLACES, Country, Floats, write_cog
from tests.services import made_items as made
from tests.services.azure import href

AOI = Aoi.model_validate(
    {
        "id": "made_up",
        "name": "Made up",
        "role": "probe",
        "centre": PLACES[32618],
        "window": ("2024-04-01", "2024-09-30"),
        "labels": ("worldcover-2021",),
        "source": "made up",
    }
)
"""Where all of it lies."""

BUILT_UP, CLEAR, CLOUD = 50, 4, 9
"""A WorldCover code, and two of the scene classification."""


def recipe(root: Path) -> Recipe:
    """The published rerun's, with one date."""
    whole = read_recipes(root / "eval" / "recipes")["published-rerun"]
    return whole.model_copy(update={"dates": Dates(policy="one", count=1, window="cloud under 20 %")})


@dataclass(frozen=True)
class Realm:
    """Files, items, and the lock that they should lead to."""

    blobs: Path
    """Holds <container>/<file>."""
    items: list[dict[str, Any]]
    """As Planetary Computer would send them."""
    lock: AoiLock
    """Every modality, one date."""

    def local(self) -> AoiLock:
        """The lock with addresses of the files themselves."""
        text = self.lock.model_dump_json()
        for container in ("sentinel2-l2", "sentinel1-grd-rtc", "copernicus-dem", "esa-worldcover"):
            text = text.replace(href(container), str(self.blobs / container))
        return AoiLock.model_validate_json(text)


def build(blobs: Path) -> Realm:
    """Write the scenes into a folder."""

    def at(container: str) -> Country:
        return Country(blobs / container, href(container))

    optical, west = at("sentinel2-l2"), PLACES[32618][0] - 0.035
    bands = MODALITIES["S2L2A"].bands
    noise = _noise(7)
    clear, cloudy = (optical.optical(name, date, bands=bands, shape=noise) for name, date in DAYS.items())
    for name, code in (("clear", CLEAR), ("cloudy", CLOUD)):
        transform, size = optical._frame(optical.centre, 20)
        data = np.full((size, size), code, np.uint8)
        write_cog(blobs / "sentinel2-l2" / f"{name}_SCL.tif", data, 32618, transform)
    near, far = (at("sentinel1-grd-rtc").radar(f"radar{d}", f"2024-05-{d:02d}") for d in (3, 11))
    dem = at("copernicus-dem").geographic("dem", "DEM", west, 0.07, optical.ramp)
    cover = at("esa-worldcover").geographic("cover", "LULC", west, 0.07, BUILT_UP)
    steps = {"S2L2A": [[clear]], "S1RTC": [[near]], "DEM": [[dem]], "LULC": [[cover]]}
    items = [
        *(_item(made.s2(when=f"{s.datetime[:10]}T15:40:00.000000Z"), s, blobs, scl=True) for s in (clear, cloudy)),
        *(_item(made.s1(f"{s.datetime[:10]}T22:50:00.000000Z"), s, blobs) for s in (near, far)),
        _item(made.dem(), dem, blobs),
        _item(made.worldcover(), cover, blobs),
    ]
    return Realm(blobs, items, optical.lock(**steps))


DAYS = {"clear": "2024-05-01", "cloudy": "2024-06-01"}
"""Sentinel-2 dates."""


def _noise(seed: int) -> Callable[[Floats, Floats, Floats], Floats]:
    """Adds noise, so that files are longer than what is read of them at opening."""
    rng = np.random.default_rng(seed)
    return lambda values, x, y: values + rng.integers(0, 800, values.shape)


def _item(item: dict[str, Any], scene: Scene, blobs: Path, scl: bool = False) -> dict[str, Any]:
    """A made item with the assets of a scene, and the extent that its files have."""
    hrefs = {band: asset.href for asset in scene.assets.values() for band in asset.bands}
    if scl:
        hrefs["SCL"] = hrefs["B02"].replace("_B02", "_SCL")
    names = {"VV": "vv", "VH": "vh", "DEM": "data", "LULC": "map"}
    assets = {}
    for band, address in hrefs.items():
        key = names.get(band, band)
        with rasterio.open(_file(address, blobs)) as source:
            box, shape, transform = source.bounds, source.shape, list(source.transform)[:6]
        old = {name: value for name, value in item["assets"][key].items() if name != "file:size"}
        place = {"proj:bbox": list(box), "proj:shape": list(shape), "proj:transform": transform}
        if "gsd" in old:
            place["gsd"] = transform[0]
        assets[key] = {**old, "href": address, **place}
    epsg = scene.epsg or 4326
    lead = next(iter(assets.values()))["proj:bbox"]
    geometry = made.polygon(epsg, lead) if epsg != 4326 else _box(lead)
    properties = {name: value for name, value in item["properties"].items() if not name.startswith("proj:")}
    return {**item, "geometry": geometry, "assets": assets, "properties": {**properties, "proj:epsg": epsg}}


def _box(box: Sequence[float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [west, north], [east, north], [east, south], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _file(address: str, blobs: Path) -> Path:
    return blobs / "/".join(address.split("/")[3:])
