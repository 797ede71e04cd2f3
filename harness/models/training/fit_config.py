"""What one training is: a YAML file, checked before anything is built, and the record that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from harness.claims.registry import read_yaml, validated
from harness.records import Strict, Text

BASE = "base"
"""In place of an adapter's id: train the base itself."""


class Rank(Strict):
    """LoRA of an adapter; where it lands is the family's `lora_targets`."""

    r: int = Field(ge=1)
    """Rank."""
    alpha: float = Field(gt=0, allow_inf_nan=False)
    """The product is scaled by alpha / r."""


class FitConfig(Strict):
    """One training."""

    family: str
    """Family id; it says what is built, and the base's file name."""
    adapter: str
    """Adapter id, or `base`: encoder and decoder are trained together, and the encoder is kept."""
    recipe: str
    """Recipe id; the only way from a chip to a tensor, in training as in prediction."""
    scheme: str
    """Class scheme that every label must be in."""
    classes: int = Field(ge=2)
    """Outputs of the head."""
    steps: int = Field(ge=1)
    """Optimiser steps."""
    batch_size: int = Field(ge=1)
    """Chips in a step."""
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    """Highest learning rate; it rises over `warmup_steps` and falls to zero along half a cosine."""
    lora_learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The same for LoRA; `learning_rate` where left out."""
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    """AdamW's."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps until the highest learning rate."""
    class_weights: list[float] | None = None
    """Of the cross-entropy, by class; all equal where left out."""
    augment: Literal["none", "flips", "flips and turns"]
    """Which of the eight symmetries of a square chips are shown in: the chip as it is, the four that
    flips give, or all eight."""
    dtype: Literal["float32", "float16"]
    """Of the written files. float16 rounds the weights, not batch-norm statistics, before they are written."""
    seed: int = Field(ge=0, lt=2**31)
    """For initial weights, order, symmetries and dropout."""
    threads: int = Field(ge=1)
    """Threads of torch. Training is bit-equal between runs at one number, not between numbers."""
    lora: Rank | None = None
    """Of an adapter; none for the base."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _agrees(self) -> FitConfig:
        if (self.adapter == BASE) != (self.lora is None):
            raise ValueError("lora: a base is trained without, an adapter needs r and alpha")
        if self.adapter == BASE and self.lora_learning_rate is not None:
            raise ValueError("lora_learning_rate: a base is trained without LoRA")
        if self.class_weights is not None and len(self.class_weights) != self.classes:
            raise ValueError(f"class_weights: {len(self.class_weights)} weights for {self.classes} classes")
        if self.class_weights is not None and not all(0 <= w < float("inf") for w in self.class_weights):
            raise ValueError("class_weights: finite and not negative")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: {self.warmup_steps} of {self.steps} steps; it must be less")
        return self

    @property
    def is_base(self) -> bool:
        """Whether the base is trained."""
        return self.adapter == BASE


class WrittenFile(Strict):
    """A file that a training wrote."""

    name: str
    """Relative to the weights' folder."""
    sha256: str
    """Of its bytes."""
    size_bytes: int = Field(ge=1)
    """On disk."""


class FitRecord(Strict):
    """What one training did; written beside its files."""

    fingerprint: str
    """SHA-256 of everything that the weights depend on: config, recipe, topology, base, pixels and
    labels in order, versions."""
    config: FitConfig
    """As given."""
    backbone: str
    """Name in TerraTorch's registry."""
    chips: list[str]
    """Ids of the chips trained on, in order."""
    held_out: list[str]
    """Ids that were named as test chips."""
    encoded_once: bool
    """Whether every chip repeats one date, so that it was encoded once a step."""
    base_sha256: Text
    """Base file that an adapter was trained on; None for a base."""
    trained_parameters: int = Field(ge=1)
    """Numbers that the optimiser moved, those of a base's decoder included."""
    losses: list[float] = Field(min_length=1)
    """Mean loss in up to twenty windows of steps, in order."""
    resumed_at: int = Field(ge=0)
    """Step that a checkpoint was taken up at; 0 where there was none."""
    duration_s: float = Field(ge=0)
    """Seconds for the steps since then, on the machine that ran them."""
    versions: dict[str, str]
    """Of the torch stack."""
    files: list[WrittenFile]
    """What was written."""


def read_fit_config(path: Path) -> FitConfig:
    """Read a training's file.

    Raises:
        RegistryError: Unreadable, or a field is missing, unknown or out of range; names file, line and field.
    """
    return validated(FitConfig, read_yaml(path), path, "training")
