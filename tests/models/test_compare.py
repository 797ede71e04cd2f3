"""`harness equivalence` from the command line to its report, on the narrow family."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import app
from harness.errors import HarnessError
from harness.records.equivalence import read_equivalences
from tests.models.test_measure import place

__all__ = ["place"]


def run(place: Path, weights: Path, out: Path, *more: str) -> int:
    """`harness equivalence` as typed; gives the exit status."""
    words = ["equivalence", "--device=cpu", "--family=narrow", f"--root={place}", f"--weights={weights}"]
    return int(app([*words, f"--out={out}", "--size=64", "--task=lulc_nyc", *more], standalone_mode=False) or 0)


def test_the_cpu_is_equivalent_to_itself(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    assert run(place, narrow_weights, tmp_path) == 0
    assert run(place, narrow_weights, tmp_path, "--merged") == 0
    first, second = sorted(read_equivalences(tmp_path), key=lambda r: r.other.merged)
    assert all(first.holds(level) for level in ("L0", "L1", "L2"))
    assert all(second.holds(level) for level in ("L0", "L1", "L2"))
    assert second.other.merged
    text = next(tmp_path.glob(f"{first.id}/report.md")).read_text(encoding="utf-8")
    assert "mechanics only" in text


def test_half_precision_fails_by_its_exit_status(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    assert run(place, narrow_weights, tmp_path, "--dtype=bfloat16") == 1
    (record,) = read_equivalences(tmp_path)
    assert record.holds("L0")
    assert not record.holds("L1")


@pytest.mark.parametrize(
    ("word", "said"), [("--device=tpu", "tpu"), ("--dtype=int4", "int4"), ("--task=lulc", "no adapter 'lulc'")]
)
def test_what_is_not_there_is_refused_before_weights_are_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, said: str
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    words = ["equivalence", "--device=cpu", "--family=narrow", f"--root={place}", "--weights=random", word]
    with pytest.raises(HarnessError, match=said):
        app([*words, f"--out={tmp_path / 'runs'}", "--size=64"], standalone_mode=False)
    assert not (tmp_path / "cache").exists()
