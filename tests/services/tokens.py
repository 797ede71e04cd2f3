"""A token endpoint as planetary-computer asks it, and the store that holds its tokens to account."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

SECRET = "s3cr3t"  # noqa: S105
"""Stands in every signature made here, so that a leak of any of them can be searched for."""


@dataclass
class Tokens:
    """Tokens given out, and which of them the store still takes."""

    life_s: float = 2700.0
    """Seconds that a token states it lives; planetary-computer renews below 60."""
    faults: list[tuple[int, dict[str, str]] | str] = field(default_factory=list)
    """Taken one a request: (status, headers), `html`, `leak` (an answer that is no token but holds one), `hang`,
    `nothing` (an empty object)."""
    asked: list[str] = field(default_factory=list)
    """`account/container` of every request that came."""
    keys: list[str | None] = field(default_factory=list)
    """Subscription key of every request."""
    came_s: list[float] = field(default_factory=list)
    """Monotonic clock at every request."""
    given: dict[str, str] = field(default_factory=dict)
    """By signature: the `account/container` that it is for."""
    live: set[str] = field(default_factory=set)
    """Signatures that the store takes."""
    stubborn: bool = False
    """Whether the first token is given out again and again."""
    first: dict[str, str] = field(default_factory=dict)
    """The first answer."""

    def app(self) -> Starlette:
        """The endpoint; a GET of /control/expire makes the store refuse all tokens given out so far."""
        return Starlette(
            routes=[
                Route("/token/{account}/{container}", self._token),
                Route("/control/expire", self._expire),
            ]
        )

    async def _token(self, request: Request) -> Response:
        self.asked.append(f"{request.path_params['account']}/{request.path_params['container']}")
        self.came_s.append(time.monotonic())
        self.keys.append(request.headers.get("Ocp-Apim-Subscription-Key"))
        if self.faults:
            fault = self.faults.pop(0)
            if fault == "html":
                return PlainTextResponse("<html>maintenance</html>", media_type="text/html")
            if fault == "leak":
                return JSONResponse({"token": f"se=1&sig={SECRET}"})
            if fault == "nothing":
                return JSONResponse({})
            if fault == "hang":
                await asyncio.sleep(5)
            if isinstance(fault, tuple):
                return PlainTextResponse("no", status_code=fault[0], headers=fault[1])
        if self.stubborn and self.first:
            return JSONResponse(self.first)
        number = len(self.asked)
        end = datetime.now(UTC) + timedelta(seconds=self.life_s)
        signature = f"{SECRET}{number}"
        self.live.add(signature)
        self.given[signature] = self.asked[-1]
        stamp = end.strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"st": "2024-01-01T00:00:00Z", "se": stamp, "sp": "rl", "sv": "2024-05-04", "sr": "c", "sig": signature}
        answer = {"msft:expiry": stamp, "token": urlencode(query)}
        self.first = self.first or answer
        return JSONResponse(answer)

    async def _expire(self, request: Request) -> Response:
        self.live.clear()
        return PlainTextResponse("expired")


@dataclass
class Store:
    """Files of a blob store that wants a signature, by byte ranges."""

    folder: Path
    """Holds <container>/<file>."""
    tokens: Tokens
    """Whose signatures count."""
    served: list[tuple[str, int]] = field(default_factory=list)
    """Host and status of every request."""

    def app(self) -> Starlette:
        """The store."""
        return Starlette(routes=[Route("/{path:path}", self._file, methods=["GET", "HEAD"])])

    async def _file(self, request: Request) -> Response:
        host = request.headers.get("host", "")
        signature = parse_qs(request.url.query).get("sig", [""])[0]
        path = self.folder / request.path_params["path"]
        status = 200
        if signature not in self.tokens.live:
            status = 403
        elif not path.is_file():
            status = 404
        self.served.append((host, status))
        if status != 200:
            return PlainTextResponse("refused", status_code=status)
        return FileResponse(path)
