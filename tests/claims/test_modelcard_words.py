"""Cells, classes and headers of model cards, word by word."""

from __future__ import annotations

import pytest

from harness.claims.modelcard.words import read_cell, read_class, read_name
from harness.errors import PrintedValueError


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("89.1 %", "89.1", "%"), ("~325 MB", "~325", "MB"), ("0.8245", "0.8245", ""), ("+6.13 pp", "+6.13", "points"),
        ("0.5866*", "0.5866", ""), ("−3.0", "−3.0", ""), ("25–40 min", "25-40", "min"), ("884,736[^1]", "884,736", ""),
        ("$58.6 \\pm 0.2$", "58.6", ""), (".891", "0.891", ""), ("<0.01", "<0.01", ""), ("5e-4", "5e-4", ""),
    ],
)  # fmt: skip
def test_cells(text: str, value: str, unit: str) -> None:
    cell = read_cell(text)
    assert cell is not None
    assert (cell.value, cell.unit) == (value, unit)


@pytest.mark.parametrize("text", ["", "—", "-", "n/a", "N/A", "TBD"])
def test_missing_cells(text: str) -> None:
    assert read_cell(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "0,58",
        "2021-06-16",
        "1.2.7",
        "20/20",
        "0.5 0.6",
        "0.58 (0.02)",
        "10^{2}",
        "8.8e5",
        "3 seeds",
        "~~0.5~~",
        "1e-999999999",
        "9" * 400,
    ],
)
def test_cells_that_hold_no_single_figure(text: str) -> None:
    with pytest.raises(PrintedValueError):
        read_cell(text)


@pytest.mark.parametrize(
    "text",
    [
        "IoU threshold",
        "IoU@0.5",
        "mIoU std",
        "IoU vs baseline",
        "Dice loss",
        "IoU with TTA",
        "Learning rate",
        "IoU weight",
        "Test",
    ],
)
def test_headers_that_must_not_be_taken_for_a_metric(text: str) -> None:
    assert read_name(text) is None


def test_classes() -> None:
    assert read_class("0 — Impervious / urban") == (0, "Impervious / urban")
    assert read_class("class_2") == (2, None)
    assert read_class("10 m buildings") == (None, "10 m buildings")
