"""harness audit."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.claims.audit import audit_view, read_view, view_of
from harness.claims.findings import Audit, Finding
from harness.claims.registry import read_registry
from harness.commands.console import err, out
from harness.errors import RegistryError


class FailOn(StrEnum):
    """What makes `audit` exit with 1."""

    never = "never"
    inconsistent = "inconsistent"
    medium = "medium"
    high = "high"


def _fails(finding: Finding, on: FailOn) -> bool:
    if on is FailOn.never or finding.status != "inconsistent":
        return False
    grades = {"inconsistent": ("low", "medium", "high"), "medium": ("medium", "high"), "high": ("high",)}
    return finding.grade in grades[on.value]


def _show(audit: Audit, everything: bool) -> None:
    marks = {"inconsistent": "[ ]", "undetermined": "[?]", "consistent": "[x]"}
    for finding in audit.findings:
        if finding.status == "consistent" and not everything:
            continue
        out.print(f"{marks[finding.status]} {finding.id}  ({finding.grade}, {finding.evidence})", markup=False)
        out.print(f"      claimed  {finding.claimed}", markup=False)
        out.print(f"      derived  {finding.derived}", markup=False)
        out.print(f"      why      {finding.why}", markup=False)
    count = {status: len(audit.of(status)) for status in ("consistent", "inconsistent", "undetermined")}
    out.print(
        f"{audit.claims} figures in {len(audit.cards)} documents, {len(audit.findings)} checks: "
        f"{count['consistent']} fit, {count['inconsistent']} do not, {count['undetermined']} cannot be decided."
    )
    if not audit.findings:
        out.print(
            "No check found its inputs: an identity needs at least two related figures, e.g. mIoU and all class IoUs."
        )


def audit(
    cards: Annotated[
        list[Path] | None, typer.Argument(help="Claims files or folders; the project's own where left out.")
    ] = None,
    from_model_card: Annotated[
        Path | None, typer.Option(help="Draft a claims file from a Hugging Face model card.", metavar="README.md")
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option("--out", help="With --from-model-card: write the draft here and audit it.", metavar="CARD.yaml"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings and counterfactuals as JSON.")] = False,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit 1 on inconsistent findings of at least this grade.")
    ] = FailOn.never,
    everything: Annotated[bool, typer.Option("--all", help="Show the checks that fit, too.")] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Check published figures against each other. No network, no torch.

    Example: harness audit path/to/card.yaml --fail-on medium
    """
    from harness.places import eval_folder

    if from_model_card is not None:
        from harness.claims.modelcard import draft_from_model_card, draft_yaml
        from harness.places import write_file

        if cards:
            raise RegistryError("give either claims files or --from-model-card, not both")
        drafted = draft_from_model_card(from_model_card)
        text = draft_yaml(drafted)
        err.print(
            f"{from_model_card}: {len(drafted.claims)} figures read, {len(drafted.unread)} not read", markup=False
        )
        for item in drafted.unread:
            err.print(f"  line {item.line}: {item.text} ({item.why})", markup=False)
        if draft is None:
            out.print(text, markup=False, end="")
            return
        write_file(draft, text)
        err.print(f"written: {draft}", markup=False)
        cards = [draft]
    elif draft is not None:
        raise RegistryError("--out goes with --from-model-card")
    if cards:
        view = view_of(read_registry(cards))
        folder = eval_folder(root) if root else None
        if folder is not None:
            view = read_view(folder, cards)
    else:
        view = read_view(eval_folder(root))
    result = audit_view(view)
    if as_json:
        sys.stdout.write(json.dumps(result.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n")
    else:
        _show(result, everything)
    if any(_fails(f, fail_on) for f in result.findings):
        raise typer.Exit(1)
