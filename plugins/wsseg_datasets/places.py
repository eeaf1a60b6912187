"""Paths made from names in third-party files: below a folder, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from wsseg_cli.errors import DataError

_LONGEST_PART, _LONGEST = 240, 3000  # bytes and letters; file systems allow a little more, suffixes are still to come


def below(root: Path, name: str, said_by: str) -> Path:
    """Return `root` / `name`.

    said_by: what names the path, for the message.

    Raises:
        DataError: the name leads out of `root`, or is not a file name.
    """
    return root / relative(name, said_by)


def relative(name: str, said_by: str) -> PurePosixPath:
    """Return `name` as a relative path without "." and "..".

    Raises:
        DataError: it is absolute or empty, or has ".." or characters that no file name has.
    """
    path = PurePosixPath(name)
    if not name.strip() or path.is_absolute() or ".." in path.parts or not path.parts:
        raise DataError(f"{said_by} names the file {name[:120]!r}; expected a path inside its folder")
    longest = max(len(part.encode("utf-8", "replace")) for part in path.parts)
    if longest > _LONGEST_PART or len(name) > _LONGEST or any(letter < " " or letter in ":\\" for letter in name):
        raise DataError(f"{said_by} names the file {name[:120]!r}, which is not a file name")
    return path


def refusals(*looks: Callable[[], object]) -> list[str]:
    """Return what each of the checks of files finds wrong, one line each."""
    found = []
    for look in looks:
        try:
            look()
        except DataError as error:
            found.append(str(error))
    return found


def folder_of(option: str, folder: Path) -> Path:
    """Return a folder that an option of a data set names.

    Raises:
        DataError: it does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; set the data set's option `{option}`")
    return folder


def file_of(option: str, file: Path) -> Path:
    """Return a file that an option of a data set names.

    Raises:
        DataError: it does not exist.
    """
    if not file.is_file():
        raise DataError(f"no file {file}; set the data set's option `{option}`")
    return file


def existing(root: Path, names: list[str], what: str) -> Path:
    """Return the first of `names` that exists below `root`.

    Raises:
        DataError: none of them exists.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise DataError(f"{root}: no {what}; looked for {', '.join(names)}")
