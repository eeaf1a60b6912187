"""What every stage begins with: the index, after a check that its data are still those that `prepare` read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.index import WORK, Index, extra_index, read_index
from ..data.sources import FILE, Changes, changes, digest, hashes_of, write_sources
from ..engine import processes
from ..errors import RecipeError, StageError, WssegError
from ..plugin.protocols import Dataset
from ..plugin.sources import named_places
from ..run.directory import RunDir
from ..types import Json, Sample
from . import Context

UNKNOWN = (
    "this run was prepared before wsseg kept a record of its data: earlier changes cannot be detected, "
    "later ones will be"
)


def prepared(context: Context, split: str | None = None) -> Index:
    """Return the index of a run, with a split that was added to the recipe's.

    Raises:
        StageError: the run is not prepared, was prepared with other settings, or its data have changed since.
    """
    context.run.require("prepare")
    refuse_changes(context, split)
    return read_index(context.prepared)


def refuse_changes(context: Context, split: str | None = None, *, refresh: bool = True) -> None:
    """Refuse to continue with an index whose data have changed, unless the command says to trust them.

    refresh: False only checks and writes nothing, as in a dry run.

    Raises:
        StageError: data have changed; the message says which, and what to do.
    """
    if context.trust_data:
        return
    main = refresh and processes.is_main()
    found = data_changes(context.run, refresh=main)
    if found is None and refresh:
        _adopt(context)
    folder, command = context.prepared, "wsseg prepare --force"
    if not found and split is not None and (extra_index(folder, split) / FILE).is_file():
        folder, command = extra_index(folder, split), f"wsseg prepare --split {split}"
        found = data_changes(context.run, folder, refresh=main)
    if found:
        lines = "\n  ".join(found.lines())
        raise StageError(
            f"{folder} is stale: its data have changed\n  {lines}\n"
            f"  `{command}` reads them again, `--run OTHER` keeps what is there, "
            "`--trust-data` continues without this check"
        )


def data_changes(run: RunDir, folder: Path | None = None, *, refresh: bool = False) -> Changes | None:
    """Return what has changed since the run was prepared; None if there is no record of what it was made from.

    folder: of another index than the run's own, that of an added split.
    """
    try:
        options = run.recipe.section("prepare").options
    except RecipeError:  # a variable is not set: later stages rely on what `prepare` read
        options = {}
    return changes(folder or run.folder("prepare"), options, refresh=refresh)


def write_record(
    folder: Path,
    data: Dataset[Any],
    samples: Iterable[Sample],
    index: Index,
    splits: Sequence[str],
    roots: Mapping[str, Path],
) -> Json:
    """Record what an index was made from, and return hashes of its photos, extras included, and of its masks.

    samples: all that the data set gave, including those that could not be used: they may be repaired later.
    """
    sources = data.sources(splits)
    looked = [path for sample in samples for path in _pictures(sample)]
    hashes = hashes_of([*looked, *sources.files])
    write_sources(folder, sources, looked, {**roots, **named_places(data.options)}, hashes)
    kept = [entry.sample for entry in index.entries.values()]
    photos = [path for sample in kept for path in (sample.image, *sample.extras.values())]
    masks = [sample.mask for sample in kept if sample.mask is not None]
    return {"photos": digest(hashes[path] for path in photos), "masks": digest(hashes[path] for path in masks)}


def _pictures(sample: Sample) -> list[Path]:
    return [sample.image, *([sample.mask] if sample.mask else []), *sample.extras.values()]


def _adopt(context: Context) -> None:
    """Record what the data of an older run are now, without reading photos, and say so, once."""
    said = [UNKNOWN]
    if processes.is_main():
        try:
            cls, options = context.recipe.plugin("prepare")
            data = cls(options, context.prepared / "data")
            index = read_index(context.prepared)
            splits = context.recipe.section("prepare").splits
            pictures = [path for entry in index.entries.values() for path in _pictures(entry.sample)]
            roots = {WORK: data.work, **named_places(options)}
            write_sources(context.prepared, data.sources(splits), pictures, roots, {})
        except WssegError as error:
            said = [f"this run keeps no record of its data, and none could be made: {error}"]
    context.notes.extend(said)
