"""From TerraMind's generated land cover to a scheme's classes, by way of WorldCover codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.chips.cover import BUILT_UP, is_buildings
from harness.claims.schemes import Scheme
from harness.records.think import LULC_CLASSES

WORLDCOVER_OF: dict[int, int] = {1: 80, 2: 10, 3: 90, 4: 40, 5: BUILT_UP, 6: 60, 7: 70, 9: 30}
"""Nearest ESA WorldCover code of each output of the land-cover tokenizer, as eval/labels/terramesh-lulc.yaml has
them; inferred. No data (0) and clouds (8) are no land."""


@dataclass(frozen=True)
class Bridge:
    """Which class of one scheme each output stands for."""

    index: tuple[int | None, ...]
    """By output; None where it stands for no class of the scheme."""
    said: str
    """What a reader has to know: outputs without a class, and classes without an output."""
    instead: str | None = None
    """What stands in the place of a class that no output is, e.g. built area as building; None where nothing does."""

    def classes(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """The class of the most probable output that has one, the lowest output of several; shape (H, W).

        Args:
            logits: By output, shape (10, H, W).
        """
        there = [i for i, k in enumerate(self.index) if k is not None]
        table = np.array([k for k in self.index if k is not None], np.int64)
        out: NDArray[np.int64] = table[logits[there].argmax(axis=0)]
        return out

    def classless(self, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the most probable output of all has no class, so that `classes` took another; shape (H, W)."""
        without = np.array([k is None for k in self.index])
        out: NDArray[np.bool_] = without[logits.argmax(axis=0)]
        return out


def bridge_to(scheme: Scheme) -> Bridge | str:
    """The way from outputs to a scheme, or why there is none.

    Building footprints are no land cover: in a scheme of buildings, built area stands in for them.
    """
    if is_buildings(scheme):
        index = tuple(None if i not in WORLDCOVER_OF else int(WORLDCOVER_OF[i] == BUILT_UP) for i in _outputs())
        built = LULC_CLASSES[next(i for i, code in WORLDCOVER_OF.items() if code == BUILT_UP)]
        instead = f"{built} as {scheme.named(1)}"
        said = f"{instead}: built-up land with its streets and yards, no map of buildings"
        return Bridge(index, f"{said}; {_classless(index)}", instead)
    by_code = {code: each.index for each in scheme.classes for code in each.worldcover}
    index = tuple(by_code.get(WORLDCOVER_OF[i]) if i in WORLDCOVER_OF else None for i in _outputs())
    if all(k is None for k in index):
        return f"scheme {scheme.id} has no class for any WorldCover code that generated land cover stands for"
    unnamed = [f"{each.name} ({each.index})" for each in scheme.classes if each.index not in index]
    lacking = f"; no output stands for {', '.join(unnamed)} of {scheme.id}, which it never names" if unnamed else ""
    return Bridge(index, f"to {scheme.id} by the nearest WorldCover codes; {_classless(index)}{lacking}")


def _outputs() -> range:
    return range(len(LULC_CLASSES))


def _classless(index: tuple[int | None, ...]) -> str:
    names = [LULC_CLASSES[i] for i, k in enumerate(index) if k is None]
    return f"{', '.join(names[:-1])} and {names[-1]} have no class, the most probable output that has one is taken"
