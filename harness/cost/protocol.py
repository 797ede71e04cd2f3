"""The protocol of docs/energy.md: warm-up, windows of many calls, idle in between, gross and net.

Clock, sleep, counter and call are given from outside, so that the protocol is tested in no time on
counters that were made up. Nothing here knows torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.cost.energy import Joules, NotMeasured
from harness.cost.meter import Meter, MeterError
from harness.cost.statistics import Mean, mean, percentile, variation
from harness.cost.trace import Reading, energy

PERIODS = 100
"""Counter periods that a window holds at least."""

IDLE_PERIODS = 50
"""Counter periods that an idle holds at least."""

READ_PERIODS = 5
"""Readings inside a window are so many periods apart at least."""

READ_S = 0.1
"""And so many seconds."""

IDLE_SHARE = 0.1
"""Idle power before and after a window may differ by this share of its gross power; else there is no net."""


@dataclass(frozen=True)
class Settings:
    """How long and how often; what is left out is docs/energy.md's."""

    windows: int = 5
    """Windows."""
    window_s: float = 10.0
    """Shortest window; one with a meter lasts 100 of its periods where that is longer."""
    fewest_calls: int = 10
    """Fewest calls in a window."""
    warm_calls: int = 10
    """Last calls whose coefficient of variation is taken."""
    warm_variation: float = 0.05
    """Warm once it is below."""
    warm_most_calls: int = 100
    """Warm-up ends here, reached or not."""
    warm_most_s: float = 120.0
    """And here."""
    cool_s: float = 5.0
    """Rest after every window."""
    idle_s: float = 5.0
    """Shortest idle, with a meter; 50 of its periods where that is longer."""

    def __post_init__(self) -> None:
        if self.windows < 1 or self.fewest_calls < 1 or self.warm_calls < 2 or self.warm_most_calls < self.warm_calls:
            raise ValueError("at least 1 window, 1 call in it, and 2 calls of warm-up within the most")
        if min(self.window_s, self.cool_s, self.idle_s, self.warm_most_s) < 0:
            raise ValueError("durations are not negative")

    def short(self) -> list[str]:
        """In what these settings fall short of the protocol; a figure of such a run is no evidence."""
        due = Settings()
        return [
            f"{name} {getattr(self, name)} where the protocol asks for {getattr(due, name)}"
            for name in ("windows", "window_s", "fewest_calls", "warm_calls", "cool_s", "idle_s")
            if getattr(self, name) < getattr(due, name)
        ] + ([f"warm_variation {self.warm_variation}"] if self.warm_variation > due.warm_variation else [])


@dataclass(frozen=True)
class WarmUp:
    """What came before the first window."""

    calls: int
    """Calls."""
    seconds: float
    """Their time together."""
    variation: float
    """Coefficient of variation of the last ones."""
    reached: bool
    """Whether it fell below the threshold."""


@dataclass(frozen=True)
class Idle:
    """Rest with everything loaded."""

    seconds: float
    """How long."""
    joules: Joules | NotMeasured
    """What the meter counted."""

    @property
    def power_w(self) -> float | NotMeasured:
        """Mean power."""
        return self.joules if isinstance(self.joules, NotMeasured) else self.joules.value / self.seconds


@dataclass(frozen=True)
class Window:
    """Many calls between two synchronised readings."""

    seconds: float
    """From the first reading to the last."""
    latencies_s: tuple[float, ...]
    """Each call, synchronised."""
    gross: Joules | NotMeasured
    """What the meter counted."""
    before: Idle
    """Rest before it."""
    after: Idle
    """Rest after it and the cool-down."""
    conditions: tuple[Mapping[str, str], Mapping[str, str]]
    """What could be read at its two ends."""

    @property
    def calls(self) -> int:
        """Calls in it."""
        return len(self.latencies_s)

    @property
    def net(self) -> Joules | NotMeasured:
        """Gross less what the device would have drawn at rest."""
        first, last = self.before.power_w, self.after.power_w
        for each in (self.gross, first, last):
            if isinstance(each, NotMeasured):
                return each
        assert isinstance(self.gross, Joules) and isinstance(first, float) and isinstance(last, float)  # noqa: S101, PT018
        if abs(first - last) > IDLE_SHARE * self.gross.value / self.seconds:
            return NotMeasured(
                f"idle power went from {first:.3g} W before the window to {last:.3g} W after it, more than "
                f"{IDLE_SHARE:.0%} of the window's {self.gross.value / self.seconds:.3g} W"
            )
        return self.gross - Joules((first + last) / 2 * self.seconds)


@dataclass(frozen=True)
class Windows:
    """One call measured by the protocol."""

    items: int
    """Chips in one call."""
    warm_up: WarmUp
    """Before the windows."""
    windows: tuple[Window, ...]
    """In order."""
    settings: Settings
    """As asked for."""
    meter: Meter | NotMeasured
    """What counted joules, or why nothing did."""

    @cached_property
    def latencies_s(self) -> tuple[float, ...]:
        """All calls of all windows."""
        return tuple(t for w in self.windows for t in w.latencies_s)

    @property
    def median_s(self) -> float:
        """Median latency of a call, all windows together; the lower one of two in the middle."""
        found = percentile(self.latencies_s, 50) if len(self.latencies_s) > 1 else self.latencies_s[0]
        assert isinstance(found, float)  # noqa: S101
        return found

    def percentile_s(self, percent: int) -> float | NotMeasured:
        """Nearest-rank percentile of a call's latency."""
        return percentile(self.latencies_s, percent)

    @property
    def latency_s(self) -> Mean | NotMeasured:
        """Mean latency of a call over windows."""
        return mean([sum(w.latencies_s) / w.calls for w in self.windows])

    @property
    def throughput_per_s(self) -> Mean | NotMeasured:
        """Chips a second over windows, calls one after another."""
        return mean([w.calls * self.items / w.seconds for w in self.windows])

    @property
    def seconds_per_item(self) -> Mean | NotMeasured:
        """Seconds of a window a chip."""
        return mean([w.seconds / (w.calls * self.items) for w in self.windows])

    @property
    def gross_per_item_j(self) -> Mean | NotMeasured:
        """Measured joules a chip."""
        return mean([self._share(w.gross, w) for w in self.windows])

    @property
    def net_per_item_j(self) -> Mean | NotMeasured:
        """Measured joules a chip above idle."""
        return mean([self._share(w.net, w) for w in self.windows])

    @property
    def idle_w(self) -> Mean | NotMeasured:
        """Power at rest, over all idles."""
        idles = [self.windows[0].before, *(w.after for w in self.windows)]
        return mean([i.power_w for i in idles])

    def _share(self, joules: Joules | NotMeasured, window: Window) -> float | NotMeasured:
        return joules if isinstance(joules, NotMeasured) else joules.value / (window.calls * self.items)


@dataclass
class _Bench:
    """One run of the protocol."""

    call: Callable[[], object]
    synchronise: Callable[[], None]
    meter: Meter | NotMeasured
    settings: Settings
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    conditions: Callable[[], Mapping[str, str]]
    readings: list[Reading] = field(default_factory=list)

    def read(self) -> None:
        """One reading of the meter, failed or not."""
        if isinstance(self.meter, NotMeasured):
            return
        try:
            joules = self.meter.read()
        except MeterError as err:
            self.readings.append(Reading(self.clock(), None, str(err)))
        else:
            self.readings.append(Reading(self.clock(), joules))

    def timed(self) -> float:
        """Seconds of one synchronised call."""
        start = self.clock()
        self.call()
        self.synchronise()
        return self.clock() - start

    def warm_up(self) -> WarmUp:
        s, seconds = self.settings, list[float]()
        self.synchronise()
        while True:
            seconds.append(self.timed())
            enough = len(seconds) >= s.warm_calls
            late = len(seconds) >= max(2, s.warm_most_calls) or (len(seconds) >= 2 and sum(seconds) >= s.warm_most_s)
            if enough or late:
                spread = variation(seconds[-s.warm_calls :])
                reached = enough and spread < s.warm_variation
                if reached or late:
                    return WarmUp(len(seconds), sum(seconds), spread, reached)

    def apart_s(self) -> float:
        """Least time between two readings inside."""
        period_s = 0.0 if isinstance(self.meter, NotMeasured) else self.meter.period_s
        return max(READ_S, READ_PERIODS * period_s)

    def idle(self) -> Idle:
        """Rest, read at both ends and in between."""
        if isinstance(self.meter, NotMeasured):
            return Idle(0.0, self.meter)
        lasts = max(self.settings.idle_s, IDLE_PERIODS * self.meter.period_s)
        self.readings = []
        start = self.clock()
        self.read()
        while (left := start + lasts - self.clock()) > 0:
            self.sleep(min(left, self.apart_s()))
            self.read()
        return Idle(self.clock() - start, self._energy(steady=False))

    def window(self) -> tuple[float, tuple[float, ...], Joules | NotMeasured]:
        """Seconds, latencies and joules of one window."""
        s = self.settings
        lasts = s.window_s
        if not isinstance(self.meter, NotMeasured):
            lasts = max(lasts, PERIODS * self.meter.period_s)
        self.readings, latencies = [], list[float]()
        self.synchronise()
        start = self.clock()
        self.read()
        read_at = start
        while True:
            latencies.append(self.timed())
            now = self.clock()
            if now - start >= lasts and len(latencies) >= s.fewest_calls:
                break
            if now - read_at >= self.apart_s():
                self.read()
                read_at = now
        end = self.clock()
        self.read()
        return end - start, tuple(latencies), self._energy(steady=True)

    def _energy(self, *, steady: bool) -> Joules | NotMeasured:
        return self.meter if isinstance(self.meter, NotMeasured) else energy(self.readings, self.meter, steady=steady)

    def conditions_now(self) -> dict[str, str]:
        own = {} if isinstance(self.meter, NotMeasured) else self.meter.conditions()
        return {**self.conditions(), **own}


def measure_windows(
    call: Callable[[], object],
    *,
    synchronise: Callable[[], None] = lambda: None,
    meter: Meter | NotMeasured | None = None,
    items: int = 1,
    settings: Settings | None = None,
    conditions: Callable[[], Mapping[str, str]] = dict,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    step: Callable[[str], None] = lambda _: None,
) -> Windows:
    """Measure one call: latency and throughput always, joules where there is a meter.

    Args:
        call: What is measured; its result is dropped.
        synchronise: Waits until the device has nothing to do.
        meter: An open meter; None or a reason where there is none, and then no idle is waited for.
        items: Chips in one call.
        settings: Durations and counts; docs/energy.md's where left out.
        conditions: Read at both ends of every window.
        clock: Seconds, never going back.
        sleep: Rests for so many seconds.
        step: Told what is being done.

    Raises:
        ValueError: Fewer than 10 calls a window or fewer than one item; with a meter, no figure comes of less.
    """
    s = settings or Settings()
    if items < 1:
        raise ValueError(f"{items} items in a call: give 1 or more")
    if isinstance(meter, Meter) and s.fewest_calls < Settings.fewest_calls:
        raise ValueError(f"{s.fewest_calls} calls a window: joules need {Settings.fewest_calls} between two readings")
    used = meter if meter is not None else NotMeasured("no meter was asked for")
    bench = _Bench(call, synchronise, used, s, clock, sleep, conditions)
    step("warming up")
    warm = bench.warm_up()
    if isinstance(used, Meter):
        sleep(s.cool_s)
    before = bench.idle()
    windows: list[Window] = []
    for number in range(1, s.windows + 1):
        step(f"window {number} of {s.windows}")
        first = bench.conditions_now()
        seconds, latencies, joules = bench.window()
        last = bench.conditions_now()
        if isinstance(used, Meter) or number < s.windows:
            sleep(s.cool_s)
        after = bench.idle()
        windows.append(Window(seconds, latencies, joules, before, after, (first, last)))
        before = after
    return Windows(items, warm, tuple(windows), s, used)
