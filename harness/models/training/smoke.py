"""Which tensors a training config would train: two steps on one batch, and every gradient looked at."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from harness.chips.tensors import Inputs
from harness.errors import TopologyError
from harness.models import thinking
from harness.models.training.train import TrainConfig, build_task, read_config
from harness.records import Strict

Forward = Literal["with gradient", "without gradient", "not run"]

WEIGHT_DECAY = 0.0
"""None: a weight must move by its gradient alone for the second step to say something."""

PAIR = re.compile(r"(?P<layer>(?P<place>.+?)\.\d+\..+)\.lora_(?P<half>[AB])\.")
"""Place: everything before the first block number."""


class LoraPlace(Strict):
    """LoRA pairs in one copy of a block stack."""

    place: str
    """Module path of the stack within the encoder."""
    pairs: int = Field(ge=1)
    """LoRA pairs there."""
    forward: Forward
    """What the forward did with them: ran them with gradient, ran them with gradient switched off
    (torch.no_grad), or did not run them."""
    trainable: int
    """Pairs that the config leaves trainable."""
    first_a: int
    """Pairs whose A had a gradient other than zero in the first step; 0 where B starts at zero,
    because the gradient of A is a product with B."""
    first_b: int
    """Pairs whose B had one in the first step."""
    learn: int
    """Pairs whose A and B both had one in the second step, after B had moved."""
    never: int
    """Pairs that had no gradient other than zero in either step."""


class Part(Strict):
    """Parameters outside LoRA."""

    part: str
    """encoder, neck, decoder, head or aux_heads."""
    tensors: int
    """Parameter tensors."""
    parameters: int
    """Numbers in them."""
    trainable: int
    """Tensors that the config leaves trainable."""
    learn: int
    """Trainable tensors with a gradient other than zero in either step."""
    zero: int
    """Trainable tensors whose gradient was zero in both."""
    without: int
    """Trainable tensors that no gradient reached."""


class Smoke(Strict):
    """What two training steps showed. Weights are random: the losses say nothing about an adapter."""

    config: str
    """File name of the config."""
    form: str
    """`terratorch` or `published`."""
    backbone: str
    """Name in TerraTorch's registry."""
    lora: str | None
    """Rank, alpha, dropout and targets, and where the config says them; None without LoRA."""
    loss: str
    """As the config names it."""
    losses: list[float]
    """Loss of the first and second step."""
    data: str
    """`made up` or the chip's id."""
    batch: int
    """Samples in the batch."""
    size_px: list[int]
    """Height and width."""
    forced: list[str]
    """What was set otherwise than the config says."""
    unread: list[str]
    """Keys of the config that have no part in this."""
    places: list[LoraPlace]
    """LoRA by place."""
    parts: list[Part]
    """Everything else."""
    build_s: float
    """Seconds to build the model."""
    steps_s: float
    """Seconds for both steps."""

    @property
    def pairs(self) -> int:
        """LoRA pairs in all places."""
        return sum(p.pairs for p in self.places)

    @property
    def learn(self) -> int:
        """LoRA pairs that can learn."""
        return sum(p.learn for p in self.places)


@dataclass
class Trained:
    """The model after two steps, for export."""

    task: nn.Module
    """TerraTorch's task."""
    record: Smoke
    """What was seen."""


@dataclass
class Seen:
    """What two steps left behind, by parameter name."""

    nonzero: list[set[str]] = field(default_factory=list)
    """Parameters with a gradient other than zero, by step."""
    reached: set[str] = field(default_factory=set)
    """Parameters with any gradient in either step."""
    ran: dict[str, bool] = field(default_factory=dict)
    """LoRA layers that the forward ran: whether with gradient."""


def smoke(
    config: TrainConfig | Path,
    *,
    inputs: Inputs | None = None,
    labels: NDArray[np.int64] | None = None,
    size_px: int = 224,
    batch: int = 1,
) -> Trained:
    """Build what a config says, and take two AdamW steps on one batch, on the CPU.

    Two steps, because LoRA's B starts at zero and the gradient of A, a product with B, is then
    exactly zero: after the first step B has moved, and an A that still receives nothing never will.

    Args:
        config: The config, or its file.
        inputs: One chip's tensors (C, T, H, W); made-up normal numbers where left out.
        labels: Classes of that chip, (H, W); made up, evenly over the classes, where left out.
        size_px: Side of a made-up image.
        batch: Samples of it.

    Raises:
        TopologyError: The config, the chip or the labels do not fit; or a loss is not finite.
        StackError: The torch stack is missing.
    """
    config = config if isinstance(config, TrainConfig) else read_config(config)
    started = time.perf_counter()
    task = build_task(config)
    built = time.perf_counter()
    rng = np.random.default_rng(config.seed)
    x = _made_up(config, task.model, rng, size_px, batch) if inputs is None else _given(config, inputs)
    y = _labels(config, labels, x, rng)
    seen, losses = Seen(), []
    parameters = dict(task.model.named_parameters())
    optimizer = torch.optim.AdamW(_groups(config, parameters), weight_decay=WEIGHT_DECAY)
    with torch.random.fork_rng(devices=[]), _watched(task.model, seen.ran):
        torch.manual_seed(config.seed)
        task.train()
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            losses.append(_step(config, task, x, y))
            held = {n: p.grad for n, p in parameters.items() if p.grad is not None}
            seen.reached |= set(held)
            seen.nonzero.append({n for n, g in held.items() if bool(g.any())})
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    task.eval()
    first = next(iter(x.values())) if isinstance(x, dict) else x
    record = Smoke(
        config=config.path.name,
        form=config.form,
        backbone=str(config.model_args["backbone"]),
        lora=_lora_words(config),
        loss=str(config.task_args.get("loss", "ce")),
        losses=losses,
        data=inputs.chip_id if inputs is not None else "made up",
        batch=first.shape[0],
        size_px=list(first.shape[-2:]),
        forced=list(config.forced),
        unread=sorted(config.unread),
        places=places_of(parameters, seen),
        parts=parts_of(parameters, seen),
        build_s=round(built - started, 2),
        steps_s=round(time.perf_counter() - built, 2),
    )
    return Trained(task, record)


def _lora_words(config: TrainConfig) -> str | None:
    lora = config.lora
    if lora is None:
        return None
    targets = ", ".join(lora.targets)
    return f"r {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g} on {targets}; said in {lora.said}"


def _step(config: TrainConfig, task: nn.Module, x: dict[str, Tensor] | Tensor, y: Tensor) -> float:
    """One forward and backward with the config's loss, auxiliary heads included."""
    try:
        with thinking.repeatable(task.model, config.seed, greedy=False):
            out = task.model(dict(x) if isinstance(x, dict) else x)
        loss = task.train_loss_handler.compute_loss(out, y, task.criterion, task.aux_loss)["loss"]
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as err:
        shapes = {m: tuple(t.shape) for m, t in x.items()} if isinstance(x, dict) else tuple(x.shape)
        raise TopologyError(
            f"{config.path}: the model or its loss does not take {shapes}: {type(err).__name__}: {err}"
        ) from err
    value = float(loss.detach())
    if not np.isfinite(value):
        raise TopologyError(f"{config.path}: the loss is {value}; no gradient would mean anything")
    loss.backward()
    return value


def _groups(config: TrainConfig, parameters: dict[str, nn.Parameter]) -> list[dict[str, object]]:
    """Parameters to train, LoRA with its own learning rate."""
    free = {n: p for n, p in parameters.items() if p.requires_grad}
    lora = [p for n, p in free.items() if "lora_" in n]
    rest = [p for n, p in free.items() if "lora_" not in n]
    if not free:
        raise TopologyError(f"{config.path}: everything is frozen; nothing would be trained")
    return [{"params": p, "lr": lr} for p, lr in ((lora, config.lora_lr), (rest, config.lr)) if p]


@contextmanager
def _watched(model: nn.Module, ran: dict[str, bool]) -> Iterator[None]:
    """Note which LoRA layers run, and whether gradient is on while they do."""
    from peft.tuners.lora import LoraLayer

    def note(name: str) -> object:
        def hook(_module: nn.Module, _args: object) -> None:
            ran[name] = ran.get(name, False) or torch.is_grad_enabled()

        return hook

    hooks = [m.register_forward_pre_hook(note(n)) for n, m in model.named_modules() if isinstance(m, LoraLayer)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def places_of(parameters: dict[str, nn.Parameter], seen: Seen) -> list[LoraPlace]:
    """LoRA pairs by block stack and by what the forward did with them."""
    layers: dict[str, dict[str, str]] = {}
    where: dict[str, str] = {}
    for name in parameters:
        if match := PAIR.match(name):
            layers.setdefault(match["layer"], {})[match["half"]] = name
            where[match["layer"]] = match["place"].removeprefix("encoder.").removeprefix("base_model.model.")
    groups: dict[tuple[str, Forward], list[str]] = {}
    for layer, place in where.items():
        how: Forward = "not run"
        if layer in seen.ran:
            how = "with gradient" if seen.ran[layer] else "without gradient"
        groups.setdefault((place, how), []).append(layer)
    first, second = seen.nonzero
    out = []
    for (place, how), names in groups.items():
        pairs = [(layers[n]["A"], layers[n]["B"]) for n in names]
        out.append(
            LoraPlace(
                place=place,
                pairs=len(pairs),
                forward=how,
                trainable=sum(parameters[a].requires_grad and parameters[b].requires_grad for a, b in pairs),
                first_a=sum(a in first for a, _ in pairs),
                first_b=sum(b in first for _, b in pairs),
                learn=sum({a, b} <= second for a, b in pairs),
                never=sum(not {a, b} & (first | second) for a, b in pairs),
            )
        )
    return out


def parts_of(parameters: dict[str, nn.Parameter], seen: Seen) -> list[Part]:
    """Everything but LoRA, by the model's first-level modules."""
    parts: dict[str, list[str]] = {}
    for name in parameters:
        if "lora_" not in name:
            parts.setdefault(name.partition(".")[0], []).append(name)
    ever = set().union(*seen.nonzero)
    out = []
    for part, names in parts.items():
        free = [n for n in names if parameters[n].requires_grad]
        out.append(
            Part(
                part=part,
                tensors=len(names),
                parameters=sum(parameters[n].numel() for n in names),
                trainable=len(free),
                learn=sum(n in ever for n in free),
                zero=sum(n in seen.reached and n not in ever for n in free),
                without=sum(n not in seen.reached for n in free),
            )
        )
    return out


def _made_up(
    config: TrainConfig, model: nn.Module, rng: np.random.Generator, size_px: int, batch: int
) -> dict[str, Tensor] | Tensor:
    """Normal numbers in the shapes that the backbone takes."""
    steps = config.backbone("temporal_n_timestamps") if config.backbone("use_temporal") else None
    middle = (int(steps),) if steps else ()

    def drawn(channels: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((batch, channels, *middle, size_px, size_px), np.float32))

    inner = next((m for m in model.encoder.modules() if hasattr(m, "mod_name_mapping")), None)
    if inner is None:
        bands, number = config.backbone("bands"), config.backbone("in_chans")
        if not bands and number is None:
            raise TopologyError(
                f"{config.path}: states neither backbone_bands nor backbone_in_chans, so no image can be made "
                "up for it; give a chip"
            )
        return drawn(len(bands) if bands else int(number))
    names = [n for m in config.backbone("modalities") or [] for n in (m if isinstance(m, dict) else [m])]
    out = {}
    for name in names:
        embedding = inner.encoder_embeddings[inner.mod_name_mapping[name]]
        if not hasattr(embedding, "num_channels"):
            raise TopologyError(f"{config.path}: {name} goes in as tokens, which are not made up here; give a chip")
        out[name] = drawn(embedding.num_channels)
    return out


def _given(config: TrainConfig, inputs: Inputs) -> dict[str, Tensor]:
    names = [n for m in config.backbone("modalities") or [] for n in (m if isinstance(m, dict) else [m])]
    missing = [n for n in names if n not in inputs.arrays]
    if missing or not names:
        raise TopologyError(
            f"{inputs.chip_id}: has {', '.join(inputs.arrays)}; {config.path.name} takes "
            f"{', '.join(names) or 'no modalities by name'}"
        )
    temporal = bool(config.backbone("use_temporal"))
    return {n: torch.from_numpy(inputs.arrays[n] if temporal else inputs.arrays[n][:, 0])[None] for n in names}


def _labels(
    config: TrainConfig, labels: NDArray[np.int64] | None, x: dict[str, Tensor] | Tensor, rng: np.random.Generator
) -> Tensor:
    first = next(iter(x.values())) if isinstance(x, dict) else x
    shape = (first.shape[0], *first.shape[-2:])
    if labels is None:
        return torch.from_numpy(rng.integers(0, config.classes, shape))
    y = torch.from_numpy(np.asarray(labels, dtype=np.int64))[None]
    allowed = [*range(config.classes), config.task_args.get("ignore_index")]
    other = sorted(set(np.unique(labels).tolist()) - set(allowed))
    if tuple(y.shape) != shape or other:
        raise TopologyError(
            f"{config.path}: labels of shape {tuple(y.shape[1:])}, values {other[:5] or 'in range'}; shape {shape[1:]} "
            f"and values 0..{config.classes - 1} or the ignore_index are needed"
        )
    return y


def words(record: Smoke) -> list[str]:
    """The record in plain words, one line each."""
    out = [
        f"{record.config} ({record.form} form): {record.backbone}, random weights, batch {record.batch} of "
        f"{record.size_px[0]} x {record.size_px[1]} px, data {record.data}.",
        f"Two AdamW steps with loss {record.loss}: {record.losses[0]:.4f}, {record.losses[1]:.4f}; built in "
        f"{record.build_s:.1f} s, steps {record.steps_s:.1f} s.",
    ]
    out += [f"Forced: {f}." for f in record.forced]
    if record.unread:
        out.append(f"Not used here: {', '.join(record.unread)}.")
    if record.lora is None:
        out.append("The config asks for no LoRA.")
    else:
        out.append(f"LoRA: {record.lora}.")
        out.append(f"{record.learn} of {record.pairs} LoRA pairs can learn.")
    for place in record.places:
        out.append(f"[{'x' if place.learn == place.pairs else ' '}] {place.place}: {_place_words(place)}")
    for part in record.parts:
        marks = f"{part.tensors} tensors, {part.parameters:,} parameters"
        if not part.trainable:
            out.append(f"[x] {part.part}: {marks}, frozen.")
        else:
            ok = "x" if part.learn == part.trainable else " "
            lost = f", {part.zero} with gradient zero, {part.without} without any" if ok == " " else ""
            out.append(f"[{ok}] {part.part}: {marks}, {part.learn} of {part.trainable} trainable tensors learn{lost}.")
    return out


def _place_words(place: LoraPlace) -> str:
    reason = {
        "not run": "no forward runs them",
        "without gradient": "the forward runs them with gradient switched off (torch.no_grad)",
    }.get(place.forward)
    text = f"{place.learn} of {place.pairs} pairs can learn"
    if place.learn == place.pairs:
        late = place.first_a == 0 and place.first_b == place.pairs
        return text + (
            "; in the first step only B receives gradient, because B starts at zero; in the second both do."
            if late
            else "."
        )
    if reason:
        return f"{text}: {reason}."
    if place.trainable < place.pairs:
        return f"{text}: the config freezes {place.pairs - place.trainable} of them."
    return f"{text}: {place.never} received none but zero gradients in both steps."
