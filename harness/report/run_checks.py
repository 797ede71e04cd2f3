"""What a run folder holds beside run.json, and what of the record can be counted again from it."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import ReportError
from harness.records import AdapterRun, ChipScore, RunRecord
from harness.score.confusion import ConfusionMatrix
from harness.score.sweep import sweep

UNLABELLED = -1
"""Label where a pixel has no class; the training configurations ignore the same."""


@dataclass(frozen=True)
class Arrays:
    """One chip's arrays, all on one grid."""

    rgb: NDArray[np.uint8] | None
    """Shape (H, W, 3), stretched for the eye; None for a chip without red, green and blue."""
    gsd_m: float
    """Side of a pixel; NaN where the file does not say."""
    labels: dict[str, NDArray[np.int64]]
    """By scheme, shape (H, W): class indices, UNLABELLED where there is none; under `` the one that
    names no scheme."""
    classes: dict[str, NDArray[np.uint8]]
    """Predicted class by adapter, shape (H, W)."""
    probabilities: dict[str, NDArray[np.float32]]
    """By adapter, shape (K, H, W), 0 to 1."""
    beside: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What stands beside the scores, by name: `land`, `MAP:SCHEME`, `fitted:SCHEME`; shapes are checked where used."""

    @property
    def pixels(self) -> int:
        """H x W."""
        return next(int(c.size) for c in self.classes.values())

    def label(self, scheme: str | None) -> NDArray[np.int64] | None:
        """The label in a scheme, else the one that names none; None where there is neither."""
        return self.labels.get(scheme or "", self.labels.get(""))


def read_arrays(folder: Path, chip: str, adapters: Iterable[str]) -> Arrays:
    """Read arrays/<chip>.npz of a run folder.

    Args:
        folder: The run folder.
        chip: Chip id.
        adapters: Those that must be in it: every one that ran on the chip, at least one.

    Raises:
        ReportError: The id is no file name; the file is missing or unreadable; an array is missing,
            of another type, or of another shape than the others.
    """
    if not chip or set(chip) & set("/\\\0"):
        raise ReportError(f"{folder / 'run.json'}: chip id {chip!r} is no file name; the run was not written by us")
    path = folder / "arrays" / f"{chip}.npz"
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("one array and no archive of arrays")
            held = {name: file[name] for name in file.files}
    except FileNotFoundError as err:
        raise ReportError(f"{path}: not there; figures and recounts need it: run again, or fetch it") from err
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as err:
        raise ReportError(f"{path}: unreadable: {err}; run again, or fetch it again") from err

    def array(key: str, kind: type[np.generic], dimensions: int) -> NDArray[Any]:
        if key not in held:
            raise ReportError(f"{path}: no array {key!r}, though run.json says that it ran; run again")
        found: NDArray[Any] = held[key]
        if found.dtype != kind or found.ndim != dimensions:
            raise ReportError(
                f"{path}: {key} is {found.dtype} with shape {found.shape}; {kind.__name__} with {dimensions} "
                "dimensions is needed"
            )
        return found

    names = list(adapters)
    gsd = held.get("gsd_m", np.array(np.nan))
    if gsd.ndim or gsd.dtype.kind not in "fiu":
        raise ReportError(f"{path}: gsd_m is {gsd.dtype} with shape {gsd.shape}; one number is needed")
    out = Arrays(
        rgb=array("rgb", np.uint8, 3) if "rgb" in held else None,
        gsd_m=float(gsd),
        labels={n[6:]: array(n, np.int64, 2) for n in held if n == "label" or n.startswith("label:")},
        classes={a: array(f"classes:{a}", np.uint8, 2) for a in names},
        probabilities={a: array(f"probabilities:{a}", np.float32, 3) for a in names},
        beside={n.removeprefix("beside:"): each for n, each in held.items() if n.startswith("beside:")},
    )
    shapes = {f"classes:{a}": out.classes[a].shape for a in names}
    shapes |= {f"probabilities:{a}": out.probabilities[a].shape[1:] for a in names}
    shapes |= {f"label {scheme}".strip(): label.shape for scheme, label in out.labels.items()}
    if out.rgb is not None:
        shapes |= {"rgb": out.rgb.shape[:2]}
    (first, size), *others = shapes.items()
    for key, shape in others:
        if shape != size or not out.pixels:
            raise ReportError(f"{path}: {key} covers {shape} px, {first} {size}: not one chip")
    return out


@dataclass(frozen=True)
class Check:
    """One line of the checks."""

    status: Literal["consistent", "inconsistent", "undetermined"]
    """undetermined: there was nothing to check."""
    text: str
    """What was checked and what was found; not escaped."""


NAMED = 8
"""Cases of one check that are spelled out; of the others only their number is said."""


@dataclass
class Ledger:
    """Checks by title, in the order in which they first came up."""

    passed: dict[str, int] = field(default_factory=dict)
    """Cases that hold."""
    failed: dict[str, list[str]] = field(default_factory=dict)
    """Cases that do not, in words."""

    def expect(self, title: str) -> None:
        """List a check, so that it shows even where nothing comes to it."""
        self.passed.setdefault(title, 0)
        self.failed.setdefault(title, [])

    def hold(self, title: str, case: str, wrong: str | None) -> None:
        """Enter one case; `wrong` says what is wrong, None where nothing is."""
        self.expect(title)
        if wrong is None:
            self.passed[title] += 1
        else:
            self.failed[title].append(f"{case}: {wrong}")

    def checks(self) -> list[Check]:
        """All of them."""
        out = []
        for title, good in self.passed.items():
            bad = self.failed[title]
            if bad:
                more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
                text = f"{title}: {'; '.join(bad[:NAMED])}{more} ({good} of {good + len(bad)} hold)"
                out.append(Check("inconsistent", text))
            elif good:
                out.append(Check("consistent", f"{title} ({good} of {good})"))
            else:
                out.append(Check("undetermined", f"{title}: nothing here to check"))
        return out


SUMS = "Confusion matrices count every labelled pixel once, and what they leave out is unlabelled"
RECOUNT = "Confusion matrices equal a recount of label against prediction"
SIZE = "Predicted pixels sum to the chip's size"
PREDICTED = "Predicted pixels equal a recount of the prediction"
HIGHEST = "Every predicted class has the highest probability of its pixel"
HASH = "Probabilities have the hash on record"
ABOVE = "Pixels above each threshold equal a recount of the probabilities"
SWEEP = "Sweeps equal a recount of the probabilities"


def whole_run(run: RunRecord) -> Ledger:
    """What can be checked on run.json alone."""
    out = Ledger()
    for each in run.adapters:
        load, name = each.load, each.adapter
        parts = sum(p.pairs for p in load.places)
        short = [p.place for p in load.places if p.pairs != p.expected]
        wrong = None
        if load.lora_applied != load.lora_expected or parts != load.lora_applied or short:
            where = f"; short at {', '.join(short)}" if short else ""
            wrong = f"{load.lora_applied} of {load.lora_expected}, by place {parts}{where}"
        out.hold("Every LoRA pair is applied", name, wrong)
        for what, got, wanted in (
            ("base", load.base_loaded, load.base_expected),
            ("decoder", load.decoder_loaded, load.decoder_expected),
        ):
            wrong = None if got == wanted else f"{got} of {wanted}"
            if what == "decoder" and load.batch_norm.policy != "from the file":
                missing = 3 * (load.batch_norm.layers - load.batch_norm.in_file)
                wrong = None if got + missing == wanted else f"{got} and {missing} batch-norm buffers of {wanted}"
            out.hold(f"Every {what} tensor that the model expects is loaded", name, wrong)
        stated = run.weights == "random"
        wrong = None if load.random_weights == stated else f"run.json says {run.weights}, its load audit otherwise"
        out.hold("Run and load audits agree on whether weights are random", name, wrong)
        ids = [c.chip for c in each.chips]
        same = ids == [c.chip for c in run.adapters[0].chips] and len(set(ids)) == len(ids)
        out.hold("Every adapter lists the same chips, each once", name, None if same else f"{len(ids)} chips")
        for chip in each.chips:
            told = (chip.confusion is not None and chip.reason is None) if chip.scored else bool(chip.reason)
            bare = chip.scored or chip.confusion is None
            wrong = None if told and bare else "a matrix and a reason exclude each other"
            out.hold("Every chip has a confusion matrix or the reason why not", f"{name} on {chip.chip}", wrong)
    for title in (SUMS, RECOUNT, SIZE, PREDICTED, HIGHEST, HASH, ABOVE, SWEEP):
        out.expect(title)
    return out


def one_chip(out: Ledger, each: AdapterRun, score: ChipScore, arrays: Arrays) -> None:
    """Count again what the record says about one chip through one adapter."""
    case = f"{each.adapter} on {score.chip}"
    classes, probabilities = arrays.classes[each.adapter], arrays.probabilities[each.adapter]
    k = each.load.classes
    if score.scored and score.confusion is not None:
        _scored(out, case, score, arrays.label(each.scheme), classes, k)
    total = sum(score.predicted_px)
    out.hold(SIZE, case, None if total == arrays.pixels else f"{total:,} of {arrays.pixels:,} px")
    counted = np.bincount(classes.ravel(), minlength=k).tolist()
    out.hold(PREDICTED, case, None if counted == score.predicted_px else f"{score.predicted_px} against {counted}")
    wrong: str | None = f"{probabilities.shape[0]} probabilities a pixel, {k} classes"
    if probabilities.shape[0] == k and int(classes.max()) < k:
        own = np.take_along_axis(probabilities, classes[None].astype(np.intp), axis=0)[0]
        below = int(np.count_nonzero(~(own == probabilities.max(axis=0))))
        wrong = f"not on {below:,} px" if below else None
    out.hold(HIGHEST, case, wrong)
    digest = hashlib.sha256(np.ascontiguousarray(probabilities, "<f4").tobytes()).hexdigest()
    same = digest == score.probabilities_sha256
    out.hold(HASH, case, None if same else f"{digest[:12]}, on record {(score.probabilities_sha256 or '-')[:12]}")
    if score.predicted_above:
        counts = {t: int(np.count_nonzero(probabilities[1] > np.float32(t))) for t in score.predicted_above}
        off = [f"{n:,} px above {t} on record, {counts[t]:,} counted" for t, n in score.predicted_above.items()]
        off = [text for text, t in zip(off, counts, strict=True) if counts[t] != score.predicted_above[t]]
        out.hold(ABOVE, case, "; ".join(off) or None)
    if score.sweep:
        out.hold(SWEEP, case, _swept(score, arrays.label(each.scheme), probabilities))


def _scored(
    out: Ledger, case: str, score: ChipScore, label: NDArray[np.int64] | None, classes: NDArray[np.uint8], k: int
) -> None:
    if label is None:
        for title in (SUMS, RECOUNT):
            out.hold(title, case, "the arrays hold no label")
        return
    counted, labelled = sum(map(sum, score.confusion or [])), int(np.count_nonzero(label != UNLABELLED))
    wrong = None
    if counted != labelled or score.ignored_px != label.size - labelled:
        wrong = (
            f"{counted:,} px counted and {score.ignored_px:,} left out; {labelled:,} are labelled and "
            f"{label.size - labelled:,} are not"
        )
    out.hold(SUMS, case, wrong)
    try:
        again = ConfusionMatrix.from_maps(label, classes, k, UNLABELLED).to_json()["counts"]
        cells = [(i, j) for i in range(k) for j in range(k) if again[i][j] != (score.confusion or [])[i][j]]
        first = cells[0] if cells else (0, 0)
        wrong = None
        if cells:
            told = (score.confusion or [])[first[0]][first[1]]
            wrong = (
                f"label {first[0]}, prediction {first[1]} is {told:,} on record and {again[first[0]][first[1]]:,} "
                f"counted; {len(cells)} of {k * k} counts differ"
            )
    except ValueError as err:
        wrong = str(err)
    out.hold(RECOUNT, case, wrong)


def _swept(score: ChipScore, label: NDArray[np.int64] | None, probabilities: NDArray[np.float32]) -> str | None:
    if label is None:
        return "the arrays hold no label"
    if probabilities.shape[0] != 2:
        return f"a sweep of {probabilities.shape[0]} classes"
    try:
        points = sweep(probabilities[1], label, [row.threshold for row in score.sweep])
    except ValueError as err:
        return str(err)
    for row, point in zip(score.sweep, points, strict=True):
        m = point.matrix
        if (row.tp, row.fp, row.fn, row.tn) != (m.tp, m.fp, m.fn, m.tn):
            told = f"TP {row.tp:,} FP {row.fp:,} FN {row.fn:,} TN {row.tn:,}"
            return f"at {row.threshold:g} {told} on record, TP {m.tp:,} FP {m.fp:,} FN {m.fn:,} TN {m.tn:,} counted"
    return None
