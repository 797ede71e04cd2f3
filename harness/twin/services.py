"""What the live sources answer, over the twin's files and tables: catalogue, tokens, store, portal, Hub."""

from __future__ import annotations

import hashlib
import hmac
import operator
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import shapely
from shapely.geometry import shape
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

ACCOUNTS: Final = {
    "sentinel2-l2": "sentinel2l2a01",
    "sentinel1-grd-rtc": "sentinel1euwestrtc",
    "copernicus-dem": "elevationeuwest",
    "esa-worldcover": "ai4edataeuwest",
}
"""Storage account by container, as Planetary Computer's items name them."""

HOSTS: Final = tuple(f"{account}.blob.core.windows.net" for account in ACCOUNTS.values())
"""Hosts of the accounts."""

CONFORMS: Final = tuple(
    f"https://api.stacspec.org/v1.0.0/{part}"
    for part in ("core", "collections", "ogcapi-features", "item-search", "item-search#query", "item-search#sort")
)

ASKED: Final = {"collections", "ids", "bbox", "datetime", "query", "sortby", "limit", "token"}
"""What a search may say; anything else is refused and not passed over."""

COMPARED: Final = {"lte": operator.le, "lt": operator.lt, "gte": operator.ge, "gt": operator.gt, "eq": operator.eq}

PAGE: Final = 5
"""Items a page at most, so that every client has to turn pages."""

LIFE_S: Final = 90.0
"""Seconds that a token lives. planetary-computer renews one below 60, so that a run of a minute asks again."""

BOX: Final = re.compile(r"within_box\(the_geom, (-?[\d.]+), (-?[\d.]+), (-?[\d.]+), (-?[\d.]+)\)")
"""North, west, south, east, as Socrata's within_box takes them."""

LARGE: Final = (".pt", ".safetensors")
"""Files that the Hub keeps outside git and names by their sha256."""

Answer = Callable[[Request], Awaitable[Response]]


def href(container: str, name: str) -> str:
    """Address of a file in a container."""
    return f"https://{ACCOUNTS[container]}.blob.core.windows.net/{container}/{name}"


@dataclass
class Services:
    """All of them. Requests are counted by what they ask, and again as `... refused` where the answer is no."""

    folder: Path
    """Holds <container>/<file>."""
    items: list[dict[str, Any]]
    """STAC items."""
    tables: Mapping[str, list[dict[str, Any]]]
    """Rows with `:id` and `the_geom`, by dataset."""
    repositories: Mapping[tuple[str, str], Mapping[str, Path]]
    """Files by repository and revision; the first revision of a repository is its `main`."""
    life_s: float = LIFE_S
    """Of a token."""
    counts: Counter[str] = field(default_factory=Counter)
    """By kind: landing, search, token, file, table, hub."""
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def __post_init__(self) -> None:
        self._trees = {n: shapely.STRtree([shape(row["the_geom"]) for row in rows]) for n, rows in self.tables.items()}
        self._hashes: dict[Path, tuple[str, str]] = {}

    def open_app(self) -> Starlette:
        """Everything that needs no signature."""
        hub = "/api/models/{owner}/{name}"
        return Starlette(
            routes=[
                Route("/stac", self._counted("landing", self._landing)),
                Route("/stac/search", self._counted("search", self._search), methods=["POST"]),
                Route("/token/{account}/{container}", self._counted("token", self._token)),
                Route("/resource/{dataset}.json", self._counted("table", self._table)),
                Route(hub, self._counted("hub", self._repository)),
                Route(hub + "/revision/{revision}", self._counted("hub", self._repository)),
                Route(hub + "/tree/{revision}", self._counted("hub", self._tree)),
                Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._counted("hub", self._weights)),
            ]
        )

    def store_app(self) -> Starlette:
        """The blob store."""
        return Starlette(routes=[Route("/{container}/{path:path}", self._counted("file", self._file))])

    def _counted(self, kind: str, answer: Answer) -> Answer:
        async def counted(request: Request) -> Response:
            self.counts[kind] += 1
            response = await answer(request)
            if response.status_code >= 400:
                self.counts[f"{kind} refused"] += 1
            return response

        return counted

    async def _landing(self, request: Request) -> Response:
        root = str(request.url).rstrip("/")
        links = [{"rel": rel, "href": root, "type": "application/json"} for rel in ("root", "self")]
        search = {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "POST"}
        about = {"type": "Catalog", "id": "twin", "description": "a simulated city", "stac_version": "1.0.0"}
        return JSONResponse({**about, "conformsTo": CONFORMS, "links": [*links, search]})

    async def _search(self, request: Request) -> Response:
        asked = await request.json()
        try:
            if unknown := asked.keys() - ASKED:
                raise ValueError(f"not served: {', '.join(sorted(unknown))}")
            found = [item for item in self.items if _fits(item, asked)]
            for rule in reversed(asked.get("sortby", [])):
                name = rule["field"].removeprefix("properties.")
                found.sort(key=lambda item: str(item["properties"][name]), reverse=rule["direction"] == "desc")
            begin = int(asked.get("token", 0))
            end = begin + min(PAGE, int(asked.get("limit", PAGE)))
        except (KeyError, TypeError, ValueError) as err:
            return JSONResponse({"code": "BadRequest", "description": str(err)}, 400)
        links = []
        if end < len(found):
            turn = {"rel": "next", "href": str(request.url), "method": "POST", "merge": True}
            links = [{**turn, "body": {"token": str(end)}}]
        return JSONResponse({"type": "FeatureCollection", "features": found[begin:end], "links": links})

    async def _token(self, request: Request) -> Response:
        container = request.path_params["container"]
        if ACCOUNTS.get(container) != request.path_params["account"]:
            return PlainTextResponse("no such container", 404)
        end = (datetime.now(UTC) + timedelta(seconds=self.life_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"se": end, "sp": "rl", "sv": "2024-05-04", "sr": "c", "sig": self._signature(container, end)}
        return JSONResponse({"msft:expiry": end, "token": urlencode(query)})

    def _signature(self, container: str, end: str) -> str:
        return hmac.new(self._secret, f"{container} {end}".encode(), hashlib.sha256).hexdigest()

    async def _file(self, request: Request) -> Response:
        container, query = request.path_params["container"], request.query_params
        end = query.get("se", "")
        good = hmac.compare_digest(query.get("sig", "").encode(), self._signature(container, end).encode())
        if not good or datetime.fromisoformat(end) <= datetime.now(UTC):
            return PlainTextResponse("signature not valid in the specified time frame", 403)
        path = (self.folder / container / request.path_params["path"]).resolve()
        foreign = request.url.hostname != f"{ACCOUNTS.get(container)}.blob.core.windows.net"
        if foreign or not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            return PlainTextResponse("no such blob", 404)
        return FileResponse(path)

    async def _table(self, request: Request) -> Response:
        dataset, query = request.path_params["dataset"], request.query_params
        if dataset not in self.tables:
            return JSONResponse({"code": "dataset.missing", "message": "Not found"}, 404)
        rows, box = self.tables[dataset], BOX.fullmatch(query.get("$where", ""))
        if ("$where" in query and not box) or query.get("$order", ":id") != ":id":
            return JSONResponse({"code": "query.soql", "message": f"not served: {query}"}, 400)
        if box:
            north, west, south, east = map(float, box.groups())
            asked = shapely.box(west, south, east, north) if west < east and south < north else shapely.Polygon()
            rows = [rows[number] for number in self._trees[dataset].query(asked, predicate="contains").tolist()]
        if query.get("$select") == "count(*) as rows":
            return JSONResponse([{"rows": str(len(rows))}])
        columns = query.get("$select", ":id").split(",")
        if missing := set(columns).difference(*self.tables[dataset]):
            return JSONResponse({"code": "query.soql.no-such-column", "message": f"No such column: {missing}"}, 400)
        first, most = int(query.get("$offset", 0)), int(query.get("$limit", 1000))
        page = sorted(rows, key=lambda row: str(row[":id"]))[first : first + most]
        return JSONResponse([{name: row[name] for name in columns if row.get(name) is not None} for row in page])

    def _held(self, request: Request) -> tuple[str, Mapping[str, Path]] | None:
        """Revision and files of a repository; None where there is none."""
        words = request.path_params
        name, asked = f"{words['owner']}/{words['name']}", words.get("revision", "main")
        for (repository, revision), files in self.repositories.items():
            if repository == name and asked in ("main", revision):
                return revision, files
        return None

    async def _repository(self, request: Request) -> Response:
        if (held := self._held(request)) is None:
            return _missing("RepoNotFound")
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        return JSONResponse({"id": name, "sha": held[0], "siblings": [{"rfilename": path} for path in held[1]]})

    async def _tree(self, request: Request) -> Response:
        if (held := self._held(request)) is None:
            return _missing("RevisionNotFound")
        entries = []
        for name, path in held[1].items():
            (blob, sha256), size = self._hashed(path), path.stat().st_size
            entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": blob}
            if path.suffix in LARGE:
                entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 130}
            entries.append(entry)
        return JSONResponse(entries)

    async def _weights(self, request: Request) -> Response:
        held = self._held(request)
        if held is None or (path := held[1].get(request.path_params["path"])) is None:
            return _missing("RevisionNotFound" if held is None else "EntryNotFound")
        tag = self._hashed(path)[path.suffix in LARGE]
        return FileResponse(path, headers={"X-Repo-Commit": held[0], "ETag": f'"{tag}"'})

    def _hashed(self, path: Path) -> tuple[str, str]:
        """Git's name of a file, and its sha256."""
        if path not in self._hashes:
            raw = path.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
            self._hashes[path] = blob, hashlib.sha256(raw).hexdigest()
        return self._hashes[path]


def _fits(item: dict[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a search asks for an item."""
    props = item["properties"]
    if item["collection"] not in asked.get("collections", [item["collection"]]):
        return False
    if item["id"] not in asked.get("ids", [item["id"]]):
        return False
    if "bbox" in asked and not shapely.box(*asked["bbox"]).intersects(shape(item["geometry"])):
        return False
    if "datetime" in asked:
        start, end = map(datetime.fromisoformat, asked["datetime"].split("/"))
        if not start <= datetime.fromisoformat(props["datetime"] or props["start_datetime"]) <= end:
            return False
    rules: Iterable[tuple[str, Mapping[str, float]]] = asked.get("query", {}).items()
    return all(
        name in props and COMPARED[how](props[name], limit) for name, rule in rules for how, limit in rule.items()
    )


def _missing(code: str) -> Response:
    return Response(b"", 404, {"X-Error-Code": code})
