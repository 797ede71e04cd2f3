"""What stands beside one chip's score in a run record: trivial maps, ceilings, strata; all in whole pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.records.quantity import Strict

BaselineId = Literal["built-up mask", "index rules", "nearest centroid", "generated land cover"]
"""Maps that need more than the label's counts."""

Counts = list[list[int]]
"""Pixels, rows label, columns map."""


class BaselineCount(Strict):
    """One trivial map of one chip against the chip's label, on the very pixels that the score counts."""

    id: BaselineId
    """Which map."""
    how: str | None = None
    """What it was made of; None where there is none."""
    confusion: Counts | None = None
    """Pixels; None where there is no map."""
    same_source: bool = False
    """Whether map and label come from one file: it is then the label under another name and no baseline."""
    reason: str | None = None
    """Why there is no map; None where there is one."""

    @model_validator(mode="after")
    def _map_or_reason(self) -> BaselineCount:
        if (self.confusion is None) == (self.reason is None) or (self.confusion is None) != (self.how is None):
            raise ValueError(f"{self.id}: either a map and how it was made, or the reason why there is none")
        return self


class ShareRow(Strict):
    """Two-class counts of the map that marks cells by their share of class 1."""

    threshold: float
    """Cells with at least this share are marked."""
    tp: int
    """Positive in label and map, px."""
    fp: int
    """Positive in the map only, px."""
    fn: int
    """Positive in the label only, px."""
    tn: int
    """Positive in neither, px."""


class CeilingCount(Strict):
    """What logits on the decoder's grid could reach on one chip's label."""

    stride_px: int | None = None
    """Pixels from logit to logit; None where nobody counted it."""
    cell_m: float | None = None
    """The same in metres."""
    area_mean: Counts | None = None
    """Pixels of the map whose cells hold their most frequent label."""
    shares: list[ShareRow] = Field(default_factory=list)
    """For two classes: maps of cells by their share of class 1."""
    fitted: Counts | None = None
    """Pixels of the best logits found, interpolated; a lower bound of the ceiling."""
    steps: int = 0
    """Gradient steps of that search."""
    reason: str | None = None
    """Why something is missing; None where nothing is."""


class StratumCount(Strict):
    """Cells of one chip with a like share of one kind of land."""

    land: Literal["built-up", "water"]
    """Kind of land."""
    above: float | None
    """Share above which cells enter; None for those that have none of it."""
    to: float
    """Share up to which they enter."""
    cells: int
    """How many."""
    confusion: Counts
    """Pixels, rows label, columns prediction."""


class LandCount(Strict):
    """The score by kind of land."""

    scheme: str | None = None
    """Scheme of the land-cover map; None where there is none."""
    same_source: bool = False
    """Whether land cover and label come from one file."""
    cell_px: int | None = None
    """Side of a cell."""
    known_px: int = 0
    """Pixels whose land cover is known."""
    built_px: int = 0
    """Built-up pixels."""
    water_px: int = 0
    """Water pixels."""
    strata: list[StratumCount] = Field(default_factory=list)
    """By built-up and water share of cells."""
    inside_built: Counts | None = None
    """Pixels inside built-up land, rows label, columns prediction."""
    reason: str | None = None
    """Why there is nothing of this; None where there is."""


class Beside(Strict):
    """Everything beside one chip's score."""

    scene: str
    """What the chip is taken to be a part of: chips of one scene are no independent evidence."""
    rules: str
    """Date of the rules that the maps follow."""
    baselines: list[BaselineCount]
    """Trivial maps, measured or not."""
    ceiling: CeilingCount
    """What the decoder's grid allows."""
    land: LandCount
    """By kind of land."""
