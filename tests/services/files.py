"""A loopback range server of files that can be told to fail: the store of a catalogue, made small.

As a program it serves a folder until it is stopped and prints its address first:
`python -m tests.services.files FOLDER --delay 0.04`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from harness.twin.wire import serving

HTML = b"<html><body>Please sign in to continue.</body></html>"
"""What a portal answers with status 200 where a file was asked for."""


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    status: int | None = None
    """Answer with this status and no file."""
    retry_after_s: int | None = None
    """Value of Retry-After."""
    html: bool = False
    """Answer 200 with a page of HTML."""
    keep: float | None = None
    """Promise the whole body, send this share of it and drop the connection."""
    slow_s: float = 0.0
    """Wait before answering."""


FINE = Fault()
"""A request that is served, as a place in a list of faults."""


@dataclass(frozen=True)
class Seen:
    """One request, noted when its answer starts."""

    method: str
    """GET or HEAD."""
    path: str
    """Path, without the query."""
    token: str | None
    """Value of `sig`."""
    span: str | None
    """The Range header."""
    status: int
    """Status of the answer; 200 for a file, whole or in part."""
    at_s: float
    """Monotonic clock at which the request came."""


@dataclass
class FileService:
    """The server's state: change it while it runs."""

    folder: Path
    """What is served."""
    delay_s: float = 0.0
    """Added to every request."""
    tokens: set[str] | None = None
    """Accepted values of `sig`; None accepts every request."""
    lifetimes: dict[str, int] = field(default_factory=dict)
    """By token: requests after which it has expired."""
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    """By file name: what becomes of the next requests, one each. A HEAD counts as a request."""
    always: dict[str, Fault] = field(default_factory=dict)
    """By file name: what becomes of every request once `faults` is used up."""
    seen: list[Seen] = field(default_factory=list)
    """Requests in the order of their answers."""
    base: str = ""
    """Address, once it runs."""

    def url(self, name: str) -> str:
        """Address of a file, without a token."""
        return f"{self.base}/{name}"

    def requests(self, name: str | None = None) -> list[Seen]:
        """Requests seen, of one file or of all."""
        return [s for s in self.seen if name is None or s.path == f"/{name}"]

    def _next(self, name: str) -> Fault:
        queue = self.faults.get(name)
        return queue.popleft() if queue else self.always.get(name, FINE)

    async def answer(self, request: Request) -> Response | CutResponse:
        """Serve one file, or fail as told."""
        came = time.monotonic()
        name = request.path_params["name"]
        fault = self._next(name)
        await asyncio.sleep(self.delay_s + fault.slow_s)
        token = parse_qs(request.url.query).get("sig", [None])[0]
        if token in self.lifetimes and self.tokens is not None:
            self.lifetimes[token] -= 1
            if self.lifetimes[token] < 0:
                self.tokens.discard(token)
        path = self.folder / name
        response: Response | CutResponse
        if self.tokens is not None and token not in self.tokens:
            response = Response("signature not valid in the specified time frame", 403)
        elif fault.status is not None:
            headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            response = Response(b"", fault.status, headers)
        elif fault.html:
            response = Response(HTML, 200, media_type="text/html")
        elif not path.is_file():
            response = Response("no such blob", 404)
        elif fault.keep is not None:
            response = CutResponse(path, fault.keep)
        else:
            response = FileResponse(path)
        status = response.status_code
        self.seen.append(Seen(request.method, request.url.path, token, request.headers.get("range"), status, came))
        return response

    def app(self) -> Starlette:
        """The service as an ASGI application; /-/log tells a program what was asked."""

        async def log(_: Request) -> Response:
            return JSONResponse([[s.method, s.path, s.span, s.status] for s in self.seen])

        async def clear(_: Request) -> Response:
            self.seen.clear()
            return Response(b"")

        return Starlette(
            routes=[Route("/-/log", log), Route("/-/clear", clear), Route("/{name:path}", self.answer)],
        )


class CutResponse:
    """A file whose connection breaks off in mid-body."""

    def __init__(self, path: Path, keep: float) -> None:
        self._whole, self._keep = FileResponse(path), keep
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send headers for the whole, then a part, then break off."""

        async def cut(message: Message) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                body = message["body"]
                await send({**message, "body": body[: int(len(body) * self._keep)], "more_body": True})
                raise ConnectionAbortedError("cut on purpose")
            await send(message)

        with contextlib.suppress(ConnectionAbortedError):
            await self._whole(scope, receive, cut)


@contextlib.contextmanager
def running(service: FileService) -> Iterator[FileService]:
    """Run the service on a free port of 127.0.0.1 in a thread."""
    with serving(service.app()) as service.base:
        yield service


def main() -> None:
    """Serve a folder from a process of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds added to every request")
    words = parser.parse_args()
    service = FileService(words.folder, words.delay)
    with running(service), contextlib.suppress(KeyboardInterrupt):
        print(service.base, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
