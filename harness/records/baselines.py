"""What stands beside one chip's score in a run record: trivial maps, ceilings, strata; all in whole pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.records.quantity import Strict
from harness.records.think import PartRecord

BaselineId = Literal["built-up mask", "index rules", "nearest centroid", "generated land cover"]
"""Maps that need more than the label's counts."""

Counts = list[list[int]]
"""Pixels, rows label, columns map."""


class GeneratedBy(Strict):
    """How land cover of one chip was generated."""

    generator: str
    """Name in TerraTorch's registry."""
    recipe: str
    """Recipe id and version by which the chip went in."""
    given: list[str]
    """Modalities that went in."""
    parts: list[PartRecord]
    """Weights: the base and the tokenizer, each with file and hash."""
    seed: int
    """For tokens."""
    greedy: bool
    """Whether the most probable token was taken everywhere; otherwise tokens were sampled."""
    steps: int = Field(ge=1)
    """Steps in which tokens were chosen; land cover takes no diffusion steps."""
    temperature: float
    """Of the sampling."""
    top_p: float | None
    """Share of the probability that tokens were sampled from; None where greedy."""
    device: str
    """Device by name; always in float32."""
    notes: list[str]
    """What the recipe did to the chip."""
    outputs_px: list[int]
    """Pixels by most probable output, named in `harness.records.think.LULC_CLASSES`."""

    @property
    def words(self) -> str:
        """In one line."""
        tokens = "greedy tokens" if self.greedy else f"sampled tokens (top-p {self.top_p:g}), seed {self.seed}"
        files = ", ".join(
            f"{p.file or p.part} {'pinned' if p.pinned else 'not pinned'} {(p.sha256 or '-')[:12]}" for p in self.parts
        )
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        return f"{self.generator} from {', '.join(self.given)} by recipe {self.recipe}, {tokens} in {steps}, {files}"


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
    generated: GeneratedBy | None = None
    """Of generated land cover: how it was made."""
    classless_px: int = 0
    """Of generated land cover: counted pixels whose most probable output has no class in the scheme, so that the
    most probable one that has was taken."""
    instead: str | None = None
    """Of generated land cover: what stands in the place of a class that it cannot express, e.g. built area as
    building; None where nothing does."""

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
