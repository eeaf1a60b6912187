"""Tables of image labels, CSV or JSON lines: an image and the names of its classes in each row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DataError
from .files import write_atomically

IMAGE_COLUMNS = ("image_id", "image", "id", "file_name", "filename", "file", "name")
LABEL_COLUMNS = ("labels", "label", "classes", "class", "tags")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_SEPARATOR = re.compile(r"[;|,]")
_LARGEST = 256 << 20


def read_label_table(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the class names of each image by id, in the order of a `.csv` or `.jsonl` file.

    The id is the first of `IMAGE_COLUMNS` without a photo's suffix. Names stand in the first of `LABEL_COLUMNS`: in CSV
    one or several in a cell, with ";", "|" or "," between them, in JSON lines as a list. An empty cell is no label.

    Raises:
        DataError: missing, in another form, or an image that stands twice; names the line.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: above {_LARGEST:,} bytes; expected a table of labels")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a table of labels ({error})") from error
    rows = _json_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text)
    table: dict[str, tuple[str, ...]] = {}
    for number, row in rows:
        image_id = _image_id(row)
        labels = _labels(row)
        if image_id is None or labels is None:
            raise DataError(
                f"{path}, line {number}: needs an image ({', '.join(IMAGE_COLUMNS[:4])}) and labels; "
                f"got {str(row)[:120]}"
            )
        if image_id in table:
            raise DataError(f"{path}, line {number}: image {image_id!r} stands twice")
        table[image_id] = labels
    return table


def write_label_table(path: Path, table: Mapping[str, tuple[str, ...]]) -> None:
    """Write `table` as `read_label_table` reads it, CSV or JSON lines by the suffix of `path`.

    Raises:
        DataError: another suffix, or a name that holds a separator and is to go into a cell.
    """
    if path.suffix.lower() == ".jsonl":
        lines = [json.dumps({"image_id": i, "labels": list(names)}, ensure_ascii=False) for i, names in table.items()]
        text = "".join(line + "\n" for line in lines)
    elif path.suffix.lower() == ".csv":
        odd = sorted({name for names in table.values() for name in names if _SEPARATOR.search(name)})
        if odd:
            raise DataError(f"{path}: class {odd[0]!r} holds a separator of cells; write .jsonl")
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image_id", "labels"])
        writer.writerows([image_id, ";".join(names)] for image_id, names in table.items())
        text = buffer.getvalue()
    else:
        raise DataError(f"{path}: a table of labels is .csv or .jsonl")
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _csv_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}: no CSV ({error})") from error
    if not set(header) & set(IMAGE_COLUMNS) or not set(header) & set(LABEL_COLUMNS):
        raise DataError(
            f"{path}: columns {', '.join(header)[:120] or 'none'}; expected one of {', '.join(IMAGE_COLUMNS[:4])} "
            f"and one of {', '.join(LABEL_COLUMNS)}"
        )
    wrong = [number for number, row in rows if len(row) != len(header)]
    if wrong:
        raise DataError(f"{path}, line {wrong[0]}: another number of columns than the header; quote cells with commas")
    return [(number, dict(zip(header, row, strict=True))) for number, row in rows]


def _json_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected an object with `image_id` and `labels`")
        rows.append((number, row))
    return rows


def _image_id(row: dict[str, Any]) -> str | None:
    name = next((row[column] for column in IMAGE_COLUMNS if column in row), None)
    if not isinstance(name, str) or not name.strip():
        return None
    path = PurePosixPath(name.strip())
    return path.with_suffix("").as_posix() if path.suffix.lower() in PHOTO_SUFFIXES else path.as_posix()


def _labels(row: dict[str, Any]) -> tuple[str, ...] | None:
    value = next((row[column] for column in LABEL_COLUMNS if column in row), None)
    if isinstance(value, str):
        value = [name.strip() for name in _SEPARATOR.split(value)]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    return tuple(dict.fromkeys(name for name in value if name))
