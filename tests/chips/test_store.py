"""The store: whole or not at all, whoever writes and whenever it is killed."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.chips import store as store_module
from harness.chips.chip import Grid
from harness.chips.reader import Header, Request
from harness.chips.sources.cog import CogReader, NativeWindow
from harness.chips.store import STALE_S, Store
from harness.errors import SourceError
from tests.chips import faults
from tests.chips.cogs import write_cog
from tests.services.files import FileService, running

WRITER = """
import sys
from pathlib import Path
from harness.chips.store import Store
from tests.chips.test_store import window, wanted
store = Store(Path(sys.argv[1]))
print("writing", flush=True)
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    if store.get(wanted(i)) is None:
        store.put(wanted(i), window(i))
        print(i, flush=True)
"""
"""Puts windows that are not there yet, and says each."""


def wanted(i: int, **change: object) -> Request:
    """The i-th made-up request."""
    grid = Grid(32618, (10, 0, 500_000.0 + 10 * i, 0, -10, 4_510_000.0), 64, 64)
    return Request(**{"href": f"https://store.example/{i}.tif", "reach": grid, "bands": 1, "epsg": 32618, **change})  # type: ignore[arg-type]


def window(i: int) -> NativeWindow:
    """Its pixels, 160 kB."""
    data = np.random.default_rng(i).integers(0, 9000, (1, 280, 288)).astype(np.uint16)
    header = Header(32618, (10, 0, 499_980.0, 0, -10, 4_600_020.0), 10_980, 10_980, 1, "uint16", None)
    return NativeWindow(data, header, (10, 0, 500_000.0 + i, 0, -10, 4_510_000.0))


def same(found: NativeWindow | None, other: NativeWindow) -> bool:
    return (
        found is not None
        and found.header == other.header
        and found.transform == other.transform
        and found.data.dtype == other.data.dtype
        and np.array_equal(found.data, other.data)
    )


def child(root: Path, first: int, last: int, work: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-c", WRITER, str(work), str(first), str(last)], cwd=root, stdout=subprocess.PIPE, text=True
    )


def test_what_was_put_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get(wanted(0)) is None
    store.put(wanted(0), window(0))
    assert same(store.get(wanted(0)), window(0))
    empty = NativeWindow(np.empty((1, 0, 0), np.float32), window(0).header, window(0).transform)
    store.put(wanted(1), empty)
    assert same(store.get(wanted(1)), empty)
    assert store.verify().sound
    assert store.verify().entries == 2


@pytest.mark.parametrize(
    "change",
    [
        {"href": "https://store.example/0.tif?asset=2"},
        {"etag": "another"},
        {"size_bytes": 7},
        {"epsg": None},
        {"margin_px": 3},
        {"reach": wanted(1).reach},
    ],
    ids=lambda c: next(iter(c)),
)
def test_another_question_finds_nothing(change: dict[str, object], tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(wanted(0), window(0))
    assert store.get(wanted(0, **change)) is None


def test_equal_pixels_are_kept_once_and_no_query_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in (0, 1):
        store.put(wanted(i, href=f"https://store.example/{i}.tif?sig=s3cr3t"), window(0))
    assert len(list((tmp_path / "objects").glob("*/*"))) == 1
    assert not any(b"s3cr3t" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("kind", ["objects", "index"])
def test_verify_finds_one_flipped_bit_wherever_it_is(kind: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(wanted(0), window(0))
    (file,) = (tmp_path / kind).glob("*/*")
    whole = file.read_bytes()
    rng = random.Random(1)  # noqa: S311 (places to damage)
    spots = rng.sample(range(len(whole)), 40) if kind == "objects" else range(len(whole))
    unseen = []
    for spot in spots:
        damaged = bytearray(whole)
        damaged[spot] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(damaged))
        if store.verify().sound:
            unseen.append(spot)
        else:
            with pytest.raises(SourceError, match="damaged"):
                store.get(wanted(0))
    if kind == "index":  # blanks between words may change without changing a word
        unseen = [spot for spot in unseen if chr(whole[spot]).strip()]
    assert not unseen
    file.write_bytes(whole)
    assert store.verify().sound
    if kind == "objects":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert store.drop(store.verify()) == 1
        assert store.get(wanted(0)) is None  # and is read anew
        faults.record(
            "store",
            "a flipped bit",
            "one clear error",
            "verify finds it in pixels and entries; never read; after `drop` read anew",
        )


def test_the_least_recently_used_go_first_and_the_cap_holds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(6):
        store.put(wanted(i), window(i))
        (entry,) = (f for f in (tmp_path / "index").glob("*/*") if f"/{i}.tif" in f.read_text())
        os.utime(entry, (1_000 + i, 1_000 + i))
    assert store.get(wanted(0)) is not None  # used now
    one = store.verify().size_bytes // 6
    freed = store.prune(3 * one)
    assert freed >= 3 * one
    assert [store.get(wanted(i)) is not None for i in range(6)] == [True, False, False, False, True, True]
    check = store.verify()
    assert (check.entries, check.missing, check.left_over) == (3, (), ())
    assert check.size_bytes <= 3 * one


def test_what_a_killed_process_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(wanted(0), window(0))
    (file,) = (tmp_path / "objects").glob("*/*")
    half = file.parent / f".{file.name}.123.abcd"
    half.write_bytes(b"half")
    loose = tmp_path / "objects" / "00" / ("0" * 64 + ".npy")
    loose.parent.mkdir(exist_ok=True)
    loose.write_bytes(b"x")
    store.prune()
    assert half.exists()  # another process may be writing it
    for old in (half, loose):
        os.utime(old, (time.time() - 2 * STALE_S,) * 2)
    store.prune()
    assert not half.exists()
    assert not loose.exists()
    assert same(store.get(wanted(0)), window(0))


def test_an_entry_whose_object_was_pruned_is_read_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(wanted(0), window(0))
    next((tmp_path / "objects").glob("*/*")).unlink()
    assert store.get(wanted(0)) is None
    check = store.verify()
    assert check.sound
    assert len(check.missing) == 1
    faults.record(
        "store", "another process pruned a window", "read anew", "an entry without its object counts as absent"
    )


def test_two_processes_write_the_same_windows(tmp_path: Path, root: Path) -> None:
    writers = [child(root, 0, 60, tmp_path) for _ in range(2)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [w.returncode for w in writers] == [0, 0]
    store = Store(tmp_path)
    assert all(same(store.get(wanted(i)), window(i)) for i in range(60))
    check = store.verify()
    assert (check.sound, check.entries, check.missing, check.left_over) == (True, 60, (), ())
    faults.record(
        "store",
        "two processes write the same windows",
        "right result",
        "60 windows, every one whole, nothing left over",
    )


def test_kill_9_at_ten_random_moments_leaves_a_sound_store(tmp_path: Path, root: Path) -> None:
    rng = random.Random(20241121)  # noqa: S311 (moments)
    store, said = Store(tmp_path), []
    for _ in range(10):
        writer = child(root, 0, 4000, tmp_path)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        time.sleep(rng.uniform(0, 0.12))
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL
        said += [int(line) for line in out.splitlines()]
        check = store.verify()
        assert check.sound, check.damaged
        assert not check.missing
        assert all(same(store.get(wanted(i)), window(i)) for i in set(said)), "what was said to be there is there"
    assert said
    assert len(said) == len(set(said)), "no run did again what an earlier one had done"
    faults.record(
        "store",
        "kill -9 at ten random moments",
        "resumed",
        "sound after each; every window that was announced is there; none was written twice",
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FileService]:
    data = np.random.default_rng(0).integers(1, 9000, (640, 640)).astype(np.uint16)
    for i in range(12):
        write_cog(tmp_path / "served" / f"{i}.tif", data + i, 32618, (10, 0, 500_000.0, 0, -10, 4_510_000.0))
    with running(FileService(tmp_path / "served", delay_s=0.03)) as made:
        yield made


RUN = """
import sys
from pathlib import Path
from harness.chips.sources.cog import CogReader
from harness.chips.store import Store
from tests.chips.test_store import asked
store = Store(Path(sys.argv[1]))
requests = [asked(sys.argv[2], i) for i in range(12)]
found = {r: w for r in requests if (w := store.get(r)) is not None}
print("reading", flush=True)
with CogReader(threads=2) as reader:
    def keep(request, window):
        store.put(request, window)
        sys.stdout.write(request.href.rpartition("/")[2] + "\\n")  # one write: two threads speak
        sys.stdout.flush()
    found |= reader.read_all([r for r in requests if r not in found], keep)
"""


def asked(base: str, i: int) -> Request:
    """A window of the i-th served file."""
    grid = Grid(32618, (10, 0, 502_000.0, 0, -10, 4_508_000.0), 96, 96)
    return Request(f"{base}/{i}.tif", grid, 1, 32618)


def test_a_killed_run_reads_nothing_twice(tmp_path: Path, root: Path, service: FileService) -> None:
    work = tmp_path / "store"
    command = [sys.executable, "-c", RUN, str(work), service.base]
    first = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert first.stdout is not None
    assert first.stdout.readline() == "reading\n"
    kept = {first.stdout.readline().strip() for _ in range(4)}
    first.send_signal(signal.SIGKILL)
    kept |= set(first.communicate(timeout=60)[0].split())
    assert 4 <= len(kept) < 12
    before = len(service.seen)
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    again = {s.path.strip("/") for s in service.seen[before:]}
    assert again.isdisjoint(kept)
    assert kept | set(done.stdout.split()[1:]) == {f"{i}.tif" for i in range(12)}
    before = len(service.seen)
    subprocess.run(command, cwd=root, capture_output=True, timeout=60, check=True)  # noqa: S603
    assert len(service.seen) == before, "a third run asks nothing"
    faults.record(
        "store",
        "a run killed in the middle of reading",
        "resumed",
        "no request for any window that the first run had kept",
    )


FULL = """
import resource, sys
from pathlib import Path
from harness.chips.store import Store
from harness.errors import SourceError
from tests.chips.test_store import window, wanted
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Store(Path(sys.argv[1])).put(wanted(1), window(1))
except SourceError as err:
    print(err)
    raise SystemExit(err.exit_code)
"""
"""The system takes 100 kB of a file of 160 kB and refuses the rest."""


def test_a_write_that_the_system_breaks_off_leaves_nothing(tmp_path: Path, root: Path) -> None:
    store = Store(tmp_path)
    store.put(wanted(0), window(0))
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert done.returncode == 3, done.stderr
    assert "the chip store cannot be written (File too large)" in done.stdout
    check = store.verify()
    assert (check.sound, check.entries, check.left_over) == (True, 1, ())
    assert store.get(wanted(1)) is None


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def full(file: Path, raw: bytes) -> None:
        file.write_bytes(raw[: len(raw) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_fill", full)
        with pytest.raises(SourceError, match=r"cannot be written \(No space left on device\)"):
            store.put(wanted(0), window(0))
    assert (store.verify().sound, store.verify().left_over) == (True, ())
    assert store.get(wanted(0)) is None
    faults.record(
        "store",
        "ENOSPC",
        "one clear error",
        "half-written file removed, store sound; also with a real limit of the system on the file's size",
    )


def test_a_full_disk_stops_a_reading_run_with_one_error(
    tmp_path: Path, service: FileService, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, puts = Store(tmp_path / "store"), []

    def full(file: Path, raw: bytes) -> None:
        puts.append(file)
        if len(puts) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write_bytes(raw)

    monkeypatch.setattr(store_module, "_fill", full)
    with CogReader(threads=2) as reader, pytest.raises(SourceError, match="No space left"):
        reader.read_all([asked(service.base, i) for i in range(12)], store.put)
    check = store.verify()
    assert check.sound
    assert not check.missing


def test_an_entry_that_is_none_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(wanted(0), window(0))
    (entry,) = (tmp_path / "index").glob("*/*")
    for text in ("", "{}", json.dumps({"object": "0" * 64})):
        entry.write_text(text)
        assert not store.verify().sound
        if "object" not in text:
            with pytest.raises(SourceError, match="not an entry of this store"):
                store.get(wanted(0))
