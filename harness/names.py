"""Names that somebody typed, held against those that exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from harness.errors import RegistryError


def known(name: str, names: Iterable[str], what: str) -> str:
    """The name, if it is one of `names`.

    Raises:
        RegistryError: It is not; names the nearest, else all there are.
    """
    there = sorted(names)
    if name in there:
        return name
    lower = {each.lower(): each for each in there}
    near = difflib.get_close_matches(name.lower(), lower, 1, 0.5)
    hint = f"did you mean {lower[near[0]]!r}?" if near else f"there are {', '.join(there) or 'none'}"
    raise RegistryError(f"no {what} {name!r}; {hint}")
