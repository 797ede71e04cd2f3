"""Windows over HTTP from a server that fails in every way that it is told to."""

from __future__ import annotations

import logging
import os
import socket
import threading
import traceback
from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.chips.chip import Grid
from harness.chips.reader import Request
from harness.chips.sources.cog import CogReader, NativeWindow, Patience, shown, without_query
from harness.chips.sources.ranges import PIECE_BYTES, Client, NoBytesError, RangeFile
from harness.chips.sources.stat import Stats
from harness.chips.store import Store
from harness.errors import SourceError
from tests.chips import faults
from tests.chips.cogs import write_cog
from tests.services.files import FINE, Fault, FileService, running

WEST, NORTH, SIDE = 500_000.0, 4_510_000.0, 640
"""Corner and side in pixels of the file that is served."""

QUICK = Patience(attempts=5, backoff_s=0.01, connect_s=2, timeout_s=2)

SECRET = "s3cr3t"  # noqa: S105 (made up)
"""Part of every token here; it must stand in no message, log or traceback."""


def pixels() -> NDArray[np.uint16]:
    rng = np.random.default_rng(7)
    return rng.integers(1, 60_000, (SIDE, SIDE)).astype(np.uint16)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FileService]:
    for compress in ("DEFLATE", "NONE"):
        write_cog(tmp_path / f"{compress}.tif", pixels(), 32618, (10, 0, WEST, 0, -10, NORTH), compress=compress)
    with running(FileService(tmp_path)) as made:
        yield made


class Tokens:
    """A signer that hands out one token until it is asked to renew, as the real one does while it lives."""

    def __init__(self, service: FileService) -> None:
        self.service, self.count = service, 0
        self.service.tokens = {f"{SECRET}0"}

    def signed(self, href: str) -> str:
        """The same URL until a new token is asked for."""
        return f"{href}?se=2030&sig={SECRET}{self.count}"

    def renewed(self, href: str, refused: str) -> str:
        """Another token, whose life may have ended too."""
        assert refused == self.signed(href)
        self.count += 1
        assert self.service.tokens is not None
        self.service.tokens.add(f"{SECRET}{self.count}")
        return self.signed(href)


def request(service: FileService, name: str = "DEFLATE.tif", row: int = 300, col: int = 250) -> Request:
    grid = Grid(32618, (10, 0, WEST + 10 * col, 0, -10, NORTH - 10 * row), 96, 96)
    return Request(service.url(name), grid, 1, 32618)


def right(found: NativeWindow, row: int = 300, col: int = 250) -> bool:
    return np.array_equal(found.data[0], pixels()[row - 2 : row + 98, col - 2 : col + 98])


def told(err: BaseException) -> str:
    """Everything that a traceback of an error would print, causes too."""
    return "".join(traceback.format_exception(err))


def test_a_window_comes_with_its_margin_and_few_requests(service: FileService) -> None:
    with CogReader(Tokens(service)) as reader:
        found = reader.read(request(service))
    assert right(found)
    assert found.header.dtype == "uint16"
    assert list(found.transform) == [10, 0, WEST + 2480, 0, -10, NORTH - 2980]
    spans = [(s.method, s.span) for s in service.seen]
    assert spans[0] == ("GET", "bytes=0-65535")
    assert {method for method, _ in spans} == {"GET"}  # the first answer tells the size
    assert len(spans) == 3  # and one a row of blocks


def test_blocks_that_lie_apart_are_asked_for_side_by_side(service: FileService, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    wide = rng.integers(1, 60_000, (256, 4096)).astype(np.uint16)
    write_cog(tmp_path / "wide.tif", wide, 32618, (10, 0, WEST, 0, -10, NORTH))
    with CogReader(Tokens(service)) as reader:
        found = reader.read(request(service, "wide.tif", row=80, col=130))
    assert np.array_equal(found.data[0], wide[78:178, 128:228])
    header, *blocks = service.seen
    assert len(blocks) == 2  # a block in each of two rows, with thirty blocks between them
    assert header.span == "bytes=0-65535"


def test_windows_within_one_row_of_blocks_need_two_requests_each(service: FileService) -> None:
    requests = [request(service, row=10 + 128 * i, col=10 + 128 * j) for i in range(4) for j in range(4)]
    with CogReader(Tokens(service)) as reader:
        found = reader.read_all(requests)
    assert all(right(found[r], 10 + 128 * (k // 4), 10 + 128 * (k % 4)) for k, r in enumerate(requests))
    assert len(service.seen) == 2 * len(requests)


def test_a_corner_outside_the_raster_is_cut_and_far_away_is_empty(service: FileService) -> None:
    with CogReader() as reader:
        corner = reader.read(request(service, row=-50, col=-50))
        assert np.array_equal(corner.data[0], pixels()[:48, :48])
        assert corner.transform[2] == WEST
        far = reader.read(request(service, row=5000))
    assert far.data.shape == (1, 0, 0)


@pytest.mark.parametrize("name", ["DEFLATE.tif", "NONE.tif"])
@pytest.mark.parametrize(
    "fault",
    [Fault(503), Fault(429), Fault(500), Fault(keep=0.5), Fault(keep=0.0), Fault(html=True), Fault(403)],
    ids=["503", "429", "500", "half a body", "no body", "html", "403"],
)
def test_one_fault_anywhere_leaves_the_right_pixels(fault: Fault, name: str, service: FileService) -> None:
    tokens = Tokens(service)
    with CogReader(tokens, patience=QUICK) as reader:
        for place in range(5):
            tokens.renewed("", tokens.signed(""))  # another URL, of which GDAL knows nothing
            service.faults[name] = deque([FINE] * place + [fault])
            assert right(reader.read(request(service, name))), place
            service.faults[name].clear()
    if fault.keep is not None:
        faults.record(
            "reading",
            "a connection cut in mid-body, at any request",
            "right result",
            "pixels equal the file's; compressed and plain COG",
        )


def test_retry_after_is_waited_for(service: FileService) -> None:
    busy = Fault(429, retry_after_s=1)
    service.faults["DEFLATE.tif"] = deque([busy, busy])
    with CogReader(Tokens(service), patience=QUICK) as reader:
        assert right(reader.read(request(service)))
    first, asked, again = service.seen[:3]
    assert (first.status, asked.status, again.status) == (429, 429, 200)
    assert again.at_s - asked.at_s >= 1
    faults.record(
        "reading", "429 with Retry-After", "right result", "the next request comes no sooner than the server asked"
    )


def test_a_retry_after_beyond_patience_is_an_error_at_once(service: FileService) -> None:
    service.always["DEFLATE.tif"] = Fault(429, retry_after_s=3600)
    with CogReader(Tokens(service), patience=QUICK) as reader, pytest.raises(SourceError, match="asks to wait 3600 s"):
        reader.read(request(service))
    assert len(service.seen) == 2
    faults.record(
        "reading",
        "429 with a Retry-After of an hour",
        "one clear error",
        "two requests, no wait; the message names the wait",
    )


def test_bursts_of_503_are_outlasted(service: FileService) -> None:
    burst = [Fault(503)] * 3
    service.faults["DEFLATE.tif"] = deque([*burst, FINE, FINE, FINE, *burst])
    with CogReader(Tokens(service), patience=QUICK) as reader:
        assert right(reader.read(request(service)))
    faults.record("reading", "bursts of 503", "right result", "pixels equal the file's after two bursts of three")


def test_a_url_that_failed_can_be_read_later_in_the_same_process(service: FileService) -> None:
    tokens = Tokens(service)  # one token, so one URL: GDAL remembers its failure
    service.always["DEFLATE.tif"] = Fault(503)
    with CogReader(tokens, patience=QUICK) as reader:
        with pytest.raises(SourceError, match="not read in 5 attempts: answers 503") as caught:
            reader.read(request(service))
        assert SECRET not in told(caught.value)
        service.always.clear()
        assert right(reader.read(request(service)))
    faults.record(
        "reading",
        "503 for longer than patience",
        "one clear error",
        "and the same URL is read in the same process once the server is back",
    )


def test_a_token_that_expires_between_header_and_tile_is_renewed(service: FileService) -> None:
    tokens = Tokens(service)
    service.lifetimes = {f"{SECRET}0": 1}
    with CogReader(tokens, patience=QUICK) as reader:
        assert right(reader.read(request(service)))
    assert tokens.count == 1
    refused = [s for s in service.seen if s.status == 403]
    assert refused
    assert {s.token for s in refused} == {f"{SECRET}0"}
    faults.record(
        "reading",
        "a token that expires between header and tile",
        "right result",
        "signed anew once, reopened, pixels equal the file's",
    )


def test_a_token_that_is_never_accepted_is_one_error_without_the_token(
    service: FileService, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = Tokens(service)
    service.lifetimes = {f"{SECRET}{i}": 0 for i in range(9)}
    with CogReader(tokens, patience=QUICK) as reader, pytest.raises(SourceError) as caught:
        reader.read(request(service))
    message = str(caught.value)
    assert message.startswith(service.url("DEFLATE.tif") + ": not read in 3 attempts, with 2 new tokens: answers 403")
    written = capfd.readouterr()
    for text in (told(caught.value), caplog.text, written.out, written.err):
        assert SECRET not in text
    faults.record(
        "reading",
        "a token that is never accepted",
        "one clear error",
        "two renewals, then an error; the token stands in no message, log or traceback",
    )


def test_a_refusal_without_a_signer_is_said(service: FileService) -> None:
    service.tokens = {SECRET}
    with CogReader(patience=QUICK) as reader, pytest.raises(SourceError, match="no signature is configured"):
        reader.read(request(service))


def test_a_scene_that_vanished_is_said_at_once(service: FileService) -> None:
    (service.folder / "DEFLATE.tif").unlink()
    with CogReader(Tokens(service), patience=QUICK) as reader, pytest.raises(SourceError) as caught:
        reader.read(request(service))
    assert "answers 404; the scene vanished" in str(caught.value)
    assert len(service.seen) == 2
    faults.record(
        "reading",
        "an item that vanishes after search",
        "one clear error",
        "after two requests; names the file and `lock --check`",
    )


def test_a_page_of_html_is_no_raster(service: FileService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.always["DEFLATE.tif"] = Fault(html=True)
    with CogReader(Tokens(service), patience=QUICK) as reader, pytest.raises(SourceError) as caught:
        reader.read(request(service))
    assert "answers 200 with a page of text/html, not a raster" in str(caught.value)
    assert SECRET not in told(caught.value) + caplog.text
    faults.record(
        "reading",
        "a 200 with an HTML error page",
        "one clear error",
        "says that a page came; once only, the file is read (right pixels)",
    )


def test_a_slow_server_is_given_up_and_one_slow_answer_is_not(service: FileService) -> None:
    impatient = Patience(attempts=2, backoff_s=0.01, connect_s=1, timeout_s=1)
    service.faults["DEFLATE.tif"] = deque([FINE, Fault(slow_s=1.6)])
    with CogReader(Tokens(service), patience=impatient) as reader:
        assert right(reader.read(request(service)))
        service.always["NONE.tif"] = Fault(slow_s=1.6)
        with pytest.raises(SourceError, match=r"not read in 2 attempts: no answer \(.*timed out"):
            reader.read(request(service, "NONE.tif"))
    faults.record(
        "reading",
        "a slow server",
        "one clear error",
        "given up after the stated time-outs; a single slow answer is read again",
    )


def test_no_network_is_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.tif"
    grid = Grid(32618, (10, 0, WEST, 0, -10, NORTH), 96, 96)
    with CogReader(patience=QUICK) as reader, pytest.raises(SourceError, match=r"no answer \(Connection refused\)"):
        reader.read(Request(url, grid, 1))
    faults.record("reading", "no network", "one clear error", "names the address and what the system said")


def outcome(reader: CogReader, wanted: Request) -> tuple[NativeWindow | None, str | None]:
    """The window, or what the error says."""
    try:
        return reader.read(wanted), None
    except SourceError as err:
        return None, str(err)


@pytest.mark.parametrize("name", ["DEFLATE.tif", "NONE.tif"])
def test_a_truncated_file_gives_its_pixels_or_an_error(name: str, service: FileService) -> None:
    path = service.folder / name
    whole = path.read_bytes()
    outcomes = set()
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        for row in (10, 300, 530):
            href = Request(f"{service.url(name)}?cut={share}", request(service, name, row).reach, 1)
            with CogReader(patience=Patience(attempts=2, backoff_s=0.01)) as reader:
                found, said = outcome(reader, href)
            assert (found is None) == (said is not None)
            outcomes.add("error" if found is None else "pixels")
            if found is not None:
                assert right(found, row)
            if said is not None:
                assert f"{service.url(name)}: not read in 2 attempts" in said
                assert "cut=" not in said
    assert outcomes == {"pixels", "error"}
    faults.record(
        "reading",
        "a truncated COG",
        "one clear error",
        "or the right pixels, where the blocks of the window are still there",
    )


def locked(service: FileService, name: str = "NONE.tif") -> Request:
    """A request with what the server says of the file now, as a lock holds it."""
    now = Stats()(service.url(name))
    assert now.etag
    assert now.size_bytes
    return replace(request(service, name), etag=now.etag, size_bytes=now.size_bytes)


@pytest.mark.parametrize("what", ["size", "ETag", "size and ETag"])
def test_a_file_replaced_in_place_since_the_lock_is_not_read(what: str, service: FileService, tmp_path: Path) -> None:
    wanted = locked(service)
    file = service.folder / "NONE.tif"
    if "size" in what:
        file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, (1, 1))  # the service makes its ETag of time and size
    wanted = replace(wanted, etag=wanted.etag if "ETag" in what else None)
    store = Store(tmp_path / "store")
    service.seen.clear()
    with CogReader(patience=QUICK) as reader, pytest.raises(SourceError) as caught:
        reader.read_all([wanted], store.put)
    said = str(caught.value)
    assert said.startswith(f"{service.url('NONE.tif')}: the file changed since it was locked (")
    assert (f"{wanted.size_bytes} in the lock" in said, "ETag" in said) == ("size" in what, "ETag" in what)
    assert said.endswith("run `harness lock --check`, then `--renew`")
    assert [(s.method, s.span) for s in service.seen] == [("GET", "bytes=0-65535")]
    assert store.get(wanted) is None
    assert not store.verify().entries
    faults.record(
        "reading",
        "a file replaced in place since the lock",
        "one clear error",
        "of another size, another ETag or both: one request, nothing stored; the message names `lock --check`",
    )


def test_a_file_as_locked_is_read_and_what_the_lock_leaves_out_is_not_compared(service: FileService) -> None:
    full = locked(service)
    weak = replace(full, etag=f"W/{full.etag}")
    with CogReader(patience=QUICK) as reader:
        for wanted in (full, weak, replace(full, etag=None), replace(full, size_bytes=None)):
            assert right(reader.read(wanted))


def test_a_local_file_of_another_size_than_locked_is_not_read(service: FileService) -> None:
    path = service.folder / "NONE.tif"
    size = path.stat().st_size
    wanted = replace(request(service), href=str(path), size_bytes=size)
    with CogReader(patience=QUICK) as reader:
        assert right(reader.read(wanted))
        with pytest.raises(SourceError, match=f"size {size} bytes, {size - 1} in the lock"):
            reader.read(replace(wanted, size_bytes=size - 1))


@contextmanager
def answering(span: str, body: bytes, etag: str | None = None) -> Iterator[tuple[str, list[str | None], list[int]]]:
    """A server, or proxy, that gives every request this part in chunks of 1 KiB, whatever was asked for.

    Yields its host and port, the credentials that came, and how many bytes it got rid of, by request.
    """
    credentials: list[str | None] = []
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            credentials.append(self.headers["Proxy-Authorization"])
            self.send_response(206)
            self.send_header("Content-Range", span)
            self.send_header("Transfer-Encoding", "chunked")
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            sent.append(0)
            try:
                for at in range(0, len(body), 1024):
                    piece = body[at : at + 1024]
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    sent[-1] += len(piece)
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", credentials, sent
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("written", "meant"),
    [("me:p%40ss", b"me:p@ss"), ("m%3Ae:p%25ss", b"m:e:p%ss"), ("me:%E2%82%AC", "me:\u20ac".encode())],
)
def test_credentials_of_a_proxy_are_sent_as_they_are_meant(
    written: str, meant: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering("bytes 0-3/9", b"abcd") as (host, credentials, _):
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://{written}@{host}")
        client = Client(2, 2)
        assert client.get("http://files.invalid/a.tif", 0, 4) == (b"abcd", 9, None)
        client.close()
    assert credentials == [f"Basic {b64encode(meant).decode()}"]


@pytest.mark.parametrize("more", [1, 64 * PIECE_BYTES], ids=["one byte", "64 MiB"])
def test_a_body_that_goes_on_after_its_range_is_given_up(more: int) -> None:
    with answering("bytes 0-3/9", b"abcd" + bytes(more)) as (host, _, sent):
        client = Client(2, 20)
        with pytest.raises(NoBytesError, match="more than the 4 bytes of the range came"):
            client.get(f"http://{host}/a.tif", 0, 4)
        client.close()
    assert sent[0] <= min(4 + more, 32 * PIECE_BYTES)  # what lay in the sockets, and no more


def test_a_range_file_gives_exactly_the_bytes_asked_for() -> None:
    with answering("bytes 0-3/9", b"abcd") as (host, _, sent):
        client = Client(2, 2)
        file = RangeFile(client, f"http://{host}/a.tif")
        assert (file.size_bytes, file.etag, file.read(1, 2)) == (9, None, b"bc")
        for offset, length in ((-1, 2), (-(2**63), 4), (2, -1)):
            with pytest.raises(NoBytesError, match="no place in a file"):
                file.read(offset, length)
        assert len(sent) == 1
        with pytest.raises(NoBytesError, match="a range of 4 bytes came where 8 were asked for"):
            file.read(0, 8)
        client.close()


def test_after_one_window_failed_the_rest_is_not_begun(service: FileService, tmp_path: Path) -> None:
    (service.folder / "NONE.tif").unlink()
    kept: list[Request] = []
    requests = [request(service, row=i) for i in range(40)]
    requests.insert(3, request(service, "NONE.tif"))
    with (
        CogReader(Tokens(service), threads=2, patience=QUICK) as reader,
        pytest.raises(SourceError, match=r"NONE\.tif"),
    ):
        reader.read_all(requests, lambda r, _: kept.append(r))
    assert 0 < len(kept) < 30


def test_windows_are_read_side_by_side_and_twins_once(service: FileService) -> None:
    meet = threading.Barrier(4, timeout=20)
    with CogReader(Tokens(service), threads=4) as reader:
        requests = [request(service, row=100 + 50 * i) for i in range(4)]
        found = reader.read_all([*requests, requests[0]], lambda *_: (meet.wait(), None)[1])
    assert len(found) == 4
    assert all(right(found[r], 100 + 50 * i) for i, r in enumerate(requests))


def test_addresses_lose_their_secrets() -> None:
    assert shown("https://me:pw@host.example/a/b.tif?sig=x#y") == "https://host.example/a/b.tif"
    assert (
        without_query("'/vsicurl/https://h/a.tif?sig=abc%3D&se=1' not recognised")
        == "'/vsicurl/https://h/a.tif?...' not recognised"
    )


def test_the_page_of_faults_lists_what_the_tests_make(root: Path) -> None:
    page = faults.listed((root / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert page == faults.named(), "run python -m tests.chips.faults"
