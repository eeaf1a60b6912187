"""One file over HTTP: resumed where it stopped, with progress, and complete and verified once it has its name."""

from __future__ import annotations

import errno
import hashlib
import http
import http.client
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..disk.reading import read_text
from ..errors import CheckpointError, WssegError

Show = Callable[[int, int], None]
"""Called now and then with the bytes received and the bytes in all, 0 if the server does not say."""

_BLOCK = 1 << 20
_PAUSES = (1.0, 2.0, 4.0)
_TIMEOUT = 30.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PASSING = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS)


class _CutOff(Exception):
    """The connection ended before the file did."""


def download(address: str, to: Path, *, sha256: str = "", copies: int = 1, show: Show | None = None) -> Path:
    """Fetch `address` into `to` and return it; what an earlier attempt left is resumed.

    sha256: of the file, or its beginning. copies: how many files of this size the disk must have room for.

    Raises:
        CheckpointError: there is no network, the server refuses, the connection breaks again and again, another process
            is downloading the file, or its hash is wrong; in the last case the file is removed.
        WssegError: the disk is full.
    """
    from filelock import FileLock, Timeout

    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(to.with_name(f"{to.name}.lock"), timeout=0):
            if not to.is_file():
                part = to.with_name(f"{to.name}.part")
                _fetch(address, part, copies, show)
                try:
                    require_hash(part, sha256, address)
                except CheckpointError:
                    part.unlink()  # must not be resumed
                    raise
                part.replace(to)
    except Timeout as error:
        raise CheckpointError(f"{to} is being fetched by another process; wait for it") from error
    return to


def _fetch(address: str, part: Path, copies: int, show: Show | None) -> None:
    """Fetch what `part` lacks of the file, in as many attempts as make progress."""
    pauses = iter(_PAUSES)
    while True:
        before = _size(part)
        try:
            return _go_on(address, part, copies, show)
        except ValueError as error:  # characters that no address has
            raise CheckpointError(f"{address!r} is not a valid address ({error})") from error
        except (OSError, http.client.HTTPException, _CutOff) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise _full(part, error.strerror or "no space left") from error
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in _PASSING:
                raise CheckpointError(f"{address}: the server answers {error.code} {error.reason}") from error
            unreachable = isinstance(_reason(error), (socket.gaierror, ConnectionRefusedError))
            if _size(part) > before:
                pauses = iter(_PAUSES)  # only attempts that bring nothing are counted
            pause = next(pauses, None)
            if pause is None or unreachable:
                raise CheckpointError(_broken(address, part, error)) from error
            time.sleep(pause)


def require_hash(file: Path, expected: str, said_by: str, kind: str = "sha256") -> None:
    """Check that the hash of a file begins with `expected`; "" checks nothing.

    Raises:
        CheckpointError: it does not.
    """
    if not expected:
        return
    found = digest(file, kind)
    if not found.startswith(expected.lower()):
        whole = expected if len(expected) == len(found) else f"{expected}…"
        raise CheckpointError(
            f"{said_by}: the {kind.upper()} is {found}, expected {whole}; "
            "the file was damaged in transit, or is a different file"
        )


def digest(file: Path, kind: str = "sha256") -> str:
    """Return the hash of a file's content."""
    with file.open("rb") as stream:
        total = hashlib.new(kind)
        while block := stream.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def require_room(folder: Path, wanted: int) -> None:
    """Check that the disk of `folder` has room for `wanted` bytes.

    Raises:
        WssegError: it does not.
    """
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise _full(folder, f"{_mib(wanted)} are wanted, {_mib(free)} free")


def _go_on(address: str, part: Path, copies: int, show: Show | None) -> None:
    """Make one request for what `part` lacks of the file."""
    begun = _size(part)
    headers = {"User-Agent": f"wsseg/{__version__}", "Accept-Encoding": "identity"}
    tag = part.with_name(f"{part.name}.etag")
    if begun:
        headers["Range"] = f"bytes={begun}-"
        headers |= _if_unchanged(tag)
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and begun:
            whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if whole == str(begun):
                return  # the file was complete
            part.unlink()
            raise _CutOff from error
        raise
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise CheckpointError(f"{address} answers with a web page, not with a file; has the file moved?")
        resumed = begun if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length")
        total = resumed + int(length) if length and length.isdigit() else 0
        require_room(part.parent, copies * total - resumed)
        etag = answer.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            tag.write_text(etag, encoding="utf-8")
        done = resumed
        with part.open("ab" if resumed else "wb") as stream:
            while block := answer.read(_BLOCK):
                stream.write(block)
                done += len(block)
                if show:
                    show(done, total)
        if total and done < total:
            raise _CutOff
    tag.unlink(missing_ok=True)


def _if_unchanged(tag: Path) -> dict[str, str]:
    """Return the header that requests the rest of a file only if it is still the one that `tag` names."""
    try:
        said = read_text(tag, 1 << 12, "ascii")
    except (OSError, UnicodeDecodeError):
        return {}
    return {"If-Range": said} if said.isprintable() else {}


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _broken(address: str, part: Path, error: Exception) -> str:
    reason = _reason(error)
    words = str(getattr(reason, "strerror", None) or reason) or "the connection ended before the file did"
    kept = f"; {_mib(_size(part))} are kept, the same command goes on from there" if _size(part) else ""
    return f"{address} cannot be fetched ({words}){kept}"


def _reason(error: Exception) -> object:
    wrapped = isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)
    return error.reason if wrapped else error  # type: ignore[attr-defined]


def _full(where: Path, words: str) -> WssegError:
    return WssegError(
        f"the disk is full at {where} ({words}); make room, or export WSSEG_WEIGHTS=DIR on another disk; "
        "the same command goes on from what is there"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
