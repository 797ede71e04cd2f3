"""A chip, thought about: inputs by the pretraining recipe, generation, score, record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip, Label
from harness.chips.labels import LabelMap
from harness.chips.recipe import Recipe
from harness.chips.tensors import to_inputs
from harness.claims.schemes import Scheme
from harness.errors import ChipError, RecipeError
from harness.models.generation.generate import Generated, Generator, generate
from harness.models.thinking import RUNTIME_CLAIM, Ratio, Spread
from harness.records.think import (
    LULC_CLASSES,
    LULC_EVIDENCE,
    LULC_WHY,
    AreaRange,
    RatioRecord,
    ScoreRecord,
    SpreadRecord,
    ThinkRecord,
)
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import accuracy, iou

RECIPE = "pretraining"
"""The only recipe that the generator is fed by: its base is used as it was pretrained."""


@dataclass(frozen=True)
class Thought:
    """What came out, and what is written down about it."""

    generated: Generated
    """Arrays."""
    record: ThinkRecord
    """For people and files."""


def think(
    generator: Generator,
    chip: Chip,
    recipe: Recipe,
    *,
    seed: int = 0,
    steps: int = 10,
    greedy: bool = False,
    label_map: LabelMap | None = None,
    scheme: Scheme | None = None,
) -> Thought:
    """Generate modalities for a raw chip, and score land cover where the chip has a label.

    Args:
        generator: Loaded.
        chip: Raw pixels; one date of each modality that the generator takes.
        recipe: `pretraining`.
        seed: For tokens and noise.
        steps: Diffusion steps.
        greedy: Take the most probable token everywhere.
        label_map: From TerraMesh's codes to the label's scheme; generated classes go the same way.
        scheme: The scheme of `label_map`.

    Raises:
        RecipeError: Another recipe, or one that the chip does not allow.
        ChipError, UnitError: The chip does not fit.
        TopologyError, WeightsError: As `generate`.
    """
    if recipe.id != RECIPE:
        raise RecipeError(f"{chip.id}: recipe {recipe.id}; generation takes {RECIPE}, with which the base was trained")
    only = recipe.model_copy(update={"bands": {m: recipe.bands[m] for m in generator.given}})
    inputs = to_inputs(chip, only, timesteps=1)
    made = generate(generator, inputs, seed, steps, greedy=greedy)
    score, why = _score(made, chip, label_map, scheme)
    ndvi = made.arrays.get("NDVI")
    record = ThinkRecord(
        chip=chip.id,
        chip_sha256=chip.sha256,
        recipe=f"{recipe.id} {recipe.version}",
        notes=list(inputs.notes),
        generator=generator.name,
        given=list(generator.given),
        to=list(generator.to),
        parts=list(generator.parts),
        random_weights=bool(generator.random),
        codebooks=list(generator.codebooks),
        seed=seed,
        greedy=greedy,
        steps=steps,
        duration_s=round(made.duration_s, 3),
        device=generator.device.name,
        lulc_px=np.bincount(made.lulc.ravel(), minlength=len(LULC_CLASSES)).tolist() if "LULC" in made.arrays else None,
        ndvi=None if ndvi is None else (float(ndvi.min()), float(np.median(ndvi)), float(ndvi.max())),
        ndvi_mean_abs_difference=None if ndvi is None else _difference(ndvi[0], reference(chip, "NDVI")),
        score=score,
        unscored=why,
    )
    return Thought(made, record)


def reference(chip: Chip, modality: str) -> NDArray[np.float32] | None:
    """The chip's own pixels of a modality, shape (H, W), NaN where nodata; None where it has none."""
    layer = chip.layers.get(modality)
    return None if layer is None else layer.data[0, 0]


def _difference(made: NDArray[np.float32], own: NDArray[np.float32] | None) -> float | None:
    if own is None or not np.isfinite(own).any():
        return None
    return float(np.nanmean(np.abs(made.astype(np.float64) - own)))


def _score(
    made: Generated, chip: Chip, label_map: LabelMap | None, scheme: Scheme | None
) -> tuple[ScoreRecord | None, str | None]:
    if "LULC" not in made.arrays:
        return None, "no land cover was generated"
    if chip.label is None:
        return None, "the chip has no label, or no map from its codes to a scheme was given"
    if label_map is None or scheme is None:
        return None, "no map from land-cover codes to a scheme was given"
    if scheme.id != label_map.scheme:
        raise ChipError(f"{chip.id}: scheme {scheme.id}, the label map goes to {label_map.scheme}")
    matrix = score_generated(made.lulc, chip.label, label_map, len(scheme.classes))
    score = ScoreRecord(
        scheme=scheme.id,
        evidence=LULC_EVIDENCE,
        why=f"{LULC_WHY}. From codes to the scheme: {label_map.why}",
        classes=[*(c.name for c in scheme.classes), f"no class of {scheme.id}"],
        confusion=[list(row) for row in matrix.counts],
        ignored_px=matrix.ignored,
        accuracy=accuracy(matrix).value,
        iou=[iou(matrix, i).value for i in range(len(scheme.classes))],
    )
    return score, None


def score_generated(lulc: NDArray[np.integer], label: Label, mapping: LabelMap, classes: int) -> ConfusionMatrix:
    """Hold generated land cover against a label of a scheme.

    An output index is read as the TerraMesh code of that number (inferred, see LULC_WHY) and goes to
    the scheme as the label's codes did. Outputs that are no class there (no data, clouds) are not
    dropped, which would flatter the generator, but counted as a class of their own, the last one:
    it has no label pixel, so every such pixel is missing from its true class.

    Args:
        lulc: Output indices 0..9, shape (H, W).
        label: Of `mapping`'s scheme.
        mapping: From codes to indices.
        classes: Number of classes of the scheme; the matrix has one more.

    Raises:
        ChipError: Another scheme, another size, or an index that is no output.
    """
    if label.scheme != mapping.scheme:
        raise ChipError(f"{label.source}: label in scheme {label.scheme}, the map goes to {mapping.scheme}")
    if lulc.shape != label.data.shape:
        raise ChipError(f"{label.source}: label {label.data.shape} px, generated {lulc.shape} px")
    if lulc.min() < 0 or lulc.max() >= len(LULC_CLASSES):
        raise ChipError(
            f"generated land cover holds {lulc.min()} to {lulc.max()}; outputs are 0 to {len(LULC_CLASSES) - 1}"
        )
    table = np.array([mapping.codes.get(code, classes) for code in range(len(LULC_CLASSES))], np.int64)
    return ConfusionMatrix.from_maps(label.data, table[lulc], classes + 1, label.ignore_index)


def spread_record(
    found: Spread, adapter: str, chip: str, seeds: Sequence[int], *, greedy: bool, random_weights: bool
) -> SpreadRecord:
    """A spread in a few figures."""
    ranges = [
        AreaRange(class_index=i, minimum=low, median=middle, maximum=high)
        for i, (low, middle, high) in enumerate(found.areas())
    ]
    return SpreadRecord(
        adapter=adapter,
        chip=chip,
        seeds=list(seeds),
        greedy=greedy,
        random_weights=random_weights,
        changed=found.changed,
        agreement_mean=float(found.agreement.mean()),
        agreement_min=float(found.agreement.min()),
        area=ranges,
        logits_std_mean=float(found.logits_std.mean()),
        logits_std_max=float(found.logits_std.max()),
        logits_p99=float(np.percentile(np.abs(found.logits_mean), 99)),
    )


def ratio_record(found: Ratio, threads: int) -> RatioRecord:
    """A runtime ratio with every call that it rests on."""
    return RatioRecord(
        tim=found.tim,
        plain=found.plain,
        device=found.device,
        dtype=found.dtype,
        threads=threads,
        tim_s=list(found.tim_s),
        plain_s=list(found.plain_s),
        median=found.median,
        minimum=found.range[0],
        maximum=found.range[1],
        beside=RUNTIME_CLAIM,
    )
