"""What became of each fault that a test made, and the page that lists them: docs/faults.md.

A test ends with `record(...)`, after its asserts. `python -m tests.chips.faults` runs the tests of
the sources and writes the page from what they recorded.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

Outcome = Literal["right result", "one clear error", "read anew", "resumed"]

FOLDER = "HARNESS_FAULTS"
"""Variable that names the folder where records go; without it nothing is written."""

ROOT = Path(__file__).resolve().parents[2]

PAGE = ROOT / "docs" / "faults.md"

HEAD = """# Faults and outcomes

Written by `python -m tests.chips.faults` from tests that passed; never edited by hand. Every fault is made by a
service on loopback or by a real signal or limit of the operating system. None has been seen on the live services.
`right result`: the same pixels, label, lock or files as without the fault. `one clear error`: nothing else came of it,
least of all zeros in place of data.
"""

COLUMNS = """
| part | fault | outcome | what was asserted |
|---|---|---|---|
"""

PARTS = {
    "catalogue": "Catalogue: search and lock",
    "signing": "Signing: tokens for addresses, in a child process at production addresses",
    "reading": "Reading: windows of rasters",
    "store": "Store: windows on disk",
    "whole chain": "Whole chain: search, lock, sign, read, store",
    "labels": "Labels: NYC Open Data and WorldCover",
    "hub": "Hub: weights",
}
"""Parts of the chain in the page's order, and what each is called."""


def record(part: str, fault: str, outcome: Outcome, asserted: str) -> None:
    """Note a fault's outcome; call it when everything about it has been asserted.

    Args:
        part: One of `PARTS`.
        fault: What went wrong, in words; a literal, so that the page can be held against the tests.
        outcome: What came of it.
        asserted: What the test checked, in one sentence.
    """
    folder = os.environ.get(FOLDER)
    if folder:
        handle, name = tempfile.mkstemp(dir=folder, suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump([part, fault, outcome, asserted], out)
        Path(name).chmod(0o644)


def named() -> set[tuple[str, str]]:
    """(part, fault) of every `record(...)` under tests/, read off the source."""
    out = set()
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_record(node.func):
                part, fault = (ast.literal_eval(word) for word in node.args[:2])
                out.add((part, fault))
    return out


def _is_record(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "record"
        and isinstance(function.value, ast.Name)
        and function.value.id == "faults"
    )


def page(rows: set[tuple[str, str, str, str]]) -> str:
    """The page of these records, a table for each part.

    Raises:
        ValueError: Two rows say different things of one fault, or a part that is none.
    """
    if len({row[:2] for row in rows}) < len(rows):
        raise ValueError("one fault, two outcomes: name them apart")
    if unknown := {row[0] for row in rows} - set(PARTS):
        raise ValueError(f"{', '.join(sorted(unknown))} is no part; there are {', '.join(PARTS)}")
    out = HEAD
    for part, title in PARTS.items():
        if of_it := sorted(row for row in rows if row[0] == part):
            out += f"\n## {title}\n{COLUMNS}" + "".join(f"| {' | '.join(row)} |\n" for row in of_it)
    return out


def listed(text: str) -> set[tuple[str, str]]:
    """(part, fault) of a page's rows."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {(row[0], row[1]) for row in rows if row[0] != "part"}


def main() -> int:
    """Run the tests that record faults, and write the page if all of them passed."""
    files = sorted(
        {str(f) for f in (ROOT / "tests").rglob("test_*.py") if "faults.record(" in f.read_text(encoding="utf-8")}
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not page_of_faults", *files]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, FOLDER: folder}, check=False).returncode  # noqa: S603
        rows = {tuple(json.loads(f.read_text(encoding="utf-8"))) for f in Path(folder).glob("*.json")}
    if code:
        print("tests failed; the page stays as it was", file=sys.stderr)
        return code
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page({(a, b, c, d) for a, b, c, d in rows}), encoding="utf-8")
    print(f"{PAGE}: {len(rows)} faults")
    return 0


if __name__ == "__main__":
    sys.exit(main())
