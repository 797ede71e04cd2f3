"""Thinking-in-Modalities: repeatable, without touching the caller's random states; spread and ratio."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.claims.families import Family
from harness.errors import TopologyError, WeightsError
from harness.models import thinking
from harness.models.ensemble import Ensemble, load_family
from harness.models.generation.think import ratio_record, spread_record
from harness.models.thinking import Ratio, ratio, seeded, spread, spread_of
from tests.models.made import inputs


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than they bring at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pair(narrow: Family, narrow_weights: Path) -> Ensemble:
    """The narrow family's adapter that thinks, and a plain one."""
    return load_family(narrow, narrow_weights, tasks=["tim_nyc", "lulc_nyc"], device="cpu")


@pytest.fixture
def states() -> Iterator[None]:
    """Python's and torch's random states are the same after the test as before it."""
    random.seed(7)
    torch.manual_seed(7)
    before = random.getstate(), torch.random.get_rng_state()
    yield
    assert random.getstate() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


def tim(ensemble: Ensemble, size_px: int = 32, **change: Any) -> np.ndarray[Any, Any]:
    """Logits of the adapter that thinks."""
    return replace(ensemble, **change).predict(inputs(size_px), ["tim_nyc"])["tim_nyc"].logits


@pytest.mark.usefixtures("states")
@pytest.mark.parametrize("greedy", [False, True])
def test_thinking_leaves_the_callers_random_states_alone(pair: Ensemble, greedy: bool) -> None:
    tim(pair, greedy=greedy)


@pytest.mark.usefixtures("states")
def test_random_states_come_back_after_an_error() -> None:
    def failing() -> None:
        with seeded(3):
            random.getrandbits(8)
            torch.rand(1)
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        failing()


@pytest.mark.usefixtures("states")
def test_seeded_numbers_depend_on_the_seed_alone() -> None:
    def drawn(seed: int) -> tuple[int, float]:
        random.getrandbits(8)
        torch.rand(1)
        with seeded(seed):
            return random.getrandbits(32), float(torch.rand(1))

    before = random.getstate(), torch.random.get_rng_state()
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]
    random.setstate(before[0])
    torch.random.set_rng_state(before[1])


def test_greedy_settings_come_back(pair: Ensemble) -> None:
    inner = pair.adapters["tim_nyc"].model.encoder.encoder
    before = inner.tim_top_k, inner.tim_top_p
    tim(pair, greedy=True)
    assert (inner.tim_top_k, inner.tim_top_p) == before
    assert before != (1, 0.0)


def test_one_seed_gives_the_same_bits_whatever_the_caller_drew(pair: Ensemble) -> None:
    random.seed(1)
    torch.manual_seed(1)
    first = tim(pair, seed=5)
    random.seed(2)
    torch.manual_seed(2)
    assert np.array_equal(tim(pair, seed=5), first)
    assert not np.array_equal(tim(pair, seed=6), first)


def test_greedy_thinking_depends_on_no_seed(pair: Ensemble) -> None:
    first = tim(pair, seed=1, greedy=True)
    assert np.array_equal(tim(pair, seed=2, greedy=True), first)
    assert not np.array_equal(tim(pair, seed=1), first)


def test_a_spread_of_made_maps_is_counted_right() -> None:
    maps = np.array([[[0, 1, 1]], [[0, 1, 0]], [[0, 0, 0]], [[0, 1, 1]]])  # four seeds, one row of three pixels
    logits = [np.stack([m == c for c in range(3)]).astype(np.float32) for m in maps]
    found = spread_of(iter(logits))
    assert found.seeds == 4
    assert found.majority.tolist() == [[0, 1, 0]]  # two against two: the lower index
    assert found.agreement.tolist() == [[1.0, 0.75, 0.5]]
    assert found.changed == pytest.approx(2 / 3)
    assert found.areas()[0] == pytest.approx((1 / 3, 0.5, 1.0))
    assert found.areas()[2] == (0.0, 0.0, 0.0)
    assert found.logits_std[1].tolist() == [pytest.approx([0.0, 0.5, (1 / 3) ** 0.5])]


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_a_running_spread_equals_that_of_all_outputs_at_once(n: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(3, 2, (n, 4, 5, 6)).astype(np.float32)
    found = spread_of(logits)
    assert np.allclose(found.logits_std, logits.std(axis=0, ddof=1, dtype=np.float64), atol=1e-9)
    assert np.allclose(found.logits_mean, logits.mean(axis=0, dtype=np.float64), atol=1e-9)
    assert np.allclose(found.area.sum(axis=1), 1)
    classes = logits.argmax(axis=1)
    assert found.changed == pytest.approx((classes != classes[0]).any(axis=0).mean())


def test_a_spread_needs_two_outputs_of_one_shape() -> None:
    one = np.zeros((2, 3, 3), np.float32)
    with pytest.raises(ValueError, match="at least two outputs; got 1"):
        spread_of([one])
    with pytest.raises(ValueError, match=r"output 2 has shape \(2, 3, 4\)"):
        spread_of([one, np.zeros((2, 3, 4), np.float32)])


def test_a_spread_over_seeds_is_that_of_the_predictions(pair: Ensemble) -> None:
    found = spread(pair, inputs(32), "tim_nyc", (3, 8, 11))
    by_hand = spread_of([tim(pair, seed=s) for s in (3, 8, 11)])
    assert np.array_equal(found.logits_std, by_hand.logits_std)
    assert found.logits_std.max() > 0
    assert pair.seed == 0
    record = spread_record(found, "tim_nyc", "chip-0", (3, 8, 11), greedy=False, random_weights=True)
    assert record.logits_std_max == found.logits_std.max()
    assert sum(a.median for a in record.area) <= 1.5
    assert record.changed == found.changed


def test_greedy_outputs_have_no_spread(pair: Ensemble) -> None:
    found = spread(replace(pair, greedy=True), inputs(32), "tim_nyc", (1, 2))
    assert found.changed == 0
    assert found.logits_std.max() == 0


@pytest.mark.parametrize(
    ("task", "seeds", "error", "words"),
    [
        ("lulc_nyc", (1, 2), TopologyError, "samples no tokens"),
        ("tim_nyc", (1, 1), TopologyError, "at least two, each once"),
        ("tim_nyc", (1,), TopologyError, "at least two, each once"),
        ("other", (1, 2), WeightsError, "not loaded"),
    ],
)
def test_a_spread_that_says_nothing_is_refused(
    pair: Ensemble, task: str, seeds: tuple[int, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        spread(pair, inputs(32), task, seeds)


def test_a_ratio_is_timed_in_turns_with_the_device_at_rest(pair: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    clock = 0.0

    def run(_: Ensemble, task: str, __: object) -> None:
        nonlocal clock
        events.append(task)
        clock += 3.0 if task == "tim_nyc" else 1.5 if len(events) < 10 else 2.0

    def read() -> float:
        events.append("clock")
        return clock

    device = SimpleNamespace(torch=torch.device("cpu"), name="made", synchronise=lambda: events.append("rest"))
    monkeypatch.setattr(thinking, "_together", run)
    monkeypatch.setattr(time, "perf_counter", read)
    found = ratio(replace(pair, device=device), inputs(32), "tim_nyc", "lulc_nyc", 3)  # type: ignore[arg-type]
    around = ["rest", "clock", None, "rest", "clock"]
    turns = ["tim_nyc", "lulc_nyc", "lulc_nyc", "tim_nyc", "tim_nyc", "lulc_nyc"]
    assert events == ["tim_nyc", "lulc_nyc", *(e or t for t in turns for e in around)]
    assert found.tim_s == (3.0, 3.0, 3.0)
    assert found.plain_s == (2.0, 2.0, 2.0)
    assert found.median == 1.5


def test_a_ratio_keeps_pairs_median_and_range() -> None:
    found = Ratio("a", "b", (2.0, 9.0, 4.0), (1.0, 3.0, 1.0), "made", "float32")
    assert found.ratios == (2.0, 3.0, 4.0)
    assert found.median == 3.0
    assert found.range == (2.0, 4.0)
    record = ratio_record(found, 2)
    assert (record.minimum, record.median, record.maximum) == (2.0, 3.0, 4.0)
    assert record.beside == "terramind-1.0/blog.runtime"
    assert "no verdict" in record.note


@pytest.mark.usefixtures("states")
def test_timed_calls_encode_every_date_and_leave_no_trace(pair: Ensemble) -> None:
    fresh = replace(pair, dates=type(pair.dates)())
    found = ratio(fresh, inputs(32), "tim_nyc", "lulc_nyc", 2)
    assert len(found.tim_s) == len(found.plain_s) == 2
    assert min(*found.tim_s, *found.plain_s) > 0
    assert fresh.dates.asked == 0  # no reuse of dates, which would favour the plain one


@pytest.mark.parametrize(
    ("first", "second", "repeats", "words"),
    [
        ("lulc_nyc", "tim_nyc", 1, "lulc_nyc: samples no tokens"),
        ("tim_nyc", "tim_nyc", 1, "tim_nyc: samples tokens"),
        ("tim_nyc", "lulc_nyc", 0, "at least one pair"),
    ],
)
def test_a_ratio_of_the_wrong_two_is_refused(pair: Ensemble, first: str, second: str, repeats: int, words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        ratio(pair, inputs(32), first, second, repeats)


def test_the_claim_beside_a_ratio_is_there(root: Path) -> None:
    from harness.claims.registry import read_registry

    found = [c for c in read_registry([root / "eval" / "claims"]).claims if c.id == thinking.RUNTIME_CLAIM]
    assert [c.quantity.metric for c in found] == ["cost_ratio"]
    assert "runtime" in found[0].quantity.conditions["of"]
