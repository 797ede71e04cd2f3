"""Weights through the real huggingface_hub, against a loopback Hub: pins, hashes, resume, offline, what moved."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from harness.claims.families import Adapter, Family, Pin, read_families
from harness.claims.model import Source
from harness.errors import RegistryError, SourceError, WeightsError
from harness.models import hub_client
from harness.models.hub import ADAPTER_FILES, RECORD, fetch_family, plan, wanted
from harness.models.hub_client import Hub
from tests.services.hub import HubService, commit, git_blob
from tests.services.socrata import serving

ADAPTERS, BASE = "someone/adapters", "institute/base"
TOKEN = "hf_" + "never" * 6


def content(name: str, size: int = 40_000) -> bytes:
    """Bytes of a file, made from its name."""
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def files(version: str) -> dict[str, bytes]:
    """What the adapters' repository holds."""
    out = {"README.md": b"# card " + version.encode()}
    for folder in ("lulc", "buildings"):
        out[f"{folder}/adapter_config.json"] = json.dumps({"r": 16, "of": folder}).encode()
        out[f"{folder}/adapter_model.safetensors"] = content(f"{folder} lora {version}")
        out[f"{folder}/decoder_head.safetensors"] = content(f"{folder} decoder")
    out["lulc/splits/test.txt"] = b"nyc_452U_625L_r0c0\n"
    return out


@pytest.fixture
def service() -> HubService:
    made = HubService()
    made.put(ADAPTERS, "pinned", files("one"))
    made.put(BASE, "base", {"base.pt": content("base", 300_000)})
    return made


@pytest.fixture
def family() -> Family:
    source = Source(repository="some/repo", path="README.md", revision="abc")
    sha256 = hashlib.sha256(content("base", 300_000)).hexdigest()
    return Family(
        id="toy",
        title="Toy",
        author="Somebody",
        pins=[
            Pin(repository=ADAPTERS, revision=commit("pinned"), source=source),
            Pin(repository=BASE, revision=commit("base"), file="base.pt", sha256=sha256, source=source),
        ],
        adapters=[Adapter(id=f"{n}_x", title=n, task=n, classes=2, folder=n, report=n) for n in ("lulc", "buildings")],
    )


@pytest.fixture
def address(service: HubService, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(service.app()) as at:
        monkeypatch.setenv("HF_ENDPOINT", at)
        yield at


@pytest.fixture
def hub(address: str, tmp_path: Path) -> Hub:
    return Hub(cache=tmp_path / "cache")


def downloads(service: HubService) -> list[str]:
    """Paths of files that were downloaded, in order."""
    return [a.path.split("/", 5)[-1] for a in service.asked if a.method == "GET" and "/resolve/" in a.path]


def test_the_folder_is_what_load_family_takes(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    at = fetch_family(family, tmp_path / "weights", said.append, hub=hub)
    assert at == tmp_path / "weights"
    held = files("one")
    for folder in ("lulc", "buildings"):
        for name in ADAPTER_FILES:
            assert (at / folder / name).read_bytes() == held[f"{folder}/{name}"]
    assert (at / "base.pt").read_bytes() == content("base", 300_000)
    assert (at / "lulc/splits/test.txt").read_bytes() == held["lulc/splits/test.txt"]
    assert not (at / "buildings/splits/test.txt").exists()
    assert not (at / "README.md").exists()
    assert hub.endpoint.startswith("http://127.0.0.1:")


def test_size_and_time_are_said_before_the_first_file(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    before: list[int] = []
    said: list[str] = []

    def step(words: str) -> None:
        said.append(words)
        before.append(len(downloads(service)))

    fetch_family(family, tmp_path / "weights", step, hub=hub)
    total = 300_000 + 4 * 40_000 + sum(len(v) for p, v in files("one").items() if p.endswith((".json", ".txt")))
    assert said[0] == f"toy: 8 of 8 files to download, {total / 1e3:.2f} kB: about 1 s at 10 MB/s (assumed)"
    assert before[0] == 0
    assert len(downloads(service)) == 8
    again: list[str] = []
    fetch_family(family, tmp_path / "weights", again.append, hub=hub)
    assert again[0] == "toy: 8 files, all in the cache; nothing to download"
    assert len(downloads(service)) == 8


def test_the_estimate_follows_from_bytes_and_rate(service: HubService, family: Family, hub: Hub) -> None:
    download = plan(family, hub, ["lulc_x"])
    assert len(download.wanted) == 5
    assert "about 38 s at 0.01 MB/s" in download.words(0.01)
    assert downloads(service) == []


def test_what_the_cache_holds_is_not_counted_again(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    fetch_family(family, tmp_path / "weights", hub=hub, tasks=["lulc_x"])
    download = plan(family, hub)
    assert download.missing_bytes == sum(len(v) for p, v in files("one").items() if p.startswith("buildings/"))
    assert "3 of 8 files to download, 80.0" in download.words()


def test_the_record_says_where_each_file_came_from(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    at = fetch_family(family, tmp_path / "weights", hub=hub, tasks=["lulc_x"])
    record = json.loads((at / RECORD).read_text())
    held = {f["target"]: f for f in record["files"]}
    assert set(held) == {"base.pt", "lulc/splits/test.txt", *(f"lulc/{n}" for n in ADAPTER_FILES)}
    for target, entry in held.items():
        assert entry["sha256"] == hashlib.sha256((at / target).read_bytes()).hexdigest()
        assert entry["revision"] in (commit("pinned"), commit("base"))


def test_pinned_files_are_used_when_the_branch_moved_and_the_difference_is_told(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    later = files("two")
    later["lulc/new.txt"] = b"new"
    del later["README.md"]
    service.put(ADAPTERS, "later", later)
    said: list[str] = []
    at = fetch_family(family, tmp_path / "weights", said.append, hub=hub)
    assert (at / "lulc/adapter_model.safetensors").read_bytes() == content("lulc lora one")
    moved = hub.moved(ADAPTERS, commit("pinned"))
    assert moved is not None
    assert [a.path for a, _ in moved.changed] == [
        "buildings/adapter_model.safetensors",
        "lulc/adapter_model.safetensors",
    ]
    assert moved.changed[1][0].oid == hashlib.sha256(content("lulc lora one")).hexdigest()
    assert moved.changed[1][1].oid == hashlib.sha256(content("lulc lora two")).hexdigest()
    assert [f.path for f in moved.added] == ["lulc/new.txt"]
    assert moved.added[0].oid == git_blob(b"new")
    assert [f.path for f in moved.removed] == ["README.md"]
    assert said[0] == moved.words()
    assert f"main is at {commit('later')[:12]}, the pin at {commit('pinned')[:12]}" in said[0]
    assert json.loads((at / RECORD).read_text())["moved"][0]["now"] == commit("later")
    assert hub.moved(BASE, commit("base")) is None


def test_a_revision_that_is_gone_is_an_error(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    del service.repositories["models", BASE][commit("base")]
    with pytest.raises(SourceError, match="no such revision any more") as caught:
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert caught.value.exit_code == 3
    del service.repositories["models", ADAPTERS]
    with pytest.raises(SourceError, match=r"no such repository, or a private one \(HF_TOKEN is not set\)"):
        hub.files(ADAPTERS, "main")


def test_a_file_that_is_not_there_is_named_with_what_is(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    held = service.repositories["models", ADAPTERS][commit("pinned")]
    held["adapters/lulc/decoder_head.safetensors"] = held.pop("lulc/decoder_head.safetensors")
    with pytest.raises(SourceError, match=r"has no lulc/decoder_head.safetensors; it has adapters/lulc/decoder_head"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert not (tmp_path / "weights").exists()


def test_a_cut_download_goes_on_where_it_stopped(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # it keeps whole blocks of 10 MB
    service.faults["base.pt"] = deque(["cut"])
    at = fetch_family(family, tmp_path / "weights", hub=hub)
    assert (at / "base.pt").read_bytes() == content("base", 300_000)
    spans = [a.span for a in service.asked if a.path.endswith("base.pt") and a.method == "GET"]
    assert spans == [None, (150_000, 150_000)]
    assert service.bytes_of("base.pt") == 300_000


def test_a_broken_off_fetch_goes_on_where_it_stopped(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr(hub_client, "RESUME_BYTES", 100_000)
    service.faults["base.pt"] = deque(["cut", "403"])
    with pytest.raises(SourceError, match="HTTP 403"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert not (tmp_path / "weights" / RECORD).exists()
    said: list[str] = []
    before = service.bytes_of("base.pt")
    at = fetch_family(family, tmp_path / "weights", said.append, hub=hub)
    assert service.bytes_of("base.pt") - before == 150_000
    assert "base.pt: goes on after 150.00 kB of 300.00 kB" in said
    assert (at / "base.pt").read_bytes() == content("base", 300_000)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_resumed_file_with_a_wrong_bit_is_thrown_away(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "RESUME_BYTES", 100_000)
    service.faults["base.pt"] = deque(["flip"])
    with pytest.raises(SourceError, match="damaged and was thrown away"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    at = fetch_family(family, tmp_path / "weights", hub=hub)
    assert (at / "base.pt").read_bytes() == content("base", 300_000)


def test_a_flipped_bit_is_found_and_taken_out_of_the_cache(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    service.faults["decoder_head.safetensors"] = deque(["flip"])
    with pytest.raises(SourceError, match="the file is damaged and was taken out"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    at = fetch_family(family, tmp_path / "weights", hub=hub)
    assert (at / "lulc/decoder_head.safetensors").read_bytes() == content("lulc decoder")


def test_a_small_file_is_checked_too(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    service.faults["adapter_config.json"] = deque(["flip"])
    with pytest.raises(SourceError, match=r"lulc/adapter_config.json: sha256 .* the Hub lists"):
        fetch_family(family, tmp_path / "weights", hub=hub)


def test_another_file_than_the_pin_says_is_refused(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    service.repositories["models", BASE][commit("base")]["base.pt"] = content("another", 300_000)
    with pytest.raises(WeightsError, match=r"base.pt: sha256 .* where eval/families/ pins"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert not (tmp_path / "weights" / "base.pt").exists()


def test_offline_takes_the_cache_and_asks_nobody(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match="not in the cache, and offline"):
        fetch_family(family, tmp_path / "none", hub=hub, offline=True)
    assert service.asked == []
    fetch_family(family, tmp_path / "online", hub=hub)
    asked = len(service.asked)
    at = fetch_family(family, tmp_path / "offline", hub=hub, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_family(family, tmp_path / "again", hub=hub)
    assert len(service.asked) == asked
    names = sorted(p.relative_to(at) for p in at.rglob("*.*") if p.name != RECORD)
    online = tmp_path / "online"
    assert names == sorted(p.relative_to(online) for p in online.rglob("*.*") if p.name != RECORD)
    (at / "base.pt").resolve().write_bytes(b"rot")
    with pytest.raises(SourceError, match="the cache keeps it as"):
        fetch_family(family, tmp_path / "offline", hub=hub, offline=True)


def test_no_network_is_one_clear_error(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(SourceError, match="no answer"):
        fetch_family(family, tmp_path / "weights", hub=Hub("http://someone:secret@127.0.0.1:9", tmp_path / "cache"))


def test_a_service_that_stays_busy_is_one_clear_error(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    service.faults["base.pt"] = deque(["503"] * 40)
    with pytest.raises(SourceError, match=r"base.pt: HTTP 503"):
        fetch_family(family, tmp_path / "weights", hub=hub)


def test_the_token_is_sent_and_never_shown(
    service: HubService,
    family: Family,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    service.private = TOKEN
    with pytest.raises(SourceError, match=r"HF_TOKEN is not set|HTTP 401"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said: list[str] = []
    fetch_family(family, tmp_path / "weights", said.append, hub=hub)
    assert service.asked[-1].token == f"Bearer {TOKEN}"
    service.faults["adapter_model.safetensors"] = deque(["400"])
    with pytest.raises(SourceError) as caught:
        fetch_family(family, tmp_path / "more", said.append, hub=Hub(cache=tmp_path / "second"))
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    seen = capfd.readouterr()
    for text in ("\n".join(said), str(caught.value), seen.out, seen.err, written.decode("latin-1")):
        assert TOKEN not in text


def test_a_disk_that_is_too_small_is_said_before_the_download(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SourceError, match=r"to download, 100\.00 kB free"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert downloads(service) == []


def test_a_full_disk_is_one_clear_error(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub_client, "hf_hub_download", full)
    with pytest.raises(SourceError, match="No space left on device"):
        fetch_family(family, tmp_path / "weights", hub=hub)


def test_weights_of_ones_own_are_not_written_over(
    service: HubService, family: Family, hub: Hub, tmp_path: Path
) -> None:
    mine = tmp_path / "weights" / "lulc" / "adapter_model.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"trained for a week")
    with pytest.raises(WeightsError, match="did not download; name another folder"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert mine.read_bytes() == b"trained for a week"


def test_without_links_files_are_copied_and_can_be_fetched_again(
    service: HubService, family: Family, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refused)
    for _ in range(2):
        at = fetch_family(family, tmp_path / "weights", hub=hub)
        assert not (at / "base.pt").is_symlink()
        assert (at / "base.pt").read_bytes() == content("base", 300_000)


def test_pins_must_name_base_and_adapters(family: Family) -> None:
    assert [w.target for w in wanted(family, ["buildings_x"])][:2] == ["base.pt", "buildings/adapter_config.json"]
    with pytest.raises(WeightsError, match="its pins must name"):
        wanted(family.model_copy(update={"pins": family.pins[:1]}))
    with pytest.raises(RegistryError, match="has no adapter 'nothing'"):
        wanted(family, ["nothing"])


def test_the_names_are_those_that_the_loader_reads(root: Path) -> None:
    """Read from its source: importing the loader would need torch."""
    tree = ast.parse((root / "harness" / "models" / "published.py").read_text())
    pairs = {
        name.id: value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
        for name, value in zip(node.targets[0].elts, node.value.elts, strict=True)
        if isinstance(name, ast.Name) and isinstance(value, ast.Constant)
    }
    assert tuple(pairs[n] for n in ("CONFIG", "LORA", "DECODER")) == ADAPTER_FILES


def test_the_projects_own_family_can_be_asked_for(root: Path) -> None:
    families = read_families(root / "eval" / "families")
    files = wanted(families["terramind-nyc"])
    assert files[0].path == "TerraMind_v1_base.pt"
    assert files[0].sha256 is not None
    assert [f.target for f in files if f.required][1:4] == [f"lulc_nyc/{name}" for name in ADAPTER_FILES]
    assert len({f.revision for f in files}) == 2


def test_no_torch_is_loaded() -> None:
    code = "import sys, harness.models.hub; sys.exit('torch' in sys.modules or 'terratorch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
