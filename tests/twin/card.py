"""The twin's card: what its adapters score, measured from the truth without the readers and without harness.score.

    python -m tests.twin.card --weights harness/twin/data/weights [--check]

Tensors are made here from the city's arrays, predictions scored with torchmetrics. A second party, as it were.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from harness.chips.aois import Aoi
from harness.chips.chip import MODALITIES, Grid
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.tensors import Inputs
from harness.claims.families import read_families
from harness.models import stack
from harness.models.ensemble import Ensemble, load_family
from harness.twin.city import CHIP_PX, EPSG, NORTH_M, SIZE_PX, WEST_M, WINDOW, City, make_city, scenes, truth
from harness.twin.imagery import layers
from harness.twin.products import PASSES, TIMES, Look, Pass, products
from harness.twin.sky import cloudy, scl

BANDS = MODALITIES["S2L2A"].bands

SEED = 7
"""Of the city."""

DATA = Path(__file__).resolve().parents[2] / "harness" / "twin" / "data"
"""What the twin ships with."""

ADAPTERS = {"lulc_twin": ("training-code", 5), "buildings_twin": ("footprints", 2)}
"""Scheme and classes."""

NAMES = {
    "lulc_twin": ("water", "developed", "forest", "herbaceous", "other"),
    "buildings_twin": ("non-building", "building"),
}
"""By index."""

Maps = dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64]]]]
"""By adapter: truth and prediction of each scene."""


def corner(aoi: Aoi) -> tuple[int, int]:
    """Row and column of a scene's first pixel in the city."""
    x, y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(*aoi.centre)
    return round((NORTH_M - y) / 10 - CHIP_PX / 2), round((x - WEST_M) / 10 - CHIP_PX / 2)


def look_of(city: City, aoi: Aoi) -> Look:
    """The date with least cloud on the chip; where several are clear, the one nearest the window's middle."""
    row, col = (v // 2 for v in corner(aoi))
    half = CHIP_PX // 2 + 16
    middle = datetime.combine(WINDOW[0], datetime.min.time()) + (WINDOW[1] - WINDOW[0]) / 2
    best: list[tuple[float, float, int]] = []
    for number, look in enumerate(TIMES):
        if look.half or look.clouds == "all":
            continue
        shown = scl(city, cloudy(city.seed, look))[row - 8 : row + half - 8, col - 8 : col + half - 8]
        apart = abs((datetime.fromisoformat(look.when[:19]) - middle).total_seconds())
        best.append((float(np.isin(shown, (3, 8, 9, 10)).mean()), apart, number))
    return TIMES[min(best)[2]]


def pass_of(look: Look) -> Pass:
    """The descending pass nearest in time."""
    when = datetime.fromisoformat(look.when[:19])
    right = [p for p in PASSES if p.state == "descending"]
    return min(right, key=lambda p: abs((datetime.fromisoformat(p.when[:19]) - when).total_seconds()))


def mosaic(city: City, look: Look) -> NDArray[np.float32]:
    """Twelve bands of the whole city at 10 m, nearest, offset taken out."""
    newest: dict[str, Any] = {}
    for product in products():
        if product.look is look and (product.tile not in newest or product.made > newest[product.tile].made):
            newest[product.tile] = product
    out = np.full((len(BANDS), SIZE_PX, SIZE_PX), np.nan, np.float32)
    for product, (band, pixels, _, transform, _) in layers(city, list(newest.values())):
        if band == "SCL":
            continue
        times, left = round(transform[0] / 10), round((transform[2] - WEST_M) / 10)
        fine = np.repeat(np.repeat(pixels.astype(np.float32), times, 0), times, 1)
        harmonised = np.maximum(fine, product.offset) - product.offset
        out[BANDS.index(band), :, left : left + fine.shape[1]] = np.where(fine > 0, harmonised, np.nan)
    return out


def radar(city: City, over: Pass) -> NDArray[np.float32]:
    """Both polarisations in dB."""
    product = next(p for p in products() if p.look is over)
    found = {name: pixels for _, (name, pixels, _, _, _) in layers(city, [product])}
    power = np.stack([found["vv"], found["vh"]]).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan).astype(np.float32)


def elevation(city: City) -> NDArray[np.float32]:
    """The DEM on the city's pixels, bilinear."""
    product = next(p for p in products() if p.collection == "cop-dem-glo-30")
    ((_, (_, pixels, epsg, transform, _)),) = layers(city, [product])
    out = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    reproject(
        pixels,
        out,
        src_transform=Affine(*transform),
        src_crs=f"EPSG:{epsg}",
        dst_transform=Affine(10, 0, WEST_M, 0, -10, NORTH_M),
        dst_crs=f"EPSG:{EPSG}",
        resampling=Resampling.bilinear,
        XSCALE=1,
        YSCALE=1,
    )
    return out


def tensors(city: City, aois: list[Aoi], recipe: Recipe) -> Iterator[tuple[Aoi, Inputs]]:
    """Normalised tensors of scenes, one date four times."""
    by_look: dict[int, list[Aoi]] = {}
    for aoi in aois:
        by_look.setdefault(TIMES.index(look_of(city, aoi)), []).append(aoi)
    ground = elevation(city)[None]
    for number, group in sorted(by_look.items()):
        whole = {
            "S2L2A": mosaic(city, TIMES[number]),
            "S1RTC": radar(city, pass_of(TIMES[number])),
            "DEM": ground,
        }
        for aoi in group:
            row, col = corner(aoi)
            arrays = {}
            for name, pixels in whole.items():
                stats = recipe.statistics[name]
                mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (stats.mean, stats.std))
                here = (pixels[:, row : row + CHIP_PX, col : col + CHIP_PX] - mean) / std
                if not np.isfinite(here).all():
                    raise SystemExit(f"{aoi.id}: {name} has gaps")
                arrays[name] = np.ascontiguousarray(np.repeat(here[:, None], 4, 1), np.float32)
            yield aoi, Inputs(aoi.id, recipe.id, arrays, True, {}, ())


def predicted(city: City, aois: list[Aoi], ensemble: Ensemble, recipe: Recipe) -> Maps:
    """Truth and prediction of every scene."""
    out: Maps = {name: [] for name in ADAPTERS}
    for aoi, inputs in tensors(city, aois, recipe):
        true = true_maps(city, aoi)
        for name, prediction in ensemble.predict(inputs, list(ADAPTERS)).items():
            out[name].append((true[name], prediction.classes.astype(np.int64)))
    return out


def true_maps(city: City, aoi: Aoi) -> dict[str, NDArray[np.int64]]:
    """The truth of a scene, by adapter; -1 where buildings are not known."""
    row, col = corner(aoi)
    grid = Grid(EPSG, (10.0, 0.0, WEST_M + col * 10.0, 0.0, -10.0, NORTH_M - row * 10.0), CHIP_PX, CHIP_PX)
    true = truth(city, grid)
    return {"lulc_twin": true["classes"], "buildings_twin": true["building"]}


def figures(
    maps: list[tuple[NDArray[np.int64], NDArray[np.int64]]], classes: int
) -> dict[tuple[str, int | None], float]:
    """Scores over all pixels of all scenes, by torchmetrics."""
    from torchmetrics.classification import (
        MulticlassAccuracy,
        MulticlassF1Score,
        MulticlassJaccardIndex,
        MulticlassPrecision,
    )

    label = torch.from_numpy(np.concatenate([t.ravel() for t, _ in maps]))
    shown = torch.from_numpy(np.concatenate([p.ravel() for _, p in maps]))
    keep = label >= 0
    label, shown = label[keep], shown[keep]

    def of(kind: Any, average: str) -> Any:
        return kind(num_classes=classes, average=average)(shown, label)

    out: dict[tuple[str, int | None], float] = {
        ("mIoU", None): float(of(MulticlassJaccardIndex, "macro")),
        ("accuracy", None): float(of(MulticlassAccuracy, "micro")),
        ("f1_macro", None): float(of(MulticlassF1Score, "macro")),
    }
    for metric, kind in (("iou", MulticlassJaccardIndex), ("precision", MulticlassPrecision)):
        for index, value in enumerate(of(kind, "none")):
            if metric == "iou" or classes == 2:
                out[metric, index] = float(value)
    if classes == 2:
        for index, value in enumerate(of(MulticlassAccuracy, "none")):
            out["recall", index] = float(value)
    return out


def card(weights: Path, step: Any = print) -> str:
    """The claims file."""
    stack.prepare()
    torch.set_num_threads(2)
    recipe = read_recipes(DATA / "eval" / "recipes")["twin"]
    family = read_families(DATA / "eval" / "families")["twin"]
    ensemble = load_family(family, weights, recipe=recipe, device="cpu")
    city = make_city(SEED)
    maps = {}
    for role in ("card", "eval"):
        maps[role] = predicted(city, scenes(city, role), ensemble, recipe)
        step(f"{role}: predicted")
    splits = {"test": maps["card"], "city": {name: maps["card"][name] + maps["eval"][name] for name in ADAPTERS}}
    claims = []
    for split, found in splits.items():
        for name, (scheme, classes) in ADAPTERS.items():
            for (metric, index), value in figures(found[name], classes).items():
                short = name.removesuffix("_twin")
                quantity: dict[str, Any] = {"subject": name, "metric": metric}
                if index is not None:
                    quantity |= {"class_index": index, "class_name": NAMES[name][index], "averaging": "pooled"}
                elif metric in ("mIoU", "f1_macro"):
                    quantity["averaging"] = "macro"
                quantity |= {"scheme": scheme, "split": split}
                tail = "" if index is None else f".{index}"
                claims.append(
                    {
                        "id": f"{short}.{split}.{metric}{tail}",
                        "quantity": quantity,
                        "value": f"{value:.4f}",
                        "tolerance": "0.005" if split == "test" else "0.02",
                    }
                )
    head = {
        "schema": 1,
        "card": "twin-card",
        "family": "twin",
        "kind": "card",
        "title": "Card of the simulated city's adapters, true by measurement",
        "author": "this project",
        "date": "2026-11-21",
        "source": {"repository": "eo-adapter-harness", "path": "tests/twin/card.py"},
    }
    lines = [yaml.safe_dump(head, sort_keys=False, allow_unicode=True), "claims:\n"]
    for claim in claims:
        flow = yaml.safe_dump(claim, default_flow_style=True, sort_keys=False, width=10_000)
        lines.append(f"  - {flow}")
    return "".join(lines)


def main() -> None:
    """Write the card, or with --check hold the committed one against what is measured now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=DATA / "weights")
    parser.add_argument("--check", action="store_true")
    words = parser.parse_args()
    text, path = card(words.weights), DATA / "eval" / "claims" / "twin-card.yaml"
    if not words.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")
    elif path.read_text(encoding="utf-8") != text:
        sys.exit(f"{path} differs from what is measured now")


if __name__ == "__main__":
    main()
