"""Gap reports: same bytes twice, the same template with and without runs, nothing unsaid."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.claims.findings import Audit
from harness.claims.groups import View
from harness.errors import RegistryError, ReportError, StaleReportError
from harness.places import eval_folder
from harness.records import Measurement, RunRecord, read_runs
from harness.report.render import check, render, write
from harness.report.words import say

EVAL = Path(__file__).parents[2] / "eval"
NAMES = ("terramind-nyc-buildings.md", "terramind-nyc-lulc.md", "terramind-nyc-tim.md")


@pytest.fixture(scope="module")
def files(view: View, audit: Audit) -> dict[str, str]:
    return render(view, audit, [], view.families["terramind-nyc"])


def test_rendering_twice_gives_the_same_bytes(view: View, audit: Audit, files: dict[str, str]) -> None:
    assert render(view, audit, [], view.families["terramind-nyc"]) == files


def test_committed_reports_are_what_the_registry_renders(files: dict[str, str]) -> None:
    check(files, EVAL / "reports")


@pytest.mark.parametrize("name", NAMES)
def test_a_report_opens_with_the_answer_and_keeps_the_order(files: dict[str, str], name: str) -> None:
    text = files[name]
    assert text.startswith("# [not measured] ")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    order = [
        "Rely on it for",
        "Not for",
        "The author's stronger case",
        "Claims",
        "What the audit found",
        "Same and different",
        "Bridge",
        "Cost",
        "Corrections the author could paste",
        "What this does not show",
        "Checks",
        "How to run it again",
    ]
    assert [h for h in headings if h in order] == order
    assert "Nothing here was measured by this project" in text
    assert "None" not in text
    assert not re.search(r"\n\n\n", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_is_rectangular_and_every_figure_exists(files: dict[str, str], name: str) -> None:
    width = None
    for line in files[name].splitlines():
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", line)) - 1
            assert width in (None, cells), f"{name}: {line[:80]}"
            width = cells
        else:
            width = None
    for link in re.findall(r"\]\((figures/[^)]+)\)", files[name]):
        assert link in files
        ET.fromstring(files[link])  # noqa: S314 - our own rendering


def test_figures_hold_no_date_and_no_machine(files: dict[str, str]) -> None:
    for name, text in files.items():
        if name.endswith(".svg"):
            assert "dc:date" not in text
            assert "/home/" not in text
            assert len(text) < 200_000


def _run(value: float, interval: tuple[float, float] | None, view: View, claim: str) -> RunRecord:
    quantity = view.claim(claim).quantity
    return RunRecord(
        schema=1,
        id="r1",
        created="2026-12-01",
        who="a colleague",
        command="nox -s reproduce",
        commit="a" * 40,
        dirty=False,
        device="some device",
        dtype="float32",
        recipe="training-code",
        measurements=[Measurement(quantity=quantity, value=value, interval=interval, n=12)],
    )


@pytest.mark.parametrize(
    ("value", "interval", "title"),
    [
        (0.5500, (0.5405, 0.5605), "[Re]"),
        (0.4000, (0.3800, 0.4200), "[not Re]"),
        (0.5400, (0.4900, 0.5900), "[inconclusive]"),
        (0.5518, None, "[inconclusive]"),
    ],
)
def test_the_same_template_fills_when_a_run_exists(
    view: View, audit: Audit, value: float, interval: tuple[float, float] | None, title: str
) -> None:
    run = _run(value, interval, view, "terramind-nyc-card/buildings.miou")
    text = render(view, audit, [run], view.families["terramind-nyc"])["terramind-nyc-buildings.md"]
    assert text.startswith(f"# {title} buildings_nyc")
    assert f"{value:.4f}" in text
    assert "n = 12" in text
    assert "a colleague" in text
    assert "Nothing here was measured by this project" not in text


def test_another_quantity_never_fills_the_cell(view: View, audit: Audit) -> None:
    run = _run(0.55, (0.54, 0.56), view, "terramind-nyc-rerun/buildings.miou")
    text = render(view, audit, [run], view.families["terramind-nyc"])["terramind-nyc-buildings.md"]
    assert text.startswith("# [not measured]")


def test_an_unscored_measurement_shows_its_reason(view: View, audit: Audit) -> None:
    quantity = view.claim("terramind-nyc-card/buildings.miou").quantity
    run = _run(0.5, (0.4, 0.6), view, "terramind-nyc-card/buildings.miou").model_copy(
        update={
            "measurements": [Measurement(quantity=quantity, value=None, reason="Planetary Computer unreachable", n=0)]
        }
    )
    text = render(view, audit, [run], view.families["terramind-nyc"])["terramind-nyc-buildings.md"]
    assert text.startswith("# [not measured]")
    assert "not measured: Planetary Computer unreachable" in text


def test_a_value_without_number_needs_a_reason(view: View) -> None:
    quantity = view.claim("terramind-nyc-card/buildings.miou").quantity
    with pytest.raises(ValueError, match="reason"):
        Measurement(quantity=quantity, value=None, n=0)
    with pytest.raises(ValueError, match="hold the value"):
        Measurement(quantity=quantity, value=0.9, interval=(0.1, 0.2), n=3)


def test_sentences_that_name_nothing_are_refused(view: View) -> None:
    from types import SimpleNamespace

    with pytest.raises(RegistryError, match="names 0 claims"):
        say("{{ v('no/such.claim') }}", view, SimpleNamespace())
    with pytest.raises(ReportError, match="guidance"):
        say("{{ d.nothing.here }}", view, SimpleNamespace())


def test_writing_is_whole_or_not_at_all_and_removes_what_is_stale(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "terramind-nyc-old.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "notes.md").write_text("somebody else's", encoding="utf-8")
    (tmp_path / "twin-selfcheck.md").write_text("of another command", encoding="utf-8")
    written = write(files, tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in written) == sorted(files)
    assert not (tmp_path / "figures" / "terramind-nyc-old.svg").exists()
    assert (tmp_path / "notes.md").exists()
    assert (tmp_path / "twin-selfcheck.md").exists()
    assert not list(tmp_path.rglob(".*"))
    check(files, tmp_path)
    (tmp_path / NAMES[0]).unlink()
    with pytest.raises(StaleReportError, match="is missing"):
        check(files, tmp_path)


def test_broken_run_records_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "r1"
    folder.mkdir()
    for text, message in (
        ("{", "not JSON"),
        (json.dumps({"schema": 1}), "Field required"),
    ):
        (folder / "run.json").write_text(text, encoding="utf-8")
        with pytest.raises(RegistryError, match=message):
            read_runs(tmp_path)


def test_the_eval_folder_is_found_or_asked_for(tmp_path: Path) -> None:
    assert eval_folder(EVAL.parent) == EVAL
    with pytest.raises(RegistryError, match="name a checkout"):
        eval_folder(tmp_path)
