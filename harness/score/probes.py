"""Probes: expectations about one place, and how many of them a map that sees nothing meets too.

A probe holds shares of a predicted map against shares of the label of the same chip. Shares are over the pixels that
have a label. A pass says little by itself: a set of probes is worth what trivial maps fail of it, so each judgement
carries what constant maps, the label's own majority and the predictions of other places would have got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import factorial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import RegistryError
from harness.score.formula import LARGEST, Formula, UndefinedError, names_of

Map = NDArray[np.integer]
"""Class indices, shape (H, W)."""

IGNORE_INDEX = -1
"""Marks label pixels that say nothing, as `harness.chips.chip.Label` writes them."""

MOST_CLASSES = 6
"""Class orders are tried up to here: 720 of them."""

WEAK = 0.5
"""A trivial map that passes more than this share of the judged probes makes a set weak."""

MAJORITY = "the label's majority everywhere"
"""Name of the map that says each label's most frequent class."""

Verdict = Literal["passed", "failed", "not judged", "unreadable"]
"""not judged: something that it takes is not there. unreadable: it is there and damaged."""


@dataclass(frozen=True)
class Probe:
    """One expectation at one place."""

    id: str
    """Short name, e.g. `not_twice_the_footprints`."""
    adapter: str
    """Adapter id."""
    place: str
    """AOI id, which is the chip's."""
    formula: Formula
    """What is expected."""
    reason: str
    """Why, in words."""
    output: tuple[str, ...]
    """Class names of the adapter's output by index, under the scheme that the probe is written for."""
    output_scheme: str
    """Id of that scheme."""
    label: tuple[str, ...]
    """Class names of the label by index."""
    label_scheme: str
    """Id of the label's scheme."""
    labelled_at_least: float
    """Share of the chip that must have a label; below it there is nothing to hold a prediction against."""

    @property
    def name(self) -> str:
        """`<adapter>-<place>-<id>`, unique among all probes."""
        return f"{self.adapter}-{self.place}-{self.id}"


@dataclass(frozen=True)
class Judged:
    """What came of one probe."""

    probe: Probe
    """Which."""
    verdict: Verdict
    """In one word."""
    reason: str = ""
    """Why it is not judged or unreadable; empty otherwise."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """By name, as far as they are known."""
    trivial: Mapping[str, bool] = field(default_factory=dict)
    """Whether a constant map or the label's majority passes, by the map's name; needs a label only."""
    elsewhere: Mapping[str, bool] = field(default_factory=dict)
    """Whether the prediction of another place passes here, by place."""
    orders: Mapping[tuple[int, ...], bool] = field(default_factory=dict)
    """Whether it passes under another order of the output's classes: entry i is the class that index i would be."""


def shares(side: str, data: Map, where: NDArray[np.bool_], classes: Sequence[str]) -> dict[str, float]:
    """Shares of each class, and the largest of them.

    Args:
        side: `predicted` or `label`.
        data: Class indices.
        where: Pixels that count, same shape; at least one.
        classes: Names by index.

    Returns:
        Fractions by the names that formulas use.

    Raises:
        ValueError: Other shapes, no pixel, or an index that no class has.
    """
    if data.ndim != 2 or data.shape != where.shape:
        raise ValueError(f"{side}: shape {data.shape}; the label has {where.shape}")
    if data.dtype.kind not in "iu":
        raise ValueError(f"{side}: {data.dtype} values; class indices are whole numbers")
    seen = data[where]
    if not seen.size:
        raise ValueError(f"{side}: no pixel to take a share of")
    if seen.min() < 0 or seen.max() >= len(classes):
        wrong = [int(v) for v in np.unique(seen) if not 0 <= v < len(classes)]
        raise ValueError(
            f"{side}: index {', '.join(map(str, wrong[:5]))} stands for no class; there are {len(classes)}"
        )
    part = np.bincount(seen, minlength=len(classes)) / seen.size
    return dict(zip(names_of(side, classes), [*part.tolist(), float(part.max())], strict=True))


def judge(
    probe: Probe,
    predicted: Map | None,
    label: Map | None,
    missing: str = "",
    others: Mapping[str, Map] | None = None,
) -> Judged:
    """Hold one probe against a prediction and a label.

    Args:
        probe: What is expected.
        predicted: The adapter's class map of the place; None where there is none.
        label: Class map of the same chip, `IGNORE_INDEX` where it says nothing; None where there is none.
        missing: Why either is None.
        others: The same adapter's class maps of other places; those of another shape are left out.

    Returns:
        `passed` only where prediction and label are both there, enough of the chip is labelled and the comparison
        is true. What trivial maps would have got is there wherever a label is.
    """
    if label is None:
        return Judged(probe, "not judged", missing or "no label")
    if label.ndim != 2 or label.dtype.kind not in "iu" or not label.size:
        return Judged(probe, "unreadable", f"label: shape {label.shape} of {label.dtype}; (H, W) of whole numbers")
    where: NDArray[np.bool_] = label != IGNORE_INDEX
    part = float(where.mean())
    if part == 0 or part < probe.labelled_at_least:
        return Judged(
            probe,
            "not judged",
            f"{100 * part:.1f} % of the chip has a label under {probe.label_scheme}; the probe asks for "
            f"{100 * probe.labelled_at_least:g} %",
        )
    try:
        known = shares("label", label, where, probe.label)
        trivial = _trivial(probe, known)
        if predicted is None:
            return Judged(probe, "not judged", missing or "no prediction", known, trivial)
        own = shares("predicted", predicted, where, probe.output)
    except ValueError as err:
        return Judged(probe, "unreadable", str(err))
    try:
        verdict: Verdict = "passed" if probe.formula.holds(known | own) else "failed"
    except UndefinedError as err:
        return Judged(probe, "not judged", str(err), known | own, trivial)
    elsewhere = _elsewhere(probe, known, where, others or {})
    return Judged(probe, verdict, "", known | own, trivial, elsewhere, _orders(probe, known, own))


def _meets(formula: Formula, known: Mapping[str, float]) -> bool:
    """Whether a map of nobody's passes; where the formula has no value for it, it does not."""
    try:
        return formula.holds(known)
    except UndefinedError:
        return False


def _elsewhere(
    probe: Probe, known: Mapping[str, float], where: NDArray[np.bool_], others: Mapping[str, Map]
) -> dict[str, bool]:
    out: dict[str, bool] = {}
    for place, other in others.items():
        if place == probe.place or other.shape != where.shape:
            continue
        try:
            theirs = shares("predicted", other, where, probe.output)
        except ValueError:
            continue  # a damaged map is told at its own place
        out[place] = _meets(probe.formula, {**known, **theirs})
    return out


def _constant(probe: Probe, index: int) -> dict[str, float]:
    part = [float(i == index) for i in range(len(probe.output))]
    return dict(zip(names_of("predicted", probe.output), [*part, 1.0], strict=True))


def _trivial(probe: Probe, known: Mapping[str, float]) -> dict[str, bool]:
    """Whether each constant map passes, and the label's majority where output and label share a scheme."""
    out = {
        f"{name} everywhere": _meets(probe.formula, {**known, **_constant(probe, i)})
        for i, name in enumerate(probe.output)
    }
    if probe.output == probe.label:
        per_class = [known[name] for name in names_of("label", probe.label)[:-1]]
        out[MAJORITY] = _meets(probe.formula, {**known, **_constant(probe, int(np.argmax(per_class)))})
    return out


def _orders(probe: Probe, known: Mapping[str, float], own: Mapping[str, float]) -> dict[tuple[int, ...], bool]:
    names = names_of("predicted", probe.output)
    part = [own[name] for name in names]
    out: dict[tuple[int, ...], bool] = {}
    if len(probe.output) > MOST_CLASSES:
        return out
    for order in permutations(range(len(probe.output))):
        moved = {names[order[i]]: part[i] for i in range(len(order))} | {names[-1]: part[-1]}
        out[order] = _meets(probe.formula, {**known, **moved})
    return out


@dataclass(frozen=True, slots=True)
class Passes:
    """How many of the judged probes one trivial map passes."""

    name: str
    """Which map."""
    passed: float
    """How many; a mean over rotations has a fraction."""
    of: int
    """Of how many judged probes it is defined."""
    most: int | None = None
    """Rotations: the most that one of them passes."""

    @property
    def share(self) -> float | None:
        """Passed over defined; None where it is defined for none."""
        return self.passed / self.of if self.of else None


@dataclass(frozen=True)
class Tally:
    """Pass rate of a set beside what trivial maps get."""

    passed: int
    """Probes."""
    judged: int
    """Passed or failed."""
    not_judged: int
    """Something is not there."""
    unreadable: int
    """Something is damaged."""
    trivial: tuple[Passes, ...]
    """Constant maps by class index, then the majority, then another place's prediction."""
    strongest: Passes | None
    """The trivial map that passes the largest share; None where nothing can be said."""
    weak: bool | None
    """Whether that is most of them; None where nothing was judged."""
    toothless: tuple[str, ...]
    """Judged probes that at least one constant map passes."""


def tally(results: Sequence[Judged]) -> Tally:
    """Count a set of probes, all of one adapter and one output scheme.

    Args:
        results: Any, in the set's order.

    Raises:
        RegistryError: Probes of several adapters or outputs.
    """
    if len({(r.probe.adapter, r.probe.output) for r in results}) > 1:
        raise RegistryError("probes of several adapters or class schemes are not one set")
    judged = [r for r in results if r.verdict in ("passed", "failed")]
    names = list(dict.fromkeys(name for r in judged for name in r.trivial))
    names.sort(key=lambda name: name == MAJORITY)
    constant = [
        Passes(n, sum(r.trivial[n] for r in judged if n in r.trivial), sum(n in r.trivial for r in judged))
        for n in names
    ]
    trivial = (*constant, *_rotations(judged))
    defined = [p for p in trivial if p.share is not None]
    strongest = max(defined, key=lambda p: p.share or 0.0) if defined else None
    weak = None if strongest is None or strongest.share is None else strongest.share > WEAK
    count = [r.verdict for r in results].count
    toothless = tuple(r.probe.name for r in judged if any(v for n, v in r.trivial.items() if n != MAJORITY))
    return Tally(
        count("passed"), len(judged), count("not judged"), count("unreadable"), trivial, strongest, weak, toothless
    )


def _rotations(judged: Sequence[Judged]) -> list[Passes]:
    """Every place given the prediction of the place k further on, for each k; the mean over k."""
    places = list(dict.fromkeys(r.probe.place for r in judged))
    counts: list[int] = []
    for k in range(1, len(places)):
        given = {place: places[(i + k) % len(places)] for i, place in enumerate(places)}
        outcomes = [r.elsewhere.get(given[r.probe.place]) for r in judged]
        if None not in outcomes:
            counts.append(sum(map(bool, outcomes)))
    if not counts:
        return []
    return [Passes("another place's prediction", sum(counts) / len(counts), len(judged), max(counts))]


@dataclass(frozen=True)
class OrderReading:
    """What the set says if the order of the output's classes is taken as unknown."""

    written: int
    """Judged probes that pass in the order as written."""
    best: int
    """Most that pass under any one order for all places."""
    of: int
    """Judged probes."""
    tried: int
    """Orders."""
    orders: tuple[tuple[int, ...], ...]
    """All that reach `best`; entry i is the class that output index i would be."""


def any_order(results: Sequence[Judged]) -> OrderReading | None:
    """Try every order of the output's classes, one for all places of the set.

    The best order is chosen after the fact: it hints at a scheme and passes nothing.

    Returns:
        None where nothing was judged, no formula names a class of the output, or there are more than
        `MOST_CLASSES` classes.
    """
    judged = [r for r in results if r.verdict in ("passed", "failed")]
    named = {n for r in judged for n in r.probe.formula.names if n.startswith("predicted.")}
    if not named - {f"predicted.{LARGEST}"} or not all(r.orders for r in judged):
        return None
    classes = len(judged[0].probe.output)
    passes = {order: sum(r.orders[order] for r in judged) for order in permutations(range(classes))}
    best = max(passes.values())
    reach = tuple(order for order, n in passes.items() if n == best)
    return OrderReading(passes[tuple(range(classes))], best, len(judged), factorial(classes), reach)
