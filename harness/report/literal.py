"""Texts from other people's machines, printed as they are."""

from __future__ import annotations

import re

from harness.report.run_tables import escaped


def literal(text: object) -> str:
    """A stranger's text as markdown shows it: `escaped`, and no address, @name or www. becomes a link.

    An empty comment parts them; entities would be read back before links are looked for.
    """
    return re.sub(r"(?<=:)(?=//)|(?<=@)(?=\w)|(?<=\bwww)(?=\.)", "<!-- -->", escaped(text), flags=re.IGNORECASE)
