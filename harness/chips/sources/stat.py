"""What a store says of a file without sending it: ETag and size."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from harness.chips.lock import Stat
from harness.chips.sources.cog import Signs, Unsigned, shown, without_query
from harness.errors import SourceError

TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two bytes."""

MOST_WAIT_S = 60
"""Seconds that a Retry-After may make us wait, each time."""


class Stats:
    """Asks stores about files, with a HEAD each. Safe for many threads."""

    def __init__(self, signer: Signs | None = None, retries: int = 5) -> None:
        self._signer = signer or Unsigned()
        self._retries = retries
        self._held = threading.local()

    def __call__(self, href: str) -> Stat:
        """ETag and size as the store answers now; `gone` where it has no such file.

        Args:
            href: Unsigned address; a path without scheme is a local file.

        Raises:
            SourceError: No answer, no access, or an answer that is no file.
        """
        if not urlsplit(href).scheme:
            return _local(href)
        url, where = self._signer.signed(href), shown(href)
        for renewals in range(3):
            try:
                # "identity": a compressed answer would state another length
                answer = self._session().head(
                    url, timeout=TIMEOUT_S, allow_redirects=True, headers={"Accept-Encoding": "identity"}
                )
            except requests.RequestException as err:
                raise SourceError(
                    f"{where}: no answer ({type(err).__name__}: {without_query(str(err))[:160]}); try again later"
                ) from None  # the cause holds the signed address
            if answer.status_code in (401, 403) and renewals < 2:
                url = self._signer.renewed(href, url)
                continue
            break
        if answer.status_code in (404, 410):
            return Stat(None, None, gone=True)
        if answer.status_code != 200:
            raise SourceError(f"{where}: answers {answer.status_code}; try again later")
        if "html" in answer.headers.get("Content-Type", ""):
            raise SourceError(f"{where}: answers with a page, not a raster; is the address right?")
        length = answer.headers.get("Content-Length", "")
        return Stat(answer.headers.get("ETag"), int(length) if length.isdigit() else None)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._held, "session", None)
        if session is None:
            session = requests.Session()
            retry = Retry(
                total=self._retries,
                backoff_factor=0.5,
                status_forcelist=[429, 500, 502, 503, 504],
                raise_on_status=False,
                retry_after_max=MOST_WAIT_S,
            )
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            self._held.session = session
        return session


def _local(path: str) -> Stat:
    try:
        return Stat(None, Path(path).stat().st_size)
    except FileNotFoundError:
        return Stat(None, None, gone=True)
