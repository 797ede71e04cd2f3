"""eval/runs/<id>/run.json: one run, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.records.baselines import Beside
from harness.records.bundle import FOLDER
from harness.records.files import as_record, read_json, write_once
from harness.records.gates import GateAnswer
from harness.records.load import LoadAudit, StructureRow
from harness.records.operating import Reliability
from harness.records.quantity import Measurement, Strict
from harness.records.spatial import BoundaryCount, NearestTraining

SCHEMA = 1
"""Version of the shape below."""


class SweepRow(Strict):
    """Two-class counts of one chip at one threshold."""

    threshold: float
    """A pixel is positive where its probability is above this."""
    tp: int
    """Positive in label and prediction, px."""
    fp: int
    """Positive in the prediction only, px."""
    fn: int
    """Positive in the label only, px."""
    tn: int
    """Positive in neither, px."""


class ChipScore(Strict):
    """One chip through one adapter."""

    chip: str
    """Chip id."""
    sha256: str
    """Of the chip's pixels."""
    scored: bool
    """Whether there is a confusion matrix."""
    split: str | None = None
    """Set of chips that claims name it by; None where no claim is about it."""
    split_size: int | None = None
    """Chips that the split has, where it is known that they are the very scenes of the claims; None otherwise."""
    cluster: str | None = None
    """Scene or parent cell that it was cut from, by name; None where it is taken as a scene of its own."""
    reason: str | None
    """Why it is not scored; None where it is."""
    confusion: list[list[int]] | None = None
    """Pixels, rows label, columns prediction, at argmax."""
    ignored_px: int = 0
    """Pixels left out: the label says nothing there."""
    predicted_px: list[int] = Field(default_factory=list)
    """Predicted pixels by class, over the whole chip."""
    predicted_above: dict[str, int] = Field(default_factory=dict)
    """Pixels of the whole chip above each threshold, for two classes; needs no label."""
    sweep: list[SweepRow] = Field(default_factory=list)
    """Two-class counts at each swept threshold; empty for more classes."""
    filled: dict[str, float] = Field(default_factory=dict)
    """Share of pixels that the recipe filled, by modality."""
    notes: list[str] = Field(default_factory=list)
    """What the recipe did that the file left no choice about."""
    dates_encoded: int = 0
    """Encoder passes that this chip needed."""
    probabilities_sha256: str | None = None
    """Of the float32 probabilities (classes, rows, columns); None where the chip failed."""
    beside: Beside | None = None
    """Trivial maps, ceilings, strata; None where the chip is not scored, and in records made before this was kept."""
    reliability: Reliability | None = None
    """Two classes: probability of class 1 against the label; None for more classes, without label, and in records
    made before this was kept."""
    boundary: list[BoundaryCount] = Field(default_factory=list)
    """Boundary pixels by class and tolerance; empty without label and in records made before this was kept."""
    role: str | None = None
    """`tune`, `test` or `probe`, as its AOI file says; None without one and in records made before this was kept."""
    nearest_training: NearestTraining | None = None
    """Its place beside the training ground; None where the chip was not read and in records made before this was
    kept."""
    shares_ground: list[str] | None = None
    """Chips before it in this run that share ground with it or are cut from the same parent: with them it makes one
    scene. None where that was not looked at, as in records made before this was kept."""


class AdapterRun(Strict):
    """One adapter over all chips."""

    adapter: str
    """Adapter id."""
    recipe: str
    """Recipe id and version."""
    scheme: str | None
    """Scheme of label and output; None where nothing was scored."""
    load: LoadAudit
    """What went into the model."""
    structure: list[StructureRow] = Field(default_factory=list)
    """Stated counts and sizes beside what was loaded."""
    chips: list[ChipScore]
    """Every chip, scored or not."""


class RunRecord(BaseModel):
    """One run."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(alias="schema")
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
    family: str = ""
    """Family id."""
    source: str = ""
    """Where the chips came from: `files` or `lock`."""
    locks: dict[str, str] = Field(default_factory=dict)
    """sha256 of each lock by its file's name."""
    weights: Literal["published", "random"] = "published"
    """random: written by this project; the run shows mechanics and nothing about an adapter."""
    device: str
    """Device by name."""
    dtype: str
    """Precision."""
    recipe: str
    """Recipe id."""
    conditions: dict[str, str] = Field(default_factory=dict)
    """Anything else that a figure depends on: threads, seed, token sampling, merged or not."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Versions."""
    adapters: list[AdapterRun] = Field(default_factory=list)
    """What each adapter did."""
    measurements: list[Measurement]
    """Everything measured that a claim could be held against."""
    gates: list[GateAnswer] = Field(default_factory=list)
    """Gates of the family's authors, put to this run; empty where the family has none, and in older records."""


def read_run(path: Path) -> RunRecord:
    """One run.json.

    Raises:
        RegistryError: It is not there, or not of this shape; names file and field.
    """
    raw = read_json(path, "no such run; `harness reproduce` writes one", "; delete the folder and run again")
    return as_record(path, raw, RunRecord, SCHEMA)


def read_runs(folder: Path, *, contributed: bool = False) -> list[RunRecord]:
    """Every run of one's own under eval/runs/, oldest first; an empty list where there is none.

    Args:
        folder: eval/runs/.
        contributed: Those that came from other people's machines instead.

    Raises:
        RegistryError: A run.json is not of this shape; names file and field.
    """
    found = {p.resolve() for p in folder.glob("*/run.json")}  # `latest` is a link to one of them
    found = {p for p in found if p.parent.name.casefold().startswith(FOLDER) == contributed}
    return sorted((read_run(p) for p in found), key=lambda r: (r.created, r.id))


def write_run(run: RunRecord, folder: Path) -> Path:
    """Write `folder`/run.json at once: whole or not at all.

    Raises:
        RegistryError: There is a run already; runs are written once.
    """
    return write_once(run, folder / "run.json", "there is a run of this id already; runs are written once")
