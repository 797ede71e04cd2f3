"""Gates put to runs: passed, not passed, undecided where it may be luck, not measured with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.claims.gates import answers, put, read_gates
from harness.claims.groups import View
from harness.claims.rules import own_rules
from harness.errors import RegistryError
from harness.records import AdapterRun, ChipScore
from harness.records.gates import GateAnswer
from tests.report.test_run_report import load

EVAL = Path(__file__).parents[2] / "eval"

Matrix = list[list[int]]


def run(adapter: str, k: int, matrices: Sequence[Matrix], **more: str) -> AdapterRun:
    clusters = more.get("clusters", "")
    chips = [
        ChipScore(
            chip=f"c{i}",
            sha256="x",
            scored=True,
            reason=None,
            confusion=m,
            split=more.get("split"),
            cluster=clusters[i] if clusters else None,
        )
        for i, m in enumerate(matrices)
    ]
    made = {"adapter": adapter, "recipe": "r 1", "scheme": more.get("scheme", "s"), "load": load(adapter, k)}
    return AdapterRun.model_validate({**made, "chips": [c.model_dump() for c in chips]})


def buildings(iou: float, spread: float, n: int, **more: str) -> AdapterRun:
    """Chips whose building IoU scatters around `iou`: 1,000 px of union each."""
    rng = np.random.default_rng(3)
    hits = np.clip(np.round(1000 * rng.normal(iou, spread, n)), 1, 999).astype(int).tolist()
    return run("buildings_nyc", 2, [[[9000, 500], [500 - h // 2, h]] for h in hits], **more)


def asked(view: View, *runs: AdapterRun, random: bool = False) -> dict[str, GateAnswer]:
    file = view.gates["terramind-nyc"]
    return {a.gate: a for a in answers(file, view.registry, list(runs), own_rules(), random)}


def test_the_familys_gates_name_rules_that_stand_in_its_card(view: View) -> None:
    found = {one.question.id: one for one in put(view.gates["terramind-nyc"], view.registry)}
    assert {name: float(one.least) for name, one in found.items()} == {"buildings": 0.3, "tim": 0.0, "tim-publish": 1.0}
    assert found["tim"].band(1.57) == "acceptable"
    assert found["buildings"].band(0.2928) == "negative"
    assert all(one.rule.quote and one.rule.source.path for one in found.values())


@pytest.mark.parametrize(
    ("iou", "spread", "n", "word"),
    [(0.60, 0.02, 12, "passed"), (0.10, 0.02, 12, "not passed"), (0.40, 0.25, 6, "undecided")],
)
def test_a_gate_is_passed_by_its_interval_and_never_by_its_value_alone(
    view: View, iou: float, spread: float, n: int, word: str
) -> None:
    found = asked(view, buildings(iou, spread, n))["buildings"]
    assert found.word == word
    assert found.interval is not None
    assert found.coverage_simulated is not None
    assert found.value is not None
    assert not found.same_set
    if word == "undecided":
        assert found.interval[0] < 0.3 <= found.value
        assert "may be luck" in found.why


def test_two_clusters_leave_a_gate_undecided_however_high_the_value(view: View) -> None:
    chips = buildings(0.8, 0.01, 4, clusters="aabb", split="test")
    found = asked(view, chips)["buildings"]
    assert (found.word, found.n, found.interval) == ("undecided", 2, None)
    assert found.band == "strong"
    assert list(found.clusters) == ["a", "b"]
    assert found.same_set
    assert "Two clusters" in found.why


def test_probes_answer_no_gate(view: View) -> None:
    """Three chips chosen for what is on them, each missed, would pull a gate that 12 scenes pass."""
    good = buildings(0.6, 0.02, 12)
    missed = buildings(0.001, 0.0, 3).chips
    probes = [c.model_copy(update={"chip": f"p{i}", "role": "probe"}) for i, c in enumerate(missed)]
    found = asked(view, good.model_copy(update={"chips": [*good.chips, *probes]}))["buildings"]
    assert found == asked(view, good)["buildings"]


def test_clusters_that_weigh_like_two_leave_a_gate_undecided(view: View) -> None:
    big = [[[9000, 100], [100, 800 + 90 * i]] for i in range(2)]
    small = [[[900, 10], [10, 80 + i]] for i in range(2)]
    found = asked(view, run("buildings_nyc", 2, [*big, *small]))["buildings"]
    assert (found.word, found.n, found.interval, found.band) == ("undecided", 4, None, "strong")
    assert "They weigh like 2" in found.why


def test_a_difference_is_paired_on_the_same_chips(view: View) -> None:
    rng = np.random.default_rng(5)
    plain, better = [], []
    for _ in range(12):
        a = np.diag(rng.integers(300, 900, 5)) + 40
        gain = rng.integers(8, 14)
        b = a.copy()
        b[0, 1:] -= gain
        b[0, 0] += 4 * gain
        plain.append(a.tolist())
        better.append(b.tolist())
    found = asked(view, run("lulc_nyc", 5, plain), run("tim_nyc", 5, better))
    tim = found["tim"]
    assert tim.word == "passed"
    assert tim.p is not None
    assert tim.p < 0.01
    assert tim.unit == "points"
    assert tim.value is not None
    assert tim.interval is not None
    assert 0 < tim.interval[0] < tim.value < tim.interval[1]
    turned = asked(view, run("lulc_nyc", 5, better), run("tim_nyc", 5, plain))["tim"]
    assert turned.word == "not passed"
    assert turned.value == pytest.approx(-tim.value)


def test_what_cannot_be_asked_is_not_measured_and_says_why(view: View) -> None:
    good = buildings(0.6, 0.02, 12)
    assert asked(view, good)["tim"].why == "tim_nyc and lulc_nyc did not run"
    assert asked(view, good, random=True)["buildings"].word == "not measured"
    m = [[[5, 1], [1, 5]]] * 3
    other = asked(view, run("lulc_nyc", 2, m), run("tim_nyc", 2, m, scheme="t"))["tim"]
    assert (other.word, other.value) == ("not measured", None)
    assert "no difference between schemes" in other.why
    unlike = asked(view, run("lulc_nyc", 2, m), run("tim_nyc", 2, [[[5, 1], [1, 6]]] * 3))["tim"]
    assert unlike.word == "not measured"
    assert "not the same chips" in unlike.why
    assert answers(None, view.registry, [good], own_rules()) == []


def test_a_record_cannot_say_passed_against_its_own_interval() -> None:
    base = {"gate": "g", "rule": "c/g", "adapter": "a", "metric": "iou", "least": 0.3, "unit": "fraction", "why": "w"}
    for wrong in (
        {"word": "passed", "value": 0.4},
        {"word": "passed", "value": 0.4, "interval": (0.2, 0.5)},
        {"word": "not passed", "value": 0.4, "interval": (0.35, 0.5)},
        {"word": "not measured", "value": 0.4},
        {"word": "undecided"},
    ):
        with pytest.raises(ValueError, match="g: "):
            GateAnswer.model_validate(base | wrong)


Edit = Callable[[str], str]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t.replace("metric: iou", "metric: iuo"), "metric 'iuo'"),
        (lambda t: t.replace("    class_index: 1\n", ""), "give class_index"),
        (lambda t: t.replace("id: tim-publish", "id: tim"), "stands twice"),
        (lambda t: t.replace("family: terramind-nyc", "family: other"), "differs from the file's name"),
        (lambda t: t.replace("rule: terramind-nyc-card/tim-gate", "rule: terramind-nyc-card/no"), "no gate"),
        (lambda t: t.replace("passes: [publish]", "passes: [print]"), "no band of"),
        (lambda t: t.replace("passes: [publish]", "passes: [do not publish]"), "open below"),
        (lambda t: t.replace("passes: [acceptable, strong]", "passes: [acceptable]", 1), "has no one bound"),
    ],
)
def test_wrong_gates_are_refused(view: View, tmp_path: Path, edit: Edit, said: str) -> None:
    text = (EVAL / "gates" / "terramind-nyc.yaml").read_text(encoding="utf-8")
    assert edit(text) != text
    (tmp_path / "terramind-nyc.yaml").write_text(edit(text), encoding="utf-8")
    with pytest.raises(RegistryError, match=said):
        put(read_gates(tmp_path)["terramind-nyc"], view.registry)
