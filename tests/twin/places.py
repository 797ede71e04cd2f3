"""The twin's AOI files, from the city that they lie in.

python -m tests.twin.places
"""

from __future__ import annotations

import json

from harness.twin.city import City, Role, make_city, scenes
from tests.twin.card import DATA, SEED

SPLITS: dict[Role, dict[str, object]] = {
    "train": {},
    "card": {"split": "test", "whole_split": True},
    "eval": {"split": "city"},
}
"""What claims call a role's scenes."""


def text(city: City, role: Role) -> str:
    """A GeoJSON file, one scene a line."""
    lines = []
    for aoi in scenes(city, role):
        held = aoi.model_dump(mode="json", exclude={"centre", "split", "whole_split"})
        point = {"type": "Point", "coordinates": list(aoi.centre)}
        lines.append(json.dumps({"type": "Feature", "geometry": point, "properties": {**held, **SPLITS[role]}}))
    return '{"type": "FeatureCollection", "features": [\n' + ",\n".join(lines) + "\n]}\n"


def main() -> None:
    """Write the files."""
    city = make_city(SEED)
    for role in SPLITS:
        path = DATA / "aois" / f"{role}.geojson"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(city, role), encoding="utf-8")


if __name__ == "__main__":
    main()
