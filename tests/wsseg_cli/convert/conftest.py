"""A folder with masks, their photos and the names of their classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelling import MASKS, NAMES
from PIL import Image

from wsseg_cli.data.stores import write_mask


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Return a folder with masks, their photos and the names of the classes."""
    for name, mask in MASKS.items():
        write_mask(tmp_path / "masks" / f"{name.replace('/', '%2F')}.png", mask)
        photo = tmp_path / "photos" / f"{name}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (18, 13)).save(photo)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return tmp_path
