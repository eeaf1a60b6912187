"""The index of a run: one line per image, with splits, labels and files; `prepare` writes it, all others read it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..errors import DataError, StageError
from ..types import ClassNames, Sample
from .files import write_atomically

WORK = "work"
"""The root of what a data set keeps in the run itself."""


@dataclass(frozen=True)
class Entry:
    """A sample, the splits that it stands in, and its size (H, W) in pixels."""

    sample: Sample
    splits: tuple[str, ...]
    size: tuple[int, int]


class Index:
    """All images of a run by id, in the order of the data set."""

    def __init__(self, entries: Iterable[Entry], classes: ClassNames) -> None:
        self.entries = {entry.sample.image_id: entry for entry in entries}
        self.classes = classes

    def add(self, other: Index) -> None:
        """Add the images of another split; an image that is here already also stands in that split."""
        for image_id, entry in other.entries.items():
            known = self.entries.get(image_id)
            splits = (*known.splits, *entry.splits) if known else entry.splits
            self.entries[image_id] = replace(known or entry, splits=tuple(dict.fromkeys(splits)))

    def splits(self) -> list[str]:
        """Return the names of the splits, in the order of first appearance."""
        return list(dict.fromkeys(name for entry in self.entries.values() for name in entry.splits))

    def samples(self, *splits: str) -> list[Sample]:
        """Return the samples that stand in any of `splits`, each once.

        Raises:
            StageError: a split that was not prepared.
        """
        known = self.splits()
        for name in splits:
            if name not in known:
                raise StageError(
                    f"split {name!r} is not in the index (it has: {', '.join(known) or 'none'}); "
                    f"run `wsseg prepare --split {name}` first"
                )
        return [entry.sample for entry in self.entries.values() if set(splits) & set(entry.splits)]

    def size(self, image_id: str) -> tuple[int, int]:
        """Return (H, W) of an image."""
        return self.entries[image_id].size

    def role(self, image_id: str, train: Iterable[str]) -> str:
        """Return "train" if the image stands in one of the `train` splits, else "val"."""
        return "train" if set(train) & set(self.entries[image_id].splits) else "val"


def write_index(folder: Path, index: Index, roots: Mapping[str, Path]) -> str:
    """Write index.jsonl, classes.json and roots.json into `folder`; return the content hash of the first two.

    Paths under one of `roots` are kept relative to it, the root `work` relative to `folder`: so a run may move.
    """
    lines = []
    for entry in index.entries.values():
        sample = entry.sample
        line = {
            "id": sample.image_id,
            "image": _relative(sample.image, roots),
            "labels": list(sample.labels),
            "mask": None if sample.mask is None else _relative(sample.mask, roots),
            "extras": {name: _relative(path, roots) for name, path in sample.extras.items()},
            "orientation": sample.orientation,
            "size": list(entry.size),
            "lists": list(entry.splits),
        }
        if not sample.labelled:
            line["labelled"] = False
        lines.append(json.dumps(line, ensure_ascii=False))
    text = "\n".join(lines) + "\n"
    classes = json.dumps(list(index.classes), ensure_ascii=False, indent=1) + "\n"
    kept = {name: os.path.relpath(path, folder) if name == WORK else str(path) for name, path in roots.items()}
    places = json.dumps(kept, indent=1) + "\n"
    for name, content in (("roots.json", places), ("classes.json", classes), ("index.jsonl", text)):
        write_atomically(folder / name, partial(Path.write_text, data=content, encoding="utf-8"))
    return hashlib.sha256((classes + text).encode()).hexdigest()


def _relative(path: Path, roots: Mapping[str, Path]) -> str:
    path = path.absolute()
    for name, root in roots.items():
        with suppress(ValueError):  # not below it
            return f"{name}:{path.relative_to(root).as_posix()}"
    return f":{path.as_posix()}"


def extra_index(folder: Path, split: str) -> Path:
    """Return the folder for the index of a split that the recipe does not name."""
    return folder / "lists" / split


def read_index(folder: Path) -> Index:
    """Return the index in `folder`, with the splits that were added to it.

    Raises:
        StageError: not prepared yet. DataError: a broken index.
    """
    path = folder / "index.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        classes = ClassNames(json.loads((folder / "classes.json").read_text(encoding="utf-8")))
        places = json.loads((folder / "roots.json").read_text(encoding="utf-8"))
        roots = {name: Path(os.path.normpath(folder.absolute() / place)) for name, place in places.items()}
    except FileNotFoundError:
        raise StageError(f"{folder} holds no index; run `wsseg prepare` first") from None
    except (ValueError, OSError, TypeError, AttributeError) as error:  # the last two: JSON of another shape
        raise DataError(f"{folder}: broken index ({error}); run `wsseg prepare --force`") from None
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            sample = Sample(
                image_id=row["id"],
                image=_absolute(row["image"], roots),
                labels=tuple(row["labels"]),
                mask=None if row["mask"] is None else _absolute(row["mask"], roots),
                extras={name: _absolute(place, roots) for name, place in row["extras"].items()},
                orientation=row["orientation"],
                labelled=row.get("labelled", True) is not False,
            )
            entries.append(Entry(sample, tuple(row["lists"]), (row["size"][0], row["size"][1])))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(f"{path}, line {number}: broken ({error!r}); run `wsseg prepare --force`") from None
    index = Index(entries, classes)
    for added in sorted((folder / "lists").glob("*/index.jsonl")):
        index.add(read_index(added.parent))
    return index


def _absolute(place: str, roots: Mapping[str, Path]) -> Path:
    name, _, rest = place.partition(":")
    return roots[name] / rest if name else Path(rest)
