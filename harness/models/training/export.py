"""Adapters written in the published format: the three files that strict loading reads back bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.models.load import LORA_NAME
from harness.models.published import CONFIG, DECODER, LORA, AdapterConfig
from harness.models.training.train import TrainConfig
from harness.models.weights import read_weights

WRAPPED = "base_model.model."
"""What PEFT's own wrapper, which TerraTorch's `peft_config` uses, puts before the encoder's names."""


class ExportConfig(AdapterConfig):
    """adapter_config.json as it is written; the two counts are filled in from the tensors."""

    decoder_name: str
    """Name in TerraTorch's registry of decoders."""


def config_of(train: TrainConfig) -> ExportConfig:
    """adapter_config.json of an adapter that was trained from a config.

    Raises:
        WeightsError: The config asks for no LoRA.
    """
    if train.lora is None:
        raise WeightsError(f"{train.path}: asks for no LoRA; there is no adapter to export")
    return ExportConfig(
        peft_type="LORA",
        r=train.lora.r,
        lora_alpha=train.lora.alpha,
        lora_dropout=train.lora.dropout,
        target_modules=list(train.lora.targets),
        base_model_name_or_path=train.base,
        num_classes=train.classes,
        decoder_name=str(train.model_args["decoder"]),
    )


def export_adapter(model: nn.Module, folder: Path, config: ExportConfig, *, replace: bool = False) -> None:
    """Write LoRA, decoder with its batch-norm buffers, and config, as the published adapters are.

    The files are written beside the folder, read back and compared, and put in place by renaming:
    the folder holds all three or is not there. What else stands in a folder that is replaced
    (splits, README) is kept.

    Args:
        model: TerraTorch's model with LoRA in its encoder, unmerged.
        folder: The adapter's folder.
        config: What adapter_config.json says; it must be true of the model.
        replace: Whether a folder that holds something may be replaced.

    Raises:
        WeightsError: Model and config do not agree, the format has no place for something that was
            trained, a tensor is not finite, the folder holds something, or writing fails.
    """
    if not replace and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder}: holds something already; name another folder, or say that it may be replaced")
    lora, decoder = _lora(model, config), _decoder(model, config)
    config = config.model_copy(update={"lora_param_count": _entries(lora), "decoder_param_count": _entries(decoder)})
    fields = config.model_dump()
    if float(config.lora_alpha).is_integer():
        fields["lora_alpha"] = int(config.lora_alpha)
    part = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            shutil.copytree(folder, part)
        else:
            part.mkdir()
        save_file(lora, part / LORA)
        save_file(decoder, part / DECODER)
        (part / CONFIG).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
        for name, wanted in ((LORA, lora), (DECODER, decoder)):
            _compared(part / name, wanted)
        _swapped(part, folder)
    except OSError as err:
        raise WeightsError(f"{folder}: cannot be written: {err.strerror or err}") from err
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _lora(model: nn.Module, config: ExportConfig) -> dict[str, Tensor]:
    """LoRA tensors under their published names."""
    from peft.tuners.lora import LoraLayer

    encoder = model.encoder
    for name, layer in encoder.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if layer.merged_adapters:
            raise WeightsError(f"{name}: LoRA is merged into the weight; unmerge it, or export before merging")
        scaling = layer.scaling.get("default")
        if scaling != config.lora_alpha / config.r:
            raise WeightsError(
                f"{name}: scaled by {scaling}, the config's lora_alpha / r is {config.lora_alpha:g} / {config.r}"
            )
        if not any(name == t or name.endswith(f".{t}") for t in config.target_modules):
            raise WeightsError(f"{name}: carries LoRA and is none of the config's {', '.join(config.target_modules)}")
    others = [n for n, p in encoder.named_parameters() if "lora_" not in n and p.requires_grad]
    if others:
        raise WeightsError(
            f"{len(others)} tensors of the base are trainable, first {others[0]}; the format has no place for them"
        )
    out = {f"encoder.{n.removeprefix(WRAPPED)}": _plain(t) for n, t in encoder.state_dict().items() if "lora_" in n}
    if not out:
        raise WeightsError("the encoder carries no LoRA; there is nothing to export")
    for name, tensor in out.items():
        match = LORA_NAME.match(name)
        if match is None or match["name"] is None:
            raise WeightsError(f"{name}: no LoRA pair called `default`; the format holds one plain LoRA")
        rank = tensor.shape[0 if match["half"] == "A" else 1]
        if rank != config.r:
            raise WeightsError(f"{name}: rank {rank}, the config says r = {config.r}")
    return _finite(out)


def _decoder(model: nn.Module, config: ExportConfig) -> dict[str, Tensor]:
    """Neck, decoder and head, batch-norm buffers included."""
    out = {n: _plain(t) for n, t in model.state_dict().items() if not n.startswith("encoder.")}
    auxiliary = [n for n in out if n.startswith("aux_heads.")]
    if auxiliary:
        raise WeightsError(
            f"{len(auxiliary)} tensors of auxiliary heads, first {auxiliary[0]}: no published topology has them"
        )
    classes = [t.shape[0] for n, t in out.items() if n.startswith("head.") and t.ndim > 1]
    if not classes or classes[-1] != config.num_classes:
        given = classes[-1] if classes else "no"
        raise WeightsError(f"the head gives {given} classes, the config says num_classes = {config.num_classes}")
    return _finite(out)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()  # a view or a shared tensor is refused by safetensors


def _finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    bad = [n for n, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise WeightsError(f"NaN or infinity in {len(bad)} tensors, first {bad[0]}; the training diverged")
    return tensors


def _entries(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() for t in tensors.values())


def _compared(path: Path, wanted: dict[str, Tensor]) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    held = read_weights(path).tensors
    if held.keys() != wanted.keys() or any(
        t.dtype != wanted[n].dtype or not torch.equal(t, wanted[n]) for n, t in held.items()
    ):
        raise WeightsError(f"{path}: what was read back is not what was written; the disk is full or damaged")


def _swapped(part: Path, folder: Path) -> None:
    """Put `part` where `folder` is; the old folder is back in place where that fails."""
    if not folder.exists():
        part.rename(folder)
        return
    old = folder.parent / f".{folder.name}-{uuid.uuid4().hex}-old"
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old) if old.is_dir() else old.unlink()
