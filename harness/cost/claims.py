"""Published figures of time and energy beside ours: compared under equal conditions, else told what is missing.

No tolerance is taken from the claim: 10 % either way of the printed interval, set 2026-11-21, before
any run of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.claims.model import Claim, Relation
from harness.records.cost import CallCost, Figure

TOLERANCE = 0.10
"""How far ours may lie from what is printed, as a share, and count as the same."""

FEWEST_CALLS = 10
"""Calls that a published mean must rest on."""

Verdict = Literal["reproduced", "not reproduced", "inconclusive", "not comparable", "not measured"]

STATED: dict[str, str] = {
    "device": "the device",
    "dtype": "the precision",
    "batch": "the batch",
    "chip_px": "the chip's size",
    "input": "what went in",
    "stage": "which part of a call is timed",
    "calls": "how many calls it averages",
}
"""Conditions that a latency must state, by their key in a claim's `conditions`."""

UNSTATED = "no statement of {} is registered"
"""Of a condition that a claim's record does not hold."""

RANDOM = "ours ran random weights; no published file was read"

STATED_ENERGY: dict[str, str] = {"meter": "what counted the joules", "boundary": "what the meter covers"}
"""And an energy, besides."""

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
"""Units of time in claims."""

JOULES = {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6}
"""Units of energy in claims."""

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Other names of precisions."""


@dataclass(frozen=True)
class Row:
    """One claim beside ours."""

    claim: Claim
    """As published."""
    verdict: Verdict
    """What may be said."""
    missing: tuple[str, ...]
    """Every condition that is not stated or not equal, and what the claim is where it is no measurement."""
    ours: Figure | None
    """Ours in the claim's own quantity, beside it and not against it unless the verdict says so."""
    ours_of: str | None
    """What ours was measured on."""


def is_modelled(claim: Claim, relations: Iterable[Relation]) -> str | None:
    """What an energy claim is made of where the registry knows that it is a product with a power; None else.

    The registry holds such products as relations: joules = seconds x watts that somebody assumed.
    """
    for relation in relations:
        if relation.kind == "product" and relation.states == claim.id:
            return f"{' x '.join(relation.of)}: {relation.text or 'a product'}; no meter was read"
    return None


def compare(claim: Claim, ours: CallCost | None, modelled: str | None = None) -> Row:
    """One claim of latency or energy against one measured call.

    Args:
        claim: Its quantity's metric is `latency` or `energy`; conditions by the keys of STATED.
        ours: The call of the same adapter that fits best; None where there is none.
        modelled: What the claim is made of where it is no measurement, see `is_modelled`.

    Raises:
        ValueError: The claim is of another metric.
    """
    metric = claim.quantity.metric
    if metric not in ("latency", "energy"):
        raise ValueError(f"{claim.id}: {metric} is neither latency nor energy")
    figure = None if ours is None else ours.latency if metric == "latency" else ours.energy.gross
    of = None if ours is None else _named(ours)
    missing = list(_missing(claim, ours))
    if modelled is not None:
        missing.insert(0, f"the claim is modelled, not measured: {modelled}")
    if missing:
        return Row(claim, "not comparable", tuple(missing), figure, of)
    if ours is None or figure is None:
        return Row(claim, "not measured", ("no call of ours was measured",), None, None)
    if figure.value is None:
        return Row(claim, "not measured", (figure.reason or "no reason was kept",), figure, of)
    first, last = figure.low, figure.high
    if first is None or last is None:
        return Row(claim, "inconclusive", ("ours has no interval: one window",), figure, of)
    return Row(claim, _judged(claim, first, last), (), figure, of)


def ratio(dividend: CallCost, divisor: CallCost) -> Figure:
    """How many times the latency of one call another takes.

    Its ends are the quotients of the ends: wider than 95 %, and no independence of the two is needed.

    Raises:
        ValueError: The two differ in device, precision, batch, size, stage or weights.
    """
    differ = [
        f"{name}: {mine} and {theirs}"
        for name in ("device_name", "build", "dtype", "threads", "batch", "chip_px", "stage", "weights", "input")
        if (mine := getattr(dividend, name)) != (theirs := getattr(divisor, name))
    ]
    if differ:
        raise ValueError(f"{dividend.adapter} and {divisor.adapter} ran unlike: {'; '.join(differ)}")
    a, b = dividend.latency, divisor.latency
    if a.value is None or b.value is None:
        return Figure(unit="1", reason=a.reason or b.reason)
    n = min(a.n, b.n)
    if a.low is None or a.high is None or b.low is None or b.high is None or b.low <= 0:
        return Figure(value=a.value / b.value, n=n, of=n, unit="1")
    return Figure(value=a.value / b.value, low=a.low / b.high, high=a.high / b.low, n=n, of=n, unit="1")


def compare_ratio(claim: Claim, pair: tuple[CallCost, CallCost] | None, of: str) -> Row:
    """A published ratio of two latencies, such as `runtime about doubled`, beside ours under equal conditions.

    Args:
        claim: Its metric is `cost_ratio`.
        pair: Dividend and divisor; None where the two were not both measured.
        of: The two calls in words.

    Raises:
        ValueError: As `ratio`.
    """
    found = None if pair is None else ratio(*pair)
    missing = list(_missing(claim, None if pair is None else pair[0]))
    if pair is not None:
        missing += [f"{pair[1].adapter} falls short of the protocol: {s}" for s in pair[1].shortfalls]
    if missing:
        return Row(claim, "not comparable", tuple(missing), found, of)
    if found is None:
        return Row(claim, "not measured", (f"{of}: not both measured",), None, of)
    if found.value is None:
        return Row(claim, "not measured", (found.reason or "no reason was kept",), found, of)
    if found.low is None or found.high is None:
        return Row(claim, "inconclusive", ("ours has no interval: one window",), found, of)
    return Row(claim, _judged(claim, found.low, found.high), (), found, of)


def _missing(claim: Claim, ours: CallCost | None) -> Iterable[str]:
    stated = _stated(claim)
    energy = claim.quantity.metric == "energy"
    mine = {} if ours is None else _conditions(ours)
    for key, words in {**STATED, **(STATED_ENERGY if energy else {})}.items():
        if key not in stated:
            yield UNSTATED.format(words)
        elif key == "calls":
            if not re.fullmatch("[0-9]+", stated[key]) or int(stated[key]) < FEWEST_CALLS:
                yield f"{stated[key]} calls; {FEWEST_CALLS} are needed"
        elif ours is not None and _plain(stated[key]) != mine[key]:
            yield f"{words}: {stated[key]} there, {mine[key]} here"
    if ours is not None:
        yield from (f"ours falls short of the protocol: {s}" for s in ours.shortfalls)
        if ours.weights == "random":
            yield RANDOM
        if claim.quantity.subject not in ("", "family", ours.adapter):
            yield f"adapter: {claim.quantity.subject} there, {ours.adapter} here"


def _stated(claim: Claim) -> dict[str, str]:
    """Conditions by the keys of STATED; what a claim is `of` says which part is timed."""
    stated = dict(claim.quantity.conditions)
    if "of" in stated:
        stated.setdefault("stage", stated["of"])
    return stated


def _conditions(ours: CallCost) -> dict[str, str]:
    return {
        "device": ours.device_name,
        "dtype": f"{ours.device} {ours.dtype}",
        "batch": str(ours.batch),
        "chip_px": str(ours.chip_px),
        "input": f"{ours.input} chips",
        "stage": ours.stage,
        "meter": ours.meter.name if ours.meter else "none",
        "boundary": ours.meter.boundary if ours.meter else "none",
    }


def _plain(stated: str) -> str:
    """A condition with precisions by their torch names: `cpu fp32` is `cpu float32`."""
    return " ".join(DTYPES.get(word, word) for word in stated.split())


def _named(ours: CallCost) -> str:
    return (
        f"{ours.adapter}, {ours.stage}, batch {ours.batch}, {ours.chip_px} px, {ours.device_name}, {ours.dtype}, "
        f"{ours.weights} weights, {ours.input} inputs"
    )


def _judged(claim: Claim, first: float, last: float) -> Verdict:
    """Whether our interval lies within, across or beyond what is printed, 10 % either way."""
    printed = claim.printed.need()
    scale = {"latency": SECONDS, "energy": JOULES}.get(claim.quantity.metric, {}).get(claim.unit, 1.0)
    low, high = (1 - TOLERANCE) * float(printed.lo) * scale, (1 + TOLERANCE) * float(printed.hi) * scale
    if low <= first and last <= high:
        return "reproduced"
    return "not reproduced" if last < low or first > high else "inconclusive"


def rows(claims: Sequence[Claim], relations: Iterable[Relation], calls: Iterable[CallCost]) -> list[Row]:
    """Every claim of latency or energy in a registry, each beside the first call of ours for its adapter.

    Args:
        claims: Of every card.
        relations: Of the same registry: they know which joules are products.
        calls: Ours; forwards at batch 1 come first.
    """
    known, found = list(relations), sorted(calls, key=lambda c: (c.stage != "forward", c.batch, c.device))
    out = []
    for claim in claims:
        if claim.quantity.metric in ("latency", "energy"):
            subject = claim.quantity.subject
            ours = next((c for c in found if subject in (c.adapter, "family")), None)
            out.append(compare(_with_calls(claim, claims), ours, _modelled(claim, claims, known)))
    return out


def _with_calls(claim: Claim, claims: Sequence[Claim]) -> Claim:
    """The claim with the number of calls that the same card prints for the same adapter, where it prints one."""
    for other in claims:
        same = other.card == claim.card and other.quantity.subject == claim.quantity.subject
        if same and other.quantity.metric == "calls" and "calls" not in claim.quantity.conditions:
            conditions = {**claim.quantity.conditions, "calls": other.value}
            return claim.model_copy(update={"quantity": claim.quantity.model_copy(update={"conditions": conditions})})
    return claim


def _modelled(claim: Claim, claims: Sequence[Claim], relations: list[Relation]) -> str | None:
    """As `is_modelled`, and also for a claim that repeats such a figure of the same adapter, rounded."""
    own = is_modelled(claim, relations)
    if own is not None or claim.quantity.metric != "energy":
        return own
    for other in claims:
        same = other.quantity.metric == "energy" and other.quantity.subject == claim.quantity.subject
        if same and other.id != claim.id and (made := is_modelled(other, relations)) is not None:
            a, b = claim.printed.interval, other.printed.interval
            if a is not None and b is not None and a.lo <= b.hi and b.lo <= a.hi:
                return f"it repeats {other.id} ({made})"
    return None
