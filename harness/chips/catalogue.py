"""Questions to a STAC API, through pystac-client. The one door to a catalogue; what comes back is plain items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import pystac
from pystac_client import Client
from pystac_client.exceptions import APIError, ParametersError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import DoesNotConformTo, FallbackToPystac, MissingLink, NoConformsTo
from requests import RequestException
from urllib3 import Retry

from harness.chips.items import PLANETARY_COMPUTER, Json, Profile, redacted
from harness.chips.question import Found, Question, within
from harness.errors import SourceError, UnreachableError

MOST_ITEMS: Final = 5000
"""Items after which a search is given up: a server that pages for ever, or a question far too wide."""

PAGE: Final = 100
"""Items a page."""

MOST_WAIT_S: Final = 120
"""Seconds that a Retry-After may make us wait, each time."""

Answer = TypeVar("Answer")


@dataclass
class StacCatalogue:
    """A STAC API. It is opened at the first question, so that a run with a lock never connects."""

    profile: Profile = PLANETARY_COMPUTER
    """Names and usual address."""
    address: str | None = None
    """Another address that speaks the same, e.g. a mirror."""
    retries: int = 5
    """Times that a request is sent again after 429, 500, 502, 503, 504 or a broken connection."""
    backoff_s: float = 1.0
    """First wait between them, doubled each time; Retry-After, where given, is obeyed instead, up to `MOST_WAIT_S`."""
    timeout_s: tuple[float, float] = (5.0, 60.0)
    """Seconds to connect, and between two bytes of an answer."""
    _client: Client | None = field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        """Address of the API."""
        return self.address or self.profile.url

    def ready(self) -> None:
        """Open the catalogue, so that one that does not answer is found before work begins.

        Raises:
            SourceError: It does not answer, or is no STAC.
        """
        self._guarded(self._open, "landing page")

    def search(self, question: Question) -> Found:
        """Ask once, follow all pages, and hold every item against the question.

        Raises:
            SourceError: No answer after all retries, an answer that is no STAC, a catalogue that
                does not offer the modality or does not filter, or more than `MOST_ITEMS` items.
        """
        collection = self.profile.collections.get(question.modality)
        if collection is None:
            raise SourceError(
                f"{self.profile.name} offers no {question.modality}; it has {', '.join(self.profile.collections)}. "
                f"Choose another catalogue for it"
            )
        asked: dict[str, Any] = {
            "collections": [collection],
            "bbox": list(question.bbox),
            "datetime": question.datetime_range,
            "query": question.query or None,
            "sortby": [{"field": "properties.datetime", "direction": "asc"}] if question.start else None,
        }
        raw = self._ask({name: value for name, value in asked.items() if value is not None}, collection)
        items, dropped = within(raw, question, collection)
        return Found(tuple(items), len(raw), dropped)

    def items(self, collection: str, ids: Sequence[str]) -> dict[str, Json]:
        """Items by id.

        Raises:
            SourceError: As `search`.
        """
        wanted = sorted(set(ids))
        out: dict[str, Json] = {}
        for begin in range(0, len(wanted), PAGE):
            part = wanted[begin : begin + PAGE]
            for item in self._ask({"collections": [collection], "ids": part}, collection):
                if item.get("id") in part and item.get("collection") == collection:
                    out[str(item["id"])] = item
        return out

    def _ask(self, asked: dict[str, Any], collection: str) -> list[Json]:
        def pages() -> list[Json]:
            out: list[Json] = []
            for page in self._open().search(method="POST", limit=PAGE, **asked).pages_as_dicts():
                features = page.get("features")
                if page.get("type") != "FeatureCollection" or not isinstance(features, list):
                    raise ValueError("a page is no feature collection")
                out.extend(features)
                if len(out) > MOST_ITEMS:
                    raise SourceError(
                        f"{self._named(collection)}: more than {MOST_ITEMS} items came back; the question is too wide, "
                        f"or the catalogue repeats its pages"
                    )
            return out

        return self._guarded(pages, collection)

    def _open(self) -> Client:
        if self._client is None:
            retry = Retry(
                total=self.retries,
                backoff_factor=self.backoff_s,
                status_forcelist=[429, 500, 502, 503, 504],
                allowed_methods=None,  # a search is a POST, and urllib3 repeats none unless told to
                respect_retry_after_header=True,
                retry_after_max=MOST_WAIT_S,  # urllib3 itself would sleep for six hours
            )
            door = StacApiIO(max_retries=retry, timeout=self.timeout_s)
            # Client.open sets the time-out of the door it is given to its own argument, None where that is left out.
            self._client = Client.open(self.url, stac_io=door, timeout=self.timeout_s)
        return self._client

    def _guarded(self, ask: Callable[[], Answer], collection: str) -> Answer:
        """Run a question with warnings of pystac-client as errors, and every failure in our words."""
        where = self._named(collection)
        try:
            with warnings.catch_warnings():
                for kind in (DoesNotConformTo, NoConformsTo, FallbackToPystac, MissingLink):
                    warnings.simplefilter("error", kind)
                return ask()
        except (DoesNotConformTo, NoConformsTo, FallbackToPystac, MissingLink) as err:
            raise SourceError(
                f"{where}: {err} A search there would come back unfiltered; choose a catalogue that filters"
            ) from err
        except APIError as err:
            code = getattr(err, "status_code", None)
            said = f"answered HTTP {code}: " if code else "could not be asked: "
            raise UnreachableError(
                f"{where}: the service {said}{_short(err)}. Try again later, or run with a lock, which needs no search"
            ) from err
        except (ValueError, KeyError, TypeError, AttributeError, ParametersError, pystac.errors.STACError) as err:
            raise SourceError(
                f"{where}: the answer is no STAC ({type(err).__name__}: {_short(err)}); is the address right?"
            ) from err
        except RequestException as err:
            raise UnreachableError(f"{where}: could not be asked: {_short(err)}") from err

    def _named(self, collection: str) -> str:
        return f"{self.profile.name} ({redacted(self.url)}), {collection}"


def _short(err: Exception) -> str:
    text = " ".join(redacted(str(err)).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
