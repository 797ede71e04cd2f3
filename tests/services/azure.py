"""Blob accounts, a token endpoint and a catalogue for a child process that uses production addresses unchanged.

The child's https goes through a CONNECT relay to one local store with a certificate for all
accounts; tokens and searches go to loopback over http. Nothing of the child's packages is replaced.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from harness.twin.services import ACCOUNTS, HOSTS
from tests.services.files import FileService
from tests.services.proxy import Relay, certificates, relayed
from tests.services.stac import StacService, served
from tests.services.tokens import SECRET, Tokens

__all__ = ["ACCOUNTS", "KEY", "Azure", "Kind", "Ran", "azure", "href", "leaks"]

KEY: Final = "subscription-k3y"
"""A subscription key, made up."""

Kind = Literal["search", "token", "file"]


def href(container: str, name: str = "") -> str:
    """Address of a file in a container, or of the container's root."""
    return f"https://{ACCOUNTS[container]}.blob.core.windows.net/{container}/{name}".rstrip("/")


@dataclass
class Bell:
    """Counts requests over all services, and kills a process at one of them."""

    rung: list[Kind] = field(default_factory=list)
    """Requests so far, in the order in which they came."""
    at: tuple[Kind, int] | None = None
    """Kind and place, from 1, of the request at which the process is killed."""
    late_s: float | None = None
    """Seconds after the answer; None kills before it."""
    victim: subprocess.Popen[bytes] | None = None
    """Who is killed."""
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        """Count from the beginning, and kill nobody."""
        self.rung.clear()
        self.at, self.victim = None, None

    def over(self, app: ASGIApp, kind: Kind) -> ASGIApp:
        """The application, with every request counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            with self._guard:
                self.rung.append(kind)
                now = self.at == (kind, Counter(self.rung)[kind])
            if now and self.late_s is None:
                self._kill()
            await app(scope, receive, send)
            if now and self.late_s is not None:
                await asyncio.sleep(self.late_s)
                self._kill()

        return counted

    def _kill(self) -> None:
        if self.victim is not None and self.victim.poll() is None:
            self.victim.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class Ran:
    """What a child did."""

    status: int
    """Exit status; negative for a signal."""
    said: dict[str, Any]
    """Its last line of output, where it is JSON; else empty."""
    wrote: dict[str, bytes]
    """Everything that it wrote: `stdout`, `stderr`, and every file of its folder by path."""

    def text(self, name: str) -> str:
        """One of them as text."""
        return self.wrote[name].decode("utf-8", "replace")


@dataclass
class Azure:
    """The services' state, and what a child needs to reach them."""

    files: FileService
    """Blobs at <container>/<name>; takes the tokens that were given out."""
    tokens: Tokens
    """The token endpoint."""
    catalogue: StacService
    """The STAC API."""
    relay: Relay
    """Where https goes through."""
    bell: Bell
    """Counts requests of all services."""
    environment: dict[str, str]
    """Of a child."""
    endpoint: str
    """Address of the token endpoint."""
    api: str
    """Address of the STAC API."""

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        at: tuple[Kind, int] | None = None,
        late_s: float | None = None,
        **changed: str,
    ) -> Ran:
        """Run a child to its end, or kill it at a request.

        Args:
            command: Arguments of the Python interpreter.
            folder: Where it works; everything in it counts as written by it.
            at: Kind and place, from 1, of the request at which it is killed.
            late_s: Seconds after the answer; None kills before it.
            changed: Variables of the environment beside the usual ones.
        """
        self.bell.clear()
        self.bell.at, self.bell.late_s = at, late_s
        with subprocess.Popen(  # noqa: S603 (our own interpreter and code)
            [sys.executable, *command],
            cwd=folder,
            env={**self.environment, "HOME": str(folder), **changed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            self.bell.victim = child
            out, err = child.communicate(timeout=120)
        wrote = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        last = out.decode().strip().rpartition("\n")[2]
        said = json.loads(last) if last.startswith("{") else {}
        return Ran(child.returncode, said, {**wrote, "stdout": out, "stderr": err})


def leaks(ran: Ran) -> list[str]:
    """Where a token, a part of a signature or the subscription key was written; empty where nowhere.

    Signatures made here hold `SECRET`; a signature's other parameters are looked for by name, plain
    and percent-encoded.
    """
    words = re.compile(
        rb"%s|%s|[?&\s'\"](?:sig|se|st|sp|sv|sr)(?:=|%%3D)" % (SECRET.encode(), KEY.encode()), re.IGNORECASE
    )
    out = []
    for name, raw in sorted(ran.wrote.items()):
        for match in words.finditer(raw):
            if SECRET.encode() in match[0] or KEY.encode() in match[0] or not name.endswith(".npy"):
                out.append(f"{name}: ...{raw[max(0, match.start() - 60) : match.end() + 40]!r}")
    return out


@contextmanager
def azure(blobs: Path, work: Path, root: Path) -> Iterator[Azure]:
    """Run all services on free ports of 127.0.0.1.

    Args:
        blobs: Holds <container>/<file>.
        work: For certificates.
        root: The checkout, so that a child finds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    certificate = certificates(work, *HOSTS)
    tokens, catalogue, bell = Tokens(), StacService([]), Bell()
    files = FileService(blobs, tokens=tokens.live)
    with (
        served(
            bell.over(files.app(), "file"),
            ssl_certfile=str(certificate.chain),
            ssl_keyfile=str(certificate.key),
        ) as target,
        served(bell.over(tokens.app(), "token")) as endpoint,
        served(bell.over(catalogue.app(), "search")) as api,
        relayed(target) as (proxy, relay),
    ):
        kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {
            "PYTHONPATH": str(root),
            "https_proxy": proxy,
            "no_proxy": "127.0.0.1",
            "PC_SDK_SAS_URL": f"{endpoint}/token",
            "PC_SDK_SUBSCRIPTION_KEY": KEY,
            "REQUESTS_CA_BUNDLE": str(certificate.authority),
            "GDAL_CURL_CA_BUNDLE": str(certificate.authority),
        }
        yield Azure(files, tokens, catalogue, relay, bell, environment, endpoint, api)
