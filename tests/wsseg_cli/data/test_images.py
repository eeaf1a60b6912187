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
from PIL import Image, PngImagePlugin

from wsseg_cli.data.images import look_at_photo, mask_values, read_image, read_mask
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
        assert outcome(lambda path: look_at_photo(path)[0], path) == in_full
        whole_ones += in_full == (61, 97)
    assert 2 < whole_ones < len(files) - 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    assert look_at_photo(path, orientation)[0] == read_image(path, orientation).shape[:2]


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


def sixteen_bits(pixels: np.ndarray, to: Path) -> None:
    Image.fromarray(pixels.astype(np.uint16)).save(to)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_sixteen_bits_become_the_upper_eight(tmp_path: Path, name: str, orientation: int) -> None:
    pixels = np.arange(6)[:, None] * 10_000 + np.arange(4)[None] * 3
    sixteen_bits(pixels, tmp_path / name)
    upper = (pixels // 256).astype(np.uint8)
    expected = np.rot90(upper, -1) if orientation == 6 else upper
    image = read_image(tmp_path / name, orientation)
    assert image.dtype == np.uint8 and (image == expected[..., None]).all()
    assert look_at_photo(tmp_path / name, orientation) == (image.shape[:2], "16-bit")


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert look_at_photo(tmp_path / "a.jpg") == ((6, 8), "CMYK")
    red = read_image(tmp_path / "a.jpg")
    assert red.shape == (6, 8, 3) and red[..., 0].min() > 240 and red[..., 1:].max() < 15


def test_modes_whose_values_are_no_colours_are_refused(tmp_path: Path) -> None:
    Image.new("F", (8, 6)).save(tmp_path / "a.tif")
    Image.fromarray(np.full((6, 8), 70_000, np.int32)).save(tmp_path / "b.tif")
    for name, message in (("a.tif", "mode F"), ("b.tif", "values 70000 to 70000")):
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)
        with pytest.raises(DataError, match=message):
            look_at_photo(tmp_path / name)


@pytest.mark.parametrize("chunk", ["text", "profile"])
def test_long_chunks_of_a_png(tmp_path: Path, chunk: str) -> None:
    more: dict[str, Any] = {"icc_profile": b"a" * 3_000_000}
    if chunk == "text":
        more = {"pnginfo": PngImagePlugin.PngInfo()}
        more["pnginfo"].add_text("history", "a" * 3_000_000, zip=True)
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "a.png", **more)
    assert (read_image(tmp_path / "a.png") == (1, 2, 3)).all()


def test_the_reason_of_a_broken_picture_is_told(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("history", "a" * (80 << 20), zip=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(DataError, match="too large"):
        read_image(tmp_path / "a.png")


def test_a_mask_as_jpeg_is_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 6), 1).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="JPEG blurs"):
        read_mask(tmp_path / "a.jpg")
