"""Finds the tables of a markdown text, as plain text with their lines.

What looks like a table and is none to markdown is listed as unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness.claims.modelcard.words import MISSING, looks_numeric

UNKNOWN = "header not known as a metric"
"""Why a figure under unknown words is not read."""


@dataclass(frozen=True)
class Unread:
    """Something with a figure in it that was not turned into a claim."""

    line: int
    """Line in the model card, from 1."""
    text: str
    """What stands there, with its header."""
    why: str
    """What kept it from being read."""


@dataclass(frozen=True)
class Table:
    """One markdown table as plain text."""

    line: int
    """Line of its header."""
    about: str
    """Heading and paragraph above it."""
    header: tuple[str, ...]
    """Header cells."""
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    """Line and cells of each body row."""

    def column(self, at: int) -> list[str]:
        """Cells of one column that are not missing."""
        return [cells[at] for _, cells in self.rows if cells[at].lower() not in MISSING]

    def unread(self, line: int, words: str, cell: str, why: str = UNKNOWN) -> Unread:
        """A cell of this table that is not read."""
        return Unread(line, f"{words or '(no header)'}: {cell}", why)


def plain(token: Token) -> str:
    """Text of an inline token without emphasis, links and tags; raised parts as `^{...}`."""
    out = ""
    for child in token.children or []:
        if child.type in ("softbreak", "hardbreak"):
            out += " "
        elif child.type == "html_inline":
            tag = child.content.lower().strip("<> ").split()[0].rstrip("/") if child.content.strip("<>/ ") else ""
            out += {"sup": "^{", "/sup": "}", "br": " ", "sub": " "}.get(tag, "")
        elif child.type in ("text", "code_inline", "image"):
            out += child.content
    return " ".join(out.split())


def find_tables(body: str) -> tuple[list[Table], list[Unread], str]:
    """Every table of a markdown text.

    Args:
        body: Markdown; its lines are counted as they stand.

    Returns:
        The tables, what looks like a table but is none to markdown, and the first heading.
    """
    lines, tokens = body.split("\n"), MarkdownIt("commonmark").enable("table").parse(body)
    found: list[Table] = []
    unread: list[Unread] = []
    title = heading = before = ""
    at = 0
    while at < len(tokens):
        token = tokens[at]
        line = token.map[0] + 1 if token.map else 0
        if token.type == "heading_open":
            heading, before = plain(tokens[at + 1]), ""
            title = title or heading
        elif token.type == "paragraph_open":
            before = plain(tokens[at + 1])
            rows = [row for row in tokens[at + 1].content.split("\n") if row.count("|") > 1]
            if len(rows) > 1 and re.search(r"\d", " ".join(rows)):
                why = "looks like a table, but its header and delimiter rows do not match"
                unread.append(Unread(line, before[:80], why))
        elif token.type in ("fence", "code_block") and re.search(r"^\s*\|?\s*:?-+:?\s*\|", token.content, re.MULTILINE):
            unread.append(Unread(line, token.content.strip().split("\n")[0], "table inside a code block"))
        elif token.type == "html_block" and re.search(r"(?is)<t[dhr]\b.*\d", token.content):
            unread.append(Unread(line, token.content.strip().split("\n")[0], "HTML table"))
        elif token.type == "table_open":
            end = next(
                i for i in range(at, len(tokens)) if tokens[i].type == "table_close" and tokens[i].level == token.level
            )
            found.append(_table(tokens[at:end], f"{heading} {before}"))
            unread.extend(_excess(found[-1], lines))
            at = end
        at += 1
    return found, unread, title


def _table(tokens: list[Token], about: str) -> Table:
    rows: list[tuple[int, tuple[str, ...]]] = []
    cells: list[str] = []
    line = 0
    for token in tokens:
        if token.type == "tr_open":
            cells, line = [], token.map[0] + 1 if token.map else 0
        elif token.type == "inline":
            cells.append(plain(token))
        elif token.type == "tr_close":
            rows.append((line, tuple(cells)))
    return Table(rows[0][0], about, rows[0][1], tuple(rows[1:]))


def _excess(table: Table, lines: list[str]) -> Iterator[Unread]:
    """Rows with more cells than the header: markdown drops what is too many."""
    for line, _ in table.rows:
        row = re.sub(r"\\\|", "", lines[line - 1]).strip(" \t>").removeprefix("|").removesuffix("|").split("|")
        for cell in row[len(table.header) :]:
            if looks_numeric(cell.strip("* `")):
                yield Unread(line, cell.strip(), "row has more cells than the header")
