"""Chips read at production addresses by the real signer and the real reader, and where their tokens end up.

A child runs the chain; https goes through a relay to a local store that wants a token of the right
container, tokens come from a local endpoint. After every run everything that it wrote is searched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.chips.assemble import read_chip
from harness.chips.scenes import Lock
from harness.chips.sources.cog import CogReader
from harness.chips.store import Store
from tests.chips import faults
from tests.chips.realm import Realm, build, recipe
from tests.services.azure import ACCOUNTS, KEY, Azure, Ran, azure, leaks
from tests.services.files import Fault
from tests.services.tokens import SECRET

S2 = "sentinel2l2a01/sentinel2-l2"
"""Account and container of the optical scenes, asked for first."""


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Realm:
    return build(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="module")
def unsigned(realm: Realm, root_of_checkout: Path) -> str:
    """Hash of the chip that is read from the files themselves."""
    with CogReader(threads=4) as reader:
        return read_chip(realm.local(), recipe(root_of_checkout), reader).chip.sha256


@pytest.fixture(scope="module")
def root_of_checkout() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture
def world(realm: Realm, tmp_path: Path, root: Path) -> Iterator[Azure]:
    with azure(realm.blobs, tmp_path / "certificates", root) as made:
        yield made


@pytest.fixture
def home(realm: Realm, tmp_path: Path) -> Path:
    """A folder with a lock: the child never searches."""
    folder = tmp_path / "home"
    folder.mkdir()
    lock = Lock(created="2026-01-02T03:04:05Z", aois=[realm.lock])
    (folder / "lock.json").write_text(lock.model_dump_json(), encoding="utf-8")
    return folder


def run(world: Azure, home: Path, **words: object) -> Ran:
    """Run the chain, and search everything that it wrote."""
    given = {"api": world.api, "root": world.environment["PYTHONPATH"], **words}
    ran = world.run(["-m", "tests.chips.chain", json.dumps(given)], home)
    assert ran.status in (0, 3), ran.text("stderr")[-3000:]
    assert "DEBUG" in ran.text("stderr"), "logs were written at all"
    assert "run.log" in ran.wrote
    assert leaks(ran) == []
    assert Store(home / "store").verify().sound
    return ran


def refused(ran: Ran) -> str:
    """What a run that failed as it should said; no chip came of it."""
    assert ran.status == 3
    assert set(ran.said) == {"error", "kind"}
    assert ran.said["kind"] == "SourceError"
    assert "Traceback" in ran.text("stderr"), "the whole traceback was printed, causes too"
    assert ran.text("stderr").count("failed") > 0
    return str(ran.said["error"])


def unsigned_requests(world: Azure) -> list[str]:
    """What was read without a token of its own container; or that nobody asked for a token."""
    if not world.tokens.asked:
        return ["no signing request was seen"]
    wanted = {f"/{container}/": f"{account}/{container}" for container, account in ACCOUNTS.items()}
    return [
        f"{seen.path}: {seen.token}"
        for seen in world.files.seen
        if world.tokens.given.get(seen.token or "")
        != next(place for start, place in wanted.items() if seen.path.startswith(start))
    ]


def test_a_chip_from_signed_addresses_equals_the_unsigned_one(
    world: Azure, home: Path, unsigned: str, realm: Realm
) -> None:
    ran = run(world, home)
    assert ran.said["sha256"] == unsigned
    assert (ran.said["read"], ran.said["stored"]) == (16, 0)
    assert set(ran.said["valid"].values()) == {1.0}
    assert unsigned_requests(world) == []
    assert sorted(world.tokens.asked) == sorted(f"{account}/{container}" for container, account in ACCOUNTS.items())
    assert set(world.tokens.keys) == {KEY}
    assert set(world.relay.hosts) == {f"{account}.blob.core.windows.net" for account in ACCOUNTS.values()}
    assert {seen.status for seen in world.files.seen} == {200}
    assert world.catalogue.asked == [], "a run with a lock searched"
    before = len(world.files.seen), len(world.tokens.asked)
    again = run(world, home)
    assert again.said["sha256"] == unsigned
    assert (again.said["read"], again.said["stored"]) == (0, 16)
    assert (len(world.files.seen), len(world.tokens.asked)) == before


UNSIGNED = """
import json, sys
from pathlib import Path
from harness.chips.assemble import read_chip
from harness.chips.lock import read_lock
from harness.chips.sources.cog import CogReader
from tests.chips.realm import recipe
with CogReader() as reader:
    found = read_chip(read_lock(Path("lock.json")).aois[0], recipe(Path(sys.argv[1])), reader)
print(json.dumps({"sha256": found.chip.sha256}))
"""
"""What the chain would be with signing switched off."""


def test_a_run_that_signs_nothing_is_noticed(world: Azure, home: Path, unsigned: str, root: Path) -> None:
    world.files.tokens = None  # a store that takes everybody
    ran = world.run(["-c", UNSIGNED, str(root)], home)
    assert ran.said == {"sha256": unsigned}, "the pixels do not show it"
    assert unsigned_requests(world) == ["no signing request was seen"]


PLANTED = """
import json, logging, sys
from pathlib import Path
token = sys.argv[1]
logging.basicConfig(level=logging.DEBUG, handlers=[logging.FileHandler("run.log")])
logging.getLogger("rasterio").debug("GET https://x.blob.core.windows.net/c/x.tif?%s", token)
print(token)
print(f"failed: {token}", file=sys.stderr)
Path("lock.json").write_text(json.dumps({"href": f"https://x.blob.core.windows.net/c/x.tif?{token}"}))
Path("store/objects/ab").mkdir(parents=True)
Path("store/objects/ab/abcd.npy").write_bytes(bytes(range(256)) + token.encode() + bytes(range(256)))
"""


@pytest.mark.parametrize("token", [f"se=1&sig={SECRET}7", f"se%3D1%26sig%3D{SECRET}7", f"key {KEY}"])
def test_a_token_is_found_wherever_it_was_written(token: str, world: Azure, home: Path) -> None:
    ran = world.run(["-c", PLANTED, token], home)
    assert ran.status == 0
    assert {line.partition(":")[0] for line in leaks(ran)} == {
        "stdout",
        "stderr",
        "run.log",
        "lock.json",
        "store/objects/ab/abcd.npy",
    }


def test_a_token_that_expires_between_header_and_tile_is_renewed(
    world: Azure, home: Path, unsigned: str, tmp_path: Path
) -> None:
    calm = tmp_path / "calm"
    shutil.copytree(home, calm)
    run(world, calm, threads=1)
    gets = [seen for seen in world.files.seen if seen.method == "GET"]
    tile = next(after for before, after in pairwise(gets) if before.path == after.path)
    before = world.files.seen.index(tile)  # so many requests come before the first tile of a file
    for memory in (world.files.seen, world.tokens.asked, world.tokens.given):
        memory.clear()
    world.files.lifetimes = {f"{SECRET}1": before}
    ran = run(world, home, threads=1)
    assert ran.said["sha256"] == unsigned
    assert world.tokens.asked.count(S2) == 2
    assert unsigned_requests(world) == []
    late = [seen for seen in world.files.seen if seen.status == 403]
    assert late
    assert {(seen.path, seen.token) for seen in late} == {(tile.path, f"{SECRET}1")}
    of_it = [(seen.token, seen.status, seen.span) for seen in world.files.requests(tile.path.strip("/"))]
    assert (f"{SECRET}1", 403, tile.span) in of_it, "the tile was refused"
    header = next(span for token, status, span in of_it if status == 200 and span is not None)
    assert of_it.index((f"{SECRET}1", 200, header)) < of_it.index((f"{SECRET}1", 403, tile.span))
    assert (f"{SECRET}2", 200, tile.span) in of_it, "and came with the second token"
    faults.record(
        "signing",
        "a token that expires between header and tile",
        "right result",
        "by the real signer: one new token, asked for once; the chip equals the one read unsigned",
    )


def test_tokens_that_die_under_many_readers_are_renewed_once_each(world: Azure, home: Path, unsigned: str) -> None:
    world.files.lifetimes = {f"{SECRET}{i}": 3 for i in range(1, 5)}
    ran = run(world, home, threads=16)
    assert ran.said["sha256"] == unsigned
    assert world.tokens.asked.count(S2) == 2
    assert len(world.tokens.asked) <= 8
    assert 403 in {seen.status for seen in world.files.seen}
    faults.record(
        "signing",
        "tokens that are taken back while 16 windows are read",
        "right result",
        "one new token a container, whoever notices first",
    )


def test_a_429_of_the_endpoint_is_waited_out(world: Azure, home: Path, unsigned: str) -> None:
    world.tokens.faults = [(429, {"Retry-After": "1"})]
    assert run(world, home, threads=1).said["sha256"] == unsigned
    assert world.tokens.asked[:2] == [S2, S2]
    assert world.tokens.came_s[1] - world.tokens.came_s[0] >= 1
    faults.record(
        "signing",
        "429 with Retry-After from the token endpoint",
        "right result",
        "the next request comes no sooner than it asked",
    )


def test_bursts_of_503_of_the_endpoint_are_outlasted(world: Azure, home: Path, unsigned: str) -> None:
    world.tokens.faults = [(503, {}), (503, {}), "ok", (503, {}), "ok", (503, {})]
    assert run(world, home, threads=1).said["sha256"] == unsigned
    assert len(world.tokens.asked) == 4 + 4
    faults.record(
        "signing", "bursts of 503 from the token endpoint", "right result", "the chip equals the unsigned one"
    )


def test_503_for_ever_is_one_clear_error(world: Azure, home: Path) -> None:
    world.tokens.faults = [(503, {})] * 99
    said = refused(run(world, home, retries=1))
    assert said == f"no token for {S2} from {world.endpoint}/token: HTTP 503; try again later"
    assert world.files.seen == []
    assert len(world.tokens.asked) < 16, "eight readers of one container ask together, not each for itself"
    faults.record(
        "signing",
        "503 for longer than patience from the token endpoint",
        "one clear error",
        "names container, endpoint and status; waiting readers share the answer; no file is asked for",
    )


def test_429_for_ever_names_the_subscription_key(world: Azure, home: Path) -> None:
    world.tokens.faults = [(429, {})] * 99
    said = refused(run(world, home, retries=1))
    assert "HTTP 429; PC_SDK_SUBSCRIPTION_KEY raises the limits" in said
    faults.record(
        "signing",
        "429 for ever from the token endpoint",
        "one clear error",
        "names the variable that raises the limits",
    )


def test_a_page_of_html_is_no_token(world: Azure, home: Path) -> None:
    world.tokens.faults = ["html"] * 99
    assert refused(run(world, home)).endswith("the answer is no token")
    assert world.files.seen == []
    faults.record("signing", "a 200 with an HTML page for a token", "one clear error", "no file is asked for")


@pytest.mark.parametrize("fault", ["nothing", "leak"])
def test_an_answer_without_a_token_is_one_clear_error(fault: str, world: Azure, home: Path) -> None:
    world.tokens.faults = [fault] * 99
    assert refused(run(world, home)).endswith("the answer is no token")
    if fault == "leak":
        faults.record(
            "signing",
            "an answer that is no token, though one stands in it",
            "one clear error",
            "what was answered is written nowhere",
        )


@pytest.mark.parametrize("fault", ["hang", (429, {"Retry-After": "3600"})], ids=["no answer", "an hour"])
def test_an_endpoint_that_keeps_us_waiting_is_given_up_once(
    fault: str | tuple[int, dict[str, str]], world: Azure, home: Path
) -> None:
    world.tokens.faults = [fault] * 99
    said = refused(run(world, home, wait_s=1.0))
    assert said.endswith("no answer within 1 s; try again later")
    assert len(world.tokens.asked) <= 4, "eight readers wait for one answer, not one after another"
    if fault == "hang":
        faults.record(
            "signing",
            "a token endpoint that does not answer",
            "one clear error",
            "given up after the stated time, once for all readers that wait",
        )
    else:
        faults.record(
            "signing",
            "429 with a Retry-After of an hour from the token endpoint",
            "one clear error",
            "given up after the stated time",
        )


def test_no_network_to_the_endpoint_is_one_clear_error(world: Azure, home: Path) -> None:
    world.environment["PC_SDK_SAS_URL"] = "http://127.0.0.1:1/token"
    said = refused(run(world, home, retries=0))
    assert said == f"no token for {S2} from http://127.0.0.1:1/token: no answer (ConnectionError); try again later"
    faults.record("signing", "no network to the token endpoint", "one clear error", "names container and endpoint")


def test_the_same_refused_token_again_is_one_clear_error(world: Azure, home: Path) -> None:
    world.tokens.stubborn = True
    world.files.lifetimes = {f"{SECRET}1": 4}
    said = refused(run(world, home))
    assert "refused, and the token endpoint hands out the same token again; wait and retry" in said
    assert len(world.tokens.asked) <= 12
    faults.record(
        "signing",
        "the same refused token handed out again",
        "one clear error",
        "after one new question; names the file without its token",
    )


def test_tokens_that_the_store_never_takes_are_one_clear_error(world: Azure, home: Path) -> None:
    world.files.lifetimes = {f"{SECRET}{i}": 0 for i in range(99)}
    said = refused(run(world, home, threads=1))
    assert "not read in 3 attempts, with 2 new tokens: answers 403" in said
    first = world.files.seen[0].path
    assert {seen.token for seen in world.files.requests(first.strip("/"))} == {f"{SECRET}{i}" for i in (1, 2, 3)}
    faults.record(
        "signing", "tokens that the store never takes", "one clear error", "two new tokens, then an error that says so"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(503), "not read in 4 attempts: answers 503"),
        (Fault(404), "answers 404; the scene vanished"),
        (Fault(429, retry_after_s=3600), "asks to wait 3600 s; try again after that"),
        (Fault(html=True), "with a page of text/html, not a raster"),
        (Fault(keep=0.5), "not read in 4 attempts"),
    ],
    ids=["503", "404", "429", "html", "cut"],
)
def test_a_read_that_fails_writes_its_token_nowhere(fault: Fault, words: str, world: Azure, home: Path) -> None:
    name = "sentinel2-l2/clear_B08.tif"
    world.files.always[name] = fault
    said = refused(run(world, home))
    assert said.startswith(f"https://sentinel2l2a01.blob.core.windows.net/{name}: ")
    assert words in said
    assert world.tokens.asked
    assert f"/{name}" in {seen.path for seen in world.files.seen}
    if fault.keep is not None:
        world.files.always.clear()
        done = run(world, home)
        assert done.status == 0
        assert done.said["read"] + done.said["stored"] == 16
        faults.record(
            "signing",
            "a read that fails at a signed address",
            "one clear error",
            "503, 404, 429, a page, a cut body: no token in output, traceback, DEBUG log, lock or store",
        )
