"""From AOIs to a scored run through the real clients: lock, check, chips, reproduce, on loopback."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.chips.lock import read_lock
from harness.records.run import read_run
from tests.live.conftest import Harness
from tests.live.world import World

LOCK = "aois/locks/made-up.lock.json"


@pytest.fixture(scope="module", autouse=True)
def _once(brooklyn: World) -> None:
    """Tests of this file build on one another: lock, check, chips, run."""


def lock(harness: Harness, brooklyn: World, *more: str) -> tuple[int, str, str]:
    done = harness("lock", "aois/made-up.geojson", f"--address={brooklyn.address}", *more)
    return done.returncode, done.stdout, done.stderr


def test_an_aoi_that_fails_does_not_stop_the_others(brooklyn: World, harness: Harness) -> None:
    code, out, err = lock(harness, brooklyn)
    assert code == 3
    assert f"{LOCK}: 1 resolved, 0 were there" in out
    assert "not locked: nowhere (training-code): nowhere: S2L2A: " in err
    assert "0 items came from" in err
    held = read_lock(brooklyn.root / LOCK)
    (one,) = held.aois
    assert (one.aoi, one.recipe, one.role, one.epsg) == ("here", "training-code", "test", 32618)
    steps = [(t.modality, t.index, t.scenes[0].datetime[:10]) for t in one.timesteps]
    day = steps[0][2]
    assert day in ("2024-05-02", "2024-08-10")  # June is under cloud, by the classification on the chip
    assert [s for s in steps if s[0] == "S2L2A"] == [("S2L2A", i, day) for i in range(4)]
    assert {s[0] for s in steps} == {"S2L2A", "S1RTC", "DEM", "LULC"}
    assets = [a for t in one.timesteps for s in t.scenes for a in s.assets.values()]
    for asset in assets:
        file = brooklyn.files.folder / asset.href.rsplit("/", 1)[1]
        assert asset.size_bytes == file.stat().st_size
        assert asset.etag
    assert [(p.source, p.rows) for p in one.labels] == [("nyc-footprints", 400), ("nyc-boroughs", 5)]


def test_a_locked_aoi_is_not_asked_about_again(brooklyn: World, harness: Harness) -> None:
    before = len(brooklyn.stac.asked)
    code, out, _ = lock(harness, brooklyn, "--aoi=here")
    assert (code, out.strip()) == (0, f"{LOCK}: 0 resolved, 1 were there")
    assert len(brooklyn.stac.asked) == before


def test_check_says_what_vanished_moved_and_changed_in_place(brooklyn: World, harness: Harness) -> None:
    check = ("lock", f"--check={LOCK}", f"--address={brooklyn.address}")
    same = harness(*check)
    assert (same.returncode, same.stdout.strip()) == (0, f"{LOCK}: as locked")
    one = read_lock(brooklyn.root / LOCK).aois[0]
    radar = next(t for t in one.timesteps if t.modality == "S1RTC").scenes[0]
    optical = next(t for t in one.timesteps if t.modality == "S2L2A").scenes[0]
    item = next(i for i in brooklyn.stac.items if i["id"] == radar.item)
    file = brooklyn.files.folder / f"{optical.item}_B02.tif"
    whole, when = file.read_bytes(), file.stat()
    gone = brooklyn.files.folder / f"{one.timesteps[-1].scenes[0].item}.tif"
    brooklyn.stac.items.remove(item)
    file.write_bytes(whole + b"\0")
    gone.rename(gone.with_suffix(".away"))
    try:
        other = harness(*check, "--json")
    finally:
        brooklyn.stac.items.append(item)
        file.write_bytes(whole)
        os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))  # the server's ETag holds it
        gone.with_suffix(".away").rename(gone)
    assert other.returncode == 1
    found = {(f["kind"], f["modality"]) for f in json.loads(other.stdout)["locks"][LOCK]}
    assert found == {("vanished", "S1RTC"), ("reprocessed", "S2L2A"), ("vanished", "LULC")}


def test_check_against_another_catalogue_is_refused(brooklyn: World, harness: Harness) -> None:
    done = harness("lock", f"--check={LOCK}")
    assert done.returncode == 2
    assert f"was made with {brooklyn.address}" in done.stderr


def test_chips_reads_the_windows_once(brooklyn: World, harness: Harness) -> None:
    first = json.loads(harness("chips", LOCK, "--json").stdout)["aois"]
    assert [(a["aoi"], a["reason"]) for a in first] == [("here", None)]
    assert first[0]["read"] > 12
    assert set(first[0]["valid"]) == {"S2L2A", "S1RTC"}  # the recipe feeds zeros for the DEM
    brooklyn.files.seen.clear()
    again = json.loads(harness("chips", LOCK, "--json").stdout)["aois"]
    assert (again[0]["read"], again[0]["stored"], again[0]["chip"]) == (0, first[0]["read"], first[0]["chip"])
    workers = json.loads(harness("chips", LOCK, "--scheduler=local", "--workers=2", "--json").stdout)["aois"]
    assert (workers[0]["read"], workers[0]["chip"]) == (0, first[0]["chip"])
    assert workers[0]["worker"]
    assert not brooklyn.files.seen
    assert harness("chips", "--verify").returncode == 0
    store = Path(brooklyn.environment["HARNESS_CACHE"], "chips")
    entries = [json.loads(path.read_bytes()) for path in store.glob("index/*/*.json")]
    name = next(e["object"] for e in entries if e["request"]["href"].endswith("_vv.tif"))
    victim = store / "objects" / name[:2] / f"{name}.npy"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = harness("chips", "--verify")
    assert (found.returncode, f"damaged: {victim}: its content has changed" in found.stdout) == (1, True)
    assert harness("chips", "--verify", "--drop").returncode == 0
    healed = json.loads(harness("chips", LOCK, "--json").stdout)["aois"]
    assert (healed[0]["read"] > 0, healed[0]["chip"]) == (True, first[0]["chip"])


def test_live_runs_from_the_hub_to_scores(brooklyn: World, harness: Harness) -> None:
    asked = len(brooklyn.stac.asked)
    done = harness("reproduce", "--family=narrow", "--live", f"--address={brooklyn.address}", f"--root={brooklyn.root}")
    assert done.returncode == 3, done.stderr  # `nowhere` is an unscored record
    assert "unscored: nowhere" in done.stderr
    assert "MB" in done.stderr.split("weights")[0]  # size before the first byte
    latest = brooklyn.root / "eval" / "runs" / "latest"
    run = read_run(latest / "run.json")
    assert (run.source, run.weights, run.recipe) == ("lock", "published", "training-code")
    assert set(run.locks) == {"made-up.lock.json"}
    assert len(brooklyn.stac.asked) > asked  # `nowhere` is tried again; `here` is not
    assert all("-73.9" not in json.dumps(body) for body in brooklyn.stac.asked[asked:])
    by_task = {a.adapter: a for a in run.adapters}
    assert set(by_task) == {"lulc_nyc", "tim_nyc", "buildings_nyc"}
    for task, adapter in by_task.items():
        scores = {c.chip: c for c in adapter.chips}
        assert scores["here"].scored, task
        assert not scores["nowhere"].scored
        assert "nowhere" in (scores["nowhere"].reason or "")
        assert adapter.scheme == ("footprints" if task == "buildings_nyc" else "training-code")
    with np.load(latest / "arrays" / "here.npz") as arrays:
        built, cover = arrays["label:footprints"], arrays["label:training-code"]
    assert set(np.unique(cover)) == {0, 1, 2}
    assert set(np.unique(built)) == {-1, 0, 1}  # the east is no land of the city
    assert (built[:, -20:] == -1).all()
    assert 0.2 < (built == 1).mean() / (built >= 0).mean() < 0.4
    matrix = np.array(by_task["buildings_nyc"].chips[0].confusion or by_task["buildings_nyc"].chips[1].confusion)
    assert matrix.sum(axis=1).tolist() == [(built == 0).sum(), (built == 1).sum()]
    report = (brooklyn.root / "eval" / "reports" / "narrow.md").read_text(encoding="utf-8")
    assert run.id in report


def test_a_second_run_from_the_lock_asks_no_catalogue_and_reads_nothing(brooklyn: World, harness: Harness) -> None:
    brooklyn.files.seen.clear()
    asked, rows = len(brooklyn.stac.asked), len(brooklyn.portal.queries)
    weights = brooklyn.root / "cache" / "weights" / "narrow"
    first = read_run(brooklyn.root / "eval" / "runs" / "latest" / "run.json")
    words = ("--task=buildings_nyc", f"--weights={weights}", "--family=narrow", f"--root={brooklyn.root}")
    done = harness("reproduce", "--source=lock", f"--lock={LOCK}", "--out=again", *words)
    assert done.returncode == 0, done.stderr
    assert not brooklyn.files.seen
    assert (len(brooklyn.stac.asked), len(brooklyn.portal.queries)) == (asked, rows)
    again = read_run(brooklyn.root / "again" / "latest" / "run.json")
    ours, theirs = again.adapters[0].chips[0], next(a for a in first.adapters if a.adapter == "buildings_nyc")
    assert ours.confusion == next(c for c in theirs.chips if c.chip == "here").confusion
    assert any("snapshot sha256" in note for note in ours.notes)


HOUSES = """\
family: narrow
adapter: buildings_nyc
recipe: training-code
scheme: footprints
classes: 2
steps: 2
batch_size: 1
learning_rate: 0.001
augment: none
dtype: float32
seed: 1
threads: 1
lora: {r: 8, alpha: 16}
"""


def test_an_adapter_trained_from_the_lock_runs_from_the_lock(brooklyn: World, harness: Harness) -> None:
    weights = brooklyn.root / "cache" / "weights" / "narrow"
    (brooklyn.root / "taught").mkdir()
    shutil.copy(weights / "base.pt", brooklyn.root / "taught")
    (brooklyn.root / "houses.yaml").write_text(HOUSES, encoding="utf-8")
    words = ("train", "houses.yaml", f"--lock={LOCK}", "--out=taught", f"--root={brooklyn.root}")
    brooklyn.files.seen.clear()
    own = harness(*words, f"--held-out={LOCK}")
    assert (own.returncode, "here" in own.stderr, "among those trained on" in own.stderr) == (2, True, True), own.stderr
    done = harness(*words, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["chips"] == ["here"]
    assert len(record["losses"]) == 2
    assert not brooklyn.files.seen  # the store holds the windows
    task = ("--task=buildings_nyc", "--weights=taught", "--family=narrow", f"--root={brooklyn.root}")
    ran = harness("reproduce", "--source=lock", f"--lock={LOCK}", "--out=taught-run", *task)
    assert ran.returncode == 0, ran.stderr
    score = read_run(brooklyn.root / "taught-run" / "latest" / "run.json").adapters[0].chips[0]
    before = read_run(brooklyn.root / "again" / "latest" / "run.json").adapters[0].chips[0]
    assert (score.scored, score.sha256) == (True, before.sha256)
    assert score.confusion != before.confusion


def test_a_table_that_changed_since_the_lock_is_said_so(brooklyn: World, harness: Harness) -> None:
    for file in Path(brooklyn.environment["HARNESS_CACHE"], "labels").glob("5zhs*"):
        file.unlink()
    brooklyn.portal.tables["5zhs-2jue"].pop()
    weights = brooklyn.root / "cache" / "weights" / "narrow"
    words = ("--task=buildings_nyc", f"--weights={weights}", "--family=narrow", f"--root={brooklyn.root}")
    done = harness("reproduce", "--source=lock", f"--lock={LOCK}", "--out=later", *words)
    assert done.returncode == 0, done.stderr
    run = read_run(brooklyn.root / "later" / "latest" / "run.json")
    assert any(
        "the table changed since the lock: 400 rows" in n and ", 399 on" in n for n in run.adapters[0].chips[0].notes
    )


@pytest.mark.parametrize(
    ("broken", "said", "more", "code"),
    [("HF_ENDPOINT", "the Hub", (), 0), ("address", "the catalogue", ("--require-live",), 3)],
)
def test_a_service_that_does_not_answer_leaves_its_rows_not_measured(
    brooklyn: World, harness: Harness, tmp_path: Path, broken: str, said: str, more: tuple[str, ...], code: int
) -> None:
    nobody = "http://127.0.0.1:9"
    variables = {"HARNESS_CACHE": str(tmp_path)}
    variables |= {broken: nobody, "HF_HOME": str(tmp_path)} if broken == "HF_ENDPOINT" else {}
    address = nobody if broken == "address" else brooklyn.address
    words = ["reproduce", "--family=narrow", "--live", f"--address={address}", f"--root={brooklyn.root}"]
    if broken == "address":
        (brooklyn.root / LOCK).rename(tmp_path / "lock.json")
    report = brooklyn.root / "eval" / "reports" / "r-b.md"
    try:
        done = harness(*words, *more, **variables)
        cells = report.read_text(encoding="utf-8")
    finally:
        if broken == "address":
            (tmp_path / "lock.json").rename(brooklyn.root / LOCK)
    assert done.returncode == code, done.stderr
    assert f"not measured: {said} unreachable" in cells
    assert f"not measured: {said} unreachable: " in done.stderr
