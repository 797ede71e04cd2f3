"""A small STAC API over items in memory: filters, sorts and pages as a live one, or misbehaves on request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shapely.geometry import box, shape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from harness.twin.services import CONFORMS
from harness.twin.wire import serving

__all__ = ["CONFORMS", "StacService", "served"]

served = serving


@dataclass
class StacService:
    """What the API holds, how it behaves, and what it was asked."""

    items: list[dict[str, Any]]
    """In the order in which a sloppy server would send them."""
    page: int = 100
    """Items a page."""
    sorts: bool = True
    """Whether sortby is obeyed."""
    filters: bool = True
    """Whether query is obeyed."""
    repeats: int = 0
    """Items of each page that the next page sends again."""
    endless: bool = False
    """Whether the last page points to the first, for a hundred pages: long enough, and it ends."""
    conforms: Sequence[str] = CONFORMS
    """What is advertised."""
    faults: list[tuple[int, dict[str, str]] | str] = field(default_factory=list)
    """Taken one a search, before any answer: (status, headers), `ok`, `html`, `cut`, `broken` (the connection ends in
    mid-body), `slow`."""
    landing: list[tuple[int, dict[str, str]] | str] = field(default_factory=list)
    """The same, taken one a question for the landing page."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the searches that came."""
    came_s: list[float] = field(default_factory=list)
    """Monotonic clock at each of them."""

    def app(self) -> Starlette:
        """The API."""
        return Starlette(
            routes=[Route("/", self._landing), Route("/search", self._search, methods=["POST"])],
        )

    async def _failed(self, faults: list[tuple[int, dict[str, str]] | str]) -> Response | None:
        """The next fault as an answer; None where the request is served."""
        fault = faults.pop(0) if faults else "ok"
        if fault == "html":
            return HTMLResponse("<html><body>We are down for maintenance</body></html>")
        if fault == "cut":
            return Response('{"type": "FeatureCollection", "features": [', media_type="application/geo+json")
        if fault == "broken":
            response = Response('{"type": "FeatureCollection", "features": [' + " " * 900)
            response.body = response.body[:100]  # Content-Length still promises the whole
            return response
        if fault == "slow":
            await asyncio.sleep(3)
        if isinstance(fault, tuple):
            return Response("no", status_code=fault[0], headers=fault[1])
        return None

    async def _landing(self, request: Request) -> Response:
        if (failed := await self._failed(self.landing)) is not None:
            return failed
        root = str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "type": "Catalog",
                "id": "local",
                "description": "items in memory",
                "stac_version": "1.0.0",
                "conformsTo": list(self.conforms),
                "links": [
                    {"rel": "root", "href": root, "type": "application/json"},
                    {"rel": "self", "href": root, "type": "application/json"},
                    {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "POST"},
                ],
            }
        )

    async def _search(self, request: Request) -> Response:
        asked = await request.json()
        self.asked.append(asked)
        self.came_s.append(time.monotonic())
        if (failed := await self._failed(self.faults)) is not None:
            return failed
        found = [item for item in self.items if self._fits(item, asked)]
        if self.sorts and asked.get("sortby"):
            found.sort(key=lambda item: str(item["properties"]["datetime"]))
        begin = int(asked.get("token", 0))
        end = begin + self.page
        links = []
        if end < len(found) or (self.endless and len(self.asked) < 100):
            token = max(0, end - self.repeats) if end < len(found) else 0
            href = f"{str(request.base_url).rstrip('/')}/search"
            links = [{"rel": "next", "href": href, "method": "POST", "body": {"token": token}, "merge": True}]
        return JSONResponse({"type": "FeatureCollection", "features": found[begin:end], "links": links})

    def _fits(self, item: dict[str, Any], asked: dict[str, Any]) -> bool:
        if item["collection"] not in asked.get("collections", [item["collection"]]):
            return False
        if "ids" in asked:
            return item["id"] in asked["ids"]
        if "bbox" in asked and not box(*asked["bbox"]).intersects(shape(item["geometry"])):
            return False
        if "datetime" in asked:
            start, end = (datetime.fromisoformat(part) for part in asked["datetime"].split("/"))
            props = item["properties"]
            if not start <= datetime.fromisoformat(props["datetime"] or props["start_datetime"]) <= end:
                return False
        if self.filters:
            for name, rule in asked.get("query", {}).items():
                value = item["properties"].get(name)
                if value is None or value > rule["lte"]:
                    return False
        return True
