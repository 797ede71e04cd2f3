"""The formula language against Python's own arithmetic; judgements and trivial maps against maps really made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.errors import RegistryError
from harness.score.formula import LONGEST, SLACK, UndefinedError, names_of, parse, word
from harness.score.probes import (
    MAJORITY,
    Judged,
    Map,
    Probe,
    any_order,
    judge,
    shares,
    tally,
)

THREE = ("sea", "sand", "roof")

KNOWN = {*names_of("predicted", THREE), *names_of("label", THREE)}

SHARES = {"predicted.sea": 0.25, "predicted.sand": 0.5, "predicted.roof": 0.25, "predicted.largest": 0.5} | {
    "label.sea": 0.125,
    "label.sand": 0.875,
    "label.roof": 0.0,
    "label.largest": 0.875,
}


def probe(expect: str, place: str = "pier", least: float = 0.25) -> Probe:
    return Probe("made", "lulc", place, parse(expect, KNOWN), "a test", THREE, "three", THREE, "three", least)


def a_map(*counts: int, ignored: int = 0) -> Map:
    """So many pixels of each class, then ignored ones, as one row."""
    return np.repeat([*range(len(counts)), -1], [*counts, ignored])[None].astype(np.int64)


# The language


@pytest.mark.parametrize(
    ("text", "worked", "holds"),
    [
        ("predicted.sea <= 2 * label.sea", "0.250 <= 0.250", True),
        ("predicted.sea <= 2 * label.sea - 0.001", "0.250 <= 0.249", False),
        ("predicted.sand >= label.sand - 0.4", "0.500 >= 0.475", True),
        ("label.sea <= predicted.sea <= label.sand", "0.125 <= 0.250 <= 0.875", True),
        ("label.sea <= predicted.sea <= label.roof", "0.125 <= 0.250 <= 0.000", False),
        ("label.sand <= predicted.sea <= 1", "0.875 <= 0.250 <= 1.000", False),
        ("1 >= predicted.sand >= label.sea", "1.000 >= 0.500 >= 0.125", True),
        ("1 >= predicted.sand >= label.sand", "1.000 >= 0.500 >= 0.875", False),
        ("predicted.sea <= min(0.2, label.sand)", "0.250 <= 0.200", False),
        ("predicted.sea <= max(0.2, label.sand, 0)", "0.250 <= 0.875", True),
        ("-predicted.sea <= -(label.sea + 1) / 2 + 1", "-0.250 <= 0.438", True),
        ("predicted.largest <= label.largest", "0.500 <= 0.875", True),
    ],
)
def test_a_formula_is_worked_out(text: str, worked: str, holds: bool) -> None:
    formula = parse(text, KNOWN)
    assert formula.worked(SHARES) == worked
    assert formula.holds(SHARES) is holds


terms = st.recursive(
    st.sampled_from(sorted(KNOWN)) | st.integers(0, 9).map(str) | st.sampled_from(["0.5", "1e-3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        inner.map(lambda t: f"-{t}"),
    ),
    max_leaves=6,
)


@given(terms, terms)
def test_arithmetic_is_pythons(left: str, right: str) -> None:
    text = f"{left} + 0 * predicted.sea <= {right} + 0 * label.sea"
    plain = text
    for name, value in SHARES.items():
        plain = plain.replace(name, repr(value))
    sides = [eval(side) for side in plain.split("<=")]  # noqa: S307 (made above, of numbers)
    formula = parse(text, KNOWN)
    assert formula.values(SHARES) == pytest.approx(sides)
    assert formula.holds(SHARES) == (sides[0] <= sides[1] + SLACK)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') <= label.sea",
        "predicted.sea.__class__ <= label.sea",
        "predicted.__class__ <= label.sea",
        "().__class__ <= predicted.sea + label.sea",
        "open(predicted.sea) <= label.sea",
        "min(predicted.sea, key=label.sea) <= 1",
        "min(*predicted.sea) <= label.sea",
        "min(predicted.sea) <= label.sea",
        "abs(predicted.sea) <= label.sea",
        "predicted.sea ** 9 <= label.sea",
        "predicted.sea // 2 <= label.sea",
        "predicted.sea % 2 <= label.sea",
        "predicted.sea <= (lambda: label.sea)()",
        "predicted.sea <= (label.sea if 1 else 2)",
        "predicted.sea <= [label.sea][0]",
        "predicted['sea'] <= label.sea",
        "predicted.sea <= label.sea and 1 <= 2",
        "not predicted.sea <= label.sea",
        "predicted.sea <= label.sea + True",
        "predicted.sea <= label.sea + '1'",
        "predicted.sea <= label.sea + 1j",
        "predicted.sea <= label.sea * 1e999",
        "predicted.sea <= (label.sea <= 1)",
        "predicted.sea < label.sea",
        "predicted.sea == label.sea",
        "predicted.sea <= label.sea >= 0",
        "predicted.sea - label.sea",
        "(x := predicted.sea) <= label.sea",
        "predicted.sea <= label.sea; 1",
        "predicted.sea <=",
        "",
        "predicted.sea <= 0.5",
        "0.5 <= label.sea",
        "\0",
        "(" * 120 + "predicted.sea" + ")" * 120 + " <= label.sea",
        "predicted.sea <= label.sea + " + "1" * 260 + "0" * LONGEST,
    ],
)
def test_what_is_not_of_the_language_is_refused(text: str) -> None:
    if text.startswith("(("):  # brackets alone change nothing; they must neither crash nor be misread
        assert parse(text, KNOWN).holds(SHARES) is False
        return
    with pytest.raises(RegistryError, match="formula"):
        parse(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("predicted.sae <= label.sea", "'predicted.sae' is no share; did you mean 'predicted.sea'"),
        ("prediction.roof <= label.sea", "did you mean 'predicted.roof'"),
        ("predicted.sea <= labels.sand", "did you mean 'label.sand'"),
        ("sea <= label.sea", "'sea' is no share; did you mean"),
        ("predicted.xyzzy <= label.sea", "no share"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(RegistryError, match=hint):
        parse(text, KNOWN)


def test_division_by_a_share_of_zero_has_no_value() -> None:
    formula = parse("predicted.sea / label.roof <= 2", KNOWN)
    with pytest.raises(UndefinedError, match=r"label\.roof"):
        formula.holds(SHARES)
    assert formula.holds({**SHARES, "label.roof": 0.2})
    with pytest.raises(UndefinedError, match="finite"):
        parse("predicted.sea * 1e300 * 1e300 <= label.sea", KNOWN).holds(SHARES)


def test_equal_sides_pass_and_a_pixel_more_does_not() -> None:
    formula = parse("predicted.sea <= label.sea", KNOWN)
    assert formula.holds({"predicted.sea": 0.1 + 0.2, "label.sea": 0.3})
    assert not formula.holds({"predicted.sea": 0.3 + 1 / 256**2, "label.sea": 0.3})


def test_class_names_as_words() -> None:
    assert word("bare/cropland") == "bare_cropland"
    assert names_of("label", ["non-building", "building"]) == ("label.non_building", "label.building", "label.largest")
    for names in (["a b", "a-b"], ["largest", "b"], ["///", "b"], ["2nd", "b"]):
        with pytest.raises(RegistryError, match="no name of its own"):
            names_of("label", names)


# One judgement


def test_shares_are_over_labelled_pixels() -> None:
    label, predicted = a_map(1, 3, 0, ignored=4), a_map(0, 2, 6)
    where = label != -1
    assert shares("label", label, where, THREE) == {
        "label.sea": 0.25,
        "label.sand": 0.75,
        "label.roof": 0.0,
        "label.largest": 0.75,
    }
    assert shares("predicted", predicted, where, THREE)["predicted.sand"] == 0.5


@pytest.mark.parametrize(
    ("expect", "verdict"),
    [("predicted.sea <= 2 * label.sea + 0.05", "passed"), ("predicted.sea <= label.sea + 0.05", "failed")],
)
def test_a_probe_passes_or_fails(expect: str, verdict: str) -> None:
    result = judge(probe(expect), a_map(4, 6, 0), a_map(2, 8, 0))
    assert result.verdict == verdict
    assert (result.shares["predicted.sea"], result.shares["label.sea"]) == (0.4, 0.2)


ALWAYS = "predicted.sea + label.sea <= 2"


@pytest.mark.parametrize(
    ("predicted", "label", "least", "reason"),
    [
        (a_map(4, 6, 0), a_map(0, 0, 0, ignored=10), 0.25, r"0\.0 % of the chip has a label under three"),
        (a_map(4, 6, 0), a_map(2, 0, 0, ignored=8), 0.25, r"20\.0 % of the chip has a label .* asks for 25 %"),
        (a_map(4, 6, 0), None, 0.25, "cloud"),
        (None, a_map(2, 8, 0), 0.25, "cloud"),
    ],
)
def test_without_a_label_or_a_prediction_nothing_passes(
    predicted: Map | None, label: Map | None, least: float, reason: str
) -> None:
    result = judge(probe(ALWAYS, least=least), predicted, label, "cloud")
    assert result.verdict == "not judged"
    assert re.search(reason, result.reason)


def test_a_quarter_labelled_is_enough_where_a_quarter_is_asked_for() -> None:
    assert judge(probe(ALWAYS), a_map(8, 0, 0), a_map(2, 0, 0, ignored=6)).verdict == "passed"


def test_division_by_zero_is_not_judged_and_no_trivial_map_passes_by_it() -> None:
    assert judge(probe("predicted.sea / label.roof <= 2"), a_map(4, 6, 0), a_map(2, 8, 0)).verdict == "not judged"
    result = judge(probe("label.sea / predicted.sea <= 2"), a_map(4, 6, 0), a_map(2, 8, 0))
    assert result.verdict == "passed"
    assert result.trivial == {"sea everywhere": True, "sand everywhere": False, "roof everywhere": False} | {
        MAJORITY: False
    }


@pytest.mark.parametrize(
    ("predicted", "label"),
    [
        (a_map(4, 6, 0), a_map(2, 9, 0)),
        (a_map(4, 5, 0, 1), a_map(2, 8, 0)),
        (a_map(4, 5, 0, ignored=1), a_map(2, 8, 0)),
        (a_map(4, 6, 0).astype(np.float64), a_map(2, 8, 0)),
        (a_map(4, 6, 0), a_map(2, 7, 0, 1)),
        (a_map(4, 6, 0), a_map(2, 8, 0)[0]),
        (a_map(4, 6, 0), a_map(2, 8, 0).astype(np.float32)),
        (a_map(4, 6, 0), np.where(a_map(2, 8, 0) == 0, -9999, 1)),
    ],
)
def test_damaged_maps_are_unreadable(predicted: Map, label: Map) -> None:
    result = judge(probe(ALWAYS), predicted, label)
    assert (result.verdict, bool(result.reason)) == ("unreadable", True)


def test_an_index_without_a_class_is_named() -> None:
    result = judge(probe(ALWAYS), a_map(4, 4, 0, 1, ignored=1), a_map(2, 8, 0))
    assert result.reason == "predicted: index -1, 3 stands for no class; there are 3"


# Trivial maps

maps = st.lists(st.integers(0, 2), min_size=12, max_size=12).map(lambda v: np.array(v, np.int64).reshape(3, 4))
labels = st.lists(st.integers(-1, 2), min_size=12, max_size=12).map(lambda v: np.array(v, np.int64).reshape(3, 4))
BOUNDS = (
    "0.5 * label.sea <= predicted.sea <= 2 * label.sea + 0.05",
    "max(predicted.sand, predicted.roof) <= max(label.sand, label.roof)",
    "label.largest - 0.2 <= predicted.largest <= label.largest + 0.1",
)


@given(labels, maps, maps, st.sampled_from(BOUNDS))
def test_trivial_maps_are_judged_as_if_they_were_predictions(label: Map, own: Map, other: Map, expect: str) -> None:
    it = probe(expect, least=0.01)
    result = judge(it, own, label, others={"moor": other, "pier": own})
    if result.verdict == "not judged":
        assert (label == -1).all()
        return

    def passes(made: Map) -> bool:
        return judge(it, made, label).verdict == "passed"

    for index, name in enumerate(THREE):
        assert result.trivial[f"{name} everywhere"] == passes(np.full_like(label, index))
    most = int(np.bincount(label[label >= 0], minlength=3).argmax())
    assert result.trivial[MAJORITY] == passes(np.full_like(label, most))
    assert result.elsewhere == {"moor": passes(other)}
    for order in permutations(range(3)):
        assert result.orders[order] == passes(np.array(order)[own])


def test_constant_maps_need_a_label_only() -> None:
    result = judge(probe("0.5 * label.sea <= predicted.sea <= 0.9"), None, a_map(2, 8, 0), "no weights")
    assert set(result.trivial.values()) == {False}
    assert len(result.trivial) == 4


def test_the_majority_needs_label_and_output_of_one_scheme() -> None:
    it = replace(
        probe(ALWAYS), output=("no", "yes"), formula=parse("predicted.yes <= label.sand", {*KNOWN, "predicted.yes"})
    )
    result = judge(it, a_map(4, 6), a_map(2, 8, 0))
    assert (result.verdict, result.trivial) == ("passed", {"no everywhere": True, "yes everywhere": False})


def test_other_places_of_another_shape_or_damaged_are_left_out() -> None:
    others = {"wide": a_map(9, 9, 0), "torn": a_map(4, 5, 0, 1), "moor": a_map(1, 9, 0)}
    result = judge(probe("predicted.sea <= label.sea"), a_map(4, 6, 0), a_map(2, 8, 0), others=others)
    assert (result.verdict, result.elsewhere) == ("failed", {"moor": True})


# A set


def at(places: Mapping[str, tuple[Map | None, Map | None]], expect: str) -> list[Judged]:
    maps_there = {place: own for place, (own, _) in places.items() if own is not None}
    return [judge(probe(expect, place), own, label, "none", maps_there) for place, (own, label) in places.items()]


COAST = {
    "pier": (a_map(7, 3, 0), a_map(8, 2, 0)),
    "moor": (a_map(1, 9, 0), a_map(2, 8, 0)),
    "town": (a_map(0, 5, 5), a_map(1, 1, 8)),
    "fog": (None, a_map(1, 1, 8)),
}


def test_a_set_that_trivial_maps_fail_is_not_weak() -> None:
    sums = tally(at(COAST, "0.5 * label.sea <= predicted.sea <= 0.5 + 0.5 * label.sea"))
    assert (sums.passed, sums.judged, sums.not_judged, sums.unreadable) == (2, 3, 1, 0)
    assert {p.name: (p.passed, p.of) for p in sums.trivial} == {
        "sea everywhere": (0, 3),
        "sand everywhere": (0, 3),
        "roof everywhere": (0, 3),
        MAJORITY: (0, 3),
        "another place's prediction": (0.5, 3),
    }
    # one on: pier gets 0.1 of 0.4..0.9, moor 0.0 of 0.1..0.6, town 0.7 of 0.05..0.55: none;
    # two on: pier gets 0.0, moor 0.7, town 0.1: one
    assert sums.trivial[-1].most == 1
    assert sums.weak is False
    assert sums.toothless == ()


def test_a_one_sided_set_is_weak_and_its_probes_named() -> None:
    sums = tally(at(COAST, "predicted.sea <= label.sea + 0.05"))
    assert sums.strongest is not None
    assert (sums.strongest.name, sums.strongest.passed, sums.strongest.of) == ("sand everywhere", 3, 3)
    assert sums.weak is True
    assert sums.toothless == ("lulc-pier-made", "lulc-moor-made", "lulc-town-made")


def test_half_is_not_most() -> None:
    places = {"pier": COAST["pier"], "moor": COAST["moor"]}
    results = at(places, "label.sea - 0.3 <= predicted.sea <= 0.75 + 0.25 * label.sea")
    sums = tally(results)
    assert {p.name: p.passed for p in sums.trivial}["sand everywhere"] == 1
    assert sums.weak is False
    third = at({**places, "town": (a_map(0, 5, 5), a_map(1, 1, 8))}, results[0].probe.formula.text)
    assert tally(third).weak is True


def test_nothing_judged_says_nothing_about_weakness() -> None:
    sums = tally(at({"fog": COAST["fog"]}, ALWAYS))
    assert (sums.passed, sums.judged, sums.weak, sums.strongest) == (0, 0, None, None)
    assert any_order(at({"fog": COAST["fog"]}, ALWAYS)) is None


def test_rotations_give_every_place_the_one_further_on() -> None:
    def of(sea: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.array(a_map(sea, 10 - sea, 0)), np.array(a_map(sea, 10 - sea, 0))

    places: dict[str, tuple[Map | None, Map | None]] = {"a": of(5), "b": of(4), "c": of(3)}
    # passes where the given sea is at most 0.1 above its own: from the next a 0.4, b 0.3, c 0.5: two pass;
    # from the one after a 0.3, b 0.5, c 0.4: all three
    sums = tally(at(places, "predicted.sea <= label.sea + 0.1"))
    assert (sums.trivial[-1].passed, sums.trivial[-1].most, sums.trivial[-1].of) == (2.5, 3, 3)


def test_probes_of_two_adapters_are_no_set() -> None:
    one = at({"pier": COAST["pier"]}, ALWAYS)
    other = [replace(one[0], probe=replace(one[0].probe, adapter="tim"))]
    with pytest.raises(RegistryError, match="several adapters"):
        tally([*one, *other])


def test_a_permuted_class_list_is_found() -> None:
    moved = np.array([2, 0, 1])  # sea is written as 2, sand as 0, roof as 1
    places = {place: (None if own is None else moved[own], label) for place, (own, label) in COAST.items()}
    results = [
        *at(places, "max(0.5 * label.sea, label.sea - 0.1) <= predicted.sea <= label.sea + 0.1"),
        *at(places, "0.5 * label.sand <= predicted.sand <= label.sand + 0.4"),
    ]
    reading = any_order(results)
    assert reading is not None
    assert (reading.written, reading.best, reading.of, reading.tried) == (1, 5, 6, 6)
    assert reading.orders == ((1, 2, 0),)
    straight = any_order(
        [
            *at(COAST, "max(0.5 * label.sea, label.sea - 0.1) <= predicted.sea <= label.sea + 0.1"),
            *at(COAST, "0.5 * label.sand <= predicted.sand <= label.sand + 0.4"),
        ]
    )
    assert straight is not None
    assert (straight.written, straight.orders) == (5, ((0, 1, 2),))


def test_the_largest_share_needs_no_order() -> None:
    assert any_order(at(COAST, "predicted.largest <= label.largest + 0.2")) is None
