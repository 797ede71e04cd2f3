"""Measured and modelled joules never meet: Python refuses it, and so does the type checker.

The `type: ignore` comments below are checked themselves: mypy runs with warn_unused_ignores over this
file, so an operation that became allowed fails the lint.
"""

from __future__ import annotations

import math
import operator
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cost.energy import Joules, ModelledJoules, NotMeasured

COUNTED = Joules(6.0)
ASSUMED = ModelledJoules(6.1344, "0.5112 s x 12.0 W assumed")


def test_the_type_checker_refuses_what_python_refuses() -> None:
    with pytest.raises(TypeError, match="never added or compared"):
        COUNTED + ASSUMED  # type: ignore[operator]
    with pytest.raises(TypeError, match="never added or compared"):
        COUNTED - ASSUMED  # type: ignore[operator]
    with pytest.raises(TypeError, match="never added or compared"):
        assert COUNTED < ASSUMED  # type: ignore[operator]
    with pytest.raises(TypeError, match="never added or compared"):
        assert COUNTED == ASSUMED  # type: ignore[comparison-overlap]
    with pytest.raises(TypeError, match="never added or compared"):
        COUNTED.over(ASSUMED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "do", [operator.add, operator.sub, operator.lt, operator.le, operator.gt, operator.eq, operator.ne]
)
@pytest.mark.parametrize("pair", [(COUNTED, ASSUMED), (ASSUMED, COUNTED)])
def test_nothing_mixes_in_either_order(do: Callable[[object, object], object], pair: tuple[object, object]) -> None:
    with pytest.raises(TypeError):
        do(*pair)


@pytest.mark.parametrize("do", [operator.add, operator.sub, operator.lt, operator.truediv, operator.mul])
def test_modelled_joules_have_no_arithmetic_of_their_own(do: Callable[[object, object], object]) -> None:
    with pytest.raises(TypeError):
        do(ASSUMED, ASSUMED)
    with pytest.raises(TypeError):
        do(ASSUMED, 2.0)


def test_measured_joules_reckon() -> None:
    assert (Joules(3) + Joules(4) - Joules(1)) * 2 / 4 == Joules(3)
    assert Joules(1) < Joules(2) <= Joules(2)
    assert Joules(6).over(Joules(4)) == 1.5
    assert hash(Joules(1)) == hash(Joules(1))
    with pytest.raises(TypeError, match="both must be Joules"):
        Joules(1) + 1  # type: ignore[operator]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_unreadable_meter_gives_no_joules(value: float) -> None:
    with pytest.raises(ValueError, match="is no energy"):
        Joules(value)
    with pytest.raises(ValueError, match="is no energy"):
        ModelledJoules(value, "x")


def test_a_modelled_figure_names_its_model() -> None:
    with pytest.raises(ValueError, match="name their model"):
        ModelledJoules(6.13, " ")
    assert str(ASSUMED) == "6.134 J modelled (0.5112 s x 12.0 W assumed)"
    assert str(NotMeasured("no counter")) == "not measured: no counter"


SNIPPET = """
from harness.cost.energy import Joules, ModelledJoules, NotMeasured

a, b = Joules(1.0), ModelledJoules(1.0, "x")
a + b
b + a
a < b
a == b
a.over(b)
c: Joules = b
d: Joules = NotMeasured("x")
"""


def test_mypy_refuses_every_line_that_mixes(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy comes with the lint extra; nox -s lint checks the ignores above")
    file = tmp_path / "mixed.py"
    file.write_text(SNIPPET, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 (our own interpreter and file)
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--follow-imports=silent", str(file)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    refused = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert refused == {5, 6, 7, 8, 9, 10, 11}, done.stdout + done.stderr
