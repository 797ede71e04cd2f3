"""A permuted scheme and another population, in the report of a run: what shows it, and that arithmetic is called so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.claims.groups import View
from harness.claims.sweeps import card_matrices
from harness.records import AdapterRun
from harness.report.order import Order, orders
from harness.report.population import compositions, prevalences
from harness.report.run_report import render_run
from harness.report.run_tables import Page, read_page
from harness.score.binary import OperatingPoint
from tests.report.test_run_report import TWO, load, made_run, well_formed

GOOD = [[80, 5, 5, 5, 5], [5, 80, 5, 5, 5], [5, 5, 80, 5, 5], [5, 5, 5, 80, 5], [5, 5, 5, 5, 80]]
"""Every class where it belongs."""

MOVED = [[GOOD[i][j] for j in (1, 2, 0, 3, 4)] for i in range(5)]
"""Three outputs in another order than the label."""


def run_of(adapter: str, scheme: str, matrices: Sequence[list[list[int]]], **of_chips: Sequence[Any]) -> AdapterRun:
    chips = [
        {"chip": f"c{n}", "sha256": "ab" * 32, "scored": True, "reason": None, "confusion": m}
        | {name: values[n] for name, values in of_chips.items()}
        for n, m in enumerate(matrices)
    ]
    made = {"adapter": adapter, "recipe": "r 1", "scheme": scheme, "load": load(adapter, len(matrices[0]))}
    return AdapterRun.model_validate({**made, "chips": chips})


def page(view: View, run: AdapterRun) -> Page:
    return read_page(run, view.families["terramind-nyc"], {**view.schemes, "two": TWO}, Path("run.json"))


def ordered(view: View, matrices: Sequence[list[list[int]]], scheme: str = "training-code") -> list[Order]:
    pages = [page(view, run_of("lulc_nyc", scheme, matrices))]
    return orders(pages, view.families["terramind-nyc"], view.schemes, random=False)


def test_outputs_in_another_order_are_found_in_the_stored_matrix(view: View) -> None:
    (found,) = ordered(view, [MOVED] * 4)
    assert found.found.via == "both"
    assert found.matrix.startswith("another order: in the order \\[2, 0, 1, 3, 4\\] the diagonal holds 80.0 %")
    assert "also without each of 4 clusters" in found.matrix
    assert "which of the two is wrong the matrix does not say" in found.matrix


def test_a_matrix_that_fits_says_nothing_and_sources_that_differ_are_named(view: View) -> None:
    (found,) = ordered(view, [GOOD] * 4)
    assert found.matrix == ""
    assert found.found.via == "contradicting sources"
    assert found.sources.startswith("scheme training-code was used; card at index 0, 1, 2, 3, 4 (other names)")
    assert "published-rerun at index 1, 2, 3, 4 (other names)" in found.sources
    alike = {s: v.model_copy(update={"classes": view.schemes["card"].classes}) for s, v in view.schemes.items()}
    pages = [page(view, run_of("lulc_nyc", "card", [GOOD] * 4))]
    assert orders(pages, view.families["terramind-nyc"], alike, random=False) == []
    turned = view.schemes["card"].model_copy(update={"classes": [*view.schemes["card"].classes[::-1]]})
    (found,) = orders(pages, view.families["terramind-nyc"], {**alike, "training-doc": turned}, random=False)
    assert "training-doc at index 0, 1, 3, 4 (the same names in another order)" in found.sources
    assert orders(pages, view.families["terramind-nyc"], view.schemes, random=True) == []


def test_the_rates_of_each_at_the_prevalence_of_the_other_are_arithmetic(view: View) -> None:
    ours = OperatingPoint(0.8, 0.1).at(0.4)
    matrix = [[round(1000 * ours.tn), round(1000 * ours.fp)], [round(1000 * ours.fn), round(1000 * ours.tp)]]
    pages = [page(view, run_of("buildings_nyc", "footprints", [matrix]))]
    (found,) = prevalences(pages, view.registry, random=False)
    card = card_matrices(view)["buildings_nyc"]
    assert card.prevalence is not None
    assert card.tpr is not None
    assert card.fpr is not None
    rows = {(row[0], row[3].partition(",")[0]): row for row in found.table().rows}
    moved = rows["this run", "the card's test set"]
    assert moved[1:3] == ["0.800", "0.100"]
    assert moved[4:] == [
        f"{OperatingPoint(0.8, 0.1).at(card.prevalence).iou1:.3f}",
        f"{OperatingPoint(0.8, 0.1).at(card.prevalence).miou:.3f}",
        "arithmetic",
    ]
    other = rows["the card's test set", "this run"]
    assert other[4] == f"{OperatingPoint(card.tpr, card.fpr).at(0.4).iou1:.3f}"
    assert [row[-1] for row in found.table().rows] == ["measured", "arithmetic", "arithmetic", "from its figures"]
    assert prevalences(pages, view.registry, random=True) == prevalences(pages, None, random=False) == []
    absent = [page(view, run_of("buildings_nyc", "footprints", [[[900, 100], [0, 0]]]))]
    assert prevalences(absent, view.registry, random=False) == []
    cover = [page(view, run_of("lulc_nyc", "card", [GOOD]))]
    assert prevalences(cover, view.registry, random=False) == []  # never from IoUs alone


def beside(dense: list[list[int]], sparse: list[list[int]], *, same: bool = False) -> dict[str, Any]:
    strata = [
        {"land": "built-up", "above": above, "to": to, "cells": 4, "confusion": counts}
        for above, to, counts in ((None, 0.0, sparse), (0.75, 1.0, dense))
    ]
    strata += [{"land": "water", "above": None, "to": 0.0, "cells": 4, "confusion": dense}]
    land = {"scheme": "card", "same_source": same, "cell_px": 32, "known_px": 9, "strata": strata}
    return {"scene": "s", "rules": "r", "baselines": [], "ceiling": {"reason": "none"}, "land": land}


def test_tune_and_test_chips_are_weighed_alike_by_built_up_share(view: View) -> None:
    dense, sparse = [[40, 20], [10, 130]], [[180, 5], [5, 10]]
    part = [[[n // 10 for n in row] for row in m] for m in (dense, sparse)]
    roles = ["tune", "tune", "test", "test", "probe"]
    held = [beside(dense, part[1]), beside(dense, part[1]), beside(part[0], sparse), beside(part[0], sparse)]
    held.append(beside(dense, dense))
    run = run_of("buildings_nyc", "two", [dense] * 5, role=roles, beside=held)
    found = {(c.here, c.there): c for c in compositions([page(view, run)], random=False)}
    assert set(found) == {("tune", "test"), ("test", "tune")}
    one = found["test", "tune"]
    assert not isinstance(one.effect, str)
    share = 200 / 220
    mixed = [[share * dense[i][j] + (1 - share) * sparse[i][j] for j in (0, 1)] for i in (0, 1)]

    def iou(m: Sequence[Sequence[float]]) -> float:
        return m[1][1] / (m[1][1] + m[0][1] + m[1][0])

    whole = [[part[0][i][j] + sparse[i][j] for j in (0, 1)] for i in (0, 1)]
    assert one.effect.value == pytest.approx(iou(mixed) - iou(whole), abs=5e-3)
    assert one.measured == pytest.approx(
        iou([[dense[i][j] + part[1][i][j] for j in (0, 1)] for i in (0, 1)]) - iou(whole)
    )
    assert (
        f"IoU of 1 roof {one.effect.value:+.3f}, no interval; as measured, tune minus test is {one.measured:+.3f}"
        in (one.text)
    )
    lone = run_of(
        "buildings_nyc", "two", [dense] * 2, role=["tune", "test"], beside=[held[0], beside(dense, [[0] * 2] * 2)]
    )
    texts = [c.text for c in compositions([page(view, lone)], random=False)]
    assert any("not told, stratum none makes up" in text for text in texts)
    same = [beside(dense, sparse, same=True)] * 2
    own = run_of("buildings_nyc", "two", [dense] * 2, role=["tune", "test"], beside=same)
    assert compositions([page(view, own)], random=False) == []
    assert compositions([page(view, run)], random=True) == []


def test_the_report_of_a_run_prints_both_and_a_random_one_neither(tmp_path: Path, view: View) -> None:
    def moved(record: dict[str, Any]) -> None:
        record["adapters"][0]["chips"][0]["confusion"] = MOVED

    given = (view.families["terramind-nyc"], {**view.schemes, "two": TWO}, view.rules, view.registry)
    files = render_run(made_run(tmp_path / "r", weights="published", edit=moved), *given)
    well_formed(files)
    text = str(files["report.md"])
    assert "- lulc_nyc, from the stored matrix, which is arithmetic: another order: in the order" in text
    assert (
        "- lulc_nyc, from contradicting sources, which are documents and not measurements: scheme training-code" in text
    )
    assert "- buildings_nyc, from contradicting sources" not in text
    assert "### buildings_nyc: at the prevalence of its card" in text
    assert "Arithmetic, not a measurement: recall (TPR) and false-positive rate stay what they were" in text
    assert "| the card's test set, " in text
    random = str(render_run(made_run(tmp_path / "s"), *given)["report.md"])
    assert "## Order of the classes" not in random
    assert "## At another population" not in random
