"""Errors that a user can fix, each kind with the exit code that a shell script sees."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class WssegError(Exception):
    """A problem that the user can fix: shown as one message without traceback; `exit_code` goes to the shell."""

    exit_code = 1


class CheckFailed(WssegError):
    """A requested check that failed, such as `eval --min-miou`."""

    exit_code = 1


class RecipeError(WssegError):
    """A recipe or a command line that cannot be followed."""

    exit_code = 2


class PluginError(WssegError):
    """A plugin that is missing, does not load, or does not fulfil the contract of its group."""

    exit_code = 3


class DataError(WssegError):
    """An image, mask, label or split that is missing or broken."""

    exit_code = 4


class StageError(WssegError):
    """A stage requested out of order, on outdated input, or while another process is at work."""

    exit_code = 5


class CheckpointError(WssegError):
    """Weights that do not fit the network, key by key, or cannot be read."""

    exit_code = 6


class TrainingError(WssegError):
    """Training that cannot continue, for example because a loss is not finite."""

    exit_code = 7


def near(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest known word, or an empty string."""
    found = difflib.get_close_matches(word, list(known), 1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
