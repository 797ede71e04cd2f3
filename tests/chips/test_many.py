"""Fifty AOIs on two workers: killed workers and clients lose nothing, memory stays flat, strangers are refused."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import dask
import psutil
import pytest

from harness.chips import cluster, many
from harness.chips.assemble import Valid
from harness.chips.cluster import Here
from harness.chips.many import Fetched, fetch, fetch_many
from harness.chips.scenes import AoiLock
from harness.chips.sources.cog import CogReader
from harness.chips.store import Store
from harness.errors import RecipeError, SourceError
from tests.chips import crowd
from tests.chips.crowd import WINDOWS, Ambush
from tests.services.files import FINE, Fault, running

GROWTH = 1.25
"""Memory of a worker after its last AOI over that after its tenth. Chips of 15 bands held back would
add 3 MB each to 150 MB."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Ambush]:
    (tmp_path / "served").mkdir()
    with running(Ambush(tmp_path / "served", store=tmp_path / "store")) as started:
        yield started  # type: ignore[misc]


def kill(pid: int) -> None:
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)


def test_in_this_process_a_failed_aoi_does_not_stop_the_others(tmp_path: Path, service: Ambush) -> None:
    locks = crowd.write_aois(service.folder, service.base, 3)
    service.always["a01/R_VV.tif"] = Fault(status=404)
    told: list[str] = []
    found = fetch_many(locks, crowd.recipe(), tmp_path / "store", tell=told.append)
    assert [f.aoi for f in found] == ["a00", "a01", "a02"]
    assert [(f.read, f.stored) for f in found] == [(WINDOWS, 0), (None, None), (WINDOWS, 0)]
    assert found[1].chip is None
    assert found[1].valid == {}
    assert "R_VV.tif: answers 404" in str(found[1].reason)
    assert [line.partition(":")[0] for line in told] == ["1 of 3", "2 of 3", "3 of 3"]
    assert "a01: not fetched: " in told[1]
    service.always["a01/R_VV.tif"] = FINE
    again = fetch_many(locks, crowd.recipe(), tmp_path / "store")
    assert again[0].chip == found[0].chip is not None
    assert (again[0].read, again[0].stored) == (0, WINDOWS)
    assert again[1].reason is None
    assert again[1].valid == {"S2L2A": 1.0, "S1RTC": 1.0, "DEM": 1.0}


def test_valid_is_the_lowest_share_over_what_the_recipe_feeds(tmp_path: Path, service: Ambush) -> None:
    (lock,) = crowd.write_aois(service.folder, service.base, 1)
    recipe = crowd.recipe()
    bare = recipe.model_copy(update={"dem": recipe.dem.model_copy(update={"policy": "zeros"})})
    with CogReader() as reader:
        found = fetch(lock, bare, Store(tmp_path / "store"), reader)
        assert set(found.valid) == {"S2L2A", "S1RTC"}
        nowhere = lock.model_copy(update={"centre": (lock.centre[0] + 0.0165, lock.centre[1])})
        missed = fetch(nowhere, recipe, Store(tmp_path / "store"), reader)
        assert missed.chip is None
        assert "valid pixels" in str(missed.reason)
        loose = recipe.model_copy(update={"grid_snap": "as given"})
        with pytest.raises(RecipeError, match="as they are given"):
            fetch(lock, loose, Store(tmp_path / "store"), reader)


def test_lowest_takes_the_worst_band_of_the_worst_date() -> None:
    recipe = crowd.recipe()
    share = {("S2L2A", "B02"): 0.995, ("S2L2A", "B03"): 0.999, ("S1RTC", "VV"): 1.0, ("LULC", "LULC"): 0.1}
    given = [Valid(m, None, t, b, f - t / 1000) for (m, b), f in share.items() for t in (1, 0)]
    assert many._lowest(given, recipe) == pytest.approx({"S2L2A": 0.994, "S1RTC": 0.999})


def test_fifty_aois_on_two_workers_with_one_killed_in_the_middle(tmp_path: Path, service: Ambush) -> None:
    locks = crowd.write_aois(service.folder, service.base, 50)
    service.deadly, service.holds = "a04/S_B09.tif", {"a00/dem.tif": "a02"}  # so a01 is done before a00
    ears: set[str] = set()

    def strike(pid: int) -> None:
        assert pid in {child.pid for child in psutil.Process().children(recursive=True)}
        ears.update(crowd.listening(os.getpid()))
        service.deadly = None
        kill(pid)

    service.strike = strike
    told: list[str] = []
    found = fetch_many(locks, crowd.recipe(), tmp_path / "store", scheduler="local", workers=2, tell=told.append)
    assert len(service.struck) == 1
    assert [f.aoi for f in found] == [lock.aoi for lock in locks]
    assert [f.reason for f in found] == [None] * 50
    assert len({f.chip for f in found}) == 1  # one picture under fifty names
    by_end = [line.split(": ")[1] for line in told]
    assert by_end != sorted(by_end) == [f.aoi for f in found]
    # what was stored when the worker died was not asked for again, and most of the AOI was stored
    assert service.read_twice() == set()
    assert 10 <= int(found[4].stored or 0) < WINDOWS
    assert found[4].read == WINDOWS - int(found[4].stored or 0)
    assert Store(tmp_path / "store").verify().sound
    assert ears == {"127.0.0.1"}
    check_memory(found)
    # a second run on workers reads nothing
    seen = len(service.seen)
    again = fetch_many(locks[:3], crowd.recipe(), tmp_path / "store")
    assert [(f.read, f.stored, f.chip) for f in again] == [(0, WINDOWS, found[0].chip)] * 3
    assert len(service.seen) == seen


def check_memory(found: list[Fetched]) -> None:
    by_worker: dict[str, list[int]] = defaultdict(list)
    for one in found:
        by_worker[str(one.worker)].append(int(one.rss_bytes or 0))
    long_lived = {w: rss for w, rss in by_worker.items() if len(rss) > 15}
    print({w: [r // 2**20 for r in rss] for w, rss in by_worker.items()})
    assert long_lived
    for rss in long_lived.values():
        assert min(rss) > 2**20
        assert rss[-1] / rss[9] < GROWTH, rss


@pytest.mark.parametrize(("workers", "bad"), [(1, 0), (2, 1)])
def test_an_aoi_that_kills_its_workers_is_given_up_and_no_other(
    workers: int, bad: int, tmp_path: Path, service: Ambush
) -> None:
    locks = crowd.write_aois(service.folder, service.base, 5)
    service.deadly, service.strike = f"a0{bad}/S_B09.tif", kill
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        found = fetch_many(locks, crowd.recipe(), tmp_path / "store", scheduler="local", workers=workers)
    assert len(service.struck) == len(set(service.struck)) == 2
    assert [f.aoi for f in found if f.reason is not None] == [f"a0{bad}"]
    assert str(found[bad].reason).startswith(f"a0{bad}: given up: 2 workers died on it")
    assert (found[bad].chip, found[bad].read, found[bad].worker) == (None, None, None)
    assert service.read_twice() == set()
    service.deadly = None
    (after,) = fetch_many(locks[bad : bad + 1], crowd.recipe(), tmp_path / "store")
    assert after.chip == found[4].chip
    assert int(after.stored or 0) >= 10


@pytest.mark.parametrize("where", ["local", "running"])
def test_a_killed_client_resumes_from_the_store(where: str, tmp_path: Path, service: Ambush) -> None:
    locks = crowd.write_aois(service.folder, service.base, 6)
    file, store = crowd.write_locks(tmp_path / "six.lock.json", locks), tmp_path / "store"
    service.deadly = "a03/S_B09.tif"
    clients: list[subprocess.Popen[bytes]] = []

    def strike(_: int) -> None:
        service.deadly = None
        kill(clients[0].pid)

    service.strike = strike
    with contextlib.ExitStack() as stack:
        address = where
        if where == "running":
            address = stack.enter_context(crowd.scheduler(tmp_path))
            stack.enter_context(crowd.worker(address, tmp_path))
            service.outlives = True
        words = [sys.executable, "-m", "tests.chips.crowd", str(file), str(store), address]
        clients.append(subprocess.Popen(words, cwd=crowd.ROOT))  # noqa: S603 (our own interpreter)
        assert clients[0].wait(60) == -signal.SIGKILL
        crowd.until(lambda: service.seen_then > 0)
        assert len(service.struck) == 1
        found = fetch_many(locks, crowd.recipe(), store, scheduler=None if where == "local" else address)
    assert [f.reason for f in found] == [None] * 6
    assert service.read_twice() == set()
    whole = [f for f in found if sum(path.startswith(f"/{f.aoi}/") for path in service.stored_then) == WINDOWS]
    assert len(whole) >= 2  # when the client died
    assert {f.read for f in whole} == {0}
    assert 10 <= int(found[3].stored or 0) <= WINDOWS
    assert Store(store).verify().sound


def test_workers_of_a_running_scheduler_share_the_work_and_its_end_is_said(
    tmp_path: Path, service: Ambush, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = crowd.write_aois(service.folder, service.base, 12)
    recipe, store = crowd.recipe(), tmp_path / "store"
    with crowd.scheduler(tmp_path) as address:
        monkeypatch.setattr(cluster, "WORKERS_S", 0.5)
        with pytest.raises(SourceError, match=r"has had no worker for 0\.5 s; start some"):
            fetch_many(locks, recipe, store, scheduler=address)
        monkeypatch.undo()
        with crowd.worker(address, tmp_path), crowd.worker(address, tmp_path):
            crowd.until(lambda: crowd.workers(address) == 2)
            found = fetch_many([*locks[:4], locks[0]], recipe, store, scheduler=address)
            assert [f.aoi for f in found] == ["a00", "a01", "a02", "a03", "a00"]
            assert {f.read for f in found} == {WINDOWS}  # an AOI that stands twice is read once
            assert len({f.worker for f in found}) == 2
            # both die one after the other, and nobody starts them again
            service.deadly, service.strike = "a05/S_B09.tif", kill
            monkeypatch.setattr(cluster, "WORKERS_S", 2.0)
            with pytest.raises(SourceError, match=r"has had no worker for 2 s"):
                fetch_many(locks, recipe, store, scheduler=address)
            assert len(service.struck) == 2
    rest = fetch_many(locks[:4], recipe, store)
    assert {f.read for f in rest} == {0}


class Lost:
    """A task whose worker dies with the record, some times, before it is done once more."""

    def __init__(self, lock: AoiLock, times: int) -> None:
        self.lock, self.times = lock, times

    def exception(self, timeout: float) -> None:
        """None: it ended well."""
        assert timeout == many.RECORD_S

    def result(self, timeout: float) -> Fetched:
        """The record, if it is still there."""
        assert timeout == many.RECORD_S
        self.times -= 1
        if self.times >= 0:
            raise TimeoutError
        return Fetched(self.lock.aoi, "0" * 64, {}, 5, 0, 0.1, None)


class Standing:
    """Workers: some, until none are left."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self.address = rounds, "tcp://made-up"

    def threads(self) -> int:
        """How many there are."""
        self.rounds -= 1
        if self.rounds < 0:
            raise SourceError("has had no worker for 2 s")
        return 2


@pytest.mark.parametrize(("rounds", "comes"), [(4, True), (2, False)])
def test_a_record_that_died_with_its_worker_is_waited_for_no_longer_than_workers_are(
    tmp_path: Path, service: Ambush, monkeypatch: pytest.MonkeyPatch, rounds: int, comes: bool
) -> None:
    """Seen once: both workers died between a record's end and its way here, and nothing ended any more."""
    locks = crowd.write_aois(service.folder, service.base, 1)
    monkeypatch.setattr(many, "Workers", lambda _: Standing(rounds))
    monkeypatch.setattr(many, "_finished", lambda _, running: set(running))

    class Client:
        def submit(self, _: object, lock: AoiLock, *__: object, key: str) -> Lost:
            return Lost(lock, 2)

    def spread() -> list[Fetched]:
        expected = Here("code", None)
        return many._spread(Client(), locks, crowd.recipe(), tmp_path, expected, lambda _: None, 10**9)

    if comes:
        assert [f.read for f in spread()] == [5]
    else:
        with pytest.raises(SourceError, match="has had no worker"):
            spread()


def test_a_scheduler_that_goes_away_is_one_clear_error(tmp_path: Path, service: Ambush) -> None:
    locks = crowd.write_aois(service.folder, service.base, 3)
    with crowd.scheduler(tmp_path) as address, crowd.worker(address, tmp_path):
        service.deadly, service.outlives = "a01/S_B09.tif", True
        service.strike = lambda _: kill(crowd.owner(address))
        with pytest.raises(SourceError, match=r"the scheduler went away; what was read is in the store"):
            fetch_many(locks, crowd.recipe(), tmp_path / "store", scheduler=address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nowhere", "carrier://pigeon:1"])
def test_an_address_without_a_scheduler_is_one_clear_error(
    address: str, tmp_path: Path, service: Ambush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    locks = crowd.write_aois(service.folder, service.base, 1)
    with pytest.raises(SourceError, match=r"no dask scheduler answers within 0\.5 s; start one"):
        fetch_many(locks, crowd.recipe(), tmp_path / "store", scheduler=address)
    assert service.seen == []


def test_a_worker_of_another_harness_or_another_dask_is_refused(tmp_path: Path, service: Ambush) -> None:
    locks = crowd.write_aois(service.folder, service.base, 1)
    shutil.copytree(crowd.ROOT / "harness", tmp_path / "other" / "harness")
    with (tmp_path / "other" / "harness" / "chips" / "units.py").open("a") as out:
        out.write("# another version\n")
    (tmp_path / "none" / "harness").mkdir(parents=True)
    (tmp_path / "none" / "harness" / "__init__.py").touch()
    old = tmp_path / "old" / "dask-2020.1.0.dist-info" / "METADATA"
    old.parent.mkdir(parents=True)
    old.write_text("Metadata-Version: 2.1\nName: dask\nVersion: 2020.1.0\n")
    refusals = {
        "other": r"worker tcp://127\.0\.0\.1:\d+ runs another harness \(code \w{12}, here \w{12}\): install the same",
        "none": r"worker tcp://\S+ cannot load the harness \(No module named 'harness\.chips'\)",
        "old": r"worker tcp://127\.0\.0\.1:\d+: dask 2020\.1\.0, here \d+\.\d+\.\d+: install the same versions",
    }
    with crowd.scheduler(tmp_path) as address:
        for folder, said in refusals.items():
            with crowd.worker(address, tmp_path, tmp_path / folder), pytest.raises(SourceError, match=said):
                fetch_many(locks, crowd.recipe(), tmp_path / "store", scheduler=address)
            crowd.until(lambda: crowd.workers(address) == 0)
    assert service.seen == []


def test_a_scheduler_of_another_dask_is_refused() -> None:
    ours = dict.fromkeys((*cluster.SAME_EVERYWHERE, *cluster.SAME_ON_WORKERS), "1.2.3") | {"python": "3.11.5.final.0"}
    theirs = {**ours, "python": "3.11.9.final.0", "rasterio": None}
    versions = {"client": {"packages": ours}, "scheduler": {"packages": theirs}, "workers": {}}
    cluster.same("tcp://there:1", versions)
    with pytest.raises(SourceError, match=r"worker w: rasterio missing, here 1\.2\.3: install the same"):
        cluster.same("tcp://there:1", {**versions, "workers": {"w": {"packages": theirs}}})
    theirs |= {"dask": "1.2.2", "python": "3.12.1.final.0"}
    with pytest.raises(
        SourceError, match=r"scheduler tcp://there:1: python 3\.12, here 3\.11; dask 1\.2\.2, here 1\.2\.3"
    ):
        cluster.same("tcp://there:1", versions)


def test_a_worker_that_sees_another_folder_is_refused(tmp_path: Path) -> None:
    name = cluster.made_id(tmp_path / "store")
    assert cluster.made_id(tmp_path / "store") == name != cluster.made_id(tmp_path / "second")
    here = cluster.here(tmp_path / "store")
    assert cluster.stranger("w", here, here, tmp_path) is None
    for seen, said in ((tmp_path / "second", "another store"), (tmp_path / "third", "no store")):
        assert said in str(cluster.stranger("w", cluster.here(seen), here, tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be written"):
        cluster.made_id(tmp_path / "file" / "store")


def test_the_code_that_must_agree_is_what_reading_a_chip_loads() -> None:
    code = "import sys, harness.chips.many; print(*(m for m in sys.modules if m.startswith('harness.chips.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=crowd.ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    loaded = {m.removeprefix("harness.chips.").replace(".", "/") + ".py" for m in done.stdout.split()}
    sources = cluster.sources(crowd.ROOT / "harness" / "chips")
    assert {"assemble.py", "sources/cog.py"} < loaded - {"sources.py"} == set(sources)


def test_no_worker_at_all_is_refused(tmp_path: Path, service: Ambush) -> None:
    locks = crowd.write_aois(service.folder, service.base, 1)
    with pytest.raises(ValueError, match="0 workers; one at least"):
        fetch_many(locks, crowd.recipe(), tmp_path / "store", scheduler="local", workers=0)
    assert fetch_many([], crowd.recipe(), tmp_path / "store", scheduler="local") == []


def test_a_process_keeps_one_reader_and_its_log_hides_tokens() -> None:
    many._reader.cache_clear()
    with many._reader() as reader:
        assert many._reader() is reader
    many._reader.cache_clear()
    record = logging.getLogRecordFactory()("distributed", 40, "f", 1, "GET https://h/c/f?sig=abc&se=1", (), None)
    assert "abc" not in record.getMessage()
