"""Opening and reading: regular files only, up to a size limit. Refusals are `OSError`s with a reason."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MEGABYTE = 1 << 20

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path | str) -> BinaryIO:
    """Return a regular file opened for reading; a FIFO or a device is refused at once and never waited for.

    Raises:
        OSError: the file is missing, not readable, a folder, or not a regular file.
    """
    # without O_NONBLOCK, opening a FIFO blocks until another process writes to it
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def require_regular(path: Path | str) -> int:
    """Return the size in bytes of a regular file that a library is about to open by name.

    Raises:
        OSError: as `open_regular`.
    """
    found = os.stat(path)
    _require(found.st_mode, path)
    return found.st_size


def _require(mode: int, path: Path | str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(mode):
        what = _KINDS.get(stat.S_IFMT(mode), "not a file")
        raise OSError(errno.EINVAL, f"{what}, not a regular file", str(path))


def read_bytes(path: Path | str, largest: int) -> bytes:
    """Return the content of a regular file of at most `largest` bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"{size:,} bytes; at most {largest:,} are read", str(path))
        return file.read()


def read_text(path: Path | str, largest: int, encoding: str = "utf-8") -> str:
    """Return the text of a regular file of at most `largest` bytes, with line ends as newlines.

    Raises:
        OSError: as `read_bytes`. UnicodeDecodeError: the file has another encoding.
    """
    return read_bytes(path, largest).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
