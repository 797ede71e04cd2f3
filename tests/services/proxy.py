"""A CONNECT relay: whatever https host is asked for, the bytes go to one local server.

With a certificate of one's own authority on that server, production addresses reach it unchanged:
the client signs, resolves nothing, and checks the certificate against the authority it was given.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import trustme


@dataclass
class Relay:
    """Where the relay leads to, and who was asked for."""

    target: str
    """Address of the local https server."""
    hosts: list[str] = field(default_factory=list)
    """Hosts that clients named."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, host, _ = head.decode("latin-1").split(" ", 2)
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        self.hosts.append(host.rpartition(":")[0])
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
def relayed(target: str) -> Iterator[tuple[str, Relay]]:
    """A relay on a free port of 127.0.0.1; gives its address and what it saw."""
    relay = Relay(target)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(relay.serve, "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", relay
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


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
