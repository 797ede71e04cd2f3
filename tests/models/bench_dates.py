"""What encoding each date once saves, at full size on random weights, ratios within one run.

Called by `nox -s bench`; never a test, since machines differ and others may be at work on this one.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from harness.claims.families import read_families
from harness.models.dates import DateCache
from harness.models.ensemble import Ensemble, load_family
from harness.models.synthetic import write_family
from tests.models.made import inputs

TASK = "lulc_nyc"
REPEATS = 7


def timed(ensemble: Ensemble, *, reuse: bool) -> tuple[float, np.ndarray]:
    """Seconds from tensors to logits with an empty cache, and the logits."""
    ensemble.reuse_dates, ensemble.dates = reuse, DateCache()
    start = time.perf_counter()
    logits = ensemble.predict(inputs(224), [TASK])[TASK].logits
    return time.perf_counter() - start, logits


def whole(ensemble: Ensemble) -> float:
    """Seconds of TerraTorch's own forward on all dates as one batch."""
    batch = {m: torch.from_numpy(a)[None] for m, a in inputs(224).arrays.items()}
    start = time.perf_counter()
    with torch.inference_mode():
        ensemble.adapters[TASK].model(batch)
    return time.perf_counter() - start


def main() -> None:
    """Print times and ratios."""
    family = read_families(Path(__file__).resolve().parents[2] / "eval" / "families")["terramind-nyc"]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(sys.argv[1]) if len(sys.argv) > 1 else write_family(family, Path(folder), only=[TASK])
        ensemble = load_family(family, weights, tasks=[TASK], device="cpu")
    timed(ensemble, reuse=True)
    times: dict[str, list[float]] = {"once": [], "each": [], "batch": []}
    for _ in range(REPEATS):
        once, a = timed(ensemble, reuse=True)
        each, b = timed(ensemble, reuse=False)
        if not np.array_equal(a, b):
            raise SystemExit("reuse changed the logits")
        for name, seconds in (("once", once), ("each", each), ("batch", whole(ensemble))):
            times[name].append(seconds)
    print(f"one chip of 224 px, one date four times, {TASK}, float32, {torch.get_num_threads()} threads")
    for name, label in (("once", "date once"), ("each", "every date alone"), ("batch", "four dates as a batch")):
        ratios = [t / o for t, o in zip(times[name], times["once"], strict=True)]
        print(
            f"{label:24} median {statistics.median(times[name]):6.2f} s, best {min(times[name]):6.2f} s; "
            f"times `date once`: paired median {statistics.median(ratios):.2f}, best by best "
            f"{min(times[name]) / min(times['once']):.2f}"
        )
    print("logits with and without reuse are the same bytes")


if __name__ == "__main__":
    main()
