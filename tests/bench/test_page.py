"""The page of the bench: every figure from the records, every claim held apart unless all is equal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.bench.beside import beside, compare_bytes
from harness.bench.page import PAGE, figure, growth_rows, part_rows, ratio, reading, render_bench, seconds, shortly
from harness.bench.ratios import Estimate
from harness.claims.model import Claim, Relation
from harness.claims.registry import Registry, read_registry
from harness.cli import app
from harness.errors import RegistryError, StaleReportError
from harness.records.bench import Size, write_bench
from harness.records.cost import Figure
from tests.bench.made import call, pairs, record

ROOT = Path(__file__).resolve().parents[2]

ROWS = (pairs("sweep", 0.1, 0.3), pairs("preprocess", 0.4, 0.1), pairs("switch", 0.002, 3.0), pairs("report", 1.0, 1.0))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry([ROOT / "eval" / "claims"])


def relations(registry: Registry) -> list[Relation]:
    return [r for c in registry.cards for r in c.relations]


def claim(metric: str, value: str, unit: str, subject: str = "lulc_nyc", **conditions: str) -> Claim:
    return Claim.model_validate(
        {
            "id": "card/one",
            "quantity": {"subject": subject, "metric": metric, "conditions": conditions},
            "value": value,
            "unit": unit,
            "source": {"repository": "owner/name"},
        }
    )


def test_the_page_is_made_of_the_record_alone(tmp_path: Path, registry: Registry) -> None:
    write_bench(record(*ROWS, absent=["forward: not measured: not asked for"]), tmp_path)
    page = render_bench(tmp_path, registry.claims, relations(registry))
    assert page == render_bench(tmp_path, list(registry.claims), relations(registry))
    assert "Ours is faster in: sweep, switch. Slower in: preprocess. No difference seen in: report." in page
    assert "- forward: not measured: not asked for" in page
    assert "**A narrow stand-in ran**" in page
    assert "Why no joules: no counter here" in page
    row = next(line for line in page.splitlines() if line.startswith("| sweep |"))
    assert re.fullmatch(
        r"\| sweep \| 1\d\d ms \| 3\d\d ms \| [23]\.\d\d \[[23]\.\d\d, 3\.\d\d\] \| 9 \| faster \|", row
    )
    assert "| peak memory | all | not measured: no mark is kept |" in page
    assert "joules are *not measured*" in page


def test_a_figure_in_the_record_moves_the_page(tmp_path: Path, registry: Registry) -> None:
    path = write_bench(record(*ROWS), tmp_path)
    before = render_bench(tmp_path, registry.claims, relations(registry))
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["rows"][0]["reference_s"] = [2 * s for s in raw["rows"][0]["reference_s"]]
    path.write_text(json.dumps(raw), encoding="utf-8")
    after = render_bench(tmp_path, registry.claims, relations(registry))
    moved = [a for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert [line.split(" | ")[0] for line in moved] == ["| sweep"]


def test_no_record_gives_a_page_that_says_so(tmp_path: Path, registry: Registry) -> None:
    page = render_bench(tmp_path / "none", registry.claims, relations(registry))
    assert "No machine has a record yet: `nox -s bench` writes one." in page


def test_full_size_comes_first_and_random_weights_are_named(tmp_path: Path, registry: Registry) -> None:
    write_bench(record(*ROWS), tmp_path)
    write_bench(record(*ROWS, topology="published"), tmp_path)
    page = render_bench(tmp_path, registry.claims, relations(registry))
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert "published topology, full size, random weights" in titles[0]
    assert "narrow family, random weights" in titles[1]
    assert "**Random weights of the published topology ran**" in page


def test_a_busy_machine_is_said(tmp_path: Path, registry: Registry) -> None:
    write_bench(record(*ROWS, shared="load average 5 on 2 cores"), tmp_path)
    assert "**Not at rest:** load average 5 on 2 cores" in render_bench(tmp_path, registry.claims, [])


def test_where_time_goes_by_hand() -> None:
    rows = part_rows(record())
    assert [r[1] for r in rows] == ["load", "encoder", "head"]
    assert rows[0][3] == "once"
    # medians 0.3 s and 0.1 s: 75 % and 25 %; 15 GFLOP in 0.3 s are 50 of 100; 0.1 GB in 0.1 s is 1 of 10
    assert rows[1][2:] == ["300 ms", "75%", "50.0", "50%", "", ""]
    assert rows[2][2:] == ["100 ms", "25%", "10.0", "10%", "1.00", "10%"]


def test_how_cost_grows_by_hand() -> None:
    places, size = growth_rows(record())
    assert places[0] == "places"
    assert places[3].startswith("0.500 [0.500, 0.500] s a place")
    assert size[3].startswith("2.00 [2.00, 2.00] power of the side")


@pytest.mark.parametrize(
    ("found", "word"),
    [((1.2, 1.1, 1.3), "faster"), ((0.8, 0.7, 0.9), "slower"), ((1.1, 0.9, 1.3), "no difference seen")],
)
def test_a_ratio_says_no_more_than_its_interval(found: tuple[float, float, float], word: str) -> None:
    assert reading(Estimate(*found, 5)) == word


def test_numbers_are_said_shortly() -> None:
    assert [seconds(v) for v in (12.34, 1.5, 0.0123, 4.2e-6, 1e-9)] == [
        "12.3 s",
        "1.50 s",
        "12.3 ms",
        "4.20 us",
        "0.001 us",
    ]
    assert ratio(Estimate(1234.5, 99.95, 2.0, 3)) == "1,234 [100.0, 2.00]"
    assert figure(None) == "not measured"
    assert figure(Figure(unit="s", reason="no|counter")) == r"not measured: no\|counter"


def test_every_published_cost_stands_there_and_none_is_judged_by_random_weights(registry: Registry) -> None:
    rows = beside(registry.claims, relations(registry), record(*ROWS))
    found = {r.claim.id: r for r in rows}
    assert {r.claim.value for r in rows} >= {"511", "6.13", "100-300", "~50", "~2", "~325", "~330", "1.45", "~16", "~1"}
    assert {r.verdict for r in rows} == {"not comparable"}
    assert all(r.missing for r in rows)
    assert not any(r.claim.quantity.variant == "full-fine-tune" for r in rows)
    swap = found["terramind-nyc-training/design.swap"]
    assert swap.ours is not None
    assert swap.ours.value == pytest.approx(0.002, rel=1.0)
    assert swap.ours_of == "switch something"
    assert not any("which part of a call" in m for m in swap.missing)
    narrow = "ours is of a narrow family, not of the published topology"
    assert all(r.missing.count(narrow) == 1 for r in rows if r.ours is not None)
    full = beside(registry.claims, relations(registry), record(*ROWS).model_copy(update={"topology": "published"}))
    assert not any(narrow in r.missing for r in full)
    doubled = found["terramind-1.0/blog.runtime"]
    assert doubled.ours is not None
    assert doubled.ours.value == pytest.approx(2.0, rel=0.02)
    assert doubled.ours_of == "tim_nyc over lulc_nyc, forward"
    assert "ours is of a narrow family, not of the published topology" in doubled.missing
    size = found["terramind-nyc-card/lulc.size"]
    assert size.ours is not None
    assert size.ours.value == pytest.approx(325)
    assert found["terramind-nyc-card/tim.size"].ours is None
    assert (
        "the claim is of training; the bench trains nothing"
        in found["terramind-nyc-card/family.training-memory"].missing
    )


def test_missing_conditions_are_told_in_few_words_and_none_is_lost(registry: Registry) -> None:
    rows = {r.claim.id: r for r in beside(registry.claims, relations(registry), record(*ROWS))}
    told = shortly(rows["terramind-nyc-readme/lulc.latency"].missing)
    assert told.startswith("not stated: the batch, the chip's size, what went in, which part of a call is timed, how ")
    assert "the device: M3 Air there, Maker here" in told
    assert "ours falls short of the protocol in 6 points, listed above" in told
    assert "ours ran random weights; no published file was read" in told
    assert "; ours is of a narrow family, not of the published topology; " in told


def test_without_a_switch_or_a_thinking_adapter_nothing_stands_in_their_place(registry: Registry) -> None:
    rows = {r.claim.id: r for r in beside(registry.claims, [], record(calls=[call("lulc_nyc", 0.5)]))}
    swap = rows["terramind-nyc-training/design.swap"]
    assert swap.ours is None
    assert "switch: not measured in this run" in swap.missing
    assert rows["terramind-1.0/blog.runtime"].ours is None


def test_bytes_are_judged_where_the_published_files_were_weighed() -> None:
    ours = Size(id="disk/adapter/lulc_nyc", kind="disk", what="w", bytes=325_000_000)
    known = record(topology="published", weights="published", sizes=[ours])
    for value, word in (("~325", "reproduced"), ("500", "not reproduced")):
        row = next(iter(beside([claim("adapter_size", value, "MB")], [], known)))
        assert (row.verdict, row.missing) == (word, ())
    assert beside([claim("adapter_size", "325", "MB", of="download")], [], known)[0].verdict == "not comparable"
    assert beside([claim("adapter_size", "325", "MB", "tim_nyc")], [], known)[0].verdict == "not measured"
    assert compare_bytes(claim("base_size", "1.5", "GB"), ours, ()).verdict == "not reproduced"


def test_the_command_writes_the_page_and_notices_a_stale_one(tmp_path: Path, root: Path) -> None:
    (tmp_path / "eval" / "claims").mkdir(parents=True)
    for path in (root / "eval" / "claims").glob("*.yaml"):
        (tmp_path / "eval" / "claims" / path.name).write_bytes(path.read_bytes())
    write_bench(record(*ROWS), tmp_path / "eval" / "bench")
    words = ["bench", "report", f"--root={tmp_path}"]
    with pytest.raises(StaleReportError, match="differs from what its records render"):
        CliRunner().invoke(app, [*words, "--check"], catch_exceptions=False)
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(app, [*words, "--check"], catch_exceptions=False).exit_code == 0
    (tmp_path / "eval" / "bench" / "x.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"x\.json"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_the_committed_page_is_what_the_committed_records_render(root: Path, registry: Registry) -> None:
    page = (root / "eval" / "reports" / PAGE).read_text(encoding="utf-8")
    assert page == render_bench(root / "eval" / "bench", registry.claims, relations(registry))
