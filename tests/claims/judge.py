"""Measures the audit from outside: false alarms on right cards, and what it sees of moved figures.

`python -m tests.claims.judge` writes docs/audit-judged.md; `--check` fails where a new
measurement differs from that page; `--cards N` prints a smaller one. The cards come from
`tests.claims.cards_generator`, which shares no formula with the audit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random

from harness.claims.audit import audit_registry
from harness.claims.findings import Audit, Finding
from harness.claims.model import Card, Claim
from harness.claims.registry import Registry
from harness.vocabulary import METRICS
from tests.claims.cards_generator import GeneratedCard, card_yaml, cards, text_of, through_yaml
from tests.claims.judge_page import page
from tests.claims.witness import witness

PAGE = Path(__file__).parents[2] / "docs" / "audit-judged.md"
SEED = 2611
CARDS = 10_000
"""Cards of the false-alarm run; one figure is moved in the first quarter of them."""
MOVED_SHARE = 4
STEPS = (1, 2, 5, 10)
"""How far a figure is moved, in units of its last printed place."""
YAML_EVERY = 50
"""One card in so many goes through a claims file and the registry's reader."""
NOT_MOVED = ("classes", "chips")
"""Whole numbers that describe the set and that no author rounds."""


@dataclass(frozen=True)
class Alarm:
    """A right card that the audit calls inconsistent."""

    card: Card
    """The card."""
    findings: tuple[Finding, ...]
    """What was said of it."""

    def text(self) -> str:
        """The card as a claims file, and the findings."""
        said = (f"{f.check}: {f.claimed} | {f.derived} | {f.why} | {', '.join(f.claims)}" for f in self.findings)
        return "\n".join([card_yaml(self.card), *said])


@dataclass(frozen=True)
class Trial:
    """One figure of one card, moved by each of `STEPS`."""

    metric: str
    """Metric of the moved figure, with `at a place` for rows of pixel counts."""
    two_classes: bool
    """The card has two classes."""
    states_classes: bool
    """The card prints its number of classes."""
    decimals: int
    """Decimals of the card's scores as fractions."""
    up: bool
    """Moved upwards."""
    checks: tuple[str, ...]
    """Checks that name the figure before the move."""
    seen: tuple[bool, ...]
    """Detected, for each of `STEPS`."""
    fate: str
    """What became of the longest move: detected, undetermined, place, witness, open or unsearched."""


def moved(claim: Claim, units: int) -> Claim | None:
    """The claim moved by `units` of its last place; None where it would leave the metric's range."""
    decimals = len(claim.value.partition(".")[2])
    value = int(Fraction(claim.value) * 10**decimals) + units
    known = METRICS[claim.quantity.metric]
    scale = 10**decimals * (100 if claim.unit == "%" else 1)
    if (known.lo is not None and value < known.lo * scale) or (known.hi is not None and value > known.hi * scale):
        return None
    text = text_of(value, decimals)
    return claim.model_copy(update={"value": f"+{text}" if claim.value.startswith("+") and value >= 0 else text})


def replaced(card: Card, claim: Claim) -> Card:
    """The card with one claim in place of the one with its id."""
    return card.model_copy(update={"claims": [claim if c.id == claim.id else c for c in card.claims]})


def named(findings: Iterable[Finding], ref: str) -> list[Finding]:
    """Findings that name the claim."""
    return [f for f in findings if ref in f.claims]


def movable(generated: GeneratedCard, audit: Audit) -> list[Claim]:
    """Figures that enter an identity: some finding of the unmoved card names them."""
    seen = {ref for finding in audit.findings for ref in finding.claims}
    return [c for c in generated.card.claims if c.id in seen and c.quantity.metric not in NOT_MOVED]


def alarms(generated: Iterable[GeneratedCard], folder: Path) -> Iterator[tuple[GeneratedCard, Audit, Alarm | None]]:
    """Each card with its audit, and the alarm where there is one."""
    for number, each in enumerate(generated):
        card = through_yaml(each.card, folder) if number % YAML_EVERY == 0 else each.card
        audit = audit_registry(Registry((card,)))
        wrong = audit.of("inconsistent")
        yield each, audit, Alarm(card, tuple(wrong)) if wrong else None


def trial(generated: GeneratedCard, audit: Audit, steps: Sequence[int] = STEPS) -> Trial | None:
    """Move one figure of a card, each that enters an identity being equally likely.

    Args:
        generated: A card on which the audit raised no alarm.
        audit: Its audit.
        steps: Units of the last place, ascending.

    Returns:
        What the audit saw; None where no figure enters an identity.
    """
    choices = movable(generated, audit)
    if not choices:
        return None
    rng = Random(f"move/{generated.card.id}")  # noqa: S311 - a test's dice
    claim = rng.choice(choices)
    sign = rng.choice((1, -1))
    if moved(claim, sign * steps[-1]) is None:
        sign = -sign
    seen: list[bool] = []
    fate = "detected"
    for step in steps:
        other = moved(claim, sign * step)
        assert other is not None
        card = replaced(generated.card, other)
        after = audit_registry(Registry((card,)))
        seen.append(bool(named(after.of("inconsistent"), claim.id)))
        if step == steps[-1] and not seen[-1]:
            doubts = {f.id for f in audit.of("undetermined")}
            fresh = [f for f in named(after.of("undetermined"), claim.id) if f.id not in doubts]
            fate = "undetermined" if fresh else _fate(generated, other, card)
    return Trial(
        metric=claim.quantity.metric + (" at a place" if claim.quantity.place else ""),
        two_classes=generated.classes == 2,
        states_classes=any(c.quantity.metric == "classes" for c in generated.card.claims),
        decimals=generated.decimals,
        up=sign > 0,
        checks=tuple(sorted({f.check for f in named(audit.findings, claim.id)})),
        seen=tuple(seen),
        fate=fate,
    )


def _fate(generated: GeneratedCard, claim: Claim, card: Card) -> str:
    if claim.quantity.place:
        return "place"
    if generated.places:
        return "unsearched"
    return "open" if witness(generated, claim, card) is None else "witness"


def measure(count: int) -> tuple[list[GeneratedCard], list[Alarm], list[Trial]]:
    """Audit `count` right cards, and move one figure in the first quarter of them."""
    made: list[GeneratedCard] = []
    wrong: list[Alarm] = []
    trials: list[Trial] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for generated, audit, alarm in alarms(cards(SEED, count), Path(folder)):
            made.append(generated)
            if alarm is not None:
                wrong.append(alarm)
            elif len(made) <= count // MOVED_SHARE:
                found = trial(generated, audit)
                trials.extend([found] if found else [])
            if len(made) % 1000 == 0:
                print(f"{len(made):,} of {count:,} cards, {time.monotonic() - start:.0f} s", file=sys.stderr)
    return made, wrong, trials


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, then write, print or compare the page; 1 on a false alarm or a stale page."""
    parser = argparse.ArgumentParser(prog="python -m tests.claims.judge", description=__doc__)
    parser.add_argument("--cards", type=int, default=CARDS, help="cards to audit; other than the default: print only")
    parser.add_argument("--check", action="store_true", help="fail where docs/audit-judged.md differs")
    options = parser.parse_args(argv)
    if options.check and options.cards != CARDS:
        parser.error(f"--check compares with {CARDS:,} cards; leave --cards out")
    made, wrong, trials = measure(options.cards)
    if wrong:
        for alarm in wrong[:5]:
            print(alarm.text(), file=sys.stderr)
        print(f"FALSE ALARM on {len(wrong)} of {len(made):,} right cards; the first ones are above", file=sys.stderr)
        return 1
    text = page(made, trials)
    if options.cards != CARDS:
        print(text, end="")
    elif not options.check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE}", file=sys.stderr)
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE} differs from what is measured today; run python -m tests.claims.judge", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
