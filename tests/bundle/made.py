"""A small run that holds against itself in every respect, and bundles of it that do not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bundle.archive import write_archive
from harness.bundle.recount import remeasured
from harness.chips.scenes import AoiLock, AssetRef, Lock, Scene, Timestep
from harness.claims.gates import answers
from harness.claims.groups import View
from harness.claims.structure import structure_rows
from harness.records import RunRecord
from harness.records.bundle import NAME, Manifest, PackedFile, read_manifest
from harness.score.boundary import boundary_counts
from harness.score.calibration import reliability
from harness.score.confusion import ConfusionMatrix
from harness.score.sweep import sweep

PX = 16
"""Side of the made chips."""

FAMILY = "terramind-nyc"
CHIPS = ("midtown", "red_hook")
LOCK = "made.lock.json"
THRESHOLDS = [n / 20 for n in range(1, 20)]


def made_lock() -> Lock:
    asset = AssetRef(href="https://example.org/a.tif", bands=["B02"], gsd_m=10.0, unit="DN", nodata=0.0)
    scene = Scene(collection="c", item="i", datetime="2024-06-01T00:00:00Z", assets={"B02": asset})
    aois = [
        AoiLock(
            aoi=name,
            recipe="training-code",
            centre=(-74.0, 40.7),
            epsg=32618,
            timesteps=[Timestep(modality="S2L2A", index=0, scenes=[scene], why="the only one")],
            searches=[],
            role="test",
            split="six-aois",
            split_size=6,
        )
        for name in CHIPS
    ]
    return Lock(created="2026-01-02T00:00:00+00:00", aois=aois)


def tensors(kind: str, shapes: list[list[int]], names: list[str] | None = None) -> list[dict[str, Any]]:
    held = names or [f"{kind}.{i}.weight" for i in range(len(shapes))]
    return [
        {"name": n, "shape": s, "dtype": "float32", "sha256": "ab" * 32, "state": "loaded", "reason": None}
        for n, s in zip(held, shapes, strict=True)
    ]


def load(adapter: str, k: int) -> dict[str, Any]:
    base = tensors("base", [[4, 3], [4], [2, 2]])
    base[2] |= {"state": "unused", "reason": "the decoder of the base makes other modalities"}
    lora = tensors("lora", [[8, 3], [4, 8], [8, 4], [5, 8]])
    decoder = tensors("head", [[k, 4], [7], [7]], ["head.weight", "norm.weight", "norm.running_mean"])
    files = []
    for role, held in (("base", base), ("lora", lora), ("decoder", decoder), ("config", [])):
        entries = sum(int(np.prod(t["shape"])) for t in held)
        files.append(
            {"role": role, "name": f"{role}.bin", "sha256": "cd" * 32, "size_bytes": 1000 + entries}
            | {"tensors": len(held), "entries": entries, "pinned": False}
        )
    return {
        "adapter": adapter,
        "random_weights": False,
        "files": files,
        "base_expected": 2,
        "base_loaded": 2,
        "base_unused": {"the decoder of the base makes other modalities": 1},
        "not_run": 0,
        "lora_expected": 2,
        "lora_applied": 2,
        "lora_r": 8,
        "lora_alpha": 16.0,
        "lora_alpha_verdict": "unverifiable",
        "places": [{"place": "encoder", "pairs": 2, "expected": 2, "b_norms": [0.5, 1.25], "runs": True}],
        "decoder_expected": 3,
        "decoder_loaded": 3,
        "batch_norm": {"layers": 1, "in_file": 1, "moved": 1, "policy": "from the file"},
        "blocks": 12,
        "encoder_parameters": 16,
        "lora_parameters": 24 + 32 + 32 + 40,
        "decoder_parameters": 4 * k + 7,
        "classes": k,
        "tensors": [*base, *lora, *decoder],
    }


def maps(seed: int, k: int) -> NDArray[np.float32]:
    """Probabilities of blobs, shape (K, PX, PX)."""
    rng = np.random.default_rng(seed)
    high = np.exp(np.kron(rng.normal(0, 2, (k, 4, 4)), np.ones((4, 4))) + rng.normal(0, 0.4, (k, PX, PX)))
    shares: NDArray[np.float32] = (high / high.sum(0)).astype(np.float32)
    return shares


def score(chip: str, adapter: str, held: dict[str, Any], seed: int, k: int, scheme: str) -> dict[str, Any]:
    """A chip's record, counted from the arrays that it puts into `held`."""
    label = np.kron(np.random.default_rng(seed + 99).integers(0, k, (4, 4)), np.ones((4, 4))).astype(np.int64)
    label[:2] = -1
    p = maps(seed, k)
    classes = p.argmax(0).astype(np.uint8)
    held |= {f"classes:{adapter}": classes, f"probabilities:{adapter}": p, f"label:{scheme}": label}
    held.setdefault("label", label)
    matrix = ConfusionMatrix.from_maps(label, classes, k)
    out: dict[str, Any] = {
        "chip": chip,
        "sha256": hashlib.sha256(chip.encode()).hexdigest(),
        "scored": True,
        "split": "six-aois",
        "split_size": 6,
        "reason": None,
        "confusion": matrix.to_json()["counts"],
        "ignored_px": matrix.ignored,
        "predicted_px": np.bincount(classes.ravel(), minlength=k).tolist(),
        "filled": {"DEM": 0.25},
        "notes": ["one date stands for four"],
        "dates_encoded": 1,
        "probabilities_sha256": hashlib.sha256(p.tobytes()).hexdigest(),
        "role": "test",
        "boundary": [one.model_dump(mode="json") for one in boundary_counts(label, classes, k, -1)],
    }
    if k == 2:
        out["predicted_above"] = {f"{t:g}": int((p[1] > np.float32(t)).sum()) for t in THRESHOLDS}
        out["sweep"] = [
            {"threshold": q.threshold, "tp": q.matrix.tp, "fp": q.matrix.fp, "fn": q.matrix.fn, "tn": q.matrix.tn}
            for q in sweep(p[1], label, THRESHOLDS)
        ]
        out["reliability"] = reliability(p[1], label, -1).model_dump(mode="json")
    return out


def made_run(folder: Path, view: View, edit: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    """A run of two adapters over two scored chips of a lock, and one chip that failed."""
    made = {"lulc_nyc": (5, "training-code"), "buildings_nyc": (2, "footprints")}
    held: dict[str, dict[str, Any]] = {
        c: {"rgb": np.full((PX, PX, 3), 9, np.uint8), "gsd_m": np.array(10.0)} for c in CHIPS
    }
    lock = (json.dumps(made_lock().model_dump(mode="json"), indent=1) + "\n").encode()
    adapters = []
    for number, (name, (k, scheme)) in enumerate(made.items()):
        scores = [score(c, name, held[c], 10 * number + i, k, scheme) for i, c in enumerate(CHIPS)]
        scores.append({"chip": "bronx", "sha256": "", "scored": False, "reason": "the catalogue holds no scene"})
        adapters.append(
            {"adapter": name, "recipe": "training-code 1", "scheme": scheme, "load": load(name, k), "chips": scores}
        )
    raw: dict[str, Any] = {
        "schema": 1,
        "id": "20260102T030405Z-terramind-nyc-training-code",
        "created": "2026-01-02T03:04:05+00:00",
        "who": "Ann Example",
        "command": "harness reproduce --live",
        "commit": "0" * 40,
        "dirty": False,
        "family": FAMILY,
        "source": "lock",
        "locks": {LOCK: hashlib.sha256(lock).hexdigest()},
        "weights": "published",
        "device": "mps: Apple M2",
        "dtype": "float32",
        "recipe": "training-code",
        "conditions": {"threads": "2"},
        "packages": {"torch": "2.13.0"},
        "adapters": adapters,
        "measurements": [],
    }
    edit(raw)
    run = RunRecord.model_validate(raw)
    family = view.families[FAMILY]
    for each, one in zip(adapters, run.adapters, strict=True):
        rows = structure_rows(view.registry, family, one.load)
        each["structure"] = [row.model_dump(mode="json") for row in rows]
    raw["measurements"] = [m.model_dump(mode="json") for m in remeasured(view, family, run)]
    told = answers(view.gates.get(FAMILY), view.registry, run.adapters, view.rules)
    raw["gates"] = [one.model_dump(mode="json") for one in told]
    (folder / "arrays").mkdir(parents=True)
    (folder / "locks").mkdir()
    (folder / "locks" / LOCK).write_bytes(lock)
    (folder / "run.json").write_text(json.dumps(raw, indent=1), encoding="utf-8")
    for chip, arrays in held.items():
        np.savez_compressed(folder / "arrays" / f"{chip}.npz", **arrays)
    return folder


def checkout(target: Path, root: Path) -> Path:
    """A checkout of its own: the project's registry and no runs."""
    for name in ("claims", "schemes", "families", "recipes", "gates"):
        shutil.copytree(root / "eval" / name, target / "eval" / name)
    shutil.copy(root / "eval" / "rules.yaml", target / "eval")
    return target


def opened(path: Path) -> dict[str, bytes]:
    """Files of a bundle by name."""
    import zipfile

    with zipfile.ZipFile(path) as held:
        return {name: held.read(name) for name in held.namelist()}


def resealed(path: Path, files: dict[str, bytes], edit: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    """Write a bundle whose hashes are all made to fit: what somebody does who knows how."""
    inside = {name: raw for name, raw in files.items() if name != NAME}
    told = read_manifest(files[NAME]).model_dump(mode="json", by_alias=True)
    told["files"] = {
        name: PackedFile(sha256=hashlib.sha256(raw).hexdigest(), size_bytes=len(raw)).model_dump()
        for name, raw in sorted(inside.items())
    }
    edit(told)
    manifest = Manifest.model_validate(told).sealed()
    write_archive(path, {**inside, NAME: manifest.text().encode()})
    return path


def leaves(value: Any, kinds: tuple[type, ...], where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every leaf of these types in a JSON value; a bool is no int here."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield from leaves(held, kinds, (*where, key))
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from leaves(held, kinds, (*where, number))
    elif type(value) in kinds:
        yield where


def put(value: Any, where: tuple[Any, ...], change: Callable[[Any], Any]) -> None:
    """Change one leaf in place."""
    for step in where[:-1]:
        value = value[step]
    value[where[-1]] = change(value[where[-1]])
