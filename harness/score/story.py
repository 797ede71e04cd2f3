"""A composition story held against arithmetic: does prevalence explain the gap between two figures?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.score.binary import BinaryMatrix, OperatingPoint

ASSUMES: Final = "recall (TPR) and false-positive rate stay what they were while the share of label pixels changes"
"""The prior-shift assumption, under which alone the closed form says anything."""

WITHIN: Final = 0.01
"""What a story may leave over: the smallest change that counts as material. Set 2026-11-21."""


@dataclass(frozen=True, slots=True)
class Story:
    """What somebody says of two figures of one two-class adapter."""

    here: BinaryMatrix
    """Confusion where its rates are known."""
    figure: float
    """IoU of class 1 at the other place, as printed."""
    prevalence: float
    """Share of positive label pixels at the other place."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the closed form says of a story. Arithmetic, not a finding about the places."""

    gap: float
    """The other place's IoU of class 1 minus the one here."""
    effect: float
    """What prevalence alone would do, under `ASSUMES`."""
    remainder: float
    """gap - effect."""
    holds: bool
    """Whether the remainder is within `WITHIN`."""
    why: str
    """In words."""


def check(story: Story) -> Checked:
    """Move the rates from here to the other place's prevalence and compare.

    Raises:
        ValueError: The rates here, or the IoU there, are undefined: a class is missing.
    """
    here, tpr, fpr = story.here.iou1, story.here.tpr, story.here.fpr
    if here is None or tpr is None or fpr is None:
        raise ValueError(f"rates undefined in {story.here}: both classes must stand in the label")
    then = OperatingPoint(tpr, fpr).at(story.prevalence).iou1
    if then is None:
        raise ValueError(f"IoU undefined at prevalence {story.prevalence}: nothing is labelled and nothing marked")
    gap, effect = story.figure - here, then - here
    holds = abs(gap - effect) <= WITHIN
    why = (
        f"IoU {here:.4f} becomes {then:.4f} at prevalence {story.prevalence:.4f} if {ASSUMES}; the figure is "
        f"{story.figure:.4f}, so prevalence {'explains the gap' if holds else 'does not explain it'}: "
        f"{effect:+.4f} of {gap:+.4f}, {gap - effect:+.4f} left"
    )
    return Checked(gap, effect, gap - effect, holds, why)
