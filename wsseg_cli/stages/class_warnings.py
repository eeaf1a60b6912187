"""What looks like a mistake in the names of classes and how often they occur."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_BETWEEN = re.compile(r"\s*(?:[,;|/+&，、；]|\band\b|\s)\s*")

EVERYWHERE = 0.95
"""Share of the training images from which a class is reported as being on nearly all of them."""


def name_warnings(names: Sequence[str]) -> list[str]:
    """Return a line for names that may be the same class twice, or several classes in one."""
    lines = []
    alike = defaultdict(list)
    for name in names:
        alike[" ".join(name.casefold().split())].append(name)
    for same in alike.values():
        if len(same) > 1:
            said = " and ".join(map(repr, same))
            lines.append(f"{said} are classes of their own; `rename: {{{same[1]!r}: {same[0]!r}}}` makes them one")
    for name in names:
        if name != name.strip():
            lines.append(f"class {name!r} has a space at an end; `rename: {{{name!r}: {name.strip()!r}}}` removes it")
        parts = [part for part in _BETWEEN.split(name.strip()) if part]
        if len(parts) > 1 and all(part.casefold() in alike for part in parts):
            between = name.strip()[len(parts[0]) : name.strip().index(parts[1], len(parts[0]))]
            lines.append(
                f"class {name!r} is made of the classes {', '.join(parts)}; where cells of a table hold several names, "
                f"`separator: {between!r}` parts them"
            )
    return lines
