"""Folders of GeoTIFFs: what is read, what is refused and what the refusal says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from harness.chips.chip import Chip, Grid
from harness.chips.sources.files import read_chips
from harness.claims.schemes import read_schemes
from harness.errors import ChipError, UnitError
from tests.chips.made import S2_BANDS, write_folder, write_tif


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "chips", size_px=32)


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with rasterio.open(path) as source:
        found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = source.read()
    return found


def by_id(chips: list[Chip]) -> dict[str, Chip]:
    return {chip.id: chip for chip in chips}


def test_a_folder_becomes_chips_by_id(folder: Path) -> None:
    chips = read_chips(folder)
    assert [chip.id for chip in chips] == ["here", "there"]
    here = chips[0]
    assert here.grid == Grid(32618, (10, 0, 580_000, 0, -10, 4_510_000), 32, 32)
    assert here.grid.gsd_m == 10
    assert {m: (layer.unit, layer.data.shape) for m, layer in here.layers.items()} == {
        "S2L2A": ("DN", (1, 12, 32, 32)),
        "S1RTC": ("dB", (1, 2, 32, 32)),
        "DEM": ("m", (1, 1, 32, 32)),
        "LULC": ("class code", (1, 1, 32, 32)),
    }
    assert here.layers["S2L2A"].dates == ("2024-04-15",)
    assert here.layers["DEM"].dates == (None,)
    assert here.label is None
    assert all(layer.valid_fraction == 1 and not layer.declared for layer in here.layers.values())
    assert np.array_equal(here.layers["S2L2A"].data[0], pixels(folder / "S2L2A" / "here.tif"))


def test_several_dates_stand_in_numbered_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ids=["one"], size_px=16, timesteps=4)
    (chip,) = read_chips(folder)
    assert chip.layers["S2L2A"].dates == ("2024-04-15", "2024-05-15", "2024-06-15", "2024-07-15")
    assert chip.layers["S1RTC"].timesteps == 4
    assert chip.layers["DEM"].timesteps == 1
    assert np.array_equal(chip.layers["S2L2A"].data[2], pixels(folder / "S2L2A" / "one_t2.tif"))
    (folder / "S2L2A" / "one_t1.tif").unlink()
    with pytest.raises(ChipError, match="dates t0, t2, t3; number them from t0 on"):
        read_chips(folder)


def test_one_file_beside_numbered_ones_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ids=["one"], size_px=16, timesteps=2)
    (folder / "S1RTC" / "one.tif").write_bytes((folder / "S1RTC" / "one_t0.tif").read_bytes())
    with pytest.raises(ChipError, match=r"stands beside one_t0\.tif"):
        read_chips(folder)


def test_the_same_pixels_give_the_same_hash_and_one_other_pixel_another(tmp_path: Path) -> None:
    chips = [read_chips(write_folder(tmp_path / name, ids=["one"], size_px=16))[0] for name in ("a", "b")]
    assert chips[0].sha256 == chips[1].sha256
    other = read_chips(write_folder(tmp_path / "c", ids=["one"], size_px=16, seed=1))[0]
    assert other.sha256 != chips[0].sha256
    path = tmp_path / "b" / "S2L2A" / "one.tif"
    data = pixels(path)
    data[3, 5, 5] += 1
    write_tif(path, data, S2_BANDS)
    (moved,) = read_chips(tmp_path / "b")
    assert moved.layers["S1RTC"].sha256 == chips[0].layers["S1RTC"].sha256
    assert moved.layers["S2L2A"].sha256 != chips[0].layers["S2L2A"].sha256
    assert moved.sha256 != chips[0].sha256


def test_data_types_and_rounded_transforms_do_not_change_the_hash(folder: Path) -> None:
    before = by_id(read_chips(folder))["here"]
    for modality, bands in (("S2L2A", S2_BANDS), ("DEM", ("DEM",))):
        path = folder / modality / "here.tif"
        write_tif(path, pixels(path).astype(np.float64), bands, shift_m=2e-9)
    assert by_id(read_chips(folder))["here"].sha256 == before.sha256


def test_pixels_of_a_chip_cannot_be_written(folder: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        read_chips(folder)[0].layers["DEM"].data[0] = 0


def test_nodata_becomes_nan_and_nothing_is_filled(folder: Path) -> None:
    optical, radar, dem = (folder / m / "here.tif" for m in ("S2L2A", "S1RTC", "DEM"))
    dn = pixels(optical)
    dn[:, 0, :4] = 0
    dn[0, 1, 0] = 7
    write_tif(optical, dn, S2_BANDS, nodata=7)
    db = pixels(radar)
    db[:, 0, 0] = -32768
    db[:, 0, 1] = np.nan
    write_tif(radar, db, ("VV", "VH"))
    metres = pixels(dem)
    metres[0, 0, 0] = -32767
    write_tif(dem, metres)
    layers = by_id(read_chips(folder))["here"].layers
    assert np.isnan(layers["S2L2A"].data[0, :, 0, :4]).all()
    assert np.isnan(layers["S2L2A"].data[0, 0, 1, 0])
    assert np.isnan(layers["S1RTC"].data[0, :, 0, :2]).all()
    assert np.isnan(layers["DEM"].data[0, 0, 0, 0])
    assert layers["S1RTC"].unit == "dB"
    assert layers["S2L2A"].valid_fraction == pytest.approx(1 - 49 / (12 * 32 * 32))


def test_power_of_zero_is_nodata_and_zero_decibels_are_not(tmp_path: Path) -> None:
    for unit, gap in (("linear power", True), ("dB", False)):
        folder = write_folder(tmp_path / unit, ids=["one"], size_px=32, s1_unit=unit)  # type: ignore[arg-type]
        path = folder / "S1RTC" / "one.tif"
        data = pixels(path)
        data[0, 0, 0] = 0
        write_tif(path, data, ("VV", "VH"))
        layer = read_chips(folder)[0].layers["S1RTC"]
        assert layer.unit == unit
        assert np.isnan(layer.data[0, 0, 0, 0]) == gap
        assert any("zero or negative power" in remark for remark in layer.remarks) == gap


def test_declared_units_are_held_against_the_pixels(folder: Path) -> None:
    (chip, _) = read_chips(folder, {"S1RTC": "db"})
    assert (chip.layers["S1RTC"].unit, chip.layers["S1RTC"].declared) == ("dB", True)
    with pytest.raises(UnitError, match=r"here.tif: S1RTC is declared as linear power, but the pixels look like dB"):
        read_chips(folder, {"S1RTC": "linear power"})
    with pytest.raises(UnitError, match=r"S2L2A is declared as 1 \(reflectance\), but the pixels look like DN"):
        read_chips(folder, {"S2L2A": "reflectance"})
    with pytest.raises(UnitError, match="DEM in 'feet'"):
        read_chips(folder, {"DEM": "feet"})
    with pytest.raises(UnitError, match="'S1GRD' is no modality"):
        read_chips(folder, {"S1GRD": "dB"})


def test_chips_yaml_says_units_dates_and_offset_and_the_command_line_wins(folder: Path) -> None:
    (folder / "chips.yaml").write_text(
        "units: {S1RTC: linear}\nchips:\n  here: {s2_offset: 1000, dates: {S1RTC: [2024-04-17]}}\n", encoding="utf-8"
    )
    with pytest.raises(UnitError, match="declared as linear power"):
        read_chips(folder)
    chips = by_id(read_chips(folder, {"S1RTC": "dB"}))
    assert chips["here"].s2_offset == 1000
    assert chips["there"].s2_offset is None
    assert chips["here"].layers["S1RTC"].dates == ("2024-04-17",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chips:\n  here: {s2_offset: 500}\n", r"chips.yaml:2: chips.chips.here.s2_offset"),
        ("unit: {S1RTC: dB}\n", r"chips.yaml:1: chips.unit: no such field"),
        ("chips:\n  nowhere: {s2_offset: 0}\n", "no files for nowhere"),
        ("chips:\n  here: {dates: {S2L2A: [2024-01-01, 2024-02-01]}}\n", "2 dates for 1 files"),
        ("units: {S1RTC: volts}\n", "chips.yaml: S1RTC in 'volts'"),
    ],
)
def test_a_wrong_chips_yaml_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "chips.yaml").write_text(text, encoding="utf-8")
    with pytest.raises((ChipError, UnitError), match=message):
        read_chips(folder)


def _no_crs(folder: Path) -> None:
    write_tif(folder / "DEM" / "here.tif", pixels(folder / "DEM" / "here.tif"), epsg=None)


def _degrees(folder: Path) -> None:
    write_tif(folder / "DEM" / "here.tif", pixels(folder / "DEM" / "here.tif"), epsg=4326)


def _other_zone(folder: Path) -> None:
    write_tif(folder / "S1RTC" / "here.tif", pixels(folder / "S1RTC" / "here.tif"), epsg=32617)


def _shifted(folder: Path) -> None:
    write_tif(folder / "S1RTC" / "here.tif", pixels(folder / "S1RTC" / "here.tif"), shift_m=5)


def _smaller(folder: Path) -> None:
    write_tif(folder / "DEM" / "here.tif", pixels(folder / "DEM" / "here.tif")[:, :16, :16])


def _band_short(folder: Path) -> None:
    write_tif(folder / "S2L2A" / "here.tif", pixels(folder / "S2L2A" / "here.tif")[:11])


def _band_order(folder: Path) -> None:
    names = list(S2_BANDS)
    names[1], names[3] = names[3], names[1]
    write_tif(folder / "S2L2A" / "here.tif", pixels(folder / "S2L2A" / "here.tif"), names)


def _polarisations(folder: Path) -> None:
    write_tif(folder / "S1RTC" / "here.tif", pixels(folder / "S1RTC" / "here.tif")[::-1])


def _truncated(folder: Path) -> None:
    path = folder / "S2L2A" / "here.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(folder: Path) -> None:
    (folder / "S2L2A" / "here.tif").write_text("not an image", encoding="utf-8")


def _empty_file(folder: Path) -> None:
    (folder / "S2L2A" / "here.tif").write_bytes(b"")


def _png(folder: Path) -> None:
    place = {"transform": Affine(10, 0, 580_000, 0, -10, 4_510_000), "crs": "EPSG:32618"}
    picture = folder / "DEM" / "here.png"
    with rasterio.open(picture, "w", driver="PNG", width=32, height=32, count=1, dtype="uint8", **place) as out:
        out.write(np.zeros((1, 32, 32), np.uint8))
    picture.replace(folder / "DEM" / "here.tif")


def _misspelt(folder: Path) -> None:
    (folder / "S1RTC").rename(folder / "s1rtc")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_crs, r"DEM/here.tif: no coordinate reference system"),
        (_degrees, r"DEM/here.tif: EPSG:4326 is no projected system"),
        (_other_zone, r"S1RTC/here.tif: not on the grid of .*S2L2A/here.tif: EPSG:32618 against EPSG:32617"),
        (_shifted, r"S1RTC/here.tif: not on the grid of .*S2L2A/here.tif: corners lie 5 m apart"),
        (_smaller, r"DEM/here.tif: not on the grid .* 32 x 32 px against 16 x 16 px"),
        (_band_short, r"S2L2A/here.tif: 11 bands; S2L2A has 12"),
        (_band_order, r"S2L2A/here.tif: band 2 is described as B04, B02 was expected"),
        (_polarisations, r"S1RTC/here.tif: the second band is the brighter one"),
        (_truncated, r"S2L2A/here.tif: not a readable GeoTIFF, or truncated"),
        (_text, r"S2L2A/here.tif: not a readable GeoTIFF"),
        (_empty_file, r"S2L2A/here.tif: not a readable GeoTIFF"),
        (_png, r"DEM/here.tif: not a readable GeoTIFF"),
        (_misspelt, r"s1rtc: folders are named as modalities are: S1RTC"),
    ],
)
def test_a_spoilt_folder_is_refused_with_file_and_cause(
    folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ChipError, match=message):
        read_chips(folder)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ChipError, match="no such folder"):
        read_chips(tmp_path / "nowhere")
    (tmp_path / "S2L2A").mkdir()
    with pytest.raises(ChipError, match="no chips; put GeoTIFFs at"):
        read_chips(tmp_path)


@pytest.mark.parametrize("names", [tuple(b.replace("B0", "B") for b in S2_BANDS), tuple(b.lower() for b in S2_BANDS)])
def test_band_names_are_read_as_files_write_them(folder: Path, names: tuple[str, ...]) -> None:
    path = folder / "S2L2A" / "here.tif"
    write_tif(path, pixels(path), names)
    assert by_id(read_chips(folder))["here"].layers["S2L2A"].remarks == ()


def test_a_file_that_names_no_bands_is_trusted_and_that_is_said(folder: Path) -> None:
    path = folder / "S2L2A" / "here.tif"
    write_tif(path, pixels(path))
    (remark,) = by_id(read_chips(folder))["here"].layers["S2L2A"].remarks
    assert "does not name its bands" in remark


def test_a_label_needs_a_map_and_the_map_a_scheme(folder: Path, root: Path) -> None:
    schemes = read_schemes(root / "eval" / "schemes")
    map_file = root / "eval" / "labels" / "terramesh-lulc.yaml"
    codes = pixels(folder / "LULC" / "here.tif")[0]
    label = by_id(read_chips(folder, label_map=map_file, schemes=schemes))["here"].label
    assert label is not None
    assert (label.scheme, label.evidence, label.ignore_index) == ("training-code", "inference", -1)
    assert label.data.dtype == np.int64
    for code, index in {1: 0, 2: 2, 4: 3, 5: 1, 9: 3}.items():
        assert (codes == code).any()
        assert (label.data[codes == code] == index).all()


def test_cloud_is_not_scored_and_an_unknown_code_is_an_error(folder: Path, root: Path) -> None:
    map_file = root / "eval" / "labels" / "terramesh-lulc.yaml"
    path = folder / "LULC" / "here.tif"
    codes = pixels(path)
    codes[0, 0, :3] = 8
    write_tif(path, codes)
    label = by_id(read_chips(folder, label_map=map_file))["here"].label
    assert label is not None
    assert (label.data == -1).sum() == 3
    codes[0, 0, 0] = 77
    write_tif(path, codes)
    with pytest.raises(ChipError, match=r"LULC/here.tif: code 77 stands neither"):
        read_chips(folder, label_map=map_file)


LABEL = "label: {modality: LULC, scheme: SCHEME, codes: {1: 0, 2: 9}, ignore: [4, 5, 9], "
LABEL += "evidence: source, why: test, sources: []}\n"


def test_a_label_map_in_chips_yaml(folder: Path, root: Path) -> None:
    schemes = read_schemes(root / "eval" / "schemes")
    (folder / "chips.yaml").write_text(LABEL.replace("SCHEME", "training-code"), encoding="utf-8")
    label = read_chips(folder)[0].label
    assert label is not None
    assert set(np.unique(label.data)) == {-1, 0, 9}
    with pytest.raises(ChipError, match="scheme training-code has no index 9"):
        read_chips(folder, schemes=schemes)
    (folder / "chips.yaml").write_text(LABEL.replace("SCHEME", "nothing"), encoding="utf-8")
    with pytest.raises(ChipError, match="no scheme 'nothing'"):
        read_chips(folder, schemes=schemes)
    (folder / "chips.yaml").write_text(LABEL.replace("[4, 5, 9]", "[2]"), encoding="utf-8")
    with pytest.raises(ChipError, match="stand under codes and under ignore"):
        read_chips(folder)


def test_made_chips_are_the_same_each_time(tmp_path: Path) -> None:
    first, again = (read_chips(write_folder(tmp_path / n, size_px=16)) for n in ("a", "b"))
    assert [c.sha256 for c in first] == [c.sha256 for c in again]
    assert first[0].sha256 != first[1].sha256


def test_the_documented_chips_yaml_loads(folder: Path, root: Path) -> None:
    text = (root / "docs" / "chips-folder.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for path in folder.glob("*/here.tif"):
        path.rename(path.with_name("433D_629L_3_1.tif"))
    example = example.replace("codes: {1: 0, 2: 2, 5: 1}", "codes: {1: 0, 2: 2, 4: 3, 5: 1, 9: 3}")
    (folder / "chips.yaml").write_text(example, encoding="utf-8")
    chip = by_id(read_chips(folder))["433D_629L_3_1"]
    assert (chip.s2_offset, chip.layers["S2L2A"].dates) == (1000, ("2020-04-08",))
    assert chip.label is not None
