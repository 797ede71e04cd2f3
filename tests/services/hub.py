"""A loopback Hub: what huggingface_hub and HfFileSystem ask of it, ranges and faults included."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def git_blob(content: bytes) -> str:
    """Id that git gives a file of that content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def commit(name: str) -> str:
    """A commit id, made from a name."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    """HEAD, GET or POST."""
    path: str
    """Path, without the query."""
    span: tuple[int, int] | None
    """First byte asked for and number of bytes sent; None where no range was asked for."""
    sent: int
    """Bytes of body."""
    token: str | None
    """The Authorization header."""


@dataclass
class HubService:
    """The server's state: change it while it runs."""

    repositories: dict[tuple[str, str], dict[str, dict[str, bytes]]] = field(default_factory=dict)
    """By kind (`models`, `datasets`) and owner/name: files by commit."""
    branches: dict[str, str] = field(default_factory=dict)
    """Commit of `main` by owner/name."""
    small_bytes: int = 1000
    """Files below this are kept in git itself, as configuration files are; the others have a sha256."""
    faults: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    """By file name, what becomes of the next GETs: a status, `cut` (half of what is left), `flip` (a wrong bit)."""
    private: str | None = None
    """Token that every request must carry, where set."""
    asked: list[Asked] = field(default_factory=list)
    """Requests in order."""

    def put(self, repository: str, revision: str, files: dict[str, bytes], kind: str = "models") -> str:
        """Add a commit and move `main` to it; gives its id."""
        sha = commit(revision)
        self.repositories.setdefault((kind, repository), {})[sha] = files
        self.branches[repository] = sha
        return sha

    def bytes_of(self, name: str) -> int:
        """Bytes sent of files of that name."""
        return sum(a.sent for a in self.asked if a.path.endswith(name) and a.method == "GET")

    def app(self) -> Starlette:
        """The Hub as an ASGI application."""
        kind, name = "/api/{kind}/{owner}/{name}", "/{owner}/{name}/resolve/{revision}/{path:path}"
        return Starlette(
            routes=[
                Route(kind, self.info),
                Route(kind + "/revision/{revision:path}", self.info),
                Route(kind + "/tree/{revision}", self.tree),
                Route(kind + "/tree/{revision}/{path:path}", self.tree),
                Route(kind + "/paths-info/{revision}", self.paths_info, methods=["POST"]),
                Route("/{kind}" + name, self.file, methods=["GET", "HEAD"]),
                Route(name, self.file, methods=["GET", "HEAD"]),
            ]
        )

    def _found(self, request: Request) -> tuple[str, dict[str, bytes]] | Response:
        words = request.path_params
        token = request.headers.get("authorization")
        if self.private is not None and token != f"Bearer {self.private}":
            return self._note(request, Response(b"", 401, {"X-Error-Code": "GatedRepo"}))
        repository = f"{words['owner']}/{words['name']}"
        commits = self.repositories.get((words.get("kind", "models"), repository))
        if commits is None:
            return self._note(request, Response(b"", 404, {"X-Error-Code": "RepoNotFound"}))
        revision = words.get("revision", "main")
        sha = self.branches[repository] if revision == "main" else revision
        if sha not in commits:
            return self._note(request, Response(b"", 404, {"X-Error-Code": "RevisionNotFound"}))
        return sha, commits[sha]

    def _note(self, request: Request, response: Response, span: tuple[int, int] | None = None) -> Response:
        sent = 0 if request.method == "HEAD" else len(response.body)
        token = request.headers.get("authorization")
        self.asked.append(Asked(request.method, request.url.path, span, sent, token))
        return response

    def _oid(self, content: bytes) -> str:
        return git_blob(content) if len(content) < self.small_bytes else hashlib.sha256(content).hexdigest()

    def _entry(self, path: str, content: bytes) -> dict[str, object]:
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_blob(content)}
        if len(content) >= self.small_bytes:
            entry["lfs"] = {"oid": self._oid(content), "size": len(content), "pointerSize": 130}
        return entry

    async def info(self, request: Request) -> Response:
        """A repository at a revision."""
        found = self._found(request)
        if isinstance(found, Response):
            return found
        sha, files = found
        repository = f"{request.path_params['owner']}/{request.path_params['name']}"
        body = {"id": repository, "sha": sha, "private": False, "siblings": [{"rfilename": p} for p in files]}
        return self._note(request, JSONResponse(body))

    async def tree(self, request: Request) -> Response:
        """Files below a folder; folders are listed where the answer is not recursive."""
        found = self._found(request)
        if isinstance(found, Response):
            return found
        start = request.path_params.get("path", "").rstrip("/")
        prefix = f"{start}/" if start else ""
        below = {p: c for p, c in found[1].items() if p.startswith(prefix)}
        if request.query_params.get("recursive", "").lower() == "true":
            return self._note(request, JSONResponse([self._entry(p, c) for p, c in below.items()]))
        entries = [self._entry(p, c) for p, c in below.items() if "/" not in p[len(prefix) :]]
        folders = dict.fromkeys(prefix + p[len(prefix) :].split("/")[0] for p in below if "/" in p[len(prefix) :])
        entries += [{"type": "directory", "path": p, "oid": commit(p)} for p in folders]
        return self._note(request, JSONResponse(entries))

    async def paths_info(self, request: Request) -> Response:
        """What stands at some paths."""
        found = self._found(request)
        if isinstance(found, Response):
            return found
        asked = (await request.json())["paths"] if "json" in request.headers["content-type"] else None
        paths = asked if asked is not None else (await request.form()).getlist("paths")
        entries = [self._entry(str(p), found[1][str(p)]) for p in paths if str(p) in found[1]]
        return self._note(request, JSONResponse(entries))

    async def file(self, request: Request) -> Response:
        """One file, whole or a range."""
        found = self._found(request)
        if isinstance(found, Response):
            return found
        sha, files = found
        path = request.path_params["path"]
        if path not in files:
            return self._note(request, Response(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}))
        content = files[path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{self._oid(content)}"', "Accept-Ranges": "bytes"}
        if len(content) >= self.small_bytes:
            headers |= {"X-Linked-Etag": f'"{self._oid(content)}"', "X-Linked-Size": str(len(content))}
        if request.method == "HEAD":
            return self._note(request, Response(b"", 200, headers | {"Content-Length": str(len(content))}))
        queue = self.faults[path.rsplit("/", 1)[-1]]
        fault = queue.popleft() if queue else ""
        if fault.isdigit():
            return self._note(request, Response(b"", int(fault), {"Retry-After": "0"}))
        first, last = 0, len(content) - 1
        if match := RANGE.fullmatch(request.headers.get("range", "")):
            first, last = int(match.group(1)), min(int(match.group(2) or last), last)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        body = content[first : last + 1]
        if fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        response = Response(body, 206 if match else 200, headers)
        if fault == "cut":
            response.body = body[: len(body) // 2]  # Content-Length still promises the whole
        return self._note(request, response, (first, len(response.body)) if match else None)
