"""NYC building footprints and borough outlines: asked for with a margin, types checked, dates held against a chip's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import shapely
from shapely.geometry import box as rectangle
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS, Snapshot, Socrata
from harness.errors import SourceError

FEATURES = {
    1000: "parking",
    1001: "gas station canopy",
    1002: "storage tank",
    1003: "placeholder triangle of a permitted building",
    1004: "auxiliary structure",
    1005: "temporary structure",
    1006: "cantilevered building",
    2100: "building",
    2110: "skybridge",
    5100: "building under construction",
    5110: "garage",
}
"""Feature codes (CityOfNewYork/nyc-geo-metadata, Metadata_BuildingFootprints.md, at 04a979f)."""

STATUSES = frozenset(
    {
        "alteration",
        "constructed",
        "correction",
        "demolition",
        "geometry",
        "initialization",
        "marked for construction",
        "marked for demolition",
    }
)
"""Values of last_status_type in lower case (same document)."""

PAD_DEG = 0.01
"""Margin of the box asked for: about 1.1 km north and 0.84 km east at 40.7 N. What the service's box filter does
with a polygon on the edge is not documented; a margin longer than a building makes it no matter. That no footprint
is longer is our inference."""

COLUMNS = ("bin", "doitt_id", "construction_year", "feature_code", "last_status_type", "last_edited_date", "the_geom")
"""Asked for by name, so that a renamed column is an error of the service and not a silent gap."""

REASONS = (
    "kept",
    "unknown_year",
    "same_year",
    "demolition_later_or_undated",
    "built_later",
    "demolished",
    "feature_code",
)
"""What rows are counted by, see `Standing`."""

FIRST_YEAR = 1600
"""No standing building of the city is older."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """One row of the table, types checked."""

    row: str
    """The service's own row id."""
    feature_code: int
    """A key of `FEATURES`."""
    year: int | None
    """Year in which construction was completed; None where the table has none or zero."""
    status: str | None
    """Last status in lower case, see `STATUSES`."""
    edited: date | None
    """Day of the last edit."""
    geometry: BaseGeometry
    """Outline in longitude and latitude."""


@dataclass(frozen=True)
class Standing:
    """Footprints that stood at a date, as far as the columns say, and how the others were told apart."""

    on: date
    """The date."""
    kept: tuple[Footprint, ...]
    """In the table's order."""
    counts: Mapping[str, int]
    """Rows by reason: `kept`, of which `unknown_year`, `same_year`, `demolition_later_or_undated`; and dropped:
    `built_later`, `demolished`, `feature_code`."""


def padded(box: tuple[float, float, float, float], pad_deg: float = PAD_DEG) -> tuple[float, float, float, float]:
    """West, south, east, north with a margin on each side, to six decimals."""
    west, south, east, north = box
    return (
        round(west - pad_deg, 6),
        round(south - pad_deg, 6),
        round(east + pad_deg, 6),
        round(north + pad_deg, 6),
    )


def fetch_footprints(
    box: tuple[float, float, float, float], city: BaseGeometry, client: Socrata | None = None
) -> Snapshot:
    """Ask for the footprints around a box.

    Args:
        box: West, south, east, north of the chip in degrees; a margin is added here.
        city: The boroughs' outline, see `outline`.
        client: Where to ask.

    Returns:
        Rows of the padded box. None where the chip lies wholly outside the city.

    Raises:
        SourceError: As `Socrata.read`; or no row at all although the chip touches the city's land.
    """
    asked = padded(box)
    got = (client or Socrata()).read(FOOTPRINTS, COLUMNS, asked)
    if not got.rows and city.intersects(rectangle(*box)):
        raise SourceError(
            f"{got.address}/resource/{FOOTPRINTS}: no footprint within {asked}, which holds land of the city; an empty "
            "answer is no label. Check the box (longitude first) and ask again"
        )
    return got


def fetch_boroughs(client: Socrata | None = None) -> Snapshot:
    """Ask for the five boroughs.

    Raises:
        SourceError: As `Socrata.read`, or not five boroughs.
    """
    got = (client or Socrata()).read(BOROUGHS, ("borocode", "boroname", "the_geom"))
    codes = sorted(str(row.get("borocode")) for row in got.rows)
    if codes != ["1", "2", "3", "4", "5"]:
        raise SourceError(f"{got.address}/resource/{BOROUGHS}: borough codes {codes}; 1 to 5, each once, were expected")
    return got


def outline(boroughs: Snapshot) -> BaseGeometry:
    """The city's land in longitude and latitude: the boroughs together, holes and islands kept.

    Raises:
        SourceError: A borough without an outline.
    """
    parts = [_geometry(row, boroughs.dataset) for row in boroughs.rows]
    return shapely.union_all([shapely.make_valid(part) for part in parts])


def footprints(snapshot: Snapshot) -> tuple[Footprint, ...]:
    """Rows with their types asserted.

    Raises:
        SourceError: A value that is not what the city's description of the table says, with row and column.
    """
    return tuple(_footprint(row, snapshot.dataset) for row in snapshot.rows)


def _footprint(row: Mapping[str, Any], dataset: str) -> Footprint:
    def wrong(column: str, expected: str) -> SourceError:
        return SourceError(f"{dataset} row {row.get(':id')}: {column} is {row.get(column)!r}; {expected} was expected")

    code = _whole(row.get("feature_code"))
    if code not in FEATURES:
        raise wrong("feature_code", f"one of {', '.join(map(str, FEATURES))}")
    year: int | None = None
    if row.get("construction_year") not in (None, ""):
        year = _whole(row["construction_year"])
        if year is None or not (year == 0 or FIRST_YEAR <= year <= datetime.now(UTC).year + 10):
            raise wrong("construction_year", "a year, zero or nothing")
    status = row.get("last_status_type") or None
    if status is not None and (not isinstance(status, str) or status.strip().lower() not in STATUSES):
        raise wrong("last_status_type", f"one of {', '.join(sorted(STATUSES))}")
    edited: date | None = None
    if row.get("last_edited_date"):
        try:
            edited = datetime.fromisoformat(str(row["last_edited_date"])).date()
        except ValueError as err:
            raise wrong("last_edited_date", "an ISO 8601 time") from err
    return Footprint(
        str(row.get(":id")),
        code,
        year or None,
        status.strip().lower() if status else None,
        edited,
        _geometry(row, dataset),
    )


def _whole(value: object) -> int | None:
    """Socrata sends numbers as strings, at times with a decimal part of zero."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _geometry(row: Mapping[str, Any], dataset: str) -> BaseGeometry:
    held = row.get("the_geom")
    if not isinstance(held, dict) or held.get("type") not in ("Polygon", "MultiPolygon"):
        raise SourceError(f"{dataset} row {row.get(':id')}: the_geom is no polygon: {str(held)[:80]}")
    try:
        geometry = shape(held)
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError) as err:
        raise SourceError(f"{dataset} row {row.get(':id')}: the_geom cannot be read ({err})") from err
    west, south, east, north = geometry.bounds if not geometry.is_empty else (0.0, 0.0, 0.0, 0.0)
    if not (-75 < west <= east < -73 and 40 < south <= north < 42):
        raise SourceError(f"{dataset} row {row.get(':id')}: the_geom lies at {geometry.bounds}, not in New York")
    return geometry


def standing(rows: Iterable[Footprint], on: date, leave_out: Iterable[int] = ()) -> Standing:
    """Footprints that stood at a date.

    The table is live: a building that was torn down and taken out of it since is not found here, and one
    that was put up within the date's own year counts as standing. What the columns leave open is kept and
    counted.

    Args:
        rows: Footprints.
        on: Date of the chip.
        leave_out: Feature codes that are not to count as buildings.
    """
    out = set(leave_out)
    kept: list[Footprint] = []
    counts = dict.fromkeys(
        (
            "kept",
            "unknown_year",
            "same_year",
            "demolition_later_or_undated",
            "built_later",
            "demolished",
            "feature_code",
        ),
        0,
    )
    for row in rows:
        torn_down = row.status == "demolition"
        if row.feature_code in out:
            counts["feature_code"] += 1
        elif row.year is not None and row.year > on.year:
            counts["built_later"] += 1
        elif torn_down and row.edited is not None and row.edited <= on:
            counts["demolished"] += 1
        else:
            kept.append(row)
            counts["kept"] += 1
            counts["unknown_year"] += row.year is None
            counts["same_year"] += row.year == on.year
            counts["demolition_later_or_undated"] += torn_down
    return Standing(on, tuple(kept), counts)
