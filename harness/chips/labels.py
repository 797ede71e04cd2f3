"""Label maps: which class index a source's code becomes, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from harness.chips.chip import MODALITIES, Label
from harness.claims.model import Source
from harness.claims.registry import read_yaml, validated
from harness.claims.schemes import Scheme
from harness.errors import ChipError, RegistryError
from harness.records import Strict

IGNORE_INDEX = -1
"""Index of pixels that are not scored; the training configurations ignore the same."""


class LabelMap(Strict):
    """From codes in a file to indices of a scheme."""

    modality: str
    """Folder that holds the codes, e.g. LULC."""
    scheme: str
    """Id under eval/schemes/."""
    codes: dict[int, int] = Field(min_length=1)
    """Index by code."""
    ignore: list[int]
    """Codes that are not scored; an empty list where none."""
    evidence: Literal["source", "inference"]
    """`source` where a document gives the codes' meaning, `inference` where we concluded it."""
    why: str
    """The reason in words."""
    sources: list[Source]
    """Where the codes come from."""

    @model_validator(mode="after")
    def _whole(self) -> LabelMap:
        known = MODALITIES.get(self.modality)
        if known is None or not known.codes:
            raise ValueError(f"modality: {self.modality!r} holds no class codes")
        if both := sorted(set(self.codes) & set(self.ignore)):
            raise ValueError(f"codes: {both} stand under codes and under ignore")
        if wrong := sorted(i for i in self.codes.values() if i < 0):
            raise ValueError(f"codes: indices start at 0; found {wrong}")
        return self


def read_label_map(path: Path, schemes: Mapping[str, Scheme] | None = None) -> LabelMap:
    """Read a label map, as under eval/labels/.

    Args:
        path: YAML file.
        schemes: Known schemes; given, the map's scheme and indices must be among them.

    Raises:
        ChipError: With file, line and field.
    """
    try:
        label_map = validated(LabelMap, read_yaml(path), path, "label")
    except RegistryError as err:
        raise ChipError(str(err)) from err
    if schemes is not None:
        checked(label_map, schemes, path)
    return label_map


def checked(label_map: LabelMap, schemes: Mapping[str, Scheme], path: Path) -> None:
    """Hold a label map against the schemes there are.

    Raises:
        ChipError: The scheme, or an index of it, does not exist.
    """
    scheme = schemes.get(label_map.scheme)
    if scheme is None:
        raise ChipError(f"{path}: no scheme {label_map.scheme!r}; there are {', '.join(schemes)}")
    if missing := sorted(set(label_map.codes.values()) - {c.index for c in scheme.classes}):
        raise ChipError(f"{path}: scheme {scheme.id} has no index {', '.join(map(str, missing))}")


def to_label(label_map: LabelMap, codes: NDArray[np.float32], source: Path) -> Label:
    """Turn codes into indices.

    Args:
        label_map: What becomes of each code.
        codes: Shape (H, W); NaN where nodata, which is not scored.
        source: File of the codes.

    Raises:
        ChipError: A code stands neither under codes nor under ignore, or is no whole number.
    """
    out = np.full(codes.shape, IGNORE_INDEX, np.int64)
    known = {**label_map.codes, **dict.fromkeys(label_map.ignore, IGNORE_INDEX)}
    for code in np.unique(codes[np.isfinite(codes)]):
        if code not in known:
            raise ChipError(
                f"{source}: code {code:g} stands neither under codes nor under ignore of the label map for scheme "
                f"{label_map.scheme}; add it"
            )
        out[codes == code] = known[int(code)]
    return Label(out, label_map.scheme, source, label_map.evidence, label_map.why, IGNORE_INDEX)
