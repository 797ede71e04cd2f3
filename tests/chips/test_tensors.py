"""Recipe x chip: the arrays against arithmetic done here, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.sources.files import read_chips
from harness.chips.tensors import denormalised, normalised, to_inputs
from harness.chips.units import to_power
from harness.errors import ChipError, RecipeError, UnitError
from tests.chips.made import DESERT, Pixels, write_folder
from tests.conftest import ROOT

RECIPES = read_recipes(ROOT / "eval" / "recipes")
PRETRAINING, TRAINING, RERUN = (RECIPES[k] for k in ("pretraining", "training-code", "published-rerun"))


def made(tmp_path: Path, units: dict[str, str] | None = None, **how: Any) -> Chip:
    (chip,) = read_chips(write_folder(tmp_path / "chips", ids=["one"], **{"size_px": 32, **how}), units)
    return chip


def changed(recipe: Recipe, **knobs: Any) -> Recipe:
    return recipe.model_copy(update=knobs)


def harmonising() -> Recipe:
    return changed(PRETRAINING, s2_offset=PRETRAINING.s2_offset.model_copy(update={"policy": "harmonise"}))


def with_data(chip: Chip, modality: str, edit: Callable[[Pixels], Any]) -> Chip:
    data = chip.layers[modality].data.copy()
    edit(data)
    return replace(chip, layers={**chip.layers, modality: replace(chip.layers[modality], data=data)})


def without(chip: Chip, modality: str) -> Chip:
    return replace(chip, layers={m: layer for m, layer in chip.layers.items() if m != modality})


def test_pretraining_is_the_textbook_formula(tmp_path: Path) -> None:
    chip = made(tmp_path)
    inputs = to_inputs(chip, PRETRAINING)
    assert {m: a.shape for m, a in inputs.arrays.items()} == {
        "S2L2A": (12, 4, 32, 32),
        "S1RTC": (2, 4, 32, 32),
        "DEM": (1, 4, 32, 32),
    }
    for modality, band, mean, std in (
        ("S2L2A", 3, 1853.910, 2134.138),
        ("S2L2A", 11, 1857.648, 1334.311),
        ("S1RTC", 1, -17.329, 4.459),
        ("DEM", 0, 670.665, 951.272),
    ):
        expected = (chip.layers[modality].data[0, band].astype(np.float64) - mean) / std
        for t in range(4):
            assert np.allclose(inputs.arrays[modality][band, t], expected, atol=1e-5)
    remarked = replace(chip.layers["S2L2A"], remarks=("order was trusted",))
    again = to_inputs(replace(chip, layers={**chip.layers, "S2L2A": remarked}), PRETRAINING)
    assert "S2L2A: order was trusted" in again.notes
    for array in inputs.arrays.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
    assert inputs.identical_dates
    assert inputs.filled == {"S2L2A": 0, "S1RTC": 0, "DEM": 0}
    assert (inputs.chip_id, inputs.recipe_id) == ("one", "pretraining")


def test_training_code_feeds_float16_power_to_decibel_statistics_and_a_dem_of_zeros(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "dB"})
    inputs = to_inputs(chip, TRAINING)
    power = (10 ** (chip.layers["S1RTC"].data[0].astype(np.float64) / 10)).astype(np.float16).astype(np.float64)
    assert np.allclose(inputs.arrays["S1RTC"][0, 2], (power[0] + 9.98) / 4.24, atol=1e-3)
    assert np.allclose(inputs.arrays["S1RTC"][1, 2], (power[1] + 15.968) / 4.105, atol=1e-3)
    half = to_power(chip.layers["S1RTC"].data[0, 0]).astype(np.float16).astype(np.float32)
    assert np.array_equal(inputs.arrays["S1RTC"][0, 0], (half - np.float32(-9.98)) / np.float32(4.24))
    assert np.allclose(inputs.arrays["DEM"], -141.786 / 189.363)
    assert inputs.filled["DEM"] == 1
    assert any("converted to linear power" in note for note in inputs.notes)
    assert any("the recipe says 256 px" in note for note in inputs.notes)


def test_card_is_training_code_with_the_chips_own_dem(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "dB"})
    card, training = to_inputs(chip, RECIPES["card"]).arrays, to_inputs(chip, TRAINING).arrays
    assert np.array_equal(card["S1RTC"], training["S1RTC"])
    assert not np.array_equal(card["DEM"], training["DEM"])


def test_published_rerun_takes_four_dates_in_their_order(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "linear"}, timesteps=4, s1_unit="linear power")
    inputs = to_inputs(chip, RERUN)
    assert not inputs.identical_dates
    for t in range(4):
        expected = (chip.layers["S2L2A"].data[t, 7] - 3083.234) / 1871.918
        assert np.allclose(inputs.arrays["S2L2A"][7, t], expected, atol=1e-5)
        db = 10 * np.log10(chip.layers["S1RTC"].data[t, 0].astype(np.float64))
        assert np.allclose(inputs.arrays["S1RTC"][0, t], (db + 10.93) / 4.391, atol=1e-4)
    assert (inputs.arrays["DEM"] == inputs.arrays["DEM"][:, :1]).all()


def test_the_reruns_floor_is_minus_sixty_decibels_and_nodata_falls_to_it(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "linear"}, timesteps=4, s1_unit="linear power")

    def edit(data: Pixels) -> None:
        data[0, 0, 0, 0], data[0, 0, 0, 1] = 1e-9, np.nan

    inputs = to_inputs(with_data(chip, "S1RTC", edit), RERUN)
    assert inputs.arrays["S1RTC"][0, 0, 0, :2] == pytest.approx((-60 + 10.93) / 4.391)
    assert inputs.filled["S1RTC"] == pytest.approx(1 / (4 * 2 * 32 * 32))
    assert any("1 values below a power of 1e-06" in note for note in inputs.notes)


def test_one_date_is_not_four_that_differ(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"S2L2A has 1 date; recipe published-rerun feeds 4 that differ"):
        to_inputs(made(tmp_path), RERUN)


def test_twice_the_same_pixels_are_no_two_dates(tmp_path: Path) -> None:
    chip = made(tmp_path, timesteps=4)

    def edit(data: Pixels) -> None:
        data[3] = data[1]

    with pytest.raises(RecipeError, match="t1 and t3 hold the same pixels"):
        to_inputs(with_data(chip, "S2L2A", edit), RERUN)
    twice = to_inputs(with_data(chip, "S1RTC", edit), RERUN)
    assert any("S1RTC: t1 and t3 hold the same pixels" in note for note in twice.notes)


def test_dates_that_do_not_give_the_timesteps_are_refused(tmp_path: Path) -> None:
    four = made(tmp_path, timesteps=4)
    with pytest.raises(RecipeError, match=r"4 dates; recipe pretraining feeds a single one"):
        to_inputs(four, PRETRAINING)
    given_dates = changed(PRETRAINING, dates=PRETRAINING.dates.model_copy(update={"policy": "given"}))
    assert not to_inputs(four, given_dates).identical_dates
    with pytest.raises(RecipeError, match="the model takes 3"):
        to_inputs(four, given_dates, timesteps=3)
    one = changed(PRETRAINING, dates=PRETRAINING.dates.model_copy(update={"policy": "one", "count": 1}))
    single = made(tmp_path / "single")
    with pytest.raises(RecipeError, match="feeds one date once"):
        to_inputs(single, one)
    assert to_inputs(single, one, timesteps=1).arrays["S2L2A"].shape == (12, 1, 32, 32)


def test_four_dates_with_the_same_pixels_are_identical(tmp_path: Path) -> None:
    chip = made(tmp_path, timesteps=4)

    def same(data: Pixels) -> None:
        data[1:] = data[0]

    chip = with_data(with_data(chip, "S2L2A", same), "S1RTC", same)
    assert to_inputs(chip, PRETRAINING).identical_dates

    def moved(data: Pixels) -> None:
        same(data)
        data[2, 0, 5, 5] += 1

    given_dates = changed(PRETRAINING, dates=PRETRAINING.dates.model_copy(update={"policy": "given"}))
    assert not to_inputs(with_data(chip, "S1RTC", moved), given_dates).identical_dates


def test_decibels_are_not_fed_where_power_is_wanted(tmp_path: Path) -> None:
    chip = made(tmp_path)
    with pytest.raises(UnitError) as caught:
        to_inputs(chip, TRAINING)
    text = str(caught.value)
    for part in (
        str(chip.layers["S1RTC"].source),
        "linear power",
        "look like dB",
        "--declare S1RTC='dB'",
        "chips.yaml",
    ):
        assert part in text


def test_power_is_not_fed_where_decibels_are_wanted_unless_declared(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="look like linear power"):
        to_inputs(made(tmp_path, s1_unit="linear power"), PRETRAINING)
    told = made(tmp_path / "told", {"S1RTC": "linear"}, s1_unit="linear power")
    direct = made(tmp_path / "direct")
    a, b = to_inputs(told, PRETRAINING), to_inputs(direct, PRETRAINING)
    assert np.allclose(a.arrays["S1RTC"], b.arrays["S1RTC"], atol=1e-4)
    assert any("converted to dB" in note for note in a.notes)


def test_a_layer_marked_with_the_wrong_unit_is_seen_even_without_a_file(tmp_path: Path) -> None:
    chip = made(tmp_path)
    lying = replace(chip.layers["S1RTC"], unit="linear power")
    with pytest.raises(UnitError, match=r"marked as linear power, but the pixels look like dB"):
        to_inputs(replace(chip, layers={**chip.layers, "S1RTC": lying}), TRAINING)


def test_reflectance_is_not_dn(tmp_path: Path) -> None:
    chip = made(tmp_path)
    shrunk = replace(chip.layers["S2L2A"], data=chip.layers["S2L2A"].data / np.float32(10_000), unit="1")
    with pytest.raises(UnitError, match=r"takes S2L2A in DN, the pixels look like reflectance .* multiply by 10000"):
        to_inputs(replace(chip, layers={**chip.layers, "S2L2A": shrunk}), PRETRAINING)
    told = replace(chip, layers={**chip.layers, "S2L2A": replace(shrunk, declared=True)})
    assert np.allclose(
        to_inputs(told, PRETRAINING).arrays["S2L2A"], to_inputs(chip, PRETRAINING).arrays["S2L2A"], atol=1e-4
    )


def test_harmonise_takes_the_offset_off_where_it_is_and_nowhere_else(tmp_path: Path) -> None:
    plain, moved = made(tmp_path / "a"), made(tmp_path / "b", offset=1000)
    a, b = to_inputs(plain, harmonising()), to_inputs(moved, harmonising())
    assert np.array_equal(a.arrays["S2L2A"], b.arrays["S2L2A"])
    assert any("harmonised (read off the pixels)" in note for note in b.notes)
    raw = to_inputs(moved, PRETRAINING)
    assert not np.array_equal(raw.arrays["S2L2A"], b.arrays["S2L2A"])
    assert any("+1000, confidence 0.99" in note for note in raw.notes)


def test_harmonise_does_not_guess(tmp_path: Path) -> None:
    desert = made(tmp_path, covers=DESERT, offset=1000)
    with pytest.raises(UnitError, match=r"cannot be told.*declare it in chips.yaml"):
        to_inputs(desert, harmonising())
    told = to_inputs(replace(desert, s2_offset=1000), harmonising())
    left = to_inputs(replace(desert, s2_offset=0), harmonising())
    assert np.allclose((left.arrays["S2L2A"] - told.arrays["S2L2A"])[3], 1000 / 2134.138, atol=1e-5)
    with pytest.raises(UnitError, match=r"declared to carry \+1000, but"):
        to_inputs(replace(made(tmp_path / "plain"), s2_offset=1000), harmonising())


def test_nodata_is_filled_by_rule_or_refused(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "dB"})

    def edit(data: Pixels) -> None:
        data[0, :, :8] = np.nan

    holed = with_data(chip, "S2L2A", edit)
    with pytest.raises(RecipeError, match=r"25.00% of S2L2A is nodata"):
        to_inputs(holed, PRETRAINING)
    inputs = to_inputs(holed, TRAINING)
    assert inputs.filled["S2L2A"] == 0.25
    assert np.allclose(inputs.arrays["S2L2A"][0, 0, :8], -1223.128 / 2358.709)
    assert any("25.00% of values are nodata" in note for note in inputs.notes)
    holed_radar = to_inputs(with_data(chip, "S1RTC", edit), TRAINING)
    assert np.allclose(holed_radar.arrays["S1RTC"][0, 0, :8], 9.98 / 4.24)


@pytest.mark.parametrize("modality", ["S2L2A", "S1RTC", "DEM"])
def test_a_missing_modality_is_an_error_that_says_where_the_file_belongs(tmp_path: Path, modality: str) -> None:
    chip = made(tmp_path, {"S1RTC": "dB"})
    with pytest.raises(ChipError, match=rf"{modality} is missing.*{modality}/one.tif"):
        to_inputs(without(chip, modality), PRETRAINING)


def test_a_recipe_that_feeds_zeros_needs_no_dem(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "dB"})
    assert to_inputs(without(chip, "DEM"), TRAINING).filled["DEM"] == 1


def test_other_bands_or_another_order_are_refused(tmp_path: Path) -> None:
    chip = made(tmp_path)
    layer = chip.layers["S2L2A"]
    swapped = replace(layer, bands=(*layer.bands[:2], "B04", "B03", *layer.bands[4:]))
    with pytest.raises(ChipError, match="bands B01 B02 B04 B03"):
        to_inputs(replace(chip, layers={**chip.layers, "S2L2A": swapped}), PRETRAINING)
    fewer = replace(layer, data=layer.data[:, :11], bands=layer.bands[:11])
    with pytest.raises(ChipError, match="11 bands; recipe pretraining takes 12"):
        to_inputs(replace(chip, layers={**chip.layers, "S2L2A": fewer}), PRETRAINING)


def test_sizes_that_are_no_multiple_of_a_patch_are_refused(tmp_path: Path) -> None:
    chip = made(tmp_path, size_px=40)
    with pytest.raises(ChipError, match="height 40 px is no multiple of 16; cut it to 32 px"):
        to_inputs(chip, PRETRAINING)
    assert to_inputs(chip, PRETRAINING, multiple_px=1).arrays["DEM"].shape == (1, 4, 40, 40)


@given(arrays(np.float32, (1, 12, 2, 2), elements=st.floats(0, 20_000, width=32)))
def test_denormalised_undoes_normalised(raw: Pixels) -> None:
    for recipe in (PRETRAINING, TRAINING):
        there = normalised(raw, recipe, "S2L2A")
        assert there.dtype == np.float32
        assert np.allclose(denormalised(there, recipe, "S2L2A"), raw, atol=0.01)


def test_applying_a_recipe_leaves_the_chip_as_it_was(tmp_path: Path) -> None:
    chip = made(tmp_path, {"S1RTC": "dB"}, offset=1000)
    before = {m: layer.data.copy() for m, layer in chip.layers.items()}
    for recipe in (TRAINING, harmonising()):
        for array in to_inputs(chip, recipe).arrays.values():
            array += 1
    assert all(np.array_equal(layer.data, before[m]) for m, layer in chip.layers.items())
