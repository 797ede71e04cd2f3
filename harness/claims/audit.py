"""Runs every check over a registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.claims.checks import CHECKS
from harness.claims.counterfactuals import counterfactuals
from harness.claims.families import Family, read_families
from harness.claims.findings import Audit, Finding
from harness.claims.gates import GateFile, read_gates
from harness.claims.groups import View
from harness.claims.registry import Registry, read_registry
from harness.claims.rules import Rules, own_rules, read_rules
from harness.claims.schemes import Geography, Scheme, read_geography, read_schemes

_STATUS = {"inconsistent": 0, "undetermined": 1, "consistent": 2}
_GRADE = {"high": 0, "medium": 1, "low": 2}


def view_of(
    registry: Registry,
    families: Mapping[str, Family] | None = None,
    schemes: Mapping[str, Scheme] | None = None,
    geographies: Sequence[Geography] = (),
    rules: Rules | None = None,
    gates: Mapping[str, GateFile] | None = None,
) -> View:
    """What checks look at; everything but the registry may be left out for an unknown card."""
    return View(
        registry,
        dict(families or {}),
        dict(schemes or {}),
        tuple(geographies),
        rules or own_rules(),
        dict(gates or {}),
    )


def audit_view(view: View) -> Audit:
    """Run all checks.

    Returns:
        Findings, inconsistent first, and counterfactuals; the same for the same input.
    """
    found: dict[str, Finding] = {}
    for check, _ in CHECKS:
        for finding in check(view):
            name, n = finding.id, 2
            while name in found and found[name] != finding:
                name, n = f"{finding.id}#{n}", n + 1
            found[name] = finding.model_copy(update={"id": name})
    for card in view.registry.cards:
        for note in card.notes:
            found[f"note:{note.id}"] = Finding(
                id=f"note:{note.id}",
                family=card.family,
                card=card.id,
                subject=note.subject,
                check="source-note",
                status=note.status,
                grade=note.grade,
                evidence=note.evidence,
                claims=note.claims or [note.id],
                claimed=note.claimed,
                derived=note.derived,
                why=note.why,
                sources=[note.source.text()],
                correction=note.correction,
                settles=note.settles,
            )
    ordered = sorted(found.values(), key=lambda f: (_STATUS[f.status], _GRADE[f.grade], f.id))
    return Audit(
        cards=[c.id for c in view.registry.cards],
        claims=len(view.registry.claims),
        findings=ordered,
        counterfactuals=sorted(counterfactuals(view), key=lambda c: c.id),
    )


def audit_registry(registry: Registry) -> Audit:
    """Audit cards without any family or scheme data: only what the cards print."""
    return audit_view(view_of(registry))


def read_view(eval_folder: Path, cards: Sequence[Path] = ()) -> View:
    """Read a view from an eval/ folder.

    Args:
        eval_folder: Folder with claims/, families/ and schemes/.
        cards: Claims files to read instead of those in claims/.

    Raises:
        RegistryError: A file is wrong; names file, line and field.
    """
    registry = read_registry(list(cards) or [eval_folder / "claims"])
    return view_of(
        registry,
        read_families(eval_folder / "families"),
        read_schemes(eval_folder / "schemes"),
        read_geography(eval_folder / "schemes" / "evidence"),
        read_rules(eval_folder),
        {} if cards else read_gates(eval_folder / "gates"),
    )


def audit_card(path: Path | str) -> Audit:
    """Audit one claims file that nobody here has seen.

    Raises:
        RegistryError: The file is wrong; names file, line and field.
    """
    return audit_registry(read_registry([Path(path)]))
