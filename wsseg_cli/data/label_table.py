"""Tables of image labels: a CSV or JSONL file with the columns `image` and `labels`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..disk.reading import read_text
from ..disk.writing import write_text
from ..errors import DataError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

_LARGEST = 256 << 20
_BETWEEN = re.compile(r"[;|]|,(?=\S)")


def names_in_cell(cell: str) -> list[str]:
    """Return the class names in a cell: parted by ";", "|", or a comma without a space behind it."""
    return [name.strip() for name in _BETWEEN.split(cell) if name.strip()]


def read_label_table(path: Path) -> dict[str, list[str]]:
    """Return the class names of each image that a table names, in the table's order.

    A .jsonl file has one object a line, {"image": …, "labels": […] or one string}; any other is CSV with a header.

    Raises:
        DataError: missing, no text, without these columns, or an image that stands twice; with the line's number.
    """
    try:
        text = read_text(path, _LARGEST, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a table of labels ({error})") from None
    rows = _json_rows(path, text) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows(path, text)
    table: dict[str, list[str]] = {}
    for line, image, names in rows:
        if image in table:
            raise DataError(f"{path}, line {line}: image {image!r} stands twice")
        table[image] = names
    if not table:
        raise DataError(f"{path}: names no image")
    return table


def write_label_table(path: Path, table: Mapping[str, Iterable[str]]) -> None:
    """Write the class names of each image as `read_label_table` reads them, JSON lines or CSV by the suffix of `path`.

    Raises:
        DataError: another suffix, or a name that would be parted in a cell.
    """
    if path.suffix.lower() == ".jsonl":
        lines = [json.dumps({"image": i, "labels": list(names)}, ensure_ascii=False) for i, names in table.items()]
        text = "".join(line + "\n" for line in lines)
    elif path.suffix.lower() == ".csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["image", "labels"])
        for image, names in table.items():
            cell = ";".join(names)
            if names_in_cell(cell) != list(names):
                raise DataError(f"{path}: {cell!r:.120} cannot be parted again in a cell; write .jsonl")
            writer.writerow([image, cell])
        text = buffer.getvalue()
    else:
        raise DataError(f"{path}: a table of labels is .csv or .jsonl")
    write_text(path, text)


def without_suffix(name: str) -> str:
    """Return the name of a photo without its suffix; what is no photo's suffix stays."""
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in PHOTO_SUFFIXES else name


def _csv_rows(path: Path, text: str) -> list[tuple[int, str, list[str]]]:
    reader = csv.reader(text.splitlines())
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        if "image" not in header or "labels" not in header:
            found = ", ".join(map(repr, header)) or "nothing"
            raise DataError(f"{path}: expected a header with the columns image and labels; found {found}")
        image_at, labels_at = header.index("image"), header.index("labels")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            image = cells[image_at].strip() if len(cells) > image_at else ""
            if not image or len(cells) > len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns; several names "
                    "in a cell are parted by ';' or '|', or the cell is quoted"
                )
            names = names_in_cell(cells[labels_at]) if len(cells) > labels_at else []
            rows.append((reader.line_num, image, names))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV ({error})") from None
    return rows


def _json_rows(path: Path, text: str) -> list[tuple[int, str, list[str]]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no JSON ({error})") from None
        image = entry.get("image") if isinstance(entry, dict) else None
        labels = entry.get("labels") if isinstance(entry, dict) else None
        if not isinstance(image, str) or not image.strip():
            raise DataError(f'{path}, line {number}: expected {{"image": "…", "labels": ["…"]}}')
        names = names_in_cell(labels) if isinstance(labels, str) else labels
        if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
            raise DataError(f"{path}, line {number}: labels of {image!r} are {labels!r:.60}; expected class names")
        rows.append((number, image.strip(), [name.strip() for name in names]))
    return rows
