"""kill -9 anywhere between search and store, and items that vanish under a lock; the whole chain in a child."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.chips.assemble import read_chip
from harness.chips.catalogue import StacCatalogue
from harness.chips.lock import check, read_lock
from harness.chips.sources.cog import CogReader
from harness.chips.store import Store
from tests.chips import faults
from tests.chips.realm import Realm, build, recipe
from tests.services.azure import Azure, Kind, Ran, azure, leaks

WINDOWS = 16
"""Of the chip: twelve bands, two polarisations, DEM, WorldCover."""

MOMENTS: tuple[tuple[Kind, int], ...] = (("search", 2), ("token", 2), ("file", 6))
"""Kinds of request and how many of the ten kills fall on each."""


@pytest.fixture
def realm(tmp_path: Path) -> Realm:
    return build(tmp_path / "blobs")


@pytest.fixture
def world(realm: Realm, tmp_path: Path, root: Path) -> Iterator[Azure]:
    with azure(realm.blobs, tmp_path / "certificates", root) as made:
        made.catalogue.items = realm.items
        yield made


def run(world: Azure, home: Path, at: tuple[Kind, int] | None = None, late_s: float | None = None) -> Ran:
    """Run the chain in a folder; kill it at a request if told so."""
    home.mkdir(exist_ok=True)
    words = {"api": world.api, "root": world.environment["PYTHONPATH"], "threads": 3}
    ran = world.run(["-m", "tests.chips.chain", json.dumps(words)], home, at, late_s)
    assert leaks(ran) == []
    return ran


def kept(store: Store) -> set[str]:
    """Paths of the files whose windows a store holds."""
    entries = [json.loads(file.read_bytes()) for file in (store.root / "index").glob("*/*.json")]
    return {urlsplit(entry["request"]["href"]).path for entry in entries}


def test_kill_9_at_ten_random_moments_between_search_and_store(
    world: Azure, realm: Realm, tmp_path: Path, root: Path
) -> None:
    whole = run(world, tmp_path / "undisturbed")
    with CogReader(threads=4) as reader:  # from a lock made by hand and the files themselves
        by_hand = read_chip(realm.local(), recipe(root), reader).chip.sha256
    assert (whole.status, whole.said["sha256"], whole.said["read"]) == (0, by_hand, WINDOWS)
    found = read_lock(tmp_path / "undisturbed" / "lock.json").aois[0]
    assert [t.modality for t in found.timesteps] == ["S2L2A", "S1RTC", "DEM", "LULC"]
    assert found.searches[0].dropped["cloud on the chip"] == 1
    many = {kind: world.bell.rung.count(kind) for kind, _ in MOMENTS}
    rng = random.Random(20261121)  # noqa: S311 (moments)
    moments = [
        ((kind, place), rng.choice([None, rng.uniform(0, 0.02)]))
        for kind, kills in MOMENTS
        for place in rng.sample(range(1, many[kind] + 1), kills)
    ]
    assert len(moments) == 10
    held, died = [], 0
    for number, (at, late_s) in enumerate(moments):
        home = tmp_path / f"killed{number}"
        killed = run(world, home, at, late_s)
        assert killed.status == -9 or at[0] == "file", "after the last files' answers a run may be over"
        died += killed.status == -9
        store, lock = Store(home / "store"), home / "lock.json"
        assert store.verify().sound
        assert not store.verify().missing
        locked = lock.exists()
        if locked:
            assert read_lock(lock).aois[0].timesteps == found.timesteps
        stored, seen, asked = kept(store), len(world.files.seen), len(world.catalogue.asked)
        again = run(world, home)
        assert (again.status, again.said["sha256"]) == (0, whole.said["sha256"]), at
        assert again.said["read"] + again.said["stored"] == WINDOWS
        assert {s.path for s in world.files.seen[seen:]}.isdisjoint(stored), "nothing that was stored is read again"
        assert (len(world.catalogue.asked) == asked) == locked, "a run with a lock never searches"
        assert store.verify().sound
        assert {path.rpartition("/")[2] for path in kept(store)} >= {"clear_B02.tif", "radar3_VV.tif", "dem.tif"}
        held.append((locked, sum(1 for path in stored if "_SCL" not in path)))
    assert died >= 8
    assert {locked for locked, _ in held} == {True, False}, "some were killed before the lock was written, some after"
    assert any(0 < windows < WINDOWS for _, windows in held), "windows are kept while others are read"
    faults.record(
        "whole chain",
        "kill -9 at ten random moments of search, lock, sign, read, store",
        "resumed",
        "lock absent or whole, store sound; the next run gives the same chip and asks for no window that was stored",
    )


def test_an_item_that_vanishes_after_search_is_found_by_a_check_and_said_by_a_read(
    world: Azure, realm: Realm, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    whole = run(world, home)
    assert whole.status == 0
    shutil.rmtree(home / "store")
    gone = read_lock(home / "lock.json").aois[0].timesteps[0].scenes[0].item
    world.catalogue.items = [item for item in realm.items if item["id"] != gone]
    for file in (realm.blobs / "sentinel2-l2").glob("clear_*"):
        file.unlink()
    findings = check(read_lock(home / "lock.json"), StacCatalogue(address=world.api))
    assert [(f.kind, f.item) for f in findings] == [("vanished", gone)]
    again = run(world, home)
    assert (again.status, again.said["kind"]) == (3, "SourceError")
    assert (
        "answers 404; the scene vanished or moved since it was locked: run `harness lock --check`"
        in (again.said["error"])
    )
    assert Store(home / "store").verify().sound
    faults.record(
        "catalogue",
        "an item that vanishes after search",
        "one clear error",
        "a check of the lock finds it; a read says so and names the check; no chip",
    )
