"""Finished figures of a table in a small JSON file: it grows over days and machines, where runs do not travel."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from wsseg_cli.recipe import loading

Figures = dict[str, float]


class KeptFigures:
    """The figures of each row and random seed, with a hash of the recipe that they were made with.

    Figures of a recipe that has changed since are made again; a change of code does not show in the hash.
    """

    def __init__(self, path: Path | None) -> None:
        """path: the file, there or not; None keeps nothing."""
        self.path = path
        self._rows: dict[str, dict[str, dict[str, float | str]]] = {}
        self._read()

    def _read(self) -> None:
        if self.path is not None and self.path.is_file():
            self._rows = json.loads(self.path.read_text(encoding="utf-8"))

    def get(self, row: str, seed: int, recipe: str) -> Figures | None:
        """Return the figures of a row and seed, None if there are none of this recipe."""
        kept = self._rows.get(row, {}).get(str(seed))
        if kept is None or kept["recipe"] != recipe:
            return None
        return {name: value for name, value in kept.items() if isinstance(value, float)}

    def put(self, row: str, seed: int, recipe: str, figures: Figures) -> None:
        """Keep the figures of a row and seed, beside what other processes have kept since."""
        self._read()
        kept = {name: round(float(value), 3) for name, value in figures.items()}
        self._rows.setdefault(row, {})[str(seed)] = {"recipe": recipe, **kept}
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self._rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def or_made(self, row: str, seed: int, recipe: str, make: Callable[[], Figures]) -> Figures:
        """Return the figures of a row and seed, made and kept now unless they are there; say them on stderr."""
        found = self.get(row, seed, recipe)
        if found is None:
            found = make()
            self.put(row, seed, recipe, found)
        print(f"{row} random seed {seed}: {found}", file=sys.stderr, flush=True)
        return found

    def seeds(self, row: str) -> list[int]:
        """Return the random seeds that a row has figures of, ascending."""
        return sorted(int(seed) for seed in self._rows.get(row, {}))

    def all(self, row: str, key: str) -> list[float]:
        """Return one figure of a row for each of its random seeds that has it."""
        values = (self._rows[row][str(seed)].get(key) for seed in self.seeds(row))
        return [value for value in values if isinstance(value, float)]


def recipe_hash(name: str, overrides: Sequence[str]) -> str:
    """Return a hash of a recipe's values after --set."""
    values = loading.load(name, overrides).recipe.model_dump_json()
    return hashlib.sha256(values.encode()).hexdigest()[:16]
