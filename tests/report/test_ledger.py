"""What checks say of many cases."""

from __future__ import annotations

from harness.report.run_checks import NAMED, Ledger


def test_of_many_cases_that_fail_the_first_are_named_and_all_are_counted() -> None:
    ledger = Ledger()
    for n in range(NAMED + 3):
        ledger.hold("Sums", f"chip {n}", f"off by {n}")
    ledger.hold("Sums", "another", None)
    (check,) = ledger.checks()
    assert check.status == "inconsistent"
    assert f"chip {NAMED - 1}: off by" in check.text
    assert f"chip {NAMED}:" not in check.text
    assert check.text.endswith(f"; and 3 more (1 of {NAMED + 4} hold)")


def test_of_few_all_are_named() -> None:
    ledger = Ledger()
    for n in range(NAMED):
        ledger.hold("Sums", f"chip {n}", "off")
    (check,) = ledger.checks()
    assert "more" not in check.text
    assert check.text.count("off") == NAMED
