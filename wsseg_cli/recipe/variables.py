"""`${NAME}` in the texts of a recipe: environment variables, filled in when a stage runs."""

from __future__ import annotations

import os
import re
from typing import Any

from .problems import Problem, show
from .yaml_core import Address

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def misspelt(data: Any, at: Address, problems: list[Problem]) -> None:
    """Add texts whose `${` does not begin a variable to `problems`."""
    if isinstance(data, dict):
        for key, value in data.items():
            misspelt(value, (*at, key), problems)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            misspelt(value, (*at, index), problems)
    elif isinstance(data, str) and "${" in _VARIABLE.sub("", data):
        problems.append(
            Problem(
                at,
                f"{show(data)} has a `${{` that does not begin a variable: use ${{NAME}} with letters, digits and '_'",
            )
        )


def filled(data: Any, at: Address, missing: list[Problem]) -> Any:
    """Return `data` with its variables filled in; those that are not set are added to `missing`."""
    if isinstance(data, dict):
        return {key: filled(value, (*at, key), missing) for key, value in data.items()}
    if isinstance(data, list):
        return [filled(value, (*at, index), missing) for index, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    for name in _VARIABLE.findall(data):
        if not os.environ.get(name):
            missing.append(Problem(at, f"the environment variable {name} is not set; `export {name}=…`"))
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], ""), data)
