"""Signing by the real planetary-computer and reading by the real GDAL, at production addresses.

A child process reads https://<account>.blob.core.windows.net/... through a relay that leads to a
local store; tokens come from a local endpoint. Nothing of the two packages is replaced.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from harness.chips.signing import Signer, is_blob
from harness.errors import SourceError
from tests.services.proxy import Relay, certificates, relayed
from tests.services.stac import served
from tests.services.tokens import SECRET, Store, Tokens

HOST = "sentinel2l2a01.blob.core.windows.net"
HREF = f"https://{HOST}/sentinel2-l2/B02.tif"


@dataclass
class World:
    """The services, and what a child process needs to reach them."""

    tokens: Tokens
    store: Store
    relay: Relay
    endpoint: str
    environment: dict[str, str]
    folder: Path

    def run(self, code: str, timeout_s: float = 120) -> tuple[Any, str]:
        """A child's last line as JSON, and everything that it said and wrote."""
        prelude = """
            import json, logging, sys, urllib.request, warnings
            import rasterio
            from rasterio.errors import RasterioIOError
            from harness.chips.items import redacted
            from harness.chips.signing import Signer
            logging.basicConfig(level=logging.DEBUG)
            HREF, ENDPOINT = sys.argv[1:3]
            def read(address):
                with rasterio.open(address) as source:
                    return int(source.read(1).sum())
            def expire():
                urllib.request.urlopen(ENDPOINT + "/control/expire").read()
        """
        script = textwrap.dedent(prelude) + textwrap.dedent(code)
        done = subprocess.run(  # noqa: S603 (our own interpreter and code)
            [sys.executable, "-c", script, HREF, self.endpoint],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        files = "".join(p.read_text(errors="replace") for p in self.folder.rglob("*") if p.is_file())
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr + files


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    return np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


@pytest.fixture
def world(tmp_path: Path, root: Path, pixels: np.ndarray[Any, Any]) -> Iterator[World]:
    blobs = tmp_path / "blobs" / "sentinel2-l2"
    blobs.mkdir(parents=True)
    with rasterio.open(
        blobs / "B02.tif",
        "w",
        driver="GTiff",
        height=64,
        width=64,
        count=1,
        dtype="uint16",
        crs="EPSG:32618",
        transform=rasterio.Affine(10, 0, 499_980, 0, -10, 4_600_020),
    ) as out:
        out.write(pixels, 1)
    certs = tmp_path / "certs"
    certs.mkdir()
    files = certificates(certs, HOST)
    tokens = Tokens()
    store = Store(tmp_path / "blobs", tokens)
    home = tmp_path / "home"
    home.mkdir()
    with (
        served(store.app(), ssl_certfile=str(files.chain), ssl_keyfile=str(files.key)) as target,
        served(tokens.app()) as endpoint,
        relayed(target) as (proxy, relay),
    ):
        kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {
            "PYTHONPATH": str(root),
            "HOME": str(home),
            "https_proxy": proxy,
            "no_proxy": "127.0.0.1",
            "PC_SDK_SAS_URL": f"{endpoint}/token",
            "PC_SDK_SUBSCRIPTION_KEY": "subscription-k3y",
            "REQUESTS_CA_BUNDLE": str(files.authority),
            "GDAL_CURL_CA_BUNDLE": str(files.authority),
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        }
        yield World(tokens, store, relay, endpoint, environment, home)


def no_secret_in(text: str) -> None:
    for word in (SECRET, "sig=", "sig%3D", "subscription-k3y"):
        assert word not in text, word
    assert re.findall(r"[?&\s'\"](?:se|st|sp|sv)(?:=|%3D).{0,80}", text) == []


def test_a_blob_is_read_at_its_production_address_with_a_token(world: World, pixels: np.ndarray[Any, Any]) -> None:
    said, everything = world.run(
        """
        signer = Signer()
        signed = signer.signed(HREF)
        again = signer.signed(HREF)
        print(json.dumps({"sum": read(signed), "same": again == signed, "signed": signed != HREF}))
        """
    )
    assert said == {"sum": int(pixels.sum()), "same": True, "signed": True}
    assert world.tokens.asked == ["sentinel2l2a01/sentinel2-l2"]  # one request; none would mean that nothing was signed
    assert world.tokens.keys == ["subscription-k3y"]
    assert set(world.relay.hosts) == {HOST}
    assert {status for _, status in world.store.served} == {200}
    no_secret_in(everything)


def test_an_unsigned_address_is_refused_by_the_store(world: World) -> None:
    said, _ = world.run(
        """
        try:
            read(HREF)
            print(json.dumps("read"))
        except RasterioIOError as err:
            print(json.dumps(redacted(str(err))))
        """
    )
    assert "403" in said or "not exist" in said
    assert world.tokens.asked == []
    assert {status for _, status in world.store.served} == {403}


def test_a_token_that_expires_in_the_middle_of_a_run_is_renewed(world: World, pixels: np.ndarray[Any, Any]) -> None:
    said, everything = world.run(
        """
        signer = Signer()
        first = signer.signed(HREF)
        out = {"before": read(first)}
        expire()
        try:
            with rasterio.Env(CPL_VSIL_CURL_NON_CACHED="/vsicurl/https://"):
                read(first)
        except RasterioIOError as err:
            out["error"] = redacted(str(err))
            logging.getLogger("rasterio").error("cannot read %s", err)
        second = signer.renewed(HREF, first)
        out["after"] = read(second)
        out["third"] = signer.renewed(HREF, first) == second
        print(json.dumps(out))
        """
    )
    assert said["before"] == said["after"] == int(pixels.sum())
    assert said["error"]
    assert said["third"] is True  # a reader that comes late takes the token that another has fetched
    assert len(world.tokens.asked) == 2
    assert 403 in {status for _, status in world.store.served}
    no_secret_in(everything)


def test_a_token_about_to_end_is_renewed_before_it_is_used(world: World) -> None:
    world.tokens.life_s = 30
    said, _ = world.run("""
        signer = Signer()
        print(json.dumps(signer.signed(HREF) != signer.signed(HREF)))
    """)
    assert said is True
    assert len(world.tokens.asked) == 2


def test_many_readers_ask_once(world: World) -> None:
    said, _ = world.run("""
        from concurrent.futures import ThreadPoolExecutor
        signer = Signer()
        hrefs = [HREF.replace("B02", f"B{n:02d}") for n in range(64)]
        with ThreadPoolExecutor(32) as pool:
            print(json.dumps(len(set(pool.map(signer.signed, hrefs)))))
    """)
    assert said == 64
    assert len(world.tokens.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_the_token_endpoint_is_asked_again(status: int, world: World) -> None:
    world.tokens.faults = [(status, {"Retry-After": "0"})]
    said, _ = world.run("print(json.dumps(Signer().signed(HREF) != HREF))")
    assert said is True
    assert len(world.tokens.asked) == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((401, {}), "HTTP 401"),
        ("html", "the answer is no token"),
        ("leak", "the answer is no token"),
        ("hang", "no answer within 1 s"),
    ],
)
def test_an_endpoint_that_gives_no_token_is_one_clear_error(fault: Any, message: str, world: World) -> None:
    world.tokens.faults = [fault]
    said, everything = world.run(
        """
        import traceback
        from harness.errors import SourceError
        try:
            Signer(wait_s=1.0).signed(HREF)
            print(json.dumps("signed"))
        except SourceError as err:
            traceback.print_exc()
            print(json.dumps(str(err)))
        """
    )
    assert said.startswith("no token for sentinel2l2a01/sentinel2-l2 from http://127.0.0.1")
    assert message in said
    no_secret_in(everything)


def test_an_endpoint_that_repeats_a_refused_token_is_an_error(world: World) -> None:
    world.tokens.stubborn = True
    said, everything = world.run(
        """
        from harness.errors import SourceError
        signer = Signer()
        first = signer.signed(HREF)
        try:
            signer.renewed(HREF, first)
            print(json.dumps("renewed"))
        except SourceError as err:
            print(json.dumps(str(err)))
        """
    )
    assert len(world.tokens.asked) == 2
    assert "hands out the same token again" in said
    no_secret_in(everything)


def test_what_needs_a_signature_and_what_does_not() -> None:
    assert is_blob(HREF)
    assert not is_blob("https://sentinel-cogs.s3.us-west-2.amazonaws.com/x.tif")
    assert not is_blob("https://blob.core.windows.net.example.org/c/x.tif")
    assert not is_blob("https://ai4edatasetspublicassets.blob.core.windows.net/assets/x.png")
    assert Signer().signed("https://h.example/x.tif") == "https://h.example/x.tif"


@pytest.mark.parametrize(
    ("href", "message"),
    [
        (f"https://{HOST}:8443/c/x.tif", "a blob address with a port is never signed"),
        (f"https://{HOST}/x.tif", "names a container and a file"),
        (f"{HREF}?se=2024-01-01&sig={SECRET}", "already signed"),
    ],
)
def test_addresses_that_would_stay_unsigned_in_silence_are_errors(href: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        Signer().signed(href)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_only_blobs_are_renewed() -> None:
    with pytest.raises(SourceError, match="no address that is signed"):
        Signer().renewed("https://h.example/x.tif", "https://h.example/x.tif")


@pytest.fixture
def usual_records() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("usual_records")
@pytest.mark.parametrize("name", ["urllib3.connectionpool", "rasterio._base", "anything"])
def test_logs_of_any_package_lose_their_signatures(name: str, caplog: pytest.LogCaptureFixture) -> None:
    Signer()
    Signer()
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger(name)
    log.debug('%s "GET %s HTTP/1.1" %d', HOST, f"/c/x.tif?se=1&sig={SECRET}", 403)
    log.debug("nothing in %s", "here")
    assert caplog.messages == [f'{HOST} "GET /c/x.tif?[token removed] HTTP/1.1" 403', "nothing in here"]
    try:
        raise OSError(f"{HREF}?se=1&sig={SECRET} does not exist")
    except OSError:
        log.exception("failed")
    assert "B02.tif?[token removed] does not exist" in caplog.text
    no_secret_in(caplog.text)
