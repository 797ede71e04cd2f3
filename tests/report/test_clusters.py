"""How sure: intervals called what they are, few clusters one by one, gates and scenes needed in reports."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.claims.findings import Audit
from harness.claims.gates import answers
from harness.claims.groups import View
from harness.claims.model import Claim
from harness.claims.rules import own_rules
from harness.claims.scored import headlines, scored
from harness.records import AdapterRun, ChipScore, RunRecord
from harness.records.run import read_run
from harness.report.clusters import sure
from harness.report.gates import gate_rows
from harness.report.render import render
from harness.report.run_report import render_run
from tests.report.test_run_report import TWO, load, made_run

DRAW = [0.6, 0.12, 0.08, 0.2]
"""Shares of a made two-class matrix."""


def chips(n: int, seed: int = 1, px: int = 400, **more: Any) -> list[ChipScore]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        share = rng.dirichlet([40 * d for d in DRAW])
        matrix = rng.multinomial(px, share).reshape(2, 2).tolist()
        named = {"chip": f"c{i}", "sha256": "x", "scored": True, "reason": None, "confusion": matrix, **more}
        if "clusters" in named:
            named["cluster"] = named.pop("clusters")[i]
        out.append(ChipScore.model_validate(named))
    return out


def adapter(found: list[ChipScore]) -> AdapterRun:
    made = {"adapter": "buildings_nyc", "recipe": "r 1", "scheme": "footprints", "load": load("buildings_nyc", 2)}
    return AdapterRun.model_validate({**made, "chips": [c.model_dump() for c in found]})


def test_headlines_name_the_estimand_the_method_and_its_simulated_coverage() -> None:
    found = headlines(adapter(chips(12)))
    assert [(m.quantity.metric, m.estimand) for m in found] == [
        ("mIoU", "pooled"),
        ("mIoU", "per_cluster"),
        ("iou", "pooled"),
        ("iou", "per_cluster"),
    ]
    for m in found:
        assert m.interval is not None
        assert m.method is not None
        assert m.coverage_simulated is not None
        assert 0.8 < m.coverage_simulated < 1
        assert len(m.clusters) == m.n == 12
        assert "12 clusters" in m.why
    mean = sum(v or 0.0 for v in found[1].clusters.values()) / 12
    assert found[1].value == pytest.approx(mean)
    assert found[0].value != pytest.approx(mean, abs=1e-6)


def test_every_cluster_is_shown_below_ten_and_none_above() -> None:
    nine, ten = sure(adapter(chips(9)), own_rules()), sure(adapter(chips(10)), own_rules())
    assert len(nine.clusters().rows) == 9
    assert nine.clusters().head == ["cluster", "mIoU", "iou, class 1"]
    assert nine.clusters().rows[3][1] == f"{nine.measured[0].clusters['c3']:.4f}"
    assert "Rough: fewer than 10 clusters" in nine.words()[0]
    assert ten.few == []
    assert "Rough" not in ten.words()[0]


def test_two_clusters_give_no_useful_interval_and_the_report_says_so() -> None:
    four = sure(adapter(chips(4, clusters=["a", "a", "b", "b"])), own_rules())
    assert not four.one_each
    assert [row[3:] for row in four.table().rows] == [["none", "none", "2"]] * 4
    assert [row[0] for row in four.clusters().rows] == ["a", "b"]
    assert all("Two clusters give no useful interval" in line for line in four.words())
    pooled = four.measured[0]
    assert pooled.value == headlines(adapter(chips(4)))[0].value


def test_probes_are_left_out_by_name(tmp_path: Path, view: View) -> None:
    five = [c.model_copy(update={"role": "probe"}) if c.chip == "c2" else c for c in chips(5)]
    found = sure(adapter(five), own_rules())
    assert [row[0] for row in found.clusters().rows] == ["c0", "c1", "c3", "c4"]
    assert (found.probes, found.left_out()) == (["c2"], "c2")
    assert sure(adapter(chips(5)), own_rules()).probes == []
    seen = [c if c.role else c.model_copy(update={"shares_ground": []}) for c in five]
    assert not sure(adapter(seen), own_rules()).one_each  # nobody looked at the ground of the probe, which is left out
    assert found.one_each

    def edit(run: dict[str, Any]) -> None:
        each = next(a for a in run["adapters"] if a["adapter"] == "buildings_nyc")
        each["chips"][0]["role"] = "probe"

    folder = made_run(tmp_path / "r", weights="published", edit=edit)
    text = str(render_run(folder, view.families["terramind-nyc"], {**view.schemes, "two": TWO})["report.md"])
    name = read_run(folder / "run.json").adapters[2].chips[0].chip
    assert f"No chip is scored but those of role probe ({name}), which are no sample" in text


def test_the_run_report_prints_it_and_gates_too(tmp_path: Path, view: View) -> None:
    def edit(run: dict[str, Any]) -> None:
        each = next(a for a in run["adapters"] if a["adapter"] == "buildings_nyc")
        each["chips"] += [c.model_dump() for c in chips(5)]
        file = view.gates["terramind-nyc"]
        adapters = [AdapterRun.model_validate(a) for a in run["adapters"]]
        run["gates"] = [a.model_dump() for a in answers(file, view.registry, adapters, view.rules)]

    folder = made_run(tmp_path / "r", weights="published", edit=edit)
    # Chips without arrays cannot be drawn; the section is made of the record alone.
    run = read_run(folder / "run.json")
    found = sure(run.adapters[2], own_rules())
    rows = {row[0]: row for row in found.table().rows}
    assert rows["mIoU"][1] == "mean over clusters"
    assert len(found.clusters().rows) == 6
    gates = {row.gate: row for row in gate_rows(run.gates)}
    assert gates["buildings"].word in ("passed", "not passed", "undecided")
    assert "Simulated coverage" in gates["buildings"].why or "no useful interval" in gates["buildings"].why
    assert "other ground" in gates["buildings"].why
    assert gates["tim"].word == "undecided"
    assert "one cluster" in gates["tim"].why

    def two(run: dict[str, Any]) -> None:
        edit_gates = answers(
            view.gates["terramind-nyc"],
            view.registry,
            [AdapterRun.model_validate(a) for a in run["adapters"]],
            view.rules,
        )
        run["gates"] = [a.model_dump() for a in edit_gates]

    text = render_run(
        made_run(tmp_path / "s", weights="published", edit=two),
        view.families["terramind-nyc"],
        {**view.schemes, "two": TWO},
    )["report.md"]
    assert isinstance(text, str)
    assert "## How sure" in text
    assert "| mIoU | pooled |" in text
    assert "| mIoU | mean over clusters |" in text
    assert "one cluster: nothing is known about the spread between clusters" in text
    assert "Each chip is taken as a scene of its own" in text
    assert "## Gates" in text
    assert "| tim-publish | tim_nyc | mIoU, points over lulc_nyc | 1 |" in text
    assert "rule, quotation and source: `terramind-nyc-card/buildings-gate`" in text


@pytest.fixture(scope="module")
def named(view: View) -> View:
    """The registry as if the buildings card named its scheme and classes as ours does, so that it can be judged."""

    def under(claim: Claim) -> Claim:
        q = claim.quantity
        if q.subject != "buildings_nyc" or q.split != "test":
            return claim
        return claim.model_copy(update={"quantity": q.model_copy(update={"scheme": "footprints"})})

    cards = tuple(c.model_copy(update={"claims": [under(x) for x in c.claims]}) for c in view.registry.cards)
    return dataclasses.replace(view, registry=dataclasses.replace(view.registry, cards=cards))


def record(view: View, found: list[ChipScore]) -> RunRecord:
    """A run whose chips are of the card's test set."""
    return RunRecord(
        schema=1,
        id="r1",
        created="2026-12-01",
        who="a colleague",
        command="nox",
        commit="a" * 40,
        dirty=False,
        device="some device",
        dtype="float32",
        recipe="r",
        measurements=scored(view.registry, view.schemes, "buildings_nyc", found, ["footprints"], view.rules),
    )


def test_the_gap_report_says_how_many_scenes_an_open_question_needs(named: View, audit: Audit) -> None:
    run = record(named, chips(6, split="test"))
    text = render(named, audit, [run], named.families["terramind-nyc"])["terramind-nyc-buildings.md"]
    line = next(line for line in text.splitlines() if line.startswith("- mIoU: inconclusive"))
    m = next(m for m in run.measurements if m.quantity.metric == "mIoU")
    assert len(m.needed) == 1
    assert re.search(rf"\b{m.needed[0].scenes} scenes would confirm", line)
    assert "pooled: 95 % interval" in line
    assert "in simulation it held the truth in" in line
    assert f"c5 {m.clusters['c5']:.4f}" in line
    assert "prediction for 2 scenes from our 6" in line
    assert "assumed equal to ours" in line
    assert "Verdicts follow `eval/rules.yaml` of 2026-11-21." in text


def test_scenes_are_asked_for_only_where_nothing_can_be_concluded(named: View) -> None:
    many = [c.model_copy(update={"confusion": [[7000, 1000], [1000, 1000]]}) for c in chips(3, split="test")]
    run = record(named, many)
    assert all(m.needed == [] or m.interval is None for m in run.measurements)
    whole = record(named, chips(6, split="test", split_size=6))
    pooled = next(m for m in whole.measurements if m.quantity.metric == "mIoU")
    assert pooled.whole
    assert pooled.needed == []
    assert len(pooled.clusters) == 6
    assert "sampling does not enter" in pooled.why


def test_an_older_record_without_these_fields_is_read(named: View, audit: Audit) -> None:
    run = json.loads(record(named, chips(6, split="test")).model_dump_json(by_alias=True))
    run.pop("gates")
    new = set(run["measurements"][0]) - {"quantity", "value", "reason", "interval", "whole", "n", "unit"}
    for m in run["measurements"]:
        for name in new:
            m.pop(name)
    old = RunRecord.model_validate(run)
    assert old.gates == []
    text = render(named, audit, [old], named.families["terramind-nyc"])["terramind-nyc-buildings.md"]
    assert "not stated: the record is older than these words" in text
