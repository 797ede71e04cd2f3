"""Verdict rules as data: what the file must hold, and that verdicts follow it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.claims import rules as module
from harness.claims.groups import View
from harness.claims.model import Claim
from harness.claims.rules import Rules, own_rules, read_rules
from harness.claims.verdicts import expected, judge, scenes_of
from harness.errors import RegistryError
from harness.records import Measurement
from harness.report.clusters import beside
from harness.score.equivalence import RULES

ROOT = Path(__file__).parents[2]


def changed(folder: Path, old: str, new: str) -> Rules:
    text = (ROOT / "eval" / "rules.yaml").read_text(encoding="utf-8")
    assert old in text
    (folder / "rules.yaml").write_text(text.replace(old, new), encoding="utf-8")
    return read_rules(folder)


def measured(claim: Claim, value: float, half: float, **more: object) -> Measurement:
    base = {"quantity": claim.quantity, "value": value, "interval": (value - half, value + half), "n": 12}
    return Measurement.model_validate(base | more)


@pytest.fixture
def claim(view: View) -> Claim:
    return view.claim("terramind-nyc-card/buildings.miou")


def test_the_projects_rules_are_dated_and_say_what_the_statistics_say(view: View) -> None:
    assert str(own_rules().date) == RULES
    assert view.rules == own_rules()
    assert own_rules().equivalence.level == 0.95


def test_a_folder_without_rules_takes_the_projects_own_and_one_with_rules_its_own(tmp_path: Path) -> None:
    assert read_rules(tmp_path) == own_rules()
    assert changed(tmp_path, "show_below: 10", "show_below: 7").report.show_below == 7


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("alpha: 0.025", "alpha: 0.05", "goes with level 0.9"),
        ("fewest_clusters: 3", "fewest_clusters: 2", "greater than or equal to 3"),
        ("threshold,", "treshold,", "no part treshold"),
        ("date: 2026-11-21", "date: soon", "rules.date"),
        ("rounding: added", "rounding: ignored", "rules.tolerance.rounding"),
        ("power:", "powre:", "field is missing|no such field"),
        ("changes: []", "changes: [{date: 2027-01-01, what: another level}]", "not that of the last change"),
    ],
)
def test_wrong_rules_are_refused_with_file_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(RegistryError, match=said) as err:
        changed(tmp_path, old, new)
    assert "rules.yaml" in str(err.value)


def test_verdicts_follow_the_file_and_nothing_else(claim: Claim, tmp_path: Path) -> None:
    inside = measured(claim, 0.5518, 0.01)
    assert judge(claim, inside).word == "reproduced"
    assert judge(claim, inside, changed(tmp_path, "fewest_clusters: 3", "fewest_clusters: 13")).word == "inconclusive"
    elsewhere = inside.model_copy(update={"quantity": claim.quantity.model_copy(update={"split": "val"})})
    assert judge(claim, elsewhere).word == "not comparable"
    assert judge(claim, elsewhere, changed(tmp_path, " split,", "")).word == "reproduced"
    assert judge(claim, measured(claim, 0.5518, 0.01, level=0.8)).word == "inconclusive"


def test_a_card_of_few_scenes_is_not_called_wrong_for_what_its_scenes_may_do(claim: Claim) -> None:
    found = measured(claim, 0.50, 0.01, error=0.005, df=11.0)  # 12 scenes, spread 0.0173
    assert judge(claim, found).word == "not reproduced"
    assert judge(claim, found, scenes=2).word == "not reproduced"  # 0.50 +- 0.029 does not reach 0.5518
    wide = measured(claim, 0.50, 0.025, error=0.0114, df=11.0)
    said = judge(claim, wide, scenes=2)
    assert said.word == "inconclusive"
    assert "assumed equal to ours" in said.why
    assert "95 % prediction for 2 scenes" in said.why
    assert "how many scenes stand behind its figure is read from the number of its chips (inference)" in said.why
    assert judge(claim, wide, scenes=10_000).word == "not reproduced"
    band = expected(wide, 2, own_rules())
    assert band is not None
    assert band.high is not None
    assert "(inference)" in beside(wide, own_rules(), claim.tolerance, 2, inconclusive=True)
    assert abs(band.high - (0.50 + 2.200985 * 0.0114 * 7**0.5)) < 1e-6


def test_the_scenes_behind_a_card_are_its_parents_where_documents_say_how_many_chips_one_has(view: View) -> None:
    assert scenes_of(view, view.claim("terramind-nyc-card/lulc.miou")) == 4
    assert scenes_of(view, view.claim("terramind-nyc-card/buildings.miou")) == 2
    assert scenes_of(view, view.claim("terramind-nyc-rerun/buildings.miou")) == 6
    assert scenes_of(view, view.claim("prithvi-nyc-pluvial/flood")) is None


def test_the_wheel_carries_rules_and_gates_where_the_package_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert {"eval/rules.yaml", "eval/gates"} <= set(build["wheel"]["only-include"])
    assert {"eval/rules.yaml", "eval/gates"} <= set(build["sdist"]["only-include"])
    assert build["wheel"]["sources"] == {"eval": "harness/data"}
    installed = tmp_path / "site" / "harness"
    (installed / "claims").mkdir(parents=True)
    (installed / "data").mkdir()
    monkeypatch.setattr(module, "__file__", str(installed / "claims" / "rules.py"))
    own_rules.cache_clear()
    try:
        with pytest.raises(RegistryError, match="install the harness again"):
            own_rules()
        (installed / "data" / "rules.yaml").write_bytes((ROOT / "eval" / "rules.yaml").read_bytes())
        assert str(own_rules().date) == RULES
    finally:
        own_rules.cache_clear()
