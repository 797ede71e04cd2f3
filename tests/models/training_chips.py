"""Labelled chips that a few steps can learn from, and the narrow family that learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.chips.chip import MODALITIES, Chip, Grid, Label, Layer
from harness.chips.recipe import Recipe, read_recipes
from harness.claims.families import Adapter, Build, Family, Pin
from harness.claims.model import Source

HERE = Source(repository="tests", path="models/training_chips.py")
SCHEME = "made"
RECIPES = read_recipes(Path(__file__).resolve().parents[2] / "eval" / "recipes")


def nano_family(base: str = "nano_base.safetensors") -> Family:
    """Two adapters on the nano backbone, with a decoder of a third of its width."""
    return Family(
        id="nano",
        title="Nano",
        author="Nobody",
        pins=[Pin(repository="none/none", revision="0", file=base, source=HERE)],
        adapters=[
            Adapter(id="cover", title="Land cover", task="t", classes=3, schemes=[SCHEME], folder="cover", report="c"),
            Adapter(id="houses", title="Houses", task="t", classes=2, folder="in/houses", report="h"),
        ],
        build=Build(
            topology="terramind-temporal-unet",
            backbone="harness_nano_terramind",
            modalities=["S2L2A", "S1RTC", "DEM"],
            bands={m: list(MODALITIES[m].bands) for m in ("S2L2A", "S1RTC", "DEM")},
            timesteps=4,
            indices=[0, 1, 2, 3],
            decoder="UNetDecoder",
            decoder_channels=[16, 8, 8, 8],
            lora_targets=["attn.qkv", "attn.proj"],
        ),
    )


def recipe(*, distinct: bool = False) -> Recipe:
    """The training code's recipe, or the same with four dates that differ."""
    given = RECIPES["training-code"]
    if not distinct:
        return given
    return given.model_copy(update={"dates": given.dates.model_copy(update={"policy": "distinct"})})


def chip(seed: int, *, dates: int = 1, height_px: int = 64, width_px: int = 64, classes: int = 3) -> Chip:
    """Blocks of 16 px of one class each, told apart by all bands, with noise."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, (height_px // 16, width_px // 16)).repeat(16, 0).repeat(16, 1)
    size = (dates, 12, height_px, width_px)
    optical = 600 + 1500 * codes[None, None] + 100 * rng.standard_normal(size)
    radar = 0.05 + 0.1 * codes[None, None] + 0.01 * rng.random((dates, 2, height_px, width_px))
    pixels = {"S2L2A": (np.maximum(optical, 1), "DN"), "S1RTC": (radar, "linear power")}
    pixels["DEM"] = (rng.random((1, 1, height_px, width_px)), "m")
    layers = {
        name: Layer(
            name,
            data.astype(np.float32),
            MODALITIES[name].bands,
            unit,
            tuple(f"2024-0{t + 1}-01" for t in range(len(data))),
            Path(f"made/{name}/chip{seed}.tif"),
            declared=True,
        )
        for name, (data, unit) in pixels.items()
    }
    labels = codes.astype(np.int64)
    labels[:2] = 255
    grid = Grid(32618, (10.0, 0.0, 580000.0, 0.0, -10.0, 4510000.0), height_px, width_px)
    return Chip(
        f"chip{seed}", grid, layers, Label(labels, SCHEME, Path("made/labels.tif"), "source", "made", 255), s2_offset=0
    )
