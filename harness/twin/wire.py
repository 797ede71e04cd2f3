"""Servers for the length of a block, in threads of this process: an application on loopback, a relay, certificates."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trustme
import uvicorn

from harness.errors import SourceError

START_S: Final = 20.0
"""Seconds in which a server must answer."""

REFUSED: Final = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True)
class Certificates:
    """Files of a throw-away authority."""

    authority: Path
    """What a client must trust."""
    chain: Path
    """Server's certificate."""
    key: Path
    """Server's key."""


def certificates(folder: Path, *hosts: str) -> Certificates:
    """An authority and a server certificate for some hosts, as files."""
    authority = trustme.CA()
    server = authority.issue_cert(*hosts)
    out = Certificates(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(out.authority))
    server.private_key_pem.write_to_path(str(out.key))
    for number, part in enumerate(server.cert_chain_pems):
        part.write_to_path(str(out.chain), append=number > 0)
    return out


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """An ASGI application on a free port of 127.0.0.1, with uvicorn's options; gives its address.

    Raises:
        SourceError: It does not start.
    """
    options = {"log_level": "critical", "lifespan": "off", "http": "httptools", "loop": "asyncio", **options}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            ends = time.monotonic() + START_S
            while not server.started:
                if time.monotonic() > ends or not thread.is_alive():
                    raise SourceError(f"a local server did not start on {listener.getsockname()}; try again")
                time.sleep(0.005)
            yield f"http{'s' if 'ssl_certfile' in options else ''}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(timeout=10)


@dataclass
class Relay:
    """A proxy for https: whatever host is asked for, the bytes go to one local server.

    With a certificate of one's own authority on that server, production addresses reach it unchanged:
    the client signs, resolves nothing, and checks the certificate against the authority it was given.
    """

    target: str
    """Address of the local https server."""
    allowed: Collection[str] | None = None
    """Hosts that it stands for; None for all."""
    hosts: list[str] = field(default_factory=list)
    """Hosts that clients named and reached."""
    refused: list[str] = field(default_factory=list)
    """Hosts that clients named and did not reach, and addresses asked for without encryption."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it goes away or the relay ends."""
        with suppress(asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, asked, *_ = [*head.decode("latin-1").split(" ", 2), ""]
        host = asked.rpartition(":")[0] if method == "CONNECT" else asked
        if method != "CONNECT" or (self.allowed is not None and host not in self.allowed):
            self.refused.append(host)
            writer.write(REFUSED)
            return
        self.hosts.append(host)
        there = urlsplit(self.target)
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.CancelledError):
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    with suppress(ConnectionError):
        writer.close()


@contextmanager
def relayed(target: str, allowed: Collection[str] | None = None) -> Iterator[tuple[str, Relay]]:
    """A relay on a free port of 127.0.0.1; gives its address and what it saw."""
    relay, loop = Relay(target, allowed), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(relay.serve, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        await asyncio.sleep(0.05)  # a client accepted just now is heard first, or nobody would close its socket
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # a turn of the loop in which their sockets close

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", relay
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
