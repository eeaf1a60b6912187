"""What a user can do something about, each kind with the exit code that a shell script sees."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WssegError(Exception):
    """A problem that the user can mend: shown as one message without traceback; `exit_code` goes to the shell."""

    exit_code = 1


class CheckFailed(WssegError):
    """A check that was asked for did not hold, such as `eval --min-miou`."""

    exit_code = 1


class RecipeError(WssegError):
    """A recipe or a command line that cannot be followed."""

    exit_code = 2


class PluginError(WssegError):
    """A plugin that is not there, does not load, or is not what its group promises."""

    exit_code = 3


class DataError(WssegError):
    """An image, mask, label or split that is missing or broken."""

    exit_code = 4


class StageError(WssegError):
    """A stage asked for out of order, on old input, or beside another process."""

    exit_code = 5


class CheckpointError(WssegError):
    """Weights that do not fit the network, key by key, or cannot be read."""

    exit_code = 6


class TrainingError(WssegError):
    """Training that cannot go on, such as a loss that is not finite."""

    exit_code = 7


def near(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest known word, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
