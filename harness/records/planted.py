"""What was planted in the twin's cards, and what was said of it."""

from __future__ import annotations

from typing import Literal

from harness.records.quantity import Strict

Outcome = Literal["found", "one of several", "no trace", "closest, not accused", "not told"]


class Fault(Strict):
    """One planted fault."""

    kind: str
    """What was set otherwise."""
    what: str
    """In words."""
    outcome: Outcome
    """found: named as what it is. one of several: named among settings that fit equally well. no trace: with the
    other faults named, putting it right moves no figure by 0.01. closest, not accused: part of the set that comes
    closest, which misses a claim and accuses nobody. not told: none of these."""


class Draw(Strict):
    """One card."""

    seed: int
    """Of the draw; -1 for a card without a fault."""
    where: str
    """card: its figures were made otherwise than it says. use: it was used otherwise. Else the set of chips."""
    faults: list[Fault]
    """What was planted."""
    said: list[str]
    """Settings named, in words: at most three sets; the closest set where none was named."""
    verdict: str
    """Of `harness.score.explain`."""
    why: str
    """Its reason."""
    accused: list[str]
    """Settings named although they were as stated."""
    tried: int
    """Sets of settings looked at."""
    forwards: int
    """Sets of chips that went through the models."""


class Control(Strict):
    """A difference that should not matter."""

    what: str
    """In words."""
    headline: float
    """Change of mIoU, the larger of the adapters'."""
    largest: float
    """Largest change of any claimed figure."""
    metric: str
    """Which."""
    material: bool
    """Whether the headline changes by 0.01 or more."""


class PlantRecord(Strict):
    """All of it."""

    seed: int
    """Of the first draw."""
    draws: list[Draw]
    """Cards with faults."""
    faultless: list[Draw]
    """Cards without."""
    controls: list[Control]
    """Differences that should not matter."""
    others: list[Fault]
    """Sizes and stories, checked without the search."""
