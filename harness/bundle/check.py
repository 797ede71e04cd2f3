"""Holds a run folder that came from elsewhere against itself and against this checkout."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness.bundle.archive import check_arrays, file_hash, read_json, shown
from harness.bundle.leaks import leak
from harness.bundle.recount import (
    VALUES,
    fits_beside,
    hold_chip,
    hold_equivalence,
    hold_gates,
    hold_load,
    hold_locks,
    hold_measurements,
    hold_pixels,
    lock_faults,
    registry_moved,
    too_large,
)
from harness.chips.scenes import Lock
from harness.claims.audit import read_view
from harness.claims.families import Family
from harness.claims.groups import View
from harness.errors import BundleError, ReportError
from harness.folders import commit_of
from harness.records import ChipScore, RunRecord
from harness.records.baselines import BaselineId
from harness.records.bundle import Manifest
from harness.records.equivalence import EquivalenceRecord
from harness.records.run import SCHEMA
from harness.report import beside_checks
from harness.report.run_checks import HASH, RECOUNT, Ledger, one_chip, read_arrays, whole_run
from harness.report.run_tables import stem
from harness.report.runs_table import arrays_name

Model = TypeVar("Model", bound=BaseModel)

Known = Literal["in the history", "known", "unknown", "no git"]

PLAIN: Final = re.compile(r"[^|<>\[\]`\\*$&#!~]{0,200}")
"""A short text that reports print as it is: nothing that markdown or HTML reads. See `plain`."""

REGISTRY: Final = re.compile(
    r"(?:(?:claims|schemes|gates|families|recipes)/[A-Za-z0-9][\w.-]{0,120}\.yaml|rules\.yaml)", re.ASCII
)
"""Names of files in a manifest's registry."""

HEX: Final = re.compile(r"[0-9a-f]{64}")
"""A sha256."""

AHEAD: Final = timedelta(days=1)
"""How far a sender's clock may go before the receiver's."""

NEVER: Final = (
    "That the pixels are those of the scenes or files named: the imagery itself is not here, only its hash.",
    "That the probabilities came from these weights on this device: only running it again there would show it.",
    "Who ran it, when, on what device, with which packages and by which command: as the sender's program wrote it.",
    "Of locks: what the catalogue found and dropped, centres, label rows; of scenes items, orbits, baselines, "
    "offsets, sizes and zones.",
    "Whether trivial maps, ceilings and strata beside a score were left out.",
    "Hashes and norms of single tensors, sizes of weight files, encoder tensors and parameters, batch norms moved, "
    "shares filled, encoder passes, steps of searches, cell sizes of ceilings and strata, which maps share a source, "
    "notes.",
    "Where chips lie beside the training ground, and which share ground or a scene.",
    "The picture (red, green, blue) and the pixel size beside the maps.",
    "Whether somebody wrote records, arrays and all hashes anew so that they fit each other: hashes are no signature.",
)
"""What no bundle shows, whatever else holds."""


@dataclass
class Verified:
    """What came of looking at one bundle."""

    manifest: Manifest
    """Its manifest."""
    run: RunRecord
    """Its run."""
    files: Mapping[str, Path]
    """Where each file lies, by name in the bundle."""
    holds: list[str] = field(default_factory=list)
    """What was checked and found right."""
    wrong: list[str] = field(default_factory=list)
    """What was found wrong; with any of it the bundle is refused."""
    said: list[str] = field(default_factory=list)
    """What a reader must know and what is no fault: an unknown commit, changes, other claims."""
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked, of this bundle first, then of any."""

    def refuse(self) -> None:
        """Nothing, if nothing is wrong.

        Raises:
            BundleError: Something is; names the first.
        """
        if self.wrong:
            more = f" and {len(self.wrong) - 1} more" if len(self.wrong) > 1 else ""
            raise BundleError(f"refused: {self.wrong[0]}{more}; ask the sender for the file as it was written")


def plain(text: str) -> bool:
    """Whether reports and a terminal print a text as it is: no control sign, none that turns its direction."""
    return text.isprintable() and PLAIN.fullmatch(text) is not None


def lock_name(name: str) -> str:
    """Name in a bundle of a lock."""
    return f"locks/{stem(name)}"


def registry_hashes(where: Path, family: str, recipe: str) -> dict[str, str]:
    """sha256 of what a run is judged by: claims, schemes, gates, rules, its family and recipe, by path in eval/."""
    paths = [*sorted((where / "claims").glob("*.yaml")), *sorted((where / "schemes").glob("*.yaml"))]
    paths += [*sorted((where / "gates").glob("*.yaml")), where / "rules.yaml"]
    paths += [where / "families" / f"{family}.yaml", where / "recipes" / f"{recipe}.yaml"]
    return {p.relative_to(where).as_posix(): file_hash(p) for p in paths if p.is_file()}


def commit_known(commit: str, where: Path) -> Known:
    """Whether a commit stands in the history of the checkout that holds a folder."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        return "unknown"

    def git(*words: str) -> int | None:
        try:
            return subprocess.run(  # noqa: S603 (fixed words and a hash)
                ["git", "-C", str(where), *words],  # noqa: S607
                capture_output=True,
                timeout=20,
                check=False,
            ).returncode
        except (OSError, subprocess.TimeoutExpired):
            return None

    if git("rev-parse", "HEAD") != 0:
        return "no git"
    if git("cat-file", "-e", f"{commit}^{{commit}}") != 0:
        return "unknown"
    return "in the history" if git("merge-base", "--is-ancestor", commit, "HEAD") == 0 else "known"


def read_record(raw: bytes, model: type[Model], name: str) -> Model:
    """A record of a bundle, every field of its own type: no number as text, no true for 1.

    Raises:
        BundleError: Not JSON as we write it, or not of the shape.
    """
    read_json(raw, name)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "top"
        raise BundleError(f"{name}: {shown(field[:120])}: {shown(first['msg'])}") from None


def read_bundled_run(files: Mapping[str, Path]) -> RunRecord:
    """The run of a bundle.

    Raises:
        BundleError: None there, not of the shape, of another schema, or with a chip id that is no file name.
    """
    if "run.json" not in files:
        raise BundleError("no run.json in it")
    run = read_record(files["run.json"].read_bytes(), RunRecord, "run.json")
    if run.schema_version != SCHEMA:
        raise BundleError(f"run.json: schema {run.schema_version}; this version reads {SCHEMA}")
    head = {"id": run.id, "who": run.who, "device": run.device}
    head |= {f"adapter {number + 1}": each.adapter for number, each in enumerate(run.adapters)}
    for name, text in head.items():  # these are printed whatever is found
        if not text.isprintable():
            raise BundleError(f"run.json: {name}: {shown(text[:80])!r}: a text that a report cannot print")
    for each in run.adapters:
        for chip in each.chips:
            odd = not chip.chip or chip.chip[0] == "." or set(chip.chip) & set("/\\\0") or len(chip.chip.encode()) > 150
            if odd or not chip.chip.isprintable():
                raise BundleError(f"run.json: chip id {chip.chip[:80]!r} is no file name")
    return run


def check(
    files: Mapping[str, Path],
    manifest: Manifest,
    run: RunRecord,
    folder: Path,
    where: Path,
    now: datetime | None = None,
) -> Verified:
    """Check everything that can be checked.

    Args:
        files: Each file of the bundle, by its name there.
        manifest: Whole, as read.
        run: Its run.
        folder: The same as a run folder: arrays/<chip>.npz.
        where: eval/ of this checkout.
        now: The time, with a zone; of this machine where left out.
    """
    out = Verified(manifest, run, files)
    _look(out, folder, where, now or datetime.now(UTC))
    for lines in (out.holds, out.wrong, out.said, out.unchecked):
        lines[:] = [shown(line) for line in lines]
    return out


def _look(out: Verified, folder: Path, where: Path, now: datetime) -> None:
    run, manifest = out.run, out.manifest
    _files(out)
    if out.wrong:  # what was altered is not looked into: the rest would speak of other bytes than were sent
        out.unchecked += ("Everything else: the files are not those that were packed.", *NEVER)
        return
    _plain(out, now)
    locks, equivalences = _riders(out, now)
    commit = commit_known(run.commit, where)
    told = f"commit {run.commit[:12]}"
    if commit == "in the history":
        out.holds.append(f"{told} stands in this checkout's history")
    elif commit == "known":
        out.said.append(f"{told} is known here and is no ancestor of what is checked out")
    else:
        why = "this is no git checkout" if commit == "no git" else "it is not in this checkout"
        out.said.append(f"{told} is unknown: {why}; the code that ran cannot be looked up")
    if run.dirty:
        out.said.append("the checkout that ran it had changes that were not committed: its code is not known exactly")
    view = read_view(where)
    moved = registry_moved(manifest.registry, registry_hashes(where, run.family, run.recipe))
    if odd := [name for name in manifest.registry if not REGISTRY.fullmatch(name)]:
        out.wrong.append(f"manifest: registry: {odd[0][:80]!r} is the name of no file of a registry")
    elif odd := [name for name, digest in manifest.registry.items() if not HEX.fullmatch(digest)]:
        out.wrong.append(f"manifest: registry: {odd[0]}: no sha256")
    elif moved:
        out.said.append(f"what runs are judged by differs from this checkout's in {', '.join(moved)[:400]}")
    else:
        out.holds.append(
            f"claims, schemes, gates, rules, family and recipe are this checkout's ({len(manifest.registry)} files)"
        )
    ledger = whole_run(run)
    if run.family not in view.families:
        out.wrong.append(f"family {run.family!r} is not known here; measurements cannot be computed again")
    else:
        family = view.families[run.family]
        if large := list(too_large(run, family)):
            out.wrong += [f"{line}; nothing was counted again" for line in large[:20]]
            out.unchecked.append("Measurements, gates, load audits, matrices and maps: they were not looked at.")
        else:
            _record(out, ledger, view, family, same=not moved)
            _chips(out, ledger, folder, None if family.topology is None else family.topology.output_stride_px)
            out.said += _weights(run, family)
        if run.source == "lock":
            hold_locks(ledger, run, locks)
    for name, record in equivalences.items():
        hold_equivalence(ledger, name, record)
    for line in ledger.checks():
        if line.status != "undetermined":
            (out.wrong if line.status == "inconsistent" else out.holds).append(line.text)
    if out.wrong and (here := commit_of(where)[0]) != run.commit:
        out.said.append(
            f"the run was made at {told} and is looked at with {here[:12]}: rules and words may have changed since; "
            "check that commit out, where you have it, and verify there before you call the file altered"
        )
    if run.weights == "random":
        out.said.append("random weights: the run shows mechanics only, and nothing about an adapter")
    elif not any(m for m in run.measurements):
        out.said.append(f"{VALUES}: the run measured nothing that a claim is about")
    out.unchecked += NEVER


def _weights(run: RunRecord, family: Family) -> list[str]:
    """Base weights that the family pins no hash of, or another: `published` is then the sender's word."""
    if run.weights != "published":
        return []
    base = family.base()
    pin = base.sha256 if base is not None else None
    seen = {
        each.adapter: file.sha256 for each in run.adapters for file in each.load.files
        if file.role == "base" and not (file.pinned and file.sha256 == pin)
    }  # fmt: skip
    return [
        f"{', '.join(name for name, held in seen.items() if held == digest)}: the base weights, sha256 "
        f"{digest[:12]}, are not pinned by the family: that they are the published ones is the sender's word"
        for digest in dict.fromkeys(seen.values())
    ]


def _files(out: Verified) -> None:
    """Hashes and sizes, and that nothing is there that the run does not name."""
    wrong = len(out.wrong)
    for name, told in out.manifest.files.items():
        path = out.files.get(name)
        if path is None or not path.is_file():
            out.wrong.append(f"{name} is missing")
        elif path.stat().st_size != told.size_bytes or file_hash(path) != told.sha256:
            out.wrong.append(f"{name} is not what was packed: its hash or size is another")
    out.wrong += [f"{name} stands in no manifest" for name in sorted(set(out.files) - set(out.manifest.files))]
    run = out.run
    arrays = {arrays_name(c.chip) for each in run.adapters for c in each.chips}
    locks = {lock_name(name) for name in run.locks}
    for name in out.manifest.files:
        own = {"arrays": arrays, "locks": locks}.get(name.partition("/")[0])
        if own is not None and name not in own:
            out.wrong.append(f"{name} belongs to nothing that run.json names")
    if len(out.wrong) == wrong:
        out.holds.append(f"hash and size of each of {len(out.manifest.files)} files")


def _plain(out: Verified, now: datetime) -> None:
    """Short fields that reports print, and what they must agree on."""
    run, manifest = out.run, out.manifest
    texts = {
        **{name: str(getattr(run, name)) for name in ("id", "who", "device", "dtype", "recipe", "source", "family")},
        **{f"{each.adapter} recipe": each.recipe for each in run.adapters},
        **{f"adapter {n + 1}": each.adapter for n, each in enumerate(run.adapters)},
        "machine": manifest.machine,
        "version": manifest.harness,
        "packing commit": manifest.commit,
        **{f"lock {name[:40]}": name for name in run.locks},
        **{f"registry {name[:40]!r}": name for name in manifest.registry},
        **{f"redacted {name[:40]!r}": re.sub(r"\[\d+\]", "", name) for name in manifest.redacted},
    }
    out.wrong += [f"{name[:60]}: a text that a report cannot print" for name, v in texts.items() if not plain(v)]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", run.id):
        out.wrong.append("run.json: id is no plain folder name")
    if not re.fullmatch(r"[0-9a-f]{40}|unknown", run.commit):
        out.wrong.append("run.json: commit is neither a hash nor `unknown`")
    if late := _dated("run.json", run.created, now):
        out.wrong += late
    elif run.id[:1].isdigit() and not run.id.startswith(f"{datetime.fromisoformat(run.created):%Y%m%dT%H%M%SZ}-"):
        out.wrong.append(f"run.json: id {run.id} is not of the time it states, {run.created}")
    if (manifest.run, manifest.who) != (run.id, run.who):
        out.wrong.append("manifest and run.json name another run or another contributor")
    if run.source not in ("files", "lock") or (run.source == "lock") != bool(run.locks):
        out.wrong.append(f"run.json: source {run.source!r} with {len(run.locks)} locks")
    for each in run.adapters:
        if not each.recipe.startswith(f"{run.recipe} "):
            out.wrong.append(f"run.json: {each.adapter} ran recipe {each.recipe!r}, the run {run.recipe!r}")
    if not run.adapters:
        out.wrong.append("run.json: no adapter ran")


def _dated(name: str, created: str, now: datetime) -> list[str]:
    """What is wrong with the date of a record: newer ones stand before older ones, so none may be of tomorrow."""
    try:
        when = datetime.fromisoformat(created)
        if when.utcoffset() != timedelta(0):
            raise ValueError("not in UTC")
    except ValueError:
        return [f"{name}: created is no date and time in UTC"]
    if when > now + AHEAD:
        return [f"{name}: created {created} lies ahead of this machine's clock, {now:%Y-%m-%dT%H:%MZ}"]
    return []


def _riders(out: Verified, now: datetime) -> tuple[list[Lock], dict[str, EquivalenceRecord]]:
    """Every JSON file: what it may give away; locks and comparisons by their shapes."""
    locks: list[Lock] = []
    equivalences: dict[str, EquivalenceRecord] = {}
    wrong = len(out.wrong)
    for name, path in sorted(out.files.items()):
        if name.startswith("arrays/") or not path.is_file():
            continue
        try:
            raw = path.read_bytes()
            given = leak(read_json(raw, name), addresses=name.startswith("locks/"))
            if given is not None:
                out.wrong.append(f"{name}: {given}; nothing of it may be published")
            if name.startswith("locks/"):
                locks.append(read_record(raw, Lock, name))
            elif name.startswith("equivalence/"):
                equivalences[name] = read_record(raw, EquivalenceRecord, name)
                out.wrong += _dated(name, equivalences[name].created, now)
            elif name.startswith("bench/"):
                out.unchecked.append(f"{name}: times and joules of another machine; nothing here can repeat them.")
        except BundleError as err:
            out.wrong.append(str(err))
    if given := leak(out.manifest.model_dump(mode="json")):
        out.wrong.append(f"manifest: {given}; nothing of it may be published")
    for name, digest in out.run.locks.items():
        told = out.manifest.files.get(lock_name(name))
        if told is None:
            out.wrong.append(f"lock {name}: its file is not in the bundle")
        elif told.sha256 != digest:
            out.wrong.append(f"lock {name}: the run read another one of that name")
    out.wrong += lock_faults(locks)
    if len(out.wrong) == wrong:
        out.holds.append("no token, password or path of a machine is seen in any record")
        if locks:
            out.holds.append(f"{len(locks)} locks, by their hashes and of the schema")
    return locks, equivalences


def _record(out: Verified, ledger: Ledger, view: View, family: Family, *, same: bool) -> None:
    """What needs no arrays."""
    run = out.run
    ids = [a.id for a in family.adapters]
    for each in run.adapters:
        for scheme in each.scheme.split(", ") if each.scheme else []:
            if scheme not in view.schemes or (
                each.adapter in ids and scheme not in family.adapter(each.adapter).label_schemes
            ):
                out.wrong.append(f"{each.adapter}: scheme {scheme[:40]!r} is none that it is scored under here")
                return
        if bool(each.scheme) != any(c.scored for c in each.chips):
            out.wrong.append(f"{each.adapter}: a scheme and no score, or scores and no scheme")
        hold_load(ledger, each, family)
        for chip in each.chips:
            hold_chip(ledger, run, each, chip)
    if len({each.adapter for each in run.adapters}) < len(run.adapters):
        out.wrong.append("run.json: an adapter stands twice")
    hold_measurements(ledger, view, family, run, same_claims=same)
    hold_gates(ledger, view, run)


def _chips(out: Verified, ledger: Ledger, folder: Path, stride: int | None) -> None:
    """Count again what arrays allow; `stride` is the family's, pixels from logit to logit."""
    run = out.run
    adapters = [each.adapter for each in run.adapters]
    schemes = {s for each in run.adapters for s in (each.scheme or "").split(", ") if s}
    allowed = ["rgb", "gsd_m", "label", *(f"label:{s}" for s in schemes)]
    allowed += [f"{kind}:{a}" for a in adapters for kind in ("classes", "probabilities")]
    allowed += ["beside:land", *(f"beside:{kind}:{s}" for s in schemes for kind in (*get_args(BaselineId), "fitted"))]
    without = []
    for chip in dict.fromkeys(c.chip for each in run.adapters for c in each.chips):
        name = arrays_name(chip)
        ran = [(e, c) for e in run.adapters for c in e.chips if c.chip == chip and c.probabilities_sha256]
        if name not in out.files:
            without += [chip] if ran else []
            continue
        path = folder / "arrays" / f"{chip}.npz"
        try:
            check_arrays(path, name, allowed)
            if ran:
                arrays = read_arrays(folder, chip, [e.adapter for e, _ in ran])
                for each, score in ran:
                    one_chip(ledger, each, score, arrays)
                    hold_pixels(ledger, each, score, arrays)
                    if fits_beside(ledger, each, score, arrays, stride):
                        beside_checks.see(ledger, each, score, arrays)
        except (BundleError, ReportError, ValueError, IndexError, ArithmeticError) as err:
            told = str(err).replace(f"{folder}/", "").removeprefix(f"{name}: ")
            out.wrong.append(f"{name}: {told}")
    if without:
        out.unchecked.insert(
            0,
            f"Matrices, sweeps and pixels of {len(without)} chips ({', '.join(without)[:200]}): their arrays are not "
            f"in the bundle. `{RECOUNT}` and `{HASH}` stay open for them.",
        )


def recounted(verified: Verified) -> tuple[int, int]:
    """Chips through adapters that were counted again from arrays, and all that ran."""
    ran = [c for each in verified.run.adapters for c in each.chips if c.probabilities_sha256]
    held = [c for c in ran if arrays_name(c.chip) in verified.files]
    return len(held), len(ran)


def scored_chips(chips: Sequence[ChipScore]) -> str:
    """`2 of 3`."""
    return f"{sum(c.scored for c in chips)} of {len(chips)}"
