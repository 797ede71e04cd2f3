"""Addresses signed at the moment of reading, through planetary-computer. Signed ones are never kept."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from harness.chips.items import redacted, unsigned
from harness.errors import SourceError

BLOB: Final = ".blob.core.windows.net"
"""End of the host names that planetary-computer signs; a port behind it switches signing off."""

RETRIES: Final = 5
"""Times that the token endpoint is asked again after 429, 500, 502, 503, 504."""

WAIT_S: Final = 120.0
"""Seconds in which a token must be there; planetary-computer itself sets no time-out."""

Value = TypeVar("Value")


@dataclass
class _Door:
    """What the readers of one container share: they ask one after another, and a refusal once for all who wait."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failures: int = 0
    """Questions without an answer so far."""
    said: str = ""
    """What the latest of them said."""


class Signer:
    """Signs addresses, and signs them again when a store refuses. Safe for many threads.

    planetary-computer keeps a token per container and renews it a minute before its end. A store
    may refuse earlier (a clock that is off, a token taken back); then the same signed address would
    be handed out again, and GDAL would not even ask again. `renewed` asks for a new token.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._guard = threading.Lock()
        self._doors: dict[tuple[str, str], _Door] = {}
        hide_tokens()

    def signed(self, href: str) -> str:
        """An address that can be read now. Addresses outside Azure come back as they are.

        Raises:
            SourceError: The address is signed already, as no lock holds it; or it names a port,
                which switches signing off; or the token endpoint gave no token.
        """
        if unsigned(href) != href:
            raise SourceError(f"{unsigned(href)}: already signed; keep unsigned addresses, they are signed at reading")
        if not is_blob(href):
            return href
        account, container = _place(href)
        with self._turn(account, container):  # one question for many readers of a container
            return self._ask(href, account, container)

    def renewed(self, href: str, refused: str) -> str:
        """An address signed with another token than the one that was refused.

        Args:
            href: Unsigned.
            refused: The signed address that the store refused. If another reader has renewed the
                token meanwhile, the endpoint is not asked again.

        Raises:
            SourceError: As `signed`; or the endpoint hands out the same token again.
        """
        if not is_blob(href):
            raise SourceError(f"{href}: refused, and it is no address that is signed")
        import planetary_computer.sas as sas

        account, container = _place(href)
        with self._turn(account, container):
            fresh = self._ask(href, account, container)
            if fresh == refused:
                sas.TOKEN_CACHE.pop(_token_url(account, container), None)
                fresh = self._ask(href, account, container)
            if fresh == refused:
                raise SourceError(
                    f"{href}: refused, and the token endpoint hands out the same token again; wait and retry"
                )
        return fresh

    @contextmanager
    def _turn(self, account: str, container: str) -> Iterator[None]:
        """One reader of a container at a time.

        Raises:
            SourceError: Another's question failed while this reader waited: 32 readers would otherwise
                wait 32 times for an endpoint that does not answer.
        """
        with self._guard:
            door = self._doors.setdefault((account, container), _Door())
            before = door.failures
        with door.lock:
            if door.failures != before:
                raise SourceError(door.said)
            try:
                yield
            except SourceError as err:
                with self._guard:
                    door.failures, door.said = door.failures + 1, str(err)
                raise

    def _ask(self, href: str, account: str, container: str) -> str:
        import planetary_computer.sas as sas
        from pydantic import ValidationError
        from requests import JSONDecodeError, RequestException

        def ask() -> str:
            # What sign_url does, with fewer retries: it would wait for seven minutes before it gives up.
            return str(sas.get_token(account, container, retry_total=RETRIES).sign(href).href)

        where = f"no token for {account}/{container} from {_endpoint()}"
        try:
            out = _in_time(ask, self._wait_s)
        except TimeoutError as err:
            raise SourceError(f"{where}: no answer within {self._wait_s:g} s; try again later") from err
        except (ValidationError, JSONDecodeError, TypeError):
            # The answer itself stands in these errors, and a token may stand in the answer.
            raise SourceError(f"{where}: the answer is no token") from None
        except RequestException as err:
            code = _status(err)
            said = f"HTTP {code}" if code else f"no answer ({type(err).__name__})"
            hint = "; PC_SDK_SUBSCRIPTION_KEY raises the limits" if code == 429 else "; try again later"
            raise SourceError(f"{where}: {said}{hint}") from err
        if unsigned(out) == out:
            raise SourceError(f"{where}: the answer is no signature")
        return out


def is_blob(href: str) -> bool:
    """Whether an address needs a signature.

    Raises:
        SourceError: A blob host with a port: planetary-computer would leave it unsigned in silence.
    """
    parts = urlsplit(href)
    host = (parts.hostname or "").lower()
    if not host.endswith(BLOB):
        return False
    if not parts.netloc.lower().endswith(BLOB):
        raise SourceError(f"{href}: a blob address with a port is never signed; take the port out")
    return not host.startswith("ai4edatasetspublicassets.")  # thumbnails, public


def _place(href: str) -> tuple[str, str]:
    parts = urlsplit(href)
    steps = parts.path.strip("/").split("/")
    if len(steps) < 2:
        raise SourceError(f"{href}: a blob address names a container and a file")
    return parts.netloc.split(".")[0], steps[0]


def _status(err: Exception) -> int | None:
    """HTTP status behind an error of requests; None where nothing answered.

    After the last retry requests keeps no answer, only urllib3's words about it.
    """
    code = getattr(getattr(err, "response", None), "status_code", None)
    words = re.search(r"too many (\d{3}) error responses", str(err))
    return int(words[1]) if code is None and words else code


def _token_url(account: str, container: str) -> str:
    from planetary_computer.settings import Settings

    return f"{Settings.get().sas_url}/{account}/{container}"


def _endpoint() -> str:
    return redacted(os.environ.get("PC_SDK_SAS_URL") or "the Planetary Computer")


def _in_time(call: Callable[[], Value], seconds: float) -> Value:
    """A call's value, if it is there in time; a call that hangs is left to its own thread.

    Raises:
        TimeoutError: It was not.
    """
    answers: SimpleQueue[tuple[Value | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except Exception as err:  # handed to the caller, who sorts it
            answers.put((None, err))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, err = answers.get(timeout=seconds)
    except Empty as late:
        raise TimeoutError(f"no answer within {seconds:g} s") from late
    if err is not None:
        raise err
    return value  # type: ignore[return-value]


def hide_tokens() -> None:
    """Take signatures out of whatever is logged, by any package; calling it twice changes nothing.

    A filter would have to sit at every logger that may write an address: urllib3 writes requests,
    rasterio the names of the files that it opens and GDAL's messages, each under several names.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "hides_tokens", False):
        return

    def clean(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            said = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a wrong format; logging itself reports it
            return record
        if redacted(said) != said:
            record.msg, record.args = redacted(said), None
        if record.exc_info:
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        return record

    clean.hides_tokens = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(clean)
