"""Folders for runs are tried before anything is measured, and the trial leaves nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.errors import RegistryError
from harness.folders import usable


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("name", ["", "runs", "a/b/runs"])
def test_a_trial_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "kept").mkdir()
    usable(tmp_path / name)
    assert everything(tmp_path) == ["kept"]


@pytest.mark.parametrize("name", ["file", "file/runs", "new/../file"])
def test_a_file_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"name another with --out"):
        usable(tmp_path / name)
    assert everything(tmp_path) == ["file"]


def test_a_disk_that_refuses_is_told_before_and_not_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("harness.folders.tempfile.mkdtemp", full)
    with pytest.raises(RegistryError, match="cannot be written: Read-only file system"):
        usable(tmp_path / "runs")
    assert everything(tmp_path) == []
