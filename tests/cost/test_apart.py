"""Nothing that renders or reproduces ever measures cost, and measuring loads nothing heavy until it runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ALLOWED = ("harness.cost", "harness.commands.bench", "harness.bench")
"""Modules that may import the cost room."""


def imports(file: Path) -> set[str]:
    """Every harness module that a file names in an import, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("harness")}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by name."""
    files = (root / "harness").rglob("*.py")
    return {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def reached(start: str, root: Path) -> set[str]:
    """Modules that one leads to, however deep, imports within functions included."""
    known, seen, left = modules(root), set[str](), [start]
    while left:
        name = left.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        left += imports(known[name])
    return seen


@pytest.mark.parametrize("command", ["reproduce", "report", "audit", "train", "think", "equivalence"])
def test_no_other_command_leads_to_the_cost_room(command: str, root: Path) -> None:
    found = reached(f"harness.commands.{command}", root)
    assert f"harness.commands.{command}" in found
    assert not {name for name in found if name.startswith("harness.cost")}


def test_bench_leads_there(root: Path) -> None:
    assert {"harness.cost.protocol", "harness.cost.meters.rapl"} <= reached("harness.commands.bench", root)


def test_only_the_bench_imports_it(root: Path) -> None:
    others = {n: f for n, f in modules(root).items() if not n.startswith(ALLOWED)}
    assert not {n for n, f in others.items() if any(i.startswith("harness.cost") for i in imports(f))}
