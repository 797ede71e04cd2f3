"""Training configs: TerraTorch's own YAML and the published repository's, built without weights or network.

Two forms are read. TerraTorch's command line takes `model: {class_path, init_args}` and says LoRA in
`model_args.peft_config` (terratorch 1.2.11, terratorch/models/peft_utils.py). The published adapters
were trained from a form of their own, `backbone`, `lora`, `decoder`, `num_classes`, `loss`
(msradam/riprap-nyc, experiments/18_terramind_nyc_lora/adapters/*/config.yaml at 6a82282), which says
LoRA in `lora`. Either block is understood in either form.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from harness.errors import TopologyError
from harness.models import stack
from harness.models.backbones import require
from harness.models.topology import has_lora

TASKS = ("terratorch.tasks.SemanticSegmentationTask", "terratorch.tasks.segmentation_tasks.SemanticSegmentationTask")
"""Class paths that are built; anything else named in a config is not imported."""

NECKS = ({"name": "ReshapeTokensToImage", "remove_cls_token": False}, {"name": "LearnedInterpolateToPyramidal"})
"""Necks after SelectIndices, which the published form leaves to its training script
(shared/train_lora.py `build_task`, same repository and revision)."""

LEARNING_RATE = 1e-3
"""TerraTorch's default (terratorch/tasks/segmentation_tasks.py)."""


@dataclass(frozen=True)
class Lora:
    """LoRA as a config asks for it."""

    r: int
    """Rank."""
    alpha: float
    """The product is scaled by alpha / r."""
    dropout: float
    """Share of inputs dropped in training."""
    targets: tuple[str, ...]
    """Module names, as PEFT matches them."""
    said: str
    """Where the config says it: `model_args.peft_config` or `lora`."""


@dataclass(frozen=True)
class TrainConfig:
    """What a training config comes to."""

    path: Path
    """Where it was read from."""
    form: str
    """`terratorch` or `published`."""
    task_args: dict[str, Any]
    """Arguments of TerraTorch's task, weights switched off."""
    lora: Lora | None
    """None where the whole encoder is trained, or frozen."""
    lora_lr: float
    """Learning rate of LoRA."""
    lr: float
    """Learning rate of everything else that is trained."""
    seed: int
    """For initial weights, dropout and made-up pixels."""
    base: str
    """Base model as the config names it; the backbone's name where it does not."""
    forced: tuple[str, ...]
    """What was set otherwise than the config says."""
    unread: tuple[str, ...]
    """Top-level keys that have no part in this: data, trainer."""

    @property
    def model_args(self) -> dict[str, Any]:
        """Arguments of TerraTorch's model factory."""
        args: dict[str, Any] = self.task_args["model_args"]
        return args

    @property
    def classes(self) -> int:
        """Outputs of the head."""
        return int(self.model_args["num_classes"])

    def backbone(self, key: str) -> Any:
        """An argument of the backbone, by its name without `backbone_`; None where it is not given."""
        return self.model_args.get(f"backbone_{key}", (self.model_args.get("backbone_kwargs") or {}).get(key))


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number, as TerraTorch's own command line reads it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read_config(path: Path) -> TrainConfig:
    """Read a training config of either form.

    Raises:
        TopologyError: Unreadable, not YAML, of neither form, or it asks for what is not built here;
            names file and key.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (OSError, UnicodeDecodeError) as err:
        raise TopologyError(f"{path}: cannot be read: {err}") from err
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise TopologyError(f"{path}{line}: not YAML: {getattr(err, 'problem', err)}") from err
    if isinstance(raw, dict) and isinstance(raw.get("model"), dict):
        return _terratorch(path, raw)
    if isinstance(raw, dict) and isinstance(raw.get("backbone"), dict) and isinstance(raw.get("decoder"), dict):
        return _published(path, raw)
    raise TopologyError(
        f"{path}: neither form of a training config: TerraTorch's has `model: {{class_path, init_args}}`, that of the "
        "published adapters `backbone`, `lora`, `decoder`, `num_classes`"
    )


def _terratorch(path: Path, raw: dict[str, Any]) -> TrainConfig:
    model = raw["model"]
    if model.get("class_path") not in TASKS:
        raise TopologyError(f"{path}: model.class_path {model.get('class_path')!r}; only {TASKS[0]} is built here")
    task_args = dict(model.get("init_args") or {})
    if not isinstance(task_args.get("model_args"), dict) or not isinstance(task_args.get("model_factory"), str):
        raise TopologyError(f"{path}: model.init_args needs model_factory and model_args; a ready model is not taken")
    optimizer = (raw.get("optimizer") or {}).get("init_args") or {}
    lr = float(optimizer.get("lr") or task_args.get("lr") or LEARNING_RATE)
    seed = raw.get("seed_everything", 0)
    return _config(path, "terratorch", raw, task_args, lr=lr, lora_lr=lr, seed=seed if isinstance(seed, int) else 0)


def _published(path: Path, raw: dict[str, Any]) -> TrainConfig:
    backbone, decoder = raw["backbone"], raw["decoder"]
    lacking = [k for k in ("name", "modalities") if k not in backbone]
    if lacking or "name" not in decoder or "num_classes" not in raw:
        raise TopologyError(
            f"{path}: {', '.join([f'backbone.{k}' for k in lacking]) or 'decoder.name or num_classes'}: missing"
        )
    if raw.get("loss", "ce") == "focal_tversky":
        raise TopologyError(
            f"{path}: loss focal_tversky is a class of the published training script, not one of TerraTorch's losses; "
            "its last configs use ce"
        )
    bare = ("use_temporal", "temporal_pooling", "temporal_n_timestamps", "modalities", "bands", "tim_modalities")
    args: dict[str, Any] = {"backbone": backbone["name"], "num_classes": raw["num_classes"], "decoder": decoder["name"]}
    args |= {f"backbone_{k}": backbone[k] for k in bare if k in backbone}
    args |= {k: v for k, v in backbone.items() if k.startswith("backbone_")}
    args["backbone_pretrained"] = True  # as the training script has it; switched off below, and said
    args["necks"] = decoder.get("necks") or [
        {"name": "SelectIndices", "indices": decoder.get("select_indices", [2, 5, 8, 11])},
        *(dict(n) for n in NECKS),
    ]
    args["decoder_channels"] = decoder.get("channels", [512, 256, 128, 64])
    args["head_dropout"] = decoder.get("head_dropout", 0.1)
    task_args = {
        "model_factory": "EncoderDecoderFactory",
        "model_args": args,
        "loss": raw.get("loss", "ce"),
        "ignore_index": raw.get("ignore_index", -1),
        "class_weights": raw.get("class_weights"),
    }
    lr, lora_lr = float(raw.get("decoder_lr", 1e-4)), float(raw.get("lora_lr", 5e-4))
    return _config(path, "published", raw, task_args, lr=lr, lora_lr=lora_lr, seed=int(raw.get("seed", 42)))


def _config(
    path: Path, form: str, raw: dict[str, Any], task_args: dict[str, Any], *, lr: float, lora_lr: float, seed: int
) -> TrainConfig:
    args = dict(task_args["model_args"])
    lacking = [k for k in ("backbone", "num_classes") if k not in args]
    if lacking:
        raise TopologyError(f"{path}: model_args.{lacking[0]}: missing")
    args, forced = _without_weights(args)
    task_args = {**task_args, "model_args": args}
    lora = _lora(path, raw.get("lora"), args.get("peft_config"))
    read = {"model", "optimizer", "seed_everything", "seed", "lora"}
    read |= {"backbone", "decoder", "num_classes", "loss", "class_weights", "ignore_index", "lora_lr", "decoder_lr"}
    named = raw.get("backbone", {}).get("hf_id") if form == "published" else None
    return TrainConfig(
        path, form, task_args, lora, lora_lr, lr, seed, named or str(args["backbone"]), forced, tuple(set(raw) - read)
    )


def _without_weights(args: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The factory's arguments with everything switched off that would fetch or read weights."""
    out: dict[str, Any] = {}
    said: list[str] = []
    for key, value in args.items():
        if key.rpartition("_")[2] == "pretrained" and value:
            out[key] = False
            said.append(f"{key}: {value} in the config, False here")
        elif "ckpt" in key and value:
            said.append(f"{key}: left out, no weights are read")
        elif key == "backbone_kwargs" and isinstance(value, dict):
            out[key], more = _without_weights(value)
            said += [f"{key}.{m}" for m in more]
        else:
            out[key] = value
    return out, tuple(said)


def _lora(path: Path, block: Any, peft: Any) -> Lora | None:
    if block is not None and peft is not None:
        raise TopologyError(f"{path}: LoRA is said twice, in lora and in model_args.peft_config; keep one")
    if peft is not None:
        if peft.get("method") != "LORA":
            raise TopologyError(f"{path}: model_args.peft_config.method {peft.get('method')!r}; only LORA is known")
        said, block = "model_args.peft_config", peft.get("peft_config_kwargs") or {}
        alpha, dropout = block.get("lora_alpha", 8), block.get("lora_dropout", 0.0)  # PEFT's own defaults
    elif block is not None:
        said, alpha, dropout = "lora", block.get("alpha", 32), block.get("dropout", 0.05)
    else:
        return None
    targets = block.get("target_modules")
    if not targets or "r" not in block:
        raise TopologyError(f"{path}: {said}: r and target_modules must be stated")
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    return Lora(int(block["r"]), float(alpha), float(dropout), names, said)


def build_task(config: TrainConfig) -> nn.Module:
    """TerraTorch's task with its model, loss and LoRA: random base, nothing read or fetched.

    PEFT freezes the base where there is LoRA. `task.model` is the model, `task.criterion` the loss.

    Raises:
        TopologyError: TerraTorch or PEFT cannot build what the config says.
        StackError: The torch stack is missing.
    """
    stack.prepare()
    from peft import LoraConfig, inject_adapter_in_model

    try:
        require(str(config.model_args["backbone"]))
    except TopologyError as err:
        raise TopologyError(f"{config.path}: {err}") from err
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "PEFT without a pretrained backbone", "TiM not pre-trained": meant
        torch.manual_seed(config.seed)
        from terratorch.models.model import AuxiliaryHead
        from terratorch.tasks import SemanticSegmentationTask

        try:
            heads = [AuxiliaryHead(**{"decoder_args": None, **h}) for h in config.task_args.get("aux_heads") or []]
            task: nn.Module = SemanticSegmentationTask(**{**config.task_args, "aux_heads": heads or None})
            if config.lora is not None and config.lora.said == "lora":
                lora = config.lora
                inject_adapter_in_model(
                    LoraConfig(
                        r=lora.r,
                        lora_alpha=lora.alpha,
                        lora_dropout=lora.dropout,
                        target_modules=list(lora.targets),
                        bias="none",
                    ),
                    task.model.encoder,
                )
        except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError, RuntimeError) as err:
            raise TopologyError(f"{config.path}: cannot be built: {type(err).__name__}: {err}") from err
    weights = task.aux_loss or {}
    if set(weights) != {h.name for h in heads}:
        raise TopologyError(
            f"{config.path}: aux_loss has weights for {', '.join(weights) or 'nothing'}, aux_heads are "
            f"{', '.join(h.name for h in heads) or 'none'}"
        )
    if config.lora is not None and not has_lora(task.model.encoder):
        raise TopologyError(
            f"{config.path}: no module is named {' or '.join(config.lora.targets)}; LoRA landed nowhere"
        )
    return task
