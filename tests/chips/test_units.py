"""What pixels say about their unit, and the conversions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.chips.units import UNKNOWN, harmonised, s1_unit, s2_offset, s2_unit, to_db, to_power
from harness.errors import UnitError
from tests.chips.made import COAST, DESERT, S2_BANDS, Pixels, scene


def optical(offset: int = 0, covers: tuple[int, ...] = COAST, seed: int = 0) -> Pixels:
    dn: Pixels = scene("chip", 64, 1, offset, seed, covers)[0][0]
    return dn


def radar(seed: int = 0) -> Pixels:
    return scene("chip", 64, 1, 0, seed, COAST)[1]


decibels = arrays(np.float32, 20, elements=st.floats(-60, 30, width=32))


@given(decibels)
def test_decibels_and_power_are_each_others_inverse(db: Pixels) -> None:
    assert np.allclose(to_db(to_power(db)), db, atol=1e-4)
    assert to_db(to_power(db)).dtype == np.float32


def test_power_of_zero_or_less_has_no_decibels_and_a_floor_gives_it_some() -> None:
    power = np.array([0, -1, np.nan, 0.1], np.float32)
    assert np.isnan(to_db(power)).tolist() == [True, True, True, False]
    assert to_db(power, 1e-6)[[0, 1, 3]].tolist() == pytest.approx([-60, -60, -10])
    assert np.isnan(to_db(power, 1e-6)[2])


@given(arrays(np.float32, 20, elements=st.floats(1, 32_767, width=32)))
def test_harmonised_is_never_below_zero_and_moves_by_at_most_1000(dn: Pixels) -> None:
    out = harmonised(dn)
    assert (out >= 0).all()
    assert (dn - out <= 1000).all()
    assert np.array_equal(out[dn >= 1000], dn[dn >= 1000] - 1000)


@pytest.mark.parametrize("seed", range(3))
def test_backscatter_in_db_and_in_power_is_told_apart(seed: int) -> None:
    db = radar(seed)
    assert s1_unit(db).verdict == "dB"
    assert s1_unit(db).confidence > 0.95
    power = s1_unit(to_power(db))
    assert power.verdict == "linear power"
    assert power.confidence > 0.9


def test_normalised_backscatter_counts_and_empty_pixels_are_neither() -> None:
    db = radar()
    assert s1_unit((db - db.mean()) / db.std()).verdict == UNKNOWN
    assert s1_unit(db - db.mean()).verdict == UNKNOWN
    assert s1_unit(to_power(db) * 1000).verdict == UNKNOWN
    assert s1_unit(np.clip(to_power(db) * 100, 0, 90)).verdict == UNKNOWN
    assert s1_unit(np.full((2, 4, 4), np.nan, np.float32)).verdict == UNKNOWN


def test_an_all_dark_lake_is_still_power() -> None:
    assert s1_unit(np.full((1, 2, 8, 8), 0.0008, np.float32)).verdict == "linear power"


def test_dn_reflectance_and_percent() -> None:
    dn = optical()
    assert s2_unit(dn).verdict == "DN"
    assert s2_unit(dn / np.float32(10_000)).verdict == "1"
    assert s2_unit(dn / np.float32(100)).verdict == UNKNOWN
    assert s2_unit(np.clip(dn / np.float32(20), 0, 255)).verdict == UNKNOWN


@pytest.mark.parametrize("seed", range(3))
def test_the_offset_shows_where_water_and_shade_do(seed: int) -> None:
    without, with_it = s2_offset(optical(seed=seed), S2_BANDS), s2_offset(optical(1000, seed=seed), S2_BANDS)
    assert (without.verdict, with_it.verdict) == ("none", "+1000")
    assert 0.9 <= with_it.confidence < 0.995
    assert 0.9 <= without.confidence < 1
    assert "pile up just above 1000" in with_it.why
    assert "below 900" in without.why


@pytest.mark.parametrize("offset", [0, 1000])
def test_a_bright_desert_fits_both_answers(offset: int) -> None:
    seen = s2_offset(optical(offset, DESERT), S2_BANDS)
    assert seen.verdict == UNKNOWN
    assert seen.confidence < 0.9
    assert "nothing dark" in seen.why


def test_one_dark_group_of_bands_is_a_coincidence_and_two_are_not() -> None:
    """Snow under the offset: short-wave bands near 1050, the others bright."""
    dn = np.full((12, 32, 32), 6000, np.float32)
    dn[10:] = 1050
    seen = s2_offset(dn, S2_BANDS)
    assert (seen.verdict, round(seen.confidence, 3)) == (UNKNOWN, 0.8)
    dn[:4] = 1100
    assert s2_offset(dn, S2_BANDS).verdict == "+1000"


def test_a_few_overcorrected_shadows_do_not_rule_the_offset_out_but_many_pixels_do() -> None:
    dn = optical(1000)
    dn[5].flat[:2] = 850  # 2 of 4,096
    assert s2_offset(dn, S2_BANDS).verdict == "+1000"
    dn[5].flat[:16] = 850  # 0.4 %: too many for shadows, too few to be sure
    assert s2_offset(dn, S2_BANDS).verdict == UNKNOWN
    dn[5].flat[:60] = 850  # 1.5 %
    assert s2_offset(dn, S2_BANDS).verdict == "none"
    dn[5].flat[:60] = 950  # a reflectance of -0.005
    assert s2_offset(dn, S2_BANDS).verdict == "+1000"


def test_nodata_is_no_dark_pixel() -> None:
    dn = optical(1000)
    dn[:, :20] = np.nan
    assert s2_offset(dn, S2_BANDS).verdict == "+1000"
    assert s2_offset(np.full((12, 4, 4), np.nan, np.float32), S2_BANDS).verdict == UNKNOWN


def test_dates_are_judged_one_by_one() -> None:
    with pytest.raises(UnitError, match="one date"):
        s2_offset(np.zeros((4, 12, 8, 8), np.float32), S2_BANDS)
