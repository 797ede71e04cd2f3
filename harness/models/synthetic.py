"""Full-size weight files of a family in the published format, with random numbers in them.

They let everything but the weights be the real thing: loading, prediction, scoring, devices,
reports. No figure got with them says anything about an adapter, and every report says so.

The numbers are the same on every machine: 24 bits of a counter-based generator (Philox,
Salmon et al. 2011, as numpy has it), scaled by powers and square roots of integers.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.claims.families import Adapter, Family
from harness.errors import WeightsError
from harness.models.load import BUFFERS
from harness.models.published import CONFIG, DECODER, LORA
from harness.models.topology import build_topology, explained, inject_lora

RANK, ALPHA = 16, 32.0
"""As the published adapters (adapters/*/config.yaml)."""

MARKER = "RANDOM-WEIGHTS.json"
"""Written beside the files; a folder that holds it never counts as published weights."""


WRITER = 2
"""Version of what is written here; files of another one are written anew. 2: tied tensors are equal."""

RANDOM_BASE = "random weights of this project"
"""What the config of such an adapter names as its base: known as random even without the marker."""


def uniform(name: str, shape: tuple[int, ...], scale: float, seed: int, centre: float = 0.0) -> Tensor:
    """Numbers in [centre - scale, centre + scale), float32, fixed by name, shape and seed alone."""
    generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    n = int(np.prod(shape, dtype=np.int64))
    raw = generator.integers(0, 1 << 24, size=n, dtype=np.uint32)
    out = raw.astype(np.float32)
    out *= np.float32(2.0 * scale / (1 << 24))
    out += np.float32(centre - scale)
    return torch.from_numpy(out.reshape(shape))


def _scale(shape: tuple[int, ...]) -> float:
    """Bound of a uniform draw that keeps the variance of a linear layer's input (He et al. 2015, gain 1)."""
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    return float((3.0 / fan_in) ** 0.5)


def _weight(name: str, like: Tensor, seed: int) -> Tensor:
    """One tensor of base or decoder, shaped like the built model's."""
    shape, leaf = tuple(like.shape), name.rpartition(".")[2]
    if leaf == "pos_emb":
        return like.detach().clone()  # fixed by the architecture: sines and cosines
    if leaf == "num_batches_tracked":
        return torch.tensor(1000, dtype=torch.int64)
    if leaf == "running_var":
        return uniform(name, shape, 0.4, seed, centre=1.0)
    if leaf == "running_mean":
        return uniform(name, shape, 0.2, seed)
    if leaf in ("mod_emb", "mask_token") or "token_emb" in name:
        return uniform(name, shape, 0.02 * 3**0.5, seed)
    if len(shape) == 1:
        if "norm" in name or _follows_norm(name):
            return uniform(name, shape, 0.1, seed, centre=0.0 if leaf == "bias" else 1.0)
        return uniform(name, shape, 0.02, seed)
    return uniform(name, shape, _scale(shape), seed)


def _follows_norm(name: str) -> bool:
    """Batch norms of the decoder have no telling name: conv1.1, fpn1.1."""
    return name.rpartition(".")[0].endswith((".conv1.1", ".conv2.1", "fpn1.1"))


def write_adapter(
    family: Family, adapter: Adapter, folder: Path, seed: int = 0, *, buffers: bool = True, head_gain: float = 6.0
) -> None:
    """Write one adapter's folder.

    Args:
        family: What is built.
        adapter: Which one.
        folder: Root of the adapters' folders.
        seed: Another seed gives other numbers.
        buffers: Whether the decoder file holds batch-norm buffers.
        head_gain: Factor on the last layer, so that probabilities are neither all alike nor all certain.
    """
    build = family.build_of(adapter.id)
    topology = build_topology(build, adapter.classes)
    inject_lora(topology.model.encoder, RANK, ALPHA, build.lora_targets)
    target = folder / adapter.folder
    target.mkdir(parents=True, exist_ok=True)
    lora = {}
    for name, t in topology.model.encoder.state_dict().items():
        if "lora_" in name:
            full = f"encoder.{name}"
            trained = ".lora_A." in name or explained(name, topology.not_run) is None
            scale = _scale(tuple(t.shape)) if ".lora_A." in name else 0.05 if trained else 0.0
            lora[full] = uniform(f"{adapter.id}/{full}", tuple(t.shape), scale, seed)
    save_file(lora, target / LORA)
    decoder = {}
    for name, t in topology.model.state_dict().items():
        if name.startswith("encoder.") or (not buffers and name.rpartition(".")[2] in BUFFERS):
            continue
        decoder[name] = _weight(name, t, seed + zlib.crc32(adapter.id.encode()))
        if name.startswith("head.") and name.endswith("weight"):
            decoder[name] *= head_gain
    save_file(decoder, target / DECODER)
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": int(ALPHA),
        "lora_dropout": 0.05,
        "target_modules": list(build.lora_targets),
        "base_model_name_or_path": RANDOM_BASE,
        "num_classes": adapter.classes,
        "decoder_name": build.decoder,
        "lora_param_count": sum(t.numel() for t in lora.values()),
        "decoder_param_count": sum(t.numel() for t in decoder.values()),
    }
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_base(family: Family, path: Path, seed: int = 0) -> None:
    """Write a base file with every tensor that any adapter's encoder wants, and some that none does.

    Raises:
        WeightsError: No adapter of the family can be built.
    """
    names: dict[str, Tensor] = {}
    kinds = {family.build_of(a.id).model_dump_json(): a for a in family.adapters}
    for adapter in kinds.values():
        topology = build_topology(family.build_of(adapter.id), adapter.classes)
        for name, t in topology.model.encoder.state_dict().items():
            prefix = max((p for p in topology.base_prefixes if name.startswith(p)), key=len, default=None)
            if prefix is not None and explained(name, topology.not_run) is None:
                names.setdefault(name.removeprefix(prefix), t)
    if not names:
        raise WeightsError(f"family {family.id}: no adapter has an encoder that can be built")
    base: dict[str, Tensor] = {}
    drawn: dict[int, Tensor] = {}
    for name, t in names.items():
        # tensors that are one in the model are equal in the file
        base[name] = drawn.setdefault(t.data_ptr(), _base_tensor(name, t, seed)).clone()
    # a real base knows more modalities than an adapter builds
    base["encoder_embeddings.untok_sen1grd@224.mod_emb"] = uniform("sen1grd", (1, 1, 768), 0.03, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(base, path)


def _base_tensor(name: str, like: Tensor, seed: int) -> Tensor:
    if name.rpartition(".")[2] == "bias" and isinstance(like, Tensor) and not isinstance(like, nn.Parameter):
        return torch.zeros_like(like) if "norm" in name else _weight(name, like, seed)
    return _weight(name, like, seed)


def write_family(family: Family, folder: Path, seed: int = 0, *, only: list[str] | None = None) -> Path:
    """Write base and adapters, once; a folder that is complete for this seed is kept.

    Args:
        family: What is built.
        folder: Where to; about 1.6 GB for the first family.
        seed: Another seed gives other numbers.
        only: Adapter ids; all where left out.

    Returns:
        `folder`.
    """
    marker = folder / MARKER
    names = sorted(only or [a.id for a in family.adapters])
    wanted = {"writer": WRITER, "family": family.id, "seed": seed, "adapters": names}
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == wanted:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps({**wanted, "unfinished": True}), encoding="utf-8")  # first: a kill leaves it marked
    pin = family.base()
    write_base(family, folder / (pin.file if pin and pin.file else "base.pt"), seed)
    for adapter in family.adapters:
        if only is None or adapter.id in only:
            write_adapter(family, adapter, folder, seed)
    marker.write_text(json.dumps(wanted), encoding="utf-8")
    return folder
