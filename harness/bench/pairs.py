"""Two ways of the same result, taking turns, so that whatever else the machine does meets both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

A = TypeVar("A")


def take_turns(
    ways: Mapping[str, Callable[[], A]],
    rounds: int,
    *,
    check: Callable[[Mapping[str, A]], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each way, a round each; every other round goes backwards, so that no way is always first.

    A round before the first warms up: it is not kept, and its results are what `check` is given.

    Args:
        ways: What is called, by name.
        rounds: How many are kept.
        check: Raises where the results differ.
        clock: Seconds.

    Raises:
        ValueError: Fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds: give 1 or more")
    check({name: call() for name, call in ways.items()})
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            start = clock()
            ways[name]()
            took[name].append(clock() - start)
    return took
