"""What changed beyond noise, on records in which it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.bench.compare import FLOOR, compare
from harness.cli import app
from harness.errors import RegistryError
from harness.records.bench import BenchRecord, Size, write_bench
from tests.bench.made import pairs, record

IDS = ("chip read", "store", "preprocess", "forward/lulc_nyc", "switch", "sweep", "report")


def run(seed: int, **factor: float) -> BenchRecord:
    """A run of the same code unless told by how much a row of ours takes longer."""
    rows = [pairs(i, 0.2 * factor.get(i.partition("/")[0].replace(" ", "_"), 1.0), 1.0, seed=seed) for i in IDS]
    return record(*rows)


def words(a: BenchRecord, b: BenchRecord) -> dict[str, str]:
    return {c.id: c.word for c in compare(a, b).changes}


def test_a_record_against_itself_has_not_changed() -> None:
    assert set(words(run(0), run(0)).values()) == {"no change seen", "not comparable"}
    assert {i for i, w in words(run(0), run(0)).items() if w == "not comparable"} == {"peak/all"}


def test_noise_is_no_change() -> None:
    alarms = [i for n in range(40) for i, w in words(run(2 * n), run(2 * n + 1)).items() if w in ("slower", "faster")]
    assert alarms == []


@pytest.mark.parametrize("seed", range(5))
def test_a_real_slowdown_is_found_and_nothing_else_is_accused(seed: int) -> None:
    found = words(run(seed), run(seed + 50, sweep=1.4))
    assert found["sweep"] == "slower"
    assert [i for i, w in found.items() if w in ("slower", "faster")] == ["sweep"]
    back = words(run(seed + 50, sweep=1.4), run(seed))
    assert back["sweep"] == "faster"


def test_a_change_below_the_floor_is_not_called_one() -> None:
    assert words(run(1), run(2, switch=1 + FLOOR / 2))["switch"] == "no change seen"


def test_a_mean_beyond_the_floor_with_a_wide_interval_is_no_change() -> None:
    steady = pairs("sweep", 1.0, 1.0, n=3).model_copy(update={"ours_s": [1.0] * 3, "reference_s": [1.0] * 3})
    jumpy = steady.model_copy(update={"ours_s": [1.0, 1.9, 1.1]})
    row = compare(record(steady), record(jumpy)).changes[0]
    assert row.relative is not None
    assert row.relative.value > 1 + FLOOR
    assert row.relative.low < 1 + FLOOR
    assert row.word == "no change seen"


def test_a_busy_machine_is_no_change_although_all_seconds_doubled() -> None:
    quiet = record(*(pairs(i, 0.2, 1.0, seed=1) for i in IDS))
    busy = record(*(pairs(i, 0.4, 2.0, seed=2) for i in IDS), shared="load average 4")
    found = compare(quiet, busy)
    assert not found.of("slower", "faster")
    row = found.changes[0]
    assert row.ours is not None
    assert row.ours.low > 1.5
    assert "B was not at rest: load average 4" in found.notes


def test_a_reference_that_moved_is_told_apart() -> None:
    before = record(pairs("sweep", 0.2, 1.0, seed=1, load=0.0))
    after = record(pairs("sweep", 0.2, 0.5, seed=2, load=0.0))
    row = compare(before, after).changes[0]
    assert row.word == "slower"
    assert "the reference or the machine may have moved" in row.note


def test_rows_of_one_record_alone_are_named_with_what_the_other_says() -> None:
    a = record(pairs("sweep", 1.0, 1.0), pairs("report", 1.0, 1.0))
    b = record(pairs("sweep", 1.0, 1.0), pairs("switch", 1.0, 1.0))
    found = {c.id: c for c in compare(a, b).changes}
    assert (found["report"].word, found["report"].note) == ("only in A", "report: not measured: not asked for")
    assert found["switch"].word == "only in B"
    assert found["switch"].note == "the other record does not name it"


def test_a_row_of_another_thing_is_not_compared() -> None:
    other = pairs("sweep", 1.0, 1.0).model_copy(update={"of": "fewer thresholds"})
    row = compare(record(pairs("sweep", 1.0, 1.0)), record(other)).changes[0]
    assert row.word == "not comparable"
    assert "fewer thresholds" in row.note


@pytest.mark.parametrize(
    ("field", "value"), [("topology", "published"), ("chip_px", 256), ("family", "f"), ("weights", "published")]
)
def test_records_of_different_things_are_refused(field: str, value: Any) -> None:
    with pytest.raises(RegistryError, match=f"measured different things .{field}"):
        compare(record(), record(**{field: value}))


def test_of_two_machines_ratios_are_compared_and_no_seconds() -> None:
    a = run(1)
    b = record(*run(2, sweep=1.5).rows, machine={"cpu": "Other", "device": "Other"})
    found = compare(a, b)
    assert found.notes[0].startswith("two machines (cpu: Maker(R) Model 7 (family 6, model 1) and Other; device:")
    row = next(c for c in found.changes if c.id == "sweep")
    assert row.word == "slower"
    assert (row.ours, row.reference) == (None, None)


def test_versions_and_sizes() -> None:
    more = [Size(id="disk/base", kind="disk", what="w", bytes=1_500_000_001)]
    found = compare(record(), record(machine={"packages": {"torch": "2"}}, sizes=more, harness="0.2.0"))
    assert found.notes == ("harness: 0.1.0 and 0.2.0", "torch: 1 and 2")
    assert {c.id: c.word for c in found.changes} == {
        "disk/base": "larger",
        "disk/adapter/lulc_nyc": "only in A",
        "peak/all": "only in A",
    }


def test_the_command_says_it_and_fails_where_asked(tmp_path: Path) -> None:
    a, b = write_bench(run(1), tmp_path / "a"), write_bench(run(2, sweep=1.5), tmp_path / "b")
    done = CliRunner().invoke(app, ["bench", "compare", str(a), str(b)], catch_exceptions=False)
    flat = " ".join(done.output.split())
    assert done.exit_code == 0
    assert "sweep: slower; B over A, against the reference 1." in flat
    assert "1 of 10 changed beyond noise: sweep; 1 could not be compared" in flat
    again = CliRunner().invoke(app, ["bench", "compare", str(a), str(b), "--fail-on=slower"])
    assert again.exit_code == 1
    fine = CliRunner().invoke(app, ["bench", "compare", str(b), str(a), "--fail-on=slower"])
    assert fine.exit_code == 0
    with pytest.raises(RegistryError, match="slower is all there is"):
        CliRunner().invoke(app, ["bench", "compare", str(a), str(b), "--fail-on=x"], catch_exceptions=False)
