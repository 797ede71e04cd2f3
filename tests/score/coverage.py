"""Simulates how often the intervals of `harness.score` hold a known truth.

`python -m tests.score.coverage` draws the worlds of `tests.score.worlds`, writes
harness/score/coverage.json, which every interval quotes, and docs/coverage.md. `--check` draws them
again and fails where a coverage differs by more than the draw can explain, or where the page is
not the file. `--samples N` prints a smaller page and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.score.clusters import Estimand, Floats, StackMetric, difference, effective_clusters, metric
from harness.score.resample import (
    Limits,
    bca_limits,
    draw_weights,
    estimate,
    leave_one_out,
    percentile_limits,
    replicate,
    t_limits,
)
from harness.score.simulated import FILE, Coverage, Kind, Row
from tests.score.coverage_page import page
from tests.score.worlds import WORLDS, World

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
SEED = 2611
CLUSTERS = (2, 3, 4, 5, 6, 8, 10, 14, 20, 30, 50)
SAMPLES = 4_000
"""A coverage of 0.95 is then known to 0.0034 (one standard error)."""
REPLICATES = 1_000
LEVEL = 0.95
TRUTH_SCENES = 400_000
"""Scenes that stand for all: the truth is then known to a hundredth of the spread between 50 scenes."""
CELLS = 2_500_000
"""Matrix cells held at once; 20 MB."""
APART = 4.5
"""Standard errors of a difference that `--check` lets pass; numerics of another machine move far fewer samples."""

Judged = tuple[Kind, Estimand, str, StackMetric, int | None]
"""Kind, estimand, name in tables, metric, and the arm (None: both, as a difference)."""


def judged(world: World) -> tuple[Judged, ...]:
    """What is simulated in a world: each metric of the first arm, and the arms' difference in mIoU."""
    out: list[Judged] = []
    for (name, _), of in zip(world.metrics, world.chosen(), strict=True):
        out.append(("pooled", "pooled", of.name, of, 0))
        if name != "recall":  # undefined in scenes without the class, whose number then varies
            out.append(("per_cluster", "per_cluster", of.name, of, 0))
    minus = difference(metric("mIoU", over=range(len(world.shares))))
    out.append(("pooled difference", "pooled", "mIoU", minus, None))
    out.append(("per_cluster difference", "per_cluster", "mIoU", minus, None))
    return tuple(out)


def truths(world: World, seed: int = SEED, scenes: int = TRUTH_SCENES) -> list[float]:
    """True value of each of `judged`, from so many scenes that the sample is the population."""
    rng = np.random.default_rng([seed, 0])
    block = 20_000
    pooled: Floats = np.zeros((2, len(world.shares), len(world.shares)))
    own = np.zeros(len(judged(world)))
    for _ in range(scenes // block):
        pooled += world.expected(rng, (block,)).sum(0)
        drawn = world.draw(rng, (block,)).astype(np.float64)
        for at, (_, estimand, _, of, arm) in enumerate(judged(world)):
            if estimand == "per_cluster":
                own[at] += float(of.of(drawn if arm is None else drawn[:, arm]).mean())
    out = []
    for at, (_, estimand, _, of, arm) in enumerate(judged(world)):
        whole = pooled if arm is None else pooled[arm]
        out.append(float(of.of(whole)) if estimand == "pooled" else own[at] / (scenes // block))
    return out


def within(ends: Limits, of: StackMetric) -> Limits:
    """Ends cut to the range of the metric, as reports give them; NaN stays."""
    assert of.lo is not None
    assert of.hi is not None
    return Limits(np.maximum(ends.low, of.lo), np.minimum(ends.high, of.hi))


def limits(stack: Floats, weights: Floats, of: StackMetric, estimand: Estimand, cell: int) -> dict[str, Limits]:
    """Ends of every method's interval, from the functions that `interval` calls; (samples, n, cells) to (samples,)."""
    value, left_out = estimate(stack, of, estimand, cell), leave_one_out(stack, of, estimand, cell)
    drawn = replicate(stack, weights, of, estimand, cell)
    return {
        "percentile": percentile_limits(drawn, LEVEL),
        "bca": bca_limits(drawn, value, left_out, LEVEL),
        "jackknife_t" if estimand == "pooled" else "t": within(
            t_limits(value, left_out, effective_clusters(stack, of, estimand, cell), LEVEL), of
        ),
    }


def simulate(
    world: World, n: int, samples: int, true: Sequence[float]
) -> dict[tuple[int, str], tuple[int, int, float]]:
    """Samples that held the truth, samples given an interval, and summed width, by `judged` and method."""
    rng = np.random.default_rng([SEED, n, *world.name.encode()])
    block = max(1, CELLS // (2 * len(world.shares) ** 2 * REPLICATES))
    found: dict[tuple[int, str], tuple[int, int, float]] = {}
    for start in range(0, samples, block):
        drawn = world.draw(rng, (min(block, samples - start), n)).astype(np.float64)
        weights = draw_weights(rng, n, REPLICATES)
        for at, (_, estimand, _, of, arm) in enumerate(judged(world)):
            stack, cell = (drawn, 3) if arm is None else (drawn[:, :, arm], 2)
            for method, (low, high) in limits(stack, weights, of, estimand, cell).items():
                given = ~np.isnan(low) & ~np.isnan(leave_one_out(stack, of, estimand, cell)).any(-1)
                held = given & (low <= true[at]) & (true[at] <= high)
                a, b, c = found.get((at, method), (0, 0, 0.0))
                found[at, method] = (a + int(held.sum()), b + int(given.sum()), c + float((high - low)[given].sum()))
    return found


def measure(samples: int = SAMPLES, clusters: Sequence[int] = CLUSTERS, scenes: int = TRUTH_SCENES) -> Coverage:
    """Simulate every world at every number of clusters."""
    rows: list[Row] = []
    known: dict[str, float] = {}
    began = time.monotonic()
    for world in WORLDS:
        true = truths(world, scenes=scenes)
        by_n = [simulate(world, n, samples, true) for n in clusters]
        for at, (kind, _, name, _, _) in enumerate(judged(world)):
            known[f"{kind}/{world.name}/{name}"] = round(true[at], 6)
            for method in [m for i, m in by_n[0] if i == at]:
                cells = [found[at, method] for found in by_n]
                rows.append(
                    Row.model_validate(
                        {
                            "kind": kind,
                            "world": world.name,
                            "metric": name,
                            "method": method,
                            "covered": [held for held, _, _ in cells],
                            "given": [given for _, given, _ in cells],
                            "width": [round(wide / given, 5) if given else 0.0 for _, given, wide in cells],
                        }
                    )
                )
        print(f"{world.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return Coverage(
        schema=1,
        seed=SEED,
        drawn=samples,
        replicates=REPLICATES,
        level=LEVEL,
        clusters=list(clusters),
        truths=known,
        rows=rows,
    )


def as_text(coverage: Coverage) -> str:
    """The file: one row a line."""
    data = coverage.model_dump(by_alias=True)
    rows = ",\n".join("  " + json.dumps(row) for row in data.pop("rows"))
    head = json.dumps(data, indent=1).rstrip().removesuffix("}").rstrip()
    return f'{head},\n "rows": [\n{rows}\n ]\n}}\n'


def differing(old: Coverage, new: Coverage) -> Iterator[str]:
    """Cells whose coverage differs by more than APART standard errors, and anything not drawn alike."""
    shape = [(r.kind, r.world, r.metric, r.method) for r in old.rows]
    if shape != [(r.kind, r.world, r.metric, r.method) for r in new.rows] or old.clusters != new.clusters:
        yield "other worlds, metrics, methods or numbers of clusters"
        return
    for a, b in zip(old.rows, new.rows, strict=True):
        for at, n in enumerate(old.clusters):
            if not a.given[at] or not b.given[at]:
                if a.given[at] != b.given[at]:
                    yield f"{a.kind}/{a.world}/{a.metric}/{a.method} at {n}: intervals in one of the two only"
                continue
            p, q = a.covered[at] / a.given[at], b.covered[at] / b.given[at]
            both = (a.covered[at] + b.covered[at]) / (a.given[at] + b.given[at])
            error = math.sqrt(max(both * (1 - both), 1e-4) * (1 / a.given[at] + 1 / b.given[at]))
            if abs(p - q) > APART * error:
                yield f"{a.kind}/{a.world}/{a.metric}/{a.method} at {n}: {p:.4f} in the file, {q:.4f} today"


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, then write, print or compare; 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.score.coverage", description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="other than the default: print only")
    parser.add_argument("--check", action="store_true", help="fail where file or page differ")
    options = parser.parse_args(argv)
    if options.check and options.samples != SAMPLES:
        parser.error(f"--check compares {SAMPLES:,} samples; leave --samples out")
    found = measure(options.samples)
    if options.samples != SAMPLES:
        print(page(found), end="")
        return 0
    if not options.check:
        FILE.write_text(as_text(found), encoding="utf-8")
        PAGE.write_text(page(found), encoding="utf-8")
        print(f"wrote {FILE} and {PAGE}", file=sys.stderr)
        return 0
    old = Coverage.model_validate(json.loads(FILE.read_text(encoding="utf-8")))
    wrong = list(differing(old, found))
    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page(old):
        wrong.append(f"{PAGE} is not the page of {FILE}")
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong:
        print("run python -m tests.score.coverage", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
