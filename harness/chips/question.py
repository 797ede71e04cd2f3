"""What a catalogue is asked, what it answers, and the answer held against the question. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from shapely import GEOSException, box
from shapely.geometry import shape

from harness.chips.items import Json, Profile, stamp
from harness.errors import SourceError

CLOUD: Final = "eo:cloud_cover"
"""The one property that is filtered by, percent of the whole scene."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is searched for."""

    modality: str
    """S2L2A, S1RTC, DEM, LULC."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees."""
    start: datetime | None = None
    """First moment, UTC; None for things without dates."""
    end: datetime | None = None
    """Last moment, UTC."""
    scene_cloud_max: float | None = None
    """Percent of the whole scene under cloud, at most. Wide on purpose: the chip decides."""

    @property
    def datetime_range(self) -> str | None:
        """As the API takes it."""
        if self.start is None or self.end is None:
            return None
        return f"{stamp(self.start)}/{stamp(self.end)}"

    @property
    def query(self) -> dict[str, object]:
        """As the query extension takes it; empty where nothing is filtered by property."""
        return {} if self.scene_cloud_max is None else {CLOUD: {"lte": self.scene_cloud_max}}


@dataclass(frozen=True, slots=True)
class Found:
    """What a search brought."""

    items: tuple[Json, ...]
    """In order of acquisition and id, each once, all of them within the question."""
    found: int
    """Items that came back, before anything was dropped."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Items that the server should not have sent, or sent twice, counted by reason."""


class Catalogue(Protocol):
    """What resolving and checking a lock needs of a catalogue."""

    @property
    def url(self) -> str:
        """Address of the API."""
        ...

    @property
    def profile(self) -> Profile:
        """How it names things."""
        ...

    def ready(self) -> None:
        """Open it; fails where it does not answer."""
        ...

    def search(self, question: Question) -> Found:
        """Items that fit."""
        ...

    def items(self, collection: str, ids: Sequence[str]) -> dict[str, Json]:
        """Items by id; one that the catalogue does not have is not in the answer."""
        ...


@dataclass(frozen=True)
class Joined:
    """Several catalogues, for one that does not offer everything."""

    parts: tuple[Catalogue, ...]
    """In order of preference."""

    def ready(self) -> None:
        """Open all of them; fails where one does not answer."""
        for part in self.parts:
            part.ready()


def offering(catalogue: Catalogue | Joined, modality: str) -> Catalogue:
    """The first catalogue that offers a modality.

    Raises:
        SourceError: None does.
    """
    parts = catalogue.parts if isinstance(catalogue, Joined) else (catalogue,)
    for part in parts:
        if modality in part.profile.collections:
            return part
    have = "; ".join(f"{part.profile.name} has {', '.join(part.profile.collections)}" for part in parts)
    raise SourceError(f"no catalogue offers {modality}: {have}. Add one that does")


def within(items: Sequence[Json], question: Question, collection: str) -> tuple[list[Json], dict[str, int]]:
    """Items held against the question, sorted: servers ignore filters and orders without a word.

    Returns:
        Items in order of acquisition and id, each id once; the others counted by reason.
    """
    dropped: Counter[str] = Counter()
    kept: dict[str, Json] = {}
    for item in items:
        reason = _outside(item, question, collection)
        if reason is None and str(item["id"]) in kept:
            reason = "sent twice"
        if reason is None:
            kept[str(item["id"])] = item
        else:
            dropped[reason] += 1
    ordered = sorted(kept.values(), key=lambda item: (str(_moment(item)), str(item["id"])))
    return ordered, dict(dropped)


def _outside(item: Any, question: Question, collection: str) -> str | None:
    """Why an item does not belong into the answer; None where it does."""
    if not isinstance(item, Mapping) or not item.get("id") or not isinstance(item.get("properties"), Mapping):
        return "no item"
    if item.get("collection") != collection:
        return "another collection"
    try:
        if not box(*question.bbox).intersects(shape(item["geometry"])):
            return "elsewhere"
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, GEOSException):
        return "no footprint"
    if question.start is not None and question.end is not None:
        moment = _moment(item)
        if moment is None:
            return "no date"
        if not question.start <= moment <= question.end:
            return "another time"
    if question.scene_cloud_max is not None:
        cloud = item["properties"].get(CLOUD)
        if not isinstance(cloud, int | float) or isinstance(cloud, bool):
            return "cloud not stated"
        if not cloud <= question.scene_cloud_max:
            return "scene too cloudy"
    return None


def _moment(item: Json) -> datetime | None:
    props = item["properties"]
    try:
        read = datetime.fromisoformat(str(props.get("datetime") or props.get("start_datetime")))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
