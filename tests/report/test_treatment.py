"""Notes of chips: nothing is lost, and nothing is said twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from harness.report.run_tables import Page
from harness.report.treatment import treatments


def page(adapter: str, **chips: tuple[int, dict[str, float], list[str]]) -> Page:
    held = [
        SimpleNamespace(chip=name, dates_encoded=dates, filled=filled, notes=notes)
        for name, (dates, filled, notes) in chips.items()
    ]
    return cast("Page", SimpleNamespace(id=adapter, run=SimpleNamespace(chips=held)))


def said(*pages: Any) -> list[tuple[str, str, str]]:
    return treatments(pages)


DATES = [f"S2L2A: t{i}: least cloud of 5 dates" for i in range(4)]


def test_what_all_adapters_share_is_said_once() -> None:
    one = page("lulc", a=(1, {"DEM": 0.25}, ["S1RTC: dB"]))
    other = page("buildings", a=(1, {"DEM": 0.25}, ["S1RTC: dB"]))
    assert said(one, other) == [("a", "all adapters", "1 encoder pass; DEM 25.0 % filled; S1RTC: dB")]


def test_what_one_adapter_alone_has_stands_beside_it() -> None:
    one, other = page("lulc", a=(4, {}, ["S1RTC: dB", "x"])), page("buildings", a=(0, {}, ["S1RTC: dB"]))
    assert said(one, other) == [
        ("a", "all adapters", "S1RTC: dB"),
        ("a", "lulc", "4 encoder passes; x"),
        ("a", "buildings", "0 encoder passes"),
    ]


def test_a_chip_that_one_of_two_adapters_saw_is_not_said_of_all() -> None:
    assert said(page("lulc", a=(1, {}, ["n"]), b=(1, {}, ["n"])), page("buildings", a=(1, {}, ["n"]))) == [
        ("a", "all adapters", "1 encoder pass; n"),
        ("b", "lulc", "1 encoder pass; n"),
    ]


def test_time_steps_of_which_the_same_is_said_share_a_sentence() -> None:
    (row,) = said(page("lulc", a=(1, {}, [*DATES, "S1RTC: t0: near"])))
    assert row[2] == "1 encoder pass; S2L2A: t0 to t3: least cloud of 5 dates; S1RTC: t0: near"


def test_time_steps_that_differ_stay_apart() -> None:
    notes = ["S2L2A: t0: May", "S2L2A: t1: June", "S2L2A: t2: May"]
    assert said(page("lulc", a=(1, {}, notes)))[0][2] == "1 encoder pass; S2L2A: t0, t2: May; S2L2A: t1: June"


def test_a_note_that_only_begins_like_a_time_step_is_left_alone() -> None:
    notes = ["S2L2A: tiles 2", "S2L2A: tiles 3", "DEM: t0x", "one\ntwo"]
    assert said(page("lulc", a=(1, {}, notes)))[0][2].startswith(
        "1 encoder pass; S2L2A: tiles 2; S2L2A: tiles 3; DEM: t0x"
    )
