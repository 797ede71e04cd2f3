"""A loopback portal that speaks as much of Socrata's query language as the client asks, and can be told to fail."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shapely.geometry import box as rectangle
from shapely.geometry import shape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from harness.twin.services import BOX
from harness.twin.wire import serving

__all__ = ["Portal", "serving"]


@dataclass
class Portal:
    """The server's state: change it while it runs."""

    tables: dict[str, list[dict[str, Any]]]
    """Rows by dataset id; a row's `:id` is its place in the list where it has none."""
    moved: dict[str, str] = field(default_factory=dict)
    """Dataset ids that answer with a redirect to another."""
    faults: deque[str] = field(default_factory=deque)
    """What becomes of the next requests: `ok`, a status such as `503`, `429!` (with Retry-After: 0), `429=7` (with
    Retry-After: 7), `html`, `cut`, `slow`."""
    repeat_last: bool = False
    """Whether every page after the first begins with the row that ended the page before it."""
    lost: set[str] = field(default_factory=set)
    """Row ids that are counted and never sent."""
    shuffled: bool = False
    """Whether rows come in the reverse of the order asked for."""
    grows: bool = False
    """Whether each answer of rows adds a row to the table, as a live table may."""
    queries: list[Mapping[str, str]] = field(default_factory=list)
    """Questions seen."""
    came_s: list[float] = field(default_factory=list)
    """Monotonic clock at each of them."""

    async def answer(self, request: Request) -> Response:
        """Answer one question."""
        dataset = request.path_params["dataset"]
        query = dict(request.query_params)
        self.queries.append({"dataset": dataset, **query})
        self.came_s.append(time.monotonic())
        fault = self.faults.popleft() if self.faults else "ok"
        status, _, wait = fault.replace("!", "=0").partition("=")
        if status.isdigit():
            return Response(b"busy", int(status), {"Retry-After": wait} if wait else {})
        if fault == "slow":
            await asyncio.sleep(2)
        if fault == "html":
            return Response("<html><body>Sign in to continue.</body></html>", media_type="text/html")
        if dataset in self.moved:
            return RedirectResponse(f"/resource/{self.moved[dataset]}.json", 301)
        if dataset not in self.tables:
            return JSONResponse({"code": "dataset.missing", "error": True, "message": "Not found"}, 404)
        rows = self._rows(dataset, query)
        if query["$select"] == "count(*) as rows":
            return JSONResponse([{"rows": str(len(rows))}])
        columns = query["$select"].split(",")
        known = {":id", *(name for row in self.tables[dataset] for name in row)}
        if missing := [name for name in columns if rows and name not in known]:
            return JSONResponse({"code": "query.soql.no-such-column", "message": f"No such column: {missing[0]}"}, 400)
        first, most = int(query.get("$offset", 0)), int(query.get("$limit", 1000))
        begin = first - 1 if self.repeat_last and first else first
        page = [row for row in rows[begin : begin + most] if row[":id"] not in self.lost]
        if self.grows:
            self.tables[dataset].append(dict(self.tables[dataset][0]))
        body = [{name: row[name] for name in columns if row.get(name) is not None} for row in page]
        response = JSONResponse(body)
        if fault == "cut":
            response.body = response.body[: len(response.body) // 2]  # Content-Length still promises the whole
        return response

    def _rows(self, dataset: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        rows = [{":id": f"row-{i:06d}", **row} for i, row in enumerate(self.tables[dataset])]
        if match := BOX.fullmatch(query.get("$where", "")):
            north, west, south, east = map(float, match.groups())
            if north < south or east < west:
                return []  # the first corner is the north-west one; a portal finds nothing in a box turned over
            asked = rectangle(west, south, east, north)
            rows = [row for row in rows if asked.contains(shape(row["the_geom"]))]  # the strictest reading of within
        if query.get("$order") == ":id":
            rows.sort(key=lambda row: str(row[":id"]), reverse=self.shuffled)
        return rows

    def app(self) -> Starlette:
        """The portal as an ASGI application."""
        return Starlette(routes=[Route("/resource/{dataset}.json", self.answer)])
