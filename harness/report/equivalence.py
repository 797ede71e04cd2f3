"""A comparison of devices or precisions as markdown; a pure function of its record."""

from __future__ import annotations

from harness.records.equivalence import MEANING, EquivalenceRecord, Side, TaskEquivalence
from harness.report.words import environment

LEVELS = {
    "L0": "bit for bit, again on the same device and build",
    "L1": "logits differ by rounding only",
    "L2": "class maps and scores agree",
}
"""What each level asks for."""


def render_equivalence(record: EquivalenceRecord) -> str:
    """Render one comparison; the same text for the same record."""
    text = (
        environment()
        .get_template("equivalence.md.j2")
        .render(
            r=record,
            other=_named(record.other),
            reference=_named(record.reference),
            levels=LEVELS,
            meaning=MEANING,
            cost=cost,
            share=_share,
            command=command(record),
        )
    )
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for i, line in enumerate(lines) if line or (i and lines[i - 1])]
    return "\n".join(kept).strip() + "\n"


def cost(task: TaskEquivalence) -> str:
    """What a class map and its scores lose, one clause."""
    iou = (
        "no IoU is defined"
        if task.iou_difference is None
        else f"largest |d IoU| {task.iou_difference:.5f} ({task.iou_of})"
    )
    lost = f"{task.disagreeing_px:,} of {task.pixels:,} px get another class ({_percent(task)} agree)"
    broken = f"; {task.nonfinite_px:,} px have no finite logit" if task.nonfinite_px else ""
    return f"{lost}, {iou}{broken}"


def command(record: EquivalenceRecord) -> str:
    """The command that makes such a record."""
    side = record.other
    dtype = "" if side.dtype == "float32" else f" --dtype {side.dtype}"
    return f"harness equivalence --device {side.device}{dtype}{' --merged' if side.merged else ''}"


def _percent(task: TaskEquivalence) -> str:
    """Never rounded up to 100 %."""
    return f"{int(task.agreement * 1e6) / 1e4:.4f} %"


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2e}"


def _named(side: Side) -> str:
    return f"{side.device} {side.dtype}{', LoRA merged' if side.merged else ''}"
