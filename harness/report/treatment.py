"""What was done with each chip of a run, said once where several adapters or time steps share it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from harness.records import ChipScore
from harness.report.run_tables import Page, escaped
from harness.report.words import pct

STEP: Final = re.compile(r"(\w+: )t(\d+)\b(.*)", re.DOTALL)
"""A note of one time step: `S2L2A: t0: least cloud of 5 dates`."""


def treatments(pages: Sequence[Page]) -> list[tuple[str, str, str]]:
    """What was done with each chip: chip, adapters, words. What holds for several adapters is said once.

    Time steps of which the same is said share one sentence: `S2L2A: t0 to t3: least cloud`.
    """
    of: dict[str, list[tuple[str, list[str]]]] = {}
    for page in pages:
        for chip in page.run.chips:
            of.setdefault(chip.chip, []).append((page.id, _treatment(chip)))
    out = []
    for name, held in of.items():
        who = [each for each, _ in held]
        common = [said for said in held[0][1] if all(said in other for _, other in held)]
        if common:
            all_of_them = who == [p.id for p in pages]
            out.append((name, "all adapters" if all_of_them else ", ".join(who), "; ".join(_steps(common))))
        for each, said in held:
            if rest := [one for one in said if one not in common]:
                out.append((name, each, "; ".join(_steps(rest))))
    return [(escaped(name), who, escaped(said)) for name, who, said in out]


def _treatment(chip: ChipScore) -> list[str]:
    filled = [f"{name} {pct(share, 1)} filled" for name, share in sorted(chip.filled.items()) if share]
    dates = f"{chip.dates_encoded} encoder pass{'' if chip.dates_encoded == 1 else 'es'}"
    return [dates, *filled, *chip.notes]


def _steps(notes: Sequence[str]) -> list[str]:
    """Notes with those of time steps that say the same made one, where the first of them stands."""
    found: dict[tuple[str, str], list[int]] = {}
    for note in notes:
        step = STEP.match(note)
        found.setdefault((step[1], step[3]) if step else (note, ""), []).append(int(step[2]) if step else -1)
    out = []
    for (head, rest), at in found.items():
        if at[0] < 0:
            out.append(head)
        elif at == list(range(at[0], at[0] + len(at))) and len(at) > 1:
            out.append(f"{head}t{at[0]} to t{at[-1]}{rest}")
        else:
            out.append(f"{head}{', '.join(f't{i}' for i in at)}{rest}")
    return out
