"""The protocol on a made-up machine: what is read when, how long, and what is said where it falls short."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.cost.batches import best_batch
from harness.cost.energy import Joules, NotMeasured
from harness.cost.protocol import Settings, measure_windows
from tests.cost.worlds import IDLE_W, Counter, World, meter


def test_never_one_call_between_the_two_readings_of_a_window() -> None:
    world = World(call_s=3.0)
    at: list[tuple[int, float]] = []
    counter = Counter(world)
    read = counter.read

    def watched() -> float:
        at.append((world.calls, world.now_s))
        return read()

    counter.read = watched  # type: ignore[method-assign]
    done = measure_windows(world.call, meter=meter(counter), clock=world.clock, sleep=world.sleep)
    assert [w.calls for w in done.windows] == [10] * 5, "calls of 3 s: ten of them, though 10 s are over after four"
    warm = done.warm_up.calls
    ends = [warm + 10 * n for n in range(6)]
    readings_at = {calls for calls, _ in at}
    assert set(ends) <= readings_at
    with pytest.raises(ValueError, match="joules need 10"):
        measure_windows(world.call, meter=meter(counter), settings=Settings(fewest_calls=1), clock=world.clock)


@pytest.mark.parametrize(("refresh_s", "least_s"), [(0.001, 10.0), (0.1, 10.0), (0.3, 30.0)])
def test_a_window_lasts_ten_seconds_and_a_hundred_periods(refresh_s: float, least_s: float) -> None:
    world = World()
    counted = meter(Counter(world, refresh_s=refresh_s))
    done = measure_windows(world.call, meter=counted, clock=world.clock, sleep=world.sleep)
    assert len(done.windows) == 5
    assert all(least_s <= w.seconds < least_s + 0.1 for w in done.windows)
    assert all(w.after.seconds >= max(5.0, 50 * refresh_s) - 1e-9 for w in done.windows)


def test_warm_up_ends_once_calls_are_alike_and_slow_first_calls_stay_outside() -> None:
    world = World(cold_calls=7)
    done = measure_windows(world.call, clock=world.clock, sleep=world.sleep)
    assert done.warm_up.reached
    assert done.warm_up.calls == 17
    assert done.warm_up.variation < 0.05
    assert max(done.latencies_s) < 1.2 * world.call_s


def test_a_machine_that_never_settles_is_said_to_have_not() -> None:
    world = World(spread=0.3)
    done = measure_windows(world.call, clock=world.clock, sleep=world.sleep)
    assert not done.warm_up.reached
    assert done.warm_up.calls == 100
    assert len(done.windows) == 5


def test_warm_up_of_slow_calls_ends_by_time() -> None:
    world = World(spread=0.3, call_s=9.0)
    done = measure_windows(world.call, settings=Settings(windows=1), clock=world.clock, sleep=world.sleep)
    assert not done.warm_up.reached
    assert 120 <= done.warm_up.seconds < 120 + 27
    assert done.warm_up.calls < 10


def test_both_ends_are_synchronised_and_asynchronous_work_is_waited_for() -> None:
    world, queue = World(), list[Callable[[], None]]()

    def synchronise() -> None:
        while queue:
            queue.pop()()

    def launch() -> None:
        assert not queue, "a call began before the one before had ended"
        queue.append(world.call)

    done = measure_windows(
        launch, synchronise=synchronise, meter=meter(Counter(world)), clock=world.clock, sleep=world.sleep
    )
    assert not queue
    right = [gross for gross, _ in world.truth()]
    for window, gross in zip(done.windows, right, strict=True):
        assert isinstance(window.gross, Joules)
        assert window.gross.value == pytest.approx(gross, rel=0.002)


def test_without_a_meter_time_is_measured_all_the_same_and_nobody_waits_for_idle() -> None:
    world = World()
    done = measure_windows(
        world.call, meter=NotMeasured("no counter here"), items=4, clock=world.clock, sleep=world.sleep
    )
    assert done.gross_per_item_j == done.net_per_item_j == done.idle_w == NotMeasured("no counter here")
    throughput, latency = done.throughput_per_s, done.latency_s
    assert not isinstance(throughput, NotMeasured)
    assert not isinstance(latency, NotMeasured)
    assert throughput.value == pytest.approx(4 / 0.03, rel=0.01)
    assert latency.value == pytest.approx(0.03, rel=0.01)
    assert latency.low is not None
    assert latency.high is not None
    assert latency.low < latency.value < latency.high
    rests = 4 * 5.0
    assert world.now_s == pytest.approx(done.warm_up.seconds + sum(w.seconds for w in done.windows) + rests, rel=1e-6)


def test_gross_and_net_and_idle_a_chip() -> None:
    world = World()
    done = measure_windows(world.call, meter=meter(Counter(world)), items=2, clock=world.clock, sleep=world.sleep)
    gross, net, idle = done.gross_per_item_j, done.net_per_item_j, done.idle_w
    assert not isinstance(gross, NotMeasured)
    assert not isinstance(net, NotMeasured)
    assert not isinstance(idle, NotMeasured)
    assert gross.value == pytest.approx(240 * 0.03 / 2, rel=0.01)
    assert net.value == pytest.approx((240 - 60) * 0.03 / 2, rel=0.01)
    assert idle.value == pytest.approx(IDLE_W, rel=0.01)
    assert (gross.n, gross.of) == (5, 5)


def test_percentiles_come_from_the_same_calls_and_need_enough_of_them() -> None:
    world = World(call_s=1.5)
    done = measure_windows(world.call, settings=Settings(windows=1), clock=world.clock, sleep=world.sleep)
    assert len(done.latencies_s) == 10
    assert done.percentile_s(95) == NotMeasured("p95 needs 20 calls; there were 10")
    assert done.percentile_s(99) == NotMeasured("p99 needs 100 calls; there were 10")
    world = World()
    done = measure_windows(world.call, clock=world.clock, sleep=world.sleep)
    inside = sorted(done.latencies_s)
    assert done.percentile_s(99) == inside[-(-99 * len(inside) // 100) - 1]
    assert done.median_s == inside[-(-len(inside) // 2) - 1]


def test_a_run_that_falls_short_of_the_protocol_says_in_what() -> None:
    assert Settings().short() == []
    said = Settings(windows=2, window_s=1.0, warm_variation=0.2).short()
    assert said[0] == "windows 2 where the protocol asks for 5"
    assert len(said) == 3


def test_the_best_batch_stops_where_a_larger_one_brings_nothing() -> None:
    world = World(spread=0.0, cold_calls=0)

    def make(size: int) -> Callable[[], None]:
        def call() -> None:
            world.call_s = 0.01 + 0.002 * size if size <= 16 else 0.042 * size / 16
            world.call()

        return call

    best, tried = best_batch(make, clock=world.clock)
    assert best == 16
    assert [t.batch for t in tried] == [1, 2, 4, 8, 16, 32]


def test_the_best_batch_is_the_last_that_fits_in_memory() -> None:
    world = World(spread=0.0)

    def make(size: int) -> Callable[[], None]:
        def call() -> None:
            if size > 4:
                raise MemoryError("no room for 8")
            world.call_s = 0.01
            world.call()

        return call

    best, tried = best_batch(make, clock=world.clock)
    assert best == 4
    assert tried[-1].per_s == NotMeasured("out of memory: no room for 8")

    def never() -> None:
        raise MemoryError("not even one")

    with pytest.raises(MemoryError):
        best_batch(lambda _size: never, clock=world.clock)


def test_conditions_are_read_at_both_ends_of_every_window() -> None:
    world = World()
    done = measure_windows(
        world.call,
        meter=meter(Counter(world)),
        conditions=lambda: {"at": f"{world.now_s:.3f}"},
        clock=world.clock,
        sleep=world.sleep,
    )
    for window, (begin, end) in zip(done.windows, world.blocks[1:], strict=True):
        assert float(window.conditions[0]["at"]) == pytest.approx(begin, abs=0.001)
        assert float(window.conditions[1]["at"]) == pytest.approx(end, abs=0.001)
