"""The page of a bridge: what it says, the same bytes twice, its figure, and records that were tampered with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from markdown_it import MarkdownIt

from harness.ablate.published import Wanted
from harness.ablate.result import computed, corners_of
from harness.cli import app
from harness.errors import BundleError, RegistryError
from harness.records.bridge import (
    BridgeRecord,
    ChipRecord,
    FactorRecord,
    HeldRecord,
    KnobRecord,
    PublishedRecord,
    write_bridge,
)
from harness.report.bridge import LEGEND, _legend, bars, render_bridge, write_bridge_report
from harness.score.confusion import ConfusionMatrix
from harness.score.shapley import corner_sets

ROOT = Path(__file__).resolve().parents[2]
EFFECTS = {"statistics and units": -60, "dem": 3, "scheme": -25}
"""Right pixels of a thousand that a switch changes."""


def right(n: int) -> ConfusionMatrix:
    return ConfusionMatrix(((n, 1000 - n), (1000 - n, n)), 7)


def record(**over: Any) -> BridgeRecord:
    """Six scenes, three factors whose effects add; start accuracy 0.8, claimed 0.7."""
    factors = [
        FactorRecord(
            id=name,
            kind="scheme" if name == "scheme" else "recipe",
            says=f"{name}: one -> other",
            knobs=[KnobRecord(id=k, start="one", end="other") for k in name.split(" and ")],
        )
        for name in EFFECTS
    ]
    corners = {
        ids: {f"s|{i}": right(800 + 3 * i + sum(EFFECTS[f] + (3 * (i % 2) - i % 3) for f in ids)) for i in range(6)}
        for ids in corner_sets(list(EFFECTS))
    }
    published: PublishedRecord | None = PublishedRecord(
        id="card/lulc.accuracy", printed="0.7000", value=0.7, source="someone/card", scenes="others", clusters=6
    )
    if over.get("weights") == "random" or over.get("source") == "runs":
        published = None
    result = computed(factors, corners, Wanted("lulc_nyc", "accuracy", None, 0.5), None, published)
    fields: dict[str, Any] = {
        "id": "bridge",
        "created": "2026-11-21T12:00:00+00:00",
        "who": "somebody",
        "command": "harness ablate lulc_nyc --from one --to other",
        "commit": "0" * 40,
        "dirty": False,
        "family": "narrow",
        "adapter": "lulc_nyc",
        "source": "lock",
        "start_name": "one",
        "end_name": "other",
        "weights": "published",
        "device": "cpu: a processor",
        "metric": "accuracy",
        "class_index": None,
        "over": None,
        "threshold": 0.5,
        "factors": factors,
        "held": [HeldRecord(knob="grid", why="the chips came <cut>")],
        "chips": [
            ChipRecord(
                chip=f"s|{i}",
                cluster=f"s|{i}",
                sha256={"files": "ab" * 32},
                ends=["start", "end"],
                scored=True,
                reason=None,
            )
            for i in range(6)
        ],
        "corners": corners_of(corners),
        "published": published,
        "published_why": "" if published else "random weights: no claim is held against them",
        "result": result,
        "forwards_made": 20,
        "forwards_kept": 4,
        "forward_s": 1.5,
    }
    return BridgeRecord.model_validate({**fields, **over})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bridge(record(), tmp_path)
    return tmp_path


def page(folder: Path) -> str:
    return render_bridge(folder)["bridge.md"]


def render_text(made: BridgeRecord, folder: Path) -> str:
    write_bridge(made, folder)
    return page(folder)


def test_the_page_says_what_the_record_holds(folder: Path) -> None:
    text = page(folder)
    assert text.startswith("# lulc_nyc: from one to other\n")
    held = record().result
    assert (held.start, held.claimed) == (0.8075, 0.7)
    assert held.unexplained == pytest.approx(0.1075)
    assert "| statistics and units (recipe) | | -6.0" in text
    assert "| published: card/lulc.accuracy | 0.7000 |" in text
    assert "| *unexplained* | | +10.8 |" in text or "| *unexplained* | | +10.7 |" in text
    assert "no detectable effect: smaller than 2 points" in text or "no detectable effect" in text
    assert "statistics and units explains -6.0" in text
    assert "Grouped, because no more than six factors are split: statistics and units (statistics, units)" in text
    assert r"the chips came \<cut\>" in text
    assert "s\\|0" in text
    assert "- [ ]" not in text
    assert text.count("- [x]") == 5
    assert "20 made, 4 kept from earlier calls, 1.50 s each" in text


def test_every_table_has_as_many_cells_as_its_head(folder: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page(folder))
    widths: list[int] = []
    for token in tokens:
        if token.type == "tr_open":
            widths.append(0)
        if token.type in ("td_open", "th_open"):
            widths[-1] += 1
        if token.type == "table_close":
            assert len(set(widths)) == 1
            assert len(widths) > 1
            widths = []
    assert sum(t.type == "table_open" for t in tokens) == 3
    broken = [t for t in tokens if t.type == "inline" and re.match(r"^\|", t.content)]
    assert not broken  # a blank line within a table would leave rows as text


def test_the_same_record_gives_the_same_bytes_without_torch(folder: Path) -> None:
    paths = write_bridge_report(folder)
    assert [p.relative_to(folder).as_posix() for p in paths] == ["figures/bridge.svg", "bridge.md"]
    before = [p.read_bytes() for p in paths]
    code = (
        "import sys; from pathlib import Path; from harness.report.bridge import write_bridge_report as w\n"
        f"w(Path({str(folder)!r})); assert 'torch' not in sys.modules and 'rasterio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)  # noqa: S603 (our own command)
    assert [p.read_bytes() for p in paths] == before


def test_bars_lead_from_the_published_figure_to_the_other_end() -> None:
    held = record().result
    rows = bars(held, ("one", "other"))
    assert [b.name for b in rows] == ["published", "unexplained", "one, run here", *EFFECTS, "other, run here"]
    for before, after in pairwise(rows):
        if after.kind != "level":
            assert after.left == pytest.approx(before.right)
        else:
            assert after.right == pytest.approx(before.right)
    kinds = {b.name: b.kind for b in rows}
    assert kinds["statistics and units"] == "share"
    assert kinds["dem"] == "quiet"
    rest = rows[1]
    assert held.band is not None
    assert rest.low == pytest.approx(0.7 + held.band[0])
    assert bars(record(weights="random").result, ("one", "other"))[0].name == "one, run here"


def a_factor(name: str) -> FactorRecord:
    kind: Literal["population", "recipe"] = "population" if name == "population" else "recipe"
    return FactorRecord(id=name, kind=kind, says="x", knobs=[KnobRecord(id=name, start="a", end="b")])


def quiet(**over: Any) -> BridgeRecord:
    """Two factors, one of them the population, neither of which does anything to speak of."""
    ids = ("dem", "population")
    factors = [a_factor(n) for n in ids]
    corners = {
        one: {f"s{i}": right(800 + 3 * i + sum((i + n) % 4 for n, _ in enumerate(sorted(one)))) for i in range(6)}
        for one in corner_sets(list(ids))
    }
    result = computed(factors, corners, Wanted("lulc_nyc", "accuracy", None, 0.5), None, None)
    made = {"factors": factors, "corners": corners_of(corners), "published": None, "published_why": "", **over}
    return record(**made, result=result)


def populated() -> BridgeRecord:
    """A knob, and other scenes with fewer buildings of which some are harder."""
    names = ("dem", "population")
    factors = [a_factor(n) for n in names]
    found = {False: (90, 80, 60, 70, 85), True: (50, 90, 55, 75, 65)}
    corners = {}
    for one in corner_sets(list(names)):
        far = "population" in one
        positive = 250 if far else 300
        hits = [(tp - (8 + i % 3) * ("dem" in one)) * positive // 100 for i, tp in enumerate(found[far])]
        corners[one] = {
            f"{'t' if far else 's'}{i}": ConfusionMatrix(((900 - positive, 100), (positive - hit, hit)), 3)
            for i, hit in enumerate(hits)
        }
    result = computed(factors, corners, Wanted("lulc_nyc", "iou", 1, 0.5), None, None)
    ends: list[tuple[Literal["start", "end"], frozenset[str]]] = [
        ("start", frozenset()),
        ("end", frozenset({names[1]})),
    ]
    chips = [
        ChipRecord(chip=name, cluster=name, sha256={"files": "ab" * 32}, ends=[end], scored=True, reason=None)
        for end, switched in ends
        for name in sorted(corners[switched])
    ]
    made = {"factors": factors, "corners": corners_of(corners), "published": None, "published_why": "x", "chips": chips}
    return record(**made, result=result, metric="iou", class_index=1)


def test_other_scenes_are_split_into_label_shares_and_rates(tmp_path: Path) -> None:
    made = populated()
    assert made.result.verdict == "told but for sampling"
    labels, rates = made.result.shares[1].parts
    rows = bars(made.result, ("one", "other"))
    assert [b.name for b in rows][2:4] == [
        "population: other label shares",
        "population: other rates on the other scenes",
    ]
    assert [b.kind for b in rows] == ["level", "share", "share", "rest", "level"]
    assert rows[-1].right == pytest.approx(rows[-2].right)
    text = render_text(made, tmp_path)
    assert "**What the differences do is told, but not whether the other scenes are harder:** " in text
    assert f"| *of it: other label shares* | | {100 * labels.effect:+.1f} |" in text
    assert f"| *of it: other rates on the other scenes* | | {100 * rates.effect:+.1f} |" in text
    assert "Their *label shares*, how much of each class they hold, are counted at both ends" in text
    assert text.count("- [x]") == 5
    assert "Their *label shares*" not in render_text(record(), tmp_path / "none")


def test_parts_that_do_not_sum_to_their_effect_are_refused(tmp_path: Path) -> None:
    path = write_bridge(populated(), tmp_path)
    wrong = json.loads(path.read_text(encoding="utf-8"))
    wrong["result"]["shares"][1]["parts"][0]["effect"] += 0.001
    path.write_text(json.dumps(wrong), encoding="utf-8")
    with pytest.raises(RegistryError, match="parts of population do not sum to its effect"):
        page(tmp_path)
    wrong["result"]["shares"][1]["parts"][1]["effect"] -= 0.001
    path.write_text(json.dumps(wrong), encoding="utf-8")
    assert "- [ ] what label shares and rates make of other scenes, from the same" in page(tmp_path)
    wrong["result"]["rules"] = "2026-01-01"
    path.write_text(json.dumps(wrong), encoding="utf-8")
    earlier = page(tmp_path)
    assert "- [ ]" not in earlier
    assert "It was made under the rules of 2026-01-01; those of today" in earlier


def test_rates_that_cannot_be_tested_are_not_called_no_more_than_sampling(tmp_path: Path) -> None:
    made = populated()
    share = made.result.shares[1]
    untestable = share.parts[1].model_copy(update={"p": None, "low": None, "high": None, "why": "not testable; few"})
    result = made.result.model_copy(
        update={"shares": [made.result.shares[0], share.model_copy(update={"parts": [share.parts[0], untestable]})]}
    )
    assert [b.kind for b in bars(result, ("one", "other"))] == ["level", "share", "share", "quiet", "level"]
    text = render_text(made.model_copy(update={"result": result}), tmp_path)
    assert "no more than other scenes would do" not in text
    assert "dashed frame" not in text


def hatched(folder: Path) -> int:
    """Shapes of the figure that are filled with a pattern."""
    root = ET.fromstring(render_bridge(folder)["figures/bridge.svg"])  # noqa: S314 (our own)
    return sum("fill: url(#" in str(shape.get("style")) for shape in root.iter())


def test_nothing_detectable_reads_so_and_is_hatched(tmp_path: Path) -> None:
    made = quiet()
    assert [b.kind for b in bars(made.result, ("one", "other"))] == ["level", "quiet", "quiet", "level"]
    write_bridge(made, tmp_path)
    text = page(tmp_path)
    assert "**No detectable effect:** no share reaches 2 points." in text
    assert " is told" not in text
    assert "**What the differences do is told:** " in render_text(record(), tmp_path / "told")
    assert hatched(tmp_path) == 3  # both bars and one entry of the legend
    assert hatched(tmp_path / "told") == 2


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    kinds = {b.kind for b in bars(quiet().result, ("one", "other"))}
    assert [entry.get_label() for entry in _legend(kinds)] == ["figure", "no detectable effect"]
    kinds = {b.kind for b in bars(record().result, ("one", "other"))}
    assert [entry.get_label() for entry in _legend(kinds)] == list(LEGEND.values())


def test_a_bridge_is_rendered_again_by_the_command_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    paths = write_bridge_report(folder)
    before = [p.read_bytes() for p in paths]
    for path in paths:
        path.unlink()
    app(["report", str(folder)], standalone_mode=False)
    assert [p.read_bytes() for p in paths] == before
    with pytest.raises(RegistryError, match="--fn-cost and --fp-cost go with a run"):
        app(["report", str(folder), "--fn-cost=2"], standalone_mode=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RegistryError, match=r"empty: holds neither run\.json.* nor bridge\.json"):
        app(["report", str(tmp_path / "empty")], standalone_mode=False)
    with pytest.raises(BundleError, match="bundles hold runs, not bridges"):
        app(["bundle", str(folder), f"--out={tmp_path / 'b.zip'}"], standalone_mode=False)
    assert not (tmp_path / "b.zip").exists()


def test_the_figure_is_narrow_enough_for_a_phone_and_white(folder: Path) -> None:
    root = ET.fromstring(render_bridge(folder)["figures/bridge.svg"])  # noqa: S314 (our own)
    width = float(str(root.get("width")).removesuffix("pt"))
    assert width < 560
    assert "#ffffff" in render_bridge(folder)["figures/bridge.svg"]


def test_random_weights_are_said_first_and_hold_no_claim(tmp_path: Path) -> None:
    write_bridge(record(weights="random"), tmp_path)
    text = page(tmp_path)
    assert text.startswith("# [mechanics only: random weights] lulc_nyc")
    assert "*unexplained*" not in text
    assert "No published figure stands at the start: random weights" in text
    write_bridge(record(), tmp_path / "published")
    plain, marked = (render_bridge(p)["figures/bridge.svg"] for p in (tmp_path / "published", tmp_path))
    assert "#a50f15" in marked
    assert "#a50f15" not in plain


@pytest.mark.parametrize("what", ["matrix", "sentence", "start"])
def test_what_was_tampered_with_is_found(folder: Path, what: str) -> None:
    raw = json.loads((folder / "bridge.json").read_text(encoding="utf-8"))
    if what == "matrix":
        raw["corners"][1]["matrices"]["s|0"][0][0] += 40
    elif what == "sentence":
        raw["result"]["sentence"] = raw["result"]["sentence"].replace("-6.0", "-16.0")
    else:
        raw["result"]["start"] += 0.05
        raw["result"]["end"] += 0.05
    (folder / "bridge.json").write_text(json.dumps(raw), encoding="utf-8")
    text = page(folder)
    assert "- [ ]" in text
    assert "fail" in text.split("## ")[0]


def test_a_folder_without_a_bridge_or_with_a_wrong_one_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no such bridge"):
        render_bridge(tmp_path / "nowhere")
    (folder / "bridge.json").write_text("{", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"bridge\.json:1: not JSON"):
        render_bridge(folder)
    (folder / "bridge.json").write_text('{"id": 1}', encoding="utf-8")
    with pytest.raises(RegistryError, match=r"bridge\.json: "):
        render_bridge(folder)
