"""Socrata, the software behind NYC Open Data: whole tables or nothing, and a snapshot of every answer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from harness.errors import ChipError, SourceError
from harness.places import write_file

PORTAL = "https://data.cityofnewyork.us"
"""NYC Open Data; HARNESS_SOCRATA names another address, e.g. a mirror."""

FOOTPRINTS = "5zhs-2jue"
"""Building footprints, a live table."""

BOROUGHS = "gthc-hcne"
"""Borough boundaries, clipped to the shoreline."""

SUCCESSORS = {"nqwf-w8eh": FOOTPRINTS, "tqmj-j8zm": BOROUGHS, "7t3b-ywvw": BOROUGHS}
"""Ids that documents and code still name, and what took their place."""

MOST_WAIT_S = 120
"""Seconds that a Retry-After may make us wait, each time."""


@dataclass(frozen=True)
class Snapshot:
    """Rows as they were answered, and the question."""

    dataset: str
    """Socrata id."""
    address: str
    """Portal that answered."""
    box: tuple[float, float, float, float] | None
    """West, south, east, north asked for, in degrees, padding included; None for the whole table."""
    fetched: str
    """UTC, ISO 8601."""
    rows: tuple[Mapping[str, Any], ...]
    """By row id."""
    duplicates: int = 0
    """Rows that came twice."""

    @property
    def sha256(self) -> str:
        """Hash of dataset, box and rows, whenever they were fetched and in whatever order they came."""
        return hashlib.sha256(_canonical([self.dataset, self.box, list(self.rows)])).hexdigest()


class Socrata:
    """Reads whole answers from one portal: retries, time-outs, pages in a fixed order, counted before and after."""

    def __init__(
        self,
        address: str | None = None,
        *,
        page: int = 5000,
        timeout_s: tuple[float, float] = (5, 60),
        retries: int = 5,
    ) -> None:
        """Prepare a client; nothing is asked yet.

        Args:
            address: Portal; HARNESS_SOCRATA, else NYC Open Data, where left out.
            page: Rows a request.
            timeout_s: Seconds to connect, and between two bytes.
            retries: Of 429 (after Retry-After), 5xx and cut connections, for each request.
        """
        self.address = (address or os.environ.get("HARNESS_SOCRATA") or PORTAL).rstrip("/")
        self.page = page
        self._timeout = timeout_s
        self._retries = retries
        self._session = requests.Session()
        retry = Retry(
            total=retries,
            backoff_factor=0.5,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            raise_on_status=False,
            retry_after_max=MOST_WAIT_S,
        )
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def read(
        self, dataset: str, columns: Iterable[str], box: tuple[float, float, float, float] | None = None
    ) -> Snapshot:
        """Read every row of a table within a box.

        Args:
            dataset: Socrata id.
            columns: Names asked for; the row id comes besides.
            box: West, south, east, north in degrees; None for the whole table.

        Raises:
            SourceError: No answer, an id that is gone, a column that is gone, an answer that is no table, or a
                table that changed while it was read.
        """
        where = _where(box)
        before = self._count(dataset, where)
        rows: dict[str, Mapping[str, Any]] = {}
        came = 0
        while True:
            query = {
                "$select": ",".join([":id", *columns]),
                "$order": ":id",
                "$limit": str(self.page),
                "$offset": str(came),
                **where,
            }
            page = self._get(dataset, query)
            for row in page:
                if not isinstance(row.get(":id"), str):
                    raise SourceError(f"{self._named(dataset)}: a row has no :id; columns {', '.join(sorted(row))}")
                rows[row[":id"]] = row
            came += len(page)
            if len(page) < self.page:
                break
        after = self._count(dataset, where)
        if not before == after == len(rows):
            raise SourceError(
                f"{self._named(dataset)}: {len(rows)} different rows read, {before} counted before and {after} after; "
                "the table changed while it was read, or pages went missing: ask again"
            )
        ordered = tuple(rows[key] for key in sorted(rows))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Snapshot(dataset, self.address, box, now, ordered, came - len(rows))

    def count(self, dataset: str, box: tuple[float, float, float, float] | None = None) -> int:
        """Rows of a table within a box, without reading them.

        Raises:
            SourceError: As `read`.
        """
        return self._count(dataset, _where(box))

    def _count(self, dataset: str, where: Mapping[str, str]) -> int:
        answer = self._get(dataset, {"$select": "count(*) as rows", **where})
        try:
            return int(answer[0]["rows"])
        except (IndexError, KeyError, TypeError, ValueError) as err:
            raise SourceError(f"{self._named(dataset)}: asked for a count, answered {str(answer)[:120]}") from err

    def _get(self, dataset: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        what = self._named(dataset)
        answer = self._answer(dataset, query)
        body = answer.content
        if answer.is_redirect or answer.status_code in (403, 404, 410):
            raise SourceError(f"{what}: HTTP {answer.status_code}; {_gone(dataset)}")
        if answer.status_code != 200:
            raise SourceError(f"{what}: HTTP {answer.status_code}: {_said(body)}")
        try:
            rows = json.loads(body)
        except ValueError as err:
            kind = answer.headers.get("Content-Type", "no type")
            raise SourceError(f"{what}: HTTP 200 but no JSON ({kind}); something between answers in its place") from err
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SourceError(f"{what}: a table was expected, not {_said(body)}")
        return rows

    def _answer(self, dataset: str, query: Mapping[str, str]) -> requests.Response:
        left = self._retries
        while True:
            try:
                return self._session.get(
                    f"{self.address}/resource/{dataset}.json",
                    params=dict(query),
                    timeout=self._timeout,
                    allow_redirects=False,
                )
            except requests.exceptions.ChunkedEncodingError as err:  # a body cut short; urllib3 retries only the head
                left -= 1
                if left < 0:
                    raise SourceError(f"{self._named(dataset)}: every answer was cut short; try again later") from err
            except requests.RequestException as err:
                raise SourceError(
                    f"{self._named(dataset)}: no answer ({type(err).__name__}); check the network and try again"
                ) from err

    def _named(self, dataset: str) -> str:
        return f"{self.address}/resource/{dataset}"


def _where(box: tuple[float, float, float, float] | None) -> dict[str, str]:
    """A filter on the outline; within_box takes the north-west and the south-east corner, latitude first."""
    if box is None:
        return {}
    west, south, east, north = box
    return {"$where": f"within_box(the_geom, {north}, {west}, {south}, {east})"}


def _gone(dataset: str) -> str:
    if dataset in SUCCESSORS:
        return f"{dataset} was retired; its successor is {SUCCESSORS[dataset]}"
    return f"{dataset} is not there; look its successor up on the portal and correct the id"


def _said(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    try:
        held = json.loads(body)
    except ValueError:
        return text[:160]
    return str(held.get("message", text))[:160] if isinstance(held, dict) else text[:160]


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write_snapshot(snapshot: Snapshot, folder: Path) -> Path:
    """Write a snapshot in one step, under a name that holds the start of its hash.

    Returns:
        `<dataset>-<12 digits of the sha256>.json`.
    """
    held = {
        "schema": 1,
        "sha256": snapshot.sha256,
        "dataset": snapshot.dataset,
        "address": snapshot.address,
        "box": snapshot.box,
        "fetched": snapshot.fetched,
        "duplicates": snapshot.duplicates,
        "rows": list(snapshot.rows),
    }
    path = folder / f"{snapshot.dataset}-{snapshot.sha256[:12]}.json"
    write_file(path, json.dumps(held, ensure_ascii=False, indent=0) + "\n")
    return path


def read_snapshot(path: Path, sha256: str | None = None) -> Snapshot:
    """Read a snapshot and check it against its hash.

    Args:
        path: File.
        sha256: What a lock pins, if it does.

    Raises:
        ChipError: Not there, not whole, or of another hash.
    """
    try:
        held = json.loads(path.read_bytes())
        box = None
        if held["box"] is not None:
            west, south, east, north = map(float, held["box"])
            box = (west, south, east, north)
        snapshot = Snapshot(
            held["dataset"], held["address"], box, held["fetched"], tuple(held["rows"]), held["duplicates"]
        )
        written = held["sha256"]
    except OSError as err:
        raise ChipError(f"{path}: cannot be read: {err.strerror or err}") from err
    except (ValueError, KeyError, TypeError) as err:
        raise ChipError(f"{path}: not a whole snapshot ({err}); fetch it again") from err
    for name, expected in (("the file itself states", written), ("the lock pins", sha256)):
        if expected is not None and snapshot.sha256 != expected:
            raise ChipError(f"{path}: sha256 {snapshot.sha256} where {name} {expected}; fetch it again")
    return snapshot
