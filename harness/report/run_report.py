"""The report of a run over chips of one's own: a pure function of its folder, without torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.claims.families import Family
from harness.claims.registry import Registry
from harness.claims.rules import Rules, own_rules
from harness.claims.schemes import Scheme
from harness.errors import ReportError
from harness.places import write_file
from harness.records import ChipScore, RunRecord
from harness.records.run import read_run
from harness.report import beside_checks, operating, panels, spatial
from harness.report.baselines import BesidePage, told
from harness.report.clusters import sure
from harness.report.counted import Counted
from harness.report.gates import gate_rows
from harness.report.land import LandPage
from harness.report.order import orders
from harness.report.population import compositions, prevalences
from harness.report.render import tidy
from harness.report.run_checks import UNLABELLED, Arrays, Ledger, one_chip, read_arrays, whole_run
from harness.report.run_tables import (
    Page,
    chip_table,
    class_table,
    curves,
    escaped,
    fenced,
    file_table,
    load_table,
    map_table,
    read_page,
    share_table,
    stem,
    structure_table,
    sweep_table,
    undefined,
)
from harness.report.treatment import treatments
from harness.report.words import environment
from harness.score import reliance
from harness.score.operating import Costs
from harness.score.population import STRATA_ASSUME
from harness.score.strata import CELL_PX


def _together(pages: Iterable[Page], rows: Iterable[tuple[Page, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Equal rows once, with the adapters that they hold for; `all adapters` where it is every one."""
    every = [p.id for p in pages]
    found: dict[tuple[str, ...], list[str]] = {}
    for page, row in rows:
        found.setdefault(row, []).append(page.id)
    return [("all adapters" if who == every else ", ".join(who), row) for row, who in found.items()]


def marker(run: RunRecord) -> str:
    """What the title says first: random weights, batch norms that are not the file's; else nothing."""
    words = ["mechanics only: random weights"] if is_random(run) else []
    found: dict[str, list[str]] = {}
    for each in run.adapters:
        if each.load.batch_norm.policy != "from the file":
            found.setdefault(each.load.batch_norm.policy, []).append(each.adapter)
    for policy, who in found.items():
        words.append(f"batch norm: {policy}" + ("" if len(who) == len(run.adapters) else f" in {', '.join(who)}"))
    return f"[{'; '.join(words)}] " if words else ""


def is_random(run: RunRecord) -> bool:
    """Whether any weight of the run was random; one statement of it is enough."""
    return run.weights == "random" or any(each.load.random_weights for each in run.adapters)


def _labels(ran: list[tuple[Page, ChipScore]], arrays: Arrays) -> list[tuple[panels.Key, NDArray[np.int64], bool]]:
    """Labels to draw with the names of their classes, and whether there are several."""
    keys = {page.run.scheme: page.key for page, score in ran if score.scored}
    found = [(key, label) for scheme, key in keys.items() if (label := arrays.label(scheme)) is not None]
    if not found:
        found = [(panels.key(max(2, int(x.max()) + 1), None), x) for x in list(arrays.labels.values())[:1]]
    return [(key, label, len(found) > 1) for key, label in found]


def _label(run: RunRecord, chip: str, key: panels.Key, label: NDArray[np.int64], several: bool) -> panels.Panel:
    if int(label.max()) >= len(key.names) or int(label.min()) < UNLABELLED:
        raise ReportError(
            f"run {run.id}: chip {chip}: label {label.min()} to {label.max()}; scheme {key.scheme} has none"
        )
    return panels.class_panel(f"label ({key.scheme})" if several else "label", label, key)


def _picture(run: RunRecord, chip: str, ran: list[tuple[Page, ChipScore]], arrays: Arrays) -> tuple[bytes, str]:
    """The chip's picture and its alt text."""
    random = is_random(run)
    head = [] if arrays.rgb is None else [panels.Panel("image", arrays.rgb, smooth=True)]
    head += [_label(run, chip, name, label, several) for name, label, several in _labels(ran, arrays)]
    pairs: list[panels.Panel | None] = []
    singles: list[panels.Panel | None] = []
    for page, score in ran:
        name, classes = page.run.adapter, arrays.classes[page.run.adapter]
        if int(classes.max()) >= len(page.key.names):
            raise ReportError(f"run {run.id}: chip {chip}: {name} predicts {classes.max()}, beyond its classes")
        map_ = panels.class_panel(f"{name}: prediction", classes, page.key, marked=random)
        label = arrays.label(page.run.scheme)
        if score.scored and label is not None:
            pairs += [map_, panels.error_panel(f"{name}: errors", label, classes, marked=random)]
        else:
            singles.append(map_)
    shown: list[panels.Panel | None] = [*head]
    if pairs and len(shown) % 2:
        shown.append(singles.pop(0) if singles else None)
    shown += pairs + singles
    titles = [p.title for p in shown if p is not None]
    alt = f"Chip {chip}: {', '.join(titles)}" + (f"; {panels.MARK}" if random else "")
    return panels.picture(f"chip {chip}", shown, arrays.gsd_m, random=random), alt


def _walk(
    run: RunRecord, folder: Path, pages: list[Page], ledger: Ledger, counted: Counted
) -> tuple[dict[str, bytes], list[tuple[str, str, str]]]:
    """Go through the chips one at a time: recount, count marked pixels, draw.

    Returns:
        Pictures by name; chip, alt text and name of each, empty name where nothing ran on the chip.
    """
    files: dict[str, bytes] = {}
    shown: list[tuple[str, str, str]] = []
    for chip in dict.fromkeys(c.chip for each in run.adapters for c in each.chips):
        pairs = [(p, c) for p in pages for c in p.run.chips if c.chip == chip]
        ran = [(p, c) for p, c in pairs if c.predicted_px or c.probabilities_sha256 or c.scored]
        if not ran:
            shown.append((escaped(chip), "", ""))
            continue
        arrays = read_arrays(folder, chip, [p.run.adapter for p, _ in ran])
        for page, score in ran:
            one_chip(ledger, page.run, score, arrays)
            counted.see(ledger, page.run, score, arrays)
            beside_checks.see(ledger, page.run, score, arrays)
            if page.run.load.classes == 2 and not score.sweep:
                above = arrays.probabilities[page.run.adapter][1]
                for t in page.grid:
                    page.marked[t] += int(np.count_nonzero(above > np.float32(t)))
                page.marked_of += arrays.pixels
        name = f"figures/chip-{stem(chip)}.png"
        files[name], alt = _picture(run, chip, ran, arrays)
        shown.append((escaped(chip), escaped(alt), name))
    return files, shown


def render_run(
    run_folder: Path,
    family: Family,
    schemes: dict[str, Scheme],
    rules: Rules | None = None,
    registry: Registry | None = None,
    costs: Costs | None = None,
) -> dict[str, str | bytes]:
    """Render a run's report and figures.

    Args:
        run_folder: Holds run.json and arrays/<chip>.npz.
        family: The family that the run names.
        schemes: By id; those that the run names must be there.
        rules: Verdict rules: level, and below how many clusters each is shown; the project's own where left out.
        registry: Claims, for figures that documents print beside recommended thresholds; None leaves them out.
        costs: Of a wrong pixel, as somebody states them; None leaves costs out.

    Returns:
        File name below the run folder -> content: report.md, figures/*.png, figures/*.svg. The same
        for the same folder.

    Raises:
        RegistryError: run.json is not there or wrong.
        ReportError: run.json and family, schemes or arrays do not fit; names what and where.
    """
    path = run_folder / "run.json"
    run = read_run(path)
    if not run.adapters:
        raise ReportError(f"{path}: no adapter ran, so there is nothing to report")
    if run.family not in ("", family.id):
        raise ReportError(f"{path}: family {run.family!r}; asked to render it as {family.id!r}")
    pages = [read_page(each, family, schemes, path) for each in run.adapters]
    ledger, counted = whole_run(run), Counted()
    counted.expect(ledger)
    beside_checks.expect(ledger)
    pictures, shown = _walk(run, run_folder, pages, ledger, counted)
    out: dict[str, str | bytes] = dict(pictures)
    random = is_random(run)
    for page in pages:
        if page.sweep or page.marked_of:
            out[f"figures/sweep-{stem(page.run.adapter)}.svg"] = panels.thresholds(
                page.grid,
                curves(page),
                title=f"{page.run.adapter}, {page.n} chips scored",
                of=page.key.names[1].removeprefix("class "),
                random=random,
            )
    points = [p for page in pages if (p := operating.operating(page, counted, family, registry, costs, random=random))]
    for point in points:
        out |= point.files
    chips = len({c.chip for each in run.adapters for c in each.chips})
    ours = "of one's own" if run.source in ("", "files") else f"from {run.source}"
    beside = [BesidePage(page, random) for page in pages]
    checks = ledger.checks()
    text = (
        environment()
        .get_template("run.md.j2")
        .render(
            run=run,
            family=family,
            pages=pages,
            title=escaped(f"{family.id} on {chips} chip{'' if chips == 1 else 's'} {ours}"),
            marker=marker(run),
            random=random,
            chips=chips,
            headline=_together(pages, [(p, (p.n,)) for p in pages]),
            bn=[p for p in pages if p.run.load.batch_norm.policy != "from the file"],
            unscored=_together(
                pages, [(p, (escaped(c.chip), escaped(c.reason))) for p in pages for c in p.run.chips if not c.scored]
            ),
            treated=treatments(pages),
            shown=shown,
            operating=operating.section(points, random=random, costs=costs),
            spatial=spatial.section(pages, counted, registry, random=random),
            checks=checks,
            broken=[c for c in checks if c.status == "inconsistent"],
            class_table=class_table,
            map_table=map_table,
            chip_table=lambda p: chip_table(p, path),
            share_table=share_table,
            sweep_table=sweep_table,
            load_table=load_table,
            file_table=file_table,
            structure_table=structure_table,
            undefined=undefined,
            stem=stem,
            md=escaped,
            fenced=fenced,
            sure=[(p, sure(p.run, rules or own_rules())) for p in pages],
            gates=gate_rows(run.gates),
            beside=beside,
            land=[LandPage(each) for each in beside],
            told=told(beside),
            reliance=reliance,
            cell_px=CELL_PX,
            order=orders(pages, family, schemes, random=random),
            prevalences=prevalences(pages, registry, random=random),
            compositions=compositions(pages, random=random),
            strata_assume=STRATA_ASSUME,
        )
    )
    out["report.md"] = tidy(text)
    return out


def write_report(
    run_folder: Path,
    family: Family,
    schemes: dict[str, Scheme],
    rules: Rules | None = None,
    registry: Registry | None = None,
    costs: Costs | None = None,
) -> list[Path]:
    """Render and write beside run.json, figures first, each file whole or not at all.

    Figures that are no longer rendered are removed.

    Returns:
        Paths written, report.md last.

    Raises:
        RegistryError: run.json is wrong, or the folder cannot be written.
        ReportError: As `render_run`.
    """
    files = render_run(run_folder, family, schemes, rules, registry, costs)
    names = [*sorted(set(files) - {"report.md"}), "report.md"]
    for name in names:
        write_file(run_folder / name, files[name])
    for pattern in ("chip-*.png", "sweep-*.svg", "pr-*.svg", "reliability-*.svg"):
        for old in (run_folder / "figures").glob(pattern):
            if f"figures/{old.name}" not in files:
                old.unlink()
    return [run_folder / name for name in names]
