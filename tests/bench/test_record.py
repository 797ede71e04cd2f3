"""What a record of the bench holds, refuses and is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.errors import RegistryError
from harness.records.bench import read_bench, read_folder, write_bench
from harness.records.cost import CostRecord, write_cost
from harness.records.files import text
from tests.bench.made import pairs, record


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    one = record(pairs("sweep", 0.1, 0.3), pairs("forward/lulc_nyc", 1.0, 4.0))
    path = write_bench(one, tmp_path / "bench")
    assert path.name == "maker-7-6-1-2-cores.json"
    assert read_bench(path) == one
    assert text(read_bench(path)) == path.read_text(encoding="utf-8")
    assert read_folder(tmp_path / "bench") == ([(path.name, one)], [])


def test_its_name_tells_topology_and_device_and_no_host() -> None:
    assert record(topology="published").name == "maker-7-6-1-2-cores-full-size"
    assert record(machine={"device_kind": "cuda"}).name == "maker-7-6-1-2-cores-cuda"


def change(raw: dict[str, Any], where: str, value: Any) -> None:
    at: Any = raw
    *path, last = where.split("/")
    for key in path:
        at = at[int(key) if key.isdigit() else key]
    if value is None:
        del at[last]
    else:
        at[last] = value


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("schema", 2, "schema: 2; this version reads 1"),
        ("topology", None, "topology: Field required"),
        ("rows/0/ours_s", [1.0], "as many seconds"),
        ("rows/0/reference_s", [0.0] * 9, "seconds are above 0"),
        ("rows/1/id", "sweep", "an id stands twice"),
        ("growth/0/seconds", [-1.0], "seconds are above 0"),
        ("sizes/0/bytes", None, "bytes: Field required"),
        ("sizes/2/reason", None, "either bytes or the reason"),
        ("machine/host", "alice", "machine.host: Extra inputs"),
        ("rows/0/group", "nap", "rows.0.group"),
    ],
)
def test_what_is_not_of_the_shape_is_refused_with_file_and_field(
    tmp_path: Path, where: str, value: Any, said: str
) -> None:
    raw = json.loads(text(record(pairs("sweep", 0.1, 0.3), pairs("switch", 1.0, 4.0))))
    change(raw, where, value)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(RegistryError, match=said) as err:
        read_bench(path)
    assert str(path) in str(err.value)


def test_no_file_no_json_and_another_kind_of_record(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(RegistryError, match="no such file; `nox -s bench` writes one"):
        read_bench(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"m\.json:1: not JSON"):
        read_bench(path)
    cost = CostRecord(
        created="2026-11-21",
        command="harness bench energy",
        family="f",
        machine={},
        before={},
        shared=None,
        calls=[],
        assumptions=[],
    )
    write_cost(cost, path)
    with pytest.raises(RegistryError, match="a record of `harness bench energy`"):
        read_bench(path)
    assert read_folder(tmp_path) == ([], [("m.json", cost)])


def test_seconds_are_pairs() -> None:
    with pytest.raises(ValidationError, match="as many seconds"):
        record(pairs("sweep", 1.0, 1.0, n=1))
