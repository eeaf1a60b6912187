"""Writing: a temporary file next to the target, then a rename, so that a file or folder that exists is complete.

Modes follow the umask. A killed process leaves `.NAME.PID.tmp` behind; `sweep` removes it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import DataError
from ..signals import may_run
from .reading import require_regular

_LEFT_OVER = re.compile(r"\..+\.(\d+)\.tmp")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `DataError` that says which file could not be written, and why.

    Raises:
        DataError: the disk is full, the place is read-only, there is a file where a folder is needed, ….
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        at = f" (at {error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise DataError(f"cannot write {path}: {reason}{at}") from error


def temporary_name(path: Path) -> Path:
    """Return the name under which this process prepares `path`; `sweep` knows it."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file next to `path`, then rename it: a file that exists is complete.

    durable: the file and its folder have reached the disk on return. False is for the many files of a stage, which
    `settle` flushes together.

    Raises:
        DataError: the file cannot be written, as on a full disk, or a folder, a device or a FIFO has its name.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            require_regular(path)  # a rename onto /dev/null or a FIFO would put a file in its place
        temporary = temporary_name(path)
        try:
            # we create it ourselves: the umask decides its mode, whatever the library that fills it would choose
            handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
            mode = os.fstat(handle).st_mode & 0o777
            os.close(handle)
            write(temporary)
            os.chmod(temporary, mode)
            if durable:
                _sync(temporary)
            os.replace(temporary, path)
            if durable:
                _sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text as UTF-8, whole or not at all; characters that UTF-8 cannot encode are written as "?".

    Raises:
        DataError: the file cannot be written.
    """
    data = text.encode("utf-8", "replace")
    write_atomically(path, lambda temporary: temporary.write_bytes(data), durable=durable)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes `path` at the end: a folder that exists is complete.

    Raises:
        DataError: it cannot be written.
    """
    temporary = temporary_name(path)
    with writing(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.iterdir():
                _sync(file)
            remove(path)
            os.rename(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all its contents; to other processes a folder disappears in one step.

    Raises:
        DataError: it cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            aside = path.with_name(f".{path.name}.old.{os.getpid()}.tmp")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(path, aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot remove {path}: {error.strerror or error}") from error


def settle(folder: Path) -> None:
    """Flush everything in a folder to the disk before its record says that it is done.

    Raises:
        DataError: the disk refuses.
    """
    with writing(folder), ThreadPoolExecutor(_AT_ONCE) as pool:
        for here, _, names in os.walk(folder):
            files = [path for path in (os.path.join(here, name) for name in names) if os.path.isfile(path)]
            for at in range(0, len(files), _MANY):
                deque(pool.map(_sync, files[at : at + _MANY]), maxlen=0)
            _sync(here)


_AT_ONCE, _MANY = 16, 1024
"""Files that wait for the disk together, since one turn of a journal takes many; and files that are handed out."""


def sweep(folder: Path, *, deep: bool = True) -> None:
    """Remove what processes that ended while writing left in `folder`.

    deep: in the folders below it as well. Files that a live process of this machine is writing stay, unless that
    process is this one, which writes nothing when this is called.
    """
    for here, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            found = _LEFT_OVER.fullmatch(name)
            if found and not _another(int(found[1][:9])):
                path = Path(here, name)
                if name in folders:
                    folders.remove(name)
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.unlink()
        if not deep:
            break


def _another(pid: int) -> bool:
    """Return whether another process with this id is running."""
    return pid != os.getpid() and may_run(pid)


def _sync(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # some file systems cannot flush a folder and report it with these codes
        if not os.path.isdir(path) or error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


_NO_FOLDER_SYNC = (22, 95)  # EINVAL, EOPNOTSUPP
