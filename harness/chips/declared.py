"""Declared units, held against what the pixels say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.chips.chip import MODALITIES, Layer
from harness.chips.units import UNKNOWN, Evidence
from harness.errors import UnitError

WORDS = {
    "db": "dB",
    "decibel": "dB",
    "linear": "linear power",
    "linear power": "linear power",
    "power": "linear power",
    "dn": "DN",
    "reflectance": "1",
    "1": "1",
    "m": "m",
    "metres": "m",
    "class code": "class code",
}
"""How units may be written, in lower case."""


MOST_NEGATIVE = 0.01
"""Share of negative pixels that noise removal may leave in a file of power."""

BYTE, BRIGHTEST = 255, 2.5
"""Largest value of 8 bits; largest reflectance that a file may hold, glint included."""


def declared_units(*given: Mapping[str, str], where: str) -> dict[str, str]:
    """Declarations in the project's own words; later ones win.

    Raises:
        UnitError: No such modality, or a unit that it does not come in.
    """
    out: dict[str, str] = {}
    for modality, word in ((m, w) for mapping in given for m, w in mapping.items()):
        known = MODALITIES.get(modality)
        if known is None:
            raise UnitError(f"{where}: {modality!r} is no modality; there are {', '.join(MODALITIES)}")
        unit = WORDS.get(word.strip().lower())
        if unit not in known.units:
            raise UnitError(f"{where}: {modality} in {word!r}? It is read in {' or '.join(map(named, known.units))}")
        out[modality] = unit
    return out


def advice(modality: str, unit: str) -> str:
    """How to declare a unit."""
    return f"declare it: --declare {modality}={unit!r}, or units: {{{modality}: {unit}}} in chips.yaml"


def named(unit: str) -> str:
    """A unit for people."""
    return "1 (reflectance)" if unit == "1" else unit


def agreed_unit(layer: Layer, seen: Evidence) -> str:
    """The unit of a layer, held against what its pixels say.

    Raises:
        UnitError: They contradict what was declared, or nobody declared it and they do not say.
    """
    source: Path = layer.source
    if seen.verdict not in (UNKNOWN, layer.unit):
        raise UnitError(
            f"{source}: {layer.modality} is {'declared' if layer.declared else 'marked'} as {named(layer.unit)}, but "
            f"the pixels look like {named(seen.verdict)} ({seen.why}); correct the declaration or the file"
        )
    if seen.verdict == UNKNOWN and not layer.declared:
        options = " or ".join(advice(layer.modality, u) for u in MODALITIES[layer.modality].units)
        raise UnitError(f"{source}: the unit of {layer.modality} cannot be told ({seen.why}); {options}")
    if seen.verdict == UNKNOWN and (why := _impossible(layer)):
        raise UnitError(
            f"{source}: {layer.modality} is declared as {named(layer.unit)}, but {why}; correct the declaration or "
            "the file"
        )
    return layer.unit


def _impossible(layer: Layer) -> str | None:
    """Why a declared unit cannot be, where the pixels look like none that is known."""
    values = layer.data[np.isfinite(layer.data)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    negative = float((values < 0).mean())
    if layer.unit == "linear power" and negative > MOST_NEGATIVE:
        return f"{negative:.1%} of its pixels are negative, and power never is"
    if layer.unit == "dB" and low >= 0:
        return "none of its pixels is negative, as backscatter of land and water nearly always is"
    if layer.unit == "DN" and high <= BYTE:
        return f"its largest pixel is {high:g}: 8 bits or percent"
    if layer.unit == "1" and high > BRIGHTEST:
        return f"its largest pixel is {high:g}, and reflectance does not exceed 2"
    return None
