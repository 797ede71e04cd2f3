"""Topologies: one function each, which builds what a family's file says, without weights or network."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.claims.families import Build
from harness.errors import TopologyError
from harness.models import backbones, stack


@dataclass(frozen=True)
class Rule:
    """Why a tensor of the base has no place in a built encoder, or needs no file."""

    pattern: str
    """Regular expression on the name, from its start."""
    reason: str
    """For people."""


@dataclass(frozen=True)
class Topology:
    """A built model without weights, and what is known about its parts."""

    model: nn.Module
    """TerraTorch's model: encoder, neck, decoder, head; in evaluation mode."""
    base_prefixes: tuple[str, ...]
    """Prefixes under which the encoder holds the base's tensors; each base name may stand under several."""
    unused: tuple[Rule, ...]
    """Base tensors that may be left over."""
    not_run: tuple[Rule, ...]
    """Encoder tensors that no file holds and no forward reads."""
    blocks: str
    """Prefix of the block stack that the features come from."""
    places: tuple[str, ...]
    """Prefixes of all block stacks that LoRA lands in."""


def terramind_temporal_unet(build: Build, classes: int) -> Topology:
    """TerraMind under a temporal wrapper, a feature pyramid and a UNet decoder.

    As the published quick start builds it (msradam/riprap-nyc,
    experiments/18_terramind_nyc_lora/HF_README.md at 6a82282): features of four blocks, dates
    concatenated along the channels, logits at a quarter of the input's size, enlarged.

    Args:
        build: From the family's file.
        classes: Outputs of the head.

    Raises:
        TopologyError: A field is missing, or TerraTorch cannot build it.
    """
    from terratorch.models import EncoderDecoderFactory

    wanted = {"backbone": build.backbone, "decoder": build.decoder, "timesteps": build.timesteps}
    lacking = [k for k, v in wanted.items() if v is None]
    if lacking or not build.modalities:
        raise TopologyError(f"build: {', '.join(lacking) or 'modalities'}: not stated in the family's file")
    extra = {"backbone_tim_modalities": list(build.tim_modalities)} if build.tim_modalities else {}
    try:
        with warnings.catch_warnings():
            # "TiM model not pre-trained": true while it is built; the load audit says what is loaded
            warnings.simplefilter("ignore")
            model: nn.Module = EncoderDecoderFactory().build_model(
                task="segmentation",
                backbone=build.backbone,
                backbone_pretrained=False,
                backbone_modalities=list(build.modalities),
                backbone_use_temporal=True,
                backbone_temporal_pooling="concat",
                backbone_temporal_n_timestamps=build.timesteps,
                necks=[
                    {"name": "SelectIndices", "indices": list(build.indices)},
                    {"name": "ReshapeTokensToImage", "remove_cls_token": False},
                    {"name": "LearnedInterpolateToPyramidal"},
                ],
                decoder=build.decoder,
                decoder_channels=list(build.decoder_channels),
                head_dropout=0.1,
                num_classes=classes,
                **extra,
            )
    except (KeyError, TypeError, ValueError, NotImplementedError, RuntimeError) as err:
        raise TopologyError(f"{build.backbone}: cannot be built: {type(err).__name__}: {err}") from err
    generator = "part of the generator, which this backbone does not build"
    unused = [
        Rule(r"(encoder|decoder)_embeddings\.", "embedding of a modality that is not built"),
        Rule(r"decoder\.|decoder_norm\.|decoder_proj_context\.|mask_token$", generator),
    ]
    prefixes, places, not_run = ["encoder."], ["encoder.encoder"], []
    if build.tim_modalities:
        prefixes.append("encoder.sampler.model.")
        unused.pop()
        not_run.append(Rule(r"encoder\.tokenizer\.", "tokenizer: runs only where its modality is an input"))
        tokenizers = [f"encoder.tokenizer.{n}" for n in getattr(model.encoder.encoder, "tokenizer", {})]
        places = ["encoder.sampler.model.encoder", "encoder.encoder"]
        places += [f"{t}.{half}" for t in tokenizers for half in ("encoder", "decoder")]
    return Topology(
        model=model.eval(),
        base_prefixes=tuple(prefixes),
        unused=tuple(unused),
        not_run=tuple(not_run),
        blocks="encoder.encoder",
        places=tuple(places),
    )


TOPOLOGIES: dict[str, Callable[[Build, int], Topology]] = {"terramind-temporal-unet": terramind_temporal_unet}
"""One line a topology."""


def build_topology(build: Build, classes: int, *, initialise: bool = False, seed: int = 0) -> Topology:
    """Build the topology that a family names.

    Args:
        build: From the family's file.
        classes: Outputs of the head.
        initialise: Give parameters TerraTorch's random start, for training. Otherwise they hold
            whatever the memory held: strict loading replaces every one that a forward reads or refuses,
            and half of the time of building is saved.
        seed: Of the random start.

    Raises:
        TopologyError: No such topology, or it cannot be built.
        StackError: The torch stack is missing.
    """
    stack.prepare()
    if build.backbone is not None:
        backbones.require(build.backbone)
    if build.topology not in TOPOLOGIES:
        raise TopologyError(f"topology {build.topology!r}: not known; there are {', '.join(sorted(TOPOLOGIES))}")
    with own_seed(seed), nullcontext() if initialise else uninitialised():
        return TOPOLOGIES[build.topology](build, classes)


def has_lora(module: nn.Module) -> bool:
    """Whether LoRA was injected already."""
    return any("lora_" in name for name, _ in module.named_parameters())


def inject_lora(encoder: nn.Module, r: int, alpha: float, targets: list[str], seed: int = 0) -> None:
    """Inject LoRA with PEFT; its B matrices start at zero, so nothing changes before they are loaded or trained.

    PEFT freezes everything else in the encoder. `seed` is that of the random start of the A matrices.

    Raises:
        TopologyError: LoRA is there already, or no module has the targets' names.
    """
    stack.prepare()  # PEFT imports torchvision through transformers
    from peft import LoraConfig, inject_adapter_in_model

    if has_lora(encoder):
        raise TopologyError("LoRA was injected already; build the topology anew for another adapter")
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, bias="none")
    with own_seed(seed):
        try:
            inject_adapter_in_model(config, encoder)
        except ValueError as err:
            raise TopologyError(f"no module is named {' or '.join(targets)}: {err}") from err
    encoder.eval()


def explained(name: str, rules: tuple[Rule, ...]) -> str | None:
    """Reason of the first rule that a name falls under; None where it falls under none."""
    return next((rule.reason for rule in rules if re.match(rule.pattern, name)), None)


RANDOM_STARTS = ("uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "kaiming_uniform_", "kaiming_normal_")
"""Functions of torch.nn.init that draw numbers; constants are left as they are."""


@contextmanager
def uninitialised() -> Iterator[None]:
    """Random starts draw nothing."""
    plain = {name: getattr(nn.init, name) for name in RANDOM_STARTS}

    def keep(tensor: Tensor, *_args: object, **_kwargs: object) -> Tensor:
        return tensor

    for name in RANDOM_STARTS:
        setattr(nn.init, name, keep)
    try:
        yield
    finally:
        for name, function in plain.items():
            setattr(nn.init, name, function)


@contextmanager
def own_seed(seed: int = 0) -> Iterator[None]:
    """Random initial weights neither depend on the caller's random state nor change it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
