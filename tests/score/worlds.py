"""Worlds of scenes whose true scores are known: where intervals are judged.

A world draws scenes without end. Each scene has its own class shares and its own rates of confusion;
both vary between scenes, and they vary together: where a class is common it is also marked more
readily, so that its TPR and its FPR rise. The spread of a scene's mIoU in the two even worlds is set
to what two small models showed on simulated cities: 0.047 for buildings, 0.037 for land cover.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.score.clusters import Floats, StackMetric, metric

CHIP_PX = 65_536
"""Pixels of a chip of 256 x 256."""

CHIPS = 4
"""Mean chips of a scene."""

MOST_CHIPS = 40
"""No scene has more."""


@dataclass(frozen=True)
class World:
    """A population of scenes, and two arms that are scored on each of them."""

    name: str
    """In tables."""
    text: str
    """What is particular to it, for the page."""
    shares: tuple[float, ...]
    """Typical class shares; the shares of a scene are these with a log-normal factor each, to sum 1."""
    rates: tuple[tuple[float, ...], ...]
    """Typical shares of each label class (row) that the first arm predicts as each class, K x K."""
    metrics: tuple[tuple[str, int | None], ...]
    """Metrics judged, each with its class where it is of one."""
    share_sd: float
    """Spread of the log of the factor of each class share."""
    hard_sd: float
    """Spread of the scene's difficulty: what the logits of all right cells lose together."""
    mark_sd: float
    """Spread of a scene's readiness to mark a class: moves a whole column of logits, right and wrong."""
    cell_sd: float
    """Spread of each cell's own logit."""
    together: float = 0.5
    """Correlation of a class' share and the readiness to mark it."""
    arm_shift: float = 0.15
    """What the right cells of the second arm gain, in logits."""
    arm_sd: float = 0.08
    """Spread of what each cell of the second arm differs by beside that."""
    size_sd: float = 0.0
    """Spread of the log of a scene's pixels; 0: all scenes have CHIPS chips."""
    held: tuple[float, ...] = ()
    """Chance that a scene holds each class at all; empty: every scene holds every class."""

    def chosen(self) -> tuple[StackMetric, ...]:
        """The metrics as functions."""
        return tuple(metric(name, index) for name, index in self.metrics)

    def expected(self, rng: np.random.Generator, size: tuple[int, ...]) -> Floats:
        """Expected pixels of drawn scenes, both arms: (*size, 2, K, K)."""
        k = len(self.shares)
        share_effect = rng.standard_normal((*size, k))
        shares = np.asarray(self.shares) * np.exp(self.share_sd * share_effect)
        if self.held:
            shares = np.where(rng.random((*size, k)) < np.asarray(self.held), shares, 0.0)
        shares /= shares.sum(-1, keepdims=True)
        mark = self.together * share_effect + np.sqrt(1 - self.together**2) * rng.standard_normal((*size, k))
        logits = np.log(np.asarray(self.rates)) + self.mark_sd * mark[..., None, :]
        logits = logits + self.cell_sd * rng.standard_normal((*size, k, k))
        logits -= np.eye(k) * (self.hard_sd * rng.standard_normal((*size, 1, 1)))
        other = logits + self.arm_shift * np.eye(k) + self.arm_sd * rng.standard_normal((*size, k, k))
        rates = np.exp(np.stack([logits, other], axis=-3))
        rates /= rates.sum(-1, keepdims=True)
        chips = np.minimum(CHIPS * np.exp(self.size_sd * rng.standard_normal(size)), MOST_CHIPS)
        out: Floats = (CHIP_PX * chips)[..., None, None, None] * shares[..., None, :, None] * rates
        return out

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> NDArray[np.int64]:
        """Matrices of drawn scenes in whole pixels, both arms: (*size, 2, K, K).

        Scenes vary far more than the counts of a scene of 10^5 pixels do, so the expected pixels of
        each cell are rounded, up or down by chance.
        """
        expected = self.expected(rng, size)
        return np.floor(expected + rng.random(expected.shape)).astype(np.int64)


BUILDINGS_RATES = ((0.955, 0.045), (0.30, 0.70))
LAND_RATES = (
    (0.80, 0.06, 0.05, 0.04, 0.05),
    (0.08, 0.74, 0.08, 0.05, 0.05),
    (0.06, 0.09, 0.75, 0.05, 0.05),
    (0.03, 0.03, 0.03, 0.88, 0.03),
    (0.10, 0.08, 0.09, 0.05, 0.68),
)
LAND_SHARES = (0.35, 0.22, 0.20, 0.15, 0.08)

WORLDS = (
    World(
        "buildings",
        "2 classes, 20 % buildings, scenes of 4 chips; a scene's mIoU has the standard deviation 0.047",
        (0.80, 0.20),
        BUILDINGS_RATES,
        (("mIoU", None), ("iou", 1)),
        share_sd=0.35,
        hard_sd=0.21,
        mark_sd=0.24,
        cell_sd=0.13,
    ),
    World(
        "land cover",
        "5 classes, 8 to 35 %, scenes of 4 chips; a scene's mIoU has the standard deviation 0.037",
        LAND_SHARES,
        LAND_RATES,
        (("mIoU", None), ("accuracy", None), ("iou", 4)),
        share_sd=0.26,
        hard_sd=0.14,
        mark_sd=0.13,
        cell_sd=0.12,
    ),
    World(
        "uneven buildings",
        "2 classes, 8 % buildings with a long tail upwards, rates that differ more, most scenes of 1 to 13 chips",
        (0.92, 0.08),
        BUILDINGS_RATES,
        (("mIoU", None), ("iou", 1)),
        share_sd=0.60,
        hard_sd=0.34,
        mark_sd=0.30,
        cell_sd=0.15,
        size_sd=0.6,
    ),
    World(
        "patchy land cover",
        "5 classes, the rarest in 70 % of the scenes only, most scenes of 1 to 11 chips",
        LAND_SHARES,
        LAND_RATES,
        (("mIoU", None), ("iou", 4), ("recall", 4)),
        share_sd=0.50,
        hard_sd=0.25,
        mark_sd=0.20,
        cell_sd=0.20,
        size_sd=0.5,
        held=(1.0, 1.0, 1.0, 1.0, 0.7),
    ),
)
"""The worlds of docs/coverage.md."""


def spread(world: World, of: StackMetric, scenes: int, seed: int = 1) -> float:
    """Standard deviation between scenes of the first arm's own value."""
    values = of.of(world.draw(np.random.default_rng(seed), (scenes,))[:, 0].astype(np.float64))
    return float(np.nanstd(values, ddof=1))
