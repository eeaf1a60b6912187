"""Tables of image labels: CSV or JSONL, with one column of labels or one column per class."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..disk.reading import read_bytes
from ..disk.records import parse_json
from ..disk.writing import write_text
from ..errors import DataError
from .label_cells import are_multi_hot, names_in_cell, twice_a_number

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "image_path", "path", "image_id", "imageid", "id")
LABEL_COLUMNS = ("labels", "label", "classes", "class", "class_name", "category", "categories", "tags")
"""Accepted column names, in order of preference; case does not matter."""

_LARGEST = 256 << 20
_SEPARATED = re.compile(r"sep=(.)\s*")
_FLAGS = {"": 0, "0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


@dataclass(frozen=True)
class _Rows:
    """How a table is read: the separator of names, the names that stay whole, and where bad rows go (None: raise)."""

    path: Path
    separator: str | None
    classes: Sequence[str]
    bad: dict[str, str] | None

    def refuse(self, line: int, reason: str) -> None:
        text = f"{self.path}, line {line}: {reason}"
        if self.bad is None:
            raise DataError(text)
        self.bad[f"{self.path.name}, line {line}"] = text

    def names(self, cell: str) -> list[str]:
        return names_in_cell(cell, self.separator, self.classes)


def read_label_table(
    path: Path,
    *,
    separator: str | None = None,
    classes: Sequence[str] = (),
    bad: dict[str, str] | None = None,
) -> dict[str, list[str]]:
    """Return the class names of each image in a table, in the table's order.

    A .jsonl file has one object per line, {"image": …, "labels": […] or one string}. Any other file is CSV with a
    header, in UTF-8 or UTF-16, with columns separated by commas, semicolons or tabs: one of `IMAGE_COLUMNS`, and one of
    `LABEL_COLUMNS` or a column of 0 and 1 for each class. An image that appears in several lines, such as one per
    object, has the labels of all of them.

    separator: what separates names in a cell, see `names_in_cell`. classes: names that stay whole, and the classes of
    vectors of 0 and 1. bad: collects lines that cannot be used, with the reason.

    Raises:
        DataError: the file is missing, not text, or lacks these columns; without `bad`, also if a line cannot be used.
    """
    rows = _Rows(path, separator, classes, bad)
    text = _text(path)
    found = _json_rows(rows, text) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows(rows, text)
    table: dict[str, list[str]] = {}
    for image, names in found:
        known = table.setdefault(image, [])
        known += [name for name in names if name not in known]
    if not table:
        raise DataError(f"{path}: lists no images")
    return table


def _text(path: Path) -> str:
    try:
        data = read_bytes(path, _LARGEST)
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as a table of labels ({error}); save it as UTF-8, in Excel: CSV UTF-8"
        ) from None


def write_label_table(path: Path, table: Mapping[str, Iterable[str]]) -> None:
    """Write the class names of each image for `read_label_table`, as JSON lines or CSV by the suffix of `path`.

    Raises:
        DataError: the suffix is another one, or a name would be split when read from a cell.
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
                raise DataError(f"{path}: {cell!r:.120} could not be split again on reading; write .jsonl")
            writer.writerow([image, cell])
        text = buffer.getvalue()
    else:
        raise DataError(f"{path}: a table of labels is .csv or .jsonl")
    write_text(path, text)


def without_suffix(name: str, suffixes: Collection[str] = PHOTO_SUFFIXES) -> str:
    """Return the name of a photo without its suffix; names without one of `suffixes` (case-insensitive) stay as is."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in suffixes else name


def _csv_rows(rows: _Rows, text: str) -> list[tuple[str, list[str]]]:
    lines = text.splitlines()
    said = _SEPARATED.fullmatch(lines[0]) if lines else None
    reader = csv.reader(lines[1:] if said else lines, delimiter=said[1] if said else _delimiter(lines))
    try:
        header = [column.strip() for column in next(reader, [])]
        lower = [column.lower() for column in header]
        image_at = next((lower.index(name) for name in IMAGE_COLUMNS if name in lower), None)
        labels_at = next((lower.index(name) for name in LABEL_COLUMNS if name in lower), None)
        if image_at is None or len(header) < 2:
            found = ", ".join(map(repr, header)) or "nothing"
            raise DataError(f"{rows.path}: expected a header with the columns image and labels; found {found}")
        cells = []
        for row in reader:
            image = row[image_at].strip() if len(row) > image_at else ""
            if not any(cell.strip() for cell in row):
                continue
            if not image or len(row) > len(header):
                rows.refuse(
                    reader.line_num,
                    f"{len(row)} cells under {len(header)} columns; separate several names in a cell by ';' or '|', "
                    "or quote the cell",
                )
                continue
            cells.append((reader.line_num, image, row))
    except csv.Error as error:
        raise DataError(f"{rows.path}, line {reader.line_num}: not valid CSV ({error})") from None
    if labels_at is None:
        return _one_hot(rows, header, image_at, cells)
    listed = [(line, image, rows.names(row[labels_at]) if len(row) > labels_at else []) for line, image, row in cells]
    return _from_vectors(rows, listed)


def _delimiter(lines: Sequence[str]) -> str:
    for delimiter in (",", ";", "\t"):
        try:
            header = [c.strip().lower() for c in next(csv.reader(lines[:1], delimiter=delimiter), [])]
        except csv.Error:  # reported when the whole table is read
            continue
        if len(header) > 1 and set(IMAGE_COLUMNS) & set(header):
            return delimiter
    return ","


def _one_hot(
    rows: _Rows, header: list[str], image_at: int, cells: list[tuple[int, str, list[str]]]
) -> list[tuple[str, list[str]]]:
    """Return the rows of a table with one column of 0 and 1 per class."""
    named = [name for name in rows.classes if name in header]
    columns = {name: at for at, name in enumerate(header) if at != image_at and (name in named or not named)}
    found = []
    for line, image, row in cells:
        values = {name: row[at].strip().lower() if at < len(row) else "" for name, at in columns.items()}
        wrong = next((name for name, value in values.items() if value not in _FLAGS), None)
        if wrong is not None:
            rows.refuse(
                line,
                f"column {wrong!r} holds {values[wrong]!r:.40}; expected a column labels with class names, or a column "
                "of 0 and 1 for each class (the option `classes` says which columns these are)",
            )
            continue
        found.append((image, [name for name, value in values.items() if _FLAGS[value]]))
    return found


def _from_vectors(rows: _Rows, found: list[tuple[int, str, list[Any]]]) -> list[tuple[str, list[str]]]:
    """Return names for rows of names, or for rows that are vectors of 0 and 1 over the classes.

    Other numbers are refused.
    """
    numbers = [[_FLAGS.get(str(value).lower(), value) for value in values] for _, _, values in found]
    vectors = not {"0", "1"} & set(rows.classes) and are_multi_hot(numbers, len(rows.classes))
    named = []
    for (line, image, values), flags in zip(found, numbers, strict=True):
        if vectors:
            named.append((image, [name for name, flag in zip(rows.classes, flags, strict=False) if flag]))
        elif all(isinstance(value, str) and value.strip() for value in values) and not twice_a_number(values):
            named.append((image, [value.strip() for value in values]))
        else:
            rows.refuse(line, f"labels of {image!r} are {values!r:.60}; expected class names, or 0 and 1 for `classes`")
    return named


def _json_rows(rows: _Rows, text: str) -> list[tuple[str, list[str]]]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except ValueError as error:
            rows.refuse(number, f"no JSON ({error})")
            continue
        cells = {str(name).lower(): value for name, value in entry.items()} if isinstance(entry, dict) else {}
        image = next((cells[name] for name in IMAGE_COLUMNS if name in cells), None)
        labels = next((cells[name] for name in LABEL_COLUMNS if name in cells), None)
        if not isinstance(image, str) or not image.strip():
            rows.refuse(number, 'expected {"image": "…", "labels": ["…"]}')
            continue
        values = rows.names(labels) if isinstance(labels, str) else labels
        if not isinstance(values, list):
            rows.refuse(number, f"labels of {image!r} are {labels!r:.60}; expected class names")
            continue
        found.append((number, image.strip(), values))
    return _from_vectors(rows, found)
