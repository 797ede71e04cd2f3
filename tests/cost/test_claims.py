"""What is published of time and joules beside ours: compared under equal conditions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.claims.model import Claim, Relation, Source
from harness.claims.registry import read_registry
from harness.cost.claims import compare, compare_ratio, ratio, rows
from harness.cost.describe import What, call_cost, km2
from harness.cost.protocol import Settings, measure_windows
from harness.errors import RegistryError
from harness.records.cost import CallCost
from tests.cost.worlds import Counter, World, meter

CONDITIONS = {
    "device": "M3 Air",
    "dtype": "cpu fp32",
    "batch": "1",
    "chip_px": "224",
    "input": "real chips",
    "stage": "forward",
    "calls": "50",
}
"""What a comparable claim would state."""


def ours(
    call_s: float = 0.5, adapter: str = "buildings_nyc", settings: Settings | None = None, **changed: Any
) -> CallCost:
    """A call of about that many seconds at 240 W, on the same machine as the claim."""
    world = World(call_s=call_s)
    windows = measure_windows(
        world.call, meter=meter(Counter(world)), settings=settings, clock=world.clock, sleep=world.sleep
    )
    what: dict[str, Any] = {
        "adapter": adapter,
        "stage": "forward",
        "chip_px": 224,
        "gsd_m": 10.0,
        "input": "real",
        "input_ids": ("a",),
        "weights": "published",
        "device": "cpu",
        "device_name": "M3 Air",
        "build": "torch",
        "dtype": "float32",
        "threads": 4,
    }
    return call_cost(windows, What(**{**what, **changed}))


def claim(value: str, unit: str, metric: str, **conditions: str | None) -> Claim:
    """A claim that states everything but what is None."""
    stated = {k: v for k, v in {**CONDITIONS, **conditions}.items() if v is not None}
    return Claim.model_validate(
        {
            "id": "card/one",
            "quantity": {
                "subject": "tim_nyc" if metric == "cost_ratio" else "buildings_nyc",
                "metric": metric,
                "conditions": stated,
            },
            "value": value,
            "unit": unit,
            "source": {"repository": "owner/name"},
        }
    )


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("511", "reproduced"), ("300", "not reproduced"), ("900", "not reproduced"), ("100-600", "reproduced")],
)
def test_equal_conditions_give_a_verdict(value: str, verdict: str) -> None:
    assert compare(claim(value, "ms", "latency"), ours()).verdict == verdict


@pytest.mark.parametrize("key", list(CONDITIONS))
def test_one_condition_that_is_missing_or_unlike_makes_it_not_comparable_and_is_named(key: str) -> None:
    row = compare(claim("511", "ms", "latency", **{key: None}), ours())
    assert row.verdict == "not comparable"
    assert len(row.missing) == 1
    assert "no statement of" in row.missing[0]
    assert row.ours is not None, "ours stands beside it all the same"
    other = "5" if key == "calls" else "another"
    row = compare(claim("511", "ms", "latency", **{key: other}), ours())
    assert row.verdict == "not comparable"
    assert row.missing[0].startswith("5 calls" if key == "calls" else "")
    assert len(row.missing) == 1


def test_random_weights_and_short_runs_judge_nobody() -> None:
    assert compare(claim("511", "ms", "latency"), ours(weights="random")).verdict == "not comparable"
    row = compare(claim("511", "ms", "latency"), ours(settings=Settings(windows=2)))
    assert row.missing == ("ours falls short of the protocol: windows 2 where the protocol asks for 5",)


def test_joules_also_need_the_meter_and_its_boundary() -> None:
    row = compare(claim("120", "J", "energy"), ours())
    assert row.missing == (
        "no statement of what counted the joules is registered",
        "no statement of what the meter covers is registered",
    )
    told = claim("120", "J", "energy", meter="made up", boundary="device")
    assert compare(told, ours()).verdict == "reproduced"
    assert compare(told, ours(), "seconds x 12.0 W").verdict == "not comparable"


def test_nothing_measured_is_said_to_be_that() -> None:
    assert compare(claim("511", "ms", "latency"), None).verdict == "not measured"
    with pytest.raises(ValueError, match="neither latency nor energy"):
        compare(claim("511", "1", "cost_ratio"), None)


def test_the_published_joules_are_known_as_seconds_times_assumed_watts(root: Path) -> None:
    registry = read_registry(sorted((root / "eval" / "claims").glob("*.yaml")))
    found = {r.claim.id: r for r in rows(registry.claims, [x for c in registry.cards for x in c.relations], [ours()])}
    energy = [r for r in found.values() if r.claim.quantity.metric == "energy"]
    assert {r.claim.value for r in energy} == {"6.13", "6.12", "6.1344", "6.1169"}
    assert all(r.missing[0].startswith("the claim is modelled, not measured") for r in energy)
    assert {r.verdict for r in found.values()} == {"not comparable"}
    rerun = found["terramind-nyc-rerun/bench.buildings.latency"]
    assert "5 calls; 10 are needed" in rerun.missing
    assert "what went in: all zeros there, real chips here" in rerun.missing
    assert rerun.ours is not None
    swap = found["terramind-nyc-training/design.swap"]
    assert "which part of a call is timed: adapter swap there, forward here" in swap.missing


def test_about_doubled_is_held_against_a_ratio_of_two_calls_under_like_conditions() -> None:
    plain, tim = ours(0.5), ours(1.0, "tim_nyc")
    found = ratio(tim, plain)
    assert found.value == pytest.approx(2.0, rel=0.02)
    a, b = tim.latency, plain.latency
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None  # noqa: PT018
    assert (found.low, found.high) == (a.low / b.high, a.high / b.low)
    doubled = claim("~2", "1", "cost_ratio", of="runtime", stage="forward")
    pair = (ours(1.0, "tim_nyc"), plain)
    assert compare_ratio(doubled, pair, "tim over plain").verdict == "reproduced"
    assert compare_ratio(doubled, None, "tim over plain").verdict == "not measured"
    assert compare_ratio(claim("~2", "1", "cost_ratio", batch=None), pair, "x").verdict == "not comparable"
    with pytest.raises(ValueError, match="dtype: bfloat16 and float32"):
        ratio(ours(1.0, "tim_nyc", dtype="bfloat16"), plain)


@pytest.mark.parametrize(
    ("stated", "mine", "words"),
    [
        ({"device": "H100"}, {}, "the device: H100 there, M3 Air here"),
        ({"dtype": "cpu bf16"}, {}, "the precision: cpu bf16 there"),
        ({"batch": "64"}, {}, "the batch: 64 there, 1 here"),
        ({"chip_px": "512"}, {}, "the chip's size: 512 there"),
        ({"calls": "1"}, {}, "1 calls; 10 are needed"),
        ({"calls": "\N{SUPERSCRIPT TWO}0"}, {}, "calls; 10 are needed"),
        ({}, {"weights": "random"}, "random weights"),
    ],
)
def test_a_ratio_is_compared_under_equal_conditions_only(
    stated: dict[str, str], mine: dict[str, Any], words: str
) -> None:
    pair = (ours(1.0, "tim_nyc", **mine), ours(0.5, **mine))
    row = compare_ratio(claim("~2", "1", "cost_ratio", of="runtime", **{"stage": "forward", **stated}), pair, "x")
    assert row.verdict == "not comparable"
    assert any(words in each for each in row.missing), row.missing
    assert row.ours is not None and row.ours.value == pytest.approx(2.0, rel=0.05)  # noqa: PT018


def test_a_square_kilometre_is_mapped() -> None:
    assert km2(224, 10.0) == pytest.approx(5.0176)
    call = ours()
    assert call.seconds_per_km2.value == pytest.approx(0.5 / 5.0176, rel=0.02)
    assert call.energy.gross_per_km2.value == pytest.approx(120 / 5.0176, rel=0.02)
    with pytest.raises(RegistryError, match="no area"):
        km2(0, 10.0)


def test_a_product_is_recognised_by_the_registry_alone() -> None:
    relation = Relation(
        id="r", kind="product", of=["card/s", "card/w"], states="card/one", subject="x", source=Source(repository="o/n")
    )
    found = rows([claim("6.13", "J", "energy")], [relation], [])
    assert "card/s x card/w" in found[0].missing[0]
