"""The twin's self-check as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.records.planted import Draw, PlantRecord
from harness.report.render import tidy
from harness.report.words import environment

NAME, FULL = "twin-selfcheck.md", "twin-selfcheck-full.md"
"""Below eval/reports/: of a quick run, and of one that took all scenes."""


def page(
    same: Sequence[Any],
    other: Sequence[Any],
    planted: PlantRecord,
    figures: Iterable[str],
    requests: Mapping[str, int],
    outside: Sequence[str],
    problems: Sequence[str],
    shift: float,
) -> str:
    """The report's text.

    Args:
        same: Rows about the card's scenes, with the fields of `harness.selfcheck.Row`.
        other: Rows about other scenes.
        planted: Faults, and what was said of them.
        figures: File names below figures/.
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
            planted=planted,
            figures=sorted(figures),
            outcomes=_outcomes(planted),
            kinds=len({f.kind for d in planted.draws for f in d.faults} | {f.kind for f in planted.others}),
            said=_said,
            other_held=sum(row.verdict == "reproduced" for row in other),
            requests=requests,
            outside=outside,
            problems=problems,
            shift=f"{shift:g}",
            tolerance="0.005",
            wide="0.02",
        )
    )


def _outcomes(planted: PlantRecord) -> list[tuple[str, int]]:
    """Outcomes of the drawn faults and how often each came, most frequent first."""
    counted: Counter[str] = Counter(f.outcome for d in planted.draws for f in d.faults)
    return counted.most_common()


def _said(draw: Draw) -> str:
    """What the search named, in one cell."""
    if draw.verdict == "found":
        return draw.said[0]
    if draw.verdict == "unexplained":
        closest = f"; closest: {draw.said[0]}" if draw.said else ""
        return f"*unexplained*: {draw.why}{closest}"
    shown = " **or** ".join(draw.said)
    return f"*{draw.verdict}*: {draw.why}" + (f": {shown}" if shown else "")
