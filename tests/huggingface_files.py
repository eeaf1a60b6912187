"""Data sets as the library `datasets` reads them: folders with metadata, and parquet. Skips where it is missing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsseg_cli.data.stores import write_mask

datasets = pytest.importorskip("datasets")

QUIET = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
"""Mark of the tests: the library leaves files open."""

NAMES = ("cat", "dog", "sofa")
LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {"a": ("dog", "sofa"), "sub/b": ("cat",)},
    "val": {"c": ("dog",)},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the library from the network and from the home folder."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "elsewhere")
    yield
    assert not (tmp_path / "elsewhere").exists()


def photo(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def imagefolder(root: Path, masks: bool = True, orientation: int = 1) -> Path:
    for split, images in LISTS.items():
        rows = []
        for image_id, names in images.items():
            photo(root / split / f"{image_id}.jpg", orientation)
            row: dict[str, Any] = {"file_name": f"{image_id}.jpg", "labels": list(names)}
            if masks:
                write_mask(root / split / "masks" / f"{image_id}.png", np.full((6, 8), 2, np.uint8))
                row["mask_file_name"] = f"masks/{image_id}.png"
            rows.append(json.dumps(row))
        (root / split / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return root


def parquet(root: Path, columns: dict[str, Any], split: str = "train") -> Path:
    features = {name: values.pop("feature") for name, values in columns.items()}
    table = datasets.Dataset.from_dict(
        {name: values["values"] for name, values in columns.items()}, features=datasets.Features(features)
    )
    (root / "data").mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"))
    return root


def picture(path: str | None = None, seed: int = 0) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return {"bytes": buffer.getvalue(), "path": path}
