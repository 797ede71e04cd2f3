"""Fixed inputs and labels of a comparison: integers of a counter-based generator, the same everywhere."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.chips.tensors import PATCH_PX, Inputs, Pixels
from harness.claims.families import Family
from harness.errors import TopologyError

UNIFORM_SCALE = 12**0.5
"""Turns a uniform number of width 1 into one of variance 1."""

LABEL_BLOCK_PX = 8
"""Side of the blocks whose label is drawn anew."""

LABEL_SHARE = 4
"""One block in so many is drawn anew."""


def make_inputs(
    family: Family, size_px: int = 224, seed: int = 0, dates: int = 1, tasks: Sequence[str] | None = None
) -> Inputs:
    """Normalised-looking tensors: blocks of 16 px and pixels on top, mean 0, variance 1 in every band.

    Every number is made of two 24-bit integers (Philox) by one float32 product each and one sum, so
    that its bytes are the same on every machine. They are no image: no figure got with them says
    anything about an adapter.

    Args:
        family: Says modalities, bands and timesteps.
        size_px: Height and width, a multiple of 16.
        seed: Another seed gives other numbers.
        dates: 1 for one date at all timesteps, or as many as the family takes. DEM never changes.
        tasks: Adapter ids whose modalities are made; all where left out.

    Raises:
        TopologyError: `size_px` or `dates` does not fit, or two adapters take another shape of one modality.
    """
    if size_px < PATCH_PX or size_px % PATCH_PX:
        raise TopologyError(f"size {size_px} px: give a multiple of {PATCH_PX}")
    arrays: dict[str, Pixels] = {}
    for task in tasks if tasks is not None else [a.id for a in family.adapters]:
        build = family.build_of(task)
        steps = build.timesteps or 1
        if dates not in (1, steps):
            raise TopologyError(f"{dates} dates: {task} takes {steps}; give 1 or {steps}")
        for modality in build.modalities:
            bands = len(build.bands.get(modality, ()))
            drawn = 1 if modality == "DEM" else dates
            array = np.broadcast_to(
                np.concatenate([_image(f"{modality}/{t}", bands, size_px, seed) for t in range(drawn)], axis=1),
                (bands, steps, size_px, size_px),
            )
            if modality in arrays and arrays[modality].shape != array.shape:
                raise TopologyError(
                    f"{task} takes {modality} as {array.shape}, another adapter as {arrays[modality].shape}; "
                    "compare them one by one"
                )
            arrays[modality] = np.ascontiguousarray(array)
    name = f"made-{size_px}px-{dates}d-{seed}"
    return Inputs(name, "equivalence", arrays, dates == 1, {}, ("made of random integers; no image",))


def _image(name: str, bands: int, size_px: int, seed: int) -> Pixels:
    """Shape (bands, 1, size, size), variance 1: three quarters of it in blocks, the rest in pixels."""
    blocks = _uniform(f"{name}/blocks", (bands, 1, size_px // PATCH_PX, size_px // PATCH_PX), seed, 0.75**0.5)
    pixels = _uniform(f"{name}/pixels", (bands, 1, size_px, size_px), seed, 0.5)
    return blocks.repeat(PATCH_PX, axis=2).repeat(PATCH_PX, axis=3) + pixels


def _uniform(name: str, shape: tuple[int, ...], seed: int, deviation: float) -> Pixels:
    raw = _generator(name, seed).integers(-(1 << 23), 1 << 23, size=shape, dtype=np.int32)
    return raw.astype(np.float32) * np.float32(deviation * UNIFORM_SCALE / (1 << 24))


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))


def inputs_sha256(inputs: Sequence[Inputs]) -> str:
    """SHA-256 over all inputs: names, shapes and float32 bytes, little-endian."""
    digest = hashlib.sha256()
    for one in inputs:
        for modality in sorted(one.arrays):
            array = one.arrays[modality]
            digest.update(f"{one.chip_id}/{modality}{array.shape};".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()


def logits_sha256(logits: Sequence[NDArray[np.float32]]) -> str:
    """SHA-256 of logits: shapes and float32 bytes, little-endian, row-major."""
    digest = hashlib.sha256()
    for array in logits:
        digest.update(f"{array.shape};".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()


def label_of(reference: NDArray[np.int64], classes: int, name: str) -> NDArray[np.int64]:
    """A label to score against: the reference's own classes, with every fourth block of 8 px drawn anew.

    So each class has at least some 1 / (4 classes) of the pixels, no pixel decides an IoU alone, and
    a changed pixel mostly turns right into wrong, which a wholly random label would hide.

    Args:
        reference: Class map, shape (H, W).
        classes: K.
        name: Fixes the draw.
    """
    height, width = reference.shape
    blocks = (-(-height // LABEL_BLOCK_PX), -(-width // LABEL_BLOCK_PX))
    draw = _generator(f"{name}/label", 0)
    anew = draw.integers(0, LABEL_SHARE, size=blocks) == 0
    drawn = draw.integers(0, classes, size=blocks)

    def pixels(a: NDArray[np.generic]) -> NDArray[np.generic]:
        return a.repeat(LABEL_BLOCK_PX, axis=0).repeat(LABEL_BLOCK_PX, axis=1)[:height, :width]

    return np.where(pixels(anew), pixels(drawn), reference).astype(np.int64)


LABEL = (
    f"made for this comparison: classes of the reference, with one block of {LABEL_BLOCK_PX} px in {LABEL_SHARE} drawn "
    "anew from all classes; its IoUs say nothing about an adapter"
)
"""What `label_of` gives, in words."""
