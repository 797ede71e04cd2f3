"""Worlds with secret causes: what a bridge is given, and apart from it what was planted.

A world is a population of scenes, another one, a list of knobs of which few do anything, and a published
figure. Nothing here is imported by what is judged. The metric is the same function; nothing else of the bridge is used:
true effects are averaged over all orders of switching, on many more scenes than a bridge ever sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

import numpy as np

from harness.score.bridge import Corner, Factor
from harness.score.clusters import Floats, metric
from harness.score.confusion import ConfusionMatrix
from tests.score.worlds import CHIP_PX, CHIPS, MOST_CHIPS, WORLDS, World

SCENES = (6, 12, 24, 48)
"""Scenes of each population."""
TRUTH_SCENES = 1_000
"""Scenes that stand for all; both populations share their random numbers, so that only the shift differs."""
OWN_SD = 0.05
"""Spread, in logits, of what any knob does to all right cells of one scene, up or down."""
CELL_SD = 0.08
"""Spread of what it does to each cell of a scene beside that."""
MOST = 0.10
"""Largest planted effect that is drawn."""
LEAST = 0.005
"""Smallest."""
KINDS = tuple(zip(WORLDS, (0, 0, 1, 0), strict=True))
"""Each world of tests.score.worlds, and which of its metrics is judged."""


@dataclass(frozen=True)
class Move:
    """What a cause does to the logits of every scene."""

    cells: Floats
    """K x K, in logits."""
    share: Floats
    """K, in logits of the class shares; only a population moves them."""

    def times(self, size: float) -> Move:
        """The same direction, of another size."""
        return Move(self.cells * size, self.share * size)


@dataclass(frozen=True)
class Secret:
    """One world."""

    world: str
    """Kind of scenes."""
    n: int
    """Scenes of each population."""
    factors: tuple[Factor, ...]
    """Given to the bridge."""
    corners: dict[frozenset[str], Corner]
    """Given to the bridge."""
    metric: str
    """Given to the bridge."""
    class_index: int | None
    """Given to the bridge."""
    claimed: float | None
    """Given to the bridge."""
    claim_scenes: str
    """Given to the bridge."""
    claim_clusters: int
    """Given to the bridge."""
    planted: dict[str, float] = field(default_factory=dict)
    """True share of each planted cause, over all scenes. Never given."""
    outside: float = 0.0
    """True figure of the rerun minus true figure of the claim: what no factor on the list does. Never given."""
    labels: float | None = None
    """What the label shares of these very scenes do at the true rates; None with one population. Never given."""


@dataclass(frozen=True)
class Plan:
    """What is planted in a world."""

    kind: int
    """Index into KINDS."""
    n: int
    """Scenes of each population."""
    knobs: int
    """Knobs on the list."""
    effects: tuple[float, ...] = ()
    """Wanted effects of the first knobs, each alone."""
    population: float = 0.0
    """Wanted effect of the population."""
    outside: float = 0.0
    """Wanted effect on the claim of what is not on the list."""
    claim: str = "others"
    """others, same, or none."""
    people: bool = True
    """Whether the other end stands on other scenes."""
    together: bool = False
    """Whether planted knobs reinforce or weaken each other."""


def scene_logits(world: World, rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    """Class shares (n, K) as logs, logits (n, K, K) and pixels (n,) of scenes, spread as in `World.expected`."""
    k = len(world.shares)
    effect = rng.standard_normal((n, k))
    shares = np.log(np.asarray(world.shares)) + world.share_sd * effect
    if world.held:
        shares = np.where(rng.random((n, k)) < np.asarray(world.held), shares, -np.inf)
    mark = world.together * effect + math.sqrt(1 - world.together**2) * rng.standard_normal((n, k))
    logits = np.log(np.asarray(world.rates)) + world.mark_sd * mark[:, None, :]
    logits = logits + world.cell_sd * rng.standard_normal((n, k, k))
    logits -= np.eye(k) * (world.hard_sd * rng.standard_normal((n, 1, 1)))
    chips = np.minimum(CHIPS * np.exp(world.size_sd * rng.standard_normal(n)), MOST_CHIPS)
    return shares, logits, CHIP_PX * chips


def expected(shares: Floats, logits: Floats, px: Floats) -> Floats:
    """Expected pixels (..., n, K, K) of scenes."""
    rates = np.exp(logits)
    rates /= rates.sum(-1, keepdims=True)
    part = np.exp(shares)
    part /= part.sum(-1, keepdims=True)
    out: Floats = px[:, None, None] * part[..., :, None] * rates
    return out


def own_noise(k: int, rng: np.random.Generator, knobs: int, n: int) -> Floats:
    """What each knob does in each scene beside its cause: (knobs, n, K, K)."""
    common = OWN_SD * rng.standard_normal((knobs, n, 1, 1)) * np.eye(k)
    return common + CELL_SD * rng.standard_normal((knobs, n, k, k))


def direction(world: World, rng: np.random.Generator, population: bool = False) -> Move:
    """Which way a cause acts: all right cells, those of one class, or a class marked more readily."""
    k = len(world.shares)
    cells = np.zeros((k, k))
    how = int(rng.integers(3))
    if how == 0 or population:
        cells += np.eye(k)
    elif how == 1:
        cells += np.eye(k) * rng.uniform(0.3, 1.0, k)
    else:
        cells[:, int(rng.integers(k))] -= 0.4
        cells += 0.6 * np.eye(k)
    share = 0.8 * rng.standard_normal(k) if population else np.zeros(k)
    return Move(cells, share)


class Truth:
    """True values of a kind of world, on scenes of its own."""

    def __init__(self, kind: int, seed: Sequence[int]) -> None:
        self.world, which = KINDS[kind]
        name, index = self.world.metrics[which]
        self.name, self.index = name, index
        over = range(len(self.world.shares)) if name == "mIoU" else None
        self.of = metric(name, index, over)
        rng = np.random.default_rng([*seed, 77])
        self.scenes = scene_logits(self.world, rng, TRUTH_SCENES)
        self.noise = own_noise(len(self.world.shares), rng, 3, TRUTH_SCENES)

    def value(self, cells: Floats | float = 0.0, share: Floats | float = 0.0, noise: Sequence[int] = ()) -> float:
        """The pooled metric with so many logits added."""
        return float(self.of.of(self.pooled(cells, share, noise)))

    def pooled(self, cells: Floats | float = 0.0, share: Floats | float = 0.0, noise: Sequence[int] = ()) -> Floats:
        """All scenes together, with so many logits added: pixels (K, K)."""
        shares, logits, px = self.scenes
        moved = logits + cells
        for i in noise:
            moved = moved + self.noise[i]
        out: Floats = expected(shares + share, moved, px).sum(0)
        return out

    def of_shares(self, pooled: Floats, shares: Floats) -> float:
        """The metric at the rates of a matrix (K, K) and other label shares (K,)."""
        return float(self.of.of(shares[:, None] * pooled / pooled.sum(1, keepdims=True)))

    def sized(self, move: Move, wanted: float, shift: float = 1.0) -> Move:
        """A move along `move` that changes the metric by `wanted`; share logits stay as they are, times `shift`.

        Raises:
            ValueError: No size does.
        """
        share = move.share * shift
        start = self.value()

        def change(size: float) -> float:
            return self.value(move.cells * size, share) - start - wanted

        low, high = -4.0, 4.0
        if change(low) > 0 or change(high) < 0:
            raise ValueError(f"no size of the move changes {self.name} by {wanted}")
        for _ in range(14):
            middle = (low + high) / 2
            low, high = (middle, high) if change(middle) < 0 else (low, middle)
        return Move(move.cells * (low + high) / 2, share)


def by_orders(ids: Sequence[str], value: Callable[[frozenset[str]], float]) -> dict[str, float]:
    """Each cause's effect averaged over all orders of switching, by walking through every order."""
    known: dict[frozenset[str], float] = {}

    def at(chosen: frozenset[str]) -> float:
        if chosen not in known:
            known[chosen] = value(chosen)
        return known[chosen]

    sums = dict.fromkeys(ids, 0.0)
    for order in permutations(ids):
        there: frozenset[str] = frozenset()
        for each in order:
            sums[each] += at(there | {each}) - at(there)
            there |= {each}
    return {each: total / math.factorial(len(ids)) for each, total in sums.items()}


def before(ids: Sequence[str], effect: Callable[[frozenset[str]], float]) -> float:
    """An effect averaged over all orders in which other causes are switched before it or after it."""
    known: dict[frozenset[str], float] = {}
    total = 0.0
    for order in permutations([*ids, ""]):
        chosen = frozenset(order[: order.index("")])
        if chosen not in known:
            known[chosen] = effect(chosen)
        total += known[chosen]
    return total / math.factorial(len(ids) + 1)


def make(plan: Plan, seed: Sequence[int], truth: Truth | None = None, moves: Sequence[Move] | None = None) -> Secret:
    """Draw a world.

    Args:
        plan: What to plant.
        seed: Of everything drawn.
        truth: Of its kind, where many worlds share one.
        moves: What the planted knobs, the population and the outside cause do; None: drawn and sized by the plan.
    """
    rng = np.random.default_rng(list(seed))
    truth = truth or Truth(plan.kind, seed)
    world, k = truth.world, len(truth.world.shares)
    if moves is None:
        sized = [truth.sized(direction(world, rng), wanted) for wanted in plan.effects]
        shift = truth.sized(direction(world, rng, population=True), plan.population, float(plan.population != 0))
        away = truth.sized(direction(world, rng), -plan.outside)  # the claim's run has it, the rerun has not
        moves = [*sized, shift, away]
    *acting, people, away = moves
    ids = [f"knob{i}" for i in rng.permutation(plan.knobs)]  # planted ones stand anywhere on the list
    pairs = list(combinations(range(len(acting)), 2)) if plan.together else []
    mixed = [rng.uniform(-0.5, 0.5) * (acting[i].cells + acting[j].cells) / 2 for i, j in pairs]

    def cells(on: Sequence[int]) -> Floats:
        out = np.zeros((k, k))
        for i in on:
            if i < len(acting):
                out = out + acting[i].cells
        for (i, j), extra in zip(pairs, mixed, strict=True):
            if i in on and j in on:
                out = out + extra
        return out

    populations = []
    for moved in (False, True) if plan.people else (False,):
        shares, logits, px = scene_logits(world, rng, plan.n)
        if moved:
            shares, logits = shares + people.share, logits + people.cells
        populations.append((shares, logits, px, own_noise(k, rng, plan.knobs, plan.n), rng.random((plan.n, k, k))))
    corners: dict[frozenset[str], Corner] = {}
    for m in range(1 << plan.knobs):
        on = [i for i in range(plan.knobs) if m >> i & 1]
        for number, (shares, logits, px, noise, rounding) in enumerate(populations):
            drawn = expected(shares, logits + cells(on) + noise[on].sum(0), px)
            key = frozenset(ids[i] for i in on) | ({"population"} if number else set())
            corners[key] = as_corner(drawn, rounding, "ab"[number])
    factors = [Factor(each, "recipe", f"{each} set otherwise") for each in ids]
    if plan.people:
        factors.append(Factor("population", "population", "other scenes"))
    planted = {ids[i]: 0.0 for i in range(len(acting))} | ({"population": 0.0} if plan.population else {})
    if planted:

        def value(chosen: frozenset[str]) -> float:
            on = [i for i in range(len(acting)) if ids[i] in chosen]
            there = "population" in chosen
            return truth.value(cells(on) + people.cells * there, people.share * there, on)

        planted = by_orders(sorted(planted), value)
    labels = None
    if plan.people:
        here, there = (expected(shares, logits, px).sum((0, 2)) for shares, logits, px, *_ in populations)
        here, there = here / here.sum(), there / there.sum()
        names = ids[: len(acting)]

        def moved_by(on: frozenset[str]) -> float:
            numbers = [i for i in range(len(acting)) if ids[i] in on]
            both = [
                truth.pooled(cells(numbers) + people.cells * far, people.share * far, numbers) for far in (False, True)
            ]
            return sum(truth.of_shares(p, there) - truth.of_shares(p, here) for p in both) / 2

        labels = before(names, moved_by)
    m_claim = int(rng.choice(SCENES)) if plan.claim == "others" else plan.n
    claimed = None
    if plan.claim != "none":
        shares, logits, px = populations[0][:3] if plan.claim == "same" else scene_logits(world, rng, m_claim)
        claimed = round(float(truth.of.of(expected(shares, logits + away.cells, px).sum(0))), 4)
    outside = truth.value() - truth.value(away.cells) if plan.outside else 0.0
    return Secret(
        world=world.name,
        n=plan.n,
        factors=tuple(factors),
        corners=corners,
        metric=truth.name,
        class_index=truth.index,
        claimed=claimed,
        claim_scenes="same" if plan.claim == "same" else "others",
        claim_clusters=m_claim,
        planted=planted,
        outside=outside,
        labels=labels,
    )


def as_corner(drawn: Floats, rounding: Floats, letter: str) -> Corner:
    """Matrices in whole pixels, rounded up or down alike at every corner, by scene id."""
    counts = np.floor(drawn + rounding).astype(np.int64).tolist()
    return {f"{letter}{i:02}": ConfusionMatrix(tuple(map(tuple, each))) for i, each in enumerate(counts)}


def null_plan(rng: np.random.Generator, number: int) -> Plan:
    """A world without a fault."""
    claim = ("others", "others", "same", "none")[int(rng.integers(4))]
    return Plan(number % len(KINDS), SCENES[number // len(KINDS) % len(SCENES)], int(rng.integers(2, 5)), claim=claim)


def faulty_plan(rng: np.random.Generator, number: int, people: bool = True) -> Plan:
    """A world with 1 to 3 secret knobs, another population, and in half of the cases an outside cause."""

    def drawn() -> float:
        return float(rng.choice((-1, 1)) * rng.uniform(LEAST, MOST))

    planted = int(rng.integers(1, 4))
    return Plan(
        number % len(KINDS),
        SCENES[number // len(KINDS) % len(SCENES)],
        knobs=int(rng.integers(planted, 5)),
        effects=tuple(drawn() for _ in range(planted)),
        population=drawn() if people else 0.0,
        outside=drawn() if rng.random() < 0.5 else 0.0,
        claim="others" if rng.random() < 0.5 else "same",
        people=people,
        together=True,
    )
