"""Images larger than a chip: TerraTorch's tiled inference, with its known traps checked before and after.

TerraTorch 1.2.11 (terratorch/tasks/tiled_inference.py) pads the image by reflection, cuts tiles,
drops `delta` pixels all round each prediction, weighs the rest with a raised cosine that falls
towards the tile's edge, and divides by the sum of weights. Left alone it returns an empty tensor
where delta is 0, cuts delta to 0 where the overlap is none, and fails where one side is shorter
than a tile; see `tiled` for what is refused and what is done about the others.

Two things about the published topology matter as much (measured with random weights, tests/models/
test_tiles.py). A pixel's logits depend on where it lies within its 16 px patch: tiles out of step
with each other disagree as if they had seen different places, so all tiles start a multiple of 16
apart. And TerraTorch pads sides that are no multiple of twice the patch at both ends, which puts an
image with an odd number of patches 8 px out of step: so it is padded here, at the far end alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from harness.chips.tensors import PATCH_PX, Inputs
from harness.errors import RecipeError, TopologyError
from harness.models import stack

Predict = Callable[[dict[str, Tensor]], Tensor]
"""Takes {modality: (B, C, T, h, w)} on the CPU, h and w multiples of 32; gives logits (B, K, h, w)."""

EVEN_PX = 2 * PATCH_PX
"""Sides that go through the model are multiples of it: TerraTorch pads others at both ends, which puts
an odd number of patches out of step (terratorch/models/utils.py `pad_images`)."""

CROP_PX, STRIDE_PX, DELTA_PX = 224, 176, 16
"""A chip of the published adapters; and twice TerraTorch's default delta (8, with a stride of 192).

The decoder's convolutions see zeros beyond a tile's edge: on the published topology with random
weights the 8 px after a delta of 8 disagreed 1.06 to 1.52 times as often as the interior
(`harness.models.seams`). A delta of 16 also keeps tiles in step with the image's own patches."""

WEIGHT_TOLERANCE = 1e-5
"""How far from 1 a channel of ones may come back; float32 rounding leaves under 1e-6."""


@dataclass(frozen=True)
class Side:
    """How one side of an image is cut."""

    size_px: int
    """Of the image."""
    padded_px: int
    """After reflection at the far end, so that tiles fit."""
    crop_px: int
    """Of a tile."""
    stride_px: int
    """Between tiles."""


def side(size_px: int, crop_px: int, stride_px: int, delta_px: int) -> Side:
    """Plan one side of an image that is tiled.

    TerraTorch pads `delta_px` at both ends itself. A side that is then no longer than a tile gets
    one row of tiles, as long as it needs and a multiple of 32, in place of an error. On any other
    the last tile starts a multiple of 16 px after the first.
    """
    outer = size_px + 2 * delta_px
    if outer > crop_px:
        return Side(size_px, crop_px - 2 * delta_px + _up(outer - crop_px, PATCH_PX), crop_px, stride_px)
    short = _up(outer, EVEN_PX)
    return Side(size_px, short - 2 * delta_px, short, max(1, short - (crop_px - stride_px)))


def _up(size_px: int, multiple_px: int) -> int:
    return -(-size_px // multiple_px) * multiple_px


def tiled(
    predict: Predict,
    inputs: Inputs | Mapping[str, NDArray[np.float32]],
    crop_px: int = CROP_PX,
    stride_px: int = STRIDE_PX,
    delta_px: int = DELTA_PX,
    batch: int = 1,
) -> NDArray[np.float32]:
    """Predict an image of any size.

    One that fits in a tile goes through in one pass, reflected to the next multiple of 32 where it
    is none, and cut back.

    Args:
        predict: The model.
        inputs: Arrays (C, T, H, W) by modality, normalised, all of one T, H and W, each side at
            least 32 px.
        crop_px: Side of a tile, a multiple of 32.
        stride_px: Step between tiles, a multiple of 16; less than `crop_px - 2 delta_px`, so that
            tiles overlap.
        delta_px: Pixels dropped all round each tile's prediction; at least 1.
        batch: Tiles in one call of `predict`.

    Returns:
        Logits (K, H, W). Memory: about three times the inputs, and all tiles' logits at once.

    Raises:
        RecipeError: Numbers of the tiling that TerraTorch gets wrong.
        TopologyError: Arrays of unlike size, a side too short, NaN, or a model that gives another
            shape, NaN, or leaves a pixel without a value.
    """
    _check_numbers(crop_px, stride_px, delta_px, batch)
    name = inputs.chip_id if isinstance(inputs, Inputs) else "image"
    tensors = _tensors(inputs.arrays if isinstance(inputs, Inputs) else inputs, name)
    height, width = next(iter(tensors.values())).shape[-2:]
    checked = _Checked(predict, name)
    if height <= crop_px and width <= crop_px:
        rows, columns = _up(height, EVEN_PX), _up(width, EVEN_PX)
        with torch.no_grad():
            out = checked(_reflected(tensors, rows, columns))
    else:
        down, across = (side(n, crop_px, stride_px, delta_px) for n in (height, width))
        rows, columns = down.padded_px, across.padded_px
        if min(rows, columns) <= delta_px:
            raise RecipeError(
                f"{name}: {height} x {width} px cannot be reflected by delta = {delta_px} px; take a smaller delta"
            )
        out = _terratorch(checked, _reflected(tensors, rows, columns), down, across, delta_px, batch, name)
    if tuple(out.shape) != (1, checked.classes + 1, rows, columns):
        raise TopologyError(
            f"{name}: tiled inference gave {tuple(out.shape)} where {(1, checked.classes + 1, rows, columns)} was due"
        )
    off = float((out[0, -1] - 1).abs().max())
    if not off <= WEIGHT_TOLERANCE or not bool(torch.isfinite(out).all()):
        raise TopologyError(
            f"{name}: weights of overlapping tiles do not add up: a channel of ones is {off:.2g} off somewhere; "
            f"crop {crop_px}, stride {stride_px}, delta {delta_px}"
        )
    return np.ascontiguousarray(out[0, :-1, :height, :width].numpy(), dtype=np.float32)


def one_pass(predict: Predict, arrays: Mapping[str, NDArray[np.float32]], name: str = "image") -> NDArray[np.float32]:
    """Logits (K, H, W) of arrays (C, T, H, W) whose sides are multiples of 32, in one pass, checked as `tiled` does."""
    with torch.no_grad():
        out = _Checked(predict, name)(_tensors(arrays, name))
    return np.ascontiguousarray(out[0, :-1].numpy())


def _terratorch(
    predict: _Checked, tensors: dict[str, Tensor], down: Side, across: Side, delta_px: int, batch: int, name: str
) -> Tensor:
    stack.prepare()
    from terratorch.tasks.tiled_inference import tiled_inference

    try:
        out: Tensor = tiled_inference(
            predict,
            tensors,
            h_crop=down.crop_px,
            w_crop=across.crop_px,
            h_stride=down.stride_px,
            w_stride=across.stride_px,
            delta=delta_px,
            batch_size=batch,
            padding="reflect",
        )
    except RuntimeError as err:
        if "did not receive" not in str(err):
            raise
        raise TopologyError(
            f"{name}: {down.size_px} x {across.size_px} px: TerraTorch left pixels without a value: {err}"
        ) from err
    return out


def _check_numbers(crop_px: int, stride_px: int, delta_px: int, batch: int) -> None:
    said = f"tiling with crop {crop_px}, stride {stride_px}, delta {delta_px}, batch {batch}"
    if crop_px < EVEN_PX or crop_px % EVEN_PX:
        raise RecipeError(
            f"{said}: the crop must be a multiple of {EVEN_PX} px; TerraTorch pads any other one at both ends"
        )
    if delta_px < 1:
        raise RecipeError(f"{said}: delta must be at least 1; TerraTorch gives back an empty tensor for 0")
    if not 1 <= stride_px < crop_px - 2 * delta_px:
        raise RecipeError(
            f"{said}: the stride must be from 1 to {crop_px - 2 * delta_px - 1} (crop - 2 delta - 1); otherwise tiles "
            "do not overlap once delta is dropped, and TerraTorch leaves gaps or gives back an empty tensor"
        )
    if stride_px % PATCH_PX:
        raise RecipeError(f"{said}: the stride must be a multiple of {PATCH_PX} px, or tiles are out of step")
    if batch < 1:
        raise RecipeError(f"{said}: the batch must be at least 1")


def _tensors(arrays: Mapping[str, NDArray[np.float32]], name: str) -> dict[str, Tensor]:
    """Tensors (1, C, T, H, W)."""
    if not arrays:
        raise TopologyError(f"{name}: no arrays")
    shapes = {m: a.shape for m, a in arrays.items()}
    if any(len(s) != 4 for s in shapes.values()) or len({s[1:] for s in shapes.values()}) != 1:
        raise TopologyError(f"{name}: arrays {shapes}; (C, T, H, W) with one T, H and W is needed")
    short = min(next(iter(shapes.values()))[2:])
    if short < EVEN_PX:
        raise TopologyError(f"{name}: a side of {short} px; at least {EVEN_PX} are needed")
    bad = [m for m, a in arrays.items() if not np.isfinite(a).all()]
    if bad:
        raise TopologyError(f"{name}: NaN or infinity in {', '.join(bad)}; fill or mask nodata before")
    return {m: torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32))[None] for m, a in arrays.items()}


def _reflected(tensors: dict[str, Tensor], rows: int, columns: int) -> dict[str, Tensor]:
    """Tensors made longer at the far ends by reflection."""
    height, width = next(iter(tensors.values())).shape[-2:]
    if (height, width) == (rows, columns):
        return tensors
    return {m: pad(t, (0, columns - width, 0, rows - height, 0, 0), mode="reflect") for m, t in tensors.items()}


class _Checked:
    """A model whose every output is checked, and gets a channel of ones that shows the weights' sum."""

    def __init__(self, predict: Predict, name: str) -> None:
        self.predict, self.name, self.classes = predict, name, 0

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        first = next(iter(batch.values()))
        n, (height, width) = first.shape[0], first.shape[-2:]
        out = self.predict(batch)
        if out.ndim != 4 or out.shape[0] != n or tuple(out.shape[-2:]) != (height, width):
            raise TopologyError(
                f"{self.name}: the model gave {tuple(out.shape)} for {n} tiles of {height} x {width} px; "
                f"({n}, K, {height}, {width}) is needed"
            )
        if self.classes not in (0, out.shape[1]):
            raise TopologyError(f"{self.name}: {out.shape[1]} classes after {self.classes} in the tile before")
        self.classes = out.shape[1]
        out = out.detach().to("cpu", torch.float32)
        if not bool(torch.isfinite(out).all()):
            raise TopologyError(f"{self.name}: the model gave NaN or infinity for a tile")
        return torch.cat([out, torch.ones_like(out[:, :1])], dim=1)
