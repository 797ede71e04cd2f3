"""What must not leave somebody's machine: paths of it, passwords, tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

SECRETS: Final = {
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    "a GitHub or GitLab token": re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}"),
    "a cloud or service key": re.compile(
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\b(?:sk|xox[abpr])-[\w-]{16,}"
    ),
    "a signed token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}"),
    "an authorisation header": re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/-]{12,}=*"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a password, key or signature": re.compile(
        r"(?i)(?:(?:(?<![a-z])|(?<=%3f)|(?<=%26))(?:[a-z]+[_-])*(?:token|api[_-]?key|key|password|passwd|secret|credential|sig|skoid|sktid|skt)"
        r"(?:=|%3d)(?![\[*<])[^\s'\"&]{6,}"
        r"|--(?:[a-z]+-)*(?:token|key|password|secret)\s+(?![\[*<-])\S{6,})"
    ),
    "a password in an address": re.compile(r"://(?!\*{3}@)[^/\s'\"@]+@"),
}
"""By name: what looks like a secret, wherever it stands in a text."""

TELLING: Final = re.compile(r"(?i)TOKEN|KEY|SECRET|PASSW|CREDENTIAL|SAS")
"""Environment variables whose values are secrets, by their names."""

LEAST: Final = 8
"""Characters of an environment variable's value below which it may stand in a text by chance."""

USER_INFO: Final = re.compile(r"(?<=://)(?!\*{3}@)[^/\s'\"@]+@")
QUERY: Final = re.compile(r"(://[^\s?'\"]+)\?(?!\.\.\.)[^\s'\"]*")
QUOTED: Final = re.compile(r"""(['"])(?:file:/{2,3}|~|[A-Za-z]:)?[/\\](?=[^'"\s]|\\)[^'"]*\1""")
FILE_URL: Final = re.compile(r"(?i)\bfile:/+[^\s'\"]*")
WINDOWS: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:[\\/][^\s'\",;]*|(?<![\w\\])\\\\[\w.$-]+\\[^\s'\",;]*")
POSIX: Final = re.compile(r"(?<![\w.:/\\<>~*%-])~?/[^\s'\",;:()/][^\s'\",;:()/]*/[^\s'\",;:()]*")
HOMES: Final = ("home", "Users", "root", "users", "Documents and Settings")


def _short(path: str) -> str:
    """A path's last part, which says what it was; nothing of it where that may be somebody's name."""
    parts = [part for part in re.split(r"[\\/]+", path.strip("'\"")) if part]
    own = len(parts) < 2 or parts[-2] in HOMES or (len(parts) > 1 and parts[-1] in HOMES)
    last = "" if own else re.sub(r"[^\w.-]", "_", parts[-1])
    return f"<path>/{last}" if last else "<path>"


def clean(text: str, home: str = "") -> str:
    """A text without absolute paths, without passwords and queries of addresses.

    Cleaning twice gives the same as cleaning once.

    Args:
        text: Any.
        home: The user's own folder, found wherever it stands, blanks in it included.
    """
    out = USER_INFO.sub("***@", text)
    out = QUERY.sub(r"\1?...", out)
    if len(home) > 1:
        out = re.sub(re.escape(home) + r"(?=$|[\\/\s'\",;:)])", "/home/~", out)
    quoted: Callable[[re.Match[str]], str] = lambda m: f"{m[1]}{_short(m[0])}{m[1]}"  # noqa: E731
    out = QUOTED.sub(quoted, out)
    for pattern in (FILE_URL, WINDOWS, POSIX):
        out = pattern.sub(lambda m: _short(m[0]), out)
    return out


def secret(text: str, environment: Mapping[str, str] | None = None) -> str | None:
    """What kind of secret stands in a text; None where none is seen.

    Args:
        text: Any.
        environment: Variables of this machine; the value of one that is named like a secret is one.
    """
    for kind, pattern in SECRETS.items():
        if pattern.search(text):
            return kind
    for name, value in (environment or {}).items():
        if TELLING.search(name) and len(value) >= LEAST and value in text:
            return f"the value of {name}"
    return None


def texts(value: Any, where: str = "") -> Iterator[tuple[str, str, bool]]:
    """Every text of a JSON value: where it stands, the text, and whether it is a key."""
    if isinstance(value, str):
        yield where or "top", value, False
    elif isinstance(value, dict):
        for key, held in value.items():
            inner = f"{where}.{key}" if where else key
            yield inner, key, True
            yield from texts(held, inner)
    elif isinstance(value, list):
        for number, held in enumerate(value):
            yield from texts(held, f"{where}[{number}]")


def cleaned(value: Any, home: str, told: Callable[[str], None], where: str = "") -> Any:
    """The same JSON value with every text cleaned; `told` is given each place where something was taken out."""
    if isinstance(value, str):
        out = clean(value, home)
        if out != value:
            told(where)
        return out
    if isinstance(value, dict):
        return {k: cleaned(v, home, told, f"{where}.{k}" if where else k) for k, v in value.items()}
    if isinstance(value, list):
        return [cleaned(v, home, told, f"{where}[{i}]") for i, v in enumerate(value)]
    return value


def leak(value: Any, *, addresses: bool = False, environment: Mapping[str, str] | None = None) -> str | None:
    """What a JSON value would give away, and where; None where nothing is seen.

    Args:
        value: As parsed.
        addresses: Queries of addresses may stay, where they hold no secret: a lock's are what was read.
        environment: As `secret`.
    """
    for where, text, _ in texts(value):
        kind = secret(text, environment)
        if kind is not None:
            return f"{where[:120]} holds what looks like {kind}"
        left = QUERY.sub(r"\1?...", text) if addresses else text
        if clean(left) != left:
            return f"{where[:120]} holds a path of a machine, or an address with a password or query"
    return None
