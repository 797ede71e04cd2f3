"""What `harness think` and the looks at Thinking-in-Modalities write down."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.records.quantity import Strict

LULC_CLASSES = (
    "no data",
    "water",
    "trees",
    "flooded vegetation",
    "crops",
    "built area",
    "bare ground",
    "snow/ice",
    "clouds",
    "rangeland",
)
"""Outputs of TerraMind's land-cover tokenizer, index 0 first."""

LULC_EVIDENCE: Literal["inference"] = "inference"
"""The ten names are stated; that output i is the i-th of them is concluded."""

LULC_WHY = (
    "The card of ibm-esa-geospatial/TerraMind-1.0-Tokenizer-LULC lists nine classes and a no-data class in this order; "
    "it does not number them. That output i is the i-th name is inferred: the list begins with no data, and codes 1 to "
    "9 of the TerraMesh files read as the same names by their pictures. terratorch 1.2.11 names no class"
)
"""For people."""

NDVI_MEAN, NDVI_STD = 0.327, 0.322
"""NDVI = output x std + mean (terratorch 1.2.11, terramind_register.py, v1_pretraining_mean and _std, tok_ndvi@224)."""

NDVI_RANGE = (NDVI_MEAN - NDVI_STD, NDVI_MEAN + NDVI_STD)
"""NDVI that can come out: the tokenizer's diffusion clips what it predicts to [-1, 1], with standardised pixels
(terratorch 1.2.11, scheduling_ddim.py, thresholding with sample_max_value 1)."""


class AreaRange(Strict):
    """Share of a chip that one class takes, over seeds."""

    class_index: int
    """Output index."""
    minimum: float = Field(ge=0, le=1)
    """Smallest share."""
    median: float = Field(ge=0, le=1)
    """Median share."""
    maximum: float = Field(ge=0, le=1)
    """Largest share."""


class SpreadRecord(Strict):
    """What the seed of sampled tokens does to one adapter's output for one chip."""

    adapter: str
    """Adapter id."""
    chip: str
    """Chip id."""
    seeds: list[int] = Field(min_length=2)
    """Seeds that were run."""
    greedy: bool
    """Whether the most probable token was taken everywhere, so that nothing should change."""
    random_weights: bool
    """Whether the weights were written by this project."""
    changed: float = Field(ge=0, le=1)
    """Share of pixels whose class is not the same for all seeds."""
    agreement_mean: float = Field(ge=0, le=1)
    """Mean over pixels of the share of seeds that give the majority class."""
    agreement_min: float = Field(ge=0, le=1)
    """Smallest of them."""
    area: list[AreaRange]
    """By class."""
    logits_std_mean: float = Field(ge=0)
    """Standard deviation of the logits over seeds, mean over classes and pixels."""
    logits_std_max: float = Field(ge=0)
    """Largest of them."""
    logits_p99: float = Field(ge=0)
    """99th percentile of |mean logit|: the scale."""


class RatioRecord(Strict):
    """Runtime of an adapter that thinks over one that does not: measured here, compared with nobody."""

    tim: str
    """Adapter that thinks."""
    plain: str
    """Adapter that does not."""
    device: str
    """Device by name."""
    dtype: str
    """Precision."""
    threads: int = Field(ge=1)
    """Threads that torch used on the CPU."""
    tim_s: list[float] = Field(min_length=1)
    """Seconds of each call."""
    plain_s: list[float] = Field(min_length=1)
    """Seconds of each call; the n-th beside the n-th of `tim_s`."""
    median: float = Field(gt=0)
    """Median of the pairs' ratios."""
    minimum: float = Field(gt=0)
    """Smallest ratio."""
    maximum: float = Field(gt=0)
    """Largest ratio."""
    beside: str
    """Id of the claim that it may be read beside."""
    note: str = (
        "measured here, one process, calls taking turns; no verdict on a figure of other models on another device"
    )
    """What it is worth."""


class CodebookRecord(Strict):
    """Entries of one tokenizer's codebook, as built."""

    modality: str
    """What it encodes."""
    levels: list[int] = Field(min_length=1)
    """Levels of each FSQ dimension."""
    entries: int = Field(ge=1)
    """Their product; the generator predicts as many tokens."""

    @model_validator(mode="after")
    def _product(self) -> CodebookRecord:
        product = 1
        for level in self.levels:
            product *= level
        if product != self.entries:
            raise ValueError(f"{self.modality}: levels {self.levels} give {product} entries, not {self.entries}")
        return self


class PartRecord(Strict):
    """One part of the generator and where its numbers came from."""

    part: str
    """`base`, or `LULC tokenizer` and so on."""
    weights: Literal["file", "random file", "random"]
    """random file: written by this project. random: no file was given."""
    file: str | None
    """File name, without folders; None where there was none."""
    sha256: str | None
    """Of the file."""
    pinned: bool
    """Whether the family states this sha256 and it agreed."""
    expected: int = Field(ge=0)
    """Tensors that the part has."""
    loaded: int = Field(ge=0)
    """Tensors that came from the file."""
    unused: dict[str, int] = Field(default_factory=dict)
    """Tensors of the file without a place, by reason."""


class ScoreRecord(Strict):
    """Generated land cover held against a chip's label."""

    scheme: str
    """Id under eval/schemes/."""
    evidence: Literal["source", "inference"]
    """What the way from outputs to the scheme's classes rests on: the weakest of its steps."""
    why: str
    """The steps."""
    classes: list[str]
    """Names by index; the last one collects outputs that are no class of the scheme, which the label never is."""
    confusion: list[list[int]]
    """Pixels, rows label, columns generated."""
    ignored_px: int = Field(ge=0)
    """Pixels left out: the label says nothing there."""
    accuracy: float | None
    """Share of the counted pixels that agree; None where none was counted."""
    iou: list[float | None]
    """By class of the scheme, without the last column's; None where neither map holds it."""


class ThinkRecord(Strict):
    """One chip, thought about."""

    schema_version: Literal[1] = 1
    """Version of this shape."""
    chip: str
    """Chip id."""
    chip_sha256: str
    """Of the chip's pixels."""
    recipe: str
    """Recipe id and version."""
    notes: list[str]
    """What the recipe did that the file left no choice about."""
    generator: str
    """Name in TerraTorch's registry."""
    given: list[str]
    """Modalities that went in."""
    to: list[str]
    """Modalities that came out, in order: each one sees those before it."""
    parts: list[PartRecord]
    """Weights."""
    random_weights: bool
    """Whether any part has random weights: then the pictures show mechanics and nothing else."""
    codebooks: list[CodebookRecord]
    """One a tokenizer."""
    seed: int
    """For tokens and for the noise that diffusion starts from."""
    greedy: bool
    """Whether the most probable token was taken everywhere."""
    steps: int = Field(ge=1)
    """Diffusion steps; land cover takes none."""
    duration_s: float = Field(ge=0)
    """Wall clock of the generation, loading not counted."""
    device: str
    """Device by name."""
    lulc_px: list[int] | None = None
    """Pixels by output index of LULC_CLASSES; None where no land cover was generated."""
    lulc_evidence: Literal["source", "inference"] = LULC_EVIDENCE
    """What the names rest on."""
    lulc_why: str = LULC_WHY
    """The reason in words."""
    ndvi: tuple[float, float, float] | None = None
    """Smallest, median and largest generated NDVI; None where none was generated."""
    ndvi_mean_abs_difference: float | None = None
    """Mean |generated - reference| over pixels with a reference; None where there is none."""
    score: ScoreRecord | None = None
    """Against the label; None where there is none, see `unscored`."""
    unscored: str | None = None
    """Why there is no score."""

    @model_validator(mode="after")
    def _whole(self) -> ThinkRecord:
        if self.random_weights != any(p.weights != "file" for p in self.parts):
            raise ValueError("random_weights says otherwise than the parts")
        if (self.score is None) == (self.unscored is None):
            raise ValueError("there is either a score or the reason why there is none")
        return self
