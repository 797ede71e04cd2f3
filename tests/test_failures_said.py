"""Failures that once went unsaid: passwords in records, full disks, schemes that were replaced, empty self-checks."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.chips.recipe import read_recipes
from harness.claims.audit import read_view
from harness.commands.console import typed
from harness.errors import RegistryError
from harness.given import Given, from_lock
from harness.locking import Sources
from harness.places import write_file
from harness.selfcheck import DATA, NOT_THE_TWINS, Row, _ids, _problems


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("--address=https://me:s3cret@host/stac?key=abc", "--address=https://***@host/stac?..."),
        ("https://host/stac", "https://host/stac"),
        ("--aoi=what?", "--aoi=what?"),
        ("a b", "'a b'"),
    ],
)
def test_a_command_is_recorded_without_passwords_and_queries(
    monkeypatch: pytest.MonkeyPatch, word: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "reproduce", word])
    said = typed()
    assert said.replace("'", "") == f"harness reproduce {shown}".replace("'", "")
    assert "s3cret" not in said
    assert "abc" not in said


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RegistryError, match="cannot be written \\(No space left on device\\)"):
        write_file(tmp_path / "a.json", "{}")
    assert not list(tmp_path.iterdir())


def test_a_scheme_that_an_adapter_is_never_scored_under_is_not_replaced_by_another(root: Path) -> None:
    adapter = read_view(root / "eval").families["terramind-nyc"].adapter("lulc_nyc")

    def label(chip: object, wanted: object) -> str:
        raise AssertionError(f"asked for a label in {wanted}")

    given = Given("lock", (), label, label, preferred="footprints")  # type: ignore[arg-type]
    said = given.label(None, adapter)  # type: ignore[arg-type]
    assert isinstance(said, str)
    assert "never scored under footprints, only under card, training-code" in said


def test_two_locks_of_one_name_are_refused(tmp_path: Path, root: Path) -> None:
    view = read_view(root / "eval")
    recipe = read_recipes(root / "eval" / "recipes")["training-code"]
    paths = [tmp_path / folder / "x.lock.json" for folder in ("a", "b")]
    with (
        pytest.raises(RegistryError, match="two locks of one name"),
        from_lock(paths, recipe, Sources(cache=tmp_path), view.schemes),
    ):
        pass


def test_a_self_check_that_measured_nothing_does_not_hold() -> None:
    row = Row("a", "a", "0.5", "0.500, n = 6", "reproduced", "not reproduced")
    seen = {"token": 1}
    assert not _problems([row], [replace(row, verdict="inconclusive")], seen, (), 12)
    assert _problems([], [], seen, (), 12)
    assert any("not measured" in p for p in _problems([row], [replace(row, measured="not measured")], seen, (), 12))


def test_the_users_weights_and_keys_stay_out_of_the_twin() -> None:
    assert {"HARNESS_WEIGHTS", "HF_TOKEN", "PC_SDK_SUBSCRIPTION_KEY"} <= {*NOT_THE_TWINS}


@pytest.mark.parametrize("many", [1, 12, 13, 17, 25, 48])
def test_as_many_scenes_are_taken_as_were_asked_for(many: int) -> None:
    ids = _ids(DATA / "aois" / "eval.geojson")
    assert len({ids[i * len(ids) // many] for i in range(many)}) == many
