"""The batch beyond which a larger one brings nothing, found in short windows that are thrown away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.cost.energy import NotMeasured
from harness.cost.protocol import Settings, measure_windows


@dataclass(frozen=True)
class Tried:
    """One batch size in the search for the best."""

    batch: int
    """Chips in a call."""
    per_s: float | NotMeasured
    """Chips a second."""


def best_batch(
    make: Callable[[int], Callable[[], object]],
    *,
    synchronise: Callable[[], None] = lambda: None,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    gain: float = 0.05,
    seconds: float = 3.0,
    out_of_memory: Callable[[BaseException], bool] = lambda err: isinstance(err, MemoryError),
    clock: Callable[[], float] = time.perf_counter,
    step: Callable[[str], None] = lambda _: None,
) -> tuple[int, tuple[Tried, ...]]:
    """The batch beyond which the next size gains less than `gain` in throughput, or runs out of memory.

    Args:
        make: Gives the call of a batch size; it or the call may run out of memory.
        synchronise: As `measure_windows`.
        sizes: In growing order; the first must fit.
        gain: Least gain in throughput over the best so far.
        seconds: Length of each short window.
        out_of_memory: Which errors mean that.
        clock: As `measure_windows`.
        step: Told what is being done.

    Returns:
        The batch, and everything that was tried.
    """
    short = Settings(1, seconds, 3, 2, 0.1, 5, seconds, 0.0, 0.0)
    tried: list[Tried] = []
    best, fastest = sizes[0], 0.0
    for size in sizes:
        step(f"batch {size}")
        try:
            done = measure_windows(make(size), synchronise=synchronise, items=size, settings=short, clock=clock)
        except (MemoryError, RuntimeError) as err:
            if not out_of_memory(err) or size == sizes[0]:
                raise
            tried.append(Tried(size, NotMeasured(f"out of memory: {(str(err) or type(err).__name__).splitlines()[0]}")))
            break
        window = done.windows[0]
        per_s = window.calls * size / window.seconds
        tried.append(Tried(size, per_s))
        if tried[1:] and per_s < fastest * (1 + gain):
            break
        best, fastest = size, per_s
    return best, tuple(tried)
