"""A folder over HTTP with byte ranges on loopback, each answer after the same time: `python -m harness.bench.served`.

It does as little as a server can: it is the clock of what is read from it. In a process of its own, so
that no reader shares an interpreter with it.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from harness.errors import SourceError

QUERY = "st=2026-01-01T00%3A00%3A00Z&se=2026-01-02T00%3A00%3A00Z&sp=rl&sv=2025-07-05&sr=c&sig=bench"
"""Of the shape that a signed URL has."""


class Ranges(asyncio.Protocol):
    """One connection of the server: HEAD and GET of files, each answered after the same time."""

    def __init__(self, folder: Path, delay: float, log: list[tuple[str, str]], kept: dict[str, memoryview]) -> None:
        self._folder, self._delay, self._log, self._kept = folder, delay, log, kept
        self._came = b""

    def connection_made(self, transport: Any) -> None:
        """Nothing waits for more to send (asyncio sets TCP_NODELAY)."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Note each request, and answer it later."""
        self._came += data
        while b"\r\n\r\n" in self._came:
            head, _, self._came = self._came.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin1").split("\r\n")
            method, target, _ = first.split(" ")
            span = next((s.partition("=")[2] for s in lines if s.lower().startswith("range:")), None)
            name = target.partition("?")[0].lstrip("/")
            if name.startswith("-/"):
                self._send("GET", "200 OK", json.dumps(self._log).encode())
                self._log.clear()
                continue
            self._log.append((method, name))
            asyncio.get_running_loop().call_later(self._delay, self._answer, method, name, span)

    def _answer(self, method: str, name: str, span: str | None) -> None:
        path = self._folder / name
        if name not in self._kept:
            if not path.is_file():
                self._send(method, "404 Not Found", b"")
                return
            with path.open("rb") as file:
                self._kept[name] = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        whole = self._kept[name]
        if span is None:
            self._send(method, "200 OK", whole)
            return
        start, _, last = span.partition("-")
        stop = min(int(last or len(whole)) + 1, len(whole))
        place = f"Content-Range: bytes {start}-{stop - 1}/{len(whole)}\r\n"
        self._send(method, "206 Partial Content", whole[int(start) : stop], place)

    def _send(self, method: str, status: str, body: bytes | memoryview, more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: image/tiff\r\nAccept-Ranges: bytes\r\n{more}"
        head += f'ETag: "1"\r\nContent-Length: {len(body)}\r\n\r\n'
        self._transport.writelines([head.encode(), body if method == "GET" else b""])


async def serve(folder: Path, delay: float) -> None:
    """Serve a folder until stopped; prints the address once connections are taken."""
    log: list[tuple[str, str]] = []
    kept: dict[str, memoryview] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Ranges(folder, delay, log, kept), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


@contextmanager
def serving(folder: Path, delay: float) -> Iterator[str]:
    """Serve a folder from a child process.

    Args:
        folder: Holds the files.
        delay: Seconds before each answer.

    Yields:
        The address.

    Raises:
        SourceError: The child says no address.
    """
    command = [sys.executable, "-m", "harness.bench.served", str(folder), str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 (our own command)
        try:
            address = child.stdout.readline().strip() if child.stdout else ""
            if not address:
                raise SourceError("the bench's own file server did not start; is a port on 127.0.0.1 free?")
            yield address
        finally:
            child.terminate()


def asked(address: str) -> list[tuple[str, str]]:
    """Requests since the last look, as method and name."""
    with urlopen(f"{address}/-/log") as answer:  # noqa: S310 (loopback)
        return [(str(method), str(name)) for method, name in json.load(answer)]


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))
