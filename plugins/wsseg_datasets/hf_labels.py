"""The label column of a Hugging Face data set: names, numbers, vectors of 0 and 1, or objects that have a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsseg_cli.data.label_cells import are_multi_hot, names_in_cell, twice_a_number
from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames, means_no_class

from .names import renamed

OBJECT_FIELDS = ("category", "categories", "label", "labels", "class", "classes", "class_name", "name", "category_id")
"""Fields of objects that may hold their class; the first that exists is taken."""


class LabelColumn:
    """Reads the cells of one column; says what a cell means only once all of them are known."""

    def __init__(
        self, feature: Any, *, classes: Sequence[str], separator: str | None, rename: Mapping[str, str | None]
    ) -> None:
        """Take the column's feature, and the options of those names.

        Raises:
            DataError: objects have no field that could be their class.
        """
        self._given, self._separator, self._rename = classes, separator, rename
        self._field: str | None = None
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, dict):
            self._field = next((name for name in OBJECT_FIELDS if name in inner), None)
            if self._field is None:
                raise DataError(f"objects without one of {', '.join(OBJECT_FIELDS)}; there are {', '.join(inner)}")
            inner = getattr(inner[self._field], "feature", inner[self._field])
        self._own: list[str] = list(getattr(inner, "names", None) or ())

    def classes(self, cells: Sequence[Any]) -> ClassNames:
        """Return the class names: the options', the column's own, or all that occur in it, in alphabetical order.

        Raises:
            DataError: labels are numbers and nothing names them.
        """
        if self._given:
            return ClassNames(self._given)
        if self._own:
            return ClassNames(dict.fromkeys(renamed(self._own, self._rename)))
        names = {value for cell in cells for value in self._values(cell)}
        if not all(isinstance(name, str) for name in names):
            raise DataError("labels are numbers without names; give the names in order as the option `classes`")
        return ClassNames(sorted(set(renamed(names, self._rename))))

    def holds_vectors(self, cells: Sequence[Any], classes: ClassNames) -> bool:
        """Return whether the cells, of all splits together, are vectors of 0 and 1 over the classes."""
        if self._own or self._field or not all(isinstance(cell, list | str) or cell is None for cell in cells):
            return False
        return are_multi_hot([[_number(v) for v in self._values(cell)] for cell in cells], len(classes))

    def labels(self, cells: Sequence[Any], classes: ClassNames, vectors: bool) -> list[tuple[int, ...] | str]:
        """Return the labels in each cell, or why it cannot be used; vectors: the result of `holds_vectors`."""
        rows = [self._values(cell) for cell in cells]
        found: list[tuple[int, ...] | str] = []
        for cell, row in zip(cells, rows, strict=True):
            try:
                if vectors:
                    found.append(tuple(label for label, value in enumerate(row) if _number(value)))
                else:
                    found.append(self._of_row(row, isinstance(cell, list), classes))
            except DataError as error:
                found.append(str(error))
        return found

    def known(self, cell: Any) -> bool:
        """Return whether a cell says what an image shows: an empty list says "none", None and -1 say nothing."""
        return cell is not None and cell != -1

    def _of_row(self, row: list[Any], is_list: bool, classes: ClassNames) -> tuple[int, ...]:
        if self._field is None and twice_a_number(row):
            raise DataError(
                f"labels {row!r:.60} repeat a number; expected class names or numbers, or 0 and 1 for each of "
                f"{len(classes)} classes"
            )
        found: set[int] = set()
        names = []
        for value in row:
            number = _number(value)
            if not isinstance(number, int):
                if not isinstance(value, str):
                    raise DataError(f"label {str(value)[:40]!r} is neither a name nor a number")
                names.append(value)
            elif number == -1 and not is_list:
                continue
            elif self._own and 0 <= number < len(self._own):
                names.append(self._own[number])
            elif not 0 <= number < len(classes):
                raise DataError(f"label {number} is out of range for {len(classes)} classes")
            else:
                found.add(number)
        used = [name for name in renamed(names, self._rename) if not means_no_class(name)]
        return tuple(sorted(found | {classes.label(name) for name in used}))

    def _values(self, cell: Any) -> list[Any]:
        if self._field is not None:
            cell = _of_objects(cell, self._field)
        if isinstance(cell, str):
            parts = names_in_cell(cell, self._separator, self._given or self._own)
            # a vector in a cell of text, as CSV has it
            return [int(part) for part in parts] if len(parts) > 1 and set(parts) <= {"0", "1"} else parts
        if cell is None:
            return []
        return list(cell) if isinstance(cell, list | tuple) else [cell]


def _of_objects(cell: Any, field: str) -> list[Any]:
    """Return the classes of the objects in a cell: a dict of lists, or a list of dicts."""
    if isinstance(cell, dict):
        return list(cell.get(field) or ())
    return [entry.get(field) for entry in cell or () if isinstance(entry, dict)]


def _number(value: Any) -> Any:
    """Return a whole number or a bool as int, anything else as it is."""
    if isinstance(value, bool | int):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
