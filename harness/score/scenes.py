"""Which chips are one scene: the one rule that every interval, threshold and sentence about scenes goes by.

Chips are one scene where they share ground, where they are cut from one Major-TOM cell (which their ids name), or
where the record says so; directly or through others. Pixels of one scene are no independent evidence of each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.records import ChipScore

CELL = re.compile(r"\d+[UD]_\d+[LR]")
"""A Major-TOM cell in a chip's id."""

NAMED = 3
"""A scene of more cells or chips than these is named by the first of them and a count."""

PROBE = "probe"
"""Role of chips that were chosen for what is on them: they stand in tables, and are no sample of anything."""


def label_of(chip: str) -> str:
    """The Major-TOM cell that a chip's id names; the id itself where it names none."""
    found = CELL.search(chip)
    return chip if found is None else found[0]


def joined(chips: Sequence[str], shared: Mapping[str, Iterable[str]], labels: Mapping[str, str]) -> dict[str, str]:
    """The scene of each chip by its id.

    Args:
        chips: Ids.
        shared: Of a chip, others that it shares ground with; those that are not among `chips` join nothing.
        labels: Of a chip, the scene on record; `label_of` its id where it has none.

    Returns:
        Chip to scene. A scene is named by its one label, or by its labels joined with `+`.
    """
    home = {chip: chip for chip in chips}

    def root(name: str) -> str:
        while home[name] != name:
            name = home[name]
        return name

    named = {chip: labels.get(chip) or label_of(chip) for chip in home}
    first: dict[str, str] = {}
    for chip in home:
        beside = [other for other in shared.get(chip, ()) if other in home]
        for other in [*beside, first.setdefault(named[chip], chip)]:
            home[root(chip)] = root(other)
    groups: dict[str, list[str]] = {}
    for chip in home:
        held = groups.setdefault(root(chip), [])
        if named[chip] not in held:
            held.append(named[chip])
    return {chip: _name(groups[root(chip)]) for chip in home}


def _name(labels: Sequence[str]) -> str:
    more = len(labels) - NAMED
    return " + ".join([*labels[:NAMED], *([f"{more} more"] if more > 0 else [])])


def scene_names(chips: Sequence[ChipScore]) -> dict[str, str]:
    """The scene of each chip of a record by its id, whether or not it is scored."""
    shared: dict[str, list[str]] = {}
    for chip in chips:
        shared.setdefault(chip.chip, []).extend(chip.shares_ground or ())
    labels = {chip.chip: chip.cluster for chip in chips if chip.cluster is not None}
    return joined([chip.chip for chip in chips], shared, labels)


def with_clusters(chips: Sequence[ChipScore]) -> list[ChipScore]:
    """The same chips, each with its scene on record.

    A chip whose ground nobody looked at and whose id names no cell stays without one: whether it is a scene of its
    own is not known.
    """
    names = scene_names(chips)
    return [
        chip
        if chip.shares_ground is None and names[chip.chip] == chip.chip
        else chip.model_copy(update={"cluster": names[chip.chip]})
        for chip in chips
    ]


def sampled(chips: Sequence[ChipScore]) -> list[ChipScore]:
    """Scored chips that an interval over scenes may rest on: those of role `probe` are left out."""
    return [chip for chip in chips if chip.scored and chip.role != PROBE]


def probes(chips: Sequence[ChipScore]) -> list[str]:
    """Scored chips of role `probe`, by id."""
    return [chip.chip for chip in chips if chip.scored and chip.role == PROBE]
