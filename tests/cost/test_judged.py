"""Every made-up counter is judged as docs/meters-judged.md says, and the page is what is judged now."""

from __future__ import annotations

import pytest

from tests.cost.judged import CASES, PAGE, judge, page


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_joules_within_two_percent_or_not_measured(name: str) -> None:
    outcome = judge(name)
    assert outcome.problems == []
    if len(outcome.lost) < 5:
        assert outcome.gross_error is not None
    else:
        assert outcome.gross_error is None


def test_the_committed_page_is_what_is_judged() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
