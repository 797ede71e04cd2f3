"""What one run of the bench writes down: raw seconds of interleaved pairs, and everything else raw.

Ratios and intervals are computed from it by `harness.bench.ratios`; nothing here is a mean.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field, model_validator

from harness.errors import RegistryError
from harness.places import write_file
from harness.records.cost import SCHEMA as COST_SCHEMA
from harness.records.cost import CallCost, CostRecord
from harness.records.files import as_record, read_json, text
from harness.records.quantity import Strict

SCHEMA = 1
"""Version of the shape below."""

Group = Literal["chip read", "store", "preprocess", "forward", "switch", "sweep", "report"]
"""What is timed."""

GROUPS: tuple[Group, ...] = ("chip read", "store", "preprocess", "forward", "switch", "sweep", "report")
"""In the order of a call."""


class Machine(Strict):
    """The machine, without a name of host, user or folder."""

    system: str
    """Operating system and architecture."""
    cpu: str
    """As its maker names it."""
    cores: int = Field(ge=1)
    """That the system shows."""
    memory_gib: int | None
    """Main memory, rounded; None where the system does not tell."""
    device_kind: Literal["cpu", "cuda", "rocm", "mps"]
    """Where the models ran."""
    device: str
    """As its maker names it."""
    build: str
    """Torch and the library that drives the device."""
    threads: int
    """That torch uses on the CPU."""
    packages: dict[str, str]
    """Version by name, of what runs the models."""
    python: str
    """Version."""


Timed = TypeVar("Timed", bound="Growth | Part")


def _above_zero(one: Timed) -> Timed:
    if min(one.seconds) <= 0:
        raise ValueError("seconds are above 0")
    return one


class Pairs(Strict):
    """Our way and a plain reference of the same result, taking turns."""

    id: str = Field(min_length=1)
    """`group` or `group/adapter`."""
    group: Group
    """What is timed."""
    adapter: str | None = None
    """Adapter id; None where none is concerned."""
    ours: str
    """Our way, in words."""
    reference: str
    """The plain way, in words."""
    ours_s: list[float]
    """Seconds, a pair each."""
    reference_s: list[float]
    """Seconds of the other half of each pair."""
    processes: Literal["one process", "a fresh process each"]
    """What the pairs share."""
    same: str
    """How the two results were held against each other."""
    of: str
    """What was worked on."""

    @model_validator(mode="after")
    def _paired(self) -> Pairs:
        if len(self.ours_s) != len(self.reference_s) or len(self.ours_s) < 2:
            raise ValueError("as many seconds of ours as of the reference, two or more")
        if min(*self.ours_s, *self.reference_s) <= 0:
            raise ValueError("seconds are above 0")
        return self


class Peaks(Strict):
    """What the machine does at most, measured beside everything else."""

    matmul_gflops: list[float] = Field(min_length=1)
    """Billion operations a second of a float32 product of two square matrices, each repeat."""
    matmul_side: int
    """Their side."""
    copy_gbs: list[float] = Field(min_length=1)
    """Billion bytes a second read and written by a copy, each repeat."""
    copy_bytes: int
    """Bytes copied."""


class Part(Strict):
    """One part of one call."""

    adapter: str
    """Adapter id."""
    part: Literal["load", "preprocess", "encoder", "neck", "decoder", "head"]
    """Load: base and this adapter from disk, strictly. Encoder: with tokens generated, where the adapter thinks."""
    seconds: list[float] = Field(min_length=1)
    """Each repeat."""
    gflop: float | None = None
    """Billion operations of products, convolutions and attention; None where it has none to count."""
    weight_bytes: int | None = None
    """Bytes of its weights, each tensor once; None where it has none."""

    @model_validator(mode="after")
    def _positive(self) -> Part:
        return _above_zero(self)


class Growth(Strict):
    """One point of a small sweep."""

    of: Literal["places", "chip size", "adapters", "dates"]
    """What grows."""
    x: int
    """Places, pixels a side, adapters, or dates that differ."""
    what: str
    """What ran."""
    seconds: list[float] = Field(min_length=1)
    """Each repeat, points taking turns."""

    @model_validator(mode="after")
    def _positive(self) -> Growth:
        return _above_zero(self)


class Size(Strict):
    """Bytes on disk or in memory, or why not."""

    id: str
    """Unique in the record."""
    kind: Literal["disk", "peak memory", "held memory"]
    """Peak memory: the resident high-water mark of a child process. Held: bytes of a model's tensors."""
    what: str
    """Of what."""
    adapter: str | None = None
    """Adapter id; None where none or all are concerned."""
    bytes: int | None
    """How many; None where not measured."""
    reason: str | None = None
    """Why not."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Size:
        if (self.bytes is None) == (self.reason is None):
            raise ValueError("a size has either bytes or the reason why there are none")
        return self


class BenchRecord(Strict):
    """One run of the bench on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: Literal["bench"] = "bench"
    """Tells it from a record of `harness bench energy` in the same folder."""
    schema_version: int = Field(alias="schema", default=SCHEMA)
    """Version of this shape."""
    created: str
    """Date and time in UTC, ISO 8601."""
    harness: str
    """Version of this package."""
    family: str
    """Family id."""
    weights: Literal["random", "published"]
    """random: what ran are numbers out of a generator; no claim is judged by their times."""
    topology: Literal["narrow", "published"]
    """narrow: the family's wiring over a small backbone with a narrow decoder, to try code on; no size of it is
    the family's. published: the family's own."""
    chip_px: int = Field(ge=16)
    """Side of a chip."""
    rounds: int = Field(ge=2)
    """Pairs of each row that runs a model; cheaper rows have more."""
    machine: Machine
    """On what."""
    conditions: dict[str, str]
    """Clock, power mode, temperature and load before anything ran."""
    shared: str | None
    """Why the machine was not at rest; None where it was."""
    rows: list[Pairs]
    """Each thing against its reference."""
    calls: list[CallCost]
    """The published way of one forward, an adapter each, out of the same pairs."""
    no_joules: str
    """Why no joules stand here."""
    peaks: Peaks
    """Of the machine."""
    parts: list[Part]
    """Where time goes."""
    growth: list[Growth]
    """How cost grows."""
    sizes: list[Size]
    """Disk and memory."""
    absent: list[str]
    """What was not measured in this run, and why."""
    assumptions: list[str]
    """What a reader takes on trust."""

    @model_validator(mode="after")
    def _unique(self) -> BenchRecord:
        for name, ids in (("rows", [r.id for r in self.rows]), ("sizes", [s.id for s in self.sizes])):
            if len(set(ids)) != len(ids):
                raise ValueError(f"{name}: an id stands twice")
        if self.schema_version != SCHEMA:
            raise ValueError(f"schema: {self.schema_version}; this version reads {SCHEMA}")
        return self

    @property
    def name(self) -> str:
        """File name without ending: of the machine, and of the topology where it is the published one."""
        words = re.findall(r"[a-z0-9]+", f"{self.machine.cpu} {self.machine.cores} cores".lower())
        device = [] if self.machine.device_kind == "cpu" else [self.machine.device_kind]
        full = ["full-size"] if self.topology == "published" else []
        return "-".join([*(w for w in words if w not in ("r", "tm", "family", "model")), *device, *full])

    def row(self, id_: str) -> Pairs | None:
        """One row; None where it was not measured."""
        return next((r for r in self.rows if r.id == id_), None)


def read_bench(path: Path) -> BenchRecord:
    """One record of the bench.

    Raises:
        RegistryError: It is not there, or not of this shape; names file and field.
    """
    found = _read(path)
    if not isinstance(found, BenchRecord):
        raise RegistryError(f"{path}: a record of `harness bench energy`; one of `harness bench run` is needed")
    return found


def read_folder(folder: Path) -> tuple[list[tuple[str, BenchRecord]], list[tuple[str, CostRecord]]]:
    """Every record under eval/bench/ with its file's name, in their order: of the bench, and of energy.

    Raises:
        RegistryError: A file is of neither shape.
    """
    benches: list[tuple[str, BenchRecord]] = []
    costs: list[tuple[str, CostRecord]] = []
    for path in sorted(folder.glob("*.json")):
        found = _read(path)
        if isinstance(found, BenchRecord):
            benches.append((path.name, found))
        else:
            costs.append((path.name, found))
    return benches, costs


def _read(path: Path) -> BenchRecord | CostRecord:
    raw = read_json(path, "no such file; `nox -s bench` writes one")
    if isinstance(raw, dict) and raw.get("kind") == "bench":
        return as_record(path, raw, BenchRecord)
    return as_record(path, raw, CostRecord, COST_SCHEMA)


def write_bench(record: BenchRecord, folder: Path) -> Path:
    """Write a record under its own name, whole or not at all, over an earlier one of the same name."""
    path = folder / f"{record.name}.json"
    write_file(path, text(record))
    return path
