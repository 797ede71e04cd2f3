"""Two arms on the same chips: the exact distribution against enumeration by hand, and what changes nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.clusters import Estimand, metric
from harness.score.interval import interval
from harness.score.paired import ENUMERATED, SWAPS, paired
from tests.score.worlds import WORLDS

IOU = metric("iou", 1)
MIOU = metric("mIoU")


def arms(n: int, seed: int = 5, world: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matrices of both arms whose label pixels are equal."""
    drawn = WORLDS[world].draw(np.random.default_rng(seed), (n,))
    drawn[:, 1, :, 0] += drawn[:, 0].sum(-1) - drawn[:, 1].sum(-1)  # rounding of a few pixels
    return drawn[:, 0], drawn[:, 1]


def iou(m: NDArray[Any]) -> float:
    return float(m[1, 1] / (m[1].sum() + m[:, 1].sum() - m[1, 1]))


@given(st.integers(2, 6), st.integers(0, 10_000))
@settings(max_examples=25)
def test_p_equals_a_count_over_all_swaps(n: int, seed: int) -> None:
    a, b = arms(n, seed)
    observed = abs(iou(b.sum(0)) - iou(a.sum(0)))
    far = 0
    for swaps in itertools.product([False, True], repeat=n):
        first = sum(y if s else x for x, y, s in zip(a, b, swaps, strict=True))
        second = sum(x if s else y for x, y, s in zip(a, b, swaps, strict=True))
        far += abs(iou(np.asarray(second)) - iou(np.asarray(first))) >= observed - 1e-12
    found = paired(a, b, IOU, "pooled", replicates=1_000)
    assert found.p == pytest.approx(far / 2**n)
    assert (found.exact, found.swaps) == (True, 2**n)


def test_the_mean_over_clusters_is_the_sign_flip_test() -> None:
    a, b = arms(6, 9)
    own = [iou(y) - iou(x) for x, y in zip(a, b, strict=True)]
    sums = [abs(sum(s * d for s, d in zip(signs, own, strict=True))) for signs in itertools.product([1, -1], repeat=6)]
    far = sum(s >= abs(sum(own)) - 1e-12 for s in sums)
    found = paired(a, b, IOU, "per_cluster")
    assert found.p == pytest.approx(far / 64)
    assert found.difference.value == pytest.approx(np.mean(own))
    assert found.difference.clusters == pytest.approx(own)


@pytest.mark.parametrize("estimand", ["pooled", "per_cluster"])
@pytest.mark.parametrize("n", [4, 20])
def test_identical_arms_give_p_one(estimand: Estimand, n: int) -> None:
    a, _ = arms(n)
    found = paired(a, a, MIOU, estimand)
    assert found.p == 1
    assert found.difference.value == 0
    assert found.difference.low is None
    assert "say the same" in found.difference.why


@pytest.mark.parametrize("n", [7, 20])
def test_arms_in_the_other_order_turn_the_sign_alone(n: int) -> None:
    a, b = arms(n, 4)
    one, other = paired(a, b, MIOU, "pooled", "jackknife_t"), paired(b, a, MIOU, "pooled", "jackknife_t")
    assert one.difference.value is not None
    assert other.difference.value == pytest.approx(-one.difference.value)
    assert one.difference.low == pytest.approx(-(other.difference.high or 0))
    assert (one.first, one.second) == (other.second, other.first)
    assert one.p == pytest.approx(other.p, abs=0 if n <= ENUMERATED else 0.02)


def test_the_order_of_clusters_changes_nothing() -> None:
    for n in (6, 17):
        a, b = arms(n, 8)
        turned = np.random.default_rng(0).permutation(n)
        one, other = paired(a, b, MIOU, "pooled"), paired(a[turned], b[turned], MIOU, "pooled")
        assert one.p == other.p
        assert one.difference.low == pytest.approx(other.difference.low, abs=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_five_clusters_or_fewer_cannot_reach_a_twentieth_and_say_so(n: int) -> None:
    a, b = arms(n)
    b = b.copy()
    b[:, 1, 1] += b[:, 1, 0]  # far better in every cluster
    b[:, 1, 0] = 0
    found = paired(a, b, IOU, "pooled", replicates=1_000)
    assert found.p == found.smallest == 2 ** (1 - n)
    assert found.p > 0.05
    assert "out of reach; it needs 6 clusters" in found.why


def test_six_clusters_can_reach_a_twentieth() -> None:
    a, b = arms(6)
    b = b.copy()
    b[:, 1, 1] += b[:, 1, 0]
    b[:, 1, 0] = 0
    found = paired(a, b, IOU, "pooled")
    assert found.p == found.smallest == 1 / 32
    assert "out of reach" not in found.why
    assert found.difference.low is not None
    assert found.difference.low > 0


def test_random_swaps_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = arms(12, 21)
    b = b + (a - b) // 2  # a smaller difference, so that p is not at its end
    every = paired(a, b, MIOU, "pooled", same_labels=False)
    monkeypatch.setattr("harness.score.paired.ENUMERATED", 11)
    some = paired(a, b, MIOU, "pooled", same_labels=False, seed=4)
    assert every.p is not None
    assert some.p is not None
    assert (some.exact, some.swaps) == (False, SWAPS)
    assert some.p == pytest.approx(every.p, abs=4 * (every.p * (1 - every.p) / SWAPS) ** 0.5 + 1 / SWAPS)
    assert some.smallest == 1 / (SWAPS + 1)
    assert some == paired(a, b, MIOU, "pooled", same_labels=False, seed=4)


def test_p_is_even_where_the_arms_do_not_differ() -> None:
    rng = np.random.default_rng(3)
    low = 0
    for trial in range(200):
        a, b = arms(8, 1_000 + trial)
        swap = rng.random(8) < 0.5
        first, second = np.where(swap[:, None, None], b, a), np.where(swap[:, None, None], a, b)
        p = paired(first, second, IOU, "pooled", "jackknife_t", same_labels=False).p
        assert p is not None
        low += p <= 0.25
    assert low / 200 == pytest.approx(0.25, abs=0.11)


def test_swaps_without_a_value_count_as_far() -> None:
    # precision of class 1: only the second arm ever marks it, and only in two clusters
    a = np.array([[[8, 2], [3, 3]], [[8, 2], [2, 4]], [[9, 0], [6, 0]]])
    b = np.array([[[10, 0], [6, 0]], [[10, 0], [6, 0]], [[8, 1], [3, 3]]])
    found = paired(a, b, metric("precision", 1), "pooled")
    assert found.undefined == 2  # all marks in one arm, either way round
    far, observed = 0, 3 / 4 - 7 / 11
    for swaps in itertools.product([False, True], repeat=3):
        first = sum(y if s else x for x, y, s in zip(a, b, swaps, strict=True))
        second = sum(x if s else y for x, y, s in zip(a, b, swaps, strict=True))
        marks = [float(np.asarray(m)[:, 1].sum()) for m in (first, second)]
        if 0 in marks:
            far += 1
            continue
        apart = np.asarray(second)[1, 1] / marks[1] - np.asarray(first)[1, 1] / marks[0]
        far += abs(apart) >= abs(observed) - 1e-12
    assert found.p == pytest.approx(far / 8)
    assert "had no value and count as far" in found.why


def test_of_random_swaps_the_observed_order_is_one() -> None:
    a, b = arms(25)
    b = b.copy()
    b[:, 1, 1] += b[:, 1, 0]
    b[:, 1, 0] = 0
    found = paired(a, b, IOU, "pooled")
    assert found.p == found.smallest == 1 / (SWAPS + 1)


def test_arms_of_other_chips_are_refused() -> None:
    a, b = arms(4)
    with pytest.raises(ValueError, match="cluster 0 has label pixels"):
        paired(a, b[::-1], IOU, "pooled")
    with pytest.raises(ValueError, match="shape"):
        paired(a, b[:3], IOU, "pooled")
    assert paired(a, b[::-1], IOU, "pooled", same_labels=False).p is not None


def test_an_undefined_difference_has_no_p() -> None:
    a = np.array([[[5, 0, 0], [1, 4, 0], [0, 0, 0]], [[6, 1, 0], [2, 4, 0], [0, 0, 0]]])
    found = paired(a, a, metric("iou", 2), "pooled")
    assert (found.p, found.first, found.difference.value, found.swaps) == (None, None, None, 0)
    b = a.copy()
    b[0, 0, 0], b[0, 0, 2] = 4, 1
    other = paired(a, b, MIOU, "pooled")
    assert other.p is None
    assert "one arm only" in other.why
    assert paired(a, b, metric("mIoU", over=(0, 1)), "pooled").p is not None


def test_one_cluster_decides_nothing() -> None:
    a, b = arms(1)
    found = paired(a, b, IOU, "pooled")
    assert found.p == 1
    assert found.difference.low is None


@pytest.mark.parametrize("method", ["percentile", "bca", "jackknife_t", "best"])
def test_pairing_narrows_what_two_arms_apart_would_give(method: Any) -> None:
    a, b = arms(20, 2)
    found = paired(a, b, MIOU, "pooled", method).difference
    alone = interval(a, MIOU, "pooled")
    assert found.low is not None
    assert found.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert found.high - found.low < 0.6 * (alone.high - alone.low)
    assert found.coverage_simulated is not None
