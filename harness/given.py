"""Chips and labels for a run, wherever they come from: a folder of files, or a lock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.chips.chip import Chip, Label
from harness.chips.labels import LabelMap, read_label_map, to_label
from harness.chips.recipe import Recipe
from harness.chips.sources.files import each_chip
from harness.claims.families import Adapter
from harness.claims.schemes import Scheme
from harness.errors import ChipError, HarnessError, RegistryError, SourceError
from harness.names import known

if TYPE_CHECKING:
    from harness.chips.scenes import AoiLock
    from harness.locking import Sources

LAND_COVER: str = "training-code"
"""Scheme in which land cover is scored where nobody names another: the one that the training code writes."""


@dataclass(frozen=True)
class Given:
    """What a run is given."""

    source: Literal["files", "lock"]
    """Where chips come from."""
    names: tuple[str, ...]
    """Chip ids, in order."""
    chip: Callable[[str], Chip | HarnessError]
    """Reads one; the error where it cannot be read."""
    label_in: Callable[[Chip, Sequence[str]], Label | str]
    """Its label in the first of these schemes that it can be had in, or why there is none."""
    notes: Callable[[str], Sequence[str]] = lambda _: ()
    """What was decided on the way to a chip, once it has been read."""
    splits: Mapping[str, tuple[str, int | None]] = field(default_factory=dict)
    """By chip: the split that claims name it by, and how many chips that has, where that is known."""
    locks: Mapping[str, str] = field(default_factory=dict)
    """sha256 of each lock by its file's name."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """What a figure depends on."""
    preferred: str | None = None
    """Scheme that comes first where an adapter has several."""

    def label(self, chip: Chip, adapter: Adapter) -> Label | str:
        """A chip's label in a scheme of the adapter, or why there is none."""
        own = adapter.label_schemes
        if not own:
            return f"no class scheme is known for {adapter.id}"
        if self.preferred is not None and self.preferred not in own and len(own) > 1:
            return (
                f"{adapter.id} is never scored under {self.preferred}, only under {', '.join(own)}; name one of these"
            )
        found = self.label_in(chip, [s for s in own if s == self.preferred] or own)
        return f"{adapter.id}: {found}" if isinstance(found, str) else found


def from_files(
    folder: Path, declared: Mapping[str, str], labels: Sequence[Path], schemes: Mapping[str, Scheme]
) -> Given:
    """Chips of a folder, see docs/chips-folder.md.

    Raises:
        ChipError: No chips there.
        RegistryError: A label map that is wrong.
    """
    maps = [read_label_map(path, dict(schemes)) for path in labels]
    chips = dict(each_chip(folder, declared, None, dict(schemes)))

    def label(chip: Chip, wanted: Sequence[str]) -> Label | str:
        try:
            return _mapped(chip, wanted, maps)
        except ChipError as err:
            return str(err)

    return Given("files", tuple(chips), chips.__getitem__, label)


@contextmanager
def from_lock(
    paths: Sequence[Path],
    recipe: Recipe,
    sources: Sources,
    schemes: Mapping[str, Scheme],
    *,
    scheme: str | None = None,
    footprints: str = "stood",
    ids: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
) -> Iterator[Given]:
    """Chips of locks: read, never searched for. What the store holds is not read again.

    Args:
        paths: The locks.
        recipe: Its grid, size, dates and resampling.
        sources: Where windows and label rows are kept, and asked for where they are not.
        schemes: By id.
        scheme: Of land cover; `LAND_COVER` where left out.
        footprints: Rule between footprints and pixels, a name of `harness.chips.rasterise.RULES`.
        ids: AOIs; all of the recipe where empty.
        failed: AOIs that could not be locked, and why: errors in place of chips.

    Raises:
        RegistryError: No such lock, scheme, rule or AOI, or none for the recipe.
    """
    from harness.chips.assemble import read_chip
    from harness.chips.lock import read_lock
    from harness.chips.rasterise import RULES
    from harness.chips.tables import label as made

    rule = RULES[known(footprints, RULES, "rule for footprints")]
    land_cover = known(scheme or LAND_COVER, schemes, "scheme")
    if len({path.name for path in paths}) < len(paths):
        raise RegistryError(f"two locks of one name: {', '.join(map(str, paths))}; records name them by it, rename one")
    held: dict[str, AoiLock] = {}
    for path in paths:
        lock = read_lock(path)
        of_recipe = [one for one in lock.aois if one.recipe == recipe.id]
        if not of_recipe:
            have = ", ".join(sorted({one.recipe for one in lock.aois})) or "nothing"
            raise RegistryError(f"{path}: holds no AOI for recipe {recipe.id}, only for {have}; `harness lock` adds it")
        for one in of_recipe:
            if one.aoi in held:
                raise RegistryError(f"{path}: {one.aoi} stands in another of these locks, too; leave one out")
            held[one.aoi] = one
    lost = {name: why for name, why in (failed or {}).items() if name not in held}
    there = [*held, *lost]
    names = [known(name, there, f"locked AOI for recipe {recipe.id}") for name in dict.fromkeys(ids)] or there
    tables, store = sources.tables, sources.store
    remarks: dict[str, tuple[str, ...]] = {}
    with sources.reading() as reader:

        def chip(name: str) -> Chip | HarnessError:
            if name in lost:
                return SourceError(lost[name])
            try:
                done = read_chip(held[name], recipe, reader, store)
            except (SourceError, ChipError) as err:
                return err
            remarks[name] = done.remarks
            return done.chip

        def label(chip: Chip, wanted: Sequence[str]) -> Label | str:
            try:
                return made(chip, held[chip.id], schemes[wanted[0]], tables, rule)
            except (SourceError, ChipError) as err:
                return str(err)

        yield Given(
            "lock",
            tuple(names),
            chip,
            label,
            lambda name: remarks.get(name, ()),
            {name: (one.split, one.split_size) for name, one in held.items() if one.split},
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
            {
                "land-cover scheme": land_cover,
                "footprints": rule.name,
                "catalogue": ", ".join(sorted({s.catalogue for one in held.values() for s in one.searches})) or "none",
            },
            land_cover,
        )


def _mapped(chip: Chip, wanted: Sequence[str], maps: Sequence[LabelMap]) -> Label | str:
    """The chip's label in one of the schemes, or why there is none."""
    for each in maps:
        if each.scheme in wanted:
            if each.modality not in chip.layers:
                return f"the chip has no {each.modality}, which the label map for {each.scheme} reads"
            layer = chip.layers[each.modality]
            return to_label(each, layer.data[0, 0], layer.source)
    if chip.label is not None and chip.label.scheme in wanted:
        return chip.label
    there = sorted({m.scheme for m in maps} | ({chip.label.scheme} if chip.label else set()))
    return f"no label in {' or '.join(wanted)}; given: {', '.join(there) or 'none'}"
