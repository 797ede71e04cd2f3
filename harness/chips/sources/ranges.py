"""Bytes of files over HTTP: one request a range, connections kept, the size told by the first answer.

GDAL's own client asks for the size first (HEAD), and each of its threads costs some milliseconds of
set-up: both are most of a chip's time. Proxies and certificates come from the environment.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from base64 import b64encode
from typing import Final
from urllib.parse import unquote_to_bytes

from requests.utils import get_environ_proxies, select_proxy
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, Timeout
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import parse_url

HEADER_BYTES: Final = 65536
"""Asked for first: more than the directory of any COG that we read."""

PIECE_BYTES: Final = 2**20
"""Read at most at once from an answer; after each the clock is looked at."""

REDIRECTS: Final = 3
"""Followed, one after the other."""

SPAN: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
"""Content-Range of an answer."""


class NoBytesError(OSError):
    """A range did not come; says why in words that hold no address."""


class Client:
    """urllib3's pools, one for each proxy and one without. Safe for many threads."""

    def __init__(self, connect_s: float, timeout_s: float, connections: int = 64) -> None:
        """Nothing is opened yet.

        Args:
            connect_s: For a connection.
            timeout_s: For one request, body included.
            connections: Kept for each host.
        """
        self._timeout = Timeout(connect=min(connect_s, timeout_s), read=timeout_s)
        self._timeout_s, self._connections = timeout_s, connections
        self._pools: dict[str | None, PoolManager] = {}
        self._proxies: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def get(self, url: str, start: int, stop: int) -> tuple[bytes, int, str | None]:
        """Bytes from `start` to before `stop`, fewer at the file's end; the file's size and ETag.

        Raises:
            NoBytesError: No answer in time, another answer than a range, or one that broke off.
        """
        ends = time.monotonic() + self._timeout_s
        answer = None
        try:
            answer = self._pool(url).request(
                "GET",
                url,
                headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
                # Retries are the reader's. One is left for a connection that the server closed in the meantime.
                retries=Retry(total=REDIRECTS + 1, connect=0, read=1, redirect=REDIRECTS, status=0, other=0),
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
            return _range(answer, start, stop, ends)
        except MaxRetryError as err:
            raise NoBytesError(f"no answer ({type(err.reason).__name__})") from None  # its words hold the address
        except HTTPError as err:
            raise NoBytesError(f"no answer ({type(err).__name__})") from None
        finally:
            if answer is not None:
                answer.release_conn()

    def close(self) -> None:
        """Close every connection; no request may be under way."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def _pool(self, url: str) -> PoolManager:
        parts = parse_url(url)
        host = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if host not in self._proxies:
                self._proxies[host] = select_proxy(url, get_environ_proxies(url))
            proxy = self._proxies[host]
            if proxy not in self._pools:
                self._pools[proxy] = self._made(proxy)
            return self._pools[proxy]

    def _made(self, proxy: str | None) -> PoolManager:
        cafile = os.environ.get("GDAL_CURL_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        context = ssl.create_default_context(cafile=cafile)
        if proxy is None:
            return PoolManager(maxsize=self._connections, ssl_context=context)
        parts = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = None
        if parts.auth:  # as a URL has it: "@" in a password is "%40"
            headers = {"proxy-authorization": f"Basic {b64encode(unquote_to_bytes(parts.auth)).decode()}"}
        bare = parts._replace(auth=None).url
        return ProxyManager(bare, maxsize=self._connections, ssl_context=context, proxy_headers=headers)


def _range(answer: BaseHTTPResponse, start: int, stop: int, ends: float) -> tuple[bytes, int, str | None]:
    """The body of an answer that is the range which was asked for."""
    found = SPAN.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status != 206 or found is None or int(found[1]) != start or not start <= int(found[2]) < stop:
        answer.close()
        raise NoBytesError(f"answers {answer.status} where a range was asked for")
    pieces, came, length = [], 0, int(found[2]) - start + 1
    while piece := answer.read1(min(PIECE_BYTES, length + 1 - came)):
        pieces.append(piece)
        came += len(piece)
        if came > length:
            answer.close()
            raise NoBytesError(f"more than the {length} bytes of the range came")
        if time.monotonic() > ends:
            answer.close()
            raise NoBytesError("no answer in time")
    if came != length:
        answer.close()
        raise NoBytesError(f"{came} bytes came of {length}")
    return b"".join(pieces), int(found[3]), answer.headers.get("ETag")


class RangeFile:
    """One file, of which the first bytes are fetched at once and others as they are asked for.

    The first answer tells its `size_bytes` and, where the server states one, its `etag`.
    """

    def __init__(self, client: Client, url: str) -> None:
        """Fetch the first bytes.

        Raises:
            NoBytesError: They did not come.
        """
        self._client, self._url = client, url
        self._first, self.size_bytes, self.etag = client.get(url, 0, HEADER_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes.

        Raises:
            NoBytesError: They did not come, there are none such in the file, or it is another one by now.
        """
        if min(offset, length) < 0:
            raise NoBytesError(f"no place in a file: {length} bytes from {offset}")
        if offset + length <= len(self._first):
            return self._first[offset : offset + length]
        if offset + length > self.size_bytes:
            raise NoBytesError(f"the file ends after {self.size_bytes} bytes, {offset + length} are needed")
        body, size, etag = self._client.get(self._url, offset, offset + length)
        if (size, etag) != (self.size_bytes, self.etag):
            raise NoBytesError("the file changed while it was read")
        if len(body) != length:
            raise NoBytesError(f"a range of {len(body)} bytes came where {length} were asked for")
        return body
