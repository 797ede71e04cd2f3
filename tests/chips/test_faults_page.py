"""docs/faults.md: rows by part of the chain, each fault once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chips import faults

ROWS = {
    ("store", "ENOSPC", "one clear error", "nothing left"),
    ("catalogue", "no network", "one clear error", "named"),
    ("catalogue", "bursts of 503", "right result", "the same"),
}


def test_rows_stand_by_part_in_the_order_of_the_chain() -> None:
    page = faults.page(ROWS)
    places = [page.index(word) for word in ("## Catalogue", "bursts of 503", "no network", "## Store", "ENOSPC")]
    assert places == sorted(places)
    assert "## Hub" not in page
    assert faults.listed(page) == {row[:2] for row in ROWS}


def test_one_fault_has_one_outcome_and_a_known_part() -> None:
    with pytest.raises(ValueError, match="one fault, two outcomes"):
        faults.page(ROWS | {("store", "ENOSPC", "resumed", "nothing left")})
    with pytest.raises(ValueError, match="moon is no part; there are catalogue, signing"):
        faults.page({("moon", "eclipse", "resumed", "dark")})


def test_every_fault_of_the_page_names_its_test(root: Path) -> None:
    rows = faults.listed((root / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert {part for part, _ in rows} == set(faults.PARTS)
