"""Processes of dask.distributed that do the same as this one: on this machine, or of a running scheduler."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import SourceError

CONNECT_S: Final = 5.0
"""Seconds in which a scheduler must answer."""

WORKERS_S: Final = 60.0
"""Seconds without a single worker after which nobody waits any longer; a killed one is back in about five."""

SAME_EVERYWHERE: Final = ("python", "dask", "distributed", "cloudpickle", "msgpack", "toolz", "tornado")
"""What client, scheduler and workers speak with, Python without its last figure; mixed, they fail in odd ways."""

SAME_ON_WORKERS: Final = ("numpy", "pydantic", "pyproj", "rasterio")
"""What makes a chip's pixels or its record."""


@dataclass(frozen=True, slots=True)
class Here:
    """What must be the same on the client and on a worker."""

    code: str
    """Hash of the source that makes a chip."""
    store: str | None
    """What the store's file `id` holds; None where there is no such store."""


def here(root: Path) -> Here:
    """What this process has; a worker is asked."""
    try:
        return Here(code(), (root / "id").read_text(encoding="ascii"))
    except FileNotFoundError:
        return Here(code(), None)


@functools.lru_cache(maxsize=1)
def code() -> str:
    """Hash of the source that makes a chip, as it was when this process first asked."""
    digest, folder = hashlib.sha256(), Path(__file__).parent
    for name in sources(folder):
        digest.update(f"{name}\0".encode() + (folder / name).read_bytes() + b"\0")
    return digest.hexdigest()


def sources(folder: Path) -> list[str]:
    """Files of this room that many.py imports, directly or through others, and itself."""
    found, ahead = set[str](), ["many.py"]
    while ahead:
        name = ahead.pop()
        found.add(name)
        for node in ast.walk(ast.parse((folder / name).read_bytes())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness.chips."):
                ahead.append("/".join(str(node.module).split(".")[2:]) + ".py")
        ahead = [other for other in ahead if other not in found]
    return sorted(found)


def made_id(root: Path) -> str:
    """The store's own name, so that a worker with another folder under the same path is found out."""
    file, temporary = root / "id", root / f".id.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        if not file.exists():
            root.mkdir(parents=True, exist_ok=True)
            temporary.write_text(secrets.token_hex(16), encoding="ascii")
            with contextlib.suppress(FileExistsError):  # another client was first
                os.link(temporary, file)
            temporary.unlink()
        return file.read_text(encoding="ascii")
    except OSError as err:
        raise SourceError(f"{file}: cannot be written ({err.strerror}); put the store elsewhere") from err


def stranger(where: str, found: Here, expected: Here, root: Path) -> str | None:
    """What a worker has that differs, in words."""
    if found.code != expected.code:
        return (
            f"{where} runs another harness (code {found.code[:12]}, here {expected.code[:12]}): install the same "
            "version there and start the worker again"
        )
    if found.store != expected.store:
        seen = "no store" if found.store is None else "another store"
        return f"{where} has {seen} at {root}: give a folder that all workers share under one path"
    return None


@contextlib.contextmanager
def local(workers: int) -> Iterator[Any]:
    """Workers of one thread each on this machine; the reader has threads of its own."""
    from distributed import Client, LocalCluster

    if workers < 1:
        raise ValueError(f"{workers} workers; one at least")
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            # Without a dashboard dask still opens a port for its health page, 8787 unless told.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def remote(address: str, root: Path, expected: Here) -> Iterator[Any]:
    """A client of a running scheduler, once all its workers are found to be ours."""
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    try:
        with warnings.catch_warnings():  # we look ourselves, and refuse
            warnings.simplefilter("ignore", VersionMismatchWarning)
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as err:
        raise SourceError(
            f"{address}: no dask scheduler answers within {CONNECT_S:g} s; start one (`dask scheduler`), check the "
            "address, or say `local`"
        ) from err
    with client:
        try:
            _agree(client, address, root, expected)
        except OSError as err:
            raise gone(address) from err
        yield client


def _agree(client: Any, address: str, root: Path, expected: Here) -> None:
    """Refuse a scheduler or a worker that would not do the same as this process.

    Raises:
        SourceError: It would not; or there is no worker.
    """

    def asked() -> Here:  # inside a function, so that it is sent whole and a worker without us can answer
        from harness.chips.cluster import here

        return here(root)

    same(address, client.get_versions(packages=SAME_ON_WORKERS))
    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as err:
        raise _deserted(address) from err
    same(address, client.get_versions(packages=SAME_ON_WORKERS))
    for where, answer in client.run(asked, on_error="return").items():
        if not isinstance(answer, Here):
            raise SourceError(f"worker {where} cannot load the harness ({answer}): install it there, with `live`")
        if (other := stranger(f"worker {where}", answer, expected, root)) is not None:
            raise SourceError(other)


def same(address: str, versions: Mapping[str, Any]) -> None:
    """Compare packages as dask's `get_versions` gives them.

    Raises:
        SourceError: Names process, package and both versions.
    """
    processes = [("scheduler", address, versions["scheduler"])]
    processes += [("worker", where, found) for where, found in versions["workers"].items()]
    for kind, where, found in processes:
        names = SAME_EVERYWHERE if kind == "scheduler" else (*SAME_EVERYWHERE, *SAME_ON_WORKERS)
        pairs = [(name, _release(found, name), _release(versions["client"], name)) for name in names]
        if differ := [f"{name} {theirs}, here {ours}" for name, theirs, ours in pairs if theirs != ours]:
            raise SourceError(f"{kind} {where}: {'; '.join(differ)}: install the same versions on both")


def _release(found: Mapping[str, Any], name: str) -> str:
    version = found["packages"].get(name) or "missing"
    return ".".join(version.split(".")[:2]) if name == "python" else version


def gone(address: str) -> SourceError:
    """What to raise when a scheduler stops answering."""
    return SourceError(f"{address}: the scheduler went away; what was read is in the store: start it and run again")


def _deserted(address: str) -> SourceError:
    return SourceError(
        f"{address}: the scheduler has had no worker for {WORKERS_S:g} s; start some (`dask worker {address}`) and run "
        "again; what was read is in the store"
    )


class Workers:
    """The workers that a client's scheduler has."""

    def __init__(self, client: Any) -> None:
        self._client, self._last_seen = client, time.monotonic()
        self.address = str(client.scheduler.address)

    def threads(self) -> int:
        """Threads of all of them, 0 while they are away for a moment.

        Raises:
            SourceError: They have been away for too long.
        """
        threads = int(sum(self._client.nthreads().values()))
        if threads:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > WORKERS_S:
            raise _deserted(self.address)
        return threads
