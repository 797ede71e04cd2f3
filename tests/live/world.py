"""A few blocks of a made-up Brooklyn behind local services: catalogue, files, footprint table, hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import yaml
from shapely.geometry import mapping

from harness.chips.warp import project
from harness.claims.families import Family
from tests.chips.cogs import GSD, write_cog
from tests.models.conftest import ROOT
from tests.services import made_items as made
from tests.services.files import FileService, running
from tests.services.hub import HubService, commit
from tests.services.socrata import Portal, serving
from tests.services.stac import StacService, served

HERE = (-73.95, 40.68)
"""Centre of the AOI `here`; the AOI `nowhere` lies where no scene does."""

SIDE_M = 3600
"""Side of every scene."""

DAYS = ("2024-05-02", "2024-06-16", "2024-08-10")
"""Sentinel-2 passes; June is under cloud."""

CARD = """\
schema: 1
card: narrow-card
family: narrow
kind: card
title: Card of the narrow family
author: Nobody
date: 2026-11-21
source: {repository: tests}
claims:
""" + "".join(
    f"  - {{id: {adapter}, quantity: {{subject: {adapter}, metric: mIoU, averaging: macro, scheme: {scheme}, "
    'split: test}, value: "0.5000", tolerance: "0.02"}\n'
    for adapter, scheme in (
        ("lulc_nyc", "training-code"),
        ("tim_nyc", "training-code"),
        ("buildings_nyc", "footprints"),
    )
)

AOIS = """\
{"type": "FeatureCollection", "features": [
 {"type": "Feature", "geometry": {"type": "Point", "coordinates": [-73.95, 40.68]}, "properties":
  {"id": "here", "name": "Here", "role": "test", "window": ["2024-04-01", "2024-09-30"],
   "labels": ["worldcover-2021", "nyc-footprints"], "source": "made up"}},
 {"type": "Feature", "geometry": {"type": "Point", "coordinates": [-71.0, 40.0]}, "properties":
  {"id": "nowhere", "name": "Nowhere", "role": "test", "window": ["2024-04-01", "2024-09-30"],
   "labels": ["worldcover-2021"], "source": "made up"}}
]}
"""


@dataclass
class World:
    """A checkout, and the services that it is pointed at."""

    root: Path
    """Checkout with eval/ and aois/."""
    stac: StacService
    """Catalogue."""
    files: FileService
    """Files."""
    portal: Portal
    """Footprints."""
    hub: HubService
    """Weights."""
    address: str
    """Of the catalogue."""
    environment: dict[str, str]
    """Variables that name the other services and the cache."""


def _frame(gsd: int) -> tuple[tuple[float, ...], int]:
    (x,), (y,) = project([HERE[0]], [HERE[1]], 4326, 32618)
    west, north = round((x - SIDE_M / 2) / 60) * 60.0, round((y + SIDE_M / 2) / 60) * 60.0
    return (float(gsd), 0.0, west, 0.0, -float(gsd), north), SIDE_M // gsd


def _optical(folder: Path, base: str, day: str, number: int) -> dict[str, Any]:
    item = made.s2(when=f"{day}T15:39:09.024000Z")
    for band, asset in item["assets"].items():
        gsd = 20 if band == "SCL" else GSD[band]
        transform, size = _frame(gsd)
        rng = np.random.default_rng([number, *band.encode()])
        data = rng.integers(1200, 6000, (size, size)).astype(np.uint16)
        if band == "SCL":
            data = np.full((size, size), 9 if number == 1 else 5, np.uint8)
        write_cog(folder / f"{item['id']}_{band}.tif", data, 32618, transform)
        asset["href"] = f"{base}/{item['id']}_{band}.tif"
    return item


def _radar(folder: Path, base: str, day: str, number: int) -> dict[str, Any]:
    item = made.s1(when=f"{day}T22:51:00.000000Z")
    transform, size = _frame(10)
    for key in ("vv", "vh"):
        power = np.random.default_rng([number, *key.encode()]).gamma(4, 0.03, (size, size)).astype(np.float32)
        write_cog(folder / f"{item['id']}_{key}.tif", power, 32618, transform, nodata=-32768)
        item["assets"][key] = {**item["assets"][key], "href": f"{base}/{item['id']}_{key}.tif"}
        del item["assets"][key]["file:size"]
    return item


def _still(folder: Path, base: str, item: dict[str, Any], key: str, step: float, codes: bool) -> dict[str, Any]:
    west, north = round(HERE[0] - 0.03, 2), round(HERE[1] + 0.03, 2)
    size = round(0.06 / step)
    data: Any = np.full((size, size), 12.5, np.float32)
    if codes:  # water in the south, streets, a park
        data = np.full((size, size), 50, np.uint8)
        data[size * 3 // 5 :] = 80
        data[size // 3 : size // 2, size // 3 : size // 2] = 10
    write_cog(folder / f"{item['id']}.tif", data, 4326, (step, 0.0, west, 0.0, -step, north), 0 if codes else None)
    item["assets"][key]["href"] = f"{base}/{item['id']}.tif"
    return item


def tables() -> dict[str, list[dict[str, Any]]]:
    """Footprints on a grid of blocks, and five boroughs of which one holds them."""
    rows = []
    for number in range(400):
        lon, lat = HERE[0] - 0.012 + 0.0012 * (number % 20), HERE[1] - 0.009 + 0.0009 * (number // 20)
        outline = shapely.MultiPolygon([shapely.box(lon, lat, lon + 0.0006, lat + 0.0005)])
        rows.append(
            {
                "bin": f"{3000000 + number}",
                "doitt_id": str(number),
                "construction_year": "1931",
                "feature_code": "2100",
                "last_status_type": "Constructed",
                "last_edited_date": "2017-08-22T00:00:00.000",
                "the_geom": mapping(outline),
            }
        )
    land = shapely.box(HERE[0] - 0.05, HERE[1] - 0.05, HERE[0] + 0.01, HERE[1] + 0.05)  # the east is not the city's
    boroughs = [
        {
            "borocode": str(code),
            "boroname": f"Borough {code}",
            "the_geom": mapping(shapely.MultiPolygon([land if code == 3 else shapely.box(-74.2, 40.5, -74.1, 40.6)])),
        }
        for code in range(1, 6)
    ]
    return {"5zhs-2jue": rows, "gthc-hcne": boroughs}


def checkout(root: Path, narrow: Family, weights: Path) -> Path:
    """eval/ and aois/ of the narrow family, its files pinned by hash."""
    for name in ("recipes", "schemes", "labels"):
        (root / "eval" / name).mkdir(parents=True)
        for path in (ROOT / "eval" / name).glob("*.yaml"):
            (root / "eval" / name / path.name).write_bytes(path.read_bytes())
    data = narrow.model_dump(exclude_none=True, exclude_defaults=True)
    for adapter in data["adapters"]:
        adapter["schemes" if adapter["classes"] == 5 else "scored_under"] = [
            "training-code" if adapter["classes"] == 5 else "footprints"
        ]
    source = {"repository": "tests", "path": "live/world.py"}
    sha256 = hashlib.sha256((weights / "base.pt").read_bytes()).hexdigest()
    data["pins"] = [
        {"repository": "someone/adapters", "revision": commit("adapters"), "source": source},
        {
            "repository": "institute/base",
            "revision": commit("base"),
            "file": "base.pt",
            "sha256": sha256,
            "source": source,
        },
    ]
    for name, text in (("claims/narrow-card", CARD), ("families/narrow", yaml.safe_dump(data, sort_keys=False))):
        path = root / "eval" / f"{name}.yaml"
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    (root / "aois").mkdir()
    (root / "aois" / "made-up.geojson").write_text(AOIS, encoding="utf-8")
    return root


def hub_of(weights: Path) -> HubService:
    """The narrow family's files as two repositories hold them; their configs do not say that they are random."""
    hub = HubService()
    files = {
        path.relative_to(weights).as_posix(): path.read_bytes()
        for path in weights.rglob("*")
        if path.is_file() and path.parent != weights
    }
    for name in (name for name in files if name.endswith("adapter_config.json")):
        files[name] = json.dumps({**json.loads(files[name]), "base_model_name_or_path": "institute/base"}).encode()
    hub.put("someone/adapters", "adapters", files)
    hub.put("institute/base", "base", {"base.pt": (weights / "base.pt").read_bytes()})
    return hub


@contextmanager
def world(root: Path, narrow: Family, weights: Path) -> Iterator[World]:
    """The services, for as long as somebody needs them."""
    checkout(root, narrow, weights)
    folder = root / "served"
    folder.mkdir()
    files, hub, portal = FileService(folder), hub_of(weights), Portal(tables())
    with ExitStack() as stack:
        stack.enter_context(running(files))
        items = [_optical(folder, files.base, day, i) for i, day in enumerate(DAYS)]
        items += [_radar(folder, files.base, day, i) for i, day in enumerate(("2024-05-04", "2024-08-08"))]
        items.append(_still(folder, files.base, made.dem(40, -74), "data", 1 / 3600, codes=False))
        items.append(_still(folder, files.base, made.worldcover("N39W075"), "map", 1 / 12000, codes=True))
        stac = StacService(items)
        address = stack.enter_context(served(stac.app()))
        environment = {
            "HARNESS_SOCRATA": stack.enter_context(serving(portal.app())),
            "HF_ENDPOINT": stack.enter_context(serving(hub.app())),
            "HF_HOME": str(root / "hf"),
            "HARNESS_CACHE": str(root / "cache"),
        }
        yield World(root, stac, files, portal, hub, address, environment)
