"""AOI files: the committed ones against the claims, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.chips.aois import read_aois
from harness.claims.registry import read_card
from harness.errors import RegistryError


def places(root: Path, table: str) -> dict[str, tuple[float, float]]:
    """Longitude and latitude by place, as the published rerun's table states them."""
    found: dict[str, dict[str, float]] = {}
    for claim in read_card(root / "eval/claims/terramind-nyc-rerun.yaml").claims:
        group, _, place = claim.id.partition("/")[2].rpartition(".")[0].partition(".")
        if group == table and claim.quantity.metric in ("longitude", "latitude"):
            found.setdefault(place, {})[claim.quantity.metric] = float(claim.value)
    return {place: (at["longitude"], at["latitude"]) for place, at in found.items()}


def test_the_six_tiles_are_those_of_the_published_rerun(root: Path) -> None:
    aois = read_aois(root / "aois/nyc-eval.geojson")
    assert {a.id: a.centre for a in aois} == places(root, "tile")
    assert [a.role for a in aois] == ["tune", "test"] * 3
    assert {a.labels for a in aois} == {("worldcover-2021", "nyc-footprints")}


def test_the_probes_are_those_of_the_published_rerun(root: Path) -> None:
    aois = read_aois(root / "aois/nyc-probes.geojson")
    assert {a.id: a.centre for a in aois} == places(root, "probe-buildings")
    assert {a.role for a in aois} == {"probe"}


def test_a_window_ends_with_its_last_day(root: Path) -> None:
    aoi = read_aois(root / "aois/nyc-eval.geojson")[0]
    assert aoi.start.isoformat() == "2024-04-01T00:00:00+00:00"
    assert aoi.end.isoformat() == "2024-09-30T23:59:59.999999+00:00"


def feature(**more: Any) -> dict[str, Any]:
    properties = {
        "id": "here",
        "name": "Here",
        "role": "test",
        "window": ["2024-04-01", "2024-09-30"],
        "labels": [],
        "source": "made up",
        **more,
    }
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": [-74, 40.7]}, "properties": properties}


def written(folder: Path, *features: Any) -> Path:
    path = folder / "x.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def test_a_sound_file(tmp_path: Path) -> None:
    assert read_aois(written(tmp_path, feature()))[0].centre == (-74, 40.7)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ([feature(role="train")], r"features\[0\] \(here\): role: Input should be 'tune', 'test' or 'probe'"),
        ([feature(window=["2024-09-30", "2024-04-01"])], "window: 2024-09-30 lies after 2024-04-01"),
        ([feature(labels=["osm"])], r"labels\.0"),
        ([feature(colour="red")], "colour: Extra inputs are not permitted"),
        ([feature(), feature()], "id 'here' stands twice"),
        ([{**feature(), "geometry": {"type": "Point", "coordinates": [-74]}}], "centre"),
        ([{**feature(), "geometry": {"type": "Point", "coordinates": [40.7, -94]}}], "no longitude and latitude"),
        ([{**feature(), "geometry": None}], "a Point with properties was expected"),
        ([7], "a Point with properties was expected"),
        ([], "at least one point"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, spoilt: list[Any], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        read_aois(written(tmp_path, *spoilt))


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        read_aois(tmp_path / "none.geojson")
    (tmp_path / "x.geojson").write_text("{")
    with pytest.raises(RegistryError, match="no JSON"):
        read_aois(tmp_path / "x.geojson")
