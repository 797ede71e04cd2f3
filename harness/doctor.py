"""What this machine has: versions, services that answer, settings, and what each gap would enable.

Standard library only (harness.models.wheels is too), so that it works where half of the rest is missing. No value of an
environment variable is ever shown: tokens, and proxy addresses that may hold a password.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, build_opener

from harness.models import wheels

DISTRIBUTION = "eo-adapter-harness"
"""Name of the installed package, as in pyproject.toml."""

OPTIONAL = {
    "torch": "running the adapters; not needed for the audit and the reports",
    "torchvision": "importing terratorch, which needs it",
    "terratorch": "building TerraMind and its decoders",
    "peft": "applying the adapters' LoRA weights",
    "rasterio": "reading imagery and label rasters",
    "pystac_client": "searching scenes at Planetary Computer",
    "planetary_computer": "signing Planetary Computer links",
    "huggingface_hub": "downloading the adapters' weights",
    "zeus": "joules of one call, read from hardware counters",
    "codecarbon": "kgCO2e of one call, modelled and not measured",
}
"""Packages that no command on the audit's path imports, and what each is for."""

VARIABLES = {
    "HF_TOKEN": "gated or private files on the Hub; the adapters are public",
    "PC_SDK_SUBSCRIPTION_KEY": "higher request limits at Planetary Computer; reading works without",
    "PC_SDK_SAS_URL": "another token endpoint for Planetary Computer",
    "HARNESS_SOCRATA": "another address than NYC Open Data for footprints and boroughs",
    "HF_HUB_OFFLINE": "files from the Hub come from the cache alone",
    "REQUESTS_CA_BUNDLE": "certificates of a proxy, for catalogue and tokens",
    "GDAL_CURL_CA_BUNDLE": "certificates of a proxy, for imagery",
    "HTTP_PROXY": "requests through a proxy",
    "HTTPS_PROXY": "requests through a proxy",
    "NO_PROXY": "hosts that the proxy is not asked for",
    "HF_ENDPOINT": "a mirror of the Hub",
    "MPLCONFIGDIR": "a writable folder for matplotlib where the home folder is none",
}
"""Environment variables that change what works, and how."""


@dataclass(frozen=True, slots=True)
class Service:
    """Something on the network that a live run would ask."""

    name: str
    """For people."""
    url: str
    """Address of one small answer, without credentials."""
    enables: str
    """What works only while it answers."""
    override: str | None = None
    """Environment variable whose address replaces scheme and host of `url`."""


SERVICES = (
    Service(
        "Hugging Face Hub",
        "https://huggingface.co/api/models/msradam/TerraMind-NYC-Adapters",
        "downloading the adapters' weights",
        "HF_ENDPOINT",
    ),
    Service(
        "Planetary Computer STAC",
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        "searching Sentinel-1, Sentinel-2, DEM and WorldCover scenes",
    ),
    Service(
        "Planetary Computer tokens",
        "https://planetarycomputer.microsoft.com/api/sas/v1/token/sentinel-2-l2a",
        "reading those scenes",
    ),
    Service(
        "NYC Open Data",
        "https://data.cityofnewyork.us/resource/5zhs-2jue.json?$limit=1",
        "reading building footprints, the labels of buildings_nyc",
    ),
)
"""What a live run asks. Footprints: Socrata id 5zhs-2jue, which replaced nqwf-w8eh."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package, installed or not."""

    name: str
    """As in the package index."""
    version: str | None
    """Installed version, None where it is not installed."""
    pinned: str | None
    """Version that this project pins, None where it pins none."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one service answered."""

    name: str
    """The service's name."""
    address: str
    """Scheme and host that were asked."""
    answers: bool
    """Whether it sent any HTTP status, an error status included."""
    detail: str
    """`HTTP 200`, or why nothing came back."""
    duration_s: float | None
    """Seconds to the answer, None where none came."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable, without its value."""

    name: str
    """Its name; proxies are found in small letters too."""
    state: str
    """`set` or `not set`; for HF_ENDPOINT also the scheme and host."""
    purpose: str
    """What it changes."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where reports go."""

    path: str
    """The folder, which may not exist yet."""
    writable: bool
    """Whether files can be made there."""
    free_gb: float
    """Free space on its disk, in 10^9 bytes."""


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is not there."""

    name: str
    """Package, service or folder."""
    enables: str
    """What it would enable."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that `harness doctor` found."""

    harness: str | None
    """Installed version of the harness, None in a checkout that is not installed."""
    python: str
    """Version of the interpreter."""
    platform: str
    """System, release and machine."""
    gpu: str
    """`NVIDIA` or `AMD` where its driver is there, `none found`, or `not looked for` outside Linux."""
    packages: tuple[Package, ...]
    """What the harness needs."""
    optional: tuple[Package, ...]
    """What later commands need."""
    services: tuple[Reach, ...]
    """In the order in which they were given."""
    environment: tuple[Setting, ...]
    """In the order of `VARIABLES`."""
    reports: Folder
    """Where reports go."""
    missing: tuple[Missing, ...]
    """What is not there, and what it would enable."""


def diagnose(timeout_s: float = 5.0, services: Sequence[Service] = SERVICES, reports: Path | None = None) -> Diagnosis:
    """Look at this machine.

    Args:
        timeout_s: Seconds that all services together have for their answers.
        services: What to ask, one small request each, in parallel.
        reports: Folder to test for writing; eval/reports of the current folder or the checkout by default.

    Returns:
        What was found. A service that fails is a finding and never an error.
    """
    packages = tuple(_required())
    pinned = _pinned_in_extras()
    optional = tuple(Package(name, _version(name), pinned.get(name)) for name in OPTIONAL)
    gpu = _gpu()
    reached = _ask_all(services, timeout_s)
    folder = _folder(reports or _default_reports())
    missing = [Missing(p.name, "every command") for p in packages if p.version is None]
    missing += [Missing(p.name, OPTIONAL[p.name]) for p in optional if p.version is None]
    torch = next(p.version for p in optional if p.name == "torch")
    if gpu == "NVIDIA" and torch is not None and torch.endswith("+cpu"):
        missing.append(Missing("CUDA build of torch", f"using the NVIDIA GPU; torch {torch} is the CPU build"))
    missing += [Missing(s.name, s.enables) for s, r in zip(services, reached, strict=True) if not r.answers]
    if not folder.writable:
        missing.append(Missing(folder.path, "writing reports"))
    return Diagnosis(
        harness=_version(DISTRIBUTION),
        python=platform.python_version(),
        platform=platform.platform(),
        gpu=gpu,
        packages=packages,
        optional=optional,
        services=reached,
        environment=tuple(_setting(name, purpose) for name, purpose in VARIABLES.items()),
        reports=folder,
        missing=tuple(missing),
    )


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis as plain values for JSON, with a schema version."""
    return {"schema": 1, **asdict(diagnosis)}


def render(diagnosis: Diagnosis) -> str:
    """The diagnosis as aligned lines of text."""
    d = diagnosis
    own = d.harness or "not installed; run: python -m pip install -e ."
    reports = f"{'writable' if d.reports.writable else 'not writable'}, {d.reports.free_gb:.1f} GB free"
    sections: list[tuple[str, list[tuple[str, ...]]]] = [
        ("This machine", [("harness", own), ("python", d.python), ("platform", d.platform), ("gpu", d.gpu)]),
        ("Packages", [(p.name, _package_text(p)) for p in d.packages]),
        ("Optional packages", [(p.name, _package_text(p)) for p in d.optional]),
        ("Services", [(r.name, r.address, _reach_text(r)) for r in d.services]),
        ("Environment, values never shown", [(s.name, s.state) for s in d.environment]),
        ("Reports", [(d.reports.path, reports)]),
        ("Missing, and what each would enable", [(m.name, m.enables) for m in d.missing]),
    ]
    text = "\n\n".join("\n".join([title, *_aligned(rows)]) for title, rows in sections if rows)
    ready = d.reports.writable and all(p.version for p in d.packages)
    return text + ("\n\nThe audit and the reports need none of what is missing." if ready and d.missing else "")


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _package_text(package: Package) -> str:
    if package.version is None:
        return "not installed"
    # 2.13.0+cpu is a build of 2.13.0
    differs = package.pinned is not None and package.pinned not in (package.version, package.version.partition("+")[0])
    return package.version + (f" (this project pins {package.pinned})" if differs else "")


def _reach_text(reach: Reach) -> str:
    return f"answers ({reach.detail})" if reach.answers else f"not reachable: {reach.detail}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _required() -> Iterator[Package]:
    """What the harness' own metadata asks for, extras left out."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in requirements:
        if ";" not in requirement:
            name, _, pinned = requirement.partition("==")
            yield Package(name, _version(name), pinned or None)


def _pinned_in_extras() -> dict[str, str]:
    """Versions that the metadata's extras pin, by the names of `OPTIONAL`."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found = (re.match(r"([\w.-]+)==([^;\s]+)\s*;\s*extra\b", requirement) for requirement in requirements)
    return {m[1].replace("-", "_").lower(): m[2] for m in found if m}


def _gpu() -> str:
    if platform.system() != "Linux":
        return "not looked for"
    return {"nvidia": "NVIDIA", "amd": "AMD"}.get(wheels.gpu() or "", "none found")


def _setting(name: str, purpose: str) -> Setting:
    names = (name, name.lower()) if name.endswith("_PROXY") else (name,)
    value = next((os.environ[n] for n in names if os.environ.get(n)), None)
    if value is None:
        return Setting(name, "not set", purpose)
    if name != "HF_ENDPOINT":
        return Setting(name, "set", purpose)
    address = _without_credentials(value)
    return Setting(name, f"set ({_origin(address)})" if address else "set, but not an http address", purpose)


def _default_reports() -> Path:
    """eval/reports of the current folder or of this checkout, whichever holds claims first."""
    roots = (Path.cwd(), Path(__file__).resolve().parents[1])
    root = next((r for r in roots if (r / "eval" / "claims").is_dir()), roots[0])
    return root / "eval" / "reports"


def _folder(path: Path) -> Folder:
    there = next(p for p in (path, *path.resolve().parents) if p.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Folder(str(path), writable, round(shutil.disk_usage(there).free / 1e9, 1))


def _without_credentials(url: str) -> str | None:
    """The address without user, password and fragment; None where it is not http or https."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _address(service: Service) -> str | None:
    """Where to ask; None where the override is not an http address."""
    other = os.environ.get(service.override or "")
    if not other:
        return service.url
    base = _without_credentials(other)
    if base is None:
        return None
    there, asked = urlsplit(base), urlsplit(service.url)
    return urlunsplit((there.scheme, there.netloc, there.path.rstrip("/") + asked.path, asked.query, ""))


def _ask_all(services: Sequence[Service], timeout_s: float) -> tuple[Reach, ...]:
    """Ask in daemon threads: name resolution knows no time-out, so the join has to have one."""
    start = time.monotonic()
    found: dict[int, Reach] = {}

    def ask(number: int, service: Service, url: str) -> None:
        answers, detail = _ask(url, timeout_s)
        took = round(time.monotonic() - start, 2) if answers else None
        found[number] = Reach(service.name, _origin(url), answers, detail, took)

    threads = []
    for number, service in enumerate(services):
        url = _address(service)
        if url is None:
            found[number] = Reach(service.name, "-", False, f"{service.override} is not an http address", None)
            continue
        late = Reach(service.name, _origin(url), False, f"no answer within {timeout_s:g} s", None)
        threads.append((number, late, threading.Thread(target=ask, args=(number, service, url), daemon=True)))
    for *_, thread in threads:
        thread.start()
    for number, late, thread in threads:
        thread.join(max(0.0, start + timeout_s - time.monotonic()))
        found.setdefault(number, late)
    return tuple(found[number] for number in range(len(services)))


def _ask(url: str, timeout_s: float) -> tuple[bool, str]:
    """One request through the proxies that are set; whether an HTTP status came, and which."""
    request = Request(url, headers={"User-Agent": f"{DISTRIBUTION} doctor"})  # noqa: S310 (http or https: _address)
    try:
        with build_opener().open(request, timeout=timeout_s) as answer:
            return True, f"HTTP {answer.status}"
    except HTTPError as err:
        with err:
            proxy = err.code == 407
            return not proxy, "the proxy asks for a login (HTTP 407)" if proxy else f"HTTP {err.code}"
    except TimeoutError:
        return False, f"no answer within {timeout_s:g} s"
    except (OSError, HTTPException, ValueError) as err:
        return False, _reason(err, timeout_s)


def _reason(err: BaseException, timeout_s: float) -> str:
    """Why nothing came back, from the kind of error and its number.

    Never from its message: http.client puts a malformed proxy address into it, password included.
    """
    if isinstance(err, URLError) and isinstance(err.reason, BaseException):
        err = err.reason
    if isinstance(err, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"certificate not accepted ({err.verify_message})"
    if isinstance(err, socket.gaierror):
        return "host name not found"
    if isinstance(err, OSError):
        # Fixed wording of http.client's CONNECT; only the status is taken.
        if tunnel := re.match(r"Tunnel connection failed: (\d{3})\b", str(err)):
            return f"the proxy refuses (HTTP {tunnel[1]})"
        if err.errno and not isinstance(err, ssl.SSLError):
            return os.strerror(err.errno).lower()
    return type(err).__name__
