"""The folder of start weights, and what `weights:` of a recipe means: a keyword, a path, or a name in that folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import CheckpointError, near
from .table import TABLE

WORDS = ("none", "package", "hub", "train_cls")
"""Values of `weights:` that are neither a path nor a name."""

_SUFFIX = ".safetensors"


def folder() -> Path:
    """Return the folder of start weights: WSSEG_WEIGHTS, else the user's data directory; it may not exist yet.

    Raises:
        CheckpointError: the variable is not set, and the account has no home directory.
    """
    given = os.environ.get("WSSEG_WEIGHTS")
    try:
        return Path(given).expanduser() if given else _data_directory() / "wsseg" / "weights"
    except RuntimeError as error:  # an account without a home directory
        raise CheckpointError(f"no folder for weights ({error}); export WSSEG_WEIGHTS=DIR") from error


def path_of(name: str) -> Path:
    """Return where the weights called `name` are, or would be."""
    return folder() / f"{name}{_SUFFIX}"


def by_name(value: str) -> bool:
    """Return whether `weights: VALUE` is a name: not a keyword, a path or an existing file."""
    path = Path(value)
    return value not in WORDS and path.name == value and not path.suffix and not _is_file(path)


def locate(value: str) -> Path:
    """Return the file that `weights: VALUE` means, a path or a name; nothing is downloaded.

    Raises:
        CheckpointError: there is no file of that name or path (the message names the command that fetches it), or VALUE
            is a keyword.
    """
    if value in WORDS:
        raise CheckpointError(f"weights: {value} is not a file")
    if not by_name(value):
        if not _is_file(Path(value)):
            what = "is a folder; give a .safetensors file" if Path(value).is_dir() else "no such file"
            raise CheckpointError(f"weights: {value}: {what}{_instead(Path(value).stem)}")
        return Path(value)
    path = path_of(value)
    if value and _is_file(path):
        return path
    if value in TABLE:
        raise CheckpointError(f"weights: {value} is not in {folder()} yet; bring it there: wsseg weights get {value}")
    known = [*WORDS, *TABLE, *sorted(p.stem for p in folder().glob(f"*{_SUFFIX}"))]
    raise CheckpointError(
        f"weights: {value!r:.80} is neither a file, nor a name in {folder()}, nor published weights"
        f"{near(value, known)}; `wsseg weights list` shows the names"
    )


def _instead(name: str) -> str:
    if name not in TABLE:
        return ""
    return f"; `weights: {name}` finds it by name after `wsseg weights get {name}`"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # not a possible file name
        return False


def _data_directory() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
