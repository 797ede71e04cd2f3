"""What stands beside scores, on small chips whose truth is known, from pixels to record to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.beside import NOT_ASKED, Besides, Generating
from harness.chips.chip import MODALITIES, Chip, Grid, Label, Layer
from harness.chips.cover import cover_of, is_buildings, land_schemes, reflectance
from harness.chips.generated import WORLDCOVER_OF, bridge_to
from harness.chips.labels import read_label_map
from harness.claims.groups import View
from harness.claims.schemes import Scheme
from harness.errors import ChipError, HarnessError, UnitError
from harness.given import Given
from harness.records import ChipScore
from harness.records.baselines import BaselineCount, Beside, GeneratedBy
from harness.records.run import read_run
from harness.report import baselines
from harness.report.baselines import BesidePage
from harness.report.run_report import render_run
from harness.report.run_tables import read_page
from harness.score.confusion import ConfusionMatrix
from harness.score.reliance import Evidence, findings
from tests.report.test_run_report import load, text_of, well_formed

PX = 64

SPECTRA = {0: (0.02, 0.03, 0.02, 0.01), 1: (0.10, 0.14, 0.17, 0.21), 2: (0.02, 0.05, 0.03, 0.40)}
"""Blue, green, red, near infrared of water, roofs and trees; short-wave bands follow the red one."""

LULC = {0: 80, 1: 50, 2: 10}
"""WorldCover code of each."""


def ground(seed: int) -> NDArray[np.int64]:
    """Water, roofs and trees in blocks, shape (PX, PX)."""
    coarse = np.random.default_rng(seed).permutation(np.arange(64) % 3).reshape(8, 8)
    return np.kron(coarse, np.ones((PX // 8, PX // 8), np.int64)).astype(np.int64)


def made(name: str, seed: int, offset: int = 0, declared: int | None = None) -> Chip:
    """A chip of that ground in DN, with the +1000 or without."""
    land, rng = ground(seed), np.random.default_rng(seed + 100)
    bands = MODALITIES["S2L2A"].bands
    pixels = np.zeros((1, len(bands), PX, PX))
    for k, (blue, green, red, near) in SPECTRA.items():
        value = {"B01": blue, "B02": blue, "B03": green, "B04": red, "B08": near, "B8A": near, "B07": near, "B06": near}
        for b, band in enumerate(bands):
            pixels[0, b][land == k] = value.get(band, red)
    dn = np.round(pixels * 10_000 * rng.normal(1, 0.02, pixels.shape)) + offset
    at = Path("chips")
    layers = {
        "S2L2A": Layer("S2L2A", dn.astype(np.float32), bands, "DN", (None,), at / "S2L2A" / f"{name}.tif"),
        "LULC": Layer(
            "LULC",
            np.vectorize(LULC.get)(land)[None, None].astype(np.float32),
            ("LULC",),
            "class code",
            (None,),
            at / "LULC" / f"{name}.tif",
        ),
    }
    grid = Grid(32618, (10.0, 0.0, 5e5, 0.0, -10.0, 4.5e6), PX, PX)
    return Chip(name, grid, layers, None, declared)


def buildings_of(chip: Chip, seed: int) -> Label:
    """Buildings: half of the roofs' pixels in lines of two, from a file of their own."""
    stripes = (np.arange(PX) // 2 % 2).astype(np.int64)
    label = ((ground(seed) == 1) & (stripes[None] == 1)).astype(np.int64)
    return Label(label, "footprints", Path("rows.json"), "source", "made")


def land_cover(chip: Chip, seed: int) -> Label:
    """The ground in scheme training-code, whose first three classes are water, developed and forest."""
    return Label(ground(seed), "training-code", chip.layers["LULC"].source, "source", "made")


class World:
    """Chips that were predicted, and what stands beside them."""

    def __init__(self, view: View, seeds: dict[str, int], chips: dict[str, Chip | HarnessError] | None = None) -> None:
        self.schemes: dict[str, Scheme] = view.schemes
        self.seeds = seeds
        self.chips: dict[str, Chip | HarnessError] = chips or {n: made(n, s) for n, s in seeds.items()}
        self.arrays: dict[str, dict[str, NDArray[Any]]] = {}
        self.given = Given("files", tuple(seeds), self.chips.__getitem__, self.label_in)

    def label_in(self, chip: Chip, wanted: Any) -> Label | str:
        """Land cover where the chip has it."""
        if chip.layers.get("LULC") is None:
            return "no LULC"
        return land_cover(chip, self.seeds[chip.id])

    def run(
        self,
        task: str = "buildings_nyc",
        stride: int | None = 4,
        generate: Generating | str = NOT_ASKED,
        shares: dict[str, list[str]] | None = None,
    ) -> list[Any]:
        """Scores with what stands beside them, of a prediction that is right on nine of ten pixels."""
        besides = Besides(self.given, self.schemes, stride, generate, steps=20)
        scores: list[tuple[ChipScore, str | None]] = []
        k = 2 if task == "buildings_nyc" else 5
        for name, seed in self.seeds.items():
            chip = self.chips[name]
            assert isinstance(chip, Chip)
            label = buildings_of(chip, seed) if k == 2 else land_cover(chip, seed)
            wrong = np.random.default_rng(seed).random((PX, PX)) < 0.1
            guess = np.where(wrong, (label.data + 1) % k, label.data).astype(np.uint8)
            arrays = self.arrays.setdefault(name, {})
            arrays |= {f"classes:{task}": guess, f"label:{label.scheme}": label.data}
            counts = ConfusionMatrix.from_maps(label.data, guess, k).to_json()["counts"]
            ground = (shares or {}).get(name, [])
            score = ChipScore(
                chip=name, sha256="ab" * 32, scored=True, reason=None, confusion=counts, shares_ground=ground
            )
            beside = besides.first(chip, label, score, k, arrays, task)
            scores.append((score.model_copy(update={"beside": beside}), label.scheme))
        return [score for score, _ in besides.second({task: scores}, self.arrays)[task]]


def of(score: ChipScore, name: str) -> BaselineCount:
    """One trivial map of a score."""
    assert score.beside is not None
    return next(b for b in score.beside.baselines if b.id == name)


def binary(counts: list[list[int]] | None) -> tuple[int, int, int, int]:
    """tp, fp, fn, tn."""
    assert counts is not None
    return counts[1][1], counts[0][1], counts[1][0], counts[0][0]


@pytest.fixture(scope="module")
def world(view: View) -> World:
    return World(view, {"a": 0, "b": 1, "c": 2})


def test_the_built_up_mask_is_the_land_cover_and_no_tuning(world: World) -> None:
    for score, seed in zip(world.run(), world.seeds.values(), strict=True):
        mask = of(score, "built-up mask")
        roofs = ground(seed) == 1
        label = (roofs & (np.arange(PX)[None] // 2 % 2 == 1)).astype(bool)
        assert binary(mask.confusion) == (label.sum(), (roofs & ~label).sum(), 0, (~roofs).sum())
        assert not mask.same_source
        assert mask.how == "built-up land of training-code as building"


def test_index_rules_find_the_roofs_from_raw_pixels(world: World) -> None:
    for score, seed in zip(world.run(), world.seeds.values(), strict=True):
        assert of(score, "index rules").confusion == of(score, "built-up mask").confusion
        assert (world.arrays["a"]["beside:index rules:footprints"] == (ground(0) == 1)).all() or seed


def test_in_five_classes_index_rules_name_water_trees_and_roofs(view: View) -> None:
    score = World(view, {"a": 0, "b": 1}).run("lulc_nyc")[0]
    counts = np.array(of(score, "index rules").confusion)
    assert counts.sum() == PX * PX == np.trace(counts)
    assert score.beside is not None
    assert "built-up mask" not in [b.id for b in score.beside.baselines]


@pytest.mark.parametrize(("offset", "declared"), [(1000, None), (1000, 1000), (0, None), (0, 0)])
def test_the_offset_is_taken_away_wherever_it_is(offset: int, declared: int | None) -> None:
    pixels, bands = reflectance(made("x", 0, offset, declared))
    plain = reflectance(made("x", 0, 0, 0))[0]
    assert np.allclose(pixels, plain, atol=1e-6)
    assert float(np.median(pixels[bands.index("B08")][ground(0) == 2])) == pytest.approx(0.40, abs=0.01)


def test_a_declared_offset_that_pixels_deny_is_no_reflectance(view: View) -> None:
    chips: dict[str, Chip | HarnessError] = {"a": made("a", 0, 0, 1000), "b": made("b", 1)}
    scores = World(view, {"a": 0, "b": 1}, chips).run()
    for name in ("index rules", "nearest centroid"):
        assert "declared to carry +1000" in str(of(scores[0], name).reason)
        assert of(scores[0], name).confusion is None
    assert of(scores[1], "nearest centroid").reason == "no labelled scene besides b to take class means from"
    assert of(scores[0], "built-up mask").confusion is not None


def test_class_means_come_from_other_scenes_only(view: View) -> None:
    seeds = {"100U_200L_0_0": 0, "100U_200L_0_1": 1, "101U_200L_0_0": 2}
    scores = World(view, seeds).run("lulc_nyc")
    assert [s.beside.scene for s in scores] == ["100U_200L", "100U_200L", "101U_200L"]
    said = [of(s, "nearest centroid").how for s in scores]
    assert said == [
        "class means of 12 bands from 1 other scene, 1 chip; none of class 3, 4",
        "class means of 12 bands from 1 other scene, 1 chip; none of class 3, 4",
        "class means of 12 bands from 1 other scene, 2 chips; none of class 3, 4",
    ]
    for score in scores:
        counts = np.array(of(score, "nearest centroid").confusion)
        assert np.trace(counts) == PX * PX
    alone = World(view, {"100U_200L_0_0": 0, "100U_200L_0_1": 1}).run("lulc_nyc")
    assert of(alone[0], "nearest centroid").reason == "no labelled scene besides 100U_200L to take class means from"


def test_class_means_never_come_from_a_chip_on_the_same_ground(view: View) -> None:
    """Neither directly nor through a third chip; the scene on record is the one that intervals use."""
    beside = {"b": ["a"], "c": ["b"]}
    scores = World(view, {"a": 0, "b": 1, "c": 2, "d": 3}).run("lulc_nyc", shares=beside)
    assert [s.beside.scene for s in scores] == ["a + b + c", "a + b + c", "a + b + c", "d"]
    said = [str(of(s, "nearest centroid").how) for s in scores]
    assert ["1 other scene, 1 chip;" in words for words in said] == [True, True, True, False]
    assert "1 other scene, 3 chips;" in said[3]


def test_a_missing_pixel_under_the_label_leaves_the_map_out(view: View) -> None:
    chip = made("a", 0)
    data = chip.layers["S2L2A"].data.copy()
    data[0, 3, 0, 0] = np.nan
    layer = Layer("S2L2A", data, chip.layers["S2L2A"].bands, "DN", (None,), Path("chips/S2L2A/a.tif"))
    holed = Chip("a", chip.grid, {**chip.layers, "S2L2A": layer}, None, 0)
    scores = World(view, {"a": 0, "b": 1}, {"a": holed, "b": made("b", 1)}).run()
    assert "1 labelled px have no value" in str(of(scores[0], "index rules").reason)
    assert "1 labelled px have no value" in str(of(scores[0], "nearest centroid").reason)
    assert of(scores[1], "nearest centroid").confusion is not None


def test_a_chip_that_cannot_be_read_again_says_so(view: View) -> None:
    world = World(view, {"a": 0, "b": 1})
    chips, reads = dict(world.chips), {"n": 0}

    def once(name: str) -> Chip | HarnessError:
        reads["n"] += 1
        return ChipError("the disk is gone")

    world.given = Given("files", ("a", "b"), once, world.label_in)
    assert chips == world.chips
    scores = world.run()
    assert of(scores[0], "nearest centroid").reason == "the disk is gone"
    assert reads["n"] == 2


def test_what_there_is_not_says_why(view: View) -> None:
    chip = made("a", 0)
    bare = Chip("a", chip.grid, {"S2L2A": chip.layers["S2L2A"]}, None, 0)
    score = World(view, {"a": 0}, {"a": bare}).run(stride=None)[0]
    assert score.beside is not None
    assert of(score, "built-up mask").reason == "no land-cover map: no LULC"
    assert "no LULC" in str(score.beside.land.reason)
    assert "nobody counted" in str(score.beside.ceiling.reason)
    assert of(score, "generated land cover").reason == "add --generated"
    without = World(view, {"a": 0}).run(generate="no tokenizer")[0]
    assert of(without, "generated land cover").reason == "no tokenizer"
    plain = World(view, {"a": 0})
    plain.schemes = {"footprints": view.schemes["footprints"]}
    unnamed = plain.run()[0]
    assert unnamed.beside is not None
    assert "no scheme here has a class for built-up land" in str(unnamed.beside.land.reason)
    odd = World(view, {"a": 0}).run(stride=7)[0]
    assert odd.beside is not None
    assert odd.beside.ceiling.reason == "64 x 64 px are no whole cells of 7 px"


OUTPUT = {0: 1, 1: 5, 2: 2}
"""Output of the land-cover tokenizer for water, roofs and trees."""


def generated(calls: list[str]) -> Generating:
    """Logits of the true ground, but clouds on the first row, where the ground comes second."""

    def make(chip: Chip) -> tuple[NDArray[np.float32], GeneratedBy]:
        calls.append(chip.id)
        if chip.id == "c":
            raise ChipError("c: no DEM")
        logits = np.zeros((10, PX, PX), np.float32)
        np.put_along_axis(logits, np.vectorize(OUTPUT.get)(ground(int(chip.id == "b")))[None], 1.0, axis=0)
        logits[8, 0] = 2.0
        by = GeneratedBy(
            generator="made_generate",
            recipe="pretraining 1",
            given=["S2L2A"],
            parts=[],
            seed=7,
            greedy=True,
            steps=1,
            temperature=1.0,
            top_p=None,
            device="cpu",
            notes=[],
            outputs_px=np.bincount(logits.argmax(0).ravel(), minlength=10).tolist(),
        )
        return logits, by

    return make


def test_generated_land_cover_is_one_map_a_chip_read_in_each_scheme(view: View, tmp_path: Path) -> None:
    calls: list[str] = []
    world = World(view, {"a": 0, "b": 1, "c": 2})
    scores = world.run(generate=generated(calls))
    for score, seed in zip(scores[:2], (0, 1), strict=True):
        one, mask = of(score, "generated land cover"), of(score, "built-up mask")
        assert one.confusion == mask.confusion  # the ground was generated, built area as building
        assert (one.instead, one.classless_px) == ("built area as building", PX)
        assert one.generated is not None
        assert (one.generated.seed, one.generated.outputs_px[8]) == (7, PX)
        assert (world.arrays[score.chip]["beside:generated land cover:footprints"] == (ground(seed) == 1)).all()
    assert of(scores[2], "generated land cover").reason == "c: no DEM"
    assert calls == ["a", "b", "c"]
    text = report(written(world, tmp_path / "r", scores), view)
    assert "| generated land cover (built area as building) | 2 |" in text
    assert f"on {2 * PX:,} of {2 * PX * PX:,} px the most probable output has no class here" in text
    assert "no data and clouds have no class, the most probable output that has one is taken" in text
    assert "- [x] Trivial maps equal" in text
    cover = World(view, {"a": 0}).run("lulc_nyc", generate=generated([]))[0]
    counts = np.array(of(cover, "generated land cover").confusion)
    assert np.trace(counts) == counts.sum() == PX * PX
    assert of(cover, "generated land cover").instead is None


def test_two_adapters_share_one_generation(view: View) -> None:
    calls: list[str] = []
    world = World(view, {"a": 0})
    besides = Besides(world.given, view.schemes, None, generated(calls))
    chip = world.chips["a"]
    assert isinstance(chip, Chip)
    score = ChipScore(chip="a", sha256="ab" * 32, scored=True, reason=None, confusion=[[1, 0], [0, 1]])
    for label, k in ((buildings_of(chip, 0), 2), (land_cover(chip, 0), 5)):
        beside = besides.first(chip, label, score, k, {"classes:t": label.data}, "t")
        assert next(b for b in beside.baselines if b.id == "generated land cover").confusion is not None
    assert calls == ["a"]


def test_what_a_scheme_has_and_outputs_have_not_is_named(view: View, root: Path) -> None:
    told = {name: bridge_to(scheme) for name, scheme in view.schemes.items()}
    assert not any(isinstance(each, str) for each in told.values())
    said = {name: each.said for name, each in told.items() if not isinstance(each, str)}
    assert "no output stands for building (4) of card, which it never names" in said["card"]
    assert "no output stands for" not in said["training-code"]
    assert "flooded vegetation" in said["riprap-app"].split(" have no class")[0]
    poor = view.schemes["training-code"].model_copy(update={"id": "poor", "classes": []})
    assert "scheme poor has no class for any WorldCover code" in str(bridge_to(poor))
    for name, scheme in (("terramesh-lulc", "training-code"), ("terramesh-built", "footprints")):
        mapping, bridge = read_label_map(root / "eval" / "labels" / f"{name}.yaml"), told[scheme]
        assert not isinstance(bridge, str)
        assert {i: k for i, k in enumerate(bridge.index) if k is not None} == mapping.codes
        assert set(WORLDCOVER_OF) == set(mapping.codes)


def test_ceilings_and_land_are_of_the_label(world: World) -> None:
    score = world.run()[0]
    assert score.beside is not None
    ceiling, land = score.beside.ceiling, score.beside.land
    assert (ceiling.stride_px, ceiling.cell_m, ceiling.steps) == (4, 40.0, 20)
    # lines of two pixels: every cell of a roof is half building, so that the majority (a tie) is not
    assert binary(ceiling.area_mean)[0] == 0
    best = max(ceiling.shares, key=lambda r: (r.tp / (r.tp + r.fp + r.fn), r.threshold))
    assert (best.threshold, best.fn) == (0.5, 0)
    assert binary(ceiling.fitted)[0] > 0
    assert (land.scheme, land.same_source, land.known_px) == ("training-code", False, PX * PX)
    assert land.built_px == int((ground(0) == 1).sum())
    assert land.water_px == int((ground(0) == 0).sum())
    assert sum(map(sum, land.inside_built or [])) == land.built_px
    assert sum(s.cells for s in land.strata if s.land == "built-up") == 4


def test_schemes_say_which_class_a_rule_gives(view: View) -> None:
    cover = cover_of(view.schemes["training-code"])
    assert not isinstance(cover, str)
    assert (cover.water, cover.full, cover.some, cover.bare) == (0, 2, 3, 1)
    assert is_buildings(view.schemes["footprints"])
    assert not is_buildings(view.schemes["card"])
    assert land_schemes(view.schemes)[0] == "training-code"
    assert "footprints" not in land_schemes(view.schemes)
    poor = view.schemes["training-code"].model_copy(update={"id": "poor", "classes": []})
    assert cover_of(poor) == "scheme poor has no class for WorldCover 80, 10, 30, 50, which the rules name"


def test_without_sentinel_2_there_is_no_reflectance() -> None:
    chip = made("a", 0)
    with pytest.raises(UnitError, match="no S2L2A"):
        reflectance(Chip("a", chip.grid, {"LULC": chip.layers["LULC"]}))


def written(world: World, folder: Path, scores: list[ChipScore], weights: str = "published") -> Path:
    """A run folder of one adapter."""
    whole = []
    for score in scores:
        arrays = world.arrays[score.chip]
        classes = arrays["classes:buildings_nyc"]
        p = np.stack([classes == 0, classes == 1]).astype(np.float32)
        arrays |= {"probabilities:buildings_nyc": p, "gsd_m": np.array(10.0)}
        px = np.bincount(classes.ravel(), minlength=2).tolist()
        whole.append(score.model_copy(update={"predicted_px": px}).model_dump(mode="json"))
    run = {
        "schema": 1,
        "id": "made",
        "created": "2026-01-02T03:04:05Z",
        "who": "a test",
        "command": "harness reproduce",
        "commit": "0" * 40,
        "dirty": False,
        "family": "terramind-nyc",
        "source": "files",
        "weights": weights,
        "device": "cpu",
        "dtype": "float32",
        "recipe": "pretraining 1",
        "adapters": [
            {
                "adapter": "buildings_nyc",
                "recipe": "pretraining 1",
                "scheme": "footprints",
                "load": load("buildings_nyc", 2, random_weights=weights == "random"),
                "chips": whole,
            }
        ],
        "measurements": [],
    }
    (folder / "arrays").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    for name, arrays in world.arrays.items():
        np.savez(folder / "arrays" / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return folder


def report(folder: Path, view: View) -> str:
    files = render_run(folder, view.families["terramind-nyc"], view.schemes)
    text = text_of(files)
    if "<details>" not in text:  # many chips are folded away
        well_formed(files)
    return text


def test_the_report_puts_trivial_maps_and_ceilings_beside_the_score(view: View, tmp_path: Path) -> None:
    world = World(view, {"a": 0, "b": 1, "c": 2})
    scores = world.run()
    text = report(written(world, tmp_path / "r", scores), view)
    first = text.index("## Rely on it for / not for")
    assert text.index("**Scored:**") < first < text.index("## Beside trivial maps") < text.index("## What was run")
    assert "- buildings\\_nyc: building: cannot be told from 3 scenes; 10 are needed." in text.replace(
        "buildings_nyc:", "buildings\\_nyc:"
    )
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in text.splitlines() if " | 3 | " in line}
    total = np.sum([binary(s.confusion) for s in scores], axis=0)
    share = (total[0] + total[2]) / total.sum()
    assert rows["all 1 building"][4] == f"{share:.3f}"
    assert rows["by chance, at the labels' shares"][5:] == [f"{share:.3f}", f"{share:.3f}", f"{share:.3f} |"]
    mask = np.sum([binary(of(s, "built-up mask").confusion) for s in scores], axis=0)
    assert rows["built-up mask of the land-cover map"][4] == f"{mask[0] / mask[:3].sum():.3f}"
    assert rows["**this run**"][4] == f"{total[0] / total[:3].sum():.3f}"
    assert "ceiling: area means of 40 m, marked from 0.5 on" in rows
    assert "*generated land cover* not measured (a, b, c)" in text
    for check in ("Trivial maps equal", "Area means and shares", "The best logits found", "Counts by kind of land"):
        assert f"- [x] {check}" in text
    assert "inside built-up land, by pixel" in text


def test_enough_scenes_become_sentences(view: View, tmp_path: Path) -> None:
    world = World(view, {f"s{i}": i for i in range(12)})
    text = report(written(world, tmp_path / "r", world.run()), view)
    part = text.split("**Rely on it for**")[1].split("**Not for**")[0]
    assert "from 12 scenes; best trivial map: built-up mask of the land-cover map, 0.5" in part
    run = read_run(tmp_path / "r" / "run.json")
    page = read_page(run.adapters[0], view.families["terramind-nyc"], view.schemes, tmp_path)
    assert [len(BesidePage(page, random).findings()) > 0 for random in (False, True)] == [True, False]
    few = World(view, {"a": 0})
    shown = report(written(few, tmp_path / "s", few.run(), weights="random"), view)
    assert "Nothing follows for a user: the weights are random" in shown
    assert "**Not for**" not in shown


def test_a_mask_from_the_labels_own_file_is_shown_as_such_and_judges_nothing(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(view, {f"s{i}": i for i in range(12)})
    scores = []
    for score in world.run():
        same = [b.model_copy(update={"same_source": True} if b.confusion else {}) for b in score.beside.baselines]
        land = score.beside.land.model_copy(update={"same_source": True})
        scores.append(
            score.model_copy(update={"beside": score.beside.model_copy(update={"baselines": same, "land": land})})
        )
    held: list[Evidence] = []

    def kept(evidence: Evidence) -> object:
        held.append(evidence)
        return findings(evidence)

    monkeypatch.setattr(baselines, "findings", kept)
    report(written(world, tmp_path / "s", world.run()), view)
    assert all(any("built-up land covers" in name for name in e.strata) for e in held)
    held.clear()
    text = report(written(world, tmp_path / "r", scores), view)
    assert [dict(e.strata) for e in held] == [{}] * len(held)
    assert held
    assert "built-up mask of the land-cover map (made from the label's own file)" in text
    assert "best trivial map: building everywhere" in text
    assert "no independent land cover inside built-up land" in text


def test_an_older_record_says_that_nothing_was_recorded(view: View, tmp_path: Path) -> None:
    world = World(view, {"a": 0})
    bare = [s.model_copy(update={"beside": None}) for s in world.run()]
    folder = written(world, tmp_path / "r", bare)
    raw = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del raw["adapters"][0]["chips"][0]["beside"]
    (folder / "run.json").write_text(json.dumps(raw), encoding="utf-8")
    text = report(folder, view)
    assert "were not recorded in this run: its record is older" in text
    assert "| nearest class means, other scenes | 0 | not recorded |" in text
    assert "| all 1 building |" in text
    assert "[?] Trivial maps equal a recount of label against map: nothing here to check" in text


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("map", "Trivial maps equal a recount of label against map: buildings_nyc on a, index rules"),
        ("gone", "Trivial maps equal a recount of label against map: buildings_nyc on a, index rules: the arrays hold"),
        ("cells", "Area means and shares of cells equal a recount of the label: buildings_nyc on a"),
        ("shares", "shares of cells differ"),
        ("logits", "The best logits found give the counts on record: buildings_nyc on a"),
        ("land", "Counts by kind of land equal a recount: buildings_nyc on a"),
        ("stratum", "strata differ"),
        ("inside", "counts inside built-up land differ"),
    ],
)
def test_a_record_that_was_changed_afterwards_is_caught(view: View, tmp_path: Path, what: str, said: str) -> None:
    world = World(view, {"a": 0, "b": 1})
    folder = written(world, tmp_path / "r", world.run())
    raw = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    beside = raw["adapters"][0]["chips"][0]["beside"]
    rules = next(b for b in beside["baselines"] if b["id"] == "index rules")
    match what:
        case "map":
            rules["confusion"][0][0] += 1
        case "cells":
            beside["ceiling"]["area_mean"][0][0] += 1
        case "shares":
            beside["ceiling"]["shares"][3]["tp"] += 1
        case "logits":
            beside["ceiling"]["fitted"][1][1] += 1
        case "land":
            beside["land"]["built_px"] += 1
        case "stratum":
            beside["land"]["strata"][0]["cells"] += 1
        case "inside":
            beside["land"]["inside_built"][0][0] += 1
        case "gone":
            path = folder / "arrays" / "a.npz"
            arrays = dict(np.load(path))
            del arrays["beside:index rules:footprints"]
            np.savez(path, **arrays)
    (folder / "run.json").write_text(json.dumps(raw), encoding="utf-8")
    failing = [line for line in report(folder, view).splitlines() if line.startswith("- [ ] ")]
    assert any(said in line for line in failing), failing


def test_a_map_has_counts_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either a map and how it was made, or the reason"):
        BaselineCount(id="index rules", confusion=[[1, 0], [0, 1]], reason="none")
    with pytest.raises(ValueError, match="either a map"):
        BaselineCount(id="index rules")


def test_what_stands_beside_survives_the_record(world: World) -> None:
    beside = world.run()[0].beside
    assert beside == Beside.model_validate_json(beside.model_dump_json())
