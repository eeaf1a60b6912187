"""Third-party PyTorch checkpoints (.pth, .pt, .bin): the only place that calls `torch.load`."""

from __future__ import annotations

import io
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from ..disk.reading import open_regular
from ..errors import CheckpointError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
_DEEPEST = 4
_PARALLEL = "module."
_MOST_PICKLE, _MOST_FILES, _MOST_READS = 2 << 20, 50_000, 400_000
_LONGEST_LINE, _FREE = 1 << 20, 256 << 20  # bytes
_OBJECT = re.compile(r"GLOBAL ([\w.]+)")
_ADVICE = re.compile(r"Please use|In PyTorch 2\.6|Re-running|Weights only load failed")
_HALF = (torch.float16, torch.bfloat16)


def read(source: Path | str | BinaryIO) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch checkpoint by name, on the CPU; nothing in the file is executed.

    {"state_dict": …} and the like are unwrapped, the "module." of a data-parallel network is removed, half precision
    becomes float32. Anything else in the file (an epoch, a version) is left out.

    Raises:
        CheckpointError: the file cannot be read, is truncated, holds anything but tensors and plain containers, or has
            no tensors where a checkpoint has them.
    """
    return read_wrapped(source)[0]


def read_wrapped(source: Path | str | BinaryIO) -> tuple[dict[str, Tensor], str]:
    """Return the tensors as `read` does, and the keys that they are under, such as "model.state_dict"; "" for none.

    Raises:
        CheckpointError: as `read`.
    """
    name = str(source) if isinstance(source, Path | str) else "the checkpoint"
    entries, keys = _unwrapped(load(source), name)
    _check_memory(entries, name)
    tensors = {key: _plain(key, value, name) for key, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(f"{key} ({type(value).__name__})" for key, value in list(entries.items())[:8]) or "nothing"
        raise CheckpointError(f"{name} has no tensors where a checkpoint has them; it holds {found}")
    while all(key.startswith(_PARALLEL) for key in tensors):
        tensors = {key.removeprefix(_PARALLEL): value for key, value in tensors.items()}
    return tensors, ".".join(keys)


def load(source: Path | str | BinaryIO) -> Any:
    """Return what `torch.save` wrote: tensors, numbers and strings in plain containers; nothing is executed.

    Raises:
        CheckpointError: the file cannot be read, is truncated, or holds anything else.
    """
    if isinstance(source, Path | str):
        try:
            with open_regular(source) as file:
                return _loaded(file, str(source))
        except OSError as error:
            raise CheckpointError(f"cannot read {source}: {error.strerror or error}") from error
    return _loaded(source, "the checkpoint")


def _loaded(file: BinaryIO, name: str) -> Any:
    try:
        _check_archive(file, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice to the author of the file
            return torch.load(cast("IO[bytes]", _Counted(file)), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{name} is refused: it is damaged or holds more than tensors and plain containers ({_reason(error)}). "
            "Nothing of it was executed. Save the state_dict alone, where the file was made, and convert that."
        ) from error
    except Exception as error:  # a damaged file can fail anywhere inside torch's reader, with any type
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{name} is refused: it is a TorchScript archive, a program and not weights alone. Nothing of it was "
                "executed. Save its state_dict alone, where the file was made, and convert that."
            ) from error
        raise CheckpointError(
            f"{name} is damaged or not a PyTorch checkpoint ({_reason(error)}); is the download complete?"
        ) from error


def _check_archive(file: BinaryIO, name: str) -> None:
    """Refuse an archive that expands to far more than its size, or whose pickle would take minutes to interpret."""
    if not zipfile.is_zipfile(file):
        file.seek(0)
        return
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        inside = archive.infolist()
        longest = max((i.file_size for i in inside if i.filename.endswith("data.pkl")), default=0)
        unfolded = sum(i.file_size for i in inside)
    file.seek(0)
    if longest > _MOST_PICKLE or len(inside) > _MOST_FILES or unfolded > 2 * size + (1 << 20):
        raise CheckpointError(
            f"{name} is refused: its archive has {len(inside):,} files of {unfolded:,} bytes, {longest:,} of them "
            "describe the tensors; no checkpoint is like this"
        )


class _Counted(io.RawIOBase):
    """A file that fails after too many small reads: the pickle of an old checkpoint is interpreted read by read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, _MOST_READS
        here = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(here)

    def read(self, size: int = -1) -> bytes:
        """Read as the file does."""
        self._count()
        left = max(0, self.size - self.file.tell())  # otherwise memory for all of `size` would be allocated
        return self.file.read(left if size is None or size < 0 else min(size, left))

    def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        """Read a line as the file does."""
        self._count()
        return self.file.readline(_LONGEST_LINE if size is None or size < 0 else size)

    def readinto(self, buffer: Any) -> int:
        """Read as the file does."""
        self._count()
        return self.file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place as the file does."""
        return self.file.seek(place, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self.file.tell()

    def seekable(self) -> bool:
        """Say that it can go to a place."""
        return True

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError("it has millions of parts")


def _reason(error: Exception) -> str:
    """Return in one line why torch refuses a file, without its advice on how to load it anyway."""
    text = str(error)
    if found := _OBJECT.search(text):
        return f"it holds an object of Python, {found[1]}"
    lines = text.split("WeightsUnpickler error:")[-1].strip().splitlines()
    reason = _ADVICE.split(lines[0])[0].strip(" .") if lines else ""
    return reason or type(error).__name__


def _unwrapped(content: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the entries of the innermost dict of a checkpoint, and the keys on the way there."""
    keys: list[str] = []
    while isinstance(content, Mapping) and len(keys) < _DEEPEST:  # a dict in a file may contain itself
        key = _wrapper(content)
        if key is None:
            return {str(key): value for key, value in content.items()}, keys
        keys.append(key)
        content = content[key]
    raise CheckpointError(f"{name} holds a {type(content).__name__}; expected a dict of tensors by name")


def _wrapper(content: Mapping[Any, Any]) -> str | None:
    """Return the key of the tensors in a dict: a usual one, or that of the only dict of tensors."""
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            return key
    if any(isinstance(value, Tensor) for value in content.values()):
        return None
    inner = [key for key, value in content.items() if isinstance(value, Mapping) and _has_tensors(value)]
    return inner[0] if len(inner) == 1 and isinstance(inner[0], str) else None


def _has_tensors(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(inner, Tensor) for inner in value.values())


def _check_memory(entries: Mapping[str, Any], name: str) -> None:
    """Refuse tensors that are small in the file but huge in memory: views of each other, or one number repeated.

    Raises:
        CheckpointError: there are such tensors.
    """
    dense = [v for v in entries.values() if isinstance(v, Tensor) and v.layout == torch.strided]
    plain = sum(tensor.numel() * max(4, tensor.element_size()) for tensor in dense)
    held = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in dense}.values())
    if plain > 4 * held + _FREE:
        raise CheckpointError(f"{name}: its tensors are views of {held:,} bytes and would take {plain:,} of their own")


def _plain(key: str, value: Tensor, name: str) -> Tensor:
    if value.layout != torch.strided or value.is_quantized:
        raise CheckpointError(f"{key} in {name} is sparse or quantised; only dense tensors are read")
    value = value.detach()
    return value.float() if value.dtype in _HALF else value
