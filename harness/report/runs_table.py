"""The table of runs: device, adapter, who, when, commit. A pure function of what git keeps under eval/runs/."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BundleError
from harness.records import AdapterRun, RunRecord
from harness.records.bundle import FOLDER, NAME, Manifest, read_manifest
from harness.records.equivalence import EquivalenceRecord, read_equivalence
from harness.records.run import read_run
from harness.report.literal import literal
from harness.report.render import tidy
from harness.report.run_tables import stem
from harness.report.words import environment

PAGE = "runs.md"
"""Below eval/reports/."""


def arrays_name(chip: str) -> str:
    """Name in a bundle of a chip's arrays."""
    return f"arrays/{stem(chip)}.npz"


def folder_files(manifest: Manifest, run: RunRecord, folder: Path) -> dict[str, Path]:
    """Where the files of a manifest lie in a run folder; arrays are named by their chip there."""
    chips = {arrays_name(c.chip): c.chip for each in run.adapters for c in each.chips}
    return {
        name: folder / "arrays" / f"{chips[name]}.npz" if name in chips else folder / name for name in manifest.files
    }


def strays(manifest: Manifest, run: RunRecord, folder: Path) -> dict[str, Path]:
    """What lies in a contributed run's folder and stands in no manifest; report.md and figures/ are rendered there.

    Returns:
        Path by its name below the folder. A link is a stray whatever it is called: it leads elsewhere.
    """
    known = {folder / NAME, folder / "report.md", *folder_files(manifest, run, folder).values()}
    out = {}
    for path in sorted(folder.rglob("*")):
        own = path in known or path.relative_to(folder).parts[0] == "figures"
        if path.is_symlink() or (not path.is_dir() and not own):
            out[path.relative_to(folder).as_posix()] = path
    return out


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

    @property
    def weights(self) -> str:
        """Which weights, as far as the record shows it: the family pins the base by its hash."""
        if self.random:
            return "**random**: mechanics only"
        bases = [f for f in self.adapter.load.files if f.role == "base"]
        return "published" if bases and all(f.pinned for f in bases) else "as given: no pin confirms the base"


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


def _manifest(place: Path) -> Manifest | None:
    """The manifest of a contributed run's folder; None for one of this project's own.

    Raises:
        BundleError: A contributed run without manifest, under another name, with a file that its manifest does not
            name, or with a record or bench file that is not the one that was packed.
    """
    contributed = place.name.casefold().startswith(FOLDER)
    if not (place / NAME).is_file():
        if contributed:
            raise BundleError(
                f"{place}: a contributed run has a {NAME}, and here is none; `harness verify --add` again"
            )
        return None
    manifest = read_manifest((place / NAME).read_bytes())
    if contributed and place.name != FOLDER + manifest.run:
        raise BundleError(f"{place}: its manifest names run {manifest.run[:120]!r}; `harness verify --add` again")
    if not (place / "run.json").is_file():
        raise BundleError(f"{place}: a manifest and no run.json; `harness verify --add` again")
    run = read_run(place / "run.json")
    if other := strays(manifest, run, place):
        raise BundleError(f"{place}: {next(iter(other))[:120]!r} stands in no manifest; take it out of the folder")
    for name, path in folder_files(manifest, run, place).items():
        if not path.is_file():
            raise BundleError(f"{place}: {name} is missing; `harness verify --add` again")
        if path.suffix == ".json" and hashlib.sha256(path.read_bytes()).hexdigest() != manifest.files[name].sha256:
            raise BundleError(f"{place}: {name} is not what was packed; `harness verify --add` again")
    return manifest


def render_runs(folder: Path) -> str:
    """The page's text; the same for the same folders.

    Args:
        folder: eval/runs/.

    Raises:
        RegistryError: A record is not of its shape.
        BundleError: A manifest is not, a contributed run has none, or its folder holds what it does not name.
    """
    rows: list[Row] = []
    compared: list[Compared] = []
    benches: list[tuple[str, str]] = []
    for place in kept(folder):
        manifest = _manifest(place)
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
        environment().get_template("runs.md.j2").render(rows=rows, compared=compared, benches=benches, md=literal)
    )
