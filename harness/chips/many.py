"""Many AOIs into one store: here, one after the other, or side by side on workers of dask.distributed.

A worker reads an AOI's windows, writes them into the store that all share and sends back a small
record; no pixel crosses the wire. What a killed worker or client had stored is not read again. All
processes must have the same harness, the same libraries and the same store at the same path.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.chips.assemble import Valid, read_chip
from harness.chips.cluster import Here, Workers, code, gone, here, local, made_id, remote, stranger
from harness.chips.recipe import Recipe
from harness.chips.scenes import AoiLock
from harness.chips.signing import Signer, hide_tokens
from harness.chips.sources.cog import CogReader
from harness.chips.store import CAP_BYTES, Store
from harness.errors import ChipError, SourceError

RECORD_S: Final = 5.0
"""How long a record may take on its way from the worker that made it; afterwards the worker is taken for gone."""

POLL_S: Final = 2.0
"""Seconds after which workers are counted again while nothing finishes."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one AOI; its pixels are in the store."""

    aoi: str
    """AOI id."""
    chip: str | None
    """Hash of the chip; None where it did not come about."""
    valid: Mapping[str, float]
    """By modality that the recipe feeds and the lock has: the lowest share of valid pixels of a band on a
    date. Empty where there is no chip."""
    read: int | None
    """Windows from the network; None where there is no chip."""
    stored: int | None
    """Windows that were in the store; None where there is no chip."""
    duration_s: float | None
    """Seconds on the process that ended it; None where that died."""
    reason: str | None = None
    """Why there is no chip, in words."""
    worker: str | None = None
    """Address of the worker; None for this process, or where workers died."""
    rss_bytes: int | None = None
    """Memory of the worker when the AOI was done; None as `worker`."""


def fetch(lock: AoiLock, recipe: Recipe, store: Store, reader: CogReader) -> Fetched:
    """Read one AOI into the store, in this process.

    Args:
        lock: Its scenes.
        recipe: Grid, modalities and offset policy.
        store: Keeps every window as it comes.
        reader: Reads what the store does not hold.

    Returns:
        The record. A source that fails and a chip that cannot be scored are its `reason`.

    Raises:
        RecipeError: The recipe says no grid or resampling; this holds for every AOI.
    """
    start = time.monotonic()
    try:
        found = read_chip(lock, recipe, reader, store)
    except (SourceError, ChipError) as err:
        return Fetched(lock.aoi, None, {}, None, None, time.monotonic() - start, str(err))
    valid = _lowest(found.valid, recipe)
    return Fetched(lock.aoi, found.chip.sha256, valid, found.read, found.stored, time.monotonic() - start)


def _lowest(valid: Sequence[Valid], recipe: Recipe) -> dict[str, float]:
    out: dict[str, float] = {}
    for one in valid:
        if one.band in recipe.bands.get(one.modality, ()) and not (
            one.modality == "DEM" and recipe.dem.policy == "zeros"
        ):
            out[one.modality] = min(one.fraction, out.get(one.modality, 1.0))
    return out


def _silent(_: str) -> None:
    """Tells nobody."""


def fetch_many(
    locks: Sequence[AoiLock],
    recipe: Recipe,
    store: Path,
    *,
    scheduler: str | None = None,
    workers: int = 2,
    cap_bytes: int = CAP_BYTES,
    tell: Callable[[str], None] = _silent,
) -> list[Fetched]:
    """Read AOIs into a store.

    Args:
        locks: AOIs.
        recipe: For all of them.
        store: Folder; with `scheduler`, every worker sees it under this path.
        scheduler: None: in this process, one after the other. `local`: worker processes of this
            machine, on loopback only, gone when this returns or is killed. Otherwise the address of
            a running scheduler (`tcp://host:8786`); keys and proxies come from its workers' own
            environment, and an AOI that a worker is busy with when the client is killed is read to its end.
        workers: Processes for `local`.
        cap_bytes: Size of the store above which the least recently used windows go.
        tell: Takes one line for each AOI that is done.

    Returns:
        One record a lock, in the order of `locks`. An AOI on which more workers died than dask
        allows (`distributed.scheduler.allowed-failures`, 3) has no chip and says so.

    Raises:
        SourceError: The scheduler does not answer or goes away, it has no workers, or a process has
            other code or another store. What was read until then is in the store.
        RecipeError: As `fetch`.
    """
    if not locks:
        return []
    if scheduler is None:
        kept, out = Store(store, cap_bytes), []
        with CogReader(Signer()) as reader:
            for lock in locks:
                out.append(fetch(lock, recipe, kept, reader))
                tell(_line(len(out), len(locks), out[-1]))
        return out
    hide_tokens()
    root = store.resolve()
    expected = Here(code(), made_id(root))
    with local(workers) if scheduler == "local" else remote(scheduler, root, expected) as client:
        return _spread(client, locks, recipe, root, expected, tell, cap_bytes)


def _line(done: int, total: int, one: Fetched) -> str:
    if one.reason is not None:
        return f"{done} of {total}: {one.aoi}: not fetched: {one.reason}"
    return f"{done} of {total}: {one.aoi}: {one.read} windows read, {one.stored} from the store, {one.duration_s:.1f} s"


@functools.lru_cache(maxsize=1)
def _reader() -> CogReader:
    """The process's one reader: its connections and its tokens serve every AOI."""
    return CogReader(Signer())


def _on_worker(lock: AoiLock, recipe: Recipe, root: Path, expected: Here, cap_bytes: int = CAP_BYTES) -> Fetched:
    """What a worker does. It is asked again what it has, as workers may come at any time."""
    import psutil
    from distributed import get_worker

    where = str(get_worker().address)
    if (other := stranger(f"worker {where}", here(root), expected, root)) is not None:
        raise SourceError(other)
    found = fetch(lock, recipe, Store(root, cap_bytes), _reader())
    return dataclasses.replace(found, worker=where, rss_bytes=psutil.Process().memory_info().rss)


def _spread(
    client: Any,
    locks: Sequence[AoiLock],
    recipe: Recipe,
    root: Path,
    expected: Here,
    tell: Callable[[str], None],
    cap_bytes: int,
) -> list[Fetched]:
    """Hand out AOIs, no more at a time than workers have threads, and gather the records.

    An AOI that waits on a worker would count a death there as its own: dask gives a task up after
    some deaths, whether it had started or not.
    """
    from distributed.client import FuturesCancelledError

    there = Workers(client)
    keys = [_task_key(lock, recipe, root, expected) for lock in locks]
    by_key = dict(zip(keys, locks, strict=True))
    waiting, running, out = deque(by_key), dict[Any, str](), dict[str, Fetched]()
    while waiting or running:
        try:
            threads = there.threads()
            while waiting and len(running) < max(threads, 1):
                key = waiting.popleft()
                running[client.submit(_on_worker, by_key[key], recipe, root, expected, cap_bytes, key=key)] = key
            ended = {future: _ended(future) for future in _finished(client, running)}
        except (FuturesCancelledError, OSError) as err:
            raise gone(there.address) from err
        for future, what in ended.items():
            if what is not None:
                key = running.pop(future)
                out[key] = _record(by_key[key], *what)
                tell(_line(len(out), len(by_key), out[key]))
    return [out[key] for key in keys]


def _finished(client: Any, running: Mapping[Any, str]) -> set[Any]:
    """Tasks that ended within a moment; there may be none."""
    from distributed import wait

    try:
        with client.as_current():
            return set(wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return set()


def _ended(future: Any) -> tuple[BaseException | None, Fetched | None] | None:
    """Error or record of a task that ended; None where its worker died with the record, and it is done once more."""
    try:
        err: BaseException | None = future.exception(timeout=RECORD_S)
        return err, None if err is not None else future.result(timeout=RECORD_S)
    except TimeoutError:
        return None


def _record(lock: AoiLock, err: BaseException | None, found: Fetched | None) -> Fetched:
    from distributed.scheduler import KilledWorker

    if isinstance(err, KilledWorker):
        reason = (
            f"{lock.aoi}: given up: {err.allowed_failures + 1} workers died on it, the last at "
            f"{err.last_worker.address}; look whether they ran out of memory, and run again: what they read is in the "
            "store"
        )
        return Fetched(lock.aoi, None, {}, None, None, None, reason)
    if err is not None:
        raise err
    assert found is not None, lock.aoi  # noqa: S101 (a task that ended without an error has a record)
    return found


def _task_key(lock: AoiLock, recipe: Recipe, root: Path, expected: Here) -> str:
    """The task's name: the same AOI asked for twice, by one client or by two, is read once."""
    words = (lock.model_dump_json(), recipe.model_dump_json(), str(root), expected.code, str(expected.store))
    return f"chip-{hashlib.sha256(chr(0).join(words).encode()).hexdigest()}"
