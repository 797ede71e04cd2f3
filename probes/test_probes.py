"""Every probe is one test: passed, failed, or skipped with the reason why it is not judged."""

from __future__ import annotations

import pytest

from harness.score.probes import Judged


def test_probe(result: Judged) -> None:
    """The expectation holds."""
    probe = result.probe
    if result.verdict == "not judged":
        pytest.skip(result.reason)
    if result.verdict == "unreadable":
        pytest.fail(f"{probe.name}: {result.reason}", pytrace=False)
    if result.verdict != "passed":
        worked = probe.formula.worked(result.shares)
        pytest.fail(
            f"{probe.name}: {probe.formula.text}\n  is {worked}\n  expected because: {probe.reason}", pytrace=False
        )
