"""The steps of a training: fixed by seed and step, whatever came before in the process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.models.devices.precision import exact
from harness.models.load import load_base
from harness.models.topology import Topology, build_topology, inject_lora
from harness.models.training import checkpoint
from harness.models.training.batches import IGNORE, batch, draws
from harness.models.training.job import Job

MAX_NORM = 1.0
"""Gradients longer than this are shortened to it."""

SAID_EVERY = 25
"""Steps between words on the progress."""


def build_model(job: Job) -> Topology:
    """The model as training starts from it: random, or the base loaded strictly and LoRA injected after it."""
    config, build = job.config, job.build
    topology = build_topology(build, config.classes, initialise=True, seed=config.seed)
    if job.base is not None and config.lora is not None:
        load_base(topology, job.base, config.adapter)
        inject_lora(topology.model.encoder, config.lora.r, config.lora.alpha, build.lora_targets, seed=config.seed)
    return topology


def train(job: Job, model: nn.Module, held: checkpoint.Held | None, step: Callable[[str], None]) -> list[float]:
    """Take the steps that are left, and leave the model in evaluation mode.

    Args:
        job: What to do.
        model: As `build_model` gives it; changed in place.
        held: Where to go on from; None for the beginning.
        step: Told the loss now and then.

    Returns:
        The loss of every step, those before the checkpoint included.

    Raises:
        WeightsError: A loss is not finite.
    """
    config = job.config
    kept = job.changing(model)
    lora = [p for n, p in model.named_parameters() if p.requires_grad and "lora_" in n]
    rest = [p for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n]
    highest = [config.lora_learning_rate or config.learning_rate, config.learning_rate]
    groups = [{"params": p, "lr": lr, "highest": lr} for p, lr in zip((lora, rest), highest, strict=True) if p]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, foreach=False, fused=False)
    losses: list[float] = []
    if held is not None:
        held.into(kept, optimiser)
        losses = list(held.losses)
    weights = None if config.class_weights is None else torch.tensor(config.class_weights)
    criterion = nn.CrossEntropyLoss(weight=weights, ignore_index=IGNORE)
    with ExitStack() as around:
        around.enter_context(repeatable(config.threads))
        around.enter_context(exact())
        if job.samples.once:
            around.enter_context(encoded_once(model.encoder.encoder, job.build.timesteps or 1))
        model.train()
        began, first = time.perf_counter(), len(losses)
        for now in range(first, config.steps):
            losses.append(_step(job, model, optimiser, criterion, now))
            if not math.isfinite(losses[-1]):
                raise WeightsError(
                    f"{config.adapter}: the loss is {losses[-1]} in step {now + 1}; the training diverged, try a lower "
                    "learning rate"
                )
            done = now + 1
            if done % SAID_EVERY == 0 or done == config.steps:
                pace = (time.perf_counter() - began) / (done - first)
                step(f"{config.adapter}: step {done} of {config.steps}, loss {losses[-1]:.4f}, {pace:.2f} s a step")
            if done % config.checkpoint_every == 0 or done == config.steps:
                checkpoint.save(job.checkpoint, job.fingerprint, kept, optimiser, losses)
        model.eval()
    return losses


def _step(job: Job, model: nn.Module, optimiser: Any, criterion: nn.Module, now: int) -> float:
    config, steps = job.config, job.build.timesteps or 1
    for group in optimiser.param_groups:
        group["lr"] = group["highest"] * share(now, config.steps, config.warmup_steps)
    x, y = batch(job.samples, draws(config.seed, now, len(job.samples.ids), config.batch_size, config.augment))
    if job.samples.once:
        x = {m: t.expand(-1, -1, steps, -1, -1) for m, t in x.items()}
    torch.manual_seed(config.seed * 1_000_003 + now)  # dropout
    optimiser.zero_grad(set_to_none=True)
    loss = criterion(model(x).output, y)
    loss.backward()
    nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], MAX_NORM, foreach=False)
    optimiser.step()
    return float(loss.detach())


def share(step: int, steps: int, warmup: int) -> float:
    """Learning rate of a step as a share of the highest: a straight rise, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@contextmanager
def repeatable(threads: int) -> Iterator[None]:
    """A fixed number of threads, operations that give the same every time, and the caller's random state untouched."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # every tensor here is written before it is read
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(before)


@contextmanager
def encoded_once(encoder: nn.Module, steps: int) -> Iterator[None]:
    """While this lasts, `encoder` encodes the first of every `steps` dates and repeats its features.

    For chips whose dates are all the same: TerraTorch's temporal wrapper hands the dates of a chip
    over one after the other, as if they were a batch, and no attention crosses them.
    """
    plain = encoder.forward

    def forward(flat: dict[str, Tensor], **kwargs: Any) -> list[Tensor]:
        features = plain({m: t[::steps] for m, t in flat.items()}, **kwargs)
        return [f.repeat_interleave(steps, dim=0) for f in features]

    encoder.forward = forward
    try:
        yield
    finally:
        del encoder.forward  # the class's own method shows again
