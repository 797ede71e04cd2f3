"""eval/runs/<id>/bridge.json: one bridge between two ends, written once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from harness.records.files import as_record, read_json, write_once
from harness.records.quantity import Strict

SCHEMA = 1
"""Version of the shape below."""

FILE = "bridge.json"
"""Name of the record in its folder."""

ADDS_UP = 1e-9
"""By how much the shares may miss the difference of the two ends."""

Kind = Literal["scheme", "population", "recipe", "precision", "device", "labels", "unlabelled"]


class KnobRecord(Strict):
    """One thing that differs between the ends."""

    id: str
    """Its name."""
    start: str
    """At the start, in words."""
    end: str
    """At the end."""


class FactorRecord(Strict):
    """What was switched together."""

    id: str
    """Name."""
    kind: Kind
    """What sort of difference it is."""
    says: str
    """In words."""
    knobs: list[KnobRecord] = Field(min_length=1)
    """Several where they were grouped."""


class HeldRecord(Strict):
    """A difference that was not switched."""

    knob: str
    """Which."""
    why: str
    """Why, and what both ends have."""


class ChipRecord(Strict):
    """One chip."""

    chip: str
    """Chip id."""
    cluster: str
    """Scene or parent cell that it counts under."""
    sha256: dict[str, str]
    """Of its pixels, by reading."""
    ends: list[Literal["start", "end"]]
    """Populations that it is in."""
    scored: bool
    """Whether it was run at every combination of its populations."""
    reason: str | None
    """Why not; None where it was."""


class CornerRecord(Strict):
    """One combination."""

    switched: list[str]
    """Factors at the end's setting; the others are at the start's."""
    matrices: dict[str, list[list[int]]]
    """By cluster: pixels, rows label, columns prediction."""
    ignored_px: dict[str, int]
    """By cluster: pixels without a label."""


class PublishedRecord(Strict):
    """The published figure at the start."""

    id: str
    """Claim."""
    printed: str
    """As printed."""
    value: float
    """In the metric's unit."""
    source: str
    """Where it stands."""
    scenes: Literal["same", "others"]
    """Whether it was measured on the very scenes of the start here."""
    clusters: int | None
    """Scenes that it was measured on; None where nobody says."""


class PartRecord(Strict):
    """What label shares, or rates, make up of a population's share."""

    what: str
    """Which, in words."""
    effect: float
    """In units of the metric."""
    low: float | None
    """Lower end of its interval or band; None with the reason in `why`."""
    high: float | None
    """Upper end."""
    established: bool
    """Whether it is spoken of."""
    why: str
    """The reading in words."""
    p: float | None
    """Corrected for all that was looked at."""


class ShareRecord(Strict):
    """One bar."""

    factor: str
    """Factor id."""
    effect: float
    """Shapley share, in units of the metric."""
    low: float | None
    """Lower end of its interval; None with the reason in `why`."""
    high: float | None
    """Upper end."""
    from_start: float
    """Effect of switching it alone at the start."""
    from_end: float
    """Effect of switching it last."""
    detectable: bool
    """Whether it is spoken of."""
    why: str
    """The reading in words."""
    p: float | None
    """Corrected for all that was looked at."""
    parts: list[PartRecord] = Field(default_factory=list)
    """Of a population: label shares, then rates; they sum to the effect."""
    parts_why: str = ""
    """Why a population has none."""

    @model_validator(mode="after")
    def _parts_add_up(self) -> ShareRecord:
        if self.parts and abs(self.effect - math.fsum(p.effect for p in self.parts)) > ADDS_UP:
            raise ValueError(f"the parts of {self.factor} do not sum to its effect")
        return self


class ResultRecord(Strict):
    """What came of it."""

    metric: str
    """Name, e.g. `mIoU over 0, 1, 2`."""
    start: float
    """Start as rerun here."""
    end: float
    """End."""
    shares: list[ShareRecord] = Field(min_length=1)
    """In the order of the factors."""
    interactions: list[tuple[str, str, float]]
    """Pairs, largest first."""
    claimed: float | None
    """The published figure."""
    unexplained: float | None
    """start - claimed."""
    band: tuple[float, float] | None
    """Sampling band on what is unexplained."""
    band_why: str
    """What the band is, or why there is none."""
    unexplained_reading: str
    """The same in words, or why it is not known."""
    unexplained_beyond: bool
    """Whether it is beyond what other scenes would do."""
    n: int
    """Clusters."""
    verdict: Literal["told", "told but for sampling", "cannot be told"]
    """Whether the bridge tells."""
    why: str
    """Reason for the verdict."""
    sentence: str
    """Made of the numbers."""
    level: float
    """Confidence."""
    floor: float
    """Smallest effect that is spoken of."""
    rules: str
    """Date of the rules."""

    @model_validator(mode="after")
    def _adds_up(self) -> ResultRecord:
        rest = self.end - self.start - math.fsum(s.effect for s in self.shares)
        if abs(rest) > ADDS_UP:
            raise ValueError(f"shares miss the difference of the ends by {rest:.3g}")
        return self


class BridgeRecord(Strict):
    """One bridge."""

    schema_version: Literal[1] = 1
    """Version of this shape."""
    id: str
    """Folder name."""
    created: str
    """Date and time in UTC, ISO 8601."""
    who: str
    """Who ran it."""
    command: str
    """As typed."""
    commit: str
    """Commit of this project."""
    dirty: bool
    """Whether the tree had changes."""
    family: str
    """Family id."""
    adapter: str
    """Adapter id."""
    source: Literal["files", "lock", "runs"]
    """Where the matrices come from: chips of a folder, chips of locks, or two run records."""
    start_name: str
    """Recipe or run at the start."""
    end_name: str
    """Recipe or run at the end."""
    locks: dict[str, str] = Field(default_factory=dict)
    """sha256 of each lock by its file's name."""
    weights: Literal["published", "random"]
    """random: written by this project; mechanics only."""
    files: dict[str, str] = Field(default_factory=dict)
    """sha256 of each file of weights by its name."""
    device: str
    """Device by name; of two runs both."""
    metric: str
    """A name of `METRIC_FUNCTIONS`."""
    class_index: int | None
    """For a metric of one class."""
    over: list[int] | None
    """For a mean over classes: which were asked for."""
    threshold: float
    """Of two-class adapters."""
    factors: list[FactorRecord] = Field(min_length=1)
    """What was switched."""
    held: list[HeldRecord]
    """What differs and was not."""
    chips: list[ChipRecord] = Field(min_length=1)
    """Every chip, scored or not."""
    corners: list[CornerRecord]
    """Every combination."""
    published: PublishedRecord | None
    """The figure at the start."""
    published_why: str
    """Why there is none; empty where there is."""
    result: ResultRecord
    """What came of it."""
    forwards_made: int = Field(ge=0)
    """Chips sent through a model by this call."""
    forwards_kept: int = Field(ge=0)
    """Predictions taken from earlier calls."""
    forward_s: float | None
    """Median seconds of a forward; None where none was made."""
    conditions: dict[str, str] = Field(default_factory=dict)
    """Anything else that a figure depends on."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Versions."""

    @model_validator(mode="after")
    def _whole(self) -> BridgeRecord:
        ids = {f.id for f in self.factors}
        sets = {frozenset(c.switched) for c in self.corners}
        if len(self.corners) != 1 << len(ids) or len(sets) != len(self.corners) or not all(s <= ids for s in sets):
            raise ValueError(f"{len(self.corners)} combinations of {len(ids)} factors; {1 << len(ids)} are needed")
        return self


def read_bridge(folder: Path) -> BridgeRecord:
    """The bridge of a folder.

    Raises:
        RegistryError: There is none, or it is not of this shape; names file and field.
    """
    path = folder / FILE
    return as_record(
        path,
        read_json(path, "no such bridge; `harness ablate` writes one", "; delete the folder and run again"),
        BridgeRecord,
    )


def write_bridge(record: BridgeRecord, folder: Path) -> Path:
    """Write `folder`/bridge.json at once: whole or not at all.

    Raises:
        RegistryError: There is one already; records are written once.
    """
    return write_once(record, folder / FILE, "there is a bridge of this id already; records are written once")
