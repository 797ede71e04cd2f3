"""Windows of cloud-optimised GeoTIFFs over HTTP: the only code that lets rasterio use the network.

GDAL remembers failures by URL for the life of the process, ignores Retry-After and takes a body
that broke off for a fault of the file. So a failed read is looked into with one small request of
our own, which says what the server answers now, and is then repeated past GDAL's memory.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Literal, Protocol
from urllib.parse import urlsplit

import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from harness.chips.reader import Header, Project, Request, window, window_transform
from harness.chips.warp import project as warp_project
from harness.errors import SourceError

THREADS: Final = 32
"""Windows read at once. Reads wait for the network: 16 threads took a quarter longer, 57 gained nothing."""

TUNED: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no search for sidecar files
    "GDAL_INGESTED_BYTES_AT_OPEN": 65536,  # the whole header of a COG in one request
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": 0,  # retries are ours: GDAL's ignore Retry-After
    "GDAL_PAM_ENABLED": "NO",
}
"""GDAL options of every read. Not CPL_VSIL_CURL_USE_HEAD=NO: it fetches whole files."""


class Signs(Protocol):
    """Turns unsigned addresses into ones that can be read now; harness.chips.signing.Signer is one."""

    def signed(self, href: str) -> str:
        """The signed address; the same one for as long as its token lives."""
        ...

    def renewed(self, href: str, refused: str) -> str:
        """An address with another token than the one that was refused."""
        ...


class Unsigned:
    """For stores that ask for no signature."""

    def signed(self, href: str) -> str:
        """The address as it is."""
        return href

    def renewed(self, href: str, refused: str) -> str:
        """Nothing to renew.

        Raises:
            SourceError: Always.
        """
        raise SourceError(f"{shown(href)}: refused (401 or 403), and no signature is configured for it")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a read is tried."""

    attempts: int = 5
    """Reads of one window before it is given up."""
    backoff_s: float = 0.5
    """Wait before the second attempt, doubled each time, where the server names no other."""
    longest_wait_s: float = 60.0
    """A longer Retry-After is not waited for; it is an error that says so."""
    connect_s: float = 10.0
    """For a connection."""
    timeout_s: float = 60.0
    """For one request, body included."""
    renewals: int = 2
    """Times that a refused token is asked for anew."""


@dataclass(frozen=True)
class NativeWindow:
    """Pixels as the file has them."""

    data: NDArray[np.generic]
    """Shape (bands, H, W), the file's type; H or W is 0 where the raster does not reach the place."""
    header: Header
    """Of the file."""
    transform: tuple[float, float, float, float, float, float]
    """Affine of the window's corner."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server says to one byte asked for."""

    kind: Literal["well", "refused", "gone", "busy", "page", "silent"]
    said: str
    retry_after_s: float | None = None


def shown(url: str) -> str:
    """An address without query, fragment and password: what may stand in a message, log or file."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path


class _NoQuery(logging.Filter):
    """Cuts query strings out of what GDAL logs: they hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_query(record.getMessage()), ()
        return True


def without_query(text: str) -> str:
    """A text with the query string of every address in it cut off."""
    return re.sub(r"\?(?!\[)[^\s'\"<>]+", "?...", text)


for _name in ("rasterio._env", "rasterio._err", "rasterio._base", "rasterio._io", "rasterio.session"):
    logging.getLogger(_name).addFilter(_NoQuery())


class CogReader:
    """Reads windows with a pool of threads. Close it, or use it as a context manager."""

    def __init__(
        self,
        signer: Signs | None = None,
        threads: int = THREADS,
        patience: Patience | None = None,
        project: Project = warp_project,
    ) -> None:
        self._signer, self._project = signer or Unsigned(), project
        self._patience = patience or Patience()
        # Kept from chip to chip: GDAL holds a connection a thread.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cog")

    def __enter__(self) -> CogReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read_all(
        self, requests: Iterable[Request], done: Callable[[Request, NativeWindow], None] | None = None
    ) -> dict[Request, NativeWindow]:
        """Read windows, many at once.

        Args:
            requests: What to read; the same one twice is read once.
            done: Called from a thread as each window comes, so that a killed run keeps what it has.

        Returns:
            Windows by request.

        Raises:
            SourceError: The first that could not be read; no further read starts after it.
        """
        stop = threading.Event()

        def job(request: Request) -> NativeWindow:
            found = self.read(request, stop)
            if done is not None:
                done(request, found)
            return found

        futures: dict[Request, Future[NativeWindow]] = {r: self._pool.submit(job, r) for r in dict.fromkeys(requests)}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            failed = next((f for f in futures.values() if f.done() and f.exception() is not None), None)
            if failed is not None:
                failed.result()
            return {request: future.result() for request, future in futures.items()}
        finally:
            stop.set()
            for future in futures.values():
                future.cancel()
            wait(futures.values())

    def read(self, request: Request, stop: threading.Event | None = None) -> NativeWindow:
        """Read one window, as often as patience allows.

        Raises:
            SourceError: Vanished, refused, busy for too long, silent, or not the raster that the lock
                describes; names the address without its query, and what to do.
        """
        patience, stop = self._patience, stop or threading.Event()
        where, renewed = shown(request.href), 0
        url = self._signer.signed(request.href)
        said = ""
        for attempt in range(1, patience.attempts + 1):
            found = _attempt(url, request, self._project, patience, past_memory=attempt > 1)
            if isinstance(found, NativeWindow):
                return found
            answer = _ask(url, patience)
            said = answer.said if answer.kind != "well" else f"{found}; the server itself answers"
            if answer.kind == "gone":
                raise SourceError(
                    f"{where}: {said}; the scene vanished or moved since it was locked: run `harness lock --check`"
                )
            if answer.kind == "refused":
                if renewed >= patience.renewals or attempt == patience.attempts:
                    break
                renewed += 1
                url = self._signer.renewed(request.href, url)
                continue
            pause = patience.backoff_s * 2 ** (attempt - 1)
            if answer.retry_after_s is not None:
                pause = answer.retry_after_s
                if pause > patience.longest_wait_s:
                    raise SourceError(f"{where}: {said} and asks to wait {pause:.0f} s; try again after that")
            if attempt < patience.attempts and stop.wait(min(pause, patience.longest_wait_s)):
                raise SourceError(f"{where}: given up, as another window could not be read")
        tail = f", with {renewed} new tokens" if renewed else ""
        raise SourceError(
            f"{where}: not read in {attempt} attempts{tail}: {said}; try again later, or check the address"
        )


def _attempt(url: str, request: Request, project: Project, patience: Patience, past_memory: bool) -> NativeWindow | str:
    """One read: the window, or GDAL's reason in words that hold no address."""
    options = {
        **TUNED,
        "GDAL_HTTP_CONNECTTIMEOUT": max(1, round(patience.connect_s)),
        "GDAL_HTTP_TIMEOUT": max(1, round(patience.timeout_s)),
    }
    if past_memory:
        # Costs a second HEAD, so only where GDAL may remember a failure. By host: a port breaks longer prefixes.
        options["CPL_VSIL_CURL_NON_CACHED"] = f"/vsicurl/{urlsplit(url).scheme}://{urlsplit(url).hostname}"
    local = not urlsplit(url).scheme
    try:
        with rasterio.Env(**options), rasterio.open(url if local else f"/vsicurl/{url}", driver="GTiff") as source:
            crs = source.crs
            header = Header(
                (crs.to_epsg() if crs else None) or 0,
                tuple(source.transform)[:6],
                source.height,
                source.width,
                source.count,
                source.dtypes[0],
                source.nodata,
            )
            _agrees(header, request)
            win = window(header, request, project)
            if not win.height_px:
                data = np.empty((header.count, 0, 0), header.dtype)
            else:
                data = source.read(window=rasterio.windows.Window(win.col, win.row, win.width_px, win.height_px))
    except (RasterioError, OSError) as err:
        reason = str(err.__cause__ or err)
        short = (
            reason.replace(url, "the file").replace("/vsicurl/", "").splitlines()[0] if reason else type(err).__name__
        )
        return re.sub(r"\S*\?\S*", "the file", without_query(short))[:160].rstrip(".; ")
    return NativeWindow(data, header, window_transform(header, win))


def _agrees(header: Header, request: Request) -> None:
    where = shown(request.href)
    a, b, _, d, e, _ = header.transform
    if not header.epsg or a <= 0 or e >= 0 or b or d:
        raise SourceError(f"{where}: no north-up raster with an EPSG code; it cannot be laid on a chip")
    if header.count != request.bands:
        raise SourceError(f"{where}: {header.count} bands, the lock says {request.bands}; lock again")
    if request.epsg is not None and request.epsg != header.epsg:
        raise SourceError(f"{where}: EPSG:{header.epsg}, the lock says EPSG:{request.epsg}; lock again")


def _ask(url: str, patience: Patience) -> _Answer:
    """Ask for one byte and say what came, so that the next step rests on the server's word, not on GDAL's."""
    question = urllib.request.Request(url, headers={"Range": "bytes=0-0"})  # noqa: S310 (schemes come from the lock)
    cafile = os.environ.get("GDAL_CURL_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=cafile) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(question, timeout=patience.timeout_s, context=context) as answer:  # noqa: S310
            kind = answer.headers.get("Content-Type", "")
            if "html" in kind:
                return _Answer("page", f"answers {answer.status} with a page of {kind.partition(';')[0]}, not a raster")
            return _Answer("well", f"answers {answer.status}")
    except urllib.error.HTTPError as err:
        said, wait_s = f"answers {err.code}", _retry_after(err.headers.get("Retry-After"))
        err.close()
        if err.code in (401, 403):
            return _Answer("refused", f"{said}: the token is not accepted")
        if err.code in (404, 410):
            return _Answer("gone", said)
        return _Answer("busy", said, wait_s)
    except (OSError, ValueError) as err:
        reason = getattr(err, "reason", err)
        return _Answer("silent", without_query(f"no answer ({getattr(reason, 'strerror', None) or reason})"))


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date; None where it says neither."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
