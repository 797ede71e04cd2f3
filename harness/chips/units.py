"""What pixels say about their own unit: backscatter in dB or power, reflectance or DN, the +1000.

Every verdict is a rule with its reason in words; where pixels cannot tell, the verdict says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import UnitError

Pixels = NDArray[np.float32]

UNKNOWN: Final = "cannot tell"
"""Verdict where the pixels fit more than one answer, or none."""

REFLECTANCE_SCALE: Final = 10_000
"""DN of a Sentinel-2 L2A reflectance of 1 (Sentinel-2 Products Specification Document)."""

OFFSET: Final = 1000
"""DN added by processing baseline 04.00 and later, so that negative reflectance fits."""

TOO_DARK: Final = 900
"""DN that a product with the offset hardly goes below: it would be a reflectance under -0.01.
Corrected shadows do so here and there; water, woods and shade without the offset do so in bulk."""

DARK_SHARE: Final = 0.001
"""Share of a band's pixels below `TOO_DARK` that is still put down to corrected shadows. Assumed."""

FLOOR: Final = (TOO_DARK, 1250)
"""Where the darkest pixels of a band lie under the offset, if anything dark is in the picture:
reflectance -0.01 to 0.025 (deep water, shade, dark soil)."""

FLOOR_QUANTILE: Final = 0.001
"""Share of pixels that may lie below a band's floor: one pixel in a thousand is no floor yet."""

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "visible": ("B01", "B02", "B03", "B04"),
    "near infrared": ("B05", "B06", "B07", "B08", "B8A"),
    "short-wave infrared": ("B11", "B12"),
}
"""Bands that are dark or bright together; B09 is left out, it sees water vapour."""

CHANCE: Final = 0.2
"""Chance that a group of bands has its floor in `FLOOR` without the offset, e.g. dry grey ground of
reflectance 0.1. Assumed, not measured: groups are counted as if they were independent."""

SURE: Final = 0.9
"""Confidence from which a verdict on the offset is given."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verdict, how far the pixels carry it, and why."""

    verdict: str
    """The answer, or `cannot tell`."""
    confidence: float
    """0 to 1; no calibrated probability. For units: the share of valid pixels that fit the verdict
    and that the other unit has no place for. For the offset: one minus the assumed chance that
    pixels like these come about under the other answer (see `s2_offset`). Where the verdict is
    `cannot tell`, the confidence of the likelier answer, which was too low."""
    why: str
    """The figures that decided, in words."""


def to_db(power: Pixels, floor: float | None = None) -> Pixels:
    """Turn linear backscatter into decibels.

    Args:
        power: Gamma-nought backscatter, linear, any shape; NaN where nodata.
        floor: Smallest power; smaller values are raised to it first. None raises nothing.

    Returns:
        Backscatter in dB, same shape; NaN where `power` is NaN, and, without a floor, where it is
        zero or negative.
    """
    raised = power if floor is None else np.maximum(power, np.float32(floor))
    with np.errstate(divide="ignore", invalid="ignore"):
        db = 10 * np.log10(raised, dtype=np.float32)
    return np.where(raised > 0, db, np.float32(np.nan)).astype(np.float32)


def to_power(db: Pixels) -> Pixels:
    """Turn decibels into linear backscatter, 10^(x/10); NaN stays NaN."""
    power: Pixels = np.power(np.float32(10), db / np.float32(10), dtype=np.float32)
    return power


def harmonised(dn: Pixels) -> Pixels:
    """Take the +1000 away: max(DN, 1000) - 1000, never below 0; NaN stays NaN."""
    return np.maximum(dn, np.float32(OFFSET)) - np.float32(OFFSET)


def _valid(data: Pixels) -> Pixels:
    values: Pixels = data[np.isfinite(data)]
    return values


def s1_unit(data: Pixels) -> Evidence:
    """Tell decibels from linear power.

    Power is never negative; backscatter of land and water in dB nearly always is. Pixels that are
    half negative and half not (normalised ones) are neither. Amplitude, the root of power, has the
    same range as power and cannot be told from it.

    Args:
        data: Shape (..., C, H, W), NaN where nodata.

    Returns:
        `dB`, `linear power` or `cannot tell`. Confidence: for dB the share of negative pixels, for
        power the share of pixels between 0 and 1, where a whole chip in dB is never found.
    """
    values = _valid(data)
    if values.size == 0:
        return Evidence(UNKNOWN, 0.0, "there is no valid pixel")
    negative, median = float((values < 0).mean()), float(np.median(values))
    low, high = (float(q) for q in np.quantile(values, (0.01, 0.99)))
    small = float(((values >= 0) & (values <= 1)).mean())
    seen = f"{negative:.1%} of valid pixels are negative, median {median:.4g}, 98 % within {low:.4g} to {high:.4g}"
    if -40 <= median <= -1 and low >= -80 and high <= 30:
        return Evidence("dB", negative, f"{seen}; power is never negative")
    if negative <= DARK_SHARE and 0 <= median <= 1 and high <= 100:
        return Evidence("linear power", small, f"{seen}; a chip in dB is mostly negative")
    return Evidence(UNKNOWN, max(negative, small), f"{seen}; that fits neither dB nor linear power")


MIXED = "mixed"
"""Verdict where dates or bands of one layer are in different units."""


def by_slice(data: Pixels, judge: Callable[[Pixels], Evidence]) -> Evidence:
    """Judge a layer whole, and each date and band of it: they must not contradict each other.

    Args:
        data: Shape (T, C, H, W), NaN where nodata.
        judge: `s1_unit` or `s2_unit`.

    Returns:
        The whole layer's verdict, or `mixed` with the first date and band of each unit.
    """
    found: dict[str, str] = {}
    for t, date in enumerate(data):
        for c, band in enumerate(date):
            seen = judge(band[None])
            if seen.verdict != UNKNOWN:
                found.setdefault(seen.verdict, f"date {t}, band {c + 1}")
    if len(found) > 1:
        return Evidence(MIXED, 1.0, "; ".join(f"{where} looks like {unit}" for unit, where in found.items()))
    return judge(data)


def s2_unit(data: Pixels) -> Evidence:
    """Tell DN from reflectance.

    Args:
        data: Shape (..., C, H, W), NaN where nodata.

    Returns:
        `DN`, `1` (reflectance) or `cannot tell`, e.g. percent or 8 bits. Confidence: the share of
        valid pixels within the verdict's range.
    """
    values = _valid(data)
    if values.size == 0:
        return Evidence(UNKNOWN, 0.0, "there is no valid pixel")
    median, largest = float(np.median(values)), float(values.max())
    seen = f"median {median:.4g}, largest {largest:.6g}"
    if largest <= 2.5:
        return Evidence("1", float((values >= -0.1).mean()), f"{seen}; DN of a reflectance of 0.01 is already 100")
    if largest > 255 and 20 <= median <= 25_000 and largest <= 65_535:
        return Evidence("DN", float((values > 2.5).mean()), f"{seen}; reflectance does not exceed 2")
    return Evidence(UNKNOWN, 0.5, f"{seen}; that is neither DN (x 10000) nor reflectance; percent or 8 bits?")


def s2_offset(data: Pixels, bands: Sequence[str]) -> Evidence:
    """Tell whether DN carry the +1000 of Sentinel-2 baselines from 04.00 on, from the pixels alone.

    Two things speak. (1) With the offset hardly a pixel lies below 900; without it, water, shade
    and plants do in bulk. If a share s of a band lies below, the odds against the offset are
    s / 0.001 to 1. (2) With the offset, the darkest pixels of visible, near and short-wave infrared
    pile up at the same value just above 1000; without it that is a coincidence, whose chance is
    put at 0.2 for each group of bands: confidence 1 - 0.2^groups. Both figures are assumptions,
    checked on few real chips. A scene without anything dark (desert, snow under high sun) fits
    both answers: `cannot tell`.

    Args:
        data: DN of one date, shape (C, H, W) or (1, C, H, W); NaN where nodata.
        bands: Names along C.

    Returns:
        `+1000`, `none` or `cannot tell`.

    Raises:
        UnitError: More than one date, or fewer names than bands: dates may differ in baseline.
    """
    if data.ndim == 4 and data.shape[0] == 1:
        data = data[0]
    if data.ndim != 3 or data.shape[0] != len(bands):
        raise UnitError(f"s2_offset: shape {data.shape} for {len(bands)} bands; give one date as (C, H, W)")
    floors: dict[str, float] = {}
    dark: dict[str, float] = {}
    for name, band in zip(bands, data, strict=True):
        values = _valid(band)
        if values.size:
            floors[name] = float(np.quantile(values, FLOOR_QUANTILE))
            dark[name] = float((values < TOO_DARK).mean())
    if not floors:
        return Evidence(UNKNOWN, 0.0, "there is no valid pixel")
    darkest = max(dark, key=lambda name: dark[name])
    share = dark[darkest]
    against = share / (share + DARK_SHARE)
    if against >= SURE:
        why = f"{share:.1%} of {darkest} lies below {TOO_DARK}, which a reflectance above -0.01 plus {OFFSET} rules out"
        return Evidence("none", against, why)
    piled = {
        group: near
        for group, members in GROUPS.items()
        if (near := [m for m in members if m in floors and FLOOR[0] <= floors[m] <= FLOOR[1]])
        and 2 * len(near) >= len([m for m in members if m in floors])
    }
    confidence = 1 - CHANCE ** len(piled)
    lowest = f"{share:.2%} of {darkest} lies below {TOO_DARK}" if share else f"no pixel lies below {TOO_DARK}"
    if piled:
        named = "; ".join(f"{g}: {', '.join(f'{m} {floors[m]:.0f}' for m in near)}" for g, near in piled.items())
        seen = f"the darkest pixels pile up just above {OFFSET} in {len(piled)} of {len(GROUPS)} band groups ({named})"
    else:
        seen = f"no group of bands has its darkest pixels just above {OFFSET}: nothing dark is in the picture"
    if confidence >= SURE and share <= DARK_SHARE:
        return Evidence("+1000", confidence * (1 - against), f"{seen}, and {lowest}")
    return Evidence(UNKNOWN, max(against, confidence * (1 - against)), f"{seen}, and {lowest}")
