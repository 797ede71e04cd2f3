"""The twin's tables: building footprints and borough outlines, as a city's open-data portal answers them."""

from __future__ import annotations

from typing import Any, Final

import shapely

from harness.twin.city import City, lonlat
from harness.twin.fields import generator

STATUS: Final = {
    "stands": "Constructed",
    "construction": "Marked for Construction",
    "later": "Constructed",
    "demolished": "Demolition",
}
"""last_status_type by what became of a building."""

FEATURE: Final = {"stands": 2100, "construction": 5100, "later": 2100, "demolished": 2100}
"""feature_code likewise: 2100 a building, 5100 one under construction."""

FEET_PER_M: Final = 1 / 0.3048
"""The table's heights are in feet."""

NAMES: Final = ("West Strand", "Mill Basin", "Middle Ground", "East Docks", "Far Hook")
"""Boroughs from west to east. They are made up."""


def rows(city: City) -> list[dict[str, Any]]:
    """Every row of the footprint table, numbers as text as Socrata sends them.

    Among them are building sites, buildings put up after the pictures and buildings torn down before
    them; one row in twenty has no construction year.
    """
    rng = generator(city.seed, 31)
    out: list[dict[str, Any]] = []
    for number, one in enumerate(city.buildings):
        years, known = int(rng.integers(1900, 2021)), float(rng.random()) >= 0.05
        year = 2026 if one.fate == "later" else years
        edited = "2019-05-14" if one.fate == "demolished" else "2023-02-08"
        row: dict[str, Any] = {
            ":id": f"row-{number:05d}",
            "bin": str(1_000_000 + number),
            "doitt_id": str(500_000 + number),
            "feature_code": str(FEATURE[one.fate]),
            "last_status_type": STATUS[one.fate],
            "last_edited_date": f"{edited}T00:00:00.000",
            "height_roof": f"{one.height_m * FEET_PER_M:.2f}",
            "the_geom": _multi(lonlat(one.outline)),
        }
        if known or one.fate == "later":
            row["construction_year"] = str(year)
        out.append(row)
    return out


def borough_rows(city: City) -> list[dict[str, Any]]:
    """The five boroughs: land and inland water from the northern edge to the ocean."""
    return [
        {":id": f"row-{code}", "borocode": str(code), "boroname": name, "the_geom": _multi(outline)}
        for code, (name, outline) in enumerate(zip(NAMES, city.boroughs, strict=True), 1)
    ]


def _multi(outline: shapely.Polygon) -> dict[str, Any]:
    ring = [[round(float(x), 7), round(float(y), 7)] for x, y in outline.exterior.coords]
    return {"type": "MultiPolygon", "coordinates": [[ring]]}
