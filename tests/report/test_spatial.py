"""Scores without the chips on training ground: by scene, without probes, with what each interval is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.records import AdapterRun
from harness.report.counted import Counted
from harness.report.panels import key
from harness.report.run_tables import Page
from harness.report.spatial import Spatial
from tests.report.test_run_report import load

RECALL = [0.55, 0.7, 0.85, 0.97]
"""Of four parents that differ; the last one lies on training ground."""


def chip(name: str, cluster: str | None, counts: list[list[int]], share: float, role: str | None) -> dict[str, Any]:
    return {
        "chip": name,
        "sha256": "ab" * 32,
        "scored": True,
        "reason": None,
        "cluster": cluster,
        "role": role,
        "confusion": counts,
        "shares_ground": [],
        "nearest_training": {"source": "s", "sha256": "ef" * 32, "parents": 1, "share": share},
    }


def spatial(parents: int = 4) -> Spatial:
    """16 chips of each parent and three probes that the adapter misses."""
    rng = np.random.default_rng(0)
    chips = []
    for p, recall in enumerate(RECALL[-parents:]):
        for k in range(16):
            tp = int(3000 * (recall + rng.normal(0, 0.01)))
            counts = [[7000 - tp // 4, tp // 4], [3000 - tp, tp]]
            chips.append(chip(f"p{p}_{k}", f"parent{p}", counts, float(p == parents - 1), "test"))
    chips += [chip(f"probe{k}", None, [[9000, 1000], [3000, 0]], 0.0, "probe") for k in range(3)]
    run = AdapterRun.model_validate(
        {"adapter": "buildings_nyc", "recipe": "r 1", "scheme": "two", "load": load("buildings_nyc", 2), "chips": chips}
    )
    return Spatial(Page(run, "t", key(2, None), None, ()), Counted(), None, random=False)


def ends(cell: str) -> tuple[float, float]:
    low, high = cell.partition("[")[2].partition("]")[0].split(", ")
    return float(low), float(high)


def test_chips_of_one_parent_are_one_scene_and_probes_no_sample() -> None:
    """Counted chip by chip, probes included, it read 0.673 [0.633, 0.713], n = 51."""
    held = spatial()
    table = held.without_table()
    assert table is not None
    assert list(table.head[:3]) == ["chips", "n", "scenes"]
    assert [row[:3] for row in table.rows] == [
        ["all chips of known place", "64", "4"],
        ["without overlapping chips", "48", "3"],
    ]
    low, high = ends(table.rows[1][3])
    assert high - low > 0.3
    words = held.without_words()
    assert "3 clusters" in words[1]
    assert "Rough: fewer than 10 clusters" in words[1]
    own = [c.confusion or [] for c in held.chips if c.cluster == "parent0"]
    (tn, fp), (fn, tp) = np.sum(own, axis=0).tolist()
    assert f"Each scene: parent0 {(tp / (tp + fp + fn) + tn / (tn + fp + fn)) / 2:.3f}, parent1" in words[1]
    assert held.left_out() == "probe0, probe1, probe2"
    assert held.without() == "16 of 64 scored chips share ground with training parents. With and without them:"


@pytest.mark.parametrize(
    ("parents", "said"), [(3, "Two clusters give no useful interval"), (2, "one cluster: nothing")]
)
def test_too_few_scenes_without_the_overlapping_ones_are_called_so(parents: int, said: str) -> None:
    held = spatial(parents)
    table = held.without_table()
    assert table is not None
    assert table.rows[1][2] == str(parents - 1)
    assert ("(not useful)" if parents == 3 else "no interval") in table.rows[1][3]
    assert said in held.without_words()[1]
