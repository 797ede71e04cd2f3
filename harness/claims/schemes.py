"""Class schemes under eval/schemes/: which index means what, and the evidence for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.claims.model import Source
from harness.claims.registry import read_yaml, validated
from harness.errors import RegistryError
from harness.records import Strict, Text

WORLDCOVER: dict[int, str] = {
    10: "tree cover",
    20: "shrubland",
    30: "grassland",
    40: "cropland",
    50: "built-up",
    60: "bare or sparse vegetation",
    70: "snow and ice",
    80: "permanent water bodies",
    90: "herbaceous wetland",
    95: "mangroves",
    100: "moss and lichen",
}
"""ESA WorldCover v200 codes (Product User Manual V2.0, table 3)."""


class SchemeClass(Strict):
    """One index of a scheme."""

    index: Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, str) else v)]
    """Index in label and output."""
    name: str
    """As the document names it."""
    worldcover: list[Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, str) else v)]] = Field(
        default_factory=list
    )
    """ESA WorldCover codes that go into it."""
    other: Text = None
    """Other sources, e.g. building footprints."""


class Scheme(Strict):
    """One file under eval/schemes/."""

    id: str
    """Name; the file's stem."""
    title: str
    """For people."""
    origin: str
    """What kind of document gives it."""
    sources: list[Source]
    """Where it stands."""
    classes: list[SchemeClass]
    """By ascending index."""
    ignore: Text = None
    """What happens to pixels of no class."""
    evidence: str
    """What it rests on, in one or two sentences."""

    def named(self, index: int) -> str:
        """Name of the class at an index.

        Raises:
            RegistryError: The scheme has no such index.
        """
        for each in self.classes:
            if each.index == index:
                return each.name
        raise RegistryError(f"scheme {self.id} has no index {index}")


class Sighting(Strict):
    """A place whose cover is known, and which published row is read there."""

    id: str
    """Short name, e.g. `beach`."""
    place: str
    """Place of the published rows."""
    index: Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, str) else v)]
    """Class index that is looked at."""
    rule: Literal["dominant", "only_here", "present", "absent"]
    """dominant: the index has the most pixels there. only_here: it has pixels there and at no
    other place. present: it has at least 2 % of the chip. absent: it has none."""
    ground: str
    """What stands there."""
    worldcover: list[Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, str) else v)]] = Field(
        default_factory=list
    )
    """WorldCover codes that the ground falls under."""
    footprints: Annotated[bool, BeforeValidator(lambda v: v == "true" if isinstance(v, str) else v)] = False
    """The ground is covered by building footprints."""
    limit: str
    """Why it might mislead."""

    def reads(self, scheme: Scheme) -> Literal["supports", "contradicts", "silent"]:
        """How the sighting, if it was seen, bears on a scheme.

        An index that rules a place, or is found only there, should stand for what is there. One
        that is merely present may stand for something else nearby, so it only supports. One
        that is absent speaks only against schemes in which it stands for the ground.
        """
        here = next((c for c in scheme.classes if c.index == self.index), None)
        if here is None:
            return "silent"
        fits = bool(set(here.worldcover) & set(self.worldcover)) or (self.footprints and bool(here.other))
        if self.rule == "absent":
            return "contradicts" if fits else "silent"
        if self.rule == "present" and not fits:
            return "silent"
        return "supports" if fits else "contradicts"


class Geography(Strict):
    """One file under eval/schemes/evidence/: what published rows show at known places."""

    subject: str
    """Adapter whose rows they are."""
    rows: str
    """Claims that hold the rows: the start of their ids and `*`."""
    sightings: list[Sighting]
    """In reading order."""
    settles: str
    """What would settle the scheme."""
    admissions: list[str] = Field(default_factory=list)
    """Ids of source notes in which the author himself says which scheme the weights follow."""


def read_geography(folder: Path) -> list[Geography]:
    """Read all evidence files of a folder.

    Raises:
        RegistryError: With file, line and field.
    """
    return [validated(Geography, read_yaml(path), path, "geography") for path in sorted(folder.glob("*.yaml"))]


def read_schemes(folder: Path) -> dict[str, Scheme]:
    """Read all schemes of a folder.

    Raises:
        RegistryError: With file, line and field.
    """
    out: dict[str, Scheme] = {}
    for path in sorted(folder.glob("*.yaml")):
        raw = read_yaml(path)
        scheme = validated(Scheme, raw, path, "scheme")
        if scheme.id != path.stem:
            raise RegistryError(f"{path}:{raw.lines.get('id', 1)}: id: {scheme.id!r} differs from the file's name")
        indices = [c.index for c in scheme.classes]
        if indices != sorted(set(indices)):
            raise RegistryError(
                f"{path}:{raw.lines['classes']}: classes: indices must ascend, each once; found {indices}"
            )
        codes = [code for c in scheme.classes for code in c.worldcover]
        for code in codes:
            if code not in WORLDCOVER:
                raise RegistryError(f"{path}:{raw.lines['classes']}: classes: {code} is no ESA WorldCover v200 code")
            if codes.count(code) > 1:
                raise RegistryError(f"{path}:{raw.lines['classes']}: classes: WorldCover {code} goes into two classes")
        out[scheme.id] = scheme
    return out
