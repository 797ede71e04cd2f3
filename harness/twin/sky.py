"""How the ground is seen: reflectance through clouds, scene classification, backscatter with speckle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.twin.city import SIZE_PX, City
from harness.twin.fields import Field, blurred, box_mean, enlarged, generator, halved, smooth
from harness.twin.products import Look, Pass
from harness.twin.spectra import BANDS, backscatter, reflectance

NOISE: Final = 0.004
"""Deviation of a pixel's noise: this much reflectance, and two hundredths of its own."""

LOOKS: Final = 4.4
"""Equivalent number of looks of a ground-range Sentinel-1 product."""

CLOUD_BRIGHT: Final = dict(zip(BANDS, (0.62, 0.6, 0.58, 0.58, 0.58, 0.6, 0.6, 0.6, 0.6, 0.55, 0.4, 0.32), strict=True))
"""Reflectance of a thick cloud."""

SEEN_HEIGHT: Final = 0.35
"""Part of a building's or a tree's height that a radar's elevation model of 30 m shows."""

SHADOW_PX: Final = 14
"""Pixels of 20 m to north and west that a cloud's shadow lies away."""

INFRARED: Final = BANDS.index("B06")
"""First band that takes the second tone."""

TURBULENCE: Final = {"none": 9.0, "west": 1.25, "east": 1.25, "all": -0.6}
"""Level of the cloud field from which there is cloud."""


@dataclass(frozen=True)
class Cloud:
    """Clouds of one look on 20 m pixels."""

    share: Field
    """Shape (H / 2, W / 2): how much of the light is the cloud's, 0 to 1."""
    shadow: NDArray[np.bool_]
    """Same shape."""


def cloudy(seed: int, look: Look) -> Cloud:
    """Clouds of a look, all over the city or in its western or eastern third."""
    n = SIZE_PX // 8
    field = smooth(generator(seed, 41, look.number), n, 24)
    across = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / n
    if look.clouds == "west":
        field = field - np.clip((across - np.float32(0.3)) * 12, 0, 9)[None].astype(np.float32)
    elif look.clouds == "east":
        field = field - np.clip((np.float32(0.7) - across) * 12, 0, 9)[None].astype(np.float32)
    thick = enlarged(np.clip((field - np.float32(TURBULENCE[look.clouds])) * 2, 0, 1).astype(np.float32), 4)
    shadow = np.zeros(thick.shape, np.bool_)
    shadow[:-SHADOW_PX, :-SHADOW_PX] = thick[SHADOW_PX:, SHADOW_PX:] > 0.4
    return Cloud(thick, shadow & (thick < 0.2))


def seen(city: City, look: Look, band: str, cloud: Cloud, times: int) -> Field:
    """Reflectance of a band as recorded, without the offset.

    Args:
        city: The ground.
        look: When.
        band: Name.
        cloud: Clouds of that look.
        times: Side of the band's pixels in pixels of 10 m.
    """
    number = BANDS.index(band)
    table = reflectance(band, look.season)
    tone = city.tone[1 if number >= INFRARED else 0]
    clear = blurred(_mean(table, city.materials) * tone) if times == 1 else _coarse(table, city, tone, times)
    share, dark = (_sized(field, times) for field in (cloud.share, cloud.shadow.astype(np.float32)))
    clear *= 1 - np.float32(0.55) * dark
    clear += share * (np.float32(CLOUD_BRIGHT[band]) - clear)
    rng = generator(city.seed, 42, look.number, number)
    noise = rng.standard_normal(clear.shape, dtype=np.float32)
    return clear + noise * (np.float32(NOISE) + np.float32(0.02) * clear)


def _mean(table: Field, planes: NDArray[np.uint8]) -> Field:
    """A material's value, averaged over planes."""
    out: Field = table.take(planes[0])
    for plane in planes[1:]:
        out += table.take(plane)
    out *= np.float32(1 / len(planes))
    return out


def _coarse(table: Field, city: City, tone: Field, times: int) -> Field:
    """Area mean on pixels of 20 m and more, of every second quarter, which keeps a chequered half of the ground."""
    total = np.zeros((SIZE_PX // 2, SIZE_PX // 2), np.float32)
    for down in (0, 1):
        for over in (0, 1):
            corner = np.s_[down::2, over::2]
            total += _mean(table, city.materials[0::3, down::2, over::2]) * tone[corner]
    return halved(total * np.float32(0.25), times // 2)


def _sized(field: Field, times: int) -> Field:
    """A field of 20 m pixels on pixels of `times` 10 m."""
    return np.repeat(np.repeat(field, 2, 0), 2, 1) if times == 1 else halved(field, times // 2)


def scl(city: City, cloud: Cloud) -> NDArray[np.uint8]:
    """Scene classification at 20 m: 6 water, 4 vegetation, 5 not vegetated, 3 shadow, 8 and 9 cloud."""
    classes = city.classes[::2, ::2]
    out = np.where(classes == 0, 6, np.where((classes == 2) | (classes == 3), 4, 5))
    out = np.where(cloud.shadow, 3, out)
    return np.where(cloud.share > 0.6, 9, np.where(cloud.share > 0.2, 8, out)).astype(np.uint8)


def speckled(city: City, over: Pass, polarisation: str) -> Field:
    """Gamma nought of a pass in linear power, with speckle; 10 bits of mantissa, which is far below it."""
    table = backscatter(polarisation, over.season)
    power = blurred(blurred(_mean(table, city.materials) * city.tone[1]))
    if over.state == "ascending":  # another side of every wall
        power = np.where(city.building, np.roll(power, 1, axis=1) * np.float32(0.9), power)
    rng = generator(city.seed, 43, over.number, 0 if polarisation == "VV" else 1)
    power *= rng.standard_gamma(LOOKS, power.shape, dtype=np.float32) / np.float32(LOOKS)
    power = np.maximum(power, np.float32(1e-5))
    return (power.view(np.int32) & np.int32(-(1 << 13))).view(np.float32)


def surface(city: City) -> Field:
    """What an elevation model of 30 m sees, on the city's pixels: ground, part of what stands on it, and noise."""
    wide = box_mean(city.elevation + np.float32(SEEN_HEIGHT) * city.height, 5)
    rng = generator(city.seed, 44)
    rough = np.float32(1.0) * smooth(rng, SIZE_PX // 4, 4) + np.float32(0.5) * smooth(rng, SIZE_PX // 4, 12)
    return np.round(wide + enlarged(rough.astype(np.float32), 4), 2).astype(np.float32)
