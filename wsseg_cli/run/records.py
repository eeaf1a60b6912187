"""The JSON records of a run: read with a clear error, written whole or not at all, with versions and times."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import StageError
from ..types import Json


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on, read from metadata."""
    found = {"wsseg": __version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_json(path: Path) -> Json | None:
    """Return a JSON object from a file of the run, None if the file is not there.

    Raises:
        StageError: the file is no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise StageError(f"{path} cannot be read ({error}); `--force` makes the stage anew") from error
    if not isinstance(data, dict):
        raise StageError(f"{path} holds no JSON object; `--force` makes the stage anew")
    return data


def write_json(path: Path, data: Any) -> None:
    """Write JSON under a temporary name and rename it, so that a file that exists is whole."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
