"""Weights from a Hub that fails: every file as it was pinned, or one error and no weights."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from harness.claims.families import Adapter, Family, Pin
from harness.claims.model import Source
from harness.errors import SourceError, WeightsError
from harness.models.hub import ADAPTER_FILES, RECORD, fetch_family
from harness.models.hub_client import Hub
from tests.chips import faults
from tests.hub.test_hub import ADAPTERS, BASE, content, files
from tests.services.hub import HubService, commit
from tests.services.socrata import serving

SIZE = 300_000
"""Bytes of the base weights."""


@pytest.fixture
def family() -> Family:
    source = Source(repository="some/repo", path="README.md", revision="abc")
    base = hashlib.sha256(content("base", SIZE)).hexdigest()
    return Family(
        id="toy",
        title="Toy",
        author="Somebody",
        pins=[
            Pin(repository=ADAPTERS, revision=commit("pinned"), source=source),
            Pin(repository=BASE, revision=commit("base"), file="base.pt", sha256=base, source=source),
        ],
        adapters=[Adapter(id="lulc_x", title="lulc", task="lulc", classes=2, folder="lulc", report="lulc")],
    )


@pytest.fixture
def service() -> HubService:
    made = HubService()
    made.put(ADAPTERS, "pinned", files("one"))
    made.put(BASE, "base", {"base.pt": content("base", SIZE)})
    return made


@pytest.fixture
def hub(service: HubService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    with serving(service.app()) as address:
        yield Hub(address, tmp_path / "cache")


def whole(at: Path) -> None:
    """Every file is what the pins name."""
    assert (at / "base.pt").read_bytes() == content("base", SIZE)
    for name in ADAPTER_FILES:
        assert (at / "lulc" / name).read_bytes() == files("one")[f"lulc/{name}"]
    assert (at / RECORD).is_file()


def test_a_cut_download(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    service.faults["base.pt"] = deque(["cut"])
    whole(fetch_family(family, tmp_path / "weights", hub=hub))
    spans = [a.span for a in service.asked if a.path.endswith("base.pt") and a.method == "GET"]
    assert spans == [None, (SIZE // 2, SIZE // 2)]
    faults.record(
        "hub", "a download cut in the middle", "resumed", "goes on at the byte where it stopped; every file as pinned"
    )


@pytest.mark.parametrize("name", ["base.pt", "decoder_head.safetensors", "adapter_config.json"])
def test_a_wrong_bit(name: str, service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    service.faults[name] = deque(["flip"])
    with pytest.raises(SourceError, match=rf"{name}: "):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert not (tmp_path / "weights" / RECORD).exists()
    whole(fetch_family(family, tmp_path / "weights", hub=hub))
    faults.record(
        "hub", "a download with one wrong bit", "one clear error", "thrown away; the next run fetches it whole"
    )


def test_another_file_than_the_pin_says(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    service.repositories["models", BASE][commit("base")]["base.pt"] = content("another", SIZE)
    with pytest.raises(WeightsError, match=r"base\.pt: sha256 .* pins"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert not (tmp_path / "weights" / "base.pt").exists()
    faults.record(
        "hub", "a file of another sha256 than pinned", "one clear error", "names both; no weights are laid out"
    )


def test_a_branch_that_moved(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    service.put(ADAPTERS, "later", files("two"))
    said: list[str] = []
    whole(fetch_family(family, tmp_path / "weights", said.append, hub=hub))
    assert "lulc/adapter_model.safetensors" in said[0]
    assert f"main is at {commit('later')[:12]}, the pin at {commit('pinned')[:12]}" in said[0]
    faults.record("hub", "a revision that moved", "right result", "the pinned files; what changed since is said")


def test_a_revision_that_is_gone(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    del service.repositories["models", BASE][commit("base")]
    with pytest.raises(SourceError, match="no such revision any more"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    assert not (tmp_path / "weights" / RECORD).exists()
    faults.record("hub", "a pinned revision that is gone", "one clear error", "nothing newer is taken in its place")


def test_a_hub_that_stays_busy_and_none(service: HubService, family: Family, hub: Hub, tmp_path: Path) -> None:
    service.faults["base.pt"] = deque(["503"] * 40)
    with pytest.raises(SourceError, match=r"base\.pt: HTTP 503"):
        fetch_family(family, tmp_path / "weights", hub=hub)
    with pytest.raises(SourceError, match="no answer"):
        fetch_family(family, tmp_path / "weights", hub=Hub("http://127.0.0.1:9", tmp_path / "empty"))
    assert not (tmp_path / "weights" / RECORD).exists()
    faults.record("hub", "503 for longer than patience, or no network", "one clear error", "names file and repository")
