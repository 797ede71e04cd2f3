"""Which dates are the same: bit for bit, in every modality, also from one call to the next."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.models.dates import _names


def dates(**last: float) -> dict[str, Tensor]:
    """Two equal dates in two modalities; `last` alters the last number of the second date."""
    flat = {"S2L2A": torch.arange(48.0).reshape(1, 3, 4, 4).repeat(2, 1, 1, 1), "DEM": torch.ones(2, 1, 4, 4)}
    for name, value in last.items():
        flat[name][1, -1, -1, -1] = value
    return flat


def test_equal_dates_have_one_name_within_a_call_and_from_call_to_call() -> None:
    one, other = _names(dates(), 2, "k"), _names(dates(), 2, "k")
    assert one == other
    assert len(set(one)) == 1


@pytest.mark.parametrize("modality", ["S2L2A", "DEM"])
@pytest.mark.parametrize("value", [7.5, math.nan, math.nextafter(1, 2)])
def test_one_number_of_one_modality_makes_another_date(modality: str, value: float) -> None:
    if modality == "DEM" and value != 7.5 and not math.isnan(value):
        value = float(torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)))
    first, second = _names(dates(**{modality: value}), 2, "k")
    assert first != second
    assert first == _names(dates(), 2, "k")[0]
    assert second == _names({m: t[1:] for m, t in dates(**{modality: value}).items()}, 1, "k")[0]


def test_zeros_of_both_signs_are_two_dates() -> None:
    flat = {"DEM": torch.zeros(2, 1, 2, 2)}
    flat["DEM"][1] = -0.0
    assert len(set(_names(flat, 2, "k"))) == 2


def test_shape_type_and_key_are_part_of_a_name() -> None:
    bits = torch.zeros(1, 4, 2, 2)
    names = [
        _names({"DEM": bits}, 1, "k"),
        _names({"DEM": bits.reshape(1, 2, 4, 2)}, 1, "k"),
        _names({"DEM": bits.view(torch.int32)}, 1, "k"),
        _names({"S1": bits}, 1, "k"),
        _names({"DEM": bits}, 1, "other"),
    ]
    assert len({name for (name,) in names}) == 5


def test_dates_that_lie_apart_in_memory_or_in_half_precision_are_compared() -> None:
    flat = {"S2L2A": torch.arange(96.0).reshape(3, 2, 4, 4).transpose(0, 1).to(torch.bfloat16)}
    assert len(set(_names(flat, 2, "k"))) == 2
    flat["S2L2A"][1] = flat["S2L2A"][0]
    assert len(set(_names(flat, 2, "k"))) == 1
