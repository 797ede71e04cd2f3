"""Plain references: what one would write first, without any of what the harness does about cost or faults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import MODALITIES, Chip, Grid, Layer
from harness.chips.recipe import Recipe
from harness.claims.schemes import Scheme

EPSG = 32618
"""Of made-up chips; any projected system in metres would do."""


def made_up_chip(recipe: Recipe, size_px: int, seed: int = 0) -> Chip:
    """A raw chip that is no image: one date, plausible ranges, so that a recipe takes it."""
    rng = np.random.default_rng(seed)
    shape = (1, 12, size_px, size_px)
    optical = 300 + rng.integers(0, 3000, shape)
    power = rng.gamma(4.0, 0.02, (1, 2, size_px, size_px)) + 1e-3
    radar, unit = (10 * np.log10(power), "dB") if recipe.s1.unit == "dB" else (power, "linear power")
    pixels = {"S2L2A": (optical, "DN"), "S1RTC": (radar, unit), "DEM": (rng.random((1, 1, size_px, size_px)) * 50, "m")}
    grid = Grid(EPSG, (10.0, 0.0, 583000.0, 0.0, -10.0, 4511000.0), size_px, size_px)
    layers = {
        m: Layer(m, data.astype(np.float32), MODALITIES[m].bands, told, (None,), Path("made up"), declared=True)
        for m, (data, told) in pixels.items()
    }
    return Chip(f"made-up-{seed}", grid, layers, s2_offset=0)


def preprocess(chip: Chip, recipe: Recipe, timesteps: int) -> dict[str, NDArray[np.float32]]:
    """(x - mean) / std in float64 and the date repeated, shape (C, T, H, W); nothing is checked or converted."""
    out = {}
    for modality, statistics in recipe.statistics.items():
        raw = chip.layers[modality].data[0].astype(np.float64)
        mean, std = (np.asarray(v, np.float64)[:, None, None] for v in (statistics.mean, statistics.std))
        out[modality] = np.repeat(((raw - mean) / std)[:, None], timesteps, axis=1).astype(np.float32)
    return out


def counted(
    score: NDArray[np.floating[Any]], label: NDArray[np.integer[Any]], thresholds: Sequence[float]
) -> list[tuple[int, int, int, int]]:
    """True and false positives, false and true negatives, each threshold counted anew over all pixels."""
    known = label != -1
    out = []
    for threshold in thresholds:
        above, positive = score > score.dtype.type(threshold), label == 1
        out.append(
            (
                int((above & positive & known).sum()),
                int((above & ~positive & known).sum()),
                int((~above & positive & known).sum()),
                int((~above & ~positive & known).sum()),
            )
        )
    return out


def class_rows(folder: Path, schemes: Mapping[str, Scheme]) -> list[str]:
    """Beginnings of the rows of every adapter's class table: name, IoU, precision, recall over all chips."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    out = []
    for each in run["adapters"]:
        names = [f"{c.index} {c.name}" for c in schemes[each["scheme"]].classes]
        tp, fp, fn = (np.zeros(len(names), np.int64) for _ in range(3))
        for chip in each["chips"]:
            with np.load(folder / "arrays" / f"{chip['chip']}.npz") as held:
                label = held[f"label:{each['scheme']}"] if f"label:{each['scheme']}" in held else held["label"]
                said = held[f"classes:{each['adapter']}"]
            for k in range(len(names)):
                tp[k] += int(((said == k) & (label == k)).sum())
                fp[k] += int(((said == k) & (label != k) & (label != -1)).sum())
                fn[k] += int(((said != k) & (label == k)).sum())
        for k, name in enumerate(names):
            cells = [_share(tp[k], tp[k] + fp[k] + fn[k]), _share(tp[k], tp[k] + fp[k]), _share(tp[k], tp[k] + fn[k])]
            out.append(f"| {name} | {' | '.join(cells)} |")
    return out


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "undefined"


def write_chip(folder: Path, name: str, size_px: int, seed: int) -> None:
    """A made-up chip with a made-up label as GeoTIFFs, one file a modality: blocks of 16 px, no place on earth."""
    import rasterio
    from rasterio.transform import Affine

    rng = np.random.default_rng(seed)
    codes = np.kron(rng.choice([1, 2, 4, 5, 9], (size_px // 16, size_px // 16)), np.ones((16, 16))).astype(np.uint8)
    shape = codes.shape
    layers: dict[str, tuple[NDArray[Any], Sequence[str]]] = {
        "S2L2A": (300 + rng.integers(0, 3000, (12, *shape)) + 100 * codes, MODALITIES["S2L2A"].bands),
        "S1RTC": (rng.normal(-14, 3, (2, *shape)), MODALITIES["S1RTC"].bands),
        "DEM": (rng.random((1, *shape)) * 50, MODALITIES["DEM"].bands),
        "LULC": (codes[None], ("LULC",)),
    }
    for modality, (data, bands) in layers.items():
        path = folder / modality / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = data if modality == "LULC" else data.astype(np.float32)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(bands),
            height=shape[0],
            width=shape[1],
            dtype=kept.dtype,
            crs=f"EPSG:{EPSG}",
            transform=Affine(10, 0, 580_000, 0, -10, 4_510_000),
        ) as out:
            out.write(kept)
            out.descriptions = tuple(bands)
