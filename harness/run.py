"""The straight line from files to reports: the only place where the rooms meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.claims.audit import audit_view, read_view
from harness.claims.findings import Audit
from harness.errors import RegistryError
from harness.places import eval_folder, written_under
from harness.records import read_runs
from harness.report.render import check, render, write

Step = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What one reproduction did."""

    audit: Audit
    """All findings."""
    reports: list[Path]
    """Gap reports first, then the overview; only what was written or checked."""
    folder: Path
    """Where they stand."""


def reproduce(
    family: str,
    root: Path | None = None,
    out: Path | None = None,
    *,
    compare: bool = False,
    unreachable: str | None = None,
    step: Step = lambda _: None,
) -> Outcome:
    """Audit a family's published figures and render its gap reports.

    Args:
        family: Id under eval/families/.
        root: Checkout to work in; found by itself if left out.
        out: Folder for the reports; eval/reports/ of the checkout, else of the working folder, if left out.
        compare: Write nothing; fail if the reports on disk differ.
        unreachable: Services that kept figures from being measured, where somebody tried.
        step: Told what is being done.

    Raises:
        RegistryError: A file under eval/ is wrong, or there is no such family.
        ReportError: A report cannot be rendered.
        StaleReportError: `compare`, and a report on disk differs.
    """
    folder = eval_folder(root)
    step(f"reading claims, schemes and families from {folder}")
    view = read_view(folder)
    if family not in view.families:
        raise RegistryError(
            f"no family {family!r} under {folder / 'families'}; there are {', '.join(sorted(view.families)) or 'none'}"
        )
    step(f"checking {len(view.registry.claims)} published figures")
    audit = audit_view(view)
    # A run of random weights shows mechanics and says nothing of an adapter.
    kept = written_under(folder) / "runs"
    runs, contributed = (
        [r for r in read_runs(kept, contributed=others) if r.weights == "published" and r.family == family]
        for others in (False, True)
    )
    target = out or written_under(folder) / "reports"
    chosen = view.families[family]
    files = render(view, audit, runs, chosen, lambda name: step(f"rendering {name}"), unreachable, contributed)
    if compare:
        check(files, target)
    else:
        write(files, target)
    names = [f"{a.report}.md" for a in chosen.adapters] + [f"{chosen.id}.md"]
    return Outcome(audit, [target / n for n in names], target)
