"""Large images in windows give what the whole image gives, but for what a network sees beyond the overlap."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from wsseg_cam.method import CAM
from wsseg_deeplab.segmenter import DeepLabV2
from wsseg_onestage.method import OneStage

from wsseg_cli.data.images import read_image
from wsseg_cli.data.strips import Pixels
from wsseg_cli.errors import DataError, RecipeError
from wsseg_cli.plugin.requirements import Requirements
from wsseg_cli.recipe.sections import CamSettings
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.cam import _check_windows
from wsseg_cli.stages.windows import in_windows, logits_in_windows, mask_in_windows
from wsseg_cli.types import ClassNames

SIZE = (256, 1280)
CLASSES = ClassNames(["disc", "ring"])
SMALL = {"backbone": "small", "backbone_options": {"width": 8}}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(SIZE[::-1], Image.Resampling.BICUBIC))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.5)])
def test_a_segmenter_in_windows(image: np.ndarray, scales: tuple[float, ...], flip: bool) -> None:
    torch.manual_seed(0)
    segmenter = DeepLabV2(DeepLabV2.Options(**SMALL, form="v2_small"), CLASSES)
    model = segmenter.build_model().eval()
    with torch.no_grad():
        for parameter in model.head.parameters():  # type: ignore[union-attr]
            parameter.normal_(std=0.2)
    infer = InferSettings(scales=scales, flip=flip, tile=896, overlap=640)
    assert in_windows(infer, SIZE) and not in_windows(infer, (896, 896))
    with torch.inference_mode():
        want = segmenter.logits(model, image, infer)
    got = logits_in_windows(segmenter, model, infer, Pixels.of(image))
    assert want.std() > 0.01 and not np.array_equal(got, want)
    np.testing.assert_allclose(got, want, atol=1e-4 * max(1.0, float(np.abs(want).max())))
    found = mask_in_windows(segmenter, model, infer, Pixels.of(image))
    np.testing.assert_array_equal(found, got.argmax(0))


@pytest.mark.parametrize("labels", [(0, 1), (1,), (), None])
def test_class_activation_maps_in_windows(image: np.ndarray, labels: tuple[int, ...] | None) -> None:
    torch.manual_seed(1)
    method = CAM(CAM.Options(**SMALL), CLASSES)
    model = method.build_model().eval()
    plain = InferSettings(scales=(1.0, 1.5), flip=True)
    with torch.inference_mode():
        want = method.scores(model, image, labels, plain)
        got = method.scores(model, image, labels, plain.model_copy(update={"tile": 896, "overlap": 640}))
    np.testing.assert_array_equal(got.classes, want.classes)
    np.testing.assert_allclose(got.scores, want.scores, atol=1e-4)
    assert got.size == SIZE and got.strided is None


def test_windows_that_nobody_would_look_at() -> None:
    section = CamSettings(infer=InferSettings(tile=512))
    assert CAM.sees_windows and not OneStage.sees_windows
    _check_windows(section, "cam", True, False)
    for sees, strided, message in ((False, False, "method 'cam' looks at whole images"), (True, True, "second map")):
        with pytest.raises(RecipeError, match=message):
            _check_windows(section, "cam", sees, strided)
    with pytest.raises(ValueError, match="need 128 pixels beyond it"):
        InferSettings(tile=256, overlap=129)


WINDOWS = (((0, 5), (0, 640)), ((100, 233), (7, 8)), ((250, 256), (0, 1280)), ((0, 256), (0, 1280)))
ROWS_PER_STRIP = 278


@pytest.mark.parametrize("rows", [16, 104])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_rows_of_a_tiff(image: np.ndarray, tmp_path: Path, compression: str | None, rows: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(image).save(path, compression=compression, tiffinfo={ROWS_PER_STRIP: rows})
    check_windows(path, (rows, SIZE[1]))


@pytest.mark.parametrize("compression", [1, 8])
def test_tiles_of_a_tiff(image: np.ndarray, tmp_path: Path, compression: int) -> None:
    path = tmp_path / "a.tif"
    write_tiles(path, image, (96, 176), compression)
    check_windows(path, (96, 176))


def test_tall_strips_are_decoded_whole(tmp_path: Path) -> None:
    tall = np.random.default_rng(0).integers(0, 255, (1100, 10, 3), np.uint8)
    Image.fromarray(tall).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={ROWS_PER_STRIP: 1100})
    pixels = Pixels(tmp_path / "a.tif")
    assert pixels._blocks is None
    np.testing.assert_array_equal(pixels.whole(), tall)


def check_windows(path: Path, block: tuple[int, int]) -> None:
    """Compare windows that are read block by block with the picture that Pillow decodes whole."""
    whole, pixels = read_image(path), Pixels(path)
    assert pixels._blocks is not None and pixels._blocks.size == block and pixels.size == SIZE
    for rows, columns in WINDOWS:
        np.testing.assert_array_equal(pixels.read(rows, columns), whole[rows[0] : rows[1], columns[0] : columns[1]])


def write_tiles(path: Path, image: np.ndarray, tile: tuple[int, int], compression: int) -> None:
    """Write an RGB TIFF of tiles, which Pillow does not write: 1 is plain, 8 is deflate."""
    height, width = image.shape[:2]
    tiles = []
    for top in range(0, height, tile[0]):
        for left in range(0, width, tile[1]):
            part = image[top : top + tile[0], left : left + tile[1]]
            full = np.zeros((*tile, 3), np.uint8)
            full[: part.shape[0], : part.shape[1]] = part
            tiles.append(zlib.compress(full.tobytes()) if compression == 8 else full.tobytes())
    starts = np.cumsum([8, *map(len, tiles)]).tolist()
    tags = ImageFileDirectory_v2()
    values = {256: width, 257: height, 258: (8, 8, 8), 259: compression, 262: 2, 277: 3, 284: 1}
    for tag, value in (values | {322: tile[1], 323: tile[0], 325: tuple(map(len, tiles))}).items():
        tags[tag] = value
    tags.tagtype[324] = 4
    tags[324] = tuple(starts[:-1])
    path.write_bytes(b"II*\0" + starts[-1].to_bytes(4, "little") + b"".join(tiles) + tags.tobytes(starts[-1]))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_that_ends_too_early(image: np.ndarray, tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(image).save(path, compression=compression)
    pixels = Pixels(path)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match=r"a\.tif: broken or truncated"):
        pixels.whole()


def test_a_tiff_with_a_damaged_strip(image: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(image).save(path, compression="tiff_adobe_deflate", tiffinfo={ROWS_PER_STRIP: 64})
    pixels = Pixels(path)
    assert pixels._blocks is not None
    with path.open("r+b") as file:
        file.seek(pixels._blocks.offsets[2])
        file.write(b"\xff" * 40)
    np.testing.assert_array_equal(pixels.read((0, 128), (0, 9)), image[:128, :9])
    with pytest.raises(DataError, match=r"a\.tif: broken or truncated"):
        pixels.read((100, 140), (0, 9))


def test_turned_photos_are_decoded_whole(image: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(image).save(tmp_path / "a.tif")
    pixels = Pixels(tmp_path / "a.tif", 6)
    assert pixels.size == SIZE[::-1] and pixels._blocks is None
    np.testing.assert_array_equal(pixels.whole(), np.rot90(image, -1))


class Grey:
    """Stands in for a segmenter: its scores are the brightness and its opposite."""

    classes = ClassNames(["bright"])
    required = Requirements()

    def logits(self, model: object, image: np.ndarray, infer: InferSettings) -> np.ndarray:
        assert infer.tile is None
        bright = image[..., 0].astype(np.float32) - 127.5
        return np.stack([-bright, bright])


def test_memory_of_a_window_alone(tmp_path: Path) -> None:
    size = (5000, 6000)
    path = tmp_path / "a.tif"
    Image.new("RGB", (size[1], 8)).save(path)
    pixels = Pixels(path)
    assert pixels._blocks is not None
    start = pixels._blocks.offsets[0]
    # rows of zeros that take no place on the disk
    pixels.size, pixels._blocks = size, replace(pixels._blocks, picture=size, size=size)
    with path.open("r+b") as file:
        file.truncate(start + size[0] * size[1] * 3)
        file.seek(start + (3000 * size[1] + 4000) * 3)
        file.write(b"\xff" * 3 * 1000)
    tracemalloc.start()
    mask = mask_in_windows(Grey(), torch.nn.Identity(), InferSettings(tile=512, overlap=128), pixels)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    band, window, overlap = 512 * size[1] * 3, 2 * 512 * 512 * 4, 2 * 2 * 256 * size[1] * 4
    assert peak < mask.nbytes + 2 * band + 6 * window + overlap < size[0] * size[1] * 3
    assert mask[3000, 4000:5000].all() and mask.sum() == 1000
