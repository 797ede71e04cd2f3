"""The twin's files, and the self-check on a few scenes."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.chips.aois import read_aois
from harness.claims.audit import audit_view, read_view
from harness.errors import SelfCheckError
from harness.report.twin import page
from harness.selfcheck import DATA, SEED, SHIFT, SelfCheck, refuse, selfcheck
from harness.twin.city import make_city, scenes
from tests.twin.places import SPLITS, text


def _page(done: SelfCheck) -> str:
    return page(
        done.same, done.other, done.planted, done.figures, done.requests, done.outside, done.problems, SHIFT
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> SelfCheck:
    """One self-check: the card's six scenes, four others, and faults in two cards."""
    return selfcheck(scenes=4, cache=tmp_path_factory.mktemp("cache"), keep=runs, draws=2, seed=1)


def test_the_card_s_true_claims_hold_on_its_scenes_and_moved_ones_do_not(done: SelfCheck) -> None:
    assert len(done.same) >= 12
    assert {row.verdict for row in done.same} == {"reproduced"}
    assert {row.shifted for row in done.same} == {"not reproduced"}
    assert all(row.measured.endswith("n = 6") for row in done.same)


def test_four_other_scenes_are_too_few_to_tell_of_buildings(done: SelfCheck) -> None:
    few = {row.verdict for row in done.other if row.what.startswith("buildings_twin iou [1")}
    assert few == {"inconclusive"}
    assert not done.problems
    refuse(done)


def test_the_chain_signed_and_reached_nothing_outside(done: SelfCheck) -> None:
    assert done.requests["token"] > 0
    assert done.requests["search"] > 0
    assert done.outside == ()


def test_the_page_says_first_what_it_is_and_every_claim(done: SelfCheck) -> None:
    said = _page(done)
    assert said.splitlines()[0].startswith("# Twin self-check: a simulated city, no place on Earth.")
    assert "**It holds.**" in said
    for row in (*done.same, *done.other):
        assert f"| {row.what} | {row.claimed} | {row.measured} |" in said


def test_planted_faults_are_found_as_what_they_are(done: SelfCheck) -> None:
    """Seed 1: DEM and class names; seed 2: those and polarisations."""
    kinds = [[f.kind for f in each.faults] for each in done.planted.draws]
    assert kinds == [["dem", "names"], ["dem", "names", "polarisations"]]
    assert {f.outcome for each in done.planted.draws for f in each.faults} == {"found"}
    assert [each.accused for each in done.planted.draws] == [[], []]
    assert {each.verdict for each in done.planted.faultless} == {"as stated"}
    assert [f.outcome for f in done.planted.others] == ["found"] * 4
    assert not any(each.material for each in done.planted.controls)
    said = _page(done)
    assert "5 faults in 2 cards" in said
    assert "5 *found*" in said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"outcome": "not told"}, "planted faults with a trace were named"),
        ({"outcome": "no trace"}, "0 of 0 planted faults"),
        ({"accused": ["dem: zeros"]}, "accused without a fault"),
        ({"verdict": "found"}, "a true card about the set card reads found"),
        ({"other": "not told"}, "times its size: not told"),
    ],
)
def test_a_search_that_misses_or_accuses_fails(done: SelfCheck, wrong: dict[str, Any], said: str) -> None:
    from harness.selfcheck import _badly_told

    got = done.planted
    assert not list(_badly_told(got))
    if "outcome" in wrong:
        all_ = [d.model_copy(update={"faults": [f.model_copy(update=wrong) for f in d.faults]}) for d in got.draws]
        got = got.model_copy(update={"draws": all_})
    elif "other" in wrong:
        others = [got.others[0].model_copy(update={"outcome": wrong["other"]}), *got.others[1:]]
        got = got.model_copy(update={"others": others})
    else:
        faultless = [got.faultless[0].model_copy(update=wrong), *got.faultless[1:]]
        got = got.model_copy(update={"faultless": faultless})
    assert any(said in problem for problem in _badly_told(got))


def test_the_page_shows_a_scene_and_the_sweep(done: SelfCheck) -> None:
    assert set(done.figures) == {"scene.png", "sweep-buildings_twin.svg"}
    assert all(f"(figures/{name})" in _page(done) for name in done.figures)
    assert done.figures["scene.png"].startswith(b"\x89PNG")


def test_the_twin_s_probes_run_on_the_chain_s_record(done: SelfCheck, runs: Path, root: Path) -> None:
    words = [f"--probes-folder={Path(__file__).parent / 'probes'}", f"--run-record={runs / 'latest'}"]
    told = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "pytest", str(root / "probes"), "-q", "-p", "no:cacheprovider", *words],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert told.returncode == 0, told.stdout
    assert "18 passed" in told.stdout
    assert "other places" in told.stdout  # what trivial predictors pass stands beside the pass rate


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"requests": {}}, "no signing request"),
        ({"outside": ("example.org",)}, "example.org was asked for"),
    ],
)
def test_a_self_check_that_proves_nothing_fails(done: SelfCheck, broken: dict[str, object], said: str) -> None:
    from harness.selfcheck import _problems

    other = replace(done, **broken)  # type: ignore[arg-type]
    problems = tuple(_problems(other.same, other.other, other.requests, other.outside, 2))
    with pytest.raises(SelfCheckError, match=said):
        refuse(replace(other, problems=problems))
    assert "**It does not hold.**" in _page(replace(other, problems=problems))


def test_a_true_claim_that_reads_false_is_a_problem_on_any_scenes(done: SelfCheck) -> None:
    from harness.selfcheck import _problems

    bad = (replace(done.other[0], verdict="not reproduced"), *done.other[1:])
    assert _problems(done.same, bad, done.requests, (), 2)
    assert any("10 of 12" in problem for problem in _problems(done.same, done.other, done.requests, (), 48))


def test_places_are_the_city_s() -> None:
    city = make_city(SEED)
    for role in SPLITS:
        path = DATA / "aois" / f"{role}.geojson"
        assert path.read_text(encoding="utf-8") == text(city, role)
        assert [a.id for a in read_aois(path)] == [a.id for a in scenes(city, role)]


def test_the_card_passes_its_own_audit_and_its_files_are_small() -> None:
    view = read_view(DATA / "eval")
    assert not audit_view(view).of("inconsistent")
    files = [path for path in (DATA / "weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6_500_000
    assert max(path.stat().st_size for path in files) < 5_000_000
    pin = view.families["twin"].base()
    assert pin is not None
    assert hashlib.sha256((DATA / "weights" / str(pin.file)).read_bytes()).hexdigest() == pin.sha256


def test_schemes_are_the_project_s_own(root: Path) -> None:
    for path in (DATA / "eval" / "schemes").glob("*.yaml"):
        assert path.read_bytes() == (root / "eval" / "schemes" / path.name).read_bytes()


def test_the_adapters_beat_pixels_by_two_standard_errors_over_scenes() -> None:
    """Against the per-pixel rules of test_city, on scenes that nothing was trained on, paired by scene."""
    import torch

    from harness.chips.recipe import read_recipes
    from harness.claims.families import read_families
    from harness.models import stack
    from harness.models.ensemble import load_family
    from tests.twin import card
    from tests.twin.test_city import by_pixel, confusion, nearest_centroid, quadratic

    stack.prepare()
    torch.set_num_threads(1)
    city = make_city(SEED)
    recipe = read_recipes(DATA / "eval" / "recipes")["twin"]
    family = read_families(DATA / "eval" / "families")["twin"]
    ensemble = load_family(family, DATA / "weights", recipe=recipe, device="cpu")
    train, classes, building = by_pixel(city, "train", 20_000)
    stats = recipe.statistics["S2L2A"]
    mean, std = (np.asarray(v, np.float64)[:, None, None] for v in (stats.mean, stats.std))
    gains: dict[tuple[str, str], list[float]] = {}
    for aoi, inputs in card.tensors(city, scenes(city, "eval")[::6], recipe):
        true = card.true_maps(city, aoi)
        shown = ensemble.predict(inputs, list(card.ADAPTERS))
        pixels = (inputs.arrays["S2L2A"][:, 0] * std + mean).reshape(12, -1).T
        for name, labels in (("lulc_twin", classes), ("buildings_twin", building)):
            count, label = card.ADAPTERS[name][1], true[name].ravel()
            known = label >= 0
            own = confusion(label[known], shown[name].classes.astype(np.int64).ravel()[known], count).mean()
            for rule in (nearest_centroid, quadratic):
                theirs = confusion(label[known], rule(train, labels, pixels[known], count), count).mean()
                gains.setdefault((name, rule.__name__), []).append(float(own - theirs))
    for key, found in gains.items():
        gain = np.asarray(found)
        assert len(gain) == 8
        assert gain.mean() > 2 * gain.std(ddof=1) / math.sqrt(len(gain)), key
        assert gain.mean() > 0.05, key
