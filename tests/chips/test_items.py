"""Items of both catalogues become candidates, or say why not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chips.items import (
    EARTH_SEARCH,
    PLANETARY_COMPUTER,
    Candidate,
    Unusable,
    candidate,
    candidates,
    offset_dn,
    redacted,
    unsigned,
)
from tests.services import made_items as made

TOKEN = "st=2024-01-01T00%3A00%3A00Z&se=2024-01-02&sp=rl&sv=2021-06-08&sr=c&sig=abc%2Bdef%3D"  # noqa: S105


def read(item: dict[str, Any], modality: str = "S2L2A", profile: Any = PLANETARY_COMPUTER) -> Candidate:
    out = candidate(item, modality, profile)
    assert isinstance(out, Candidate), out
    return out


@pytest.mark.parametrize("code", [False, True])
def test_a_sentinel2_item_maps_to_bands_units_nodata_baseline(code: bool) -> None:
    item = made.s2(code=code)
    assert "nodata" not in str(item)
    one = read(item)
    scene = one.scene
    assert scene.epsg == 32618
    assert (scene.tile, scene.baseline, scene.relative_orbit) == ("18TWL", "05.10", 11)
    assert list(one.box) == [499_980, 4_490_220, 609_780, 4_600_020]
    assert scene.s2_offset_dn == 1000
    assert [a.bands for a in scene.assets.values()] == [[b] for b in made.S2_KEYS]
    assert {a.nodata for a in scene.assets.values()} == {0}
    assert {key: a.gsd_m for key, a in scene.assets.items()}["B09"] == 60
    assert scene.assets["SCL"].unit == "class code"
    assert {a.unit for key, a in scene.assets.items() if key != "SCL"} == {"DN"}
    assert scene.datetime == "2024-06-16T15:39:09.024000Z"


def test_projection_at_the_assets_is_understood() -> None:
    item = made.s2()
    del item["properties"]["proj:epsg"]
    for asset in item["assets"].values():
        asset["proj:code"] = "EPSG:32618"
    assert read(item).scene.epsg == 32618


def test_a_null_epsg_beside_a_code_is_no_epsg() -> None:
    item = made.s2(code=True)
    item["properties"]["proj:epsg"] = None
    assert read(item).scene.epsg == 32618


def test_sentinel1_dem_and_worldcover() -> None:
    radar = read(made.s1(), "S1RTC").scene
    assert {a.bands[0]: (a.unit, a.nodata, a.gsd_m) for a in radar.assets.values()} == {
        "VV": ("linear power", -32768, 10),
        "VH": ("linear power", -32768, 10),
    }
    assert (radar.orbit_state, radar.relative_orbit, radar.baseline) == ("ascending", 33, None)
    assert radar.assets["vv"].size_bytes == 840_000_000
    dem = read(made.dem(), "DEM")
    assert (dem.scene.tile, dem.scene.epsg, dem.scene.assets["data"].nodata) == ("N40W074", 4326, None)
    assert dem.box == pytest.approx((-74.0001389, 40.0001389, -73.0001389, 41.0001389))
    cover = read(made.worldcover(), "LULC")
    assert cover.scene.datetime.startswith("2021-01-01T00:00:00")
    assert cover.box == pytest.approx((-75, 39, -72, 42))
    assert (cover.scene.tile, cover.scene.assets["map"].nodata) == ("N39W075", 0)


@pytest.mark.parametrize(
    ("baseline", "applied", "offset"),
    [
        ("05.10", True, 0),
        ("05.10", False, 1000),
        ("05.10", None, 1000),
        ("02.14", False, 0),
        ("03.01", None, 0),
        ("04.00", None, 1000),
        ("?", None, None),
    ],
)
def test_the_offset_of_both_catalogues(baseline: str, applied: bool | None, offset: int | None) -> None:
    one = read(made.earth_search(baseline=baseline, applied=applied), profile=EARTH_SEARCH)
    assert one.scene.s2_offset_dn == offset
    assert (one.scene.tile, one.scene.relative_orbit) == ("18TWL", 11)
    assert one.scene.assets["swir22"].bands == ["B12"]
    assert one.scene.assets["scl"].gsd_m == 20
    assert one.box == (499_980, 4_490_220, 609_780, 4_600_020)


def test_an_old_scene_reprocessed_carries_the_offset() -> None:
    assert offset_dn({"datetime": "2018-05-01T00:00:00Z", "s2:processing_baseline": "05.00"}) == 1000


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda i: i["assets"].pop("B05"), "asset missing"),
        (lambda i: i["assets"]["B05"].update(href=""), "asset missing"),
        (lambda i: i["properties"].pop("proj:epsg"), "no projection"),
        (lambda i: [a.pop("proj:bbox") and a.pop("proj:shape") for a in i["assets"].values()], "no projection"),
        (lambda i: i["properties"].update(datetime=None), "no date"),
        (lambda i: i.update(geometry=None), "no footprint"),
        (lambda i: i["properties"].update({"proj:epsg": 3857}), "no projection"),
        (lambda i: i["assets"]["B02"].update({"proj:bbox": [2.0, 1.0, 1.0, 2.0]}), "no projection"),
        (lambda i: i["geometry"].update(coordinates=[[[0, 0], ["x", 1]]]), "no footprint"),
        (lambda i: i["geometry"].update(coordinates=[]), "no footprint"),
        (lambda i: i["assets"]["B05"].update({"raster:bands": [{"nodata": -9999}]}), "wrong nodata"),
        (lambda i: i.update(properties=None), "no item"),
    ],
)
def test_a_bad_item_is_named_with_its_reason(spoil: Any, reason: str) -> None:
    item = made.s2()
    spoil(item)
    good, bad = candidates([made.s2(tile="18TWK"), item], "S2L2A", PLANETARY_COMPUTER)
    assert [c.scene.tile for c in good] == ["18TWK"]
    assert [(b.item, b.reason) for b in bad] == [(item["id"], reason)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["properties", "geometry", "assets", "id", "collection"]), JSON)
def test_whatever_a_field_holds_nothing_is_raised(field: str, value: Any) -> None:
    item = made.s2()
    item[field] = value
    assert isinstance(candidate(item, "S2L2A", PLANETARY_COMPUTER), Candidate | Unusable)


@given(st.sampled_from(["datetime", "proj:epsg", "s2:mgrs_tile", "s2:generation_time", "sat:relative_orbit"]), JSON)
def test_whatever_a_property_holds_nothing_is_raised(field: str, value: Any) -> None:
    item = made.s2()
    item["properties"][field] = value
    assert isinstance(candidate(item, "S2L2A", PLANETARY_COMPUTER), Candidate | Unusable)


@given(st.sampled_from(["href", "proj:bbox", "proj:shape", "proj:transform", "gsd", "raster:bands"]), JSON)
def test_whatever_an_asset_holds_nothing_is_raised(field: str, value: Any) -> None:
    item = made.s2()
    for asset in item["assets"].values():
        asset[field] = value
    assert isinstance(candidate(item, "S2L2A", PLANETARY_COMPUTER), Candidate | Unusable)


def test_an_item_that_comes_signed_is_kept_unsigned() -> None:
    item = made.s2()
    for asset in item["assets"].values():
        asset["href"] += f"?{TOKEN}"
    assert "?" not in "".join(a.href for a in read(item).scene.assets.values())


def test_other_queries_stay() -> None:
    assert unsigned("https://h/x.tif?version=2&series=3") == "https://h/x.tif?version=2&series=3"
    assert unsigned(f"https://h/x.tif?{TOKEN}") == "https://h/x.tif"


@pytest.mark.parametrize(
    "text",
    [
        f"'/vsicurl/https://a.blob.core.windows.net/c/x.tif?{TOKEN}' does not exist",
        f'GET /c/x.tif?{TOKEN} HTTP/1.1" 403',
        f"url=https%3A%2F%2Fa%2Fx.tif%3F{TOKEN.replace('&', '%26').replace('=', '%3D')}",
        f"{{'token': '{TOKEN}'}}",
    ],
)
def test_no_part_of_a_token_survives_in_a_text(text: str) -> None:
    clean = redacted(text)
    assert "abc" not in clean
    for name in ("sig=", "se=", "st=", "sig%3D", "2021-06-08"):
        assert name not in clean


def test_redaction_leaves_other_words() -> None:
    text = "https://h/search?collections=a&datetime=2024 answered 503 (series=4, first=3)"
    assert redacted(text) == text
    assert redacted("proxy http://me:secret@proxy:8080 refused") == "proxy http://***@proxy:8080 refused"
