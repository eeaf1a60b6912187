"""Names of timm's networks, from its source code in milliseconds; importing timm takes seconds, and torch."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_REGISTERED = re.compile(r"^@register_model\s+(?:@.*\s+)*def (\w+)", re.MULTILINE)


@cache
def model_names() -> tuple[str, ...]:
    """Return the names of all networks of the installed timm, sorted; () if it is not installed."""
    spec = find_spec("timm")
    folders = (spec.submodule_search_locations if spec else None) or []
    files = [file for folder in folders for file in Path(folder, "models").glob("*.py")]
    return tuple(sorted({name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))}))
