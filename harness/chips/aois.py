"""AOIs under aois/*.geojson: where, when, which labels, which role."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from harness.chips.select import day
from harness.errors import RegistryError
from harness.records import Strict

Role = Literal["tune", "test", "probe"]
"""tune: thresholds are chosen here. test: reported here. probe: a sniff test with bounds of its own."""

LABELS = ("nyc-footprints", "worldcover-2021")
"""Label sources that an AOI may name."""


class Aoi(Strict):
    """One place."""

    id: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")
    """Name in files and records."""
    name: str = Field(min_length=1)
    """For people."""
    role: Role
    """What it is used for."""
    centre: tuple[float, float]
    """Longitude, latitude: a chip's centre."""
    window: tuple[date, date]
    """First and last day from which dates are taken."""
    labels: tuple[Literal["nyc-footprints", "worldcover-2021"], ...]
    """Label sources, what is laid on top last."""
    source: str
    """Where the place comes from."""
    split: str | None = None
    """Name of the set of chips that claims use for it, e.g. `six-aois`; None where no claim is about it."""
    whole_split: bool = False
    """Whether the file's AOIs of that split are all of it, scene by scene: a figure of them has no sampling error."""

    @model_validator(mode="after")
    def _sound(self) -> Aoi:
        lon, lat = self.centre
        if not (-180 <= lon <= 180 and -80 <= lat <= 84):
            raise ValueError(f"centre: {lon}, {lat} is no longitude and latitude that UTM covers")
        if self.window[0] > self.window[1]:
            raise ValueError(f"window: {self.window[0]} lies after {self.window[1]}")
        if self.whole_split and self.split is None:
            raise ValueError("whole_split: of which split? name it")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: one stands twice")
        return self

    @property
    def start(self) -> datetime:
        """First moment of the window, UTC."""
        return day(self.window[0].isoformat())

    @property
    def end(self) -> datetime:
        """Last moment of the window, UTC."""
        return day(self.window[1].isoformat(), end=True)


def read_aois(path: Path) -> list[Aoi]:
    """Read one GeoJSON file.

    Args:
        path: A FeatureCollection of points; properties as the fields of `Aoi`, without `centre`.

    Returns:
        AOIs in the file's order.

    Raises:
        RegistryError: Unreadable, no such collection, a field that is wrong, or an id that stands twice.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise RegistryError(f"{path}: cannot be read ({err.strerror})") from err
    except ValueError as err:
        raise RegistryError(f"{path}: no JSON: {err}") from err
    features = raw.get("features") if isinstance(raw, dict) and raw.get("type") == "FeatureCollection" else None
    if not isinstance(features, list) or not features:
        raise RegistryError(f"{path}: a FeatureCollection with at least one point was expected")
    aois = [_aoi(feature, f"{path}: features[{number}]") for number, feature in enumerate(features)]
    seen: set[str] = set()
    for aoi in aois:
        if aoi.id in seen:
            raise RegistryError(f"{path}: id {aoi.id!r} stands twice")
        seen.add(aoi.id)
    return aois


def _aoi(feature: Any, where: str) -> Aoi:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") != "Point" or not isinstance(properties, dict):
        raise RegistryError(f"{where}: a Point with properties was expected")
    try:
        return Aoi.model_validate({**properties, "centre": geometry.get("coordinates")})
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "properties"
        message = first["msg"].removeprefix("Value error, ")
        raise RegistryError(f"{where} ({properties.get('id', '?')}): {field}: {message}") from err
