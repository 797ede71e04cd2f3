"""Operating points, calibration, costs, ground and boundaries in a run's report, held against doing it by hand."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from typer.testing import CliRunner

from harness.claims.families import Family
from harness.claims.groups import View
from harness.claims.schemes import Scheme
from harness.cli import app
from harness.errors import ReportError
from harness.report.run_report import render_run
from harness.score.boundary import boundary_counts, pooled_boundary
from harness.score.calibration import reliability
from harness.score.operating import Costs
from tests.report.test_run_report import PX, TWO, made_run, maps, text_of, well_formed

Edit = Callable[[dict[str, Any]], None]

CHIPS: Any = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def family(view: View) -> Family:
    return view.families["terramind-nyc"]


@pytest.fixture(scope="module")
def schemes(view: View) -> dict[str, Scheme]:
    return {**view.schemes, "two": TWO}


def labels(lean: float = 0.1) -> dict[str, NDArray[np.int64]]:
    """Labels that the probabilities know something of, each chip's at a threshold of its own."""
    rng, out = np.random.default_rng(3), {}
    for i, chip in enumerate(CHIPS):
        p = maps(20 + i, 2)[1]
        roof = p + rng.normal(0, 0.1, p.shape) > 0.3 + lean * i
        out[chip] = 1 - roof.astype(np.int64)  # made_run gives its adapter of two classes the other side
    return out


def four(folder: Path, weights: str = "published", edit: Edit = lambda _: None, lean: float = 0.1) -> Path:
    """Four scored chips through the one adapter of two classes."""

    def one(run: dict[str, Any]) -> None:
        run["adapters"] = [a for a in run["adapters"] if a["adapter"] == "buildings_nyc"]
        edit(run)

    return made_run(folder, CHIPS, weights, one, labels(lean))


def buildings(run: dict[str, Any]) -> list[dict[str, Any]]:
    return next(a["chips"] for a in run["adapters"] if a["adapter"] == "buildings_nyc")


def record(folder: Path) -> list[dict[str, Any]]:
    return buildings(json.loads((folder / "run.json").read_text(encoding="utf-8")))


def arrays(folder: Path, chip: str) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
    with np.load(folder / "arrays" / f"{chip}.npz") as held:
        return held["probabilities:buildings_nyc"], held["label:two"], held["classes:buildings_nyc"]


def counted(folder: Path) -> None:
    """Write into the record what a run of today writes."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for score in buildings(run):
        p, label, classes = arrays(folder, score["chip"])
        score["reliability"] = reliability(p[1], label).model_dump()
        score["boundary"] = [c.model_dump() for c in boundary_counts(label, classes, 2)]
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def iou(rows: list[dict[str, Any]]) -> float:
    tp, fp, fn = (sum(r[k] for r in rows) for k in ("tp", "fp", "fn"))
    return float(tp / (tp + fp + fn))


def test_thresholds_are_chosen_on_the_other_scenes(tmp_path: Path, family: Family, schemes: dict[str, Scheme]) -> None:
    folder = four(tmp_path / "r")
    files = render_run(folder, family, schemes)
    well_formed(files)
    text = text_of(files)
    part = text.split("## Operating points")[1].split("## Ground")[0]
    sweeps = {c["chip"]: c["sweep"] for c in record(folder)}
    grid = range(19)

    def best(names: list[str]) -> int:
        return max(grid, key=lambda i: (iou([sweeps[n][i] for n in names]), -abs(i - 9), -i))

    held = {n: best([m for m in CHIPS if m != n]) for n in CHIPS}
    same = best(list(CHIPS))
    assert len(set(held.values())) > 1, "otherwise nothing is tested here"
    out = iou([sweeps[n][held[n]] for n in CHIPS])
    told = iou([sweeps[n][same] for n in CHIPS])
    for n in CHIPS:
        t = sweeps[n][held[n]]["threshold"]
        assert re.search(rf"\| {n} \| none \| .* \| {t:g} \| {iou([sweeps[n][held[n]]]):.3f} \| ", part)
    spread = sorted(sweeps["a"][i]["threshold"] for i in held.values())
    span = f"{spread[0]:g}" if spread[0] == spread[-1] else f"{spread[0]:g} to {spread[-1]:g}"
    assert f"| {span} | the other 3, for each scene | 4 scenes | {out:.3f} [" in part
    assert (
        f"| {sweeps['a'][same]['threshold']:g} | **the scenes that it is judged on** | 4 scenes | {told:.3f} [" in part
    )
    assert f"adds {told - out:+.3f} of IoU" in part
    assert "not on record, so each chip counts as a scene of its own" in part
    assert "figures/pr-buildings_nyc.svg" in files


def test_a_best_threshold_at_the_end_of_the_sweep_is_told(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    within = text_of(render_run(four(tmp_path / "r"), family, schemes))
    assert "Warning" not in within.split("## Operating points")[1]
    folder = four(tmp_path / "s", lean=-0.4)
    text = text_of(render_run(folder, family, schemes))
    share = np.mean([arrays(folder, c)[1] for c in CHIPS])
    assert (
        "**Warning: 0.05, best for IoU on the scenes it is judged on, is the lowest threshold that was swept.**" in text
    )
    assert f"A map that marks everything has IoU {share:.3f} on these scenes, n = 4 scenes." in text


def test_roles_choose_on_tune_scenes(tmp_path: Path, family: Family, schemes: dict[str, Scheme]) -> None:
    def roles(run: dict[str, Any]) -> None:
        for score, role in zip(buildings(run), ("tune", "tune", "test", "probe"), strict=True):
            score |= {"role": role, "shares_ground": []}

    part = text_of(render_run(four(tmp_path / "r", edit=roles), family, schemes)).split("## Operating points")[1]
    assert "| 2 tune scenes | 1 scene |" in part
    assert "instead of choosing on the tune scenes" in part
    assert "No two of the chips share ground; each is a scene." in part
    assert "Left out here, as role probe is chosen for what is on it: d." in part


def test_one_scored_scene_chooses_nothing_and_says_so(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    text = text_of(render_run(made_run(tmp_path / "r"), family, schemes))
    assert "Not done: 1 scored scene: there is no other to choose a threshold on." in text
    assert "| 0.5 | nowhere: it is what argmax comes to | 1 scene |" in text


def test_an_old_record_is_counted_from_its_arrays_and_a_new_one_says_the_same(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    folder = four(tmp_path / "r")
    old = text_of(render_run(folder, family, schemes))
    p, label, classes = (np.stack(x) for x in zip(*(arrays(folder, c) for c in CHIPS), strict=True))
    score = p[:, 1].astype(np.float64)
    bins = np.ceil(score * 20).clip(1, 20).astype(int) - 1
    gap = [abs(score[bins == b].sum() - (label[bins == b] == 1).sum()) for b in range(20)]
    assert f"ECE {sum(gap) / label.size:.3f} over 20 bins" in old
    assert f"Brier score {((score - label) ** 2).mean():.3f}, against" in old
    assert "The bins were counted now from the arrays" in old
    found = pooled_boundary([boundary_counts(label[i], classes[i], 2) for i in range(4)])
    roof = [s for s in found if s.class_index == 1]
    cells = [f"{v.value:.3f}" for s in roof for v in (s.f1, s.precision, s.recall)]
    row = f"| 1 roof | {roof[0].label_px:,} | {roof[0].predicted_px:,} | {' | '.join(cells)} |"
    assert row in old
    assert "[?] Reliability bins equal a recount of probabilities and label: nothing here to check" in old
    assert "- 4 of 4 chips: not recorded: the record is older than this" in old
    counted(folder)
    new = text_of(render_run(folder, family, schemes))
    assert row in new
    assert "The bins were counted now" not in new
    assert "[x] Reliability bins equal a recount of probabilities and label (4 of 4)" in new
    assert "[x] Boundary pixels equal a recount of label and prediction (4 of 4)" in new


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (("reliability", "px", 9), "bin 10: px"),
        (("reliability", "probability_nano", 3), "bin 4: probability_nano"),
        (("reliability", "squared_error_nano"), "squared_error_nano"),
        (("boundary", 3, "predicted_px"), "class 1 within 3 px: predicted_px"),
    ],
)
def test_a_count_that_is_not_that_of_the_arrays_is_found(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], where: tuple[Any, ...], said: str
) -> None:
    folder = four(tmp_path / "r")
    counted(folder)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    place: Any = buildings(run)[1]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] += 1
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    failing = [x for x in text_of(render_run(folder, family, schemes)).splitlines() if x.startswith("- [ ] ")]
    assert len(failing) == 1
    assert f"buildings_nyc on b: {said.replace('_', chr(95))}" in failing[0].replace("\\", "")


def test_recommended_thresholds_stand_beside_their_figures(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], view: View
) -> None:
    folder = four(tmp_path / "r")
    text = text_of(render_run(folder, family, schemes, registry=view.registry))
    rows = {c["chip"]: {f"{r['threshold']:g}": r for r in c["sweep"]} for c in record(folder)}
    for t, printed in (("0.5", "0.350"), ("0.6", "0.380")):
        own = [rows[c][t] for c in CHIPS]
        precision = sum(r["tp"] for r in own) / sum(r["tp"] + r["fp"] for r in own)
        line = next(x for x in text.splitlines() if x.startswith(f"| {t} |") and "| precision |" in x)
        assert f"| {precision:.3f}" in line
        assert f"{printed} (terramind-nyc-rerun/printed.{t}.precision, on six-aois)" in line
    assert "0.84 (terramind-nyc-card/buildings.recall, on test)" in text
    assert '"0.5 for high-recall exposure overlays"' in text
    assert "this run, n = 4 scenes" in text
    assert "terramind-nyc-card/buildings.json.boundary (0.1802506446838379)" in text


def test_random_weights_are_set_beside_no_claim(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], view: View
) -> None:
    text = text_of(render_run(four(tmp_path / "r", "random"), family, schemes, registry=view.registry))
    part = text.split("## Operating points")[1].split("## Pictures")[0]
    assert "terramind-nyc-rerun" not in part
    assert "terramind-nyc-card" not in part
    assert part.count("Random weights: these numbers test the counting") == 2
    assert "No recommended threshold is set beside this run" in part


def test_a_recommendation_that_names_no_claim_is_an_error(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], view: View
) -> None:
    point = family.recommended[0].model_copy(update={"claims": ["terramind-nyc-card/no.such"]})
    broken = family.model_copy(update={"recommended": [point]})
    with pytest.raises(ReportError, match=r"no claim terramind-nyc-card/no\.such"):
        render_run(four(tmp_path / "r"), broken, schemes, registry=view.registry)


def test_costs_are_counted_and_an_end_of_the_sweep_is_told(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    folder = four(tmp_path / "r")
    plain = render_run(folder, family, schemes)
    assert "Costs as stated" not in text_of(plain)
    files = render_run(folder, family, schemes, costs=Costs(5, 1))
    well_formed(files)
    text = text_of(files)
    rows = [next(r for r in c["sweep"] if r["threshold"] == 0.5) for c in record(folder)]
    cost = 1000 * sum(5 * r["fn"] + r["fp"] for r in rows) / (4 * PX * PX)
    assert re.search(rf"^\| (\*\*)?0\.5(\*\*)? \| {cost:.1f} \|$", text, re.MULTILINE)
    positive = sum(r["tp"] + r["fn"] for r in rows) / (4 * PX * PX)
    assert f"| marks nothing | {5000 * positive:.1f} |" in text
    assert f"| marks everything | {1000 * (1 - positive):.1f} |" in text
    far = text_of(render_run(folder, family, schemes, costs=Costs(1000, 1)))
    assert "**Warning: 0.05 is the lowest threshold that was swept.**" in far
    assert "**Warning: a map that marks everything costs" in far
    assert render_run(folder, family, schemes) == plain


def place(share: float, days: int | None) -> dict[str, Any]:
    return {
        "source": "card-buildings.split.json",
        "sha256": "ef" * 32,
        "parents": 9,
        "share": share,
        "windows_share": share / 2,
        "validation_share": 0.0,
        "cell": "452U_625L",
        "distance_m": 0.0 if share else 4_200.0,
        "date": "2022-06-01T15:40:00",
        "days": days,
        "exact": False,
    }


def test_results_without_overlapping_chips_stand_beside_all(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    def placed(run: dict[str, Any]) -> None:
        shares = (0.25, 0.0, 0.0)
        for score, share in zip(buildings(run), shares, strict=False):
            score |= {"nearest_training": place(share, None if share else 700), "shares_ground": []}
        buildings(run)[3]["nearest_training"] = {"reason": "nobody knows"}
        buildings(run)[1]["shares_ground"] = ["a"]

    folder = four(tmp_path / "r", edit=placed)
    files = render_run(folder, family, schemes)
    well_formed(files)
    part = text_of(files).split("**Training ground of buildings_nyc.**")[1].split("## Boundaries")[0]
    assert "| a | 25.0 % | 12.5 % | 0.0 % | 452U_625L | shares ground | 2022-06-01 | unknown |" in part
    assert "| b | 0.0 % | 0.0 % | 0.0 % | 452U_625L | 4.2 km | 2022-06-01 | 700 |" in part
    assert "- 1 of 4 chips: nobody knows" in part
    assert "1 of 3 scored chips share ground with training parents" in part
    assert "drawn as 10.68 km around their centres" in part

    def roof(names: str) -> float:
        m = np.sum([c["confusion"] for c in record(folder) if c["chip"] in names], axis=0)
        return float(m[1, 1] / (m[0, 1] + m[1, 0] + m[1, 1]))

    assert re.search(rf"\| all chips of known place \| 3 \| .* \| {roof('abc'):.3f} \|", part)
    assert re.search(rf"\| without overlapping chips \| 2 \| .* \| {roof('bc'):.3f} \|", part)


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "so nothing is left out."), (1.0, "without them nothing is left to score.")],
)
def test_all_or_none_on_training_ground_needs_no_table(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], share: float, said: str
) -> None:
    def placed(run: dict[str, Any]) -> None:
        for score in buildings(run):
            score["nearest_training"] = place(share, 3)

    part = text_of(render_run(four(tmp_path / "r", edit=placed), family, schemes)).split("## Ground")[1]
    assert said in part
    assert "without overlapping chips" not in part.split("**Training ground of buildings_nyc.**")[1]


def test_the_command_takes_costs_and_refuses_senseless_ones(tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "eval", tmp_path / "eval", ignore=shutil.ignore_patterns("reports", "runs"))
    (tmp_path / "eval" / "schemes" / "two.yaml").write_text(yaml.safe_dump(TWO.model_dump()), encoding="utf-8")
    folder = four(tmp_path / "r")
    ask = ["report", str(folder), "--root", str(tmp_path)]
    done = CliRunner().invoke(app, [*ask, "--fn-cost", "5"])
    assert done.exit_code == 0, done.output
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "**Costs as stated: 5 for a missed pixel, 1 for a false one.**" in text
    assert "Recommended thresholds" in text
    assert CliRunner().invoke(app, ask).exit_code == 0
    assert "Costs as stated" not in (folder / "report.md").read_text(encoding="utf-8")
    refused = CliRunner().invoke(app, [*ask, "--fn-cost", "-1"])
    assert refused.exit_code != 0
    assert "both 0 or more" in refused.output + str(refused.exception)
