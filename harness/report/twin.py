"""The twin's self-check as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.render import tidy
from harness.report.words import environment

NAME = "twin-selfcheck.md"
"""Below eval/reports/."""


def page(
    same: Sequence[Any],
    other: Sequence[Any],
    requests: Mapping[str, int],
    outside: Sequence[str],
    problems: Sequence[str],
    shift: float,
) -> str:
    """The report's text.

    Args:
        same: Rows about the card's scenes, with the fields of `harness.selfcheck.Row`.
        other: Rows about other scenes.
        requests: By kind.
        outside: Hosts that were asked for and are none of the services.
        problems: Why it fails.
        shift: By which claims were made false.
    """
    return tidy(
        environment()
        .get_template("twin.md.j2")
        .render(
            same=same,
            other=other,
            other_held=sum(row.verdict == "reproduced" for row in other),
            requests=requests,
            outside=outside,
            problems=problems,
            shift=f"{shift:g}",
            tolerance="0.005",
            wide="0.02",
        )
    )
