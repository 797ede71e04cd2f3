"""Random fields that come out the same everywhere: sums, products and running sums, no sine, no matrix product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def generator(seed: int, *key: int) -> np.random.Generator:
    """A stream of its own for each use of a seed, so that one more draw here moves nothing there."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *key])))


def box_mean(field: Field, width_px: int) -> Field:
    """Mean over a square window, cut at the edges.

    Args:
        field: Shape (H, W).
        width_px: Side of the window, odd.
    """
    out = field.astype(np.float64)
    half = width_px // 2
    for axis in (0, 1):
        size = out.shape[axis]
        sums = np.concatenate([np.zeros_like(out.take([0], axis)), out.cumsum(axis)], axis)
        low = np.clip(np.arange(size) - half, 0, size)
        high = np.clip(np.arange(size) + half + 1, 0, size)
        count = (high - low).reshape((-1, 1) if axis == 0 else (1, -1))
        out = (sums.take(high, axis) - sums.take(low, axis)) / count
    return out.astype(np.float32)


def enlarged(field: Field, times: int) -> Field:
    """A field on pixels `times` as fine, linear between the centres of the coarse ones."""
    out = field
    for axis in (0, 1):
        size = out.shape[axis]
        at = (np.arange(size * times, dtype=np.float32) + np.float32(0.5)) / np.float32(times) - np.float32(0.5)
        low = np.clip(np.floor(at).astype(np.intp), 0, size - 2)
        share = np.clip(at - low, 0, 1).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        out = out.take(low, axis) * (1 - share) + out.take(low + 1, axis) * share
    return out.astype(np.float32)


def smooth(rng: np.random.Generator, size_px: int, wave_px: int) -> Field:
    """Gaussian-like noise, shape (size, size), whose blobs are about `wave_px` across; mean 0, deviation 1."""
    cells = -(-size_px // wave_px) + 3
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    fine = np.repeat(np.repeat(coarse, wave_px, 0), wave_px, 1)
    for _ in range(3):
        fine = box_mean(fine, wave_px | 1)
    fine = fine[wave_px : wave_px + size_px, wave_px : wave_px + size_px]
    fine = fine - fine.mean(dtype=np.float64)
    out: Field = (fine / np.sqrt((fine.astype(np.float64) ** 2).mean())).astype(np.float32)
    return out


def levelled(field: Field, width_px: int) -> Field:
    """A field with mean 0 and deviation 1 in every window, so that each place has its highs and lows."""
    flat = field - box_mean(field, width_px)
    out: Field = (flat / np.sqrt(box_mean(flat * flat, width_px) + np.float32(1e-4))).astype(np.float32)
    return out


def halved(field: Field, times: int) -> Field:
    """Area mean over blocks of `times` x `times` pixels."""
    out = np.zeros((field.shape[0] // times, field.shape[1] // times), np.float32)
    for row in range(times):
        for col in range(times):
            out += field[row::times, col::times]
    out /= np.float32(times * times)
    return out


def blurred(field: Field) -> Field:
    """A sensor's point spread: weights 1, 2, 1 along both axes."""
    wide = np.pad(field, 1, mode="edge")
    tall = (wide[:-2] + wide[1:-1] * 2 + wide[2:]) * np.float32(0.25)
    out: Field = (tall[:, :-2] + tall[:, 1:-1] * 2 + tall[:, 2:]) * np.float32(0.25)
    return out
