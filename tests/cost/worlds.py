"""A machine that was made up: its clock, its calls, its power, and a counter with a fault.

Truth is the integral of the power that the world itself drew; nothing of `harness.cost` is used for it.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.cost.meter import Meter, MeterError, Zone

IDLE_W = 60.0
"""Power at rest."""

LOAD_W = 240.0
"""Power while a call runs."""


@dataclass
class World:
    """Time passes only while a call runs or somebody sleeps."""

    call_s: float = 0.03
    """Seconds of a call."""
    spread: float = 0.02
    """Standard deviation of a call's seconds and power, as shares."""
    seed: int = 0
    """Of the spread."""
    idle_w: Callable[[float], float] = lambda _at_s: IDLE_W
    """Power at rest by time."""
    cold_calls: int = 4
    """First calls take three times as long."""
    now_s: float = 0.0
    """The clock."""
    times: list[float] = field(default_factory=lambda: [0.0])
    """Ends of pieces of constant power."""
    joules: list[float] = field(default_factory=lambda: [0.0])
    """Drawn until then."""
    blocks: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of every run of calls without rest: warm-up, then windows."""
    calls: int = 0
    """Calls made."""
    _resting: bool = True

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 (no secret)

    def clock(self) -> float:
        """Now."""
        return self.now_s

    def call(self) -> None:
        """Run once."""
        seconds = self.call_s * (3.0 if self.calls < self.cold_calls else 1.0) * self._around()
        if self._resting:
            self.blocks.append((self.now_s, self.now_s))
        self._resting = False
        self.calls += 1
        self._pass(seconds, LOAD_W * self._around())
        self.blocks[-1] = (self.blocks[-1][0], self.now_s)

    def sleep(self, seconds: float) -> None:
        """Rest."""
        self._resting = True
        self._pass(seconds, self.idle_w(self.now_s))

    def drawn(self, at_s: float) -> float:
        """Joules drawn until a moment that has passed."""
        if at_s <= 0:
            return 0.0
        i = bisect.bisect_left(self.times, at_s)
        if i == len(self.times):
            return self.joules[-1]
        share = (at_s - self.times[i - 1]) / (self.times[i] - self.times[i - 1])
        return self.joules[i - 1] + share * (self.joules[i] - self.joules[i - 1])

    def truth(self) -> list[tuple[float, float]]:
        """Joules of each window, gross and above the idle power at its two ends."""
        out = []
        for begin, end in self.blocks[1:]:
            gross = self.drawn(end) - self.drawn(begin)
            rest_w = (self.idle_w(begin - 1e-6) + self.idle_w(end + 1e-6)) / 2
            out.append((gross, gross - rest_w * (end - begin)))
        return out

    def _around(self) -> float:
        return max(0.2, self._random.gauss(1.0, self.spread))

    def _pass(self, seconds: float, power_w: float) -> None:
        if seconds > 0:
            self.now_s += seconds
            self.times.append(self.now_s)
            self.joules.append(self.joules[-1] + power_w * seconds)


@dataclass
class Counter:
    """What shows the world's joules, later than they were drawn and in steps."""

    world: World
    """Whose."""
    refresh_s: float = 0.001
    """Seconds between updates."""
    quantum_j: float = 1e-6
    """Joules of a step."""
    range_j: float | None = None
    """Where it starts again at 0."""
    start_j: float = 1000.0
    """What it shows at first."""
    share: float = 1.0
    """Of the world's joules that this one counts."""
    fault: Callable[[Counter, float, float], float] = lambda _counter, _at_s, joules: joules
    """What it shows in place of the right value; gets the time and that value; raises MeterError where unreadable."""

    @property
    def tick_s(self) -> float:
        """The last update."""
        return math.floor(self.world.now_s / self.refresh_s + 1e-9) * self.refresh_s

    def read(self) -> float:
        """Joules as shown."""
        right = self.start_j + self.share * self.world.drawn(self.tick_s)
        shown = self.fault(self, self.world.now_s, right)
        shown = math.floor(shown / self.quantum_j) * self.quantum_j
        return shown if self.range_j is None else shown % self.range_j


def meter(*counters: Counter, most_w: float = 1000.0) -> Meter:
    """A meter over counters of one world."""
    return Meter(
        name="made up",
        boundary="device",
        covers="nothing that exists",
        basis="sensor",
        period_s=max(c.refresh_s for c in counters),
        zones=tuple(Zone(f"zone {i}", most_w, c.range_j) for i, c in enumerate(counters)),
        read=lambda: tuple(c.read() for c in counters),
    )


def in_window(world: World, number: int, at_s: float, *, after_s: float, for_s: float = math.inf) -> bool:
    """Whether a moment lies in window `number` (1 is the first), from `after_s` after its begin, for `for_s`."""
    if len(world.blocks) <= number or world._resting:
        return False
    begin = world.blocks[number][0]
    return len(world.blocks) == number + 1 and after_s <= at_s - begin < after_s + for_s


def unreadable(_counter: Counter, _at_s: float, _joules: float) -> float:
    """A reading that fails."""
    raise MeterError("made up: no answer")
