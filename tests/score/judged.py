"""Judges bridges and the search for a permuted scheme on worlds whose causes are known.

`python -m tests.score.judged` writes docs/judged.md; `--check` judges again and fails where that page differs;
`--worlds N` prints a smaller page and writes nothing. The worlds come from `tests.score.secret`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.score.bars import RATES
from harness.score.bridge import Bridge, UndefinedBridgeError, bridge
from harness.score.confusion import ConfusionMatrix
from harness.score.permuted import Found, Via, scheme_order
from tests.score.judged_tables import Case, cases
from tests.score.secret import (
    KINDS,
    SCENES,
    Plan,
    Secret,
    Truth,
    direction,
    expected,
    faulty_plan,
    make,
    null_plan,
    scene_logits,
)

PAGE = Path(__file__).parents[2] / "docs" / "judged.md"
SEED = 2611
WORLDS = 1_000
"""Worlds without a fault, and as many with faults, and as many for the permuted scheme."""
SIZES = (0.02, 0.05, 0.10)
"""Planted effects of the power table."""
CAUSES = ("knob", "population", "outside")
"""What is planted there."""
POWER_WORLDS = 100
"""For each cause, size and number of scenes; with fewer worlds in all, a tenth of them."""
SUM_WITHIN = 1e-9


@dataclass(frozen=True)
class Judged:
    """What became of one world."""

    secret: Secret
    """The world; its corners are dropped."""
    bridge: Bridge | None
    """What was said; None where the metric was undefined."""
    why: str
    """Why there is no bridge."""

    @property
    def n(self) -> int:
        """Scenes of each population."""
        return self.secret.n

    @property
    def accused(self) -> list[str]:
        """What the bridge says has an effect beyond what other scenes would do; `unexplained` where the remainder has.

        That the label shares of these scenes do something is no such accusation: it is said of these scenes.
        """
        if self.bridge is None:
            return []
        shares = self.bridge.shares
        found = [s.factor.id for s in shares if s.detectable or any(p.established and p.what == RATES for p in s.parts)]
        return found + (["unexplained"] if self.bridge.unexplained_beyond else [])

    @property
    def told(self) -> bool:
        """Whether the verdict is not `cannot be told`."""
        return self.bridge is not None and self.bridge.verdict != "cannot be told"

    @property
    def settled(self) -> bool:
        """Whether nothing is left to the luck of the scenes either."""
        return self.bridge is not None and self.bridge.verdict == "told"


@dataclass(frozen=True)
class Ordered:
    """One world with or without a permuted scheme."""

    planted: str
    """none, outputs, names, or confused: nothing is permuted, and one class mostly predicted as another."""
    n: int
    """Scenes."""
    recall: float
    """Mean over classes of the recall in the right order."""
    found: Found
    """What the stored matrix said."""
    right: bool
    """Whether the order found is the planted one."""
    via: Via
    """What shows it."""

    @property
    def called(self) -> bool:
        """Whether the stored matrix is said to show another order."""
        return self.found == "another order"


@dataclass(frozen=True)
class Judgement:
    """Everything measured."""

    nulls: list[Judged]
    """Worlds without a fault."""
    faulty: list[Judged]
    """Worlds with faults and another population at the other end."""
    paired: list[Judged]
    """Worlds with faults and the same scenes at both ends."""
    power: list[Case]
    """One cause alone, of a set size."""
    orders: list[Ordered]
    """Permuted schemes."""


def judge(secret: Secret) -> Judged:
    """Give a world to the bridge, without what was planted."""
    bare = Secret(**{**secret.__dict__, "corners": {}})
    try:
        found = bridge(
            secret.factors,
            secret.corners,
            secret.metric,
            secret.class_index,
            secret.claimed,
            claim_scenes="same" if secret.claim_scenes == "same" else "others",
            claim_clusters=secret.claim_clusters,
        )
    except UndefinedBridgeError as err:
        return Judged(bare, None, str(err))
    total = sum(share.effect for share in found.shares)
    if abs(total - (found.end - found.start)) > SUM_WITHIN:
        raise AssertionError(f"shares sum to {total}, the ends differ by {found.end - found.start}")
    return Judged(bare, found, "")


def power(worlds: int) -> Iterator[Case]:
    """One cause alone, of each size, at each number of scenes, three knobs on the list."""
    for kind in range(len(KINDS)):
        truth = Truth(kind, [SEED, 3, kind])
        rng = np.random.default_rng([SEED, 4, kind])
        still = truth.sized(direction(truth.world, rng), 0.0).times(0.0)
        for cause in CAUSES:
            for size in SIZES:
                for n in SCENES:
                    for number in range(worlds // len(KINDS)):
                        sign = -1.0 if number % 2 else 1.0
                        wanted = sign * size
                        move = truth.sized(
                            direction(truth.world, rng, cause == "population"),
                            -wanted if cause == "outside" else wanted,
                        )
                        plan = Plan(
                            kind,
                            n,
                            3,
                            effects=(wanted,) if cause == "knob" else (),
                            population=wanted if cause == "population" else 0.0,
                            outside=wanted if cause == "outside" else 0.0,
                        )
                        moves = ([move] if cause == "knob" else []) + [
                            move if cause == "population" else still,
                            move if cause == "outside" else still,
                        ]
                        seed = [SEED, 5, kind, CAUSES.index(cause), SIZES.index(size), n, number]
                        yield from cases([judge(make(plan, seed, truth, moves))])


def ordered(number: int) -> Ordered:
    """A land-cover world, from models that know nothing to good ones, with a permuted scheme in half of them."""
    rng = np.random.default_rng([SEED, 6, number])
    planted = ("none", "outputs", "names", "confused")[number % 4]
    n = SCENES[number // 4 % len(SCENES)]
    world = KINDS[1 if number // 16 % 2 else 3][0]
    k = len(world.shares)
    shares, logits, px = scene_logits(world, rng, n)
    logits = logits * rng.uniform(0.0, 1.0)  # 0: every class is predicted alike whatever the label
    if planted == "confused":
        one, other = rng.permutation(k)[:2]
        logits[:, one, other] = logits[:, one, one] + rng.uniform(0.2, 2.0)
    counts = np.floor(expected(shares, logits, px) + rng.random((n, k, k))).astype(np.int64)
    order = np.arange(k)
    while planted in ("outputs", "names") and (order == np.arange(k)).all():
        order = rng.permutation(k)
    right = counts.sum(0)
    recall = float(np.mean(np.diag(right) / np.maximum(right.sum(1), 1)))
    names = [f"class {i}" for i in range(k)]
    if planted == "outputs":
        moved = np.empty_like(counts)
        moved[:, :, order] = counts  # what was output i now stands at order[i]
        counts = moved
    if planted == "names":
        counts = counts[:, order][:, :, order]
    sources = {"card": names, "code": [names[i] for i in order] if planted == "names" else names}
    clusters = [ConfusionMatrix(tuple(map(tuple, each))) for each in counts.tolist()]
    whole = clusters[0]
    for each in clusters[1:]:
        whole += each
    found = scheme_order(whole, sources, clusters)
    told = found.matrix.order == tuple(order.tolist()) if planted == "outputs" else found.matrix.found == "as stored"
    return Ordered(planted, n, recall, found.matrix.found, told, found.via)


def measure(worlds: int) -> Judgement:
    """Judge so many worlds of each sort."""
    began = time.monotonic()

    def told(what: str) -> None:
        print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr)

    rng = np.random.default_rng([SEED, 0])
    truths = [Truth(kind, [SEED, 7, kind]) for kind in range(len(KINDS))]

    def drawn(plan: Plan, seed: Sequence[int]) -> Judged:
        return judge(make(plan, seed, truths[plan.kind]))

    nulls = [drawn(null_plan(rng, i), [SEED, 1, i]) for i in range(worlds)]
    told(f"{worlds:,} worlds without a fault")
    faulty = [drawn(faulty_plan(rng, i), [SEED, 2, i]) for i in range(worlds)]
    told(f"{worlds:,} worlds with faults")
    paired = [drawn(faulty_plan(rng, i, people=False), [SEED, 8, i]) for i in range(worlds)]
    told(f"{worlds:,} worlds with faults and the same scenes at both ends")
    strong = list(power(POWER_WORLDS if worlds == WORLDS else max(4, worlds // 10)))
    told(f"{len(strong):,} worlds with one cause")
    orders = [ordered(i) for i in range(worlds)]
    told(f"{worlds:,} class schemes")
    return Judgement(nulls, faulty, paired, strong, orders)


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, then write, print or compare the page; 1 where it is stale."""
    from tests.score.judged_page import page

    parser = argparse.ArgumentParser(prog="python -m tests.score.judged", description=__doc__)
    parser.add_argument("--worlds", type=int, default=WORLDS, help="other than the default: print only")
    parser.add_argument("--check", action="store_true", help="fail where docs/judged.md differs")
    options = parser.parse_args(argv)
    if options.check and options.worlds != WORLDS:
        parser.error(f"--check compares {WORLDS:,} worlds; leave --worlds out")
    text = page(measure(options.worlds))
    if options.worlds != WORLDS:
        print(text, end="")
    elif not options.check:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE}", file=sys.stderr)
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE} differs from what is judged today; run python -m tests.score.judged", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
