"""Writes docs/judged.md from what was judged: question, expectations, outcome. Tables: `judged_tables`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.score.bars import MOSTLY
from harness.score.bridge import FLOOR, RULES
from tests.score import judged_tables as tables
from tests.score.judged_tables import cases, large, part, part_number, share, table
from tests.score.secret import CELL_SD, KINDS, LEAST, MOST, OWN_SD, SCENES, TRUTH_SCENES

if TYPE_CHECKING:
    from tests.score.judged import Judgement

INTRO = """# Attribution, judged where the causes are known

Written by `python -m tests.score.judged`; `--check` judges again and fails where this page differs. Nothing here is
about a real model: the worlds are made up so that the truth is known. Rules of {rules} (`harness/score/bridge.py`,
`bars.py`, `permuted.py`). Expectations and all rules but one were fixed before the first full run; the one is named
below.

## Question

A bridge says how much of a gap each cause explains. Does the effect stand at the cause that was planted, is a cause
accused where there is none, and how often can nothing be told?

## What was expected before the run

Written on 2026-11-21, after a trial of 16 worlds that showed that the code runs. A second trial of 80 worlds showed
that what could not be told was the population alone; the second set of worlds, in which both ends stand on the same
scenes, was added then, with the target as its expectation. The worlds in which one class is predicted as another were
added after the first full run, and one rule with them: a class that leads its own row is not moved (before, most of
these worlds read *cannot be told*). That run missed *cannot be told* with 33.0 % where the other end stands on other
scenes. After it the population's bar was split in two, label shares and rates, because it held the luck of the draw,
which should stand in a band and never in a bar; the verdict *told but for sampling* came with it. It was changed after
a look at the outcome: the row of bridges that are not told without reservation compares with the figure of before.

{expected}
## The worlds

- Scenes are those of docs/coverage.md:
  {kinds}.
  Class shares, difficulty, and readiness to mark a class vary between scenes far more than pixel counts do.
  {scenes} scenes of each population, in equal parts.
- The list holds 1 to 4 knobs and the population. Each knob, planted or not, moves the right cells of a scene by
  {own} and each cell by {cell} logits (standard deviations) up or down, without direction. Planted ones act on all
  right cells, on those of each class differently, or make one class be marked more readily; 1 to 3 of them, each sized
  to change the metric alone by {least} to {most} points up or down. Pairs of them reinforce or weaken each other.
- The other population has other class shares and other difficulty, sized alike. Its scenes are drawn anew. In a second
  set of worlds both ends stand on the same scenes, and no population is on the list.
- The claim is the figure of a run on the same scenes, or on 6 to 48 others; in half of the worlds with faults that run
  had a cause that is not on the list.
- The truth is averaged over all orders of switching, on {truth:,} scenes of its own, by a generator that shares the
  metric with the bridge and none of its attribution. The bridge gets matrices, the list of factors and the claim.
"""

EXPECTED = (
    (
        "false accusation of anything, in a world without a fault",
        "at most 5 %",
        "2 to 4 %: Holm's correction is strict, and small effects are not spoken of",
    ),
    (
        "planted knob above 2 points: part of it at that knob",
        "at least 80 %",
        "95 %, and beyond 90 % at every number of scenes: knobs are run on the same scenes",
    ),
    (
        "planted population above 2 points: part of it there",
        "at least 80 %",
        "75 % with 6 scenes, 90 % with 48: other scenes bring their own luck",
    ),
    (
        "planted effect of at most 2 points reads *no detectable effect*",
        "as many as can be",
        "95 %: the measured effect may pass 2 points where the planted one does not",
    ),
    (
        "*cannot be told*",
        "at most 10 %",
        "missed with 6 and 12 scenes (30 to 50 %), met with 48: a population of few scenes cannot be told from luck",
    ),
    (
        "cause outside the list: part of it in *unexplained*",
        "at least 80 %",
        "all of it where the claim has the same scenes, 80 % where it has others",
    ),
    (
        "permuted outputs found in the stored matrix",
        "",
        "nearly all where mean recall is above 60 %, none near chance; never one where there is none",
    ),
    (
        "one class mostly predicted as another: called permuted",
        "",
        "never: such confusion is one-sided",
    ),
    (
        "permuted names found in the stored matrix",
        "",
        "never; always where two sources contradict each other",
    ),
)
"""Question, target and what was expected."""

WHY = f"""
Where the other end stands on other scenes, two things differ: how much of each class they hold, which is counted, and
how the model does on them, in which harder scenes and the luck of the draw look alike. The first is a bar. The second
is left as a remainder with its band, as *unexplained* is, and only where it passes the band is it called an effect.
Where something else is established, such a bridge reads *told but for sampling*: what was switched is told, and
whether the other scenes are harder is not. The target was written for a verdict without that third word. Held against
both together it is missed, as it was before; a rule that told more would call the luck of a few scenes a cause, for the
power table says how seldom a shift of up to 10 points is settled by them. The remedy is scenes, or the same scenes at
both ends. The rule of *cannot be told*: less than {100 * MOSTLY:g} % of all bars that are large enough is established,
or nothing is. With 6 scenes, the same at both ends, it is missed.

The part at its cause is met for knobs and populations together and for knobs alone at every number of scenes. For
the population alone it is missed with 6 and 12 scenes, as the table below says: what a few other scenes differ by is
mostly luck, and the bar shows it with its interval.
"""

ENDS = """
## What this does not show

- Every combination is computed on each scene without error. A knob that cannot be set as the other side had it is no
  knob on the list: its effect is *unexplained*, whatever its name.
- The factors' names are taken as given. Two knobs that were only ever switched together are one factor.
- Worlds have up to 48 independent scenes; chips cut from one scene are no scenes.
- Every class lies in several scenes of both populations, so that label shares can always be told from rates. A class
  that one end lacks, or that lies in a single scene, leaves the population one bar, as it was before.
- The published figure is taken to be one pooled figure of scenes that vary as ours do.
- A permuted scheme was planted in five classes, with models of every quality from chance to good. That contradicting
  sources are always found is no achievement: two lists are compared. Which of them is right no list says.
"""


def page(of: Judgement) -> str:
    """The whole page, as Markdown."""
    planted = list(cases(of.faulty))
    named = []
    for world, which in KINDS:
        name, index = world.metrics[which]
        named.append(f"{world.name} ({name if index is None else f'{name}[{index}]'})")
    intro = INTRO.format(
        rules=RULES,
        expected=table(("question", "target", "expected"), EXPECTED, ":--"),
        kinds=", ".join(named),
        scenes=", ".join(map(str, SCENES)),
        own=OWN_SD,
        cell=CELL_SD,
        least=f"{100 * LEAST:g}",
        most=f"{100 * MOST:g}",
        truth=TRUTH_SCENES,
    )
    parts = [
        intro,
        _outcome(of, planted),
        tables.accused(of.nulls),
        tables.power(of.power),
        tables.landed(planted),
        tables.worlds(of.faulty),
        tables.small(planted),
        tables.untold(of),
        tables.label_shares([*of.faulty, *of.nulls]),
        tables.outside(planted),
        tables.orders(of.orders),
        ENDS,
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _outcome(of: Judgement, planted: Sequence[tables.Case]) -> str:
    from tests.score.judged import SUM_WITHIN

    false = sum(bool(j.accused) for j in of.nulls)
    both = large(planted, "knob", "population")
    outer = large(planted, "outside", "outside, same scenes")
    quiet = [not c.detected for c in planted if abs(c.planted) <= FLOOR and c.cause in ("knob", "population")]
    other, same = ([not j.told for j in judged] for judged in (of.faulty, of.paired))

    unsure = [not j.settled for j in of.faulty]

    def row(question: str, target: str, found: str, met: bool, how: str = "") -> tuple[str, ...]:
        return question, target, found, f"{'met' if met else '**missed**'}{how}"

    rows = [
        row("false accusation of anything", "at most 5 %", share(false, len(of.nulls)), false <= 0.05 * len(of.nulls)),
        row("planted above 2 points: part at its cause", "at least 80 %", part(both), part_number(both) >= 0.8),
        row("outside the list: part in *unexplained*", "at least 80 %", part(outer), part_number(outer) >= 0.8),
        row(
            "planted up to 2 points reads *no detectable effect*",
            "as expected, 95 %",
            share(sum(quiet), len(quiet)),
            sum(quiet) >= 0.95 * len(quiet),
        ),
        row(
            "*cannot be told*, other scenes at the other end",
            "at most 10 %",
            share(sum(other), len(other)),
            sum(other) <= 0.1 * len(other),
            " under the rule as changed",
        ),
        row(
            "*cannot be told*, the same scenes at both ends",
            "at most 10 %",
            share(sum(same), len(same)),
            sum(same) <= 0.1 * len(same),
        ),
        row(
            "*cannot be told* or *told but for sampling*, other scenes",
            "at most 10 %",
            share(sum(unsure), len(unsure)),
            sum(unsure) <= 0.1 * len(unsure),
        ),
        row("shares sum to the gap", f"to {SUM_WITHIN:g}", "in every bridge, or there is no page", True),
    ]
    head = "Each figure is taken apart below. Intervals in brackets are Wilson's at 95 %."
    return f"## Outcome\n\n{textwrap.fill(head, 120)}\n\n{table(('question', 'target', 'found', ''), rows, ':--')}{WHY}"
