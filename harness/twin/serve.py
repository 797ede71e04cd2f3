"""The twin's services, running for the length of a command: real clients of a child process reach nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS
from harness.claims.families import Family
from harness.errors import SourceError, WeightsError
from harness.twin.catalogue import items
from harness.twin.city import make_city
from harness.twin.footprints import borough_rows, rows
from harness.twin.imagery import write_imagery
from harness.twin.services import HOSTS, Services, href
from harness.twin.wire import certificates, relayed, serving

ITEMS: Final = "items.json"
"""Beside the containers: STAC items with addresses as Planetary Computer's."""

TABLES: Final = "tables.json"
"""Beside them: rows by dataset."""

OLD_S: Final = 86_400.0
"""Age from which a city drawn by other modules is removed: each takes 410 MB."""

HALF: Final = "half-"
"""Start of a folder that is being made."""

WORK, HELD = "work-", ".held"
"""Start of a folder that goes with its process, and the file in it that the process holds locked."""


@dataclass(frozen=True)
class Served:
    """What runs, how a child process reaches it, and what was asked."""

    address: str
    """Of the catalogue, for `--address`."""
    environment: dict[str, str]
    """Variables to lay over a child's own: services, proxy, authority, and caches that go with the services."""
    counts: Counter[str]
    """Requests by kind: landing, search, token, file, table, hub; `... refused` those answered with an error."""
    hosts: list[str]
    """Storage accounts that were reached through the relay, one a connection."""
    outside: list[str]
    """Other hosts that were asked for through the relay and refused."""


@contextmanager
def served(
    folder: Path, city_seed: int, weights: Path | None, family: Family | None, step: Callable[[str], None]
) -> Iterator[Served]:
    """Run all services on free ports of 127.0.0.1, in threads that die with this process.

    Args:
        folder: Keeps cities, so that the next command starts at once.
        city_seed: Which city.
        weights: A family's files in folder form; None for a Hub that holds nothing.
        family: Whose pins name the repositories they are served from.
        step: Told what is being done.

    Raises:
        SourceError: The city cannot be written, or a server does not start.
        WeightsError: A file that the family pins is not among the weights.
    """
    repositories = {} if weights is None or family is None else repositories_of(family, weights)
    city = city_folder(folder, city_seed, step)
    sent, tables = (json.loads((city / name).read_text(encoding="utf-8")) for name in (ITEMS, TABLES))
    services = Services(city, sent, tables, repositories)
    with _workplace(folder) as work:
        files = certificates(work, *HOSTS)
        with (
            serving(services.open_app()) as base,
            serving(services.store_app(), ssl_certfile=str(files.chain), ssl_keyfile=str(files.key)) as store,
            relayed(store, HOSTS) as (proxy, relay),
        ):
            variables = _environment(base, proxy, files.authority, work)
            yield Served(f"{base}/stac", variables, services.counts, relay.hosts, relay.refused)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder that goes with this process; one that a killed process left is removed by the next to come.

    Raises:
        SourceError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for left in folder.glob(f"{WORK}*"):
                with suppress(Timeout), FileLock(left / HELD, timeout=0):  # whose process is gone, the lock is free
                    shutil.rmtree(left, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=WORK, dir=folder))
            held = FileLock(work / HELD)
            try:
                held.acquire()
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
    except OSError as err:
        raise SourceError(f"{folder}: no room for the twin's work ({err}); free space or name another cache") from err
    try:
        yield work
    finally:
        held.release()
        shutil.rmtree(work, ignore_errors=True)


def city_folder(folder: Path, seed: int, step: Callable[[str], None]) -> Path:
    """The files of a city as these modules draw it, made if they are not there: whole or not at all.

    Raises:
        SourceError: They cannot be written.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    ready = folder / f"seed-{seed}-{version}"
    if ready.is_dir():
        return ready
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for left in folder.glob(f"{HALF}*"):  # of a command that was killed: whoever makes one holds the lock
                shutil.rmtree(left)
            if not ready.is_dir():
                step(f"drawing the twin's city of seed {seed}, 410 MB; about a minute, once")
                _make(seed, Path(tempfile.mkdtemp(prefix=HALF, dir=folder)), ready)
            for old in folder.glob(f"seed-{seed}-*"):  # drawn by other modules, and not by a command of today
                if old != ready and time.time() - old.stat().st_mtime > OLD_S:
                    shutil.rmtree(old)
    except OSError as err:
        raise SourceError(f"{folder}: the twin's city cannot be written ({err}); free space or name another") from err
    return ready


def _make(seed: int, half: Path, ready: Path) -> None:
    try:
        city = make_city(seed)
        records = write_imagery(city, half)
        address = {r.path: href(*r.path.relative_to(half).as_posix().split("/", 1)) for r in records}
        held = {
            ITEMS: items(records, address.__getitem__),
            TABLES: {FOOTPRINTS: rows(city), BOROUGHS: borough_rows(city)},
        }
        for name, content in held.items():
            (half / name).write_text(json.dumps(content), encoding="utf-8")
        half.replace(ready)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def repositories_of(family: Family, weights: Path) -> dict[tuple[str, str], dict[str, Path]]:
    """Files by repository and revision, as a family pins them: single files, and the adapters' folders.

    Raises:
        WeightsError: A file or folder is not there.
    """
    out: dict[tuple[str, str], dict[str, Path]] = {}
    for pin in family.pins:
        names = [pin.file] if pin.file else [adapter.folder for adapter in family.adapters]
        files = out.setdefault((pin.repository, pin.revision), {})
        for at in (weights / name for name in names):
            found = [at] if at.is_file() else sorted(path for path in at.rglob("*") if path.is_file())
            if not found:
                raise WeightsError(f"{at}: not there, and family {family.id} pins it; name a folder that holds it")
            files.update({path.relative_to(weights).as_posix(): path for path in found})
    return out


def _environment(base: str, proxy: str, authority: Path, work: Path) -> dict[str, str]:
    """For a child: every client's services on loopback, all else through the relay, which refuses it."""
    out = {
        "HARNESS_SOCRATA": base,
        "HF_ENDPOINT": base,
        "HF_HUB_OFFLINE": "0",
        "PC_SDK_SAS_URL": f"{base}/token",
        "REQUESTS_CA_BUNDLE": str(authority),
        "GDAL_CURL_CA_BUNDLE": str(authority),
        "HF_HOME": str(work / "hub"),
        "HARNESS_CACHE": str(work / "cache"),
    }
    ways = {"http_proxy": proxy, "https_proxy": proxy, "all_proxy": proxy, "no_proxy": "127.0.0.1,localhost"}
    for name, value in ways.items():
        out |= {name: value, name.upper(): value}
    return out
