"""Hints in messages, such as "run `wsseg cam` first", made whole by recipe and run of the command that failed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

_STAGES = "run|prepare|train-cls|cam|refine|pseudo|train-seg|eval"
_HINT = re.compile(rf"`(wsseg (?:{_STAGES})(?: [^`]*)?)`")
_WHERE = "--recipe", "-r", "--run", "--run-dir", "--set", "--use"


def made_whole(message: str, arguments: Sequence[str]) -> str:
    """Return a message whose hints can be typed as they stand.

    arguments: of the command that failed. Their recipe, run, values and folders join every hint of a stage that names
    no recipe and no run itself; a run that was given by its folder alone, as `wsseg rank RUN` takes it, joins as --run.
    """
    where = shlex.join(_where(arguments))

    def whole(hint: re.Match[str]) -> str:
        said = hint[1]
        return hint[0] if not where or "--recipe" in said or "--run" in said else f"`{said} {where}`"

    return _HINT.sub(whole, message)


def _where(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command that say which recipe and run it works on."""
    words: list[str] = []
    left = iter(arguments)
    for word in left:
        name, is_joined, _ = word.partition("=")
        if name in _WHERE:
            words += [word] if is_joined else [word, *[value for value in [next(left, None)] if value is not None]]
    if words:
        return words
    runs = [word for word in arguments if (Path(word) / "recipe.yaml").is_file()]
    return ["--run", runs[0]] if len(runs) == 1 else []
