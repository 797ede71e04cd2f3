"""The vocabulary of metrics: what a claim may be about.

One line each: unit, allowed range, and whether the figure counts things. A new metric is a
new line here; a claim about something else uses a name that starts with `x-` and takes part
in no check but `given-twice`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What one metric name means."""

    unit: str
    """Default unit: `fraction`, `points` (percentage points), `1` (a count), `MB`, ..."""
    lo: float | None
    """Smallest possible value, None where open."""
    hi: float | None
    """Largest possible value, None where open."""
    direction: Direction
    """Which way is better."""
    count: bool
    """An integer without `~` is exact."""
    meaning: str
    """One line, with the formula where there is one."""


def _score(meaning: str, direction: Direction = "higher") -> Metric:
    return Metric("fraction", 0.0, 1.0, direction, False, meaning)


def _count(meaning: str) -> Metric:
    return Metric("1", 0.0, None, "none", True, meaning)


def _amount(unit: str, meaning: str, direction: Direction = "none") -> Metric:
    return Metric(unit, 0.0, None, direction, False, meaning)


METRICS: dict[str, Metric] = {
    "iou": _score("TP / (TP + FP + FN) of one class"),
    "mIoU": _score("mean of the class IoUs"),
    "mIoU_micro": _score("sum of TP over classes / sum of (TP + FP + FN) over classes"),
    "boundary_mIoU": _score("mIoU within a band around label edges"),
    "accuracy": _score("correctly labelled pixels / pixels"),
    "class_accuracy": _score("TP / (TP + FN) of one class: its recall"),
    "mean_class_accuracy": _score("mean of the class accuracies"),
    "precision": _score("TP / (TP + FP) of one class"),
    "recall": _score("TP / (TP + FN) of one class"),
    "f1": _score("2 TP / (2 TP + FP + FN) of one class"),
    "f1_macro": _score("mean of the class F1"),
    "agreement": _score("pixels on which two maps agree / pixels"),
    "prevalence": _score("label pixels of the class / pixels", "none"),
    "flip_rate": _score("pixels that change class between two dates / pixels", "lower"),
    "loss": _amount("1", "training loss on the split", "lower"),
    "delta_points": Metric("points", None, None, "none", False, "100 x (a - b) of two fractions"),
    "mae": _amount("m", "mean absolute error", "lower"),
    "rmse": _amount("m", "root of the mean squared error", "lower"),
    "windows": _count("forecast windows scored"),
    "label_px": _count("pixels of the class in the label"),
    "predicted_px": _count("pixels of the class in the prediction"),
    "predicted_percent": _amount("%", "100 x predicted pixels / pixels of the chip"),
    "chips": _count("chips of a split"),
    "parents": _count("parent cells that chips were cut from"),
    "chips_per_parent": _count("chips cut from one parent cell"),
    "chip_px": _count("side of a chip in pixels"),
    "timesteps": _count("dates stacked into one input"),
    "longitude": Metric("degree", -180.0, 180.0, "none", False, "centre of a chip, WGS 84"),
    "latitude": Metric("degree", -90.0, 90.0, "none", False, "centre of a chip, WGS 84"),
    "blocks": _count("transformer blocks"),
    "lora_modules": _count("linear layers that carry a LoRA pair"),
    "lora_r": _count("LoRA rank"),
    "lora_alpha": _count("LoRA alpha"),
    "lora_dropout": _score("LoRA dropout", "none"),
    "lora_parameters": _count("parameters in all LoRA A and B matrices"),
    "decoder_parameters": _count("parameters of decoder, head and neck"),
    "trainable_parameters": _count("parameters that training changes"),
    "base_parameters": _count("parameters of the base model"),
    "lora_size": _amount("MB", "size of the LoRA file"),
    "decoder_size": _amount("MB", "size of the decoder file"),
    "adapter_size": _amount("MB", "size of LoRA and decoder files together"),
    "base_size": _amount("GB", "size of the base checkpoint"),
    "family_size": _amount("GB", "size of all adapters together"),
    "storage_ratio": Metric("1", 0.0, None, "none", False, "size now / size before"),
    "speed_ratio": _amount("1", "time before / time now"),
    "codebook": _count("entries of a token codebook"),
    "codebook_level": _count("levels of one FSQ dimension"),
    "training_time": _amount("min", "wall clock of one training run", "lower"),
    "training_memory": _amount("GB", "peak accelerator memory in training", "lower"),
    "accelerator_memory": _amount("GB", "memory of the accelerator"),
    "latency": _amount("s", "wall clock of one call", "lower"),
    "energy": _amount("J", "energy of one call", "lower"),
    "power": _amount("W", "power"),
    "calls": _count("calls that a figure averages over"),
    "cost_ratio": _amount("1", "cost of a / cost of b"),
    "epochs": _count("passes over the training split"),
    "batch_size": _count("chips in one training step"),
    "learning_rate": _amount("1", "step size"),
    "weight_decay": _amount("1", "AdamW weight decay"),
    "class_weight": _amount("1", "weight of one class in the loss"),
    "seed": _count("random seed"),
    "cloud_percent": _amount("%", "largest cloud cover that a scene filter lets through"),
    "year": _count("calendar year"),
    "classes": _count("classes of the output"),
    "modalities": _count("modalities of the model"),
    "tokens": _amount("billion", "tokens seen in pretraining"),
    "passes": _count("probe cases that passed"),
    "cases": _count("probe cases"),
    "statement": Metric("", None, None, "none", False, "words without a number"),
}

UNITS: dict[tuple[str, str], tuple[int, int]] = {
    ("%", "fraction"): (1, 100),
    ("points", "fraction"): (1, 100),
    ("fraction", "points"): (100, 1),
    ("%", "points"): (1, 1),
    ("ms", "s"): (1, 1000),
    ("h", "min"): (60, 1),
    ("s", "min"): (1, 60),
    ("GB", "MB"): (1000, 1),
    ("MB", "GB"): (1, 1000),
    ("k", "1"): (1000, 1),
    ("M", "1"): (1_000_000, 1),
    ("B", "1"): (1_000_000_000, 1),
    ("mJ", "J"): (1, 1000),
    ("cm", "m"): (1, 100),
    ("thousand", "1"): (1000, 1),
    ("million", "1"): (1_000_000, 1),
    ("billion", "1"): (1_000_000_000, 1),
}
"""Factor (numerator, denominator) from a printed unit to the metric's own. MB is 10^6 bytes."""

UNSTATED = "unstated"
"""Unit of a figure whose source gives none where one is needed; compared only with its like."""


def convertible(unit: str, own: str) -> bool:
    """Whether a figure in `unit` can be turned into a metric's `own` unit."""
    return unit in ("", own, UNSTATED) or (unit, own) in UNITS
