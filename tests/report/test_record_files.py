"""Records as files: every way in which one cannot be read names the file; nothing is replaced or half-written."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.errors import RegistryError
from harness.records.files import as_record, read_json, text, write_once


class Small(BaseModel):
    """A record."""

    schema_version: int = 1
    """Version."""
    value: float
    """A number."""


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = write_once(Small(value=0.1), tmp_path / "deep" / "r.json", "twice")
    assert as_record(path, read_json(path, "none"), Small, 1) == Small(value=0.1)
    assert path.read_text(encoding="utf-8") == text(Small(value=0.1))


def test_a_record_is_written_once(tmp_path: Path) -> None:
    path = write_once(Small(value=0.1), tmp_path / "r.json", "twice")
    with pytest.raises(RegistryError, match=r"r\.json: twice"):
        write_once(Small(value=0.2), path, "twice")
    assert as_record(path, read_json(path, "none"), Small).value == 0.1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_never_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(RegistryError, match="Small: a number is not finite"):
        write_once(Small(value=value), tmp_path / "r.json", "twice")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "r.json: not there"),
        (b"{\n", "r.json:2: not JSON: .*; run again"),
        (b"\xff\xfe", "r.json: cannot be read as text .*; run again"),
        (b'{"value": "x"}', "r.json: value: Input should be a valid number"),
        (b'{"value": 1, "schema_version": 2}', "r.json: schema: 2; this version reads 1"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, raw: bytes | None, said: str) -> None:
    path = tmp_path / "r.json"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(RegistryError, match=said):
        as_record(path, read_json(path, "not there", "; run again"), Small, 1)


def test_a_file_where_a_folder_is_expected_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"r\.json: not there"):
        read_json(tmp_path / "file" / "r.json", "not there")
