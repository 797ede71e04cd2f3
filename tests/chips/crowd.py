"""Many small AOIs on a loopback server that can kill who asks it, and dask processes started by hand.

As a program it is a client that can be killed: `python -m tests.chips.crowd LOCK STORE SCHEDULER`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from distributed import Client
from starlette.requests import Request

from harness.chips.lock import read_lock, write_lock
from harness.chips.many import fetch_many
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.scenes import AoiLock, Lock
from tests.chips.cogs import Country, Ramp
from tests.services.files import FileService

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

WINDOWS = 15
"""A made-up AOI's: one date of Sentinel-2, one of Sentinel-1, a DEM."""


def recipe() -> Recipe:
    return read_recipes(ROOT / "eval" / "recipes")["published-rerun"]


def write_aois(folder: Path, base: str, count: int) -> list[AoiLock]:
    """One place under many names: every AOI has addresses of its own, the files behind them are linked."""
    made = Country(folder / "one", f"{base}/one", side_m=3600)
    height = Ramp(made.epsg, *made.centre, base=50, per_m=(0.01, 0.02))
    first = made.lock(
        S2L2A=[[made.optical("S")]],
        S1RTC=[[made.radar("R")]],
        DEM=[[made.geographic("dem", "DEM", -74.02, 0.08, height)]],
    )
    out = []
    for number in range(count):
        name = f"a{number:02d}"
        (folder / name).mkdir()
        for file in (folder / "one").iterdir():
            os.link(file, folder / name / file.name)
        text = first.model_dump_json().replace(f"{base}/one/", f"{base}/{name}/")
        out.append(AoiLock.model_validate_json(text).model_copy(update={"aoi": name}))
    return out


@dataclass
class Ambush(FileService):
    """A server that strikes when a certain file is asked for, after the store holds others of its AOI."""

    deadly: str | None = None
    """The file."""
    store: Path | None = None
    """Looked at."""
    wait_for: int = 10
    """Windows of the AOI that are stored before the blow."""
    strike: Callable[[int], None] = lambda pid: None
    """Takes the process that asks; does nothing in time if it does not want to."""
    holds: dict[str, str] = field(default_factory=dict)
    """By file: the AOI of which the store must hold a window before the file is served."""
    outlives: bool = False
    """Whether the process that asks lives on after the blow."""
    struck: list[int] = field(default_factory=list)
    """Processes struck."""
    stored_then: set[str] = field(default_factory=set)
    """Paths whose windows were in the store just after the last blow."""
    seen_then: int = 0
    """Requests seen by then."""

    async def answer(self, request: Request) -> Any:
        """Strike, hold back, or serve."""
        name = request.path_params["name"]
        while name in self.holds and not self.of_aoi(self.holds[name]):
            await _moment()
        if name == self.deadly and self.store is not None and request.client is not None:
            pid = asker(request.client.host, request.client.port)
            start = time.monotonic()
            while self.of_aoi(name.partition("/")[0]) < self.wait_for and time.monotonic() - start < 20:
                await _moment()
            self.strike(pid)
            self.struck.append(pid)
            while not self.outlives and alive(pid):
                await _moment()
            self.stored_then, self.seen_then = stored(self.store), len(self.seen)
        return await super().answer(request)

    def of_aoi(self, aoi: str) -> int:
        """Windows of an AOI that the store holds."""
        assert self.store is not None
        return sum(1 for path in stored(self.store) if path.startswith(f"/{aoi}/"))

    def read_twice(self) -> set[str]:
        """Paths asked for after the last blow though the store held them."""
        return {s.path for s in self.seen[self.seen_then :]} & self.stored_then


async def _moment() -> None:
    await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must happen."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < 60
        time.sleep(0.05)


def asker(host: str, port: int) -> int:
    """The process at the other end of a loopback connection."""
    for one in psutil.net_connections("tcp"):
        if one.laddr and (one.laddr.ip, one.laddr.port) == (host, port) and one.pid is not None:
            return int(one.pid)
    raise AssertionError(f"nobody at {host}:{port}")


def owner(address: str) -> int:
    """The process that listens at a loopback address."""
    port = int(address.rpartition(":")[2])
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid is not None:
            return int(one.pid)
    raise AssertionError(f"nobody listens at {address}")


def workers(address: str) -> int:
    """Workers that a scheduler has."""
    with Client(address, timeout=10, set_as_default=False) as client:
        return len(client.nthreads())


def stored(store: Path) -> set[str]:
    """Paths of the addresses whose windows a store holds."""
    out = set()
    for file in (store / "index").glob("*/[!.]*.json"):
        href = json.loads(file.read_bytes())["request"]["href"]
        out.add("/" + href.split("/", 3)[3])
    return out


def listening(pid: int) -> set[str]:
    """Addresses on which a process and its children listen."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}


@contextlib.contextmanager
def dask_process(*words: str, before: Sequence[Path] = (), log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dask scheduler` or `dask worker`, with folders before the checkout on its path; killed at the end."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, before), str(ROOT)])}
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter)
            [sys.executable, "-m", "dask", *words], stdout=out, stderr=out, env=env, cwd=log.parent
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(20)


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """Address of a scheduler of its own."""
    file = folder / "scheduler.json"
    words = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
    with dask_process("scheduler", *words, "--scheduler-file", str(file), log=folder / "scheduler.log"):
        start = time.monotonic()
        while True:
            assert time.monotonic() - start < 60, (folder / "scheduler.log").read_text()
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                address = str(json.loads(file.read_bytes())["address"])
                break
            time.sleep(0.05)
        yield address


@contextlib.contextmanager
def worker(address: str, folder: Path, *before: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of one thread, without a nanny: killed, it stays dead."""
    words = (
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
        "--dashboard-address",
        "127.0.0.1:0",
    )
    with dask_process("worker", address, *words, before=before, log=folder / "worker.log") as process:
        yield process


def write_locks(path: Path, locks: Sequence[AoiLock]) -> Path:
    write_lock(path, Lock(created="2026-01-01T00:00:00Z", aois=list(locks)))
    return path


def main() -> None:
    """Fetch a lock's AOIs."""
    lock, store, where = sys.argv[1:]
    fetch_many(read_lock(Path(lock)).aois, recipe(), Path(store), scheduler=where, workers=2, tell=print)


if __name__ == "__main__":
    main()
