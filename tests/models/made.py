"""A narrow family with the published topology and format, for tests that need no full size."""

from __future__ import annotations

import numpy as np

from harness.chips.tensors import Inputs
from harness.claims.families import Adapter, Build, Family, Pin
from harness.claims.model import Source

HERE = Source(repository="tests", path="models/made.py")


def narrow_family() -> Family:
    """Three adapters on TerraMind tiny (6 M parameters), decoder an eighth as wide as the published one."""
    adapters = [
        Adapter(id="lulc_nyc", title="Land cover", task="t", classes=5, folder="lulc_nyc", report="r-lulc"),
        Adapter(
            id="tim_nyc",
            title="Land cover with Thinking-in-Modalities",
            task="t",
            classes=5,
            folder="tim_nyc",
            report="r-tim",
            build=Build(backbone="terramind_v1_tiny_tim", tim_modalities=["LULC"]),
        ),
        Adapter(id="buildings_nyc", title="Buildings", task="t", classes=2, folder="buildings_nyc", report="r-b"),
    ]
    return Family(
        id="narrow",
        title="Narrow",
        author="Nobody",
        pins=[Pin(repository="none/none", revision="0", file="base.pt", source=HERE)],
        adapters=adapters,
        build=Build(
            topology="terramind-temporal-unet",
            backbone="terramind_v1_tiny",
            modalities=["S2L2A", "S1RTC", "DEM"],
            bands={
                "S2L2A": ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"],
                "S1RTC": ["VV", "VH"],
                "DEM": ["DEM"],
            },
            timesteps=4,
            indices=[2, 5, 8, 11],
            decoder="UNetDecoder",
            decoder_channels=[64, 32, 16, 8],
            lora_targets=["attn.qkv", "attn.proj"],
        ),
    )


def inputs(size_px: int = 64, *, identical: bool = True, seed: int = 0) -> Inputs:
    """Normalised tensors of one chip: one date four times, or four dates."""
    rng = np.random.default_rng(seed)
    shapes = {"S2L2A": 12, "S1RTC": 2, "DEM": 1}
    arrays = {}
    for modality, bands in shapes.items():
        steps = 1 if identical or modality == "DEM" else 4
        drawn = rng.standard_normal((bands, steps, size_px, size_px)).astype(np.float32)
        arrays[modality] = np.broadcast_to(drawn, (bands, 4, size_px, size_px)).copy()
    return Inputs(f"chip-{seed}", "made", arrays, identical, {}, ())
