"""What must not leave somebody's machine: paths of it, passwords, tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

NAMES: Final = (
    r"(?:[a-z0-9]{1,30}[_-]){0,6}(?:token|api[_-]?key|key|password|passwd|secret|credentials?|signature|sig|skoid|sktid|skt)",
    r"[a-z0-9_-]{0,40}[a-z0-9](?:token|apikey|accesskey|secretkey|privatekey|password|secret|signature|accessid|keyid)",
    r"(?:[a-z0-9]{1,30}[_-]){0,6}(?:key[_-](?:pair[_-])?id|access[_-]id)",
)
"""What a secret is called in front of `=`: the first as parts of a name, the second run together (accessToken)."""

SECRETS: Final = {
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    "a GitHub or GitLab token": re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}"),
    "a cloud or service key": re.compile(
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\b(?:sk|xox[abpr])-[\w-]{16,}"
    ),
    "a signed token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}"),
    "an authorisation header": re.compile(
        r"(?i)\b(?:bearer|basic)\s+[\w.~+/-]{12,}=*|\bauthori[sz]ation\s*[:=]\s*\w+\s+[\w.~+/-]{8,}"
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a password, key or signature": re.compile(
        r"(?i)(?:(?:(?<![a-z0-9])|(?<=%3f)|(?<=%26))(?:" + "|".join(NAMES) + r")(?:=|%3d)(?![\[*<])[^\s'\"&]{6,}"
        r"|(?:[?&]|%3f|%26)(?:auth|code|jwt|ticket|session(?:[_-]?id)?|policy|user(?:name)?|pass|pwd)"
        r"(?:=|%3d)(?![\[*<])[^\s'\"&]{6,}"
        r"|--(?:[a-z]+-)*(?:token|key|password|secret)\s+(?![\[*<-])\S{6,}"
        r"|(?<![a-z0-9])(?:pass(?:word|wd|phrase)|pwd|secret|credentials?|(?:api|access|private|secret)[_ -]?key|token)"
        r"['\"]?[ \t]*:[ \t]*['\"]?(?![\[*<$]|sha\d)(?=[^\s'\",;]*\d)(?=[^\s'\",;]*[a-z])[^\s'\",;]{8,})"
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
QUOTED: Final = re.compile(r"""(['"])(?:file:/{2,3}|~|[A-Za-z]:)?[/\\](?=[^'"\s]|\\)[^'"]*\1(?!"'"')""")

KEPT: Final = r"<path>(?:/[\w.-]+)?(?![\w.-]*[/\\])"
ADDRESS: Final = r"(?<![A-Za-z0-9])(?!file:)[A-Za-z][\w+.-]{0,30}://(?!/)(?:[^\s'\"<>,;()|:]|:(?!/))*"
STARTS: Final = (
    r"(?i:\bfile):/+(?=[^\s/])",
    r"(?<![A-Za-z0-9])[A-Za-z][\w+.-]{1,30}:///+(?=[^\s/])",
    r"(?<![A-Za-z0-9])[A-Za-z]:[\\/]",
    r"(?<![\w\\])\\\\(?=[\w.$-]+\\)",
    r"(?<![\w.:/\\<>*%)\]}-])//(?=[\w.$-]+/)",
    r"(?<![\w/\\<>.~*%-])~(?:[A-Za-z_][\w.-]*)?[/\\]",
    r"(?<![\w./\\<>~*%)\]}-])/(?=[^\s'\",;:()/][^\s'\",;:()/]*/)",
    r"(?:/|%2[Ff])(?=(?:home|Users|mnt|Volumes|media)(?:/|%2[Ff])[^\s/'\"])",
    r"(?<=<path>)/",
)
"""What a path of a machine begins with: an address of a file, a drive, a share (both ways), a home, a root with a
folder; the folders that hold people's names whatever stands before them."""

BODY: Final = r"""(?:[^'"\n: ]|[ ](?!--[a-z])|(?<=\w)'(?=\w)|'"'"'|'\\''|\\'|:(?!\s|$))*"""
"""To the next quote, `: `, option of a command or end; a blank, a comma or an apostrophe may belong to a folder."""

FOUND: Final = re.compile(f"(?P<keep>{KEPT}|{ADDRESS})|(?:{'|'.join(STARTS)}){BODY}")
PARTS: Final = re.compile(r"[\\/]+|%2[Ff]")
ENDINGS: Final = (
    "bmp|cfg|ckpt|csv|db|geojson|gpkg|gz|h5|hdf5|html|ini|ipynb|jp2|jpe?g|jsonl?|log|md|nc|np[yz]|onnx|parquet|pdf|"
    "png|pth?|py|safetensors|sh|shp|so|svg|sqlite|tar|tiff?|toml|txt|vrt|whl|xml|ya?ml|zarr|zip"
)
FILE: Final = re.compile(rf"([\w.-]+\.(?:{ENDINGS}))(?=$|[\s,;:)\]}}>])(.*)", re.DOTALL | re.IGNORECASE)
NAMED: Final = re.compile(rf"\.(?:{ENDINGS})\b", re.IGNORECASE)
HOMES: Final = ("home", "Users", "root", "users", "Documents and Settings", "Volumes", "media")


def _short(path: str, *, whole: bool = False) -> str:
    """A path's last part, which says what it was; nothing of it where that may be somebody's name.

    Args:
        path: From its first separator on; words of the sentence may stand behind it.
        whole: Quoted: all of it is the path.
    """
    parts = [part for part in PARTS.split(path.strip("'\"")) if part]
    if len(parts) < 2 or parts[-2] in HOMES or parts[-1] in HOMES:
        return "<path>"
    named = FILE.fullmatch(parts[-1])
    if named and not whole and not NAMED.search(named[2]):
        return f"<path>/{named[1]}{named[2]}"
    if not whole and re.search(r"\s", parts[-1].strip()):
        return "<path>"
    last = re.sub(r"[^\w.-]", "_", parts[-1].strip())
    return f"<path>/{last}" if last else "<path>"


def clean(text: str, home: str = "") -> str:
    """A text without absolute paths, without passwords and queries of addresses.

    A path goes from its first separator to the next quote, `: `, option of a command or end of the text, blanks
    included: where it ends nobody can tell, and words are lost rather than a folder's name published. Cleaning twice
    gives the same as cleaning once.

    Args:
        text: Any.
        home: The user's own folder, found wherever it stands, blanks in it included.
    """
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?=$|[\\/\s'\",;:)])", "/home/~", text)
    while (out := _cleaned_once(text)) != text:
        text = out
    return out


def _cleaned_once(text: str) -> str:
    out = USER_INFO.sub("***@", text)
    out = QUERY.sub(r"\1?...", out)
    out = QUOTED.sub(lambda m: f"{m[1]}{_short(m[0], whole=True)}{m[1]}", out)
    return FOUND.sub(lambda m: m[0] if m["keep"] else _short(m[0]), out)


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
        addresses: A lock: queries of addresses may stay where they hold no secret, but none of a raster (`href`),
            whose address is unsigned.
        environment: As `secret`.
    """
    for where, text, key in texts(value):
        kind = secret(text, environment)
        if kind is not None:
            return f"{where[:120]} holds what looks like {kind}"
        if addresses and not key and where.endswith(".href") and re.search(r"[?#]|%3[Ff]", text):
            return f"{where[:120]} is the address of a raster with a query, and such addresses may be signed"
        left = QUERY.sub(r"\1?...", text) if addresses else text
        if clean(left) != left:
            return f"{where[:120]} holds a path of a machine, or an address with a password or query"
    return None
