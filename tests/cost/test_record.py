"""The record of a measurement: written, read again, and refused where it says nothing or mixes kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.cost.describe import What, call_cost
from harness.cost.energy import NotMeasured
from harness.cost.protocol import measure_windows
from harness.errors import RegistryError
from harness.records.cost import CallCost, CostRecord, Figure, ModelledEnergy, read_cost, write_cost
from tests.cost.worlds import World


def call() -> CallCost:
    """A call without a counter."""
    world = World()
    windows = measure_windows(world.call, meter=NotMeasured("no counter here"), clock=world.clock, sleep=world.sleep)
    return call_cost(
        windows,
        What("a", "forward", 224, 10.0, "made-up", ("x",), "random", "cpu", "CPU", "torch", "float32", 2),
    )


def record() -> CostRecord:
    modelled = ModelledEnergy(value_j=50.0, model="load x watts", of="the whole run")
    return CostRecord(
        created="2026-11-21T00:00:00+00:00",
        command="harness bench energy",
        family="f",
        machine={},
        before={},
        shared=None,
        calls=[call()],
        modelled=[modelled],
        assumptions=["one"],
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write_cost(record(), tmp_path / "bench" / "machine.json")
    assert read_cost(path) == record()
    text = path.read_text(encoding="utf-8")
    assert '"schema": 1' in text
    assert "NaN" not in text


def test_without_a_counter_everything_else_is_filled(tmp_path: Path) -> None:
    one = read_cost(write_cost(record(), tmp_path / "m.json")).calls[0]
    assert one.energy.gross.value is None
    assert one.energy.gross.reason == "no counter here"
    assert one.energy.net_per_km2.value is None
    assert one.meter is None
    assert [w.gross_j for w in one.windows] == [None] * 5
    for filled in (one.latency, one.median, one.p95, one.p99, one.throughput, one.seconds_per_km2):
        assert filled.value is not None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (("calls", 0, "energy", "kind"), "modelled", "kind"),
        (("calls", 0, "energy", "gross", "value"), 6.13, "either a value or the reason"),
        (("calls", 0, "joules"), 6.13, "Extra inputs"),
        (("schema",), 2, "this version reads 1"),
        (("modelled", 0, "model"), "", "at least 1 character"),
    ],
)
def test_a_record_that_is_not_of_this_shape_is_refused(
    tmp_path: Path, field: tuple[str | int, ...], value: object, said: str
) -> None:
    path = write_cost(record(), tmp_path / "m.json")
    held = json.loads(path.read_text(encoding="utf-8"))
    at = held
    for key in field[:-1]:
        at = at[key]
    at[field[-1]] = value
    path.write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(RegistryError, match=said):
        read_cost(path)


def test_a_figure_has_a_value_or_a_reason_and_its_interval_holds_it() -> None:
    with pytest.raises(ValidationError, match="either a value or the reason"):
        Figure(unit="s")
    with pytest.raises(ValidationError, match="must hold the value"):
        Figure(unit="s", value=3.0, low=1.0, high=2.0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="harness bench energy"):
        read_cost(tmp_path / "none.json")
