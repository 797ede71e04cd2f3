"""Narrow TerraMind backbones of this project: small enough to train on two cores and to commit.

They are TerraTorch's TerraMindViT with the settings of `terramind_v1_base` (terratorch 1.2.11,
terratorch/models/backbones/terramind/model/terramind_register.py) and other widths: no bias, gated
SiLU layers, patches of 16 px. There are no published weights of them, and TerraTorch does not know
their names; `harness.models.backbones` registers those of `SIZES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from harness.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Size:
    """How wide and deep a backbone is."""

    dim: int
    """Width of a token, a multiple of 4 (positions are sines and cosines of two axes) and of `heads`."""
    depth: int
    """Blocks; a temporal UNet takes the features of four of them."""
    heads: int
    """Heads of attention in a block."""


SIZES: dict[str, Size] = {"harness_nano_terramind": Size(dim=96, depth=4, heads=3)}
"""One line a backbone. With decoder channels 48, 32, 24, 16 and LoRA of rank 8, a base and two adapters
of this one take 6.4 MB in float16."""


def build(name: str, modalities: list[Any] | None = None, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A narrow TerraMindViT with random weights.

    Args:
        name: In `SIZES`.
        modalities: As TerraTorch's own TerraMind backbones take them.
        pretrained: Must be False; TerraTorch passes it to every backbone.
        kwargs: Passed on to TerraMindViT; width and depth are the name's.

    Raises:
        TopologyError: Pretrained weights are asked for.
    """
    if pretrained:
        raise TopologyError(f"backbone {name}: nobody publishes weights of it; a family's base file is loaded instead")
    from terratorch.models.backbones.terramind.model.terramind_vit import TerraMindViT
    from terratorch.models.backbones.terramind.model.tm_utils import LayerNorm

    size = SIZES[name]
    model: nn.Module = TerraMindViT(
        modalities=modalities,
        dim=size.dim,
        encoder_depth=size.depth,
        num_heads=size.heads,
        mlp_ratio=4,
        qkv_bias=False,
        proj_bias=False,
        mlp_bias=False,
        norm_layer=partial(LayerNorm, eps=1e-6, bias=False),
        act_layer=nn.SiLU,
        gated_mlp=True,
        **kwargs,
    )
    return model


harness_nano_terramind = partial(build, "harness_nano_terramind")
"""Factory, as an entry point of group `harness.backbones` would name it."""
