"""`harness ablate`: what differs, what is kept, and whole commands on made chips with the narrow family."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness.ablate import run as line
from harness.ablate.ends import MERGES, RECIPE_KNOBS, End, Knob, differing, grouped, hold, mixed
from harness.ablate.keep import Keep, KeptBench
from harness.ablate.plan import Plan
from harness.ablate.published import Wanted, published, scenes_of
from harness.ablate.readings import FileReadings
from harness.chips.recipe import KNOBS, read_recipes
from harness.claims.audit import read_view
from harness.claims.families import Family
from harness.claims.schemes import read_schemes
from harness.cli import app
from harness.errors import HarnessError, RegistryError, UnscoredError
from harness.given import from_files
from harness.models.ensemble import Ensemble
from harness.records.bridge import BridgeRecord, read_bridge, write_bridge
from harness.score.confusion import ConfusionMatrix
from harness.score.scenes import joined, label_of
from harness.workbench import Place, Workbench
from tests.chips.made import write_folder
from tests.live.conftest import Harness, brooklyn, harness
from tests.live.world import World
from tests.models.conftest import narrow, narrow_weights
from tests.models.test_measure import place

__all__ = ["brooklyn", "harness", "narrow", "narrow_weights", "place"]

ROOT = Path(__file__).resolve().parents[1]
TWIN = ROOT / "harness" / "twin" / "data"
RECIPES = read_recipes(ROOT / "eval" / "recipes")
SCHEMES = read_schemes(ROOT / "eval" / "schemes")
RERUN = End(RECIPES["published-rerun"], "published-rerun", ("a", "b"))
CODE = End(RECIPES["training-code"], "training-code", ("a", "b"))


def ids(knobs: list[Knob]) -> list[str]:
    return [k.id for k in knobs]


def test_everything_in_which_two_recipes_differ_is_named() -> None:
    found = differing(RERUN, CODE)
    assert ids(found) == ["grid", "size", "dates", "resampling", "s1", "dem", "statistics", "precision", "scheme"]
    words = {k.id: (k.start, k.end) for k in found}
    assert words["size"] == ("224 px", "256 px")
    assert words["dates"] == ("4 dates that differ", "one date 4 times")
    assert words["dem"] == ("DEM as it is", "0 m everywhere")
    assert words["s1"] == ("dB as float32, floor 1e-06, gaps S1RTC -60.0", "linear power as float16, gaps S1RTC 0.0")
    kinds = {k.id: k.kind for k in differing(RERUN, replace(CODE, chips=("c",), footprints="training-code"))}
    assert (kinds["scheme"], kinds["population"], kinds["footprints"], kinds["precision"]) == (
        "scheme",
        "population",
        "labels",
        "precision",
    )


def test_statistics_with_another_source_are_the_same_statistics() -> None:
    pretraining = replace(RERUN, recipe=RECIPES["pretraining"])
    assert "statistics" not in ids(differing(RERUN, pretraining))
    assert "statistics" in ids(differing(RERUN, CODE))


def test_switching_all_knobs_leads_to_the_other_end_and_none_stays() -> None:
    everything = {k.id for k in differing(RERUN, CODE)}
    assert not differing(mixed(RERUN, CODE, everything), CODE)
    assert mixed(RERUN, CODE, set()) == RERUN
    assert set(KNOBS) == {"bands", *(name for fields in RECIPE_KNOBS.values() for name in fields)}
    assert mixed(RERUN, CODE, {"s1"}).recipe.missing == CODE.recipe.missing  # -60 fills decibels and no power
    one = mixed(RERUN, CODE, {"dem"})
    assert ids(differing(RERUN, one)) == ["dem"]
    assert ids(differing(one, CODE)) == [k for k in ids(differing(RERUN, CODE)) if k != "dem"]
    assert (mixed(RERUN, CODE, {"dates"}).recipe.id, one.recipe.id) == ("training-code", "published-rerun")


def test_what_is_held_no_longer_differs() -> None:
    end, held = hold(RERUN, CODE, ["statistics", "scheme"])
    assert [h.knob for h in held] == ["statistics", "scheme"]
    assert not {"statistics", "scheme"} & set(ids(differing(RERUN, end)))
    assert end.recipe.dem == CODE.recipe.dem
    with pytest.raises(RegistryError, match="did you mean 'statistics'"):
        hold(RERUN, CODE, ["statistic"])


@pytest.mark.parametrize("most", range(1, 13))
def test_groups_hold_each_knob_once_and_are_no_more_than_can_be_split(most: int) -> None:
    other = replace(CODE, chips=("c",), footprints="training-code", unlabelled="background")
    offset = CODE.recipe.s2_offset.model_copy(update={"policy": "harmonise"})
    other = replace(other, recipe=other.recipe.model_copy(update={"s2_offset": offset}))
    knobs = differing(RERUN, other)
    assert len(knobs) == 13
    if most < 6:
        with pytest.raises(ValueError, match="6 factors are left"):
            grouped(knobs, most)
        return
    groups = grouped(knobs, most)
    assert len(groups) <= most
    assert sorted(k.id for g in groups for k in g.knobs) == sorted(ids(knobs))
    alone = {g.id for g in groups if len(g.knobs) == 1}
    assert {"population", "precision"} <= alone
    for group in groups:
        if len(group.knobs) > 1:
            assert {k.id for k in group.knobs} <= set(dict(MERGES)[group.id])
        if any(k.id == "scheme" for k in group.knobs):
            assert group.kind == "scheme"
    assert [g.id for g in grouped(knobs, 13)] == ids(knobs)


def test_chips_of_one_parent_cell_are_one_scene() -> None:
    assert label_of("nyc_452U_625L_r0c3") == label_of("nyc_452U_625L_r1c0") == "452U_625L"
    assert label_of("brooklyn_downtown") == "brooklyn_downtown"
    a, b = ConfusionMatrix(((1, 2), (3, 4))), ConfusionMatrix(((10, 0), (0, 10)))
    names = ("nyc_452U_625L_r0c3", "nyc_452U_625L_r1c0", "x")
    scenes = joined(names, {}, {})
    pooled = line._pooled({frozenset(): dict(zip(names, (a, b, a), strict=True))}, scenes)
    assert pooled == {frozenset(): {"452U_625L": a + b, "x": a}}


def test_the_published_figure_is_that_of_the_start() -> None:
    view = read_view(ROOT / "eval")
    found, why = published(view, "terramind-nyc", "published-rerun", Wanted("lulc_nyc", "mIoU", None, 0.5), None)
    assert found is not None
    assert (found.claim.id, found.value, found.clusters, why) == ("terramind-nyc-rerun/lulc.miou", 0.3553, 6, "")
    card, _ = published(view, "terramind-nyc", "training-code", Wanted("lulc_nyc", "mIoU", None, 0.5), None)
    assert card is not None
    assert (card.claim.card, card.clusters) == ("terramind-nyc-card", None)  # its chips are no scenes
    best, _ = published(view, "terramind-nyc", "published-rerun", Wanted("buildings_nyc", "recall", 1, 0.6), None)
    assert best is None or best.claim.quantity.threshold == "0.6"
    none, why = published(view, "terramind-nyc", "pretraining", Wanted("lulc_nyc", "mIoU", None, 0.5), None)
    assert none is None
    assert "no document of recipe pretraining prints mIoU of lulc_nyc" in why
    with pytest.raises(RegistryError, match=r"is a .*; bridged is mIoU of lulc_nyc"):
        published(view, "terramind-nyc", "x", Wanted("lulc_nyc", "mIoU", None, 0.5), "terramind-nyc-rerun/lulc.iou.1")
    with pytest.raises(RegistryError, match=r"did you mean 'terramind-nyc-rerun/lulc\.miou'"):
        published(view, "terramind-nyc", "x", Wanted("lulc_nyc", "mIoU", None, 0.5), "terramind-nyc-rerun/lulc.mio")
    split = found.claim.quantity.split or ""
    assert scenes_of({"a": (split, 2), "b": (split, 2)}, ["a", "b"], found.claim) == "same"
    assert scenes_of({"a": (split, 3), "b": (split, 3)}, ["a", "b"], found.claim) == "others"
    assert scenes_of({"a": ("val", 2), "b": (split, 2)}, ["a", "b"], found.claim) == "others"
    assert scenes_of({}, ["a"], found.claim) == "others"


def test_two_figures_that_are_printed_both_are_not_guessed_between() -> None:
    view = read_view(ROOT / "eval")
    wanted = Wanted("buildings_nyc", "iou", 1, 0.6)
    found, why = published(view, "terramind-nyc", "published-rerun", wanted, None)
    assert found is None
    assert "terramind-nyc-rerun/printed.0.6.iou" in why
    named, _ = published(view, "terramind-nyc", "x", wanted, "terramind-nyc-rerun/printed.0.6.iou")
    assert named is not None
    assert named.value == 0.3653


def files(folder: Path, family: Family) -> FileReadings:
    label = ROOT / "eval" / "labels" / "terramesh-lulc.yaml"
    given = from_files(folder, {"S1RTC": "dB"}, [label], SCHEMES)
    adapter = family.adapters[0].model_copy(update={"schemes": ["training-code", "published-rerun"]})
    return FileReadings(given, adapter)


def test_chips_that_came_cut_hold_what_they_cannot_show(narrow: Family, tmp_path: Path) -> None:
    readings = files(write_folder(tmp_path / "one", ids=("a", "b"), size_px=64), narrow)
    start, end, held = readings.settle(RERUN, CODE)
    assert [h.knob for h in held] == ["grid", "size", "dates", "resampling", "scheme"]
    why = {h.knob: h.why for h in held}
    assert "change inside blocks" in why["resampling"]
    assert "the chips hold 1 date; both ends are fed one" in why["dates"]
    assert "no label in published-rerun" in why["scheme"]
    assert ids(differing(start, end)) == ["s1", "dem", "statistics", "precision"]
    assert (start.scheme, end.scheme, start.date, end.date) == ("training-code", "training-code", 0, 0)
    assert readings.resampled == {"20m": "as given", "60m": "as given"}


def test_four_dates_and_large_chips_are_switched(narrow: Family, tmp_path: Path) -> None:
    readings = files(write_folder(tmp_path / "four", ids=("a",), size_px=256, timesteps=4), narrow)
    start, end, held = readings.settle(RERUN, CODE)
    assert not {"dates", "size"} & {h.knob for h in held}
    assert {"dates", "size"} <= set(ids(differing(start, end)))
    assert (start.date, end.date) == (None, 0)


class Narrow:
    """Stands in for the model: each pixel by its own bands, and by the recipe's statistics through them."""

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, chip: Any, tasks: Any, /) -> Any:
        self.calls += 1
        bands = chip.arrays["S2L2A"].mean(axis=1)
        logits = np.stack([bands[i] for i in (0, 3, 5, 7, 11)])

        class Said:
            probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)

        return dict.fromkeys(tasks, Said())


def bench(model: Any, readings: FileReadings, end: End, keep: Keep, made_by: str = "x") -> KeptBench:
    places: dict[str, list[Place]] = {"p": [readings.place("a", end)]}
    tasks: Any = {"lulc_nyc": "land cover"}
    return KeptBench(model, tasks, places, SCHEMES, readings.resampled, keep=keep, made_by=made_by)


@pytest.fixture
def settled(narrow: Family, tmp_path: Path) -> tuple[FileReadings, End, End]:
    """A chip, and two ends that differ in its feed."""
    readings = files(write_folder(tmp_path / "chips", ids=("a",), size_px=64), narrow)
    start, end, _ = readings.settle(RERUN, CODE)
    return readings, start, end


def test_what_is_kept_is_what_was_said_and_no_model_is_asked_again(
    settled: tuple[FileReadings, End, End], tmp_path: Path
) -> None:
    readings, start, end = settled
    model, keep = Narrow(), Keep(tmp_path / "kept")
    first = bench(model, readings, start, keep)
    for which in (start, end):
        first.matrices(which.setting("p", 0.5), "lulc_nyc")
    assert (model.calls, len(keep.mine), len(keep.found), len(keep.seconds)) == (2, 2, 0, 2)
    later = Keep(tmp_path / "kept")
    again = bench(model, readings, start, later)
    plain = Workbench(Narrow(), first.tasks, first.populations, SCHEMES, readings.resampled)
    for which in (start, end):
        setting = which.setting("p", 0.5)
        assert again.matrices(setting, "lulc_nyc") == first.matrices(setting, "lulc_nyc")
        assert again.matrices(setting, "lulc_nyc") == plain.matrices(setting, "lulc_nyc")
    assert (model.calls, len(later.mine), len(later.found)) == (2, 0, 2)
    assert first.matrices(start.setting("p", 0.5), "lulc_nyc") != first.matrices(end.setting("p", 0.5), "lulc_nyc")


def test_a_changed_input_is_another_key_and_a_damaged_file_is_made_again(
    settled: tuple[FileReadings, End, End], tmp_path: Path
) -> None:
    readings, start, end = settled
    model, keep = Narrow(), Keep(tmp_path / "kept")
    one = bench(model, readings, start, keep)
    chip, setting = one.populations["p"][0].chip, start.setting("p", 0.5)
    layer = chip.layers["DEM"]
    moved = replace(chip, layers={**chip.layers, "DEM": replace(layer, data=layer.data + 1)})
    other = bench(model, readings, start, keep, made_by="other weights")
    keys = [
        one.key(setting, chip),
        one.key(setting, moved),
        one.key(setting, replace(chip, s2_offset=0)),
        one.key(end.setting("p", 0.5), chip),
        other.key(setting, chip),
    ]
    assert len(set(keys)) == len(keys)
    assert one.key(replace(setting, scheme="card", threshold=0.7), chip) == keys[0]  # labels feed nothing
    before = one.matrices(setting, "lulc_nyc")
    path = keep.path(keys[0])
    whole = path.read_bytes()
    for broken in (whole[:100], b"", whole[: len(whole) // 2] + b"\0" * (len(whole) - len(whole) // 2)):
        path.write_bytes(broken)
        calls = model.calls
        assert bench(model, readings, start, Keep(tmp_path / "kept")).matrices(setting, "lulc_nyc") == before
        assert model.calls == calls + 1
        assert path.stat().st_size > 100


@pytest.fixture
def command(place: Path, narrow_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`harness ablate` as typed, on two chips; predictions lie in a folder of the test."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def typed(*more: str, adapter: str = "lulc_nyc", start: str = "pretraining", end: str = "training-code") -> None:
        words = ["ablate", adapter, f"--from={start}", f"--to={end}", "--family=narrow", f"--root={place}"]
        words += [f"--weights={narrow_weights}", f"--out={tmp_path / 'runs'}", "--device=cpu"]
        app([*words, *more], standalone_mode=False)

    return typed


def on(place: Path, chips: Path | None = None) -> list[str]:
    """The made chips with both label maps, their backscatter declared."""
    labels = [f"--labels={place / 'eval' / 'labels' / name}.yaml" for name in ("terramesh-lulc", "terramesh-built")]
    return [f"--chips={chips or place / 'chips'}", "--declare=S1RTC=dB", *labels]


def bridges(folder: Path) -> list[tuple[Path, BridgeRecord]]:
    return [(path.parent, read_bridge(path.parent)) for path in sorted((folder / "runs").glob("*/bridge.json"))]


def test_a_bridge_from_the_command_line(
    command: Any, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chips = on(place)
    command(*chips, "--metric=accuracy", "--plan")
    plan = capsys.readouterr()
    assert "at most 32 forwards of lulc_nyc" in plan.err
    assert not (tmp_path / "runs").exists()
    command(*chips, "--metric=accuracy")
    told = capsys.readouterr()
    assert "cost: the first forward took" in told.err
    assert "31 forwards left at most" in told.err
    ((folder, record),) = bridges(tmp_path)
    assert [f.id for f in record.factors] == ["s1", "dem", "statistics", "precision"]
    assert (len(record.corners), record.forwards_made, record.forwards_kept) == (16, 32, 0)
    assert (record.weights, record.published, record.result.claimed) == ("random", None, None)
    assert record.result.sentence in told.out
    total = sum(s.effect for s in record.result.shares)
    assert abs(record.result.end - record.result.start - total) < 1e-9
    page = (folder / "bridge.md").read_text(encoding="utf-8")
    assert page.startswith("# [mechanics only: random weights]")
    assert "- [ ]" not in page
    for name, recipe, corner in (("pretraining", "start", 0), ("training-code", "end", -1)):
        held = record.corners[corner]
        assert held.switched == ([] if recipe == "start" else sorted(f.id for f in record.factors)), name
    # from the other side, nothing is sent through the model again, and every effect has the other sign
    command(*chips, "--metric=accuracy", start="training-code", end="pretraining")
    (back,) = [r for _, r in bridges(tmp_path) if r.start_name == "training-code"]
    assert (back.forwards_made, back.forwards_kept) == (0, 32)
    for here, there in zip(record.result.shares, back.result.shares, strict=True):
        assert here.factor == there.factor
        assert abs(here.effect + there.effect) < 1e-12


def test_the_ends_are_what_reproduce_measures(command: Any, place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    """The start under `pretraining` in float32 is the run of that recipe, pixel for pixel."""
    command(*on(place), "--metric=accuracy", "--hold=precision")
    ((_, record),) = bridges(tmp_path)
    for recipe, corner in (("pretraining", record.corners[0]), ("training-code", record.corners[-1])):
        words = ["reproduce", "--family=narrow", f"--root={place}", "--source=files", f"--weights={narrow_weights}"]
        words += [f"--out={tmp_path / recipe}", f"--recipe={recipe}", "--device=cpu", *on(place), "--task=lulc_nyc"]
        app(words, standalone_mode=False)
        run = json.loads((tmp_path / recipe / "latest" / "run.json").read_text(encoding="utf-8"))
        theirs = {c["chip"]: c["confusion"] for c in run["adapters"][0]["chips"]}
        assert corner.matrices == theirs


class Killed(Exception):  # noqa: N818
    """Stands in for a signal."""


def test_an_interrupted_bridge_goes_on_where_it_was(
    command: Any, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips = (*on(place), "--metric=accuracy", "--hold=precision")
    whole = Ensemble.predict
    calls = 0

    def dies(self: Ensemble, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        return whole(self, *args)

    monkeypatch.setattr(Ensemble, "predict", dies)
    with pytest.raises(Killed):
        command(*chips)
    assert not list((tmp_path / "runs").glob("*"))
    monkeypatch.setattr(Ensemble, "predict", whole)
    command(*chips)
    ((_, record),) = bridges(tmp_path)
    assert (record.forwards_made, record.forwards_kept) == (11, 5)
    shutil.rmtree(tmp_path / "cache")
    command(*chips)
    (fresh,) = [r for _, r in bridges(tmp_path) if r.forwards_kept == 0]
    assert fresh.corners == record.corners
    assert fresh.result == record.result


@pytest.fixture
def nano(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`harness ablate` with adapters that were trained and the card about them; another recipe has wider statistics."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "twin"
    shutil.copytree(TWIN / "eval", root / "eval")
    shutil.copytree(place / "eval" / "labels", root / "eval" / "labels")
    recipe = yaml.safe_load((root / "eval" / "recipes" / "twin.yaml").read_text(encoding="utf-8"))
    optical = recipe["statistics"]["S2L2A"]
    wide = {**optical, "std": [2 * v for v in optical["std"]]}
    other = {**recipe, "id": "wide", "title": "Wider", "statistics": {**recipe["statistics"], "S2L2A": wide}}
    (root / "eval" / "recipes" / "wide.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    # places that share no ground: three scenes
    chips = write_folder(tmp_path / "chips", ids=("a", "b", "c"), size_px=64, apart_m=20_000.0)

    def typed(*more: str, adapter: str = "lulc_twin") -> BridgeRecord:
        labels = [f"--labels={root / 'eval' / 'labels' / name}.yaml" for name in ("terramesh-lulc", "terramesh-built")]
        words = ["ablate", adapter, "--from=twin", "--to=wide", "--family=twin", f"--root={root}", f"--chips={chips}"]
        words += [f"--weights={TWIN / 'weights'}", f"--out={tmp_path / 'runs'}", "--device=cpu", *labels]
        app([*words, "--declare=S1RTC=dB", *more], standalone_mode=False)
        (record,) = [r for _, r in bridges(tmp_path)]
        return record

    return typed


def test_a_bridge_begins_at_the_published_figure(nano: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a rerun at its settings does not meet is no share, and has a band of three scenes."""
    record = nano("--metric=accuracy", "--claim=twin-card/lulc.test.accuracy")
    assert (record.weights, record.published_why) == ("published", "")
    held, result = record.published, record.result
    assert (held.id, held.printed, held.value) == ("twin-card/lulc.test.accuracy", "0.9632", 0.9632)
    assert (held.scenes, held.clusters) == ("others", None)
    assert [f.id for f in record.factors] == ["statistics"]
    start = [sum(m[i][i] for m in record.corners[0].matrices.values() for i in range(5))]
    whole = sum(cell for m in record.corners[0].matrices.values() for row in m for cell in row)
    assert result.claimed == 0.9632
    assert result.unexplained == pytest.approx(start[0] / whole - 0.9632, abs=1e-12)
    assert result.unexplained < -0.05  # made-up chips: the card speaks of a city
    assert result.band is not None
    assert result.n == 3
    assert "assumed equal to ours" in result.band_why
    page = (next((tmp_path / "runs").glob("*/bridge.md"))).read_text(encoding="utf-8")
    assert "| published: twin-card/lulc.test.accuracy | 0.9632 |" in page
    assert f"| *unexplained* | | {100 * result.unexplained:+.1f} |" in page
    assert "mechanics only" not in page
    assert "- [ ]" not in page
    assert "Random weights" not in capsys.readouterr().out


def test_a_named_figure_stands_at_the_start_and_one_of_another_quantity_is_refused(nano: Any) -> None:
    with pytest.raises(RegistryError, match=r"is a .*iou.*; bridged is accuracy"):
        nano("--metric=accuracy", "--claim=twin-card/lulc.test.iou.0")
    record = nano("--metric=iou", "--class=2", "--claim=twin-card/lulc.city.iou.2")
    assert record.published is not None
    assert (record.published.value, record.result.claimed) == (0.9281, 0.9281)


def test_of_two_figures_of_one_quantity_none_is_chosen(nano: Any) -> None:
    record = nano("--metric=accuracy")
    assert record.published is None
    assert record.published_why == (
        "several figures of accuracy of lulc_twin (not by chip or place) are printed: "
        "twin-card/lulc.test.accuracy, twin-card/lulc.city.accuracy; name one with --claim"
    )


def test_two_classes_populations_and_unlabelled_land(command: Any, place: Path, tmp_path: Path) -> None:
    chips = (*on(place), "--hold=precision", "--hold=s1", "--hold=dem")
    more = ("--from-chip=a", "--to-chip=a", "--to-chip=b", "--metric=accuracy", "--threshold=0.4")
    command(*chips, *more, "--to-unlabelled=background", adapter="buildings_nyc")
    ((_, record),) = bridges(tmp_path)
    assert {f.id: f.kind for f in record.factors} == {
        "statistics": "recipe",
        "population": "population",
        "unlabelled": "unlabelled",
    }
    for corner in record.corners:
        assert sorted(corner.matrices) == (["a", "b"] if "population" in corner.switched else ["a"])
        if "unlabelled" in corner.switched:
            assert set(corner.ignored_px.values()) == {0}
    assert {c.chip: c.ends for c in record.chips} == {"a": ["start", "end"], "b": ["end"]}


def test_chips_on_the_same_ground_are_one_scene_of_a_bridge(command: Any, place: Path, tmp_path: Path) -> None:
    """The same pixels counted as two scenes would halve the spread between scenes."""
    folder = write_folder(tmp_path / "same", ids=("a", "b"), size_px=64)
    holds = [f"--hold={k}" for k in ("precision", "s1", "statistics")]
    command(*on(place, folder), "--metric=accuracy", *holds)
    ((_, record),) = bridges(tmp_path)
    assert [c.cluster for c in record.chips] == ["a + b", "a + b"]
    assert record.result.n == 1
    assert all(list(c.matrices) == ["a + b"] for c in record.corners)


def test_a_chip_that_fails_at_one_end_enters_no_combination(
    command: Any, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap in Sentinel-1: training-code fills it, pretraining refuses it."""
    import rasterio

    folder = tmp_path / "gaps"
    shutil.copytree(place / "chips", folder)
    with rasterio.open(folder / "S1RTC" / "b.tif", "r+") as file:
        data = file.read()
        data[:, :4, :4] = -9999
        file.write(data)
    made: list[str] = []
    whole = Ensemble.predict

    def counted(self: Ensemble, chip: Any, tasks: Any) -> Any:
        made.append(chip.chip_id)
        return whole(self, chip, tasks)

    monkeypatch.setattr(Ensemble, "predict", counted)
    command(*on(place, folder), "--metric=accuracy", "--hold=precision", start="training-code", end="pretraining")
    assert set(made) == {"a"}  # what cannot be fed at one end costs no forward at the other
    ((_, record),) = bridges(tmp_path)
    assert [(c.chip, c.scored) for c in record.chips] == [("a", True), ("b", False)]
    assert "nodata" in str(record.chips[1].reason)
    assert all(sorted(c.matrices) == ["a"] for c in record.corners)
    assert "unscored: b: " in capsys.readouterr().err
    shutil.copy(folder / "S1RTC" / "b.tif", folder / "S1RTC" / "a.tif")
    with pytest.raises(UnscoredError, match="none of 2 chips could be run: a: "):
        command(*on(place, folder), "--metric=accuracy", "--hold=precision")


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        ({"adapter": "lulc_nyk"}, (), "no adapter 'lulc_nyk'; did you mean 'lulc_nyc'"),
        ({"start": "pre-training"}, (), "no recipe 'pre-training'; did you mean 'pretraining'"),
        ({"end": "pretraining"}, (), "do not differ in anything"),
        ({}, ("--metric=miou",), "did you mean 'mIoU'"),
        ({}, ("--metric=iou",), "name it with --class"),
        ({}, ("--metric=accuracy", "--class=1"), "is of no class"),
        ({}, ("--metric=iou", "--class=5"), "has classes 0 to 4, and no class 5"),
        ({}, ("--metric=accuracy", "--classes=0,1"), "goes with a mean over classes"),
        ({}, ("--classes=0;1",), "write indices with commas"),
        ({}, ("--classes=\N{SUPERSCRIPT TWO}",), "write indices with commas"),
        ({}, ("--out=/dev/null/runs", "--plan"), "/dev/null: is no folder"),
        ({}, ("--threshold=0.4",), "for adapters of two classes"),
        ({}, ("--hold=dems",), "did you mean 'dem'"),
        ({}, ("--from-chip=c",), "no chip 'c'"),
        ({}, ("--to-scheme=training_code",), "did you mean 'training-code'"),
        ({}, ("--to-footprints=stood",), "goes with no --chips"),
        ({}, ("--to-unlabelled=background",), "goes with footprints"),
        ({}, tuple(f"--hold={k}" for k in ("s1", "dem", "statistics", "precision")), "can be switched here: s1: held"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(
    command: Any, place: Path, tmp_path: Path, words: dict[str, str], more: tuple[str, ...], said: str
) -> None:
    with pytest.raises(HarnessError, match=said):
        command(*on(place), *more, **words)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()


def test_no_chips_is_said_so(command: Any, tmp_path: Path, place: Path) -> None:
    with pytest.raises(HarnessError, match="--declare goes with --chips"):
        command("--declare=S1RTC=dB")
    with pytest.raises(RegistryError, match="name a folder with --chips, or locks with --lock"):
        app(
            ["ablate", "lulc_nyc", "--from=pretraining", "--to=card", "--family=narrow", f"--root={place}"],
            standalone_mode=False,
        )
    (tmp_path / "none").mkdir()
    with pytest.raises(HarnessError, match="no chips"):
        command(*on(place, tmp_path / "none"))


def test_a_mean_over_other_classes_at_each_combination_is_refused_with_advice() -> None:
    from harness.ablate.result import computed
    from harness.records.bridge import FactorRecord, KnobRecord

    factor = FactorRecord(id="dem", kind="recipe", says="x", knobs=[KnobRecord(id="dem", start="a", end="b")])
    gone = {"s": ConfusionMatrix(((5, 0, 0), (0, 5, 0), (0, 0, 0)))}
    here = {"s": ConfusionMatrix(((5, 0, 0), (0, 4, 1), (0, 0, 0)))}
    corners = {frozenset[str](): gone, frozenset({"dem"}): here}
    with pytest.raises(RegistryError, match="name the classes of a mean with --classes"):
        computed([factor], corners, Wanted("x", "mIoU", None, 0.5), None, None)
    assert computed([factor], corners, Wanted("x", "mIoU", None, 0.5), [0, 1], None).end == 0.9


def test_two_runs_are_bridged_by_what_differs_between_them(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        words = ["reproduce", "--family=narrow", f"--root={place}", "--source=files", f"--weights={narrow_weights}"]
        words += [f"--out={tmp_path / dtype}", "--recipe=pretraining", "--device=cpu", *on(place), "--task=lulc_nyc"]
        app([*words, f"--dtype={dtype}"], standalone_mode=False)
    runs = [tmp_path / dtype / "latest" for dtype in ("float32", "bfloat16")]

    def pair(a: Path, b: Path, *more: str, adapter: str = "lulc_nyc") -> None:
        words = ["ablate", adapter, f"--from-run={a}", f"--to-run={b}", "--metric=accuracy", f"--root={place}"]
        app([*words, f"--out={tmp_path / 'runs'}", *more], standalone_mode=False)

    pair(runs[0], runs[1])
    ((folder, record),) = bridges(tmp_path)
    (factor,) = record.factors
    assert (factor.id, factor.kind, factor.says) == ("precision", "precision", "float32 -> bfloat16")
    assert (record.source, record.forwards_made, record.result.n) == ("runs", 0, 2)
    for corner, at in zip(record.corners, runs, strict=True):
        theirs = json.loads((at / "run.json").read_text(encoding="utf-8"))["adapters"][0]["chips"]
        assert corner.matrices == {c["chip"]: c["confusion"] for c in theirs}
    assert "first run" in (folder / "bridge.md").read_text(encoding="utf-8")
    with pytest.raises(RegistryError, match="are one run"):
        pair(runs[0], runs[0])
    with pytest.raises(RegistryError, match="no adapter in run"):
        pair(runs[0], runs[1], adapter="tim_nyc")
    for ignored in ("--plan", "--hold=nonsense", "--device=auto", "--family=nope", "--labels=x.yaml"):
        with pytest.raises(RegistryError, match=f"{ignored.split('=')[0]} goes with two recipes"):
            pair(runs[0], runs[1], ignored)
    with pytest.raises(RegistryError, match="give both --from-run and --to-run"):
        app(["ablate", "lulc_nyc", f"--from-run={runs[0]}"], standalone_mode=False)
    with pytest.raises(RegistryError, match="no such run"):
        pair(runs[0], tmp_path / "nowhere")
    other = tmp_path / "edited"

    def edited(**fields: Any) -> Path:
        run = json.loads((runs[1] / "run.json").read_text(encoding="utf-8"))
        run["id"] = "edited"
        for name, value in fields.items():
            if name == "sha256":
                run["adapters"][0]["chips"][0][name] = value
            elif name == "shares_ground":
                run["adapters"][0]["chips"][1][name] = value
            elif name == "weights_sha256":
                run["adapters"][0]["load"]["files"][0]["sha256"] = value
            else:
                run[name] = value
        other.mkdir(exist_ok=True)
        (other / "run.json").write_text(json.dumps(run), encoding="utf-8")
        return other

    pair(runs[0], edited(device="cuda: a card"))
    both = bridges(tmp_path)[-1][1]
    assert (both.factors[0].id, both.factors[0].kind) == ("device and precision", "device")
    assert "cannot tell them apart" in both.held[-1].why
    pair(runs[0], edited(sha256="other"))
    less = [r for _, r in bridges(tmp_path) if any(not c.scored for c in r.chips)]
    assert [(c.chip, c.reason) for c in less[0].chips] == [("a", "other pixels in the two runs"), ("b", None)]
    pair(runs[0], edited(shares_ground=["a"]))
    (joint,) = [r for _, r in bridges(tmp_path) if r.result.n == 1 and all(c.scored for c in r.chips)]
    assert {c.cluster for c in joint.chips} == {"a + b"}
    with pytest.raises(RegistryError, match="loaded other weights"):
        pair(runs[0], edited(weights_sha256="ab" * 32))


def test_a_record_is_written_once_and_shares_that_do_not_add_up_are_no_record(
    command: Any, place: Path, tmp_path: Path
) -> None:
    command(*on(place), "--metric=accuracy", "--hold=precision", "--hold=s1")
    ((folder, record),) = bridges(tmp_path)
    with pytest.raises(RegistryError, match="written once"):
        write_bridge(record, folder)
    raw = json.loads((folder / "bridge.json").read_text(encoding="utf-8"))
    raw["result"]["shares"][0]["effect"] += 0.01
    (folder / "bridge.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(RegistryError, match=r"shares miss the difference of the ends by -0\.01"):
        read_bridge(folder)
    raw["result"]["shares"][0]["effect"] -= 0.01
    raw["corners"].pop()
    (folder / "bridge.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(RegistryError, match="3 combinations of 2 factors"):
        read_bridge(folder)


def test_forwards_are_counted_by_what_is_fed() -> None:
    """A scheme and a population feed nothing new."""
    other = replace(RERUN, scheme="training-code", chips=("b", "c"))
    other = replace(other, recipe=other.recipe.model_copy(update={"dem": CODE.recipe.dem}))
    groups = tuple(grouped(differing(RERUN, other)))
    assert [g.id for g in groups] == ["dem", "scheme", "population"]
    plan = Plan.__new__(Plan)
    for name, value in (("start", RERUN), ("end", other), ("groups", groups)):
        object.__setattr__(plan, name, value)
    assert len(plan.corners) == 8
    assert [len(plan.feeds(name, lambda _: "files")) for name in ("a", "b", "c")] == [2, 2, 2]


def test_a_lock_is_read_once_for_each_recipe(brooklyn: World, harness: Harness, narrow_weights: Path) -> None:
    """Size, DEM, footprints and unlabelled land of one AOI; what the two ends hold is what `reproduce` measures."""
    root, lock = brooklyn.root, "aois/locks/made-up.lock.json"
    recipes = ("--recipe=training-code", "--recipe=card")
    done = harness("lock", "aois/made-up.geojson", f"--address={brooklyn.address}", "--aoi=here", *recipes)
    assert done.returncode == 0, done.stderr
    words = ["ablate", "buildings_nyc", "--family=narrow", f"--root={root}", f"--lock={lock}", "--out=bridged"]
    words += [f"--weights={narrow_weights}", "--from=card", "--to=training-code", "--metric=accuracy", "--device=cpu"]
    rules = ("--from-footprints=training-code", "--to-footprints=stood")
    done = harness(*words, *rules, "--from-unlabelled=background")
    assert done.returncode == 0, done.stderr
    (path,) = (root / "bridged").glob("*/bridge.json")
    record = read_bridge(path.parent)
    assert {f.id: f.kind for f in record.factors} == {
        "size": "recipe",
        "dem": "recipe",
        "footprints": "labels",
        "unlabelled": "unlabelled",
    }
    assert record.held == []
    assert (record.source, len(record.corners), record.forwards_made, record.result.n) == ("lock", 16, 4, 1)
    assert len(record.chips[0].sha256) == 2  # one reading of 224 px, one of 256
    sums = {frozenset(c.switched): sum(map(sum, c.matrices["here"])) + c.ignored_px["here"] for c in record.corners}
    assert all(total == (256**2 if "size" in ids_ else 224**2) for ids_, total in sums.items())
    ignored = {frozenset(c.switched): c.ignored_px["here"] for c in record.corners}
    assert all((n > 0) == ({"footprints", "unlabelled"} <= ids_) for ids_, n in ignored.items())
    for recipe, rule, corner in (("training-code", "stood", record.corners[-1]),):
        run = ["reproduce", "--family=narrow", f"--root={root}", "--source=lock", f"--lock={lock}", f"--out={recipe}"]
        run += [f"--weights={narrow_weights}", "--task=buildings_nyc", f"--recipe={recipe}", f"--footprints={rule}"]
        assert harness(*run, "--device=cpu").returncode in (0, 3)
        theirs = json.loads((root / recipe / "latest" / "run.json").read_text(encoding="utf-8"))
        assert corner.matrices["here"] == theirs["adapters"][0]["chips"][0]["confusion"]
    missing = harness(*words[:-2], "--from=pretraining", "--to=training-code")
    assert missing.returncode == 2
    assert "holds no AOI for recipe pretraining" in missing.stderr
