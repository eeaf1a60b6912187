"""What `prepare` asks about pictures is what reading them in full says."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsseg_cli.data.images import mask_values, photo_size, read_image, read_mask
from wsseg_cli.errors import DataError


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((97, 61)).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def outcome(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except DataError as error:
        return str(error)


def size_in_full(path: Path) -> tuple[int, ...]:
    return read_image(path).shape[:2]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_cut_or_damaged_jpeg_fails_as_it_does_in_full(
    tmp_path: Path, mode: str, subsampling: int, progressive: bool
) -> None:
    whole = jpeg(mode, progressive=progressive, subsampling=subsampling, quality=90)
    rng = Random(0)
    files = [whole[:end] for end in [*range(0, len(whole), 41), *range(len(whole) - 30, len(whole) + 1)]]
    for _ in range(100):
        changed = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        files.append(bytes(changed))
    path = tmp_path / "a.jpg"
    whole_ones = 0
    for data in files:
        path.write_bytes(data)
        in_full = outcome(size_in_full, path)
        assert outcome(photo_size, path) == in_full
        whole_ones += in_full == (61, 97)
    assert 2 < whole_ones < len(files) - 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    assert photo_size(path, orientation) == read_image(path, orientation).shape[:2]


def test_values_of_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    for values in ([0, 1, 255], [0, 2, 255]):  # the second is not taken for the first
        mask = np.array(values * 4, np.uint8).reshape(3, 4)
        Image.fromarray(mask).save(path)
        os.utime(path, ns=(values[1], values[1]))
        assert mask_values(path) == ((3, 4), tuple(values)) and np.array_equal(read_mask(path), mask)
    path.unlink()
    with pytest.raises(DataError, match=r"m\.png: cannot be read"):
        mask_values(path)
