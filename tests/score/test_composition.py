"""A population's share, split into label shares and rates, against cases worked by hand."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.bars import COUNTED, LABELS, RATES, Part
from harness.score.bridge import Bridge, Factor, bridge
from harness.score.clusters import metric
from harness.score.confusion import ConfusionMatrix
from harness.score.corners import Corner
from harness.score.population import prevalence_effect
from harness.score.shapley import corner_sets

NOTHING: frozenset[str] = frozenset()
P = frozenset({"p"})
PEOPLE = Factor("p", "population", "other scenes")
KNOB = Factor("k", "recipe", "k set otherwise")


def scenes(letter: str, *counts: tuple[int, int, float, float]) -> Corner:
    """Scenes of so many negative and positive pixels, with their FPR and TPR."""
    out = {}
    for i, (negative, positive, fpr, tpr) in enumerate(counts):
        fp, tp = round(negative * fpr), round(positive * tpr)
        out[f"{letter}{i}"] = ConfusionMatrix(((negative - fp, fp), (positive - tp, tp)))
    return out


def whole(corner: Corner) -> ConfusionMatrix:
    parts = list(corner.values())
    return sum(parts[1:], parts[0])


def parts_of(found: Bridge) -> tuple[Part, Part]:
    (share,) = (s for s in found.shares if s.factor.kind == "population")
    labels, rates = share.parts
    assert (labels.what, rates.what) == (LABELS, RATES)
    assert labels.effect + rates.effect == pytest.approx(share.effect, abs=1e-12)
    return labels, rates


def test_at_equal_rates_all_of_it_is_label_shares_as_in_closed_form() -> None:
    here = scenes("a", *[(8000, 2000, 0.2, 0.8)] * 5)
    there = scenes("b", *[(9000, 1000, 0.2, 0.8)] * 4)
    found = bridge([PEOPLE], {NOTHING: here, P: there}, "iou", 1)
    labels, rates = parts_of(found)
    closed = prevalence_effect(whole(here), [0.9, 0.1], "iou", 1)
    assert labels.effect == pytest.approx(closed.effect, abs=1e-12)
    assert rates.effect == pytest.approx(0, abs=1e-12)


def test_at_equal_label_shares_none_of_it_is() -> None:
    here = scenes("a", (8000, 2000, 0.2, 0.8), (4000, 1000, 0.25, 0.75))
    there = scenes("b", (800, 200, 0.1, 0.9), (1600, 400, 0.15, 0.8))
    labels, rates = parts_of(bridge([PEOPLE], {NOTHING: here, P: there}, "mIoU", None))
    assert labels.effect == pytest.approx(0, abs=1e-12)
    assert rates.effect > 0.05


def test_accuracy_by_hand() -> None:
    """Accuracy is shares times rates: half of each order's product."""
    here, there = scenes("a", *[(900, 100, 0.1, 0.5)] * 2), scenes("b", *[(500, 500, 0.2, 0.6)] * 2)
    labels, rates = parts_of(bridge([PEOPLE], {NOTHING: here, P: there}, "accuracy", None))
    value = {
        (s, r): share[0] * rate[0] + share[1] * rate[1]
        for s, share in enumerate([(0.9, 0.1), (0.5, 0.5)])
        for r, rate in enumerate([(0.9, 0.5), (0.8, 0.6)])
    }
    assert labels.effect == pytest.approx((value[1, 0] - value[0, 0] + value[1, 1] - value[0, 1]) / 2, abs=1e-12)
    assert rates.effect == pytest.approx((value[0, 1] - value[0, 0] + value[1, 1] - value[1, 0]) / 2, abs=1e-12)


def drawn(seed: int, ids: list[str]) -> dict[frozenset[str], Corner]:
    """Corners of factors, `p` among them; label pixels are those of the scene at every corner of its population."""
    rng = np.random.default_rng(seed)
    label = {far: rng.integers(200, 900, (4 + far, 3)) for far in (0, 1)}
    out: dict[frozenset[str], Corner] = {}
    for ids_on in corner_sets(ids):
        far = int("p" in ids_on)
        rates = rng.dirichlet(np.ones(3), (4 + far, 3)) + np.eye(3)
        cells = np.round(label[far][..., None] * rates / rates.sum(-1, keepdims=True)).astype(int)
        out[ids_on] = {f"{far}{i}": ConfusionMatrix(tuple(map(tuple, m))) for i, m in enumerate(cells.tolist())}
    return out


def mixed(rates: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = rates / rates.sum(1, keepdims=True) * (shares.sum(1) / shares.sum())[:, None]
    return out


@given(st.integers(0, 10_000))
def test_they_are_owens_shares_of_two_players_that_are_switched_together(seed: int) -> None:
    corners = drawn(seed, ["k", "l", "p"])
    factors = [KNOB, Factor("l", "recipe", "l set otherwise"), PEOPLE]
    labels, rates = parts_of(bridge(factors, corners, "mIoU", None, over=range(3)))
    of = metric("mIoU", None, range(3))
    pooled = {s: np.array(whole(c).counts, dtype=float) for s, c in corners.items()}

    def value(on: frozenset[str]) -> float:
        knobs = on & {"k", "l"}
        rate, share = (pooled[knobs | (P if player in on else NOTHING)] for player in ("rates", "labels"))
        return float(of.of(mixed(rate, share)))

    sums = dict.fromkeys(("labels", "rates"), 0.0)
    players = ["k", "l", "labels", "rates"]
    orders = [o for o in permutations(players) if abs(o.index("labels") - o.index("rates")) == 1]
    for order in orders:
        there = NOTHING
        for player in order:
            if player in sums:
                sums[player] += (value(there | {player}) - value(there)) / len(orders)
            there |= {player}
    assert labels.effect == pytest.approx(sums["labels"], abs=1e-12)
    assert rates.effect == pytest.approx(sums["rates"], abs=1e-12)


def test_intervals_are_those_of_scenes_left_out_one_by_one() -> None:
    """Of label shares: with the shares held as they are. Of rates: with everything left out."""
    rng = np.random.default_rng(3)

    def some(letter: str, n: int) -> Corner:
        px, rate = rng.integers((3000, 300), (9000, 3000), (n, 2)), rng.uniform((0.1, 0.6), (0.3, 0.9), (n, 2))
        return scenes(letter, *((*map(int, p), *map(float, r)) for p, r in zip(px, rate, strict=True)))  # type: ignore[arg-type]

    sides = [some("a", 9), some("b", 7)]
    labels, rates = parts_of(bridge([PEOPLE], {NOTHING: sides[0], P: sides[1]}, "accuracy", None))
    full = [np.array(whole(s).counts, dtype=float) for s in sides]
    of = metric("accuracy", None, None)

    def both(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
        def by(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
            return sum(float(of.of(mixed(r, y)) - of.of(mixed(r, x))) for r in (a, b)) / 2

        return by(*full), float(of.of(b) - of.of(a)) - by(a, b)

    variance = np.zeros(2)
    for side, corner in enumerate(sides):
        left = [[c for name, c in corner.items() if name != gone] for gone in corner]
        pooled = [np.sum([np.array(m.counts, dtype=float) for m in some], axis=0) for some in left]
        values = np.array([both(p, full[1]) if side == 0 else both(full[0], p) for p in pooled])
        variance += (len(corner) - 1) / len(corner) * ((values - values.mean(0)) ** 2).sum(0)
    for part, squared in zip((labels, rates), variance, strict=True):
        assert part.high is not None
        ratio = (part.high - part.effect) / math.sqrt(squared)
        assert 2.0 < ratio < 2.6  # a t quantile of 6 to 14 degrees of freedom
    assert (labels.high or 0) - labels.effect < 0.5 * ((rates.high or 0) - rates.effect)


def test_a_class_with_labels_at_one_end_alone_is_not_split() -> None:
    here = scenes("a", (800, 200, 0.2, 0.8), (700, 300, 0.2, 0.7))
    there = scenes("b", (800, 0, 0.2, 0.8), (700, 0, 0.1, 0.7))
    (share,) = bridge([PEOPLE], {NOTHING: here, P: there}, "accuracy", None).shares
    assert share.parts == ()
    assert "label pixels at one end alone" in share.parts_why


def test_a_knob_has_no_parts() -> None:
    found = bridge([KNOB, PEOPLE], drawn(1, ["k", "p"]), "accuracy", None)
    assert found.shares[0].parts == ()
    assert len(found.shares[1].parts) == 2


def uneven(letter: str, positive: float, *tpr: float) -> Corner:
    """Scenes alike in what they hold, unlike in how hard they are."""
    return scenes(letter, *((round(10_000 * (1 - positive)), round(10_000 * positive), 0.1, t) for t in tpr))


HERE = (0.9, 0.8, 0.6, 0.7, 0.85)
"""Share of positives that is found, scene by scene."""


def test_rates_that_other_scenes_might_have_leave_the_bridge_told_but_for_sampling() -> None:
    corners = {NOTHING: uneven("a", 0.3, *HERE), P: uneven("b", 0.25, 0.5, 0.9, 0.55, 0.75, 0.65)}
    found = bridge([PEOPLE], corners, "iou", 1)
    labels, rates = parts_of(found)
    assert labels.established
    assert labels.why == COUNTED
    assert not rates.established
    assert rates.effect < -found.floor
    assert rates.why == "not beyond what other scenes would do"
    assert not found.shares[0].detectable
    assert found.verdict == "told but for sampling"
    assert f"of p ({100 * found.shares[0].effect:+.1f}), other label shares explain" in found.sentence
    assert "Told but for sampling: all else of 2 points or more is established; p (other rates" in found.sentence
    assert "no detectable effect of p" not in found.sentence


def test_where_nothing_is_established_beside_what_is_left_nothing_is_told() -> None:
    """Recall is of positives alone."""
    corners = {NOTHING: uneven("a", 0.3, *HERE), P: uneven("b", 0.1, 0.5, 0.9, 0.55, 0.75, 0.65)}
    found = bridge([PEOPLE], corners, "recall", 1)
    labels, rates = parts_of(found)
    assert labels.effect == pytest.approx(0, abs=1e-12)
    assert labels.why == "less than 2 points"
    assert found.verdict == "cannot be told"
    assert found.why.startswith("nothing is established; p (other rates on the other scenes) ")
    assert f"{100 * rates.effect:+.1f}" in found.why


def test_parts_that_are_small_alone_do_not_make_a_large_share_small() -> None:
    """Labels and rates of 1.6 and 1.8 points, neither beyond the spread: the share of 3.4 is left open."""
    here = uneven("a", 0.30, 0.75, 0.55, 0.70, 0.60, 0.65, 0.62)
    there = uneven("b", 0.338, 0.78, 0.56, 0.72, 0.60, 0.70, 0.64)
    found = bridge([PEOPLE], {NOTHING: here, P: there}, "iou", 1)
    labels, rates = parts_of(found)
    assert max(abs(labels.effect), abs(rates.effect)) < found.floor <= abs(found.shares[0].effect)
    assert not found.shares[0].detectable
    assert found.verdict == "cannot be told"
    assert "no share reaches" not in found.why
    assert f"p {100 * found.shares[0].effect:+.1f} [" in found.why


def test_where_no_share_is_large_the_whole_share_says_how_large_it_might_be() -> None:
    """Label shares alone hang on little; other rates on other scenes might do more than either part shows."""
    corners = {NOTHING: uneven("a", 0.3, *HERE), P: uneven("b", 0.3, 0.62, 0.84, 0.74, 0.72, 0.88)}
    found = bridge([PEOPLE], corners, "iou", 1)
    (share,) = found.shares
    assert abs(share.effect) < found.floor
    assert share.low is not None
    assert share.high is not None
    reach = 100 * max(abs(share.low), abs(share.high))
    assert reach > 5
    assert found.why == f"no share reaches 2 points, though other scenes might show up to {reach:.1f} points"


def test_a_class_in_a_single_scene_leaves_the_whole_share_as_the_bar() -> None:
    """Without that scene its rates are not known: the parts have no error, the share has one."""
    rare = [
        ConfusionMatrix(((900 + i, 90, 0), (50, 400 + 3 * i, 0), (0, 2 * (i == 0), 8 * (i == 0)))) for i in range(12)
    ]
    corners = {NOTHING: {f"a{i}": m for i, m in enumerate(rare)}, P: {f"b{i}": m for i, m in enumerate(rare[:11])}}
    found = bridge([PEOPLE], corners, "accuracy", None)
    (share,) = found.shares
    assert share.parts == ()
    assert "hangs on a single scene" in share.parts_why
    assert share.low is not None
    assert found.verdict == "told"


def test_label_shares_that_no_rate_can_change_are_established() -> None:
    """The share of positives: whatever the model says, the label shares do it all."""
    here = scenes("a", *[(9000 - 100 * i, 1000 + 100 * i, 0.2, 0.7) for i in range(6)])
    there = scenes("b", *[(8000 - 200 * i, 2000 + 200 * i, 0.2, 0.7) for i in range(6)])
    found = bridge([PEOPLE], {NOTHING: here, P: there}, "prevalence", 1)
    labels, rates = parts_of(found)
    assert labels.established
    assert labels.low == labels.high == pytest.approx(labels.effect)
    assert labels.effect == pytest.approx(0.125)
    assert rates.effect == pytest.approx(0, abs=1e-12)
    assert found.verdict == "told"


def test_rates_beyond_the_luck_of_scenes_are_called_so() -> None:
    found = bridge(
        [PEOPLE], {NOTHING: uneven("a", 0.2, *HERE), P: uneven("b", 0.2, 0.3, 0.2, 0.35, 0.25, 0.3)}, "iou", 1
    )
    labels, rates = parts_of(found)
    assert not labels.established
    assert rates.established
    assert found.shares[0].detectable
    assert found.verdict == "told"


def test_two_scenes_say_nothing_of_the_rates() -> None:
    found = bridge([PEOPLE], {NOTHING: uneven("a", 0.3, *HERE[:2]), P: uneven("b", 0.1, 0.5, 0.7)}, "iou", 1)
    labels, rates = parts_of(found)
    assert rates.p is None
    assert not labels.established
    assert found.verdict == "cannot be told"


def test_rates_without_a_useful_band_are_open_and_not_left_to_sampling() -> None:
    """Equal label shares do nothing, so that the rates alone are not testable."""
    found = bridge([PEOPLE], {NOTHING: uneven("a", 0.2, *HERE[:2]), P: uneven("b", 0.2, 0.5, 0.7)}, "iou", 1)
    labels, rates = parts_of(found)
    assert labels.effect == pytest.approx(0, abs=1e-12)
    assert rates.p is None
    assert rates.why.startswith("not testable; ")
    assert found.verdict == "cannot be told"
    assert "p (other rates on the other scenes)" in found.why
