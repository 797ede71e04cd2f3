"""`lock_aois`: writers side by side, and AOIs or recipes that changed since their lock."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness import locking
from harness.chips.lock import Stat, guard_path, read_lock, write_lock
from harness.chips.recipe import Dates, Offset, Recipe, read_recipes
from harness.chips.resolve import resolve as real
from harness.chips.scenes import Lock
from harness.errors import RegistryError
from harness.locking import LockFile, Sources, lock_aois, lock_path
from tests.chips.test_lock import Shelf, clear, new_york
from tests.models.conftest import ROOT

AOIS: dict[str, dict[str, Any]] = {
    name: {
        "id": name,
        "name": name,
        "role": "test",
        "window": ["2024-04-01", "2024-09-30"],
        "labels": ["worldcover-2021"],
        "source": "made up",
        "split": "two",
        "whole_split": True,
        "centre": [-74.075, north],
    }
    for name, north in (("ferry", 40.643), ("hill", 40.642))
}


def write(file: Path, **changes: dict[str, Any]) -> Path:
    """The AOI file, with changes by AOI; an AOI that is not known yet is a copy of `hill`."""
    held = {name: {**AOIS.get(name, AOIS["hill"]), **changes.get(name, {})} for name in AOIS | changes}
    points = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": one["centre"]},
            "properties": {key: value for key, value in one.items() if key != "centre"},
        }
        for one in held.values()
    ]
    file.write_text(json.dumps({"type": "FeatureCollection", "features": points}))
    return file


class NoTables:
    """Label tables of a city without buildings."""

    def __init__(self, folder: Path) -> None:
        """As the real ones."""

    def pins(self, grid: object) -> list[Any]:
        """As the real ones."""
        return []


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two AOIs, and services in memory."""
    monkeypatch.setattr(Sources, "open", lambda self: Shelf(new_york()))
    monkeypatch.setattr(Sources, "reading", lambda self: nullcontext())
    monkeypatch.setattr(locking, "Sights", lambda reader, store: clear)
    monkeypatch.setattr(locking, "Stats", lambda signer: lambda href: Stat("one", 1))
    monkeypatch.setattr(locking, "Tables", NoTables)
    return write(tmp_path / "made.geojson")


def lock(file: Path, *ids: str, recipes: Sequence[str] = ("training-code",), renew: bool = False) -> LockFile:
    return lock_aois(file, Sources(cache=file.parent), recipes=recipes, ids=ids, renew=renew, root=ROOT)


def entries(file: Path) -> list[tuple[str, str]]:
    return [(one.aoi, one.recipe) for one in read_lock(lock_path(file)).aois]


def meanwhile(monkeypatch: pytest.MonkeyPatch, file: Path, name: str, *, renew: bool = False) -> None:
    """While the next AOI is resolved, another writer locks one of its own from start to end."""

    def resolve(*args: Any) -> Any:
        monkeypatch.setattr(locking, "resolve", real)
        assert lock(file, name, renew=renew).added == (f"{name} (training-code)",)
        return real(*args)

    monkeypatch.setattr(locking, "resolve", resolve)


def test_two_writers_keep_the_entries_of_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, file, "hill")
    assert lock(file, "ferry").added == ("ferry (training-code)",)
    assert entries(file) == [("ferry", "training-code"), ("hill", "training-code")]
    meanwhile(monkeypatch, file, "hill", renew=True)
    lock(file, "ferry", recipes=["published-rerun"])
    assert entries(file) == [("ferry", "published-rerun"), ("ferry", "training-code"), ("hill", "training-code")]


def test_two_writers_of_one_aoi_leave_the_entry_of_the_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(("first", "second", "third", "fourth"))

    def stats(signer: object) -> Callable[[str], Stat]:
        moment = next(moments)
        return lambda href: Stat(moment, 1)

    monkeypatch.setattr(locking, "Stats", stats)

    def tag() -> str | None:
        scene = read_lock(lock_path(file)).aois[0].timesteps[0].scenes[0]
        return scene.assets["B02"].etag

    meanwhile(monkeypatch, file, "ferry")  # begins later and ends earlier
    done = lock(file, "ferry")
    assert (done.added, done.kept) == ((), ("ferry (training-code)",))
    assert tag() == "second"
    meanwhile(monkeypatch, file, "ferry", renew=True)
    assert lock(file, "ferry", renew=True).added == ("ferry (training-code)",)
    assert tag() == "third"


def test_an_entry_of_another_writer_for_something_else_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The AOI file is edited between the start of one writer and the start of another."""

    def resolve(*args: Any) -> Any:
        monkeypatch.setattr(locking, "resolve", real)
        lock(write(file, ferry={"window": ["2024-05-01", "2024-09-30"]}), "ferry")
        return real(*args)

    monkeypatch.setattr(locking, "resolve", resolve)
    with pytest.raises(RegistryError, match="window was 2024-05-01, 2024-09-30, is 2024-04-01, 2024-09-30 now"):
        lock(file, "ferry")


def test_the_guard_is_no_lock_and_stays_out_of_git(file: Path, tmp_path: Path) -> None:
    lock(file)
    guard = guard_path(lock_path(file))
    assert guard.name == ".made.lock.json.guard"
    assert guard.parent == lock_path(file).parent
    assert list(guard.parent.glob("*.lock.json")) == [lock_path(file)]
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run([git, "init", "-q", str(tmp_path)], check=True)  # noqa: S603 (the user's git)

    def ignored(path: Path) -> bool:
        asked = [git, "-c", "core.excludesFile=", "check-ignore", "-q", str(path)]
        return subprocess.run(asked, cwd=tmp_path, check=False).returncode == 0  # noqa: S603 (the user's git)

    assert ignored(guard)
    assert not ignored(lock_path(file))


def test_an_entry_says_what_it_was_resolved_for(file: Path) -> None:
    lock(file)
    one = read_lock(lock_path(file)).aois[0]
    assert (one.aoi, one.window, one.label_sources) == ("ferry", ("2024-04-01", "2024-09-30"), ["worldcover-2021"])
    assert (one.role, one.split, one.split_size) == ("test", "two", 2)
    assert one.recipe_sha256 is not None
    assert len(one.recipe_sha256) == 64


def test_what_did_not_change_is_kept_as_it_stands(file: Path) -> None:
    lock(file)
    before = lock_path(file).read_bytes()
    write(file, ferry={"name": "Renamed", "source": "elsewhere"})
    done = lock(file)
    assert (done.added, done.kept) == ((), ("ferry (training-code)", "hill (training-code)"))
    assert lock_path(file).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ferry": {"centre": [-74.075, 40.644]}}, "centre was -74.075, 40.643, is -74.075, 40.644 now"),
        (
            {"ferry": {"window": ["2024-04-01", "2024-10-31"]}},
            "window was 2024-04-01, 2024-09-30, is 2024-04-01, 2024-10-31 now",
        ),
        (
            {"ferry": {"labels": ["worldcover-2021", "nyc-footprints"]}},
            "labels was worldcover-2021, is worldcover-2021, nyc-footprints now",
        ),
        ({"ferry": {"role": "tune"}}, "role was test, is tune now"),
        ({"ferry": {"split": "other"}}, "split was two, is other now; split's size was 2, is 1 now"),
        ({"third": {}}, "split's size was 2, is 3 now"),
        ({"ferry": {"split": None, "whole_split": False}}, "split was two, is none now"),
    ],
    ids=["centre", "window", "labels", "role", "split", "size", "no split"],
)
def test_a_changed_aoi_is_refused_until_renewed(file: Path, changes: dict[str, Any], said: str) -> None:
    lock(file, "ferry")
    before = lock_path(file).read_bytes()
    write(file, **{name: {"id": name, **change} for name, change in changes.items()})
    with pytest.raises(RegistryError, match=r"ferry \(training-code\) was locked for something else") as refused:
        lock(file)
    assert f": {said}" in str(refused.value)
    assert str(refused.value).endswith("; --renew locks it again")
    assert lock_path(file).read_bytes() == before, "nothing is resolved where one entry is refused"
    assert lock(file, "ferry", renew=True).added == ("ferry (training-code)",)
    assert lock(file, "ferry").kept == ("ferry (training-code)",)


def test_an_aoi_that_joins_a_split_is_refused(file: Path) -> None:
    lock(write(file, ferry={"split": None, "whole_split": False}), "ferry")
    with pytest.raises(RegistryError, match="else: split was none, is two now; split's size was none, is 2 now;"):
        lock(write(file), "ferry")


def changed(monkeypatch: pytest.MonkeyPatch, **knobs: object) -> None:
    held: dict[str, Recipe] = read_recipes(ROOT / "eval/recipes")
    held["training-code"] = held["training-code"].model_copy(update=knobs)
    monkeypatch.setattr(locking, "read_recipes", lambda folder: held)


@pytest.mark.parametrize(
    "knobs",
    [
        {"dates": Dates(policy="distinct", count=4)},
        {"dates": Dates(policy="repeat", count=4, window="cloud under 20 %")},
        {"bands": {"S2L2A": ["B02"], "DEM": ["DEM"]}},
        {"bands": {"S2L2A": ["B02"], "S1RTC": ["VV", "VH"], "DEM": ["DEM"]}},
        {"s2_offset": Offset(policy="harmonise")},
        {"chip_size_px": 512},
    ],
    ids=["policy", "cloud", "modality", "bands", "offset", "reach"],
)
def test_a_changed_recipe_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any]) -> None:
    lock(file, "ferry")
    changed(monkeypatch, **knobs)
    with pytest.raises(RegistryError, match=r"else: recipe \(.*\) was [0-9a-f]{64}, is [0-9a-f]{64} now; --renew"):
        lock(file, "ferry")


def test_a_knob_that_decides_about_no_scene_may_change(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(file, "ferry")
    changed(monkeypatch, precision="float32", version="2", chip_size_px=224)
    assert lock(file, "ferry").kept == ("ferry (training-code)",)


def test_an_older_lock_is_not_held_against_what_it_never_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(file, "ferry")
    path = lock_path(file)
    raw = json.loads(path.read_text())
    for field in ("window", "label_sources", "recipe_sha256", "role"):
        del raw["aois"][0][field]
    write_lock(path, Lock.model_validate(raw))
    changed(monkeypatch, s2_offset=Offset(policy="harmonise"))
    other = {"window": ["2024-05-01", "2024-09-30"], "labels": ["nyc-footprints"], "role": "tune"}
    assert lock(write(file, ferry=other), "ferry").kept == ("ferry (training-code)",)
    with pytest.raises(RegistryError, match="centre was"):
        lock(write(file, ferry={"centre": [-74.0, 40.7]}), "ferry")
