"""Checks on cards made for them: each says yes to a right card and no to a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.claims.audit import audit_card
from harness.claims.checks.probes import overlap_share
from harness.claims.checks.splits import bootstrap_samples, t_quantile
from harness.claims.findings import Audit, Finding
from harness.claims.registry import read_card
from harness.claims.sweeps import solve_sweep, sweep_rows

HEAD = """\
schema: 1
card: made
family: made
kind: card
title: t
author: a
source: {repository: r}
defaults:
  quantity: {subject: s, split: test}
claims:
"""

Counts = tuple[int, int]


def audited(folder: Path, body: str) -> Audit:
    path = folder / "made.yaml"
    path.write_text(HEAD + body, encoding="utf-8")
    return audit_card(path)


def of(audit: Audit, check: str) -> Finding:
    found = [f for f in audit.findings if f.check == check]
    assert len(found) == 1, [f.id for f in audit.findings]
    return found[0]


def claim(name: str, metric: str, value: str, index: int | None = None, more: str = "") -> str:
    at = "" if index is None else f", class_index: {index}"
    return f'  - {{id: {name}, quantity: {{metric: {metric}{at}{more}}}, value: "{value}"}}\n'


def sweep_text(positives: int, rows: list[Counts], chips: int = 2, side: int = 100) -> str:
    out = claim("chips", "chips", str(chips)) + claim("side", "chip_px", str(side))
    for n, (tp, fp) in enumerate(rows):
        threshold = f', threshold: "0.{n + 1}"'
        precision = tp / (tp + fp) if tp + fp else 0.0
        for metric, value in (("recall", tp / positives), ("precision", precision)):
            out += (
                f"  - {{id: s{n}.{metric}, quantity: {{metric: {metric}, class_index: 1{threshold}}}, "
                f'value: "{value!r}", stored_as: float64}}\n'
            )
    return out


@settings(max_examples=60)
@given(st.integers(2, 1700), st.data())
def test_sweep_counts_come_back(positives: int, data: st.DataObject) -> None:
    """Whatever whole pixels made a sweep, they are among its solutions."""
    import tempfile

    rows, tp, fp = [], positives, 1800 - positives
    for _ in range(data.draw(st.integers(2, 5))):
        tp, fp = data.draw(st.integers(0, tp)), data.draw(st.integers(0, fp))
        rows.append((tp, fp))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.yaml"
        path.write_text(HEAD + sweep_text(positives, rows, 2, 30), encoding="utf-8")
        card = read_card(path)
    (found,) = sweep_rows(card).values()
    solutions = solve_sweep(card, found, 1800, "s", "test", most=10_000) or []
    exact = [(m.tp, m.fp) for s in solutions if s.positives == positives for m in s.matrices]
    assert exact == [(tp, fp if tp else 0) for tp, fp in rows]


def test_a_sweep_of_impossible_rates_is_found(tmp_path: Path) -> None:
    good = sweep_text(4001, [(4001, 9000), (3500, 5000), (1200, 700)])
    assert of(audited(tmp_path, good), "sweep-counts").status == "consistent"
    wrong = good.replace(repr(3500 / 8500), repr(0.41234567890123))
    assert of(audited(tmp_path, wrong), "sweep-counts").status == "inconsistent"


def test_several_solutions_are_undetermined(tmp_path: Path) -> None:
    finding = of(audited(tmp_path, sweep_text(2, [(2, 2), (1, 1)])), "sweep-counts")
    assert finding.status == "undetermined"
    assert "more than one" in finding.derived


def test_a_rising_recall_is_found(tmp_path: Path) -> None:
    audit = audited(tmp_path, sweep_text(4001, [(3500, 5000), (3900, 5000), (1201, 700)]))
    assert of(audit, "sweep-monotone").status == "inconsistent"
    assert "0.2" in of(audit, "sweep-monotone").derived


def tile_text(*rows: tuple[str, int, int, str]) -> str:
    out = ""
    for place, label, marked, iou in rows:
        for metric, value in (("label_px", str(label)), ("predicted_px", str(marked)), ("iou", iou)):
            more = f", place: {place}, averaging: single"
            out += claim(f"{place}.{metric}", metric, value, 1, more)
    return out


def test_tiles_must_agree_with_the_sweep(tmp_path: Path) -> None:
    sweep = sweep_text(3000, [(3000, 9000), (2999, 8000), (2990, 7000), (2980, 6000), (2400, 3000), (11, 3)])
    at_half = ("here", 2000, 3400, f"{1600 / 3800:.4f}"), ("there", 1000, 2000, f"{800 / 2200:.4f}")
    assert of(audited(tmp_path, sweep + tile_text(*at_half)), "tiles-against-sweep").status == "consistent"
    for other in (
        (at_half[0], ("there", 1000, 2000, f"{850 / 2150:.4f}")),  # other hits, same label and marked pixels
        (at_half[0], ("there", 1001, 2000, at_half[1][3])),
        (at_half[0], ("there", 1000, 2001, at_half[1][3])),
    ):
        wrong = {f.check for f in audited(tmp_path, sweep + tile_text(*other)).of("inconsistent")}
        assert wrong & {"tiles-against-sweep", "tile-counts"}, other


def test_an_iou_that_no_hit_count_gives_is_found(tmp_path: Path) -> None:
    audit = audited(tmp_path, tile_text(("here", 3, 4, "0.3000"), ("there", 5, 5, "1.0000")))
    assert of(audit, "tile-counts").status == "inconsistent"
    assert "here" in of(audit, "tile-counts").claimed


def test_class_accuracy_is_recall(tmp_path: Path) -> None:
    right = claim("a", "class_accuracy", "0.84", 1) + claim("b", "recall", "0.840", 1)
    assert of(audited(tmp_path, right), "given-twice").status == "consistent"
    wrong = claim("a", "class_accuracy", "0.84", 1) + claim("b", "recall", "0.860", 1)
    assert of(audited(tmp_path, wrong), "given-twice").status == "inconsistent"


def test_recalls_that_do_not_close_are_found(tmp_path: Path) -> None:
    base = claim("k", "classes", "2") + claim("i0", "iou", "0.8107", 0) + claim("i1", "iou", "0.2928", 1)
    for recall, status in (("0.8396", "consistent"), ("0.7396", "inconsistent")):
        text = base + claim("r0", "class_accuracy", "0.8231", 0) + claim("r1", "class_accuracy", recall, 1)
        assert of(audited(tmp_path, text), "binary-closure").status == status


@pytest.mark.parametrize(
    ("shares", "classes", "status"),
    [
        (("0.2", "0.8"), "2", "consistent"),
        (("0.20", "0.90"), "2", "inconsistent"),
        (("0.2", "0.3"), "3", "consistent"),
        (("0.70", "0.80"), "3", "inconsistent"),
    ],
)
def test_class_shares_add_up(tmp_path: Path, shares: tuple[str, str], classes: str, status: str) -> None:
    text = claim("k", "classes", classes) + "".join(claim(f"p{i}", "prevalence", s, i) for i, s in enumerate(shares))
    assert of(audited(tmp_path, text), "prevalence-sum").status == status


@pytest.mark.parametrize(
    ("kind", "parts", "states", "ok"),
    [
        ("difference", ("0.5866", "0.5253"), "+6.13", True),
        ("difference", ("0.5866", "0.5253"), "+6.31", False),
        ("difference", ("0.5253", "0.5866"), "+6.13", False),
    ],
)
def test_a_stated_gain_follows_from_its_parts(
    tmp_path: Path, kind: str, parts: tuple[str, str], states: str, ok: bool
) -> None:
    text = claim("a", "mIoU", parts[0]) + claim("b", "mIoU", parts[1], more=", variant: v")
    text += claim("d", "delta_points", states) + "relations:\n"
    text += f"  - {{id: r, kind: {kind}, subject: s, of: [a, b], states: d}}\n"
    assert of(audited(tmp_path, text), "stated-difference").status == ("consistent" if ok else "inconsistent")


def test_gates_know_their_bands(tmp_path: Path) -> None:
    for value, name, status in (
        ("0.60", "strong", "consistent"),
        ("0.20", "negative", "undetermined"),
        ("0.30", "", "undetermined"),
    ):
        text = claim("a", "iou", value, 1) + (
            "gates:\n  - id: g\n    subject: s\n    text: rule\n    of: [a]\n    source: {repository: r}\n"
            '    bands: [{name: negative, hi: "0.30"}, {name: strong, lo: "0.50"}, '
            '{name: acceptable, lo: "0.30", hi: "0.50"}]\n'
        )
        finding = of(audited(tmp_path, text), "gate")
        assert finding.status == status
        assert name in finding.derived


def test_overlap_of_two_chips() -> None:
    here = (-73.984, 40.755)
    assert overlap_share(here, here, 2240) == pytest.approx(1)
    assert overlap_share(here, (-74.0, 40.755), 2240) == pytest.approx(1 - 0.016 * 111_320 * 0.7576 / 2240, abs=2e-3)
    assert overlap_share(here, (-73.9, 40.755), 2240) == 0
    assert overlap_share(here, (-73.984, 40.9), 2240) == 0


def test_quantiles_and_samples_of_few_clusters() -> None:
    assert t_quantile(1) == pytest.approx(12.706, abs=1e-3)
    assert t_quantile(2) == pytest.approx(4.303, abs=1e-3)
    assert t_quantile(3) == 3.182
    assert t_quantile(40) is None
    assert [bootstrap_samples(n) for n in (1, 2, 3, 4)] == [1, 3, 10, 35]
