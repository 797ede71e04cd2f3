"""Thinking-in-Modalities: sampled tokens, made repeatable, and what sampling does to an output.

TerraTorch samples tokens from a seed that it draws from Python's `random` at every call and then
sets torch's own (terratorch 1.2.11, terramind_tim.py and generate.py): without care two calls
differ, and the caller's random state is changed behind its back.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import TopologyError

if TYPE_CHECKING:
    from harness.chips.chip import Chip
    from harness.chips.tensors import Inputs
    from harness.models.ensemble import Ensemble

RUNTIME_CLAIM = "terramind-1.0/blog.runtime"
"""The claim that a runtime ratio may be read beside: "~2", of TerraMind's own models on its own tasks."""


def thinks(model: nn.Module) -> bool:
    """Whether the model's encoder generates tokens for itself."""
    return hasattr(_inner(model), "tim_top_k")


def _inner(model: nn.Module) -> nn.Module:
    encoder: nn.Module = model.encoder
    return getattr(encoder, "encoder", encoder)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """While this lasts, Python's and torch's random numbers depend on `seed` alone; then they go on as before."""
    state = random.getstate()
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            random.seed(seed)
            torch.manual_seed(seed)
            yield
        finally:
            random.setstate(state)
            if mps is not None:
                torch.mps.set_rng_state(mps)


@contextmanager
def repeatable(model: nn.Module, seed: int, *, greedy: bool) -> Iterator[None]:
    """While this lasts, thinking depends on `seed` alone, or on nothing where it is greedy.

    Args:
        model: Any model; one that does not think is left alone.
        seed: For the tokens.
        greedy: Take the most probable token everywhere (top-k of 1).
    """
    if not thinks(model):
        yield
        return
    inner = _inner(model)
    before = (inner.tim_top_k, inner.tim_top_p)
    with seeded(seed):
        if greedy:
            inner.tim_top_k, inner.tim_top_p = 1, 0.0
        try:
            yield
        finally:
            inner.tim_top_k, inner.tim_top_p = before


def drop_tokenizers(model: nn.Module) -> int:
    """Remove tokenizers, which no forward of the published topologies runs; gives the bytes freed."""
    inner = _inner(model)
    tokenizer = getattr(inner, "tokenizer", None)
    if not isinstance(tokenizer, nn.ModuleDict) or len(tokenizer) == 0:
        return 0
    freed: int = sum(p.numel() * p.element_size() for p in tokenizer.parameters())
    inner.tokenizer = nn.ModuleDict().eval()
    return freed


@dataclass(frozen=True)
class Spread:
    """How far the outputs for one chip lie apart when only the seed changes."""

    seeds: int
    """Number of outputs."""
    majority: NDArray[np.int64]
    """Class that most seeds give, the lowest index where several are equal; shape (H, W)."""
    agreement: NDArray[np.float64]
    """Share of the seeds that give the majority class, shape (H, W)."""
    area: NDArray[np.float64]
    """Share of the chip's pixels by seed and class, shape (seeds, classes)."""
    logits_std: NDArray[np.float64]
    """Standard deviation over the seeds (n - 1), shape (classes, H, W)."""
    logits_mean: NDArray[np.float64]
    """Mean over the seeds, shape (classes, H, W); the scale that `logits_std` is read against."""

    @property
    def changed(self) -> float:
        """Share of pixels whose class is not the same for all seeds."""
        return float((self.agreement < 1).mean())

    def areas(self) -> list[tuple[float, float, float]]:
        """Smallest, median and largest share of the chip over the seeds, by class."""
        return [(float(a.min()), float(np.median(a)), float(a.max())) for a in self.area.T]


def spread_of(logits: Iterable[NDArray[np.float32]]) -> Spread:
    """Spread over outputs for one chip; holds one output at a time, and sums.

    Args:
        logits: One array of shape (classes, H, W) a seed.

    Raises:
        ValueError: Fewer than two outputs, or shapes that differ.
    """
    votes = mean = moment = np.zeros(0)
    area: list[NDArray[np.float64]] = []
    for n, each in enumerate(logits, 1):
        if n == 1:
            votes, mean, moment = np.zeros(each.shape, np.int64), np.zeros(each.shape), np.zeros(each.shape)
        if each.shape != mean.shape:
            raise ValueError(f"output {n} has shape {each.shape}, the first one {mean.shape}; one chip at a time")
        chosen = np.arange(each.shape[0]).reshape(-1, 1, 1) == each.argmax(axis=0)
        votes += chosen
        area.append(chosen.mean(axis=(1, 2)))
        off = each - mean  # Welford 1962
        mean = mean + off / n
        moment = moment + off * (each - mean)
    if len(area) < 2:
        raise ValueError(f"a spread needs at least two outputs; got {len(area)}")
    return Spread(
        seeds=len(area),
        majority=votes.argmax(axis=0).astype(np.int64),
        agreement=votes.max(axis=0) / len(area),
        area=np.stack(area),
        logits_std=np.sqrt(moment / (len(area) - 1)),
        logits_mean=mean,
    )


def spread(ensemble: Ensemble, chip: Chip | Inputs, task: str, seeds: Sequence[int] = range(20)) -> Spread:
    """Run one adapter on one chip once a seed; the ensemble keeps its own seed.

    Args:
        ensemble: With the adapter loaded.
        chip: As `Ensemble.predict` takes it.
        task: Adapter id.
        seeds: At least two, each once.

    Raises:
        TopologyError: The adapter samples nothing, or a seed stands twice.
        WeightsError, RecipeError: As `Ensemble.predict`.
    """
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise TopologyError(f"{task}: seeds {list(seeds)}; a spread needs at least two, each once")
    if not thinks(ensemble.loaded(task).model):
        raise TopologyError(
            f"{task}: samples no tokens, so a seed changes nothing; take a Thinking-in-Modalities adapter"
        )
    inputs = ensemble.inputs(chip, task)
    return spread_of(replace(ensemble, seed=s).predict(inputs, [task])[task].logits for s in seeds)


@dataclass(frozen=True)
class Ratio:
    """Wall clock of one adapter against another, in one process, calls taking turns."""

    tim: str
    """Adapter that thinks."""
    plain: str
    """Adapter that does not."""
    tim_s: tuple[float, ...]
    """Seconds of each call, in order."""
    plain_s: tuple[float, ...]
    """Seconds of each call, in order; the n-th stands beside the n-th of `tim_s`."""
    device: str
    """Device by name."""
    dtype: str
    """Precision."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """TiM / plain of each pair of neighbouring calls."""
        return tuple(t / p for t, p in zip(self.tim_s, self.plain_s, strict=True))

    @property
    def median(self) -> float:
        """Median of `ratios`."""
        return statistics.median(self.ratios)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest of `ratios`."""
        return min(self.ratios), max(self.ratios)


def ratio(ensemble: Ensemble, chip: Chip | Inputs, tim: str, plain: str, repeats: int = 5) -> Ratio:
    """Time two adapters on one chip, calls taking turns; measured here, and no verdict on anybody's figure.

    Both encode every date, in one batch, as TerraTorch runs them: reuse of identical dates, which
    sampled tokens do not allow, would favour the plain one. One call of each goes before the clock.

    Args:
        ensemble: With both adapters loaded.
        chip: As `Ensemble.predict` takes it.
        tim: Adapter id that thinks.
        plain: Adapter id that does not.
        repeats: Pairs of calls; which comes first alternates.

    Raises:
        TopologyError: `tim` does not think, `plain` does, or there is no pair.
        WeightsError, RecipeError: As `Ensemble.predict`.
    """
    if repeats < 1:
        raise TopologyError(f"repeats {repeats}; at least one pair of calls is needed")
    for task, wanted in ((tim, True), (plain, False)):
        if thinks(ensemble.loaded(task).model) is not wanted:
            raise TopologyError(
                f"{task}: {'samples no tokens' if wanted else 'samples tokens'}; give TiM first, then plain"
            )
    batches = {task: _batch(ensemble, chip, task) for task in (tim, plain)}
    for task, batch in batches.items():
        _together(ensemble, task, batch)
    times: dict[str, list[float]] = {tim: [], plain: []}
    for n in range(repeats):
        for task in (tim, plain) if n % 2 == 0 else (plain, tim):
            ensemble.device.synchronise()
            start = time.perf_counter()
            _together(ensemble, task, batches[task])
            ensemble.device.synchronise()
            times[task].append(time.perf_counter() - start)
    return Ratio(tim, plain, tuple(times[tim]), tuple(times[plain]), ensemble.device.name, ensemble.dtype)


def _batch(ensemble: Ensemble, chip: Chip | Inputs, task: str) -> dict[str, Tensor]:
    inputs = ensemble.inputs(chip, task)
    return {m: torch.from_numpy(a)[None].to(ensemble.device.torch) for m, a in inputs.arrays.items()}


def _together(ensemble: Ensemble, task: str, batch: dict[str, Tensor]) -> None:
    """One forward with all dates in one batch."""
    model = ensemble.loaded(task).model
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(repeatable(model, ensemble.seed, greedy=ensemble.greedy))
        if ensemble.dtype != "float32":
            stack.enter_context(torch.autocast(ensemble.device.torch.type, dtype=getattr(torch, ensemble.dtype)))
        model(dict(batch))
