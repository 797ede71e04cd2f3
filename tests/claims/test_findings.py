"""Every item that the audit of the TerraMind-NYC figures must find, by number and by evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.claims.audit import audit_view
from harness.claims.checks import MEANING
from harness.claims.counterfactuals import built_up_condition, pairs
from harness.claims.findings import Audit, Finding
from harness.claims.groups import View
from harness.claims.sweeps import card_matrices, sweeps, tiles

EVAL = Path(__file__).parents[2] / "eval"


def one(audit: Audit, name: str) -> Finding:
    found = [f for f in audit.findings if f.id == name]
    assert len(found) == 1, f"{name}: {len(found)} findings"
    return found[0]


ITEMS = [
    # (finding, status, evidence, words that the derived side must hold)
    (
        "binary-fractions:terramind-nyc-card/buildings_nyc.test",
        "consistent",
        "arithmetic",
        ["TP 0.0727", "TN 0.7518", "FP+FN 0.1755", "prevalence 0.0866", "precision 0.310", "FPR 0.1769"],
    ),
    ("micro-iou:terramind-nyc-card/buildings_nyc.test.micro", "consistent", "arithmetic", []),
    (
        "sweep-counts:terramind-nyc-rerun/buildings_nyc.six-aois",
        "consistent",
        "arithmetic",
        ["82,023", "TP 81,403", "FP 151,230", "FN 620", "TN 67,803", "27.25 %", "TPR 0.9924", "FPR 0.6904"],
    ),
    (
        "tiles-against-sweep:terramind-nyc-rerun/buildings_nyc.six-aois",
        "consistent",
        "arithmetic",
        ["82,023", "232,633"],
    ),
    ("stated-prevalence:terramind-nyc-rerun/buildings_nyc.six-aois", "inconsistent", "arithmetic", ["27.25 %"]),
    ("stated-cause:buildings-cause", "inconsistent", "arithmetic", ["0.673", "+12.1", "-22.3", "0.215"]),
    ("stated-cause:lulc-cause", "undetermined", "arithmetic", ["IoUs alone"]),
    ("trivial-baseline:terramind-nyc-rerun/buildings_nyc.six-aois", "undetermined", "arithmetic", ["0.364", "0.272"]),
    ("best-threshold:best-threshold", "undetermined", "arithmetic", ["mIoU 0.7 (0.404)", "IoU 0.6 (0.365)"]),
    ("threshold-chosen-on-test:best-threshold", "undetermined", "arithmetic", ["same"]),
    ("stated-collapse:collapse", "undetermined", "arithmetic", ["0.404", "best of the sweep"]),
    ("stated-words:negligible", "inconsistent", "arithmetic", ["8.99 points"]),
    ("stated-words:finds-every-building", "undetermined", "arithmetic", ["99.45 %", "50.6 %"]),
    ("given-twice:buildings.miou", "inconsistent", "arithmetic", []),
    ("blocks:terramind-nyc-card/buildings.blocks", "inconsistent", "arithmetic", ["12 x 73,728", "24 adapted"]),
    ("bytes:terramind-nyc-card/lulc.lora-size", "inconsistent", "arithmetic", ["3.54 MB"]),
    ("bytes:terramind-nyc-training/lulc.decoder-size", "inconsistent", "arithmetic", ["319.58 MB"]),
    (
        "decoder-parameters:terramind-nyc",
        "inconsistent",
        "source",
        ["79,895,365: parameters", "79,902,091: state with buffers"],
    ),
    ("base-parameters:terramind-nyc-readme/family.base", "inconsistent", "arithmetic", ["87,905,280"]),
    ("base-parameters:terramind-nyc-card/lulc.base", "undetermined", "source", ["87,905,280"]),
    ("stated-ratio:family-half", "inconsistent", "arithmetic", ["0.7161..0.7674"]),
    (
        "parameters-or-bytes:terramind-nyc-card/tim.lora",
        "undetermined",
        "arithmetic",
        ["4 x 884,736", "333.7 MB", "323.1 MB"],
    ),
    ("gain-by-class:tim-uplift", "undetermined", "arithmetic", ["80 %"]),
    ("class-weights:buildings-weights", "undetermined", "arithmetic", ["27.3 %", "8.66 %"]),
    (
        "probe-bounds:probes-buildings.as-commented",
        "inconsistent",
        "arithmetic",
        ["3 of 10", "greenbelt", "jfk", "central_park"],
    ),
    ("probe-bounds:probes-buildings.as-coded", "consistent", "arithmetic", []),
    ("stated-share:percent-midtown", "inconsistent", "arithmetic", ["99.45"]),
    ("stated-share:percent-jfk", "inconsistent", "arithmetic", ["36.94"]),
    (
        "overlapping-chips:terramind-nyc-rerun",
        "undetermined",
        "arithmetic",
        ["hudson_yards", "manhattan_midtown", "100 %"],
    ),
    ("gate:buildings-gate.buildings.iou.1", "undetermined", "arithmetic", ["negative"]),
    ("gate:tim-gate.tim.uplift", "consistent", "arithmetic", ["acceptable"]),
    ("gate:tim-publish-gate.tim.uplift", "consistent", "arithmetic", ["publish"]),
    ("modelled-energy:energy-buildings", "undetermined", "arithmetic", ["0.5112 s x 12.0 W = 6.1344 J"]),
    ("modelled-energy:energy-lulc", "undetermined", "arithmetic", ["0.5097 s x 12.0 W = 6.1169 J"]),
    ("note:terramind-1.0/lulc-codebook", "inconsistent", "source", ["4,375"]),
    ("split-clusters:terramind-nyc-card/lulc.chips", "undetermined", "source", ["4 parent cells x 16", "35 distinct"]),
    (
        "split-clusters:terramind-nyc-card/buildings.chips",
        "undetermined",
        "source",
        ["2 parent cells x 16", "3 distinct", "t = 12.7"],
    ),
    ("split-parents:terramind-nyc-training/lulc.chips.total", "undetermined", "arithmetic", ["336 = 21 x 16"]),
    ("split-parents:terramind-nyc-training/buildings.chips.total", "undetermined", "arithmetic", ["208 = 13 x 16"]),
    ("class-scheme:lulc_nyc.documents", "inconsistent", "source", ["5 different lists"]),
    ("class-scheme:lulc_nyc.geography", "undetermined", "inference", ["only training-code is contradicted by none"]),
    ("index-or-name:lulc_nyc.water", "undetermined", "arithmetic", ["0.9429 against 0.9494", "-0.0065"]),
    ("note:terramind-nyc-card/effective-resolution", "consistent", "source", ["56 x 56"]),
    ("note:terramind-nyc-card/building-ceiling", "consistent", "source", ["0.57", "0.77"]),
    ("note:terramind-nyc-retest/own-scheme", "inconsistent", "source", ["no building class"]),
]


@pytest.mark.parametrize(("name", "status", "evidence", "words"), ITEMS, ids=[i[0] for i in ITEMS])
def test_the_audit_finds(audit: Audit, name: str, status: str, evidence: str, words: list[str]) -> None:
    finding = one(audit, name)
    assert finding.status == status
    assert finding.evidence == evidence
    for word in words:
        assert word in finding.derived


def test_nothing_that_fits_is_called_inconsistent(audit: Audit) -> None:
    """Identities that the published figures satisfy, so that a later change cannot accuse them."""
    for name in (
        "macro-mean:terramind-nyc-card/lulc_nyc.test.mIoU",
        "macro-mean:terramind-nyc-card/tim_nyc.test.mIoU",
        "macro-mean:terramind-nyc-card/buildings_nyc.test.mIoU",
        "macro-mean:terramind-nyc-rerun/lulc_nyc.six-aois.mIoU",
        "macro-mean:terramind-nyc-rerun/buildings_nyc.six-aois.mIoU",
        "f1-from-iou:terramind-nyc-card/lulc_nyc.test.f1_macro",
        "f1-from-iou:terramind-nyc-card/tim_nyc.test.f1_macro",
        "f1-from-iou:terramind-nyc-card/buildings_nyc.test.f1_macro",
        "binary-accuracy:terramind-nyc-card/buildings_nyc.test.accuracy",
        "binary-closure:terramind-nyc-card/buildings_nyc.test",
        "stated-difference:lulc-delta",
        "stated-difference:tim-delta",
        "stated-difference:buildings-delta",
        "stated-difference:tim-uplift",
        "stated-difference:tim-ft-uplift",
        "stated-sum:lulc-parts",
        "stated-sum:three-adapters",
        "stated-sum:three-fine-tunes",
        "stated-sum:three-times",
        "stated-ratio:lulc-half",
        "stated-ratio:lulc-faster",
        "stated-ratio:tim-cost",
        "stated-product:codebook-levels",
        "stated-product:lulc-codebook-levels",
        "lora-parameters:terramind-nyc-card/lulc.lora",
        "lora-parameters:terramind-nyc-card/tim.lora",
        "bytes:terramind-nyc-card/lulc.size",
        "bytes:terramind-nyc-training/design.lora-size",  # its own 1.2 M parameters, not the published 884,736
        "bytes:terramind-nyc-card/lulc.decoder-size",
        "probe-dominant:probes-lulc",
    ):
        assert one(audit, name).status == "consistent", name
    for place in (
        "midtown",
        "jamaica_bay",
        "pelham_bay",
        "jfk",
        "brooklyn_industrial",
        "coney_island",
        "hudson_yards",
        "central_park",
        "greenbelt",
        "queens_residential",
    ):
        assert one(audit, f"probe-sum:probes-lulc.{place}").status == "consistent"


def test_the_wrong_mean_is_named(audit: Audit) -> None:
    why = one(audit, "given-twice:buildings.miou").why
    assert "0.5511 is not the mean of any published pair" in why
    assert "0.5518 is the mean" in why


def test_counterfactuals_are_those_of_the_closed_form(audit: Audit) -> None:
    found = {c.id: c for c in audit.counterfactuals}
    move = found["buildings_nyc.card-at-rerun.miou"]
    assert move.expected_at_observed_prevalence == pytest.approx(0.673, abs=5e-4)
    assert move.prevalence_effect + move.remainder == pytest.approx(move.observed - move.claimed, abs=1e-12)
    assert found["buildings_nyc.rerun-at-card.miou"].expected_at_observed_prevalence == pytest.approx(0.215, abs=5e-4)
    assert all("constant" in c.assumes or "stay" in c.assumes for c in found.values())


def test_the_built_up_condition_is_a_condition(view: View) -> None:
    pair = next(p for p in pairs(view) if p.subject == "buildings_nyc")
    built = built_up_condition(pair)
    assert built is not None
    assert built.marked_share == pytest.approx(0.773, abs=1e-3)
    assert built.inside_precision == pytest.approx(0.310, abs=1e-3)
    assert built.low == pytest.approx(0.2658, abs=1e-3)
    assert built.high == pytest.approx(0.304, abs=1e-3)


def test_the_card_has_its_operating_point(view: View) -> None:
    card = card_matrices(view)["buildings_nyc"]
    assert card.total == pytest.approx(1, abs=1e-6)
    assert card.prevalence == pytest.approx(0.0866, abs=5e-5)
    assert card.miou == pytest.approx(0.5518, abs=5e-5)
    assert card.accuracy == pytest.approx(0.8245, abs=5e-5)


def test_sweep_counts_give_back_every_printed_rate(view: View) -> None:
    (sweep,) = sweeps(view)
    for row, matrix in zip(sweep.rows, sweep.matrices, strict=True):
        assert matrix.total == 301_056
        assert matrix.iou1 == pytest.approx(float(row.claims["iou"].value), abs=1e-12)
        assert matrix.tpr == pytest.approx(float(row.claims["recall"].value), abs=1e-12)
        assert matrix.f1 == pytest.approx(float(row.claims["f1"].value), abs=1e-12)


def test_tile_hits_are_exactly_those_that_round_to_the_printed_iou(view: View) -> None:
    rows = tiles(view.registry.card("terramind-nyc-rerun"))[("buildings_nyc", "six-aois", "published", 1)]
    assert len(rows) == 6
    for tile in rows:
        label, marked = int(tile.label.value), int(tile.predicted.value)
        hits = [
            t
            for t in range(min(label, marked) + 1)
            if abs(t / (label + marked - t) - float(tile.iou.value)) <= 0.5e-4 + 1e-12
        ]
        assert list(tile.hits()) == hits


def test_every_finding_is_sourced_and_every_check_has_a_meaning(audit: Audit, view: View) -> None:
    known = {c.id for c in view.registry.claims}
    for finding in audit.findings:
        assert finding.check in MEANING, finding.id
        assert set(finding.claims) <= known, finding.id
        assert finding.sources, finding.id
        assert finding.why, finding.id
        if finding.status == "undetermined":
            assert finding.settles, f"{finding.id} says that it is undecided but not what would decide it"
        if finding.status == "inconsistent" and finding.grade != "low":
            assert finding.correction or finding.check == "probe-bounds", finding.id


def test_inference_is_never_dressed_as_arithmetic(audit: Audit) -> None:
    for finding in audit.findings:
        if finding.evidence == "arithmetic":
            assert "probably" not in finding.derived
            assert "(inference)" not in finding.derived


def test_numbers_typed_into_corrections_are_the_computed_ones(audit: Audit, view: View) -> None:
    """Corrections in claims files are prose with figures; each figure is recomputed here."""
    pair = next(p for p in pairs(view) if p.subject == "buildings_nyc")
    move = next(c for c in audit.counterfactuals if c.id == "buildings_nyc.card-at-rerun.miou")
    (sweep,) = sweeps(view)
    text = {f.id: f.correction or "" for f in audit.findings}
    cause = text["stated-cause:buildings-cause"]
    for value in (
        f"{100 * (pair.rerun.prevalence or 0):.1f} %",
        f"recall {pair.card.tpr:.2f}",
        f"rate {pair.card.fpr:.2f}",
        f"mIoU {move.expected_at_observed_prevalence:.2f}",
        f"marks {100 * (pair.rerun.fpr or 0):.0f} %",
    ):
        assert value in cause
    higher = text["stated-greater:buildings-higher"]
    assert f"{100 * (pair.card.prevalence or 0):.1f} % buildings" in higher
    assert f"scores {sweep.positives / sweep.pixels:.3f} on the six tiles" in higher
    assert f"{pair.card.prevalence:.3f} on the card's" in higher
    loss = 100 * ((sweep.at(sweep.rows[9].threshold).tpr or 0) - (sweep.at(sweep.rows[10].threshold).tpr or 0))
    assert f"{loss:.1f} points" in text["stated-words:negligible"]
    weights = text["class-weights:buildings-weights"]
    assert "27 %" in weights
    assert f"{100 * (pair.card.prevalence or 0):.1f} %" in weights


def test_the_same_input_gives_the_same_audit(audit: Audit, view: View) -> None:
    assert audit_view(view).model_dump_json() == audit.model_dump_json()
