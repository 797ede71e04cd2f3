"""Probabilities against labels, as whole numbers that add over chips."""

from __future__ import annotations

from pydantic import Field, model_validator

from harness.records.quantity import Strict

NANO = 1_000_000_000
"""Units in which sums of probabilities are kept: whole numbers add exactly, in any order."""


class Reliability(Strict):
    """Probability of class 1 on the labelled pixels of one chip, in bins of equal width from 0 to 1.

    A pixel is in the bin whose upper edge is the first that its probability is not above, so that the pixels of
    the bins above an edge are those that a threshold at the edge marks.
    """

    px: list[int]
    """Labelled pixels, by bin."""
    positive_px: list[int]
    """Of these, pixels whose label is class 1."""
    probability_nano: list[int]
    """Sum of their probabilities, each rounded to 1e-9, in units of 1e-9."""
    squared_error_nano: int = Field(ge=0)
    """Sum over all of them of the squared difference of probability and label (0 or 1), each rounded to 1e-9, in
    units of 1e-9."""

    @model_validator(mode="after")
    def _bins(self) -> Reliability:
        if not self.px or not len(self.px) == len(self.positive_px) == len(self.probability_nano):
            raise ValueError("px, positive_px and probability_nano need one number a bin")
        for px, positive, total in zip(self.px, self.positive_px, self.probability_nano, strict=True):
            if not 0 <= positive <= px or not 0 <= total <= px * NANO:
                raise ValueError(f"a bin of {px} px with {positive} positive and probabilities of {total / NANO:g}")
        return self
