"""Windows of cloud-optimised GeoTIFFs over HTTP, two requests each: the header and the blocks.

Many threads wait for the network and few decode: GDAL is handed bytes, never an address, so nothing
of it remembers a failure, and the set-up that it needs in each of its threads is paid a few times
and not 57. A failed read is looked into with one small request, which says what the server answers
now, and is then repeated.
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
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import numpy as np
import rasterio
import rasterio.windows
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from harness.chips.reader import Header, Project, Request, Window, window, window_transform
from harness.chips.sources.ranges import Client, NoBytesError, RangeFile
from harness.chips.sources.tiff import Directory, NoTiffError, directory
from harness.chips.warp import project as warp_project
from harness.errors import SourceError

THREADS: Final = 64
"""Windows read at once. They wait for the network: with 57 windows in one wave nothing waits twice."""

DECODERS: Final = min(max(os.cpu_count() or 1, 2), 8)
"""Threads in which GDAL works. Each costs it some milliseconds once, so no more than there are cores."""

LOCAL: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no search for sidecar files
    "GDAL_PAM_ENABLED": "NO",
}
"""GDAL options of every read."""

KNOWN_HEADERS: Final = 1024
"""Headers kept by what the directory says: the bands and dates of a tile differ little in it."""


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
    """Cuts query strings out of what is logged: they hold tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_query(record.getMessage()), ()
        return True


def without_query(text: str) -> str:
    """A text with the query string of every address in it cut off."""
    return re.sub(r"\?(?!\[)[^\s'\"<>]+", "?...", text)


_TALKATIVE = (
    *("rasterio._env", "rasterio._err", "rasterio._base", "rasterio._io", "rasterio.session"),
    *("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry"),
)
for _name in _TALKATIVE:
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
        self._client = Client(self._patience.connect_s, self._patience.timeout_s, threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cog")
        self._runs = ThreadPoolExecutor(threads, thread_name_prefix="cog-run")
        self._headers = _Headers()
        self._decoders = ThreadPoolExecutor(min(threads, DECODERS), thread_name_prefix="cog-gdal", initializer=_decodes)

    def __enter__(self) -> CogReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let threads and connections go."""
        for pool in (self._pool, self._runs, self._decoders):
            pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

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
        causes: list[BaseException] = []

        def job(request: Request) -> NativeWindow:
            if stop.is_set():  # a thread takes the next job before those that wait are cancelled
                raise SourceError(f"{shown(request.href)}: given up, as another window could not be read")
            try:
                found = self.read(request, stop)
                if done is not None:
                    done(request, found)
            except BaseException as err:
                causes.append(err)
                stop.set()
                raise
            return found

        futures: dict[Request, Future[NativeWindow]] = {r: self._pool.submit(job, r) for r in dict.fromkeys(requests)}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            if causes:  # the first; those that gave up because of it come later
                raise causes[0]
            return {request: future.result() for request, future in futures.items()}
        finally:
            stop.set()
            for future in futures.values():
                future.cancel()
            wait(futures.values())

    def read(self, request: Request, stop: threading.Event | None = None) -> NativeWindow:
        """Read one window, as often as patience allows.

        Raises:
            SourceError: Vanished, changed since it was locked, refused, busy for too long, silent, or not
                the raster that the lock describes; names the address without its query, and what to do.
        """
        patience, stop = self._patience, stop or threading.Event()
        where, renewed = shown(request.href), 0
        url = self._signer.signed(request.href)
        said = ""
        for attempt in range(1, patience.attempts + 1):
            found = self._attempt(url, request)
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

    def _attempt(self, url: str, request: Request) -> NativeWindow | str:
        """One read: the window, or the reason why not in words that hold no address."""
        try:
            if not urlsplit(url).scheme:
                return self._decoders.submit(_local, url, request, self._project).result()
            file = RangeFile(self._client, url)
            _as_locked(file.size_bytes, file.etag, request)
            found = directory(file.read)
            header, win = self._decoders.submit(self._plan, found, request).result()
            if not win.height_px:
                data = np.empty((header.count, 0, 0), header.dtype)
            else:
                blocks = found.blocks(win)
                fetched = self._fetched(file, found.runs(blocks))
                data = self._decoders.submit(_decoded, found.small(blocks, fetched), header, win).result()
        except (RasterioError, NoBytesError, NoTiffError, OSError) as err:
            return _reason(err, url)
        return NativeWindow(data, header, window_transform(header, win))

    def _plan(self, found: Directory, request: Request) -> tuple[Header, Window]:
        header = self._headers.of(found)
        _agrees(header, request)
        return header, window(header, request, self._project)

    def _fetched(self, file: RangeFile, runs: list[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Bytes by run; several runs at the same time."""
        others = {run: self._runs.submit(file.read, *run) for run in runs[1:]}
        try:
            first = {run: file.read(*run) for run in runs[:1]}
            return first | {run: future.result() for run, future in others.items()}
        finally:
            for future in others.values():
                future.cancel()
            wait(others.values())


def _local(path: str, request: Request, project: Project) -> NativeWindow:
    with rasterio.open(path, driver="GTiff") as source:
        _as_locked(Path(path).stat().st_size, None, request)
        header = _header(source)
        _agrees(header, request)
        win = window(header, request, project)
        return NativeWindow(_pixels(source, header, win), header, window_transform(header, win))


def _decoded(file: bytes, header: Header, win: Window) -> NDArray[np.generic]:
    """Pixels of a window out of a small file that holds its blocks."""
    with MemoryFile(file, ext=".tif") as memory, memory.open(driver="GTiff") as source:
        return _pixels(source, header, win)


def _pixels(source: Any, header: Header, win: Window) -> NDArray[np.generic]:
    if not win.height_px:
        return np.empty((header.count, 0, 0), header.dtype)
    data: NDArray[np.generic] = source.read(
        window=rasterio.windows.Window(win.col, win.row, win.width_px, win.height_px)
    )
    return data


def _header(source: Any) -> Header:
    crs = source.crs
    return Header(
        (crs.to_epsg() if crs else None) or 0,
        tuple(source.transform)[:6],
        source.height,
        source.width,
        source.count,
        source.dtypes[0],
        source.nodata,
    )


def _decodes() -> None:
    """Set up a thread for GDAL; the options last as long as it."""
    rasterio.Env(**LOCAL).__enter__()


class _Headers:
    """What GDAL makes of a directory; asked once for all that look the same."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], Header] = OrderedDict()

    def of(self, found: Directory) -> Header:
        """The header of a file with this directory."""
        header = self._known.get(found.look)
        if header is None:
            with MemoryFile(found.small(), ext=".tif") as memory, memory.open(driver="GTiff") as source:
                header = self._known[found.look] = _header(source)
            while len(self._known) > KNOWN_HEADERS:
                self._known.popitem(last=False)
        return header


def _reason(err: BaseException, url: str) -> str:
    """What went wrong, in words that hold no address."""
    text = str(err.__cause__ or err)
    if not text:
        return type(err).__name__
    short = without_query(text.replace(url, "the file").splitlines()[0])
    short = re.sub(r"/vsimem/\S+\.tif", "the file", short)
    return re.sub(r"\S*\?\S*", "the file", short)[:160].rstrip(".; ")


def _as_locked(size_bytes: int, etag: str | None, request: Request) -> None:
    """What the lock states of a file and the file's answer too; what either leaves out is not compared."""
    changes = []
    if request.size_bytes is not None and size_bytes != request.size_bytes:
        changes.append(f"size {size_bytes} bytes, {request.size_bytes} in the lock")
    if request.etag is not None and etag is not None and _strong(etag) != _strong(request.etag):
        changes.append(f"ETag {etag[:80]}, {request.etag[:80]} in the lock")
    if changes:
        raise SourceError(
            f"{shown(request.href)}: the file changed since it was locked ({'; '.join(changes)}): "
            "run `harness lock --check`, then `--renew`"
        )


def _strong(etag: str) -> str:
    """An ETag without the mark of a weak one: proxies that compress on the way set it."""
    return etag.removeprefix("W/")


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
