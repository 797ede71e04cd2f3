"""The load audit: every tensor of base, LoRA and decoder accounted for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.records.quantity import Strict

TensorState = Literal["loaded", "unused", "not run", "initial", "recomputed"]


class TensorRecord(Strict):
    """One tensor of a file, or one that the model expects and no file holds."""

    name: str
    """As in the file; for `not run` and `initial` as in the model."""
    shape: list[int]
    """Shape."""
    dtype: str
    """Type as stored, e.g. `float32`."""
    sha256: str | None
    """Of its bytes, little-endian, row-major; None where no file holds it."""
    state: TensorState
    """loaded: in the model. unused: in the file, and the topology has no place for it.
    not run: the model has it, no file does, and no forward reads it. initial: batch-norm
    buffer at its start. recomputed: batch-norm buffer counted anew."""
    reason: str | None = None
    """Why it is not loaded."""


class FileRecord(Strict):
    """One file that was read."""

    role: Literal["base", "lora", "decoder", "config"]
    """What it is for."""
    name: str
    """File name, without folders."""
    sha256: str
    """Of the whole file."""
    size_bytes: int = Field(ge=0)
    """Bytes on disk."""
    tensors: int = Field(ge=0)
    """Tensors in it."""
    entries: int = Field(ge=0)
    """Numbers in all of them, buffers included."""
    pinned: bool
    """Whether the family states this sha256 and it agreed."""


class PlaceRecord(Strict):
    """One copy of a block stack that carries LoRA."""

    place: str
    """Module path of the stack within the encoder."""
    pairs: int
    """LoRA pairs applied there."""
    expected: int
    """LoRA pairs that the topology has there."""
    b_norms: list[float]
    """Frobenius norm of each lora_B, in module order; 0 means that it never left its start."""
    runs: bool
    """Whether a forward reads them."""


class BatchNormRecord(Strict):
    """Running statistics of the decoder's batch norms."""

    layers: int
    """Batch-norm layers in the model."""
    in_file: int
    """Layers whose three buffers the file holds."""
    moved: int
    """Layers whose statistics differ from mean 0, variance 1."""
    policy: Literal["from the file", "initial", "recomputed"]
    """Where the statistics that were used come from."""


class LoadAudit(Strict):
    """What went into one adapter's model."""

    adapter: str
    """Adapter id."""
    random_weights: bool
    """True where the files were written by this project and hold random numbers."""
    files: list[FileRecord]
    """Files read."""
    base_expected: int
    """Tensors that the encoder wants from the base, each place counted once."""
    base_loaded: int
    """Of these, loaded."""
    base_unused: dict[str, int]
    """Tensors of the base file without a place, counted by reason."""
    not_run: int
    """Tensors of the encoder that no file holds and no forward reads."""
    lora_expected: int
    """LoRA pairs of the topology."""
    lora_applied: int
    """LoRA pairs loaded."""
    lora_r: int
    """Rank, from the tensors."""
    lora_alpha: float
    """As the adapter's config states it; no tensor shows it."""
    lora_alpha_verdict: str
    """Agreement with the registered claim, or `unverifiable`."""
    places: list[PlaceRecord]
    """LoRA by place."""
    decoder_expected: int
    """Tensors of decoder, neck and head."""
    decoder_loaded: int
    """Of these, loaded."""
    batch_norm: BatchNormRecord
    """Running statistics."""
    blocks: int
    """Transformer blocks of the encoder that the features come from."""
    encoder_parameters: int
    """Parameters of the encoder without LoRA."""
    lora_parameters: int
    """Parameters of all LoRA matrices."""
    decoder_parameters: int
    """Parameters of decoder, neck and head."""
    classes: int
    """Outputs of the head."""
    tensors: list[TensorRecord] = Field(default_factory=list)
    """Every tensor."""


class StructureRow(Strict):
    """A count, size or hyperparameter that a card states, beside what was loaded."""

    claim: str
    """Claim id."""
    metric: str
    """Name in `harness.vocabulary.METRICS`."""
    printed: str
    """As printed, with its unit."""
    counted: float
    """In the metric's own unit."""
    meaning: str
    """What was counted."""
    fits: bool
    """Whether the printed figure, with its rounding, holds it."""
