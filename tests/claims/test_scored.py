"""What a run's matrices say of the claims: equal quantities only, whole splits by value, others by interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.claims.registry import Registry, read_registry
from harness.claims.schemes import Scheme, read_schemes
from harness.claims.scored import scored
from harness.claims.verdicts import judge
from harness.records import ChipScore, Measurement, SweepRow
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import miou

CARD = """\
schema: 1
card: a-card
family: some
kind: card
title: A card
author: Nobody
date: 2026-11-21
source: {repository: tests}
claims:
  - {id: miou, quantity: {subject: a, metric: mIoU, averaging: macro, scheme: footprints, split: test}, value: "0.6250", tolerance: "0.005"}
  - {id: iou, quantity: {subject: a, metric: iou, class_index: 1, class_name: building, averaging: pooled, scheme: footprints, split: test}, value: "0.5000", tolerance: "0.005"}
  - {id: name, quantity: {subject: a, metric: iou, class_index: 1, class_name: water, averaging: pooled, scheme: footprints, split: test}, value: "0.5000", tolerance: "0.005"}
  - {id: at, quantity: {subject: a, metric: iou, class_index: 1, class_name: building, averaging: pooled, scheme: footprints, split: test, threshold: "0.7"}, value: "0.2500", tolerance: "0.005"}
  - {id: unswept, quantity: {subject: a, metric: iou, class_index: 1, averaging: pooled, scheme: footprints, split: test, threshold: "0.71"}, value: "0.2500", tolerance: "0.005"}
  - {id: scheme, quantity: {subject: a, metric: accuracy, scheme: training-code, split: test}, value: "0.8000", tolerance: "0.005"}
  - {id: place, quantity: {subject: a, metric: accuracy, scheme: footprints, split: test, averaging: single, place: c1}, value: "0.8000", tolerance: "0.005"}
  - {id: other, quantity: {subject: a, metric: accuracy, scheme: footprints, split: val}, value: "0.8000", tolerance: "0.005"}
"""  # noqa: E501

MATRIX = [[60, 10], [10, 20]]
"""IoU 60/80 and 20/40, accuracy 0.8."""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    path = tmp_path / "card.yaml"
    path.write_text(CARD, encoding="utf-8")
    return read_registry([path])


@pytest.fixture
def schemes(root: Path) -> dict[str, Scheme]:
    return read_schemes(root / "eval" / "schemes")


def chip(
    name: str, matrix: list[list[int]] | None = None, size: int | None = 2, split: str | None = "test"
) -> ChipScore:
    counts = matrix or MATRIX
    return ChipScore(
        chip=name,
        sha256="x",
        scored=True,
        reason=None,
        split=split,
        split_size=size,
        confusion=counts,
        sweep=[SweepRow(threshold=0.7, tp=10, fp=10, fn=20, tn=60)],
    )


def verdicts(registry: Registry, found: list[Measurement]) -> dict[str, str]:
    """Verdict of each claim on the measurement with most in common."""
    out = {}
    for claim in registry.claims:
        words = [judge(claim, m).word for m in found]
        out[claim.id.split("/")[-1]] = next((w for w in words if w != "not comparable"), "not comparable")
    return out


def test_a_whole_split_is_judged_by_its_value_and_unlike_quantities_are_not(
    registry: Registry, schemes: dict[str, Scheme]
) -> None:
    found = scored(registry, schemes, "a", [chip("c1"), chip("c2")], ["footprints"])
    assert all(m.whole and m.interval is None and m.n in (1, 2) for m in found)
    assert verdicts(registry, found) == {
        "miou": "reproduced",
        "iou": "reproduced",
        "name": "not comparable",
        "at": "reproduced",
        "unswept": "not comparable",
        "scheme": "not comparable",
        "place": "reproduced",
        "other": "not comparable",
    }


def test_a_shift_by_more_than_the_tolerance_is_not_reproduced(registry: Registry, schemes: dict[str, Scheme]) -> None:
    worse = [[60, 10], [12, 18]]
    found = scored(registry, schemes, "a", [chip("c1", worse), chip("c2", worse)], ["footprints"])
    assert {k: v for k, v in verdicts(registry, found).items() if k in ("miou", "iou", "place")} == {
        "miou": "not reproduced",
        "iou": "not reproduced",
        "place": "not reproduced",
    }


def test_a_chip_that_failed_makes_the_split_a_part(registry: Registry, schemes: dict[str, Scheme]) -> None:
    failed = ChipScore(chip="c2", sha256="", scored=False, reason="gone", split="test", split_size=2)
    found = scored(registry, schemes, "a", [chip("c1"), failed], ["footprints"])
    assert not any(m.whole for m in found if m.quantity.place is None)
    assert verdicts(registry, found)["miou"] == "inconclusive"


def test_a_split_of_which_a_chip_was_never_given_is_a_part(registry: Registry, schemes: dict[str, Scheme]) -> None:
    found = scored(registry, schemes, "a", [chip("c1", size=3), chip("c2", size=3)], ["footprints"])
    assert not any(m.whole for m in found if m.quantity.place is None)


def test_some_scenes_get_an_interval_that_holds_the_pooled_value(
    registry: Registry, schemes: dict[str, Scheme]
) -> None:
    random = np.random.default_rng(1)
    matrices = [random.multinomial(400, [0.6, 0.1, 0.1, 0.2]).reshape(2, 2).tolist() for _ in range(40)]
    chips = [chip(f"c{i}", m, size=None) for i, m in enumerate(matrices)]
    found = scored(registry, schemes, "a", chips, ["footprints"])
    (measured,) = [m for m in found if m.quantity.metric == "mIoU"]
    pooled = ConfusionMatrix(tuple(tuple(int(v) for v in row) for row in np.sum(matrices, axis=0)))
    assert measured.n == 40
    assert measured.value == miou(pooled).value
    assert measured.interval is not None
    low, high = measured.interval
    assert low < measured.value < high < low + 0.06  # type: ignore[operator]
    few = scored(registry, schemes, "a", chips[:2], ["footprints"])
    assert all(m.interval is None for m in few)


def test_nothing_is_measured_without_a_split_or_under_two_schemes(
    registry: Registry, schemes: dict[str, Scheme]
) -> None:
    assert scored(registry, schemes, "a", [chip("c1", split=None)], ["footprints"]) == []
    assert scored(registry, schemes, "a", [chip("c1")], ["footprints", "card"]) == []
    assert scored(registry, schemes, "b", [chip("c1")], ["footprints"]) == []


def test_chips_chosen_for_what_is_on_them_enter_no_claim_about_a_set(
    registry: Registry, schemes: dict[str, Scheme]
) -> None:
    probe = chip("c3", [[0, 50], [50, 0]], size=None).model_copy(update={"role": "probe"})
    chips = [chip("c1", size=None), chip("c2", size=None)]
    alone = scored(registry, schemes, "a", chips, ["footprints"])
    assert scored(registry, schemes, "a", [*chips, probe], ["footprints"]) == alone


def test_scenes_are_asked_for_where_the_report_says_inconclusive(
    registry: Registry, schemes: dict[str, Scheme]
) -> None:
    """Without the card's own spread a figure is not reproduced; beside one other scene it may be luck."""
    random = np.random.default_rng(2)
    matrices = [random.multinomial(100, [0.54, 0.13, 0.13, 0.2]).reshape(2, 2).tolist() for _ in range(8)]
    chips = [chip(f"c{i}", m, size=None) for i, m in enumerate(matrices)]
    (claim,) = [c for c in registry.claims if c.quantity.metric == "mIoU"]
    for scenes in (None, 1):
        found = scored(registry, schemes, "a", chips, ["footprints"], scenes=lambda _, n=scenes: n)  # type: ignore[misc]
        (measured,) = [m for m in found if m.quantity.metric == "mIoU"]
        said = judge(claim, measured, None, scenes).word
        assert said == ("not reproduced" if scenes is None else "inconclusive")
        assert bool(measured.needed) is (said == "inconclusive")


def test_a_claim_to_the_last_digit_asks_for_no_scenes(registry: Registry, schemes: dict[str, Scheme]) -> None:
    exact = [c.model_copy(update={"tolerance": "rounding"}) for card in registry.cards for c in card.claims]
    cards = [registry.cards[0].model_copy(update={"claims": exact})]
    chips = [chip(f"c{i}", size=None) for i in range(4)]
    found = scored(Registry(tuple(cards)), schemes, "a", chips, ["footprints"])
    assert found
    assert not any(m.needed for m in found)
