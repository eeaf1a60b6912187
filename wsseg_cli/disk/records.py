"""JSON records of a declared form: validated by pydantic; errors name the file, key, expected form and a remedy."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from ..errors import DataError, WssegError
from .reading import MEGABYTE, read_bytes

_T = TypeVar("_T")

LARGEST = 256 * MEGABYTE
"""Largest size of a record in bytes; the index of a million images is about this large."""

OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
"""For records to which later versions and plugins may add keys; put `@with_config(OPEN)` on the TypedDict."""


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def parse_record(data: bytes | str, kind: type[_T], where: str, remedy: str, error: type[WssegError] = DataError) -> _T:
    """Return the value of JSON text as `kind`, a TypedDict or another annotation.

    where: file, and line if there are several, for the message; remedy: the command that recreates the record.

    Raises:
        error: not JSON, nested too deeply, or not of that form; names the first wrong key.
    """
    try:
        value: _T = _adapter(cast(Hashable, kind)).validate_json(data)
    except ValidationError as wrong:
        raise error(f"{where}: {_said(wrong)}; {remedy}") from None
    return value


def parse_json(data: bytes | str) -> Any:
    """Return the value of third-party JSON text: at most 200 levels deep, so that any code can walk or print it.

    Raises:
        ValueError: not JSON, nested deeper, half a surrogate pair, or a number of thousands of digits.
    """
    return from_json(data)


def check_record(value: Any, kind: type[_T], where: str, remedy: str, error: type[WssegError] = DataError) -> _T:
    """Return values already parsed from JSON as `kind`.

    Raises:
        error: they are not of that form; names the first wrong key.
    """
    try:
        checked: _T = _adapter(cast(Hashable, kind)).validate_python(value)
    except ValidationError as wrong:
        raise error(f"{where}: {_said(wrong)}; {remedy}") from None
    return checked


def _said(wrong: ValidationError) -> str:
    first = wrong.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return f"not JSON ({first['msg'].partition(': ')[2][:120]})"
    reason = first["msg"][:1].lower() + first["msg"][1:160]
    got = "" if first["type"] == "missing" else f" (got {_short(first['input'])})"
    return f"`{key[:120]}`: {reason}{got}" if key else f"{reason}{got}"


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = "a large number" if isinstance(value, int) and value.bit_length() > 200 else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def read_record(
    path: Path, kind: type[_T], remedy: str, error: type[WssegError] = DataError, largest: int = LARGEST
) -> _T | None:
    """Return the record in a file, None if the file is not there.

    Raises:
        error: as `parse_record`, or the file cannot be read or is larger than `largest` bytes.
    """
    data = _read(path, remedy, error, largest)
    return None if data is None else parse_record(data, kind, str(path), remedy, error)


def read_lines(
    path: Path,
    kind: type[_T],
    remedy: str,
    error: type[WssegError] = DataError,
    *,
    last_may_be_cut: bool = False,
    largest: int = LARGEST,
) -> Iterator[_T]:
    """Yield the records of a file with one per line; nothing if the file is not there.

    last_may_be_cut: a last line that is not JSON is skipped, as another process may still be writing it.

    Raises:
        error: as `read_record`; names the line.
    """
    lines = (_read(path, remedy, error, largest) or b"").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield parse_record(line, kind, f"{path}, line {number}", remedy, error)
        except error:
            if last_may_be_cut and number == len(lines) and not line.rstrip().endswith(b"}"):
                return
            raise


def _read(path: Path, remedy: str, error: type[WssegError], largest: int) -> bytes | None:
    try:
        return read_bytes(path, largest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as wrong:
        raise error(f"{path}: cannot be read ({wrong.strerror or wrong}); {remedy}") from wrong
