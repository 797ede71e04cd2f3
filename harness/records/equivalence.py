"""eval/runs/equivalence-*/equivalence.json: how far one device or precision is from float32 on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.records.files import as_record, read_json, write_once
from harness.records.quantity import Strict

SCHEMA = 1
"""Version of the shape below."""

LevelName = Literal["L0", "L1", "L2"]


class OperatorCheck(Strict):
    """One operator in one layout on one device, against float64 on the CPU."""

    operator: str
    """As torch calls it."""
    layout: str
    """How its operands lie in memory."""
    error: float | None
    """Largest |difference| over largest |reference|; None where there is no value."""
    bound: float
    """Largest error that passes; 0 where nothing is rounded."""
    passed: bool
    """Whether the error is within the bound."""
    why: str | None
    """What is wrong; None where it passed."""


class Side(Strict):
    """One of the two that are compared."""

    device: str
    """cpu, cuda, rocm or mps."""
    name: str
    """Device as its maker names it."""
    build: str
    """Torch, the library that drives the device, vector instructions and threads on a CPU."""
    dtype: str
    """Precision."""
    merged: bool
    """Whether LoRA was added into the weights first."""
    operators: list[OperatorCheck]
    """Self-test of the device, with the operands as they lie."""
    fallbacks: dict[str, int]
    """Calls of operators that MPS lacks and torch ran on the CPU, by operator."""

    @property
    def failed(self) -> list[OperatorCheck]:
        """Operators that failed the self-test."""
        return [o for o in self.operators if not o.passed]


class Level(Strict):
    """Whether one level holds, and by what numbers."""

    level: LevelName
    """L0 bit for bit on one device and build, L1 logits, L2 classes and scores."""
    holds: bool
    """Every condition holds."""
    conditions: dict[str, bool]
    """Each condition in words, with its figures, and whether it holds."""


class TaskEquivalence(Strict):
    """One adapter over all inputs."""

    adapter: str
    """Adapter id."""
    classes: int
    """Outputs."""
    pixels: int
    """Pixels compared: those whose reference logits are finite."""
    nonfinite_px: int
    """Of these, pixels where the other side has NaN or infinity."""
    scale: float
    """99th percentile of |reference logit|; differences are shares of it."""
    max_abs: float | None
    """Largest |difference| of a logit over scale; None where no pixel is finite."""
    p999_abs: float | None
    """99.9th percentile of |difference| over scale; None where no pixel is finite."""
    agreement: float
    """Share of pixels with the same class."""
    disagreeing_px: int
    """Pixels with another class."""
    largest_margin: float | None
    """Largest reference margin (first less second logit) among them, over scale; None where none disagrees."""
    iou_difference: float | None
    """Largest |difference| of a class IoU or of the mIoU; None where none is defined on both sides."""
    iou_of: str | None
    """Which one that is."""
    reference_iou: list[float | None]
    """Class IoUs of the reference against the label that was made for this."""
    other_iou: list[float | None]
    """Those of the other side."""
    repeated: bool
    """Whether a second run in the same process gave the same bytes."""
    fresh_process: bool | None
    """Whether a run in a new process gave the same bytes; None where none was made."""
    reference_sha256: str
    """Of the reference logits of all inputs, float32, little-endian, row-major."""
    other_sha256: str
    """Of the other side's."""
    levels: list[Level]
    """L0, L1, L2."""

    @property
    def identical(self) -> bool:
        """Whether both sides gave the same bytes."""
        return self.reference_sha256 == self.other_sha256


class Earlier(Strict):
    """Golden logits of an earlier record of the same inputs, weights and precision."""

    record: str
    """Its id."""
    same_machine_kind: bool
    """Whether processor, torch build, vector instructions and threads are the same."""
    same: dict[str, bool]
    """By adapter: whether the golden logits have the same sha256."""


class EquivalenceRecord(BaseModel):
    """One comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(alias="schema", default=SCHEMA)
    """Version of this shape."""
    id: str
    """Folder name."""
    created: str
    """Date and time in UTC, ISO 8601."""
    family: str
    """Family id."""
    weights: Literal["published", "random"]
    """random: written by this project."""
    weights_sha256: dict[str, str]
    """By adapter: of the hashes of its files and of the base, in their order."""
    inputs: list[str]
    """Ids of the inputs."""
    inputs_sha256: str
    """Of all inputs: names, shapes and bytes."""
    label: str
    """What the IoUs are against."""
    tokens: str
    """How tokens were chosen where an adapter generates some."""
    reference: Side
    """Float32 on the CPU."""
    other: Side
    """What is compared with it."""
    switches: dict[str, str]
    """What decides the products of float32 numbers, as it stood while both ran."""
    packages: dict[str, str]
    """Versions."""
    tasks: list[TaskEquivalence]
    """By adapter."""
    earlier: list[Earlier] = Field(default_factory=list)
    """Golden logits of earlier records. Another processor sums in another order, so a difference
    across machine kinds is information and no failure."""

    def holds(self, level: LevelName) -> bool:
        """Whether a level holds for every adapter."""
        return all(one.holds for t in self.tasks for one in t.levels if one.level == level)

    @property
    def meaning(self) -> str:
        """What it means for a claim, one sentence."""
        logits, scores = self.holds("L1"), self.holds("L2")
        return MEANING["L1" if logits and scores else "L2" if scores else "L1 alone" if logits else "none"]


MEANING = {
    "L0": "The same input gives the same bytes again on this device and build: its figures can be cited bit for bit "
    "there, which says nothing about another device.",
    "L1": "Logits differ from float32 on the CPU by rounding only: scores, thresholds and probabilities are the same "
    "quantity on both, to the digits that are printed.",
    "L2": "Class maps agree but logits differ by more than rounding: scores at argmax may be compared to three "
    "decimals, with one unit in the last; thresholds and probabilities may not.",
    "L1 alone": "Logits differ from float32 on the CPU by rounding only, and yet a class map or a score moved, where "
    "logits are nearly equal: compare probabilities, and scores only where the moved one is no part of the claim.",
    "none": "Logits and class maps differ by more than the bounds: a figure from this side is not comparable with one "
    "from float32 on the CPU, and a claim needs its own run.",
}
"""One sentence a level."""


def read_equivalence(path: Path) -> EquivalenceRecord:
    """One equivalence.json.

    Raises:
        RegistryError: It is not there, or not of this shape; names file and field.
    """
    raw = read_json(path, "no such comparison; `harness equivalence` writes one", "; delete the folder and run again")
    return as_record(path, raw, EquivalenceRecord, SCHEMA)


def read_equivalences(folder: Path) -> list[EquivalenceRecord]:
    """Every comparison under eval/runs/, oldest first; an empty list where there is none.

    Raises:
        RegistryError: An equivalence.json is not of this shape.
    """
    found = {p.resolve() for p in folder.glob("*/equivalence.json")}
    return sorted((read_equivalence(p) for p in found), key=lambda r: (r.created, r.id))


def write_equivalence(record: EquivalenceRecord, folder: Path) -> Path:
    """Write `folder`/equivalence.json at once: whole or not at all.

    Raises:
        RegistryError: There is one already.
    """
    already = "there is a comparison of this id already; they are written once"
    return write_once(record, folder / "equivalence.json", already)
