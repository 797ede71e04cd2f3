"""The two ends of a bridge, what differs between them, and how differences are grouped into factors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from harness.chips.recipe import Recipe
from harness.errors import RecipeError
from harness.names import known
from harness.score.corners import Kind
from harness.score.shapley import LARGEST
from harness.workbench import Setting

Unlabelled = Literal["left out", "background"]
"""What becomes of land that no footprint table speaks of: not scored, or scored as no building."""

RECIPE_KNOBS: Final[dict[str, tuple[str, ...]]] = {
    "grid": ("grid_snap",),
    "size": ("chip_size_px",),
    "dates": ("dates",),
    "resampling": ("resampling",),
    "offset": ("s2_offset",),
    "s1": ("s1", "missing"),
    "dem": ("dem",),
    "statistics": ("statistics",),
    "precision": ("precision",),
}
"""Fields of a recipe by knob. What gaps become goes with the unit of Sentinel-1: -60 fills dB and no power."""

END_KNOBS: Final[dict[str, tuple[str, Kind]]] = {
    "scheme": ("scheme", "scheme"),
    "population": ("chips", "population"),
    "footprints": ("footprints", "labels"),
    "unlabelled": ("unlabelled", "unlabelled"),
}
"""Other knobs: field of an `End`, and kind."""

MERGES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("units and offset", ("offset", "s1")),
    ("grid and size", ("grid", "size")),
    ("reading", ("grid", "size", "resampling")),
    ("labels", ("footprints", "unlabelled")),
    ("scheme and labels", ("scheme", "footprints", "unlabelled")),
    ("statistics and units", ("statistics", "offset", "s1")),
    ("dates and DEM", ("dates", "dem")),
)
"""What becomes one factor where more differ than can be split, in this order, until they can."""


@dataclass(frozen=True)
class End:
    """How the figures of one end are made."""

    recipe: Recipe
    """From scene to tensor."""
    scheme: str
    """Of the labels."""
    chips: tuple[str, ...]
    """Chip ids."""
    footprints: str = "stood"
    """Rule between footprints and pixels; counts with a lock only."""
    unlabelled: Unlabelled = "left out"
    """Land that no footprint table speaks of."""

    @property
    def date(self) -> int | None:
        """Which of a chip's dates is fed alone; None feeds all."""
        return None if self.recipe.dates.policy in ("distinct", "given") else 0

    def setting(self, population: str, threshold: float) -> Setting:
        """As the workbench takes it."""
        return Setting(self.recipe, self.scheme, population, threshold, self.date)


@dataclass(frozen=True)
class Knob:
    """One thing that differs between two ends."""

    id: str
    """A key of `RECIPE_KNOBS` or `END_KNOBS`."""
    kind: Kind
    """What sort of difference it is."""
    start: str
    """The start's value in words."""
    end: str
    """The end's value in words."""


@dataclass(frozen=True)
class Held:
    """A difference that could not be, or was not to be, switched."""

    knob: str
    """Which."""
    why: str
    """Reason, and what both ends have instead."""


@dataclass(frozen=True)
class Group:
    """Knobs that are switched together: a factor."""

    id: str
    """Name of the factor."""
    kind: Kind
    """What sort of difference it is."""
    knobs: tuple[Knob, ...]
    """At least one."""

    @property
    def says(self) -> str:
        """What is switched, in words."""
        if len(self.knobs) == 1:
            return f"{self.knobs[0].start} -> {self.knobs[0].end}"
        return "; ".join(f"{k.id}: {k.start} -> {k.end}" for k in self.knobs)


def differing(start: End, end: End) -> list[Knob]:
    """Knobs in which two ends differ.

    Raises:
        RecipeError: They feed other bands, which the same model cannot take.
    """
    a, b = start.recipe, end.recipe
    if a.bands != b.bands:
        raise RecipeError(f"recipes {a.id} and {b.id} feed other bands; one model takes only one of them")
    out = []
    for knob in RECIPE_KNOBS:
        if _value(a, knob) != _value(b, knob):
            kind: Kind = "precision" if knob == "precision" else "recipe"
            out.append(Knob(knob, kind, _words(a, b, knob), _words(b, a, knob)))
    for knob, (name, kind) in END_KNOBS.items():
        one, other = getattr(start, name), getattr(end, name)
        if (set(one) != set(other)) if knob == "population" else one != other:
            out.append(Knob(knob, kind, _plain(one), _plain(other)))
    return out


def _value(recipe: Recipe, knob: str) -> object:
    """What of a recipe's knob bears on a figure; sources and remarks do not."""
    if knob == "statistics":
        return {m: (s.mean, s.std) for m, s in recipe.statistics.items()}
    return [getattr(recipe, name) for name in RECIPE_KNOBS[knob]]


def _plain(value: object) -> str:
    return f"{len(value)} chips" if isinstance(value, tuple) else str(value)


def _words(recipe: Recipe, other: Recipe, knob: str) -> str:
    if knob == "grid":
        return recipe.grid_snap
    if knob == "size":
        return f"{recipe.chip_size_px} px"
    if knob == "dates":
        one = {"one": "one date", "repeat": f"one date {recipe.dates.count} times", "given": "the dates given"}
        return one.get(recipe.dates.policy, f"{recipe.dates.count} dates that differ")
    if knob == "resampling":
        parts = [f"{g} {how}" for g, how in recipe.resampling.items() if other.resampling.get(g) != how]
        return ", ".join(parts)
    if knob == "offset":
        return "raw DN" if recipe.s2_offset.policy == "raw" else "harmonised"
    if knob == "s1":
        s1 = recipe.s1
        floor = "" if s1.floor is None else f", floor {s1.floor:g}"
        theirs = other.missing.pixels
        gaps = [f"{m} {v}" for m, v in sorted(recipe.missing.pixels.items()) if theirs.get(m) != v]
        return f"{s1.unit} as {s1.dtype}{floor}" + (f", gaps {' '.join(gaps)}" if gaps else "")
    if knob == "dem":
        return "DEM as it is" if recipe.dem.policy == "given" else "0 m everywhere"
    return f"those of {recipe.id}" if knob == "statistics" else recipe.precision


def mixed(start: End, end: End, switched: Collection[str]) -> End:
    """The start with some knobs at the end's value. The recipe's id is that of the end whose dates it has."""
    fields = [name for knob in RECIPE_KNOBS if knob in switched for name in RECIPE_KNOBS[knob]]
    update: dict[str, Any] = {name: getattr(end.recipe, name) for name in fields}
    if "dates" in switched:
        update["id"] = end.recipe.id
    others = {name: getattr(end, name) for knob, (name, _) in END_KNOBS.items() if knob in switched}
    return replace(start, recipe=start.recipe.model_copy(update=update), **others)


def hold(start: End, end: End, knobs: Sequence[str]) -> tuple[End, list[Held]]:
    """Leave knobs out on demand: the end takes the start's value.

    Raises:
        RegistryError: No such knob, or one that does not differ.
    """
    there = {k.id: k for k in differing(start, end)}
    found = [there[known(name, there, "knob in which the two ends differ")] for name in dict.fromkeys(knobs)]
    held = [Held(k.id, f"held at {k.start} at both ends, as asked") for k in found]
    return mixed(end, start, {k.id for k in found}), held


def grouped(knobs: Sequence[Knob], most: int = LARGEST) -> list[Group]:
    """Knobs as factors, at most `most`: one each where that suffices, else joined in the order of `MERGES`.

    Raises:
        ValueError: `most` is smaller than what is left when everything of `MERGES` is joined.
    """
    groups = [Group(k.id, k.kind, (k,)) for k in knobs]
    for name, members in MERGES:
        if len(groups) <= most:
            break
        hit = [g for g in groups if {k.id for k in g.knobs} <= set(members)]
        if len(hit) > 1:
            first = groups.index(hit[0])
            one = Group(name, hit[0].kind, tuple(k for g in hit for k in g.knobs))
            if any(k.id == "scheme" for k in one.knobs):
                one = replace(one, kind="scheme")
            groups = [one if at == first else g for at, g in enumerate(groups) if at == first or g not in hit]
    if len(groups) > most:
        raise ValueError(f"{len(groups)} factors are left where {most} can be split; hold some of them")
    return groups
