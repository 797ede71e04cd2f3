"""The twin's services for the length of a block: the real clients of a child process, and nobody left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from pystac_client import Client

from harness.chips.lock import read_lock
from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS, Socrata
from harness.claims.families import Adapter, Family, Pin
from harness.claims.model import Source
from harness.errors import SourceError, WeightsError
from harness.twin import imagery, serve
from harness.twin.city import City, make_city, scenes
from harness.twin.footprints import rows
from harness.twin.products import Product, products
from harness.twin.serve import Served, city_folder, repositories_of, served
from harness.twin.services import HOSTS, PAGE, Services, href
from harness.twin.wire import serving

SEED = 7
AOI = "twin_card_r1c1"
ROOT = Path(__file__).resolve().parents[2]
DAYS = ("2024-05-05", "2024-08-05", "2024-08-12")
"""Of the pictures served here: May under cloud, August, and August's radar. All of them take a minute to draw."""

BLOB = href("copernicus-dem", "COP30_hh/Copernicus_DSM_COG_10_N40_00_W074_00_DEM_data.tif")


def few() -> list[Product]:
    """Some of the twin's products."""
    return [one for one in products() if one.look is None or one.look.when[:10] in DAYS]


@dataclass
class Twin:
    """A small part of the twin, served."""

    served: Served
    cache: Path
    """Where its city lies."""
    work: Path
    """Where children work."""
    city: City

    def asked(self, url: str, **headers: str) -> requests.Response:
        """An address as a client with these variables asks it."""
        env = self.served.environment
        proxies = {"http": env["http_proxy"], "https": env["https_proxy"]}
        return requests.get(url, headers=headers, proxies=proxies, verify=env["REQUESTS_CA_BUNDLE"], timeout=20)

    def token(self, account: str = "elevationeuwest", container: str = "copernicus-dem") -> str:
        """A token as the endpoint gives it."""
        where = self.served.environment["PC_SDK_SAS_URL"]
        return str(requests.get(f"{where}/{account}/{container}", timeout=20).json()["token"])


def python(words: Sequence[str], twin: Twin, given: str = "") -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "MPLCONFIGDIR", "TMPDIR", "LANG")}
    return subprocess.run(  # noqa: S603 (our own interpreter and code)
        [sys.executable, *words],
        input=given,
        capture_output=True,
        text=True,
        env={**kept, **twin.served.environment, "PYTHONPATH": str(ROOT)},
        cwd=twin.work,
        timeout=120,
        check=False,
    )


def pinned_family() -> Family:
    here = Source(repository="tests", path="twin/test_serve.py")
    return Family(
        id="small",
        title="Small",
        author="Nobody",
        pins=[
            Pin(repository="someone/adapters", revision="a" * 40, source=here),
            Pin(repository="institute/base", revision="b" * 40, file="base.pt", source=here),
        ],
        adapters=[Adapter(id="lulc", title="Land cover", task="t", classes=5, folder="lulc", report="r")],
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a family, of no use but to be fetched."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "lulc").mkdir()
    (folder / "base.pt").write_bytes(bytes(range(256)) * 40)
    (folder / "lulc" / "adapter_config.json").write_text('{"r": 4}')
    for name in ("adapter_model", "decoder_head"):
        (folder / "lulc" / f"{name}.safetensors").write_bytes(name.encode() * 200)
    (folder / "notes.txt").write_text("pinned by nobody")
    return folder


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Twin]:
    cache = tmp_path_factory.mktemp("cities")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagery, "products", few)
        city_folder(cache, SEED, lambda _: None)
    with served(cache, SEED, weights, pinned_family(), lambda _: None) as made:
        yield Twin(made, cache, tmp_path_factory.mktemp("work"), make_city(SEED))


def listens(address: str) -> bool:
    parts = urlsplit(address)
    try:
        socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def test_an_aoi_is_locked_and_read_through_signed_addresses(twin: Twin) -> None:
    aoi = next(one for one in scenes(twin.city, "card") if one.id == AOI)
    properties = json.loads(aoi.model_dump_json(exclude={"centre"}))
    point = {"type": "Point", "coordinates": list(aoi.centre)}
    feature = {"type": "Feature", "geometry": point, "properties": properties}
    (twin.work / "aois.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    harness = ("-m", "harness.cli")
    options = (f"--address={twin.served.address}", "--recipe=training-code", f"--aoi={AOI}")
    locked = python((*harness, "lock", "aois.geojson", *options), twin)
    assert locked.returncode == 0, locked.stderr
    (one,) = read_lock(twin.work / "locks" / "aois.lock.json").aois
    assert {s.datetime[:10] for t in one.timesteps if t.modality == "S2L2A" for s in t.scenes} == {"2024-08-05"}
    assert {(p.source, p.rows > 0) for p in one.labels} == {("nyc-footprints", True), ("nyc-boroughs", True)}
    addresses = {a.href for t in one.timesteps for s in t.scenes for a in s.assets.values()}
    assert {str(urlsplit(address).hostname) for address in addresses} == set(HOSTS)
    counts = twin.served.counts
    before = counts["file"]
    tokens = counts["token"]
    read = python((*harness, "chips", "locks/aois.lock.json", "--json"), twin)
    assert read.returncode == 0, read.stderr
    (chip,) = json.loads(read.stdout)["aois"]
    assert chip["reason"] is None
    assert chip["valid"] == {"S2L2A": 1.0, "S1RTC": 1.0}
    assert counts["file"] - before >= chip["read"] > 12
    assert counts["token"] - tokens >= 3, "a container each, in a process of its own"
    assert {k: n for k, n in counts.items() if "refused" in k} == {}
    assert set(twin.served.hosts) == set(HOSTS)
    assert twin.served.outside == []


def test_the_catalogue_filters_sorts_and_pages(twin: Twin) -> None:
    catalogue = Client.open(twin.served.address)
    everything = [i.id for i in catalogue.search(method="POST", limit=100).items()]
    assert len(everything) == len(few()) > PAGE
    assert sorted({*everything}) == sorted(one.id for one in few())
    asked = {"collections": ["sentinel-2-l2a"], "method": "POST"}
    clear = list(catalogue.search(query={"eo:cloud_cover": {"lte": 20}}, **asked).items())
    assert {i.datetime.date().isoformat() for i in clear if i.datetime} == {"2024-08-05"}
    for direction, days in (("asc", ["05-05", "08-05", "08-05"]), ("desc", ["08-05", "08-05", "05-05"])):
        by = [{"field": "properties.datetime", "direction": direction}]
        found = catalogue.search(sortby=by, limit=1, **asked).items()
        assert [str(i.datetime)[5:10] for i in found] == days
    assert not list(catalogue.search(bbox=[-80, 40, -79, 41], method="POST").items())
    may = catalogue.search(datetime="2024-05-01T00:00:00Z/2024-05-31T00:00:00Z", **asked)
    assert [i.properties["s2:mgrs_tile"] for i in may.items()] == ["18TWK"]
    refused = requests.post(f"{twin.served.address}/search", json={"filter": "eo:cloud_cover < 20"}, timeout=20)
    assert (refused.status_code, "filter" in refused.text) == (400, True)


def test_the_store_takes_its_own_tokens_and_serves_ranges(twin: Twin) -> None:
    part = twin.asked(f"{BLOB}?{twin.token()}", Range="bytes=1000-1999")
    (file,) = twin.cache.glob("seed-*/copernicus-dem/COP30_hh/*.tif")
    assert (part.status_code, part.content) == (206, file.read_bytes()[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{file.stat().st_size}"
    later = (datetime.now(UTC) + timedelta(days=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stretched = twin.token().replace(parse_qs(twin.token())["se"][0].replace(":", "%3A"), later)
    assert later in stretched
    for query in ("", f"?{stretched}", f"?{twin.token('ai4edataeuwest', 'esa-worldcover')}"):
        assert twin.asked(BLOB + query).status_code == 403, query
    assert twin.asked(f"{BLOB}.away?{twin.token()}").status_code == 404
    other = BLOB.replace("elevationeuwest", "ai4edataeuwest")
    assert twin.asked(f"{other}?{twin.token()}").status_code == 404, "another account's address"
    foreign = requests.get(f"{twin.served.environment['PC_SDK_SAS_URL']}/elevationeuwest/esa-worldcover", timeout=20)
    assert foreign.status_code == 404


def test_an_expired_token_is_refused(twin: Twin) -> None:
    (folder,) = twin.cache.glob("seed-*")
    headers = {"Host": "elevationeuwest.blob.core.windows.net"}
    got = []
    for life_s in (60.0, -1.0):
        services = Services(folder, [], {}, {}, life_s=life_s)
        with serving(services.open_app()) as base, serving(services.store_app()) as store:
            token = requests.get(f"{base}/token/elevationeuwest/copernicus-dem", timeout=20).json()["token"]
            got.append(requests.get(f"{store}{urlsplit(BLOB).path}?{token}", headers=headers, timeout=20).status_code)
    assert got == [200, 403]


@pytest.mark.parametrize("path", ["//etc/hostname", "/..%2F..%2Fitems.json", "/%2e%2e/items.json"])
def test_nothing_outside_a_container_is_served(path: str, tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text("{}")
    (tmp_path / "city" / "copernicus-dem").mkdir(parents=True)
    services = Services(tmp_path / "city", [], {}, {})
    with serving(services.open_app()) as base, serving(services.store_app()) as store:
        token = requests.get(f"{base}/token/elevationeuwest/copernicus-dem", timeout=20).json()["token"]
        with socket.create_connection(("127.0.0.1", int(urlsplit(store).port or 0))) as line:
            host = "Host: elevationeuwest.blob.core.windows.net\r\nConnection: close"
            line.sendall(f"GET /copernicus-dem{path}?{token} HTTP/1.1\r\n{host}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65_536), b""))
    assert b" 404 " in answer.splitlines()[0]


@pytest.mark.parametrize("url", ["https://example.org/x", "http://example.org/x"])
def test_a_host_outside_is_refused_and_recorded(url: str, twin: Twin) -> None:
    before = len(twin.served.outside)
    code = f"import urllib.request as u\ntry: u.urlopen({url!r}, timeout=20)\nexcept OSError as err: print(err)"
    done = python(("-c", code), twin)
    assert "403" in done.stdout, done
    (refused,) = twin.served.outside[before:]
    assert "example.org" in refused
    del twin.served.outside[before:]


def test_the_portal_answers_a_box_in_pages(twin: Twin) -> None:
    client = Socrata(twin.served.environment["HARNESS_SOCRATA"], page=100)
    west, south, east, north = box = (-73.9, 40.2, -73.8, 40.28)
    got = client.read(FOOTPRINTS, ("bin", "construction_year", "the_geom"), box)
    inside = []
    for row in rows(twin.city):
        lon, lat = zip(*row["the_geom"]["coordinates"][0][0], strict=True)
        if west < min(lon) and max(lon) < east and south < min(lat) and max(lat) < north:
            inside.append(row[":id"])
    assert [row[":id"] for row in got.rows] == inside
    assert len(inside) > 200
    assert client.count(FOOTPRINTS, (west, north, east, south)) == 0, "a box turned over"
    assert len(client.read(BOROUGHS, ("borocode",)).rows) == 5
    with pytest.raises(SourceError, match="No such column"):
        client.read(FOOTPRINTS, ("height",), box)
    with pytest.raises(SourceError, match="404"):
        client.read("none-none", ("bin",))
    asked = {"$where": "bin = 1", "$select": ":id"}
    where = f"{client.address}/resource/{FOOTPRINTS}.json"
    assert requests.get(where, params=asked, timeout=20).status_code == 400


def test_the_hub_gives_a_family_its_files(twin: Twin, weights: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.claims.families import Family; "
        "from harness.models.hub import fetch_family; "
        "fetch_family(Family.model_validate_json(sys.stdin.read()), Path('fetched'), print)"
    )
    done = python(("-c", code), twin, pinned_family().model_dump_json())
    assert done.returncode == 0, done.stderr
    for path in ("base.pt", "lulc/adapter_config.json", "lulc/adapter_model.safetensors"):
        assert (twin.work / "fetched" / path).read_bytes() == (weights / path).read_bytes()
    record = json.loads((twin.work / "fetched" / "hub.json").read_text())
    assert {f["revision"] for f in record["files"]} == {"a" * 40, "b" * 40}
    assert record["moved"] == []
    base = twin.served.environment["HF_ENDPOINT"]
    for gone in ("institute/base/resolve/main/notes.txt", "institute/base/resolve/ccc/base.pt", "no/base"):
        assert requests.get(f"{base}/{gone}", timeout=20).status_code == 404, gone


def test_weights_that_are_not_there_are_named(weights: Path) -> None:
    family = pinned_family()
    lacking = family.model_copy(update={"adapters": [family.adapters[0].model_copy(update={"folder": "tim"})]})
    with pytest.raises(WeightsError, match="tim: not there, and family small pins it"):
        repositories_of(lacking, weights)


def test_a_city_is_drawn_once_and_again_when_the_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(serve, "_make", lambda seed, half, ready: half.replace(ready))
    first = city_folder(tmp_path / "cities", 1, said.append)
    assert city_folder(tmp_path / "cities", 1, said.append) == first
    assert len(said) == 1
    other = city_folder(tmp_path / "cities", 2, said.append)
    (tmp_path / "city.py").write_text("changed")
    monkeypatch.setattr(serve, "__file__", str(tmp_path / "serve.py"))
    assert len({first, other, city_folder(tmp_path / "cities", 1, said.append)}) == 3


def test_a_drawing_that_ends_early_leaves_nothing_and_the_next_clears_up(
    twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagery, "products", lambda: few()[-1:])
    monkeypatch.setattr(serve, "make_city", lambda _: twin.city)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(serve, "borough_rows", stopped)
        with pytest.raises(KeyboardInterrupt):
            city_folder(tmp_path, SEED, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    (tmp_path / "half-abc").mkdir()  # as a SIGKILL leaves it
    made = city_folder(tmp_path, SEED, lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", made.name]
    (item,) = json.loads((made / serve.ITEMS).read_text())
    (asset,) = item["assets"].values()
    assert (made / urlsplit(asset["href"]).path.lstrip("/")).is_file()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SourceError, match="taken: the twin's city cannot be written"):
        city_folder(tmp_path / "taken", SEED, lambda _: None)


WORKING = """
import sys, time
from pathlib import Path
from harness.twin.serve import _workplace
with _workplace(Path(sys.argv[1])) as work:
    (work / "window.npy").write_bytes(b"0" * 1000)
    print(work, flush=True)
    time.sleep(120)
"""
"""A command that has begun."""


def test_what_a_killed_command_left_goes_with_the_next_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    def begun() -> tuple[subprocess.Popen[str], Path]:
        command = [sys.executable, "-c", WORKING, str(tmp_path)]
        child = subprocess.Popen(  # noqa: S603 (our own code)
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert child.stdout is not None
        return child, Path(child.stdout.readline().strip())

    (killed, left), (living, own) = begun(), begun()
    try:
        killed.kill()
        killed.wait()
        assert (left / "window.npy").is_file()
        with serve._workplace(tmp_path) as work:
            assert not left.exists()
            assert (own / "window.npy").is_file()
            assert work.is_dir()
        assert not work.exists()
    finally:
        living.kill()
        living.wait()
        for child in (killed, living):
            assert child.stdout is not None
            child.stdout.close()


def test_everything_is_gone_after_an_error(twin: Twin) -> None:
    before, seen = set(threading.enumerate()), []

    def fails() -> None:
        with served(twin.cache, SEED, None, None, print) as made:
            seen.append(made)
            assert requests.get(made.address, timeout=20).ok
            assert Twin(made, twin.cache, twin.work, twin.city).asked(BLOB).status_code == 403
            assert Path(made.environment["REQUESTS_CA_BUNDLE"]).exists()
            raise LookupError("in the middle")

    with pytest.raises(LookupError, match="in the middle"):
        fails()
    assert not listens(seen[0].address)
    assert not listens(seen[0].environment["https_proxy"])
    assert not Path(seen[0].environment["REQUESTS_CA_BUNDLE"]).exists()
    assert not set(threading.enumerate()) - before


PARENT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from pathlib import Path
import requests
from harness.twin.serve import served
with served(Path(sys.argv[1]), 7, None, None, print) as made:
    env = made.environment
    proxies = {"https": env["https_proxy"]}
    url = "https://elevationeuwest.blob.core.windows.net/x/y"
    print(requests.get(url, proxies=proxies, verify=env["REQUESTS_CA_BUNDLE"], timeout=20).status_code)
    print(made.address, env["https_proxy"], env["HARNESS_CACHE"], flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_parent_leaves_no_port_and_no_process(kind: signal.Signals, twin: Twin) -> None:
    with subprocess.Popen(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-c", PARENT, str(twin.cache)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == "403", "nobody signed"
        address, proxy, cache = parent.stdout.readline().split()
        assert listens(address)
        assert listens(proxy)
        parent.send_signal(kind)
        _, err = parent.communicate(timeout=150)
    assert parent.returncode == -kind, err
    assert not listens(address)
    assert not listens(proxy)
    with pytest.raises(ProcessLookupError):
        os.killpg(parent.pid, 0)
    if kind == signal.SIGINT:
        assert "KeyboardInterrupt" in err
        assert not Path(cache).parent.exists()
