"""Bases and adapters written in the published format: files that strict loading reads back bit for bit."""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.models.load import BUFFERS, LORA_NAME
from harness.models.published import CONFIG, DECODER, LORA, AdapterConfig
from harness.models.topology import Topology, explained, has_lora
from harness.models.training.train import TrainConfig
from harness.models.weights import read_weights

HALF = "float16"
"""The one precision besides float32 that weights are stored in."""

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


def round_weights(tensors: Mapping[str, Tensor], dtype: str) -> None:
    """Round float32 weights to what a file of `dtype` holds, in place.

    Batch-norm statistics stay as they are: they are few, and a small variance would be lost.

    Args:
        tensors: A model's own, by name.
        dtype: `float32` leaves everything, `float16` rounds.

    Raises:
        WeightsError: A weight is too large for `dtype`.
    """
    for name, tensor in tensors.items():
        stored = _stored(name, tensor, dtype)
        if stored.is_floating_point() and not bool(torch.isfinite(stored).all()):
            raise WeightsError(f"{name}: NaN, infinity, or a value too large for {dtype}; the training diverged")
        tensor.copy_(stored)


def _stored(name: str, tensor: Tensor, dtype: str) -> Tensor:
    """A tensor in the type that a file of `dtype` holds it in."""
    if dtype not in (HALF, "float32"):
        raise WeightsError(f"dtype {dtype!r}: float32 or {HALF}")
    if dtype != HALF or not tensor.is_floating_point() or name.rpartition(".")[2] in BUFFERS:
        return tensor
    return tensor.to(torch.float16)


def _as_stored(tensors: dict[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Tensors as the file holds them, refusing to change a value on the way."""
    out = {n: _stored(n, t, dtype) for n, t in tensors.items()}
    changed = [n for n, t in out.items() if not torch.equal(t.to(tensors[n].dtype), tensors[n])]
    if changed:
        raise WeightsError(
            f"{len(changed)} tensors would change in {dtype}, first {changed[0]}; round them first "
            "(round_weights), so that what is run is what is written"
        )
    return out


def export_base(topology: Topology, path: Path, *, dtype: str = "float32", replace: bool = False) -> None:
    """Write an encoder as a base file, under the names that `harness.models.load.load_base` looks for.

    Args:
        topology: Whose encoder; without LoRA.
        path: A `.safetensors` file, or a `.pt` file that holds tensors only.
        dtype: `float32`, or `float16` for a model that `round_weights` has rounded.
        replace: Whether a file may be replaced.

    Raises:
        WeightsError: LoRA is there, a tensor is not finite or would change, the file is there, or
            writing fails.
    """
    if path.exists() and not replace:
        raise WeightsError(f"{path}: is there already; name another file, or say that it may be replaced")
    encoder = topology.model.encoder
    if has_lora(encoder):
        raise WeightsError(f"{path}: the encoder carries LoRA, which renames the layers it wraps; it is no base")
    tensors: dict[str, Tensor] = {}
    for name, tensor in encoder.state_dict().items():
        if explained(name, topology.not_run) is None:
            prefix = max((p for p in topology.base_prefixes if name.startswith(p)), key=len, default="")
            tensors[name.removeprefix(prefix)] = _plain(tensor)
    stored = _as_stored(_finite(tensors), dtype)
    part = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file(stored, part)
        else:
            buffer = io.BytesIO()  # a file's name would stand in the archive
            torch.save(stored, buffer)
            part.write_bytes(buffer.getvalue())
        _compared(part, stored)
        part.replace(path)
    except OSError as err:
        raise WeightsError(f"{path}: cannot be written: {err.strerror or err}") from err
    finally:
        part.unlink(missing_ok=True)


def export_adapter(
    model: nn.Module, folder: Path, config: ExportConfig, *, replace: bool = False, dtype: str = "float32"
) -> list[Path]:
    """Write LoRA, decoder with its batch-norm buffers, and config, as the published adapters are.

    The files are written beside the folder, read back and compared, and put in place by renaming:
    the folder holds all three or is not there. What else stands in a folder that is replaced
    (splits, README) is kept.

    Args:
        model: TerraTorch's model with LoRA in its encoder, unmerged.
        folder: The adapter's folder.
        config: What adapter_config.json says; it must be true of the model.
        replace: Whether a folder that holds something may be replaced.
        dtype: `float32`, or `float16` for a model that `round_weights` has rounded; batch-norm
            statistics are float32 either way.

    Returns:
        The three files.

    Raises:
        WeightsError: Model and config do not agree, the format has no place for something that was
            trained, a tensor is not finite or would change, the folder holds something, or writing fails.
    """
    if not replace and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder}: holds something already; name another folder, or say that it may be replaced")
    lora, decoder = (_as_stored(t, dtype) for t in (_lora(model, config), _decoder(model, config)))
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
        swapped(part, folder)
    except OSError as err:
        raise WeightsError(f"{folder}: cannot be written: {err.strerror or err}") from err
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return [folder / name for name in (CONFIG, LORA, DECODER)]


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
    path.chmod(0o644)  # safetensors writes for the owner alone
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    held = read_weights(path).tensors
    if held.keys() != wanted.keys() or any(
        t.dtype != wanted[n].dtype or not torch.equal(t, wanted[n]) for n, t in held.items()
    ):
        raise WeightsError(f"{path}: what was read back is not what was written; the disk is full or damaged")


def swapped(part: Path, folder: Path) -> None:
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
