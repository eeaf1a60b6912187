"""Class names from the file formats that are common in the field."""

from __future__ import annotations

from itertools import dropwhile
from pathlib import Path

from ..disk.reading import read_text
from ..disk.records import parse_json
from ..errors import DataError
from ..types import ClassNames, means_no_class

_LARGEST = 1 << 20


def read_class_names(path: Path) -> ClassNames:
    """Return the foreground classes that a file names; a leading "background" or labelme's "__ignore__" is dropped.

    Accepted are JSON with a list of names or a key `class_names` (RecurSeed), and text with one name per line, with or
    without a number before it (EPS's labels.txt).

    Raises:
        DataError: the file is missing, too large, or in another format.
    """
    try:
        text = read_text(path, _LARGEST, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as class names ({error})") from error
    names = _of_json(path, text) if path.suffix.lower() == ".json" else _of_lines(text)
    names = list(dropwhile(means_no_class, names))
    if not names:
        raise DataError(f"{path}: lists no classes; expected one per line, or a JSON list")
    try:
        return ClassNames(names)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _of_json(path: Path, text: str) -> list[str]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    names = content.get("class_names") if isinstance(content, dict) else content
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f'{path}: expected a list of class names, or {{"class_names": [...]}}')
    return names


def _of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    parts = [line.split(None, 1) for line in lines]
    for first in (0, 1):
        if all(len(part) == 2 and part[0] == str(number) for number, part in enumerate(parts, first)):
            return [part[1] for part in parts]
    return lines
