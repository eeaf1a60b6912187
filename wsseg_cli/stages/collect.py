"""The samples of all splits of a data set under unique ids; part of `prepare`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import DataError, PluginError
from ..plugin.protocols import Dataset
from ..types import Sample


@dataclass
class Collected:
    """Samples by id, the splits that each is in, and how many ids were made unique by the name of their split."""

    samples: dict[str, Sample] = field(default_factory=dict)
    member_of: dict[str, list[str]] = field(default_factory=dict)
    told_apart: int = 0


def collect(data: Dataset[Any], splits: Iterable[str], taken: Mapping[str, Path] | None = None) -> Collected:
    """Return the samples of `splits`.

    An id that means different photos in different splits, as when each split has its own folder with a 0001.jpg,
    becomes SPLIT/ID in all of them. taken: photos by id that the run has already, from splits that are not asked for.

    Raises:
        DataError: an id occurs twice in a split, a photo has different labels or files in different splits, or two
            photos of one id share a mask or a map.
    """
    found: dict[str, dict[Path, tuple[Sample, list[str]]]] = {}
    for name in splits:
        for image_id, sample in _of_split(data, name).items():
            groups = found.setdefault(image_id, {})
            known, members = groups.setdefault(_place(sample.image), (sample, []))
            if known != sample:
                raise DataError(f"image {image_id!r} has other files or labels in split {name!r} than before")
            members.append(name)
    result = Collected()
    for image_id, groups in found.items():
        others = {_place(taken[image_id])} - set(groups) if taken and image_id in taken else set()
        collides = len(groups) + len(others) > 1
        if collides:
            _check_maps(image_id, [sample for sample, _ in groups.values()])
            result.told_apart += 1
        for sample, members in groups.values():
            own = f"{members[0]}/{image_id}" if collides else image_id
            if own in result.samples or (collides and own in found):
                raise DataError(f"image id {own!r} would stand for two photos; rename one of them")
            result.samples[own] = replace(sample, image_id=own)
            result.member_of[own] = members
    return result


def _of_split(data: Dataset[Any], name: str) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    folders = data.extra_folders()
    for sample in data.samples(name):
        if sample.image_id in samples:
            raise DataError(f"image id {sample.image_id!r} occurs twice in split {name!r}; ids must be unique")
        maps = {extra: folder / f"{sample.image_id}.png" for extra, folder in folders.items()}
        labels = tuple(sorted(set(sample.labels)))
        samples[sample.image_id] = replace(sample, labels=labels, extras={**maps, **sample.extras})
    if not samples and not data.bad:
        raise DataError(f"split {name!r} lists no images")
    return samples


def _check_maps(image_id: str, samples: list[Sample]) -> None:
    seen: set[Path] = set()
    for sample in samples:
        files = {_place(path) for path in (sample.mask, *sample.extras.values()) if path is not None}
        if shared := seen & files:
            raise DataError(
                f"image id {image_id!r} stands for {len(samples)} photos in different splits, and one map for all of "
                f"them: {min(shared)}; keep the maps of each split in a folder of the split's name"
            )
        seen |= files


def _place(path: Path) -> Path:
    return Path(os.path.abspath(path))


def check_extras(name: str, wanted: frozenset[str], samples: Sequence[Sample]) -> None:
    """Check that every sample has what a plugin reads besides the image.

    Raises:
        PluginError: a sample does not.
    """
    for extra in sorted(wanted - {"mask"}):
        lacking = [sample.image_id for sample in samples if extra not in sample.extras]
        if lacking:
            where = "saliency" if extra == "saliency" else f"extras.{extra}"
            raise PluginError(
                f"{name} needs a {extra} map of each image; {len(lacking)} of {len(samples)} have none, "
                f"such as {lacking[0]!r}; name their folder in dataset.options.{where}"
            )
