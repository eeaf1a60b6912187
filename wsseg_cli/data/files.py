"""File names made from image ids, and the header of our safetensors files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..disk.records import parse_record
from ..disk.writing import write_atomically, write_text
from ..errors import WssegError
from ..types import Json

__all__ = ["file_stem", "from_header", "stems_in", "to_header", "write_atomically", "write_text"]

_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\ud800-\udfff]')
_LONGEST = 180  # bytes; common file systems allow 255, and a suffix and a temporary prefix are added


def file_stem(image_id: str) -> str:
    """Return `image_id` as a file name without suffix: unchanged if safe, else `/` and the like percent-encoded."""
    stem = _UNSAFE.sub(lambda match: f"%{ord(match.group()):02X}", image_id)
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if len(stem.encode()) > _LONGEST:
        kept = stem.encode()[: _LONGEST - 17].decode(errors="ignore")
        stem = f"{kept}-{hashlib.sha256(image_id.encode()).hexdigest()[:16]}"
    return stem


def stems_in(folder: Path, suffix: str) -> set[str]:
    """Return the stems of the files in `folder` that end in `suffix`; lists the folder once, with no stat per file."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {e.name[: -len(suffix)] for e in entries if e.name.endswith(suffix) and not e.name.startswith(".")}


def to_header(values: Mapping[str, Any]) -> dict[str, str]:
    """Return `values` as the metadata of a safetensors file: one key, since the order of several is random."""
    return {"wsseg": json.dumps(values, sort_keys=True, ensure_ascii=False)}


def from_header(metadata: Mapping[str, str] | None) -> Json:
    """Return the values that `to_header` wrote; empty for files of other programs."""
    try:
        return parse_record((metadata or {}).get("wsseg", "{}"), Json, "header", "")
    except WssegError:
        return {}
