"""Every number in a report leads to a claim, a finding, a cell of a record or a stated source; 50 are followed.

Numbers of a run's report and of a bridge's page are all made again from the record, by tests/report/recount.py.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import Environment, FunctionLoader

from harness.claims.findings import Audit
from harness.claims.gates import answers
from harness.claims.groups import View, figure
from harness.claims.model import Claim
from harness.claims.sweeps import card_matrices
from harness.records import AdapterRun
from harness.records.bridge import write_bridge
from harness.report import operating_figures, panels, words
from harness.report.bridge import render_bridge
from harness.report.origins import Origin
from harness.report.render import render
from harness.report.run_report import render_run
from harness.report.trace import NUMBER, QUOTED, Log, Printed, plain, tracing
from harness.score.boundary import boundary_counts
from harness.score.calibration import reliability
from tests.report.recount import Run, wrong, wrong_of_bridge
from tests.report.test_bridge_page import populated
from tests.report.test_bridge_page import record as made_bridge
from tests.report.test_run_report import TWO, made_run

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "harness" / "report" / "templates"

SEED, FOLLOWED = 20261121, 50
"""Which numbers are followed, and how many."""

Numbers = dict[str, list[Printed]]
Bridged = tuple[dict[str, Any], list[Printed]]


def gap_numbers(view: View, audit: Audit, alter: Callable[[str], str] = lambda source: source) -> Numbers:
    """Numbers of the gap reports and their overview, with a change of the main template."""

    def source(name: str) -> str:
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        return alter(text) if name == "gap.md.j2" else text

    with tracing() as log:
        mark = words.MARK

        def altered(env: Environment) -> Environment:
            env.loader = FunctionLoader(source)
            return mark(env)

        words.MARK = altered
        files = render(view, audit, [], view.families["terramind-nyc"])
    return {name: log.numbers(text) for name, text in files.items() if name.endswith(".md")}


def lost(numbers: Numbers) -> list[Printed]:
    """Numbers that lead nowhere."""
    return [n for found in numbers.values() for n in found if n.typed or not n.origins]


@pytest.fixture(scope="module")
def gaps(view: View, audit: Audit) -> Numbers:
    return gap_numbers(view, audit)


@dataclasses.dataclass
class Reported:
    """A small made run and its report."""

    folder: Path
    """Holds run.json and arrays."""
    record: dict[str, Any]
    """run.json."""
    numbers: list[Printed]
    """Of its report."""
    again: Run
    """Makes them again."""


def rendered(folder: Path, view: View) -> str:
    """A run's report; its figures, which hold no text to follow, are not drawn."""
    drawn = [(panels, "picture"), (panels, "thresholds")]
    drawn += [(operating_figures, "precision_recall"), (operating_figures, "reliability_diagram")]
    with pytest.MonkeyPatch.context() as patch:
        for module, name in drawn:
            patch.setattr(module, name, lambda *_, **__: "")
        text = render_run(
            folder, view.families["terramind-nyc"], {**view.schemes, "two": TWO}, view.rules, view.registry
        )["report.md"]
    assert isinstance(text, str)
    return text


def printed_of(folder: Path, view: View) -> list[Printed]:
    """Numbers of a run's report."""
    with tracing() as log:
        marked = rendered(folder, view)
    return log.numbers(marked)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, view: View) -> Reported:
    """Three adapters over two chips, with bins and boundaries on record, and gates answered."""

    def gated(record: dict[str, Any]) -> None:
        adapters = [AdapterRun.model_validate(a) for a in record["adapters"]]
        found = answers(view.gates["terramind-nyc"], view.registry, adapters, view.rules)
        record["gates"] = [a.model_dump() for a in found]

    folder = made_run(tmp_path_factory.mktemp("traced") / "r", weights="published", edit=gated)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for each in record["adapters"]:
        for chip in each["chips"]:
            if chip["scored"]:
                arrays, name = np.load(folder / "arrays" / f"{chip['chip']}.npz"), each["adapter"]
                label = arrays[f"label:{each['scheme']}"]
                k = each["load"]["classes"]
                edges = boundary_counts(label, arrays[f"classes:{name}"], k, -1, (1, 3))
                chip["boundary"] = [b.model_dump() for b in edges]
                if k == 2:
                    bins = reliability(arrays[f"probabilities:{name}"][1], label, -1)
                    chip["reliability"] = bins.model_dump()
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return Reported(folder, record, printed_of(folder, view), again(record, view))


def again(record: dict[str, Any], view: View) -> Run:
    """A record with what a report sets beside it: names, rules, claims, the card's rates."""
    family = view.families["terramind-nyc"]
    beside = {
        "classes": [c.name for c in view.schemes["training-code"].classes],
        "title": family.title,
        "show_below": view.rules.report.show_below,
        "recommended": [r.model_dump(mode="json") for r in family.recommended],
    }
    card = card_matrices(view)["buildings_nyc"]
    claims = {c.id: c.value for c in view.registry.claims}
    return Run(record | beside, claims, [[card.tn, card.fp], [card.fn, card.tp]])


@pytest.fixture(scope="module", params=[made_bridge, populated], ids=["same scenes", "other scenes"])
def bridged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bridged:
    """A small made bridge and the numbers of its page."""
    folder = tmp_path_factory.mktemp("bridged")
    write_bridge(request.param(), folder)
    with tracing() as log:
        marked = render_bridge(folder)["bridge.md"]
    assert plain(marked) == render_bridge(folder)["bridge.md"]
    return json.loads((folder / "bridge.json").read_text(encoding="utf-8")), log.numbers(marked)


def test_following_changes_no_report(view: View, audit: Audit) -> None:
    with tracing():
        marked = render(view, audit, [], view.families["terramind-nyc"])
    said = render(view, audit, [], view.families["terramind-nyc"])
    assert {n: plain(t) for n, t in marked.items() if n.endswith(".md")} == {
        n: t for n, t in said.items() if n.endswith(".md")
    }


def test_following_changes_no_report_of_a_run(run: Reported, view: View) -> None:
    with tracing():
        marked = rendered(run.folder, view)
    assert plain(marked) == rendered(run.folder, view)


def test_every_number_has_an_origin(gaps: Numbers, run: Reported, bridged: Bridged) -> None:
    assert sum(map(len, gaps.values())) > 1_000
    assert len(run.numbers) > 1_000
    assert len(bridged[1]) > 50
    every = {**gaps, "report.md": run.numbers, "bridge.md": bridged[1]}
    assert [(n.text, n.template, n.expression) for n in lost(every)] == []


def all_wrong(numbers: list[Printed], run: Run) -> list[str]:
    """What is wrong with the numbers of a run's report; quoted notes have a test of their own."""
    return [said for n in numbers if n.expression != "a quoted note" and (said := wrong(n, run))]


def test_every_number_of_a_run_is_what_its_record_gives(run: Reported) -> None:
    assert all_wrong(run.numbers, run.again) == []


def test_every_number_of_a_bridge_is_what_its_record_gives(bridged: Bridged) -> None:
    record, numbers = bridged
    assert [said for n in numbers if (said := wrong_of_bridge(n, record))] == []
    assert not [n for n in numbers for o in n.origins if not at(record, o.ref)]


def everywhere(monkeypatch: pytest.MonkeyPatch, name: str, other: Callable[..., str]) -> None:
    """Put another function in the place of one of `words` wherever it was imported to."""
    old = getattr(words, name)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("harness.report") and getattr(module, name, None) is old:
            monkeypatch.setattr(module, name, other)


@pytest.mark.parametrize(("digits", "least"), [(3, 300), (4, 10)])
def test_a_wrong_value_in_a_report_is_found(
    run: Reported, view: View, monkeypatch: pytest.MonkeyPatch, digits: int, least: int
) -> None:
    """A report whose every number of four decimals read 0.7777 once passed."""
    right = words.num

    def wrong_num(value: float | None, places: int = 3) -> str:
        return "0.7777" if value is not None and places == digits else right(value, places)

    everywhere(monkeypatch, "num", wrong_num)
    found = all_wrong(printed_of(run.folder, view), run.again)
    assert len(found) >= least
    assert all(said.startswith("0.7777 at ") for said in found)


def test_a_wrong_share_and_a_wrong_rounding_are_found(
    run: Reported, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere(monkeypatch, "pct", lambda share, digits=0: "undefined" if share is None else f"{share:.{digits}f} %")
    assert len(all_wrong(printed_of(run.folder, view), run.again)) > 50
    monkeypatch.undo()
    cut = lambda value, digits=3: "undefined" if value is None else f"{value - 0.5 * 10**-digits:.{digits}f}"  # noqa: E731
    everywhere(monkeypatch, "num", cut)
    assert len(all_wrong(printed_of(run.folder, view), run.again)) > 100


@pytest.mark.parametrize("what", ["matrix", "sweep", "share", "px"])
def test_a_record_that_says_otherwise_is_found(run: Reported, what: str) -> None:
    """The same report against another record: a number that was merely there would pass."""
    record = json.loads(json.dumps(run.again.record))
    lulc, buildings = record["adapters"][0]["chips"][0], record["adapters"][2]["chips"][0]
    if what == "matrix":
        lulc["confusion"][0][0] += 60
    elif what == "sweep":
        buildings["sweep"][4]["tp"] += 60
    elif what == "share":
        lulc["filled"]["DEM"] = 0.5
    else:
        lulc["predicted_px"][2] += 60
    assert all_wrong(run.numbers, Run(record, run.again.claims, run.again.card))


def test_columns_that_changed_places_are_found(run: Reported) -> None:
    row = next(n for n in run.numbers if n.expression == "p, p.matrix, class_table" and n.column == "precision")
    assert wrong(row, run.again) is None
    assert wrong(dataclasses.replace(row, column="recall"), run.again)


@pytest.mark.parametrize("name", ["row", "text", "line", "value"])
@pytest.mark.parametrize("template", ["clusters.md.j2", "gates.md.j2"])
def test_a_number_under_a_name_that_has_an_origin_elsewhere_has_none(template: str, name: str) -> None:
    with tracing():
        env = words.environment()
        env.loader = FunctionLoader(lambda _: f"{{% for {name} in [0.987] %}}{{{{ {name} }}}}{{% endfor %}}\n")
        log = Log()
        env.note = log.note  # type: ignore[attr-defined]
        (number,) = log.numbers(env.get_template(template).render())
    assert (number.text, number.origins) == ("0.987", ())


@pytest.mark.parametrize("what", ["share", "start", "band", "part"])
def test_a_wrong_value_in_a_bridge_is_found(bridged: Bridged, what: str) -> None:
    record, numbers = json.loads(json.dumps(bridged[0])), bridged[1]
    if what in ("share", "start"):
        matrices = record["corners"][1 if what == "share" else 0]["matrices"]
        matrices[next(iter(matrices))][0][0] += 90
    elif what == "band":
        bands = [record["result"], *(p for s in record["result"]["shares"] for p in s["parts"])]
        for each in bands:
            if each.get("band"):
                each["band"][0] += 0.01
            elif "low" in each:
                each["low"] += 0.01
    else:
        if record["result"]["shares"][-1]["parts"]:
            numbers = [n for n in numbers if n.row.startswith("*of it")]
        first = record["corners"][-1]["matrices"]
        first[next(iter(first))][1][1] += 90
    assert [said for n in numbers if (said := wrong_of_bridge(n, record))]


def held(claim: Claim, text: str) -> bool:
    """Whether a claim prints the number, or it is the claim's figure with its decimals or in per cent."""
    bare = text.replace(",", "").replace("−", "-").lstrip("+")
    if bare in claim.model_dump_json().replace(",", "") or text in claim.model_dump_json():
        return True
    places = len(bare.partition(".")[2])
    return any(f"{float(figure(claim).mid) * scale:.{places}f}" == bare for scale in (1, 100))


def at(record: Any, path: str) -> bool:
    """Whether a path of an origin is there in run.json: names, and `[id]` or `[*]` behind a list."""
    here = [record]
    for name, key in re.findall(r"\.?([a-z_]+)(?:\[([^\]]*)\])?", path):
        found = [h[name] for h in here if isinstance(h, dict) and name in h]
        if key:
            ids = ("adapter", "chip", "gate", "factor")
            found = [e for f in found for e in f if key == "*" or key in [e.get(i) for i in ids]]
        here = found
    return bool(here)


def follow(number: Printed, origin: Origin, view: View, audit: Audit, record: dict[str, Any]) -> str | None:
    """What is wrong with an origin; None where it leads to the number."""
    claims = view.registry.claims
    if origin.kind == "claim":
        if origin.ref not in {c.id for c in claims}:
            return f"no claim {origin.ref}"
    elif origin.kind == "finding":
        found = [f for f in audit.findings if origin.ref in (f.id, "*")]
        if not found:
            return f"no finding {origin.ref}"
        ids = {c.id for c in claims} | {n.id for card in view.registry.cards for n in card.notes}
        if any(not f.claims or not {c.rpartition("/")[2] if c not in ids else c for c in f.claims} for f in found):
            return f"{origin.ref}: names no claim"
        text = json.dumps([f.model_dump(mode="json") for f in found], ensure_ascii=False)
        if origin.ref != "*" and number.text not in text:
            return f"{origin.ref}: does not say {number.text}"
    elif origin.kind == "computed":
        metric = re.fullmatch(r"claims\[metric=(\w+)\]", origin.ref)
        if metric is None or not any(c.quantity.metric == metric[1] for c in claims):
            return f"no claims for {origin.ref}"
    elif origin.kind == "record":
        if not at(record, origin.ref):
            return f"run.json has no {origin.ref}"
    elif origin.kind == "rule":
        importlib.import_module(origin.ref)
    else:
        texts = "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "eval").rglob("*.yaml")))
        there = origin.ref.partition("@")[0].partition(":")[0]
        if not (ROOT / there).exists() and there.split()[0] not in texts:
            return f"nothing under eval/ names {there}"
    return None


def test_fifty_at_random_are_followed(gaps: Numbers, run: Reported, view: View, audit: Audit) -> None:
    every = [(name, n) for name, found in {**gaps, "report.md": run.numbers}.items() for n in found]
    failed = []
    for name, number in random.Random(SEED).sample(every, FOLLOWED):  # noqa: S311
        assert number.origins, (name, number)
        said = [s for o in number.origins if (s := follow(number, o, view, audit, run.record))]
        if name == "report.md" and number.expression != "a quoted note" and (other := wrong(number, run.again)):
            said.append(other)
        if number.expression.startswith("r.") or number.expression == "claim":
            ids = {o.ref for o in number.origins if o.kind == "claim"}
            if not any(held(c, number.text) for c in view.registry.claims if c.id in ids):
                said.append(f"none of {', '.join(sorted(ids))} holds {number.text}")
        failed += [(name, number.text, number.expression, each) for each in said]
    assert failed == []


def test_every_figure_of_the_claim_table_is_that_of_its_claims(gaps: Numbers, view: View) -> None:
    by_id = {c.id: c for c in view.registry.claims}
    rows = [n for found in gaps.values() for n in found if n.expression in ("r.card", "r.rerun", "claim")]
    assert len(rows) > 60
    for number in rows:
        assert any(held(by_id[o.ref], number.text) for o in number.origins), number


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## Not for\n", "## Not for\n\nIt scores 0.987 there.\n"),
        ("## Not for\n", "## Not for\n\n{% set x = 0.987 %}It scores {{ x }} there.\n"),
        ("## Not for\n", "## Not for\n\nIt scores {{ 0.987 }} there.\n"),
        ("{{ r.card }}", "0.987"),
        ("{{ r.card }}", '{{ "0.987" if r.card else r.card }}'),
    ],
)
def test_a_number_typed_into_a_template_is_found(view: View, audit: Audit, old: str, new: str) -> None:
    def alter(source: str) -> str:
        assert old in source
        return source.replace(old, new, 1)

    found = lost(gap_numbers(view, audit, alter))
    assert found
    assert {n.text for n in found} == {"0.987"}


def test_a_number_typed_into_a_sentence_for_readers_is_found(view: View, audit: Audit) -> None:
    family = view.families["terramind-nyc"]
    for sentence in ("It scores 0.987.", "It scores 0.987 against {{ v('terramind-nyc-card/lulc.miou') }}."):
        told = [g.model_copy(update={"not_for": [sentence]}) for g in family.guidance]
        changed = family.model_copy(update={"guidance": told})
        other = dataclasses.replace(view, families={**view.families, family.id: changed})
        assert {n.text for n in lost(gap_numbers(other, audit))} == {"0.987"}


def test_an_origin_that_is_not_there_is_found(view: View, audit: Audit) -> None:
    number = Printed("0.5866", 1, "gap.md.j2:1", "r.card", (), False)
    record: dict[str, Any] = {"adapters": [{"adapter": "a", "chips": [{"chip": "c", "confusion": [[1]]}]}]}
    assert follow(number, Origin("claim", "terramind-nyc-card/lulc.miou"), view, audit, record) is None
    for origin in (
        Origin("claim", "terramind-nyc-card/no"),
        Origin("finding", "gate:no"),
        Origin("finding", "gate:buildings-gate.buildings.iou.1"),
        Origin("computed", "claims[metric=no]"),
        Origin("record", "adapters[b]"),
        Origin("record", "adapters[a].chips[c].sweep"),
        Origin("statement", "nobody/nothing"),
    ):
        assert follow(number, origin, view, audit, record), origin
    assert follow(number, Origin("record", "adapters[a].chips[*].confusion"), view, audit, record) is None
    assert not held(view.claim("terramind-nyc-card/lulc.miou"), "0.5867")


def test_what_counts_as_a_number() -> None:
    text = "mIoU 0.5866, +6.13 points, 884,736 of B02 at 510d59e, v200, −3, S2L2A, 12 x 3, chip_4 and 84 %"
    assert NUMBER.findall(text) == ["0.5866", "+6.13", "884,736", "−3", "12", "3", "84"]


def test_a_quoted_note_is_what_its_file_says(run: Reported) -> None:
    for (_, ref), wanted in zip(QUOTED.values(), [{"973", "0.57", "40", "0.77"}], strict=True):
        said = (ROOT / ref).read_text(encoding="utf-8")
        quoted = {n.text for n in run.numbers if n.expression == "a quoted note"}
        assert wanted <= quoted
        assert all(number in said for number in quoted)
