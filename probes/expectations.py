"""Reads files of probes; an error names file, line and field."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import Field

from harness.chips.aois import read_aois
from harness.claims.registry import Located, read_yaml, validated
from harness.claims.schemes import Scheme, read_schemes
from harness.errors import RegistryError
from harness.records import Strict, Text
from harness.score.formula import names_of, parse
from harness.score.probes import Probe

SCHEMA = "1"
"""Version of the form of these files."""


class Entry(Strict):
    """One expectation, at one place or several."""

    id: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")
    """Short name; unique for an adapter and a place."""
    places: list[str] = Field(min_length=1)
    """AOI ids."""
    expect: str = Field(min_length=1)
    """Formula, see `harness.score.formula`."""
    reason: str = Field(min_length=1)
    """Why this is to be expected."""
    label: Text = None
    """Scheme of the label where it is not the file's."""


class ProbeFile(Strict):
    """One file of probes."""

    schema_version: str = Field(alias="schema")
    """Version of the form."""
    id: str
    """Name; the file's stem."""
    title: str = Field(min_length=1)
    """For people."""
    aois: Text = None
    """AOI file that every place must stand in, without `.geojson`; None where places are checked by the run alone."""
    written: date
    """When the expectations were written."""
    known: str = Field(min_length=1)
    """What was known when they were written."""
    adapters: list[str] = Field(min_length=1)
    """Adapter ids; every probe is held against each."""
    output: str
    """Scheme under which outputs are read."""
    label: str
    """Scheme of the label."""
    labelled_at_least: float = Field(gt=0, le=1)
    """Share of the chip that must be labelled."""
    probes: list[Entry] = Field(min_length=1)
    """Expectations."""


@dataclass(frozen=True)
class ProbeSet:
    """One file with its formulas read, for all adapters and places."""

    id: str
    """The file's stem."""
    title: str
    """For people."""
    written: date
    """When the expectations were written."""
    aois: str | None
    """AOI file."""
    probes: tuple[Probe, ...]
    """Adapter by adapter, in the file's order."""


def read_probes(folder: Path, evaluation: Path, aois: Path) -> list[ProbeSet]:
    """Read all files of probes of a folder.

    Args:
        folder: Holds *.yaml; class schemes and AOI files beside them, under schemes/ and aois/, come first.
        evaluation: The eval/ folder, for schemes.
        aois: Folder of AOI files.

    Raises:
        RegistryError: No file, a file that is wrong, an unknown scheme, place or name in a formula (with the nearest
            known one), or two probes of one name.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise RegistryError(f"{folder}: holds no *.yaml with probes; name another folder with --probes-folder")
    schemes = {**read_schemes(evaluation / "schemes"), **read_schemes(folder / "schemes")}
    sets = [_read(path, schemes, (folder / "aois", aois)) for path in files]
    seen: dict[str, str] = {}
    for each in sets:
        for probe in each.probes:
            if probe.name in seen:
                raise RegistryError(f"{folder / each.id}.yaml: probe {probe.name} stands already in {seen[probe.name]}")
            seen[probe.name] = f"{each.id}.yaml"
    return sets


def _read(path: Path, schemes: dict[str, Scheme], aois: tuple[Path, ...]) -> ProbeSet:
    raw = read_yaml(path)
    if raw.get("schema") != SCHEMA:
        raise RegistryError(
            f"{path}:{raw.lines.get('schema', 1)}: schema: {raw.get('schema')!r}; this version reads {SCHEMA!r}"
        )
    file = validated(ProbeFile, raw, path, "probes")
    if file.id != path.stem:
        raise RegistryError(f"{path}:{raw.lines['id']}: id: {file.id!r} differs from the file's name")
    places = _places(file, path, raw, aois)
    probes: list[Probe] = []
    for adapter in file.adapters:
        for entry, at in zip(file.probes, raw["probes"], strict=True):
            output = _classes(file.output, schemes, f"{path}:{raw.lines['output']}: output")
            scheme = entry.label or file.label
            where = at.lines["label"] if entry.label else raw.lines["label"]
            label = _classes(scheme, schemes, f"{path}:{where}: label")
            try:
                formula = parse(entry.expect, {*names_of("predicted", output), *names_of("label", label)})
            except RegistryError as err:
                raise RegistryError(f"{path}:{at.lines['expect']}: {entry.id}: {err}") from err
            for place in entry.places:
                if places is not None and place not in places:
                    near = _near(place, places)
                    raise RegistryError(
                        f"{path}:{at.lines['places']}: {entry.id}: no place {place!r} in {file.aois}{near}"
                    )
                probes.append(
                    Probe(
                        id=entry.id,
                        adapter=adapter,
                        place=place,
                        formula=formula,
                        reason=entry.reason,
                        output=output,
                        output_scheme=file.output,
                        label=label,
                        label_scheme=scheme,
                        labelled_at_least=file.labelled_at_least,
                    )
                )
    return ProbeSet(file.id, file.title, file.written, file.aois, tuple(probes))


def _places(file: ProbeFile, path: Path, raw: Located, folders: tuple[Path, ...]) -> list[str] | None:
    if file.aois is None:
        return None
    for folder in folders:
        if (folder / f"{file.aois}.geojson").exists():
            return [aoi.id for aoi in read_aois(folder / f"{file.aois}.geojson")]
    known = sorted({found.stem for folder in folders for found in folder.glob("*.geojson")})
    raise RegistryError(f"{path}:{raw.lines['aois']}: aois: no file {file.aois}.geojson{_near(file.aois, known)}")


def _classes(scheme: str, schemes: dict[str, Scheme], where: str) -> tuple[str, ...]:
    if scheme not in schemes:
        raise RegistryError(f"{where}: no scheme {scheme!r}{_near(scheme, sorted(schemes))}")
    classes = schemes[scheme].classes
    if [c.index for c in classes] != list(range(len(classes))):
        raise RegistryError(f"{where}: scheme {scheme} leaves an index out; shares need every index named")
    return tuple(c.name for c in classes)


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1, 0.4)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known) or 'none'}"
