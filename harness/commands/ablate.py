"""harness ablate."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import declared, err, live_clients, out, progress, refuse, short, typed
from harness.errors import RegistryError

if TYPE_CHECKING:
    from harness.records.bridge import BridgeRecord


OF_RECIPES = (
    *(
        "start",
        "end",
        "family",
        "chips",
        "labels",
        "declare",
        "locks",
        "from_set",
        "to_set",
        "from_scheme",
        "to_scheme",
    ),
    *("from_footprints", "to_footprints", "from_unlabelled", "to_unlabelled", "hold", "claim", "weights", "device"),
    *("bn", "seed", "greedy", "plan"),
)
"""Options that two runs leave nothing to do for."""


class Unlabelled(StrEnum):
    """Land that no footprint table speaks of."""

    left_out = "left out"
    background = "background"


class Missing(StrEnum):
    """Decoders without running statistics."""

    refuse = "refuse"
    initial = "initial"


def ablate(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="Adapter id, e.g. lulc_nyc.")],
    start: Annotated[str | None, typer.Option("--from", help="Recipe at the start, e.g. published-rerun.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Recipe at the end, e.g. training-code.")] = None,
    start_run: Annotated[Path | None, typer.Option("--from-run", help="Or two runs: folder of the first.")] = None,
    end_run: Annotated[Path | None, typer.Option("--to-run", help="Folder of the second run.")] = None,
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    chips: Annotated[Path | None, typer.Option(help="Folder of chips, see docs/chips-folder.md.")] = None,
    labels: Annotated[list[Path] | None, typer.Option(help="Label map; may repeat, one a scheme.")] = None,
    declare: Annotated[list[str] | None, typer.Option(help="Unit of a modality's pixels, e.g. S1RTC=dB.")] = None,
    locks: Annotated[list[Path] | None, typer.Option("--lock", help="Or lock files; may repeat.")] = None,
    from_set: Annotated[
        list[str] | None, typer.Option("--from-chip", help="Chip or AOI of the start; may repeat; all where left out.")
    ] = None,
    to_set: Annotated[list[str] | None, typer.Option("--to-chip", help="Chip or AOI of the end; may repeat.")] = None,
    from_scheme: Annotated[str | None, typer.Option(help="Scheme at the start; the recipe's own.")] = None,
    to_scheme: Annotated[str | None, typer.Option(help="Scheme at the end; the recipe's own.")] = None,
    from_footprints: Annotated[str | None, typer.Option(help="With a lock: rule at the start; stood.")] = None,
    to_footprints: Annotated[str | None, typer.Option(help="With a lock: rule at the end; stood.")] = None,
    from_unlabelled: Annotated[
        Unlabelled, typer.Option(help="Land without footprint labels, at the start.")
    ] = Unlabelled.left_out,
    to_unlabelled: Annotated[Unlabelled, typer.Option(help="The same at the end.")] = Unlabelled.left_out,
    hold: Annotated[list[str] | None, typer.Option(help="Knob that is not to be switched; may repeat.")] = None,
    metric: Annotated[str, typer.Option(help="mIoU, accuracy, iou, precision, ...")] = "mIoU",
    class_index: Annotated[int | None, typer.Option("--class", help="For a metric of one class.")] = None,
    classes: Annotated[str | None, typer.Option(help="For a mean over classes: which, e.g. 0,1,2.")] = None,
    threshold: Annotated[float, typer.Option(help="Of two-class adapters.")] = 0.5,
    claim: Annotated[str | None, typer.Option(help="Published figure at the start, CARD/NAME; looked for.")] = None,
    weights: Annotated[str | None, typer.Option(help="Folder of weights, or `random`: mechanics only.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, rocm or mps.")] = "auto",
    bn: Annotated[Missing, typer.Option(help="Where a decoder file has no running statistics.")] = Missing.refuse,
    seed: Annotated[int, typer.Option(help="For sampled tokens and random weights.")] = 0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Most probable token instead of sampling.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say factors and cost, and stop.")] = False,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder for runs.")] = None,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Bridge two figures: what each difference between two recipes, or two runs, does to a metric.

    Predictions are kept: an interrupted call goes on where it was.

    Example: harness ablate lulc_nyc --from published-rerun --to training-code --lock aois/locks/nyc.lock.json
    """
    over = _classes(classes)
    if start_run is not None or end_run is not None:
        refuse(context, OF_RECIPES, "two recipes")
        if start_run is None or end_run is None:
            raise RegistryError("give both --from-run and --to-run")
        from harness.ablate.between import Pair, between

        pair = Pair(adapter, start_run, end_run, metric, class_index, over, threshold, typed(), root, folder)
        with progress() as step:
            record, where = between(pair, step)
        _tell(record, where)
        return
    if start is None or end is None:
        raise RegistryError("give both --from and --to, e.g. --from published-rerun --to training-code")
    if chips is not None:
        refuse(context, ("locks", "from_footprints", "to_footprints"), "no --chips")
    else:
        refuse(context, ("labels", "declare"), "--chips")
    if locks:
        live_clients("ablate --lock")
    from harness.ablate.plan import Asked
    from harness.ablate.run import ablate as run

    asked = Asked(
        adapter=adapter,
        start=start,
        end=end,
        family=family,
        chips=chips,
        labels=tuple(labels or ()),
        declared=declared(declare or []),
        locks=tuple(locks or ()),
        schemes=(from_scheme, to_scheme),
        footprints=(from_footprints, to_footprints),
        unlabelled=(from_unlabelled.value, to_unlabelled.value),
        sets=(tuple(from_set or ()), tuple(to_set or ())),
        hold=tuple(hold or ()),
        metric=metric,
        class_index=class_index,
        over=over,
        threshold=threshold,
        claim=claim,
        weights=Path(weights) if weights and weights != "random" else None,
        random_weights=weights == "random",
        device=device,
        batch_norm=bn.value,
        seed=seed,
        greedy=greedy,
        plan=plan,
        command=typed(),
        root=root,
        out=folder,
    )
    with progress() as step:
        done = run(asked, step, lambda line: err.print(line, markup=False, style=None))
    if done is not None:
        _tell(done.record, done.folder)


def _classes(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not re.fullmatch(r" *[0-9]+ *(, *[0-9]+ *)*", text):
        raise RegistryError(f"--classes {text!r}: write indices with commas, e.g. 0,1,2")
    return tuple(int(part) for part in text.split(","))


def _tell(record: BridgeRecord, folder: Path) -> None:
    """Render the page, name it, and say the sentence."""
    from harness.report.bridge import write_bridge_report

    page = write_bridge_report(folder)[-1]
    out.print(f"\nBridge: {short(page)}", markup=False)
    if record.weights == "random":
        out.print("Random weights: this bridge shows mechanics only, and nothing about the published adapters.")
    out.print(f"  {record.result.sentence}", markup=False)
    if record.source != "runs":
        out.print(f"  {record.forwards_made} forwards made, {record.forwards_kept} kept from earlier calls")
    for chip in record.chips:
        if not chip.scored:
            err.print(f"unscored: {chip.chip}: {chip.reason}", markup=False, style=None)
