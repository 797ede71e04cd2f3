"""Claims files: what is read, and what an error says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from harness.claims.audit import audit_card, read_view
from harness.claims.families import read_families
from harness.claims.groups import figure
from harness.claims.registry import read_card, read_registry
from harness.claims.schemes import read_schemes
from harness.errors import RegistryError

EVAL = Path(__file__).parents[2] / "eval"

GOOD = """\
schema: 1
card: some-card
family: some-family
kind: card
title: A card
author: Somebody
source: {repository: some/repo, path: README.md, revision: abc}
groups:
  - defaults:
      quantity: {subject: model, split: test}
    claims:
      - {id: miou, quantity: {metric: mIoU, averaging: macro}, value: "0.5000"}
      - {id: iou.0, quantity: {metric: iou, class_index: 0}, value: "0.7000"}
      - {id: iou.1, quantity: {metric: iou, class_index: 1}, value: "0.3000"}
      - {id: classes, quantity: {metric: classes, split: null}, value: "2"}
    tables:
      - id: row
        row_key: place
        columns:
          label: {quantity: {metric: label_px}}
          iou: {quantity: {metric: iou, class_index: 1}, unit: "%"}
        rows:
          - [here, "100", "40"]
          - [there, "200", null]
"""


def card(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "card.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_and_tables_become_single_claims_with_defaults(tmp_path: Path) -> None:
    read = read_card(card(tmp_path, GOOD))
    assert [c.id for c in read.claims] == [
        "some-card/miou",
        "some-card/iou.0",
        "some-card/iou.1",
        "some-card/classes",
        "some-card/row.here.label",
        "some-card/row.here.iou",
        "some-card/row.there.label",
    ]
    by_id = {c.id: c for c in read.claims}
    assert by_id["some-card/miou"].unit == "fraction"
    assert by_id["some-card/miou"].direction == "higher"
    assert by_id["some-card/classes"].quantity.split is None
    assert by_id["some-card/row.here.iou"].quantity.place == "here"
    assert figure(by_id["some-card/row.here.iou"]).mid == Fraction(2, 5)
    assert by_id["some-card/row.here.iou"].source.repository == "some/repo"
    assert by_id["some-card/miou"].line == 12


def test_a_card_that_nobody_here_has_seen_is_audited(tmp_path: Path) -> None:
    audit = audit_card(card(tmp_path, GOOD))
    assert [f.id for f in audit.of("inconsistent")] == []
    wrong = audit_card(card(tmp_path, GOOD.replace('value: "0.5000"', 'value: "0.5100"')))
    found = {f.check: f for f in wrong.of("inconsistent")}
    assert set(found) == {"macro-mean", "binary-joint"}
    finding = found["macro-mean"]
    assert finding.claims[0] == "some-card/miou"
    assert "0.5000" in (finding.correction or "")


def test_partial_class_lists_are_undetermined_and_not_accused(tmp_path: Path) -> None:
    text = GOOD.replace('      - {id: classes, quantity: {metric: classes, split: null}, value: "2"}\n', "")
    audit = audit_card(card(tmp_path, text.replace('value: "0.5000"', 'value: "0.4000"')))
    assert audit.of("inconsistent") == []
    (finding,) = [f for f in audit.of("undetermined") if f.check == "macro-mean"]
    assert "number of classes" in (finding.settles or "")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("metric: mIoU", "metric: miou", 12, "unknown metric 'miou'; did you mean 'mIoU'?"),
        ('value: "0.7000"', 'value: "1.7000"', 13, "outside the range"),
        ('value: "0.7000"', 'value: "many"', 13, "holds no number"),
        ('value: "0.7000"', 'value: ""', 13, "empty value"),
        ("id: iou.1,", "", 14, "claims.id: field is missing"),
        ("class_index: 1}, value", "class_index: one}, value", 14, "class_index"),
        ("id: iou.1", "id: iou.0", 14, "stands already in line 13"),
        ('value: "2"', 'value: "2", color: red', 15, "color: no such field"),
        ("schema: 1", "schema: 7", 1, "this version reads '1'"),
        ("kind: card", "kind: poem", 4, "kind"),
        ("title: A card\n", "", 1, "title: field is missing"),
        ("author: Somebody", "author: Somebody\nauthor: Else", 7, "stands twice"),
        ('[here, "100", "40"]', '[here, "100"]', 22, "3 cells were expected"),
        ('unit: "%"', 'unit: "kg"', 23, "unit 'kg'"),
        ("    tables:", "    tabels:", 16, "groups.tabels: no such field"),
    ],
)
def test_a_schema_error_names_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    path = card(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(RegistryError) as caught:
        read_registry([path])
    text = str(caught.value)
    assert text.startswith(f"{path}:{line}:"), text
    assert message in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a mapping was expected"),
        (b"- a\n- b\n", "a mapping was expected"),
        (b"a: [1, 2\n", "not YAML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"schema: 1\n", "card: field is missing"),
        (GOOD.encode()[:300], ""),
    ],
)
def test_broken_files_are_refused_with_their_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(RegistryError) as caught:
        read_card(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_files_empty_folders_and_dangling_references(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        read_card(tmp_path / "nowhere.yaml")
    with pytest.raises(RegistryError, match="no claims files"):
        read_registry([tmp_path])
    text = GOOD + "relations:\n  - {id: d, kind: difference, subject: model, of: [miou, nothing], states: iou.0}\n"
    with pytest.raises(RegistryError, match="'some-card/nothing', which is no claim"):
        read_registry([card(tmp_path, text)])
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        card(folder, GOOD)
    with pytest.raises(RegistryError, match="is defined in"):
        read_registry([one, two])


def test_the_registry_holds_every_published_section() -> None:
    view = read_view(EVAL)
    claims = view.registry.claims
    assert len(claims) > 480
    assert {c.kind for c in view.registry.cards} == {"card", "readme", "training-notes", "rerun", "retest", "paper"}
    sweep = [c for c in claims if c.id.startswith("terramind-nyc-rerun/sweep.")]
    assert len(sweep) == 15 * 4
    assert sum(c.id.startswith("terramind-nyc-rerun/tile.") for c in claims) == 6 * 5
    assert sum(c.id.startswith("terramind-nyc-rerun/probe-buildings.") for c in claims) == 10 * 3
    assert sum(c.id.startswith("terramind-nyc-rerun/probe-lulc.") for c in claims) == 10 * 5
    for claim in claims:
        assert claim.source.repository, claim.id
        if claim.source.repository.startswith("msradam/") and claim.card.startswith("terramind-nyc"):
            assert len(claim.source.revision or "") == 40, claim.id
            assert claim.source.path, claim.id
    assert all(c.response is None for c in claims)
    quoted = [
        c
        for c in claims
        if ".tile." not in c.id and "sweep." not in c.id and "tile" not in c.id and "probe" not in c.id
    ]
    assert [c.id for c in quoted if not (c.quote or c.remark)] == []


def test_headline_figures_are_the_published_ones() -> None:
    """Typed a second time, from the table of headline metrics."""
    claims = {c.id: c.value for c in read_view(EVAL).registry.claims}
    for adapter, row in {
        "lulc": ("64", "0.5866", "0.8910", "0.6733", "0.5253", "+6.13"),
        "tim": ("64", "0.6023", "0.8971", "0.6967", "0.5380", "+6.43"),
        "buildings": ("32", "0.5518", "0.8245", "0.6742", "0.5324", "+1.94"),
    }.items():
        keys = ("chips", "miou", "accuracy", "f1", "ft.miou", "delta")
        assert tuple(claims[f"terramind-nyc-card/{adapter}.{k}"] for k in keys) == row
    assert claims["terramind-nyc-readme/buildings.miou"] == "0.5511"
    assert claims["terramind-nyc-rerun/sweep.0.5.recall"] == "0.9924411445570145"
    assert claims["terramind-nyc-rerun/tile.queens_jamaica.predicted"] == "49133"


def test_schemes_and_families_are_checked(tmp_path: Path) -> None:
    schemes = read_schemes(EVAL / "schemes")
    assert set(schemes) == {"card", "footprints", "training-code", "training-doc", "published-rerun", "riprap-app"}
    assert schemes["training-code"].named(0) == "water"
    assert all(c.other is None for c in schemes["training-code"].classes)
    text = (EVAL / "schemes" / "training-code.yaml").read_text(encoding="utf-8")
    for old, new, message in (
        ("[50]", "[80]", "goes into two classes"),
        ("[50]", "[51]", "no ESA WorldCover v200 code"),
        ("index: 1", "index: 7", "must ascend"),
        ("id: training-code", "id: else", "differs from the file's name"),
    ):
        (tmp_path / "training-code.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(RegistryError, match=message):
            read_schemes(tmp_path)
    family = read_families(EVAL / "families")["terramind-nyc"]
    assert family.topology is not None
    assert family.topology.decoder_parameters(5) == 79_895_365
    assert family.topology.decoder_parameters(2) + family.topology.decoder_buffers == 79_902_091
