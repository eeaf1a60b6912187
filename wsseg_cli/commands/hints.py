"""Hints in messages, such as "run `wsseg cam` first", made whole by recipe and run of the command that failed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

_STAGES = "run|prepare|train-cls|cam|refine|pseudo|train-seg|eval"
_HINT = re.compile(rf"`(wsseg ({_STAGES})(?: [^`]*)?)`")
_WHERE = "--recipe", "-r", "--run", "--run-dir", "--set"
_TAKING_FOLDERS = "refine", "pseudo", "train-seg", "eval"


def made_whole(message: str, arguments: Sequence[str]) -> str:
    """Return a message whose hints can be typed as they stand.

    arguments: of the command that failed. Their recipe, run, values and folders join every hint of a stage that names
    no recipe and no run itself; a run that was given by its folder alone, as `wsseg rank RUN` takes it, joins as --run.
    """
    where, folders = _where(arguments), _given(arguments, ("--use",))

    def whole(hint: re.Match[str]) -> str:
        said, stage = hint.groups()
        if not where or "--recipe" in said or "--run" in said:
            return hint[0]
        return f"`{said} {shlex.join([*where, *(folders if stage in _TAKING_FOLDERS else [])])}`"

    return _HINT.sub(whole, message)


def _where(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command that say which recipe and run it works on."""
    if words := _given(arguments, _WHERE):
        return words
    runs = [word for word in arguments if os.path.isfile(os.path.join(word, "recipe.yaml"))]  # False for any nonsense
    return ["--run", runs[0]] if len(runs) == 1 else []


def _given(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return these options of a command with their values, as they were typed."""
    words: list[str] = []
    left = iter(arguments)
    for word in left:
        name, is_joined, _ = word.partition("=")
        if name in options:
            words += [word] if is_joined else [word, *[value for value in [next(left, None)] if value is not None]]
    return words
