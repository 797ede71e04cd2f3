"""What rules and strata need of a chip: reflectance, and which classes of a scheme are built-up land or water."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip, Label
from harness.chips.declared import agreed_unit
from harness.chips.units import OFFSET, REFLECTANCE_SCALE, UNKNOWN, by_slice, s2_offset, s2_unit
from harness.claims.schemes import Scheme
from harness.errors import UnitError
from harness.score import strata
from harness.score.baselines import Cover

BUILT_UP, WATER, TREES, GRASS = 50, 80, 10, 30
"""ESA WorldCover codes of the kinds of land that are looked for in a scheme."""


def wants_footprints(other: str | None) -> bool:
    """Whether a class's `other` puts building footprints in it."""
    return other is not None and "building footprints" in other and not other.startswith("less")


def _index(scheme: Scheme, code: int) -> int | None:
    return next((c.index for c in scheme.classes if code in c.worldcover), None)


def is_buildings(scheme: Scheme) -> bool:
    """Whether a scheme has two classes and class 1 is building footprints."""
    return [c.index for c in scheme.classes] == [0, 1] and wants_footprints(scheme.classes[1].other)


def cover_of(scheme: Scheme) -> Cover | str:
    """Which class each index rule gives in a scheme, or why rules say nothing in it."""
    if is_buildings(scheme):
        return Cover(2, water=0, full=0, some=0, bare=1)
    found = {code: _index(scheme, code) for code in (WATER, TREES, GRASS, BUILT_UP)}
    water, full, some, bare = found.values()
    some = full if some is None else some
    if water is None or full is None or some is None or bare is None:
        lacking = ", ".join(str(code) for code, index in found.items() if index is None)
        return f"scheme {scheme.id} has no class for WorldCover {lacking}, which the rules name"
    return Cover(len(scheme.classes), water, full, some, bare)


def land_schemes(schemes: Mapping[str, Scheme]) -> list[str]:
    """Schemes that tell built-up land and water: those without footprints first, then those of most codes."""
    told = [s for s in schemes.values() if _index(s, BUILT_UP) is not None and _index(s, WATER) is not None]
    codes = {s.id: sum(len(c.worldcover) for c in s.classes) for s in told}
    burnt = {s.id: any(c.other for c in s.classes) for s in told}
    return sorted(codes, key=lambda i: (burnt[i], -codes[i], i))


def land_of(label: Label, scheme: Scheme) -> NDArray[np.int64]:
    """Built-up land and water of a land-cover map, codes of `harness.score.strata`, shape (H, W).

    Where footprints lie on top of the map, buildings count as built-up land.
    """
    out = np.full(label.data.shape, strata.OTHER, np.int64)
    out[label.data == label.ignore_index] = strata.UNKNOWN
    for each in scheme.classes:
        if WATER in each.worldcover:
            out[label.data == each.index] = strata.WATER
        if BUILT_UP in each.worldcover or wants_footprints(each.other):
            out[label.data == each.index] = strata.BUILT
    return out


def reflectance(chip: Chip) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Surface reflectance of the first Sentinel-2 date, shape (C, H, W), NaN where missing, and band names.

    From the chip's own pixels: DN over 10,000, less the 1000 of newer baselines where the chip declares it or
    its pixels show it. A little below 0 where the atmosphere was over-corrected; nothing is cut off.

    Raises:
        UnitError: No Sentinel-2, pixels of another unit, or an offset that nobody can tell.
    """
    layer = chip.layers.get("S2L2A")
    if layer is None:
        raise UnitError(f"chip {chip.id} has no S2L2A")
    unit = agreed_unit(layer, by_slice(layer.data, s2_unit))
    data = layer.data[0]
    if unit == "1":
        return data, layer.bands
    seen = s2_offset(data, layer.bands)
    if chip.s2_offset is None and seen.verdict == UNKNOWN:
        raise UnitError(f"whether chip {chip.id} carries +{OFFSET} DN cannot be told: {seen.why}")
    if chip.s2_offset == OFFSET and seen.verdict == "none":
        raise UnitError(f"chip {chip.id} is declared to carry +{OFFSET} DN, but {seen.why}")
    carries = chip.s2_offset == OFFSET if chip.s2_offset is not None else seen.verdict == f"+{OFFSET}"
    return (data - np.float32(OFFSET if carries else 0)) / np.float32(REFLECTANCE_SCALE), layer.bands
