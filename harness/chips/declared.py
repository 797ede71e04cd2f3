"""Declared units, held against what the pixels say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
    return layer.unit
