"""Where a chip lies beside the training ground, and how class boundaries meet, as whole numbers."""

from __future__ import annotations

from pydantic import Field, model_validator

from harness.records.quantity import Strict


class BoundaryCount(Strict):
    """Boundary pixels of one class on one chip, and how many have a counterpart near; see `harness.score.boundary`."""

    class_index: int = Field(ge=0)
    """Class."""
    tolerance_px: int = Field(ge=0)
    """How far the counterpart may be, Euclidean, between pixel centres."""
    label_px: int = Field(ge=0)
    """Boundary pixels of the label."""
    label_near_px: int = Field(ge=0)
    """Of these, with a boundary pixel of the prediction near."""
    predicted_px: int = Field(ge=0)
    """Boundary pixels of the prediction."""
    predicted_near_px: int = Field(ge=0)
    """Of these, with a boundary pixel of the label near."""

    @model_validator(mode="after")
    def _parts(self) -> BoundaryCount:
        if self.label_near_px > self.label_px or self.predicted_near_px > self.predicted_px:
            raise ValueError("more boundary pixels with a counterpart than there are")
        return self


class NearestTraining(Strict):
    """A chip's place beside the ground that an adapter was trained on, or why that is not known."""

    reason: str | None = None
    """Why nothing is known; None where the rest is."""
    source: str | None = None
    """File of the rebuilt split."""
    sha256: str | None = None
    """Of that file."""
    parents: int = 0
    """Training parents that were looked at."""
    share: float | None = None
    """Share of the chip's ground inside training parents, 0 to 1."""
    windows_share: float | None = None
    """Share of the chip's ground inside the chips that were cut from them."""
    validation_share: float | None = None
    """Share of the chip's ground inside validation parents."""
    cell: str | None = None
    """Nearest training parent: the one it shares most ground with, else the closest."""
    distance_m: float | None = None
    """From edge to edge, in metres; 0 where they share ground."""
    date: str | None = None
    """Acquisition of that parent's Sentinel-2 image, ISO 8601, UTC."""
    days: int | None = None
    """Days from it to the chip's nearest date; None where the chip's dates are not known."""
    exact: bool = False
    """Whether every parent's grid was read from its image; otherwise parents are drawn around their centres."""

    @model_validator(mode="after")
    def _known_or_reason(self) -> NearestTraining:
        if (self.share is None) == (self.reason is None):
            raise ValueError("a place beside the training ground has either a share or the reason why there is none")
        return self

    @property
    def overlaps(self) -> bool | None:
        """Whether it shares ground with training parents; None where that is not known."""
        return None if self.share is None else self.share > 0
