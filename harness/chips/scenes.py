"""What an AOI resolved to: scenes, their assets, and the search that found them. Records only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records import Strict


class AssetRef(Strict):
    """One raster of a scene, as a lock keeps it."""

    href: str
    """Unsigned address: no query string with a token ever stands here."""
    bands: list[str]
    """Bands of ours in it, in file order: B02, VV, DEM, ..."""
    gsd_m: float
    """Pixel size in metres."""
    unit: str
    """`DN`, `linear power`, `m`, `class code`."""
    nodata: float | None
    """Value that means nodata, ours where the item declares none (Sentinel-2 items do not: 0)."""
    etag: str | None = None
    """As the store answered, if asked."""
    size_bytes: int | None = None
    """As the store answered, if asked."""


class Scene(Strict):
    """One STAC item that takes part."""

    collection: str
    """STAC collection."""
    item: str
    """STAC item id."""
    datetime: str
    """Acquisition, ISO 8601 in UTC."""
    platform: str | None = None
    """Satellite."""
    baseline: str | None = None
    """Sentinel-2 processing baseline, e.g. `05.10`; decides about the +1000 DN."""
    s2_offset_dn: Literal[0, 1000] | None = None
    """Sentinel-2: DN that the pixels carry on top. Follows from the baseline, or from the catalogue where it
    took the offset out itself (Earth Search); None where nobody says."""
    orbit_state: str | None = None
    """Sentinel-1: ascending or descending."""
    relative_orbit: int | None = None
    """Relative orbit."""
    tile: str | None = None
    """MGRS tile or DEM cell."""
    epsg: int | None = None
    """Of the assets."""
    updated: str | None = None
    """When the catalogue last changed the item, if it says."""
    cloud_percent: float | None = None
    """Of the whole scene, as the item states it."""
    assets: dict[str, AssetRef]
    """By asset key."""


class Timestep(Strict):
    """Scenes that together make one date of one modality: a mosaic where an AOI crosses tiles."""

    modality: str
    """S2L2A, S1RTC, DEM, LULC."""
    index: int
    """Place along T; 0 for what does not change."""
    scenes: list[Scene]
    """In the order in which they are laid: the first that has a valid pixel gives it."""
    why: str
    """Every choice that led here, in words: window, cloud on the chip, orbit, nearest in time."""


class Search(Strict):
    """One question to a catalogue."""

    catalogue: str
    """Address of the API."""
    collection: str
    """STAC collection."""
    datetime: str
    """Range asked for."""
    bbox: list[float]
    """West, south, east, north in degrees."""
    query: dict[str, object] = Field(default_factory=dict)
    """Filter as sent."""
    found: int
    """Items that came back, before anything was dropped."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Items dropped on the way from the answer to the choice, counted by reason; from `no pixel on the chip` on,
    whole acquisitions, and `not chosen` among them."""


class LabelPin(Strict):
    """Rows of a label table as they were when the lock was made. The table is live: it changes."""

    source: str
    """Label source, e.g. `nyc-footprints`."""
    dataset: str
    """Id of the table."""
    box: list[float]
    """West, south, east, north asked for, in degrees."""
    sha256: str
    """Of dataset, box and rows; the start of it names the snapshot's file."""
    rows: int
    """How many."""
    fetched: str
    """UTC, ISO 8601."""


class AoiLock(Strict):
    """aois/locks/<set>.lock.json holds one of these an AOI."""

    aoi: str
    """AOI id."""
    recipe: str
    """Recipe whose knobs chose the dates."""
    centre: tuple[float, float]
    """Longitude, latitude."""
    epsg: int
    """Grid of the chip."""
    timesteps: list[Timestep]
    """All modalities."""
    searches: list[Search]
    """Questions that led here."""
    role: Literal["tune", "test", "probe"] | None = None
    """What the AOI is used for: see harness.chips.aois."""
    split: str | None = None
    """Set of chips that claims name it by."""
    split_size: int | None = None
    """AOIs that the split has, where the AOI file says that it holds all of it; None where it may be a part."""
    labels: list[LabelPin] = Field(default_factory=list)
    """Label tables asked; maps with scenes of their own (WorldCover) stand among the timesteps."""
    window: tuple[str, str] | None = None
    """First and last day from which dates were taken, ISO 8601; None in locks made before this was kept."""
    label_sources: list[str] | None = None
    """Label sources that the AOI named, what is laid on top last; None in locks made before this was kept."""
    recipe_sha256: str | None = None
    """Of the recipe's knobs that decide about scenes; None in locks made before this was kept."""


class Lock(Strict):
    """One lock file."""

    schema_version: Literal[1] = 1
    """Version of this shape."""
    created: str
    """UTC, ISO 8601."""
    aois: list[AoiLock]
    """By id."""
