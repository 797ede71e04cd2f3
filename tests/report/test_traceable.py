"""Every number in a report leads to a claim, a finding, a cell of a run record or a stated source; 50 are followed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FunctionLoader

from harness.claims.findings import Audit
from harness.claims.gates import answers
from harness.claims.groups import View, figure
from harness.claims.model import Claim
from harness.records import AdapterRun
from harness.report import words
from harness.report.render import render
from harness.report.run_report import render_run
from harness.report.trace import NUMBER, QUOTED, Origin, Printed, plain, tracing
from tests.report.test_run_report import TWO, made_run

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "harness" / "report" / "templates"

SEED, FOLLOWED = 20261121, 50
"""Which numbers are followed, and how many."""

Numbers = dict[str, list[Printed]]


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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, view: View) -> tuple[dict[str, Any], list[Printed]]:
    """A small made run: its record, and the numbers of its report."""

    def gated(record: dict[str, Any]) -> None:
        adapters = [AdapterRun.model_validate(a) for a in record["adapters"]]
        found = answers(view.gates["terramind-nyc"], view.registry, adapters, view.rules)
        record["gates"] = [a.model_dump() for a in found]

    folder = made_run(tmp_path_factory.mktemp("traced") / "r", weights="published", edit=gated)
    given = (folder, view.families["terramind-nyc"], {**view.schemes, "two": TWO})
    with tracing() as log:
        marked = render_run(*given)["report.md"]
    assert isinstance(marked, str)
    assert plain(marked) == render_run(*given)["report.md"]
    return json.loads((folder / "run.json").read_text(encoding="utf-8")), log.numbers(marked)


def test_following_changes_no_report(view: View, audit: Audit) -> None:
    with tracing():
        marked = render(view, audit, [], view.families["terramind-nyc"])
    said = render(view, audit, [], view.families["terramind-nyc"])
    assert {n: plain(t) for n, t in marked.items() if n.endswith(".md")} == {
        n: t for n, t in said.items() if n.endswith(".md")
    }


def test_every_number_has_an_origin(gaps: Numbers, run: tuple[dict[str, Any], list[Printed]]) -> None:
    assert sum(map(len, gaps.values())) > 1_000
    assert len(run[1]) > 500
    assert [(n.text, n.template, n.expression) for n in lost({**gaps, "report.md": run[1]})] == []


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
            ids = ("adapter", "chip", "gate")
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


def test_fifty_at_random_are_followed(
    gaps: Numbers, run: tuple[dict[str, Any], list[Printed]], view: View, audit: Audit
) -> None:
    record, printed = run
    every = [(name, n) for name, found in {**gaps, "report.md": printed}.items() for n in found]
    wrong = []
    for name, number in random.Random(SEED).sample(every, FOLLOWED):  # noqa: S311
        assert number.origins, (name, number)
        said = [s for o in number.origins if (s := follow(number, o, view, audit, record))]
        if number.expression.startswith("r.") or number.expression == "claim":
            ids = {o.ref for o in number.origins if o.kind == "claim"}
            if not any(held(c, number.text) for c in view.registry.claims if c.id in ids):
                said.append(f"none of {', '.join(sorted(ids))} holds {number.text}")
        wrong += [(name, number.text, number.expression, each) for each in said]
    assert wrong == []


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


def test_a_quoted_note_is_what_its_file_says(run: tuple[dict[str, Any], list[Printed]]) -> None:
    for (_, ref), wanted in zip(QUOTED.values(), [{"973", "0.57", "40", "0.77"}], strict=True):
        said = (ROOT / ref).read_text(encoding="utf-8")
        quoted = {n.text for n in run[1] if n.expression == "a quoted note"}
        assert wanted <= quoted
        assert all(number in said for number in quoted)
