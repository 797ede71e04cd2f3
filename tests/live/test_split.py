"""`harness lock --split card` on a loopback Hub with Major-TOM's columns and a published list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from harness.chips.cardsplit import S1, S2, CardSplit, grid_of
from harness.chips.warp import project
from harness.claims.families import read_families
from harness.cli import app
from harness.errors import ChipError, RegistryError, UnscoredError
from tests.chips.cogs import write_cog
from tests.chips.test_majortom import CELLS, dataset, rows_s1, rows_s2
from tests.models.conftest import ROOT
from tests.services.hub import HubService
from tests.services.socrata import serving

PARENTS = [CELLS[8], CELLS[0], CELLS[3], CELLS[20]]
"""Test parents for 21 cells, in shuffled order."""

IDS = [f"nyc_{cell}_r{r}c{c}" for cell in PARENTS for r in range(4) for c in range(4)]
"""What splits/test.txt then holds."""


@pytest.fixture(scope="module")
def held() -> dict[str, dict[str, bytes]]:
    return {S2: dataset(S2, rows_s2(), True), S1: dataset(S1, rows_s1(), False)}


@pytest.fixture
def service(held: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubService]:
    """Major-TOM and the adapters' repository, at the commit that the family pins."""
    made = HubService()
    for name, files in held.items():
        made.put(name, f"{name} now", dict(files), "datasets")
    pin = next(p for p in read_families(ROOT / "eval" / "families")["terramind-nyc"].pins if p.file is None)
    made.put(pin.repository, "any", {})
    commits = made.repositories["models", pin.repository]
    commits[pin.revision] = {f"{a}/splits/test.txt": "\n".join(IDS).encode() for a in ("lulc_nyc", "tim_nyc")}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with serving(made.app()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield made


def run(out: Path, *more: str) -> None:
    app(["lock", "--split=card", f"--out={out}", f"--root={ROOT}", *more], standalone_mode=False)


def test_the_published_list_is_met_id_by_id(
    service: HubService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "split.json")
    said = capsys.readouterr().out
    assert "14 train, 3 val, 4 test" in said
    assert "lulc_nyc/splits/test.txt: the published list, id by id" in said
    assert "tim_nyc/splits/test.txt: the published list, id by id" in said
    split = CardSplit.model_validate_json((tmp_path / "split.json").read_bytes())
    assert split.ids("test") == IDS
    assert split.revisions == {S2: service.branches[S2], S1: service.branches[S1]}


def test_places_of_the_published_rerun_in_training_parents_are_named(
    service: HubService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JFK's probe, held against the parents' boxes, drawn here in metres."""
    run(tmp_path / "split.json", "--json", "--grids")
    said = json.loads(capsys.readouterr().out)
    train = {p["cell"] for p in said["split"]["parents"] if p["part"] == "train"}
    split = CardSplit.model_validate(said["split"])
    (x,), (y,) = project([-73.778], [40.640], 4326, 32618)
    inside = set()
    for parent in split.parents:
        grid = grid_of(parent)
        west, north = grid.transform[2], grid.transform[5]
        if west - 1120 < x < west + 10 * grid.width_px + 1120 and north - 10 * grid.height_px - 1120 < y < north + 1120:
            inside.add(parent.cell)
    assert {o["cell"] for o in said["overlaps"] if o["aoi"] == "jfk"} == inside
    assert inside
    assert all(o["exact"] for o in said["overlaps"])
    assert {o["cell"] for o in said["overlaps"] if o["part"] == "train"} <= train


def test_another_list_is_told_apart(service: HubService, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "test.txt"
    other.write_text("\n".join([*IDS[:-1], f"nyc_{CELLS[1]}_r0c0"]) + "\n", encoding="utf-8")
    run(tmp_path / "split.json", f"--published={other}")
    said = capsys.readouterr().out
    assert f"1 published ids are not ours (nyc_{CELLS[1]}_r0c0)" in said
    assert f"1 of ours are not published ({IDS[-1]})" in said


def test_worldcover_decides_which_windows_have_a_label(
    service: HubService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step, west, north = 1 / 1200, -74.4, 41.0
    codes = np.full((round(0.6 / step), round(0.9 / step)), 50, np.uint8)
    codes[:, 540:600] = 0  # a strip of 4 km has no map
    tile = write_cog(tmp_path / "map.tif", codes, 4326, (step, 0.0, west, 0.0, -step, north), 0)
    run(tmp_path / "split.json", f"--worldcover={tile}", "--json")
    split = CardSplit.model_validate(json.loads(capsys.readouterr().out)["split"])
    assert split.labels
    kept = {parent.cell: len(parent.chips) for parent in split.parents}
    assert any(n == 16 for n in kept.values())
    assert any(0 < n < 16 for n in kept.values())
    far = write_cog(tmp_path / "far.tif", codes, 4326, (step, 0.0, 10.0, 0.0, -step, north), 0)
    with pytest.raises(ChipError, match="none of the WorldCover tiles covers it"):
        run(tmp_path / "other.json", f"--worldcover={far}")
    assert not (tmp_path / "other.json").exists()


def test_a_list_that_cannot_be_had_is_an_exit_status_and_the_split_is_written(
    service: HubService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for commits in service.repositories["models", "msradam/TerraMind-NYC-Adapters"].values():
        commits.clear()
    with pytest.raises(UnscoredError, match=r"could not be read: .*lulc_nyc/splits/test.txt"):
        run(tmp_path / "split.json")
    assert CardSplit.model_validate_json((tmp_path / "split.json").read_bytes()).ids("test") == IDS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--split=card", "--check=x.json"), "--check goes with AOI files"),
        (("--split=card", "--recipe=training-code"), "--recipe goes with AOI files"),
        (("--split=card", "--renew"), "--renew goes with AOI files"),
        (("--split=card", "--catalogue=planetary-computer"), "--catalogue goes with AOI files"),
        (("--split=card", "aois.geojson"), "--split goes without AOI files"),
        (("--grids",), "--grids goes with --split card"),
        (("--variant=lulc",), "--variant goes with --split card"),
    ],
)
def test_options_of_the_other_kind_of_lock_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        app(["lock", *words], standalone_mode=False)
