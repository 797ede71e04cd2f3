"""Renders reports and figures; writes them atomically, or says what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.claims.families import Family
from harness.claims.findings import Audit
from harness.claims.groups import View
from harness.errors import StaleReportError
from harness.places import write_file
from harness.records import RunRecord
from harness.report import figures
from harness.report.gap import LIVE, Gap, gap
from harness.report.literal import literal
from harness.report.rows import sweep_table
from harness.report.words import environment, num, pct

Step = Callable[[str], None]
"""Told what is being done, for progress."""


def render(
    view: View,
    audit: Audit,
    runs: list[RunRecord],
    family: Family,
    step: Step = lambda _: None,
    unreachable: str | None = None,
    contributed: Sequence[RunRecord] = (),
) -> dict[str, str]:
    """Render every report and figure of a family.

    `unreachable` names the services that kept figures from being measured, where somebody tried. Figures called ours
    are those of `runs`; `contributed` came from other people's machines and are named as theirs.

    Returns:
        File name below eval/reports/ -> text. The same text for the same input.

    Raises:
        ReportError: A card lacks its headline, or a sentence names what does not exist.
    """
    env = environment()
    out: dict[str, str] = {}
    gaps = []
    for adapter in family.adapters:
        step(f"{adapter.report}.md")
        one = gap(view, audit, runs, family, adapter, unreachable, contributed)
        gaps.append(one)
        text = env.get_template("gap.md.j2").render(g=one, pct=pct, num=num, live=LIVE, table=sweep_table, md=literal)
        out[f"{adapter.report}.md"] = tidy(text)
        out |= _figures(one)
    step(f"{family.id}.md")
    loud = [f for f in audit.findings if f.status != "consistent" and f.grade == "high" and f.family == family.id]
    text = env.get_template("overview.md.j2").render(
        family=family,
        audit=audit,
        runs=runs,
        contributed=contributed,
        md=literal,
        unreachable=unreachable,
        gaps=gaps,
        top=loud,
        count=lambda s: len(audit.of(s)),
        distinct=len({(f.check, f.derived) for f in audit.of("inconsistent")}),
        kinds={
            k: Counter(f.evidence for f in audit.findings if f.status != "consistent")[k]
            for k in ("arithmetic", "source", "inference")
        },
        others=[c for c in view.registry.cards if c.family not in (family.id, "terramind-base")],
    )
    out[f"{family.id}.md"] = tidy(text)
    return out


def _figures(one: Gap) -> dict[str, str]:
    stem = f"figures/{one.adapter.report}"
    out = {}
    if one.pair is not None:
        out[f"{stem}-prevalence.svg"] = figures.prevalence(one.pair.card, one.pair.rerun)
    if one.sweep is not None:
        out[f"{stem}-sweep.svg"] = figures.sweep(one.sweep, one.best_threshold)
    if one.probe_shares and len(one.probe_shares[0][1]) > 1:
        names = [f"index {i}" for i in range(len(one.probe_shares[0][1]))]
        out[f"{stem}-shares.svg"] = figures.shares(one.probe_shares, names)
    if one.gains:
        names = [n.replace(" ", "\n", 1) for n, _ in one.gains]
        values = [v for _, v in one.gains]
        out[f"{stem}-gain.svg"] = figures.bars(names, values, "points of mIoU", values.index(max(values)))
    return out


def tidy(text: str) -> str:
    """No trailing blanks, no runs of blank lines, one newline at the end."""
    lines = [line.rstrip() for line in text.splitlines()]
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip() + "\n"


def write(files: dict[str, str], folder: Path) -> list[Path]:
    """Write rendered files, each atomically, and remove reports of the family that are no longer rendered.

    Returns:
        Paths written, in the order of their names.
    """
    for name, text in sorted(files.items()):
        write_file(folder / name, text)
    for stale in _existing(files, folder) - set(files):
        (folder / stale).unlink()
    return [folder / name for name in sorted(files)]


def _existing(files: dict[str, str], folder: Path) -> set[str]:
    """Reports and figures in a folder whose names begin as the overview's, which is the family's id; no other file."""
    family = min((name for name in files if name.endswith(".md")), key=len).removesuffix(".md")
    patterns = (f"{family}.md", f"{family}-*.md", f"figures/{family}-*.svg")
    found = {p.relative_to(folder).as_posix() for pattern in patterns for p in folder.glob(pattern)}
    return found | {name for name in files if (folder / name).is_file()}


def check(files: dict[str, str], folder: Path) -> None:
    """Compare rendered files with those on disk.

    Raises:
        StaleReportError: Names every file that is missing, extra or different.
    """
    there = _existing(files, folder)
    wrong = [f"{name} is missing" for name in sorted(set(files) - there)]
    wrong += [f"{name} is rendered by nothing" for name in sorted(there - set(files))]
    for name in sorted(set(files) & there):
        old = (folder / name).read_text(encoding="utf-8")
        if old != files[name]:
            # Where one text is merely longer no line differs; the message then says "in length".
            line = next(
                (
                    i
                    for i, (a, b) in enumerate(zip(old.splitlines(), files[name].splitlines(), strict=False), 1)
                    if a != b
                ),
                0,
            )
            wrong.append(f"{name} differs" + (f" from line {line}" if line else " in length"))
    if wrong:
        raise StaleReportError(
            f"{folder}: {'; '.join(wrong)}. Render them again with 'harness reproduce' and commit the result."
        )
