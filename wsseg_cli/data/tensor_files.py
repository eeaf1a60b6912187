"""Safetensors files: we read and check the header, within limits, before the library allocates any memory."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from ..disk.reading import open_regular
from ..disk.records import check_record, parse_record
from ..disk.writing import write_atomically
from ..errors import DataError, WssegError
from .files import from_header, to_header

if TYPE_CHECKING:
    from torch import Tensor

MOST_HEADER = 8 << 20
"""Largest header in bytes; that of a network with a thousand tensors takes a fiftieth of it."""
MOST_TENSORS = 50_000

NUMBERS = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")
"""Number types that numpy also has."""
WEIGHTS = (*NUMBERS, "BF16")


_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "BOOL": 1} | {
    f"{k}{n}": n // 8 for k in "IU" for n in (8, 16, 32, 64)
}
_Whole = Annotated[int, Field(ge=0, lt=1 << 48)]


@with_config(ConfigDict(extra="forbid", strict=True))
class _Entry(TypedDict):
    dtype: Annotated[str, Field(max_length=20)]
    shape: Annotated[list[_Whole], Field(max_length=16)]
    data_offsets: Annotated[list[_Whole], Field(min_length=2, max_length=2)]


class TensorSpec(NamedTuple):
    """Number type and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]


class TensorHeader(NamedTuple):
    """The header of a file: number type and shape of each tensor, and our own values (see `to_header`)."""

    specs: dict[str, TensorSpec]
    values: dict[str, Any]


class Refusal(NamedTuple):
    """How a broken file is refused: what it should be, what to do about it, and the error class."""

    remedy: str
    error: type[WssegError] = DataError
    what: str = "safetensors file"

    def of(self, path: Path, reason: str) -> WssegError:
        """Return the error for a file."""
        return self.error(f"{path}: not a readable {self.what} ({reason}); {self.remedy}")


def read_header(path: Path, refusal: Refusal) -> TensorHeader:
    """Return the header of a safetensors file; no tensor is read.

    Raises:
        refusal.error: not a regular file, truncated, or in another format. FileNotFoundError: the file is missing.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or length > min(size - 8, MOST_HEADER):
                raise refusal.of(path, "cut off, or another form")
            text = file.read(length)
    except FileNotFoundError:
        raise
    except OSError as wrong:
        raise refusal.of(path, wrong.strerror or str(wrong)) from wrong
    if text.count(b'"dtype"') > MOST_TENSORS:
        raise refusal.of(path, f"more than {MOST_TENSORS:,} tensors")
    try:
        entries = parse_record(text, dict[str, Any], "its header", "")
        said = entries.pop("__metadata__", None)
        specs = {name: _spec(name, entry, size - 8 - length) for name, entry in entries.items()}
    except DataError as wrong:
        raise refusal.of(path, str(wrong).strip("; ")) from None
    known = said if isinstance(said, dict) else {}
    return TensorHeader(specs, from_header({k: v for k, v in known.items() if isinstance(v, str)}))


def _spec(name: str, entry: Any, left: int) -> TensorSpec:
    """Return type and shape of a tensor whose bytes match its size and are within the `left` ones after the header."""
    said = f"tensor {name[:80]!r}"
    found = check_record(entry, _Entry, said, "")
    first, last = found["data_offsets"]
    size = _BYTES.get(found["dtype"])
    if size is not None and not (first <= last <= left and math.prod(found["shape"]) * size == last - first):
        raise DataError(f"{said} of shape {tuple(found['shape'])} does not match its bytes in the file")
    return TensorSpec(found["dtype"], tuple(found["shape"]))


def read_tensors(
    path: Path, framework: Literal["np", "pt"], refusal: Refusal, kinds: Collection[str] = WEIGHTS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all tensors of a safetensors file, as numpy arrays or torch tensors, and our own values in its header.

    kinds: number types that are accepted.

    Raises:
        refusal.error: as `read_header`, or the number type is another one, or tensors do not fit the file.
            FileNotFoundError: the file is missing.
    """
    from safetensors import SafetensorError, safe_open

    header = read_header(path, refusal)
    for name, spec in header.specs.items():
        if spec.dtype not in kinds:
            raise refusal.of(path, f"tensor {name[:80]!r} of type {spec.dtype[:20]}; expected {', '.join(kinds)}")
    try:
        with safe_open(path, framework=framework) as file:
            return {name: file.get_tensor(name) for name in header.specs}, header.values
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as wrong:
        raise refusal.of(path, str(wrong)) from None


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor] | Mapping[str, Any], header: Mapping[str, Any], *, durable: bool = True
) -> None:
    """Write torch tensors or numpy arrays with the JSON values that describe them, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    write_atomically(path, lambda to: save_tensors(to, tensors, header), durable=durable)


def save_tensors(path: Path, tensors: Mapping[str, Any], header: Mapping[str, Any] | None = None) -> None:
    """Write tensors into a temporary file; whatever the library raises becomes an `OSError`."""
    from safetensors import SafetensorError

    if any(hasattr(tensor, "detach") for tensor in tensors.values()):
        from safetensors.torch import save_file
    else:
        from safetensors.numpy import save_file  # type: ignore[assignment]
    # the library prepares files of its own beside what it writes: in a folder that `sweep` knows
    workshop = Path(mkdtemp(prefix=".tensors.", suffix=f".{os.getpid()}.tmp", dir=path.parent))
    try:
        save_file(dict(tensors), workshop / "file", metadata=None if header is None else to_header(header))
        os.replace(workshop / "file", path)
    except SafetensorError as wrong:
        raise OSError(errno.EIO, _reason(str(wrong))) from wrong
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _reason(text: str) -> str:
    """Return the system's reason from the library's message: `… Os { code: 28, kind: …, message: "…" }`."""
    _, _, message = text.partition('message: "')
    return message.partition('"')[0] or text[:120]
