"""Chips and labels of both ends: read once for every way in which they have to be read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.ablate.ends import End, Held, mixed
from harness.chips.chip import Chip
from harness.chips.labels import IGNORE_INDEX
from harness.chips.rasterise import SCHEME as FOOTPRINTS
from harness.chips.recipe import Dates
from harness.chips.worldcover import NODATA, wants_buildings
from harness.claims.families import Adapter
from harness.claims.schemes import Scheme
from harness.errors import ChipError, HarnessError, RegistryError
from harness.given import Given, from_lock
from harness.workbench import COARSE, Place, smoothed

if TYPE_CHECKING:
    from harness.locking import Sources


class Readings(Protocol):
    """Where places come from."""

    @property
    def given(self) -> Given:
        """What the start's reading is given."""

    @property
    def resampled(self) -> Mapping[str, str]:
        """How the chips were read, by band group, as the workbench takes it."""

    def settle(self, start: End, end: End) -> tuple[End, End, list[Held]]:
        """The two ends as far as these chips can be fed and labelled for them."""

    def way(self, end: End) -> str:
        """Name of the reading that an end needs: equal where the same chip serves."""

    def place(self, name: str, end: End) -> Place:
        """A chip as an end has it read and labelled."""


def _buildings(given: Given, chip: Chip, end: End) -> NDArray[np.int64]:
    label = given.label_in(chip, [FOOTPRINTS])
    if isinstance(label, str):
        raise ChipError(f"{chip.id}: {label}")
    data = label.data.astype(np.int64)
    return np.where(data == IGNORE_INDEX, 0, data) if end.unlabelled == "background" else data


@dataclass
class FileReadings:
    """Chips that came cut: one reading."""

    given: Given
    """Chips and label maps."""
    adapter: Adapter
    """Whose labels."""
    resampled: dict[str, str] = field(default_factory=lambda: dict.fromkeys(COARSE, "as given"))
    """`nearest` for both groups once the pixels have shown it, see `settle`."""

    def way(self, end: End) -> str:
        """The only one."""
        return "files"

    def place(self, name: str, end: End) -> Place:
        """A chip with its label in the end's scheme.

        Raises:
            ChipError: It cannot be read, or has no such label.
        """
        chip = self._chip(name)
        empty = np.zeros((chip.grid.height_px, chip.grid.width_px), np.uint8)
        if self.adapter.classes == 2:
            return Place(chip, empty, _buildings(self.given, chip, end))
        label = self.given.label_in(chip, [end.scheme])
        if isinstance(label, str):
            raise ChipError(f"{name}: {label}")
        return Place(chip, empty, np.full(empty.shape, IGNORE_INDEX, np.int64), {end.scheme: label.data})

    def _chip(self, name: str) -> Chip:
        chip = self.given.chip(name)
        if isinstance(chip, HarnessError):
            raise chip
        return chip

    def settle(self, start: End, end: End) -> tuple[End, End, list[Held]]:
        """Hold what chips that came cut cannot show, each with its reason."""
        chips = [c for c in map(self.given.chip, self.given.names) if isinstance(c, Chip)]
        held: list[Held] = []
        a, b = start.recipe, end.recipe
        if a.grid_snap != b.grid_snap:
            held.append(Held("grid", "the chips came cut; another grid needs reading from a lock"))
            end = mixed(end, start, {"grid"})
        start, end = self._size(start, end, chips, held)
        start, end = _dates(start, end, chips, held)
        start, end = self._resampling(start, end, chips, held)
        if start.scheme != end.scheme and chips:
            for scheme, kept in ((end.scheme, start.scheme), (start.scheme, end.scheme)):
                why = self.given.label_in(chips[0], [scheme])
                if isinstance(why, str):
                    held.append(Held("scheme", f"{why}; both ends are scored under {kept}; --labels adds another map"))
                    start, end = replace(start, scheme=kept), replace(end, scheme=kept)
                    break
        return start, end, held

    def _size(self, start: End, end: End, chips: Sequence[Chip], held: list[Held]) -> tuple[End, End]:
        a, b = start.recipe.chip_size_px, end.recipe.chip_size_px
        sides = sorted({min(c.grid.height_px, c.grid.width_px) for c in chips})
        if a == b or not sides or sides[0] >= max(a, b):
            return start, end
        had = f"{sides[0]} px" if len(sides) == 1 else f"{sides[0]} to {sides[-1]} px"
        held.append(Held("size", f"the chips came with {had}, which is less than {max(a, b)}; both ends take them so"))
        recipe = start.recipe.model_copy(update={"chip_size_px": sides[-1]})
        return replace(start, recipe=recipe), replace(
            end, recipe=end.recipe.model_copy(update={"chip_size_px": sides[-1]})
        )

    def _resampling(self, start: End, end: End, chips: Sequence[Chip], held: list[Held]) -> tuple[End, End]:
        a, b = start.recipe.resampling, end.recipe.resampling
        if a == b:
            return start, end
        ways = {a[g] for g in COARSE} | {b[g] for g in COARSE}
        if all(a[g] == b[g] for g in COARSE):
            why = "no"
        elif not ways <= {"nearest", "bilinear"}:
            why = f"{' and '.join(sorted(ways - {'nearest', 'bilinear'}))} names no weights"
        else:
            why = next((w for c in chips if (w := _no_blocks(c))), "")
        if why:
            said = "" if why == "no" else f" ({why})"
            held.append(Held("resampling", f"the chips came resampled and stay as they are{said}"))
            given = {"resampling": dict.fromkeys(a, "as given")}
            return tuple(replace(e, recipe=e.recipe.model_copy(update=given)) for e in (start, end))  # type: ignore[return-value]
        self.resampled = dict.fromkeys(COARSE, "nearest")
        rest = [g for g in a if g not in COARSE and a[g] != b[g]]
        if rest:
            held.append(Held(f"resampling of {', '.join(rest)}", "the chips came cut; it stays as given at both ends"))
        switched = {"resampling": {**a, **{g: b[g] for g in COARSE}}}
        return start, replace(end, recipe=end.recipe.model_copy(update=switched))


def _no_blocks(chip: Chip) -> str:
    """Why bilinear weights cannot be laid over a chip's coarse bands; empty where they can."""
    layer = chip.layers.get("S2L2A")
    if layer is None:
        return "no Sentinel-2"
    try:
        for factor, bands in COARSE.values():
            for c in (layer.bands.index(b) for b in bands):
                for axis in (1, 2):
                    smoothed(np.nan_to_num(layer.data[:, c]), factor, axis)
    except RegistryError as err:
        return f"{chip.id}: {err}"
    return ""


def _dates(start: End, end: End, chips: Sequence[Chip], held: list[Held]) -> tuple[End, End]:
    """Both ends on one date where the chips do not hold the dates that one of them feeds."""
    counts = [len({p.tobytes() for p in c.layers["S2L2A"].data}) for c in chips if "S2L2A" in c.layers]
    have = min(counts, default=0)
    wants = [e.recipe.dates.count if e.recipe.dates.policy == "distinct" else 1 for e in (start, end)]
    if not have or have >= max(wants):
        return start, end
    one = Dates(policy="repeat", count=max(start.recipe.dates.count, end.recipe.dates.count), window=None)
    why = f"the chips hold {have} date{'' if have == 1 else 's'}; both ends are fed one, repeated"
    held.append(Held("dates", why))
    return tuple(replace(e, recipe=e.recipe.model_copy(update={"dates": one})) for e in (start, end))  # type: ignore[return-value]


@dataclass
class LockReadings:
    """Chips of locks: each reading comes from the store's native windows, none is searched for."""

    stack: ExitStack
    """Holds readers open."""
    paths: Sequence[Path]
    """Locks."""
    sources: Sources
    """Where windows and label rows are kept."""
    schemes: Mapping[str, Scheme]
    """By id."""
    adapter: Adapter
    """Whose labels."""
    start: End
    """One end."""
    end: End
    """The other."""
    ids: Sequence[str] = ()
    """AOIs; all where empty."""
    resampled: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(COARSE, "as given"))
    """Every reading is resampled as its recipe says, so that nothing is done afterwards."""
    _given: dict[tuple[str, str], Given] = field(default_factory=dict)
    _chips: dict[tuple[str, str], Chip] = field(default_factory=dict)

    @property
    def given(self) -> Given:
        """What the start's reading is given."""
        return self._of(self.start)

    def settle(self, start: End, end: End) -> tuple[End, End, list[Held]]:
        """Everything can be read."""
        return start, end, []

    def way(self, end: End) -> str:
        """Dates, grid, size, resampling and offset, as text."""
        r = end.recipe
        return json.dumps([r.id, r.grid_snap, r.chip_size_px, r.resampling, r.s2_offset.policy])

    def names(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """AOIs that are locked for both ends, and of the others why they are not."""
        here, there = self._of(self.start).names, self._of(self.end).names
        missing = {n: self.end.recipe.id for n in here if n not in there}
        missing |= {n: self.start.recipe.id for n in there if n not in here}
        why = {n: f"not locked for recipe {r}; `harness lock` adds it" for n, r in missing.items()}
        return tuple(n for n in here if n in there), why

    def place(self, name: str, end: End) -> Place:
        """A chip read and labelled as an end has it; windows come from the store.

        Raises:
            ChipError: It cannot be read, or has no such label.
            SourceError: A service does not answer.
        """
        given, key = self._of(end), (name, self.way(end))
        if key not in self._chips:
            self._chips = {k: c for k, c in self._chips.items() if k[0] == name}  # those of earlier chips go
            chip = given.chip(name)
            if isinstance(chip, HarnessError):
                raise chip
            self._chips[key] = chip
        chip = self._chips[key]
        layer = chip.layers.get("LULC")
        size = (chip.grid.height_px, chip.grid.width_px)
        two = self.adapter.classes == 2
        if layer is None and not two:
            raise ChipError(f"{name}: the lock holds no land-cover map, which scheme {end.scheme} reads")
        codes = np.full(size, NODATA, np.uint8)
        if layer is not None:
            codes = np.nan_to_num(layer.data[0, 0], nan=NODATA).astype(np.uint8)
        if two or wants_buildings(self.schemes[end.scheme]):
            return Place(chip, codes, _buildings(given, chip, end))
        return Place(chip, codes, np.full(size, IGNORE_INDEX, np.int64))

    def _of(self, end: End) -> Given:
        key = (self.way(end), end.footprints)
        if key not in self._given:
            recipe = end.recipe
            if "given" in (self.start.recipe.dem.policy, self.end.recipe.dem.policy):
                dem = recipe.dem.model_copy(update={"policy": "given"})  # the DEM must be whole where one end feeds it
                recipe = recipe.model_copy(update={"dem": dem})
            self._given[key] = self.stack.enter_context(
                from_lock(self.paths, recipe, self.sources, self.schemes, footprints=end.footprints, ids=self.ids)
            )
        return self._given[key]
