"""The table of runs: device, adapter, who, when, commit. A pure function of what git keeps under eval/runs/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.records import AdapterRun, RunRecord
from harness.records.bundle import NAME, Manifest, read_manifest
from harness.records.equivalence import EquivalenceRecord, read_equivalence
from harness.records.run import read_run
from harness.report.render import tidy
from harness.report.run_tables import escaped
from harness.report.words import environment

PAGE = "runs.md"
"""Below eval/reports/."""


@dataclass(frozen=True)
class Row:
    """One adapter of one run."""

    run: RunRecord
    """The run."""
    adapter: AdapterRun
    """What the adapter did."""
    manifest: Manifest | None
    """Of a contributed run; None for one of this project's own."""
    folder: str
    """Below eval/runs/."""
    recounted: int
    """Chips that arrays are kept of."""

    @property
    def ran(self) -> int:
        """Chips through the model."""
        return sum(c.probabilities_sha256 is not None for c in self.adapter.chips)

    @property
    def scored(self) -> int:
        """Chips with a confusion matrix."""
        return sum(c.scored for c in self.adapter.chips)

    @property
    def random(self) -> bool:
        """Whether its weights were random."""
        return self.run.weights == "random" or self.adapter.load.random_weights


@dataclass(frozen=True)
class Compared:
    """One comparison that came with a run, or that this project made."""

    record: EquivalenceRecord
    """The comparison."""
    who: str
    """Who made it; empty for this project."""


def kept(folder: Path) -> list[Path]:
    """Folders of runs that git keeps, in order: those of one's own machine begin with their date."""
    found = [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()] if folder.is_dir() else []
    return sorted(p for p in found if not p.name.startswith((".", "2")) and p.name != "latest")


def render_runs(folder: Path) -> str:
    """The page's text; the same for the same folders.

    Args:
        folder: eval/runs/.

    Raises:
        RegistryError: A record is not of its shape.
        BundleError: A manifest is not.
    """
    rows: list[Row] = []
    compared: list[Compared] = []
    benches: list[tuple[str, str]] = []
    for place in kept(folder):
        manifest = read_manifest((place / NAME).read_bytes()) if (place / NAME).is_file() else None
        who = "" if manifest is None else manifest.who
        if (place / "run.json").is_file():
            run = read_run(place / "run.json")
            for each in run.adapters:
                there = [c for c in each.chips if (place / "arrays" / f"{c.chip}.npz").is_file()]
                held = sum(c.probabilities_sha256 is not None for c in there)
                rows.append(Row(run, each, manifest, place.name, held))
        own = [place / "equivalence.json"] if (place / "equivalence.json").is_file() else []
        compared += [
            Compared(read_equivalence(p), who) for p in [*own, *sorted((place / "equivalence").glob("*.json"))]
        ]
        benches += [(f"{place.name}/bench/{p.name}", who) for p in sorted((place / "bench").glob("*.json"))]
    rows.sort(key=lambda r: (r.run.device, r.adapter.adapter, r.run.created, r.folder))
    compared.sort(key=lambda c: (c.record.other.device, c.record.other.dtype, c.record.created))
    return tidy(
        environment().get_template("runs.md.j2").render(rows=rows, compared=compared, benches=benches, md=escaped)
    )
