"""Writes docs/audit-judged.md from what the judge measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tests.claims.cards_generator import GeneratedCard

if TYPE_CHECKING:
    from tests.claims.judge import Trial

Z = 1.959963984540054
"""97.5 % point of the normal distribution."""
FEWEST = 12
"""Trials below which a set of checks gets no row of its own."""
WORST = 12
"""Rows in the table of sets of checks that see least."""

INTRO = """# The audit, judged from outside

Written by `python -m tests.claims.judge`; `--check` measures again and fails where this page differs. Nothing here is
about a real model: the cards are made up so that the truth is known.

## Question

Does the audit ever call a card wrong that is right, and how small an error does it see?

## How the cards are made

- A random confusion matrix in whole pixels: two classes in half of the cards, 3 to 8 in the others; prevalences from
  0.1 % to 99.9 %; good and bad predictors; at times a class that is never predicted, never present or perfect.
- All figures come from that matrix in exact fractions, by formulas that the audit does not share (they agree with
  scikit-learn in `tests/claims/test_judged.py`). A figure of 0/0 is not printed, and neither is a mean that needs it.
- Each figure is rounded once: 2, 3 or 4 decimals a card, a quarter of the cards in percent with two decimals fewer,
  ties up or to even. A random part of the figures is printed. 85 % of the cards print the number of classes.
- In 40 % of the cards a second matrix stands for a full fine-tune: its figures, and the gain in mIoU in points.
- In 30 % of the two-class cards the matrix is a sum over 2 to 6 places, and rows print the label pixels, the marked
  pixels and the IoU of each place, or of some of them.
- One card in 50 is written to a claims file and read back; the others are built in memory.

Not judged here: threshold sweeps, parameter and file sizes, words such as "negligible", class schemes, probes, gates,
and figures that several cards share. Each card is audited alone.
"""

HEADLINE = """### Figures that enter an equation

The plain case: a score or a gain that stands in an identity with an equals sign, on a card that prints its number of
classes. Figures that only meet a bound, and pixel counts, are in the tables after it. The identities:
`{checks}`.
"""

MOVES = """## Moved figures

One figure of a card is moved by k units of its last printed place, up or down at random (the other way where it would
leave its range). Only a figure that some check names before the move, whatever its status, is moved. Each such figure
of a card is equally likely, except the numbers of classes and chips. The move is *detected* where an inconsistent
finding names the figure. Every card gives one trial, so trials are independent; intervals are Wilson's at 95 %.
"""

EQUATIONS = frozenset(
    {
        "macro-mean",
        "f1-from-iou",
        "iou-from-precision-recall",
        "f1-from-precision-recall",
        "micro-iou",
        "binary-accuracy",
        "binary-closure",
        "binary-prevalence",
        "given-twice",
        "stated-difference",
    }
)
"""Checks that hold with an equals sign; the others bound a figure, derive one or search over all."""

FATES = {
    "detected": "detected",
    "witness": "another matrix prints all figures as moved: nobody could tell",
    "undetermined": "the audit says *undetermined*: the card does not say how many classes (or places) there are",
    "place": "pixel counts or IoU of one place",
    "unsearched": "other figure of a card with rows of places: not searched",
    "open": "no such matrix found, and no check joins the figures",
}

WHY = """
How to read the rows above:

- **A bound sees only what crosses it.** `iou-bound` says IoU <= precision, recall and F1; a figure that enters nothing
  else can move until it meets the bound. `accuracy-from-recalls` without every prevalence only says that accuracy lies
  between the smallest and the largest recall. `binary-fractions` derives and judges nothing.
  `binary-joint` searches over all matrices of two classes and sees whatever leaves none.
- **Roundings add up.** A move is seen where it exceeds the roundings of all figures of the identity together, and one
  unit rarely does. The unit and the roundings shrink together, so the number of decimals matters little.
- **Means over many classes.** A class figure enters its mean divided by the number of classes: 10 units of one of eight
  class IoUs move mIoU by 1.25 units.
- **Flat places.** IoU moves little with a precision or recall that is far above the other one, and accuracy little
  with the recall of a rare class. There a wrong digit changes its partner by less than a rounding.
- **Number of classes not printed.** The class figures may then be only some of them, so a mean that does not fit is
  *undetermined*, never inconsistent.
- **Pixel counts.** A count that is off by 10 of thousands of pixels moves an IoU by less than its rounding.
- **A figure in no identity is never moved here.** An mIoU printed alone is beyond any arithmetic.

*Another matrix prints all figures as moved* is proved: the matrix was found and checked in whole pixels. *No such
matrix found* proves nothing by itself; it counts what a stronger reading of the same figures might still see.
"""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927, JASA 22, 209-212)."""
    if count == 0:
        return 0.0, 1.0
    share = hits / count
    middle = share + Z * Z / (2 * count)
    spread = Z * float(share * (1 - share) / count + Z * Z / (4 * count * count)) ** 0.5
    scale = 1 + Z * Z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def share_text(hits: int, count: int) -> str:
    """Share in percent with its interval."""
    if not count:
        return "-"
    lo, hi = wilson(hits, count)
    return f"{100 * hits / count:.1f} % ({100 * lo:.1f}..{100 * hi:.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "|".join(["---"] + ["--:"] * (len(head) - 1)) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _curve(name: str, trials: Sequence[Trial]) -> list[str]:
    """One row: n, then the share detected at each k."""
    steps = len(trials[0].seen) if trials else 0
    return [name, str(len(trials)), *(share_text(sum(t.seen[i] for t in trials), len(trials)) for i in range(steps))]


def _rows(trials: Sequence[Trial], names: Sequence[tuple[str, Callable[[Trial], bool]]]) -> list[list[str]]:
    found = [(name, [t for t in trials if keep(t)]) for name, keep in names]
    return [_curve(name, some) for name, some in found if some]


def _false_alarms(made: Sequence[GeneratedCard]) -> str:
    kinds: tuple[tuple[str, Callable[[GeneratedCard], bool]], ...] = (
        ("two classes", lambda g: g.classes == 2 and not g.places),
        ("two classes, rows of places", lambda g: bool(g.places)),
        ("3 to 8 classes", lambda g: g.classes > 2),
        ("**all**", lambda g: True),
    )
    rows = []
    for name, keep in kinds:
        some = [g for g in made if keep(g)]
        figures = sum(len(g.card.claims) for g in some)
        most = f"{100 * wilson(0, len(some))[1]:.2f} %"
        rows.append([name, f"{len(some):,}", f"{figures:,}", f"0 of {len(some):,}", most])
    return _table(("", "cards", "figures", "false alarms", "at most (95 %)"), rows)


def in_equation(trial: Trial) -> bool:
    """Whether the moved figure enters an identity with an equals sign on a card that prints its number of classes."""
    return trial.states_classes and "at a place" not in trial.metric and bool(EQUATIONS & set(trial.checks))


def _detection(trials: Sequence[Trial]) -> Iterator[str]:
    head = ("", "n", "k = 1", "k = 2", "k = 5", "k = 10")
    yield HEADLINE.format(checks="`, `".join(sorted(EQUATIONS)))
    plain = [t for t in trials if in_equation(t)]
    yield _table(
        head,
        _rows(
            plain, [("**two classes**", lambda t: t.two_classes), ("**3 to 8 classes**", lambda t: not t.two_classes)]
        ),
    )
    yield "### By classes and decimals\n\nDecimals of a score as a fraction; percentages print two fewer.\n"
    names: list[tuple[str, Callable[[Trial], bool]]] = [("**all**", lambda t: True)]
    for word, two in (("two classes", True), ("3 to 8 classes", False)):
        names.append((f"**{word}**", lambda t, two=two: t.two_classes == two))  # type: ignore[misc]
        names += [
            (f"{word}, {d} decimals", lambda t, two=two, d=d: t.two_classes == two and t.decimals == d)  # type: ignore[misc]
            for d in (2, 3, 4)
        ]
    names += [("moved up", lambda t: t.up), ("moved down", lambda t: not t.up)]
    yield _table(head, _rows(trials, names))
    metrics = sorted({t.metric for t in trials})
    for word, two in (("two classes", True), ("3 to 8 classes", False)):
        yield f"### By metric, {word}\n"
        some = [t for t in trials if t.two_classes == two]
        yield _table(head, _rows(some, [(f"`{m}`", lambda t, m=m: t.metric == m) for m in metrics]))  # type: ignore[misc]


def _fates(trials: Sequence[Trial]) -> Iterator[str]:
    yield "## What becomes of a move by 10 units\n"
    columns = (
        ("two classes", [t for t in trials if t.two_classes]),
        ("3 to 8 classes", [t for t in trials if not t.two_classes]),
        ("all", list(trials)),
    )
    rows = []
    for fate, words in FATES.items():
        counts = [(sum(t.fate == fate for t in some), len(some)) for _, some in columns]
        rows.append([words, *(f"{hits} ({100 * hits / max(1, count):.1f} %)" for hits, count in counts)])
    yield _table(("", *(f"{name} (n = {len(some)})" for name, some in columns)), rows)
    kept = {name: [t for t in some if decidable(t)] for name, some in columns}
    said = "; ".join(f"{name} {share_text(sum(t.seen[-1] for t in some), len(some))}" for name, some in kept.items())
    yield (
        "Of the moves of scores and gains that may leave a contradiction to be seen (the number of classes printed, no "
        f"other matrix found by a search that was made), the audit detects: {said}.\n"
    )


def decidable(trial: Trial) -> bool:
    """Whether the longest move may leave a contradiction that the printed figures could show."""
    return trial.states_classes and trial.fate in ("detected", "open") and "at a place" not in trial.metric


def _worst(trials: Sequence[Trial]) -> Iterator[str]:
    yield "## What cannot be caught, and why\n"
    yield f"Figures by the checks they enter, the least detected at k = 10 first (at least {FEWEST} trials a row):\n"
    sets = Counter((t.two_classes, t.checks) for t in trials)
    found = []
    for (two, checks), count in sets.items():
        if count >= FEWEST:
            some = [t for t in trials if t.two_classes == two and t.checks == checks]
            found.append((sum(t.seen[-1] for t in some) / count, not two, checks, some))
    rows = []
    for _, many, checks, some in sorted(found, key=lambda f: f[:3])[:WORST]:
        metrics = ", ".join(f"`{m}`" for m in sorted({t.metric for t in some}))
        seen = share_text(sum(t.seen[-1] for t in some), len(some))
        rows.append(["3 to 8" if many else "2", ", ".join(f"`{c}`" for c in checks), metrics, str(len(some)), seen])
    yield _table(("classes", "checks", "figures", "n", "k = 10"), rows)
    yield WHY.lstrip("\n")


def page(made: Sequence[GeneratedCard], trials: Sequence[Trial]) -> str:
    """The whole page. The judge writes none where there was a false alarm."""
    first = [INTRO, "## False alarms\n", _false_alarms(made), MOVES]
    return "\n".join([*first, *_detection(trials), *_fates(trials), *_worst(trials)])
