"""Readers of mask proposals: SAM's JSON and ours, stacks of PNGs, label images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hardening.reader import Call, Make

_REGIONS = np.repeat(np.repeat(np.arange(12).reshape(3, 4), 4, 0), 5, 1)


def _run_lengths() -> list[dict[str, Any]]:
    from wsseg_cli.data.proposals import Proposals
    from wsseg_cli.ops.run_lengths import text_of

    found = Proposals.from_regions(_REGIONS)
    size = list(found.size)
    counts = [found.counts(number) for number in range(len(found))]
    return [
        {
            "segmentation": {"size": size, "counts": text_of(one) if number % 2 else one.tolist()},
            "predicted_iou": 0.9,
            "stability_score": 0.5,
        }
        for number, one in enumerate(counts)
    ]


def sam(folder: Path) -> tuple[Path, Call]:
    path = folder / "in" / "p0.json"
    path.parent.mkdir()
    path.write_text(json.dumps(_run_lengths()))
    return path, _conversion(folder, path, "sam")


def ours(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.data.proposals import ProposalStore

    path = folder / "p0.json"
    image = {"height": _REGIONS.shape[0], "width": _REGIONS.shape[1]}
    path.write_text(json.dumps({"image": image, "annotations": _run_lengths()}))

    def read() -> None:
        found = ProposalStore(folder).read("p0")
        inside = np.ones(found.size, bool)
        found.union(found.overlaps(inside) > 0)
        found.boxes.sum()

    return path, read


def stack(folder: Path) -> tuple[Path, Call]:
    path = folder / "in" / "p0" / "1.png"
    path.parent.mkdir(parents=True)
    for number in range(3):
        Image.fromarray((np.uint8(number) == _REGIONS).astype(np.uint8) * 255).save(path.with_name(f"{number}.png"))
    return path, _conversion(folder, path, "stack")


def regions(suffix: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        path = folder / "in" / f"p0{suffix}"
        path.parent.mkdir()
        if suffix == ".npy":
            np.save(path, _REGIONS.astype(np.int32))
        else:
            Image.fromarray(_REGIONS.astype(np.uint16)).save(path)
        return path, _conversion(folder, path, "labels")

    return make


def _conversion(folder: Path, path: Path, form: Any) -> Callable[[], None]:
    def read() -> None:
        from wsseg_cli.convert.proposals import run
        from wsseg_cli.errors import DataError

        shutil.rmtree(folder / "out", ignore_errors=True)
        result = run(folder / "in", folder / "out", form=form)
        if result.failures:
            raise DataError(f"{path.name}: {result.failures[0][1]}")

    return read
