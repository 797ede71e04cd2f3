"""The published adapter format: one folder an adapter, as its files stand."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.claims.families import Adapter, Family
from harness.errors import WeightsError
from harness.models.weights import WeightFile, read_weights

CONFIG, LORA, DECODER = "adapter_config.json", "adapter_model.safetensors", "decoder_head.safetensors"
"""File names within an adapter's folder (msradam/riprap-nyc, experiments/18_terramind_nyc_lora/
shared/train_lora.py `export_adapter_only`, at 6a82282)."""


class AdapterConfig(BaseModel):
    """adapter_config.json; further fields are allowed, PEFT writes many."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    peft_type: str
    """`LORA`."""
    r: int = Field(ge=1)
    """Rank."""
    lora_alpha: float = Field(gt=0, allow_inf_nan=False)
    """The LoRA product is scaled by lora_alpha / r."""
    target_modules: list[str]
    """Module names with LoRA."""
    num_classes: int = Field(ge=1)
    """Outputs of the head."""
    lora_dropout: float = 0.0
    """Only in training."""
    base_model_name_or_path: str = ""
    """Base, as its author names it."""
    lora_param_count: int | None = None
    """Entries of the LoRA file, as its author counted them."""
    decoder_param_count: int | None = None
    """Entries of the decoder file, as its author counted them: with buffers where it has them."""


CHANGING = ("use_rslora", "use_dora", "fan_in_fan_out", "alpha_pattern", "rank_pattern", "modules_to_save")
"""Fields of PEFT's LoraConfig that change what a LoRA pair does, or bring tensors of their own."""


def _check_fields(raw: dict[str, object], path: Path) -> None:
    """Refuse what would be ignored and matters."""
    active = [name for name in CHANGING if raw.get(name)]
    if raw.get("bias", "none") != "none":
        active.append("bias")
    if active:
        raise WeightsError(f"{path}: {', '.join(active)}: this changes what LoRA does, and only plain LoRA is known")


@dataclass(frozen=True)
class AdapterFiles:
    """What one adapter's folder holds."""

    adapter: Adapter
    """From the family."""
    config: AdapterConfig
    """Parsed adapter_config.json."""
    config_path: Path
    """Where it stands."""
    config_sha256: str
    """Of its bytes."""
    lora: WeightFile
    """adapter_model.safetensors."""
    decoder: WeightFile
    """decoder_head.safetensors."""


def _pinned(family: Family, adapter: Adapter, name: str) -> str | None:
    file = f"{adapter.folder}/{name}"
    return next((p.sha256 for p in family.pins if p.file == file), None)


def read_adapter(family: Family, adapter: Adapter, root: Path) -> AdapterFiles:
    """Read one adapter's folder.

    Args:
        family: The family, for its pins.
        adapter: Which one.
        root: Folder that holds the adapters' folders.

    Raises:
        WeightsError: A file is missing, damaged, of another hash, or the config is not of a LoRA.
    """
    folder = root / adapter.folder
    path = folder / CONFIG
    try:
        raw = path.read_bytes()
        held = json.loads(raw)
        config = AdapterConfig.model_validate(held)
    except UnicodeDecodeError as err:
        raise WeightsError(f"{path}: not UTF-8 text; download it again") from err
    except OSError as err:
        raise WeightsError(
            f"{path}: cannot be read: {err.strerror or err}; the folder form is <adapter>/{CONFIG}, {LORA}, {DECODER}"
        ) from err
    except json.JSONDecodeError as err:
        raise WeightsError(f"{path}:{err.lineno}: not JSON: {err.msg}; download it again") from err
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        raise WeightsError(f"{path}: {'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from err
    if config.peft_type != "LORA":
        raise WeightsError(f"{path}: peft_type {config.peft_type!r}; only LORA is known")
    _check_fields(held, path)
    return AdapterFiles(
        adapter=adapter,
        config=config,
        config_path=path,
        config_sha256=hashlib.sha256(raw).hexdigest(),
        lora=read_weights(folder / LORA, _pinned(family, adapter, LORA)),
        decoder=read_weights(folder / DECODER, _pinned(family, adapter, DECODER)),
    )


def check_counts(files: AdapterFiles) -> None:
    """Hold the config's counts against the files, after every cause that has a better name.

    Raises:
        WeightsError: A count differs.
    """
    config, path = files.config, files.config_path
    for name, stated, file in (
        ("lora_param_count", config.lora_param_count, files.lora),
        ("decoder_param_count", config.decoder_param_count, files.decoder),
    ):
        if stated is not None and stated != file.entries:
            raise WeightsError(
                f"{path}: {name} {stated:,}, {file.path.name} holds {file.entries:,} entries; the two files belong to "
                "different adapters, or one is incomplete"
            )
