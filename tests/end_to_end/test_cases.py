"""Small data sets as people really bring them, with the labels, masks and sizes that are right.

They lie in ../shared/cases, or where WSSEG_CASES says; `pytest -m cases` runs all of them. Each has a recipe r.yaml.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.data.images import read_image, read_mask
from wsseg_cli.data.index import Index, read_index
from wsseg_cli.main import app

ROOT = Path(os.environ.get("WSSEG_CASES", Path(__file__).parents[3] / "shared" / "cases"))
CASES = sorted(path.parent.name for path in ROOT.glob("*/r.yaml"))

pytestmark = [
    pytest.mark.cases,
    pytest.mark.skipif(not CASES, reason="no cases; WSSEG_CASES says where they lie"),
    # Hugging Face's datasets leave files open
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Prepared(NamedTuple):
    """What `wsseg prepare` said and wrote."""

    code: int
    out: str
    err: str

    @property
    def index(self) -> Index:
        return read_index(Path("runs/r/prepare"))

    @property
    def labels(self) -> dict[str, list[str]]:
        """Names of the labels by image id."""
        index = self.index
        return {i: [index.classes[label] for label in entry.sample.labels] for i, entry in index.entries.items()}

    def mask(self, image_id: str) -> np.ndarray | None:
        path = self.index.entries[image_id].sample.mask
        return None if path is None else read_mask(path)


def prepare(*words: str) -> Prepared:
    done = CliRunner().invoke(app, ["prepare", "--recipe", "r.yaml", "--quiet", *words], prog_name="wsseg")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Prepared(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a case, whose copy we stand in."""
    name = str(request.param)
    if name not in CASES:
        pytest.skip(f"no case {name}")
    shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for path in (tmp_path / name).rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    recipe = Path("r.yaml")
    recipe.write_text(recipe.read_text().replace("rates:", "lr_multipliers:"))  # as the option was called before
    return name


def all_of(image_ids: Iterable[str], *names: str) -> dict[str, list[str]]:
    return {image_id: list(names) for image_id in image_ids}


def ids(*names: str) -> list[str]:
    return [f"00{number}" for number in range(1, 7)] if not names else list(names)


CAT_AND_DOG = {image_id: ["cat"] if number % 2 else ["dog"] for number, image_id in enumerate(ids())}
PERSONS = {f"00000{n}": ["dog", "person"] if n % 2 else ["cat"] for n in range(1, 7)}


def renamed(pattern: str) -> dict[str, list[str]]:
    return {pattern.format(n=n): PERSONS[f"00000{n}"] for n in range(1, 7)}


LABELS: dict[str, dict[str, list[str]]] = {
    "c01_coco_empty_seg": CAT_AND_DOG,
    "c02_coco_no_seg_key": CAT_AND_DOG,
    "c04_coco_str_ids": CAT_AND_DOG,
    "c04c_coco_float_size": CAT_AND_DOG,
    "c06b_coco_exif_labelstudio": all_of(ids(), "cat"),
    "c16_coco_same_names_in_lists": {f"{s}/{i}": names for s in ("train", "val") for i, names in CAT_AND_DOG.items()},
    "h05_multihot": dict(
        zip("012345", (["cat"], ["dog"], ["cat", "dog"], ["sofa"], ["cat", "sofa"], ["dog"]), strict=True)
    ),
    "h06_class_folders_same_names": {
        f"{place}{name}/000{number}": [name]
        for name in ("cat", "dog", "sofa")
        for place, numbers in (("train/", (0, 1)), ("val/", (0, 1)), ("", (2,)))
        for number in numbers
    },
    "l02b_excel_quotes": {
        f"{number:03d}": names
        for number, names in enumerate(
            (["dog"], ["cat", "dog"], ["sofa"], ["cat"], ["dog"], ["cat", "dog"], ["sofa"], ["cat"], ["dog"]), 1
        )
    }
    | {"010": ["cat", "dog"]},
    "m09_exif_upright": all_of("0123", "cat"),
    "m09b_exif_with_180": all_of("01234", "cat"),
    "m09c_exif_only_180": all_of("0123", "cat"),
    "v01_xml_size_zero": PERSONS,
    "v03_xml_robndbox": PERSONS,
    "v03b_xml_polygon": PERSONS,
    "v04_xml_gb2312": PERSONS,
    "v04c_xml_utf8_nohyphen": PERSONS,
    "v05_png_photos": PERSONS,
    "v05c_jpeg": PERSONS,
    "v07_names_spaces": renamed("IMG 2024 ({n})"),
    "v07b_subfolders": {f"day{2 if n % 2 else 1}/{n}": PERSONS[f"00000{n}"] for n in range(1, 7)},
    "v15b_difficult_unspecified": PERSONS,
}
"""Names of the labels by image id, of the cases that are fine."""


@pytest.mark.parametrize("case", LABELS, indirect=True)
def test_labels(case: str) -> None:
    done = prepare()
    assert done.code == 0, done.err
    assert done.labels == LABELS[case]
    assert all(entry.sample.image.is_file() for entry in done.index.entries.values())


def box(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[rows, columns] = 1
    return mask


def overlap(mask: np.ndarray | None, wanted: np.ndarray) -> float:
    assert mask is not None and mask.shape == wanted.shape
    return float(((mask > 0) & (wanted > 0)).sum() / ((mask > 0) | (wanted > 0)).sum())


@pytest.mark.parametrize("case", ["c01_coco_empty_seg"], indirect=True)
def test_masks_of_images_whose_objects_have_outlines(case: str) -> None:
    done = prepare()
    masks = {i: done.mask(i) for i in ids()}
    assert [mask is None for mask in masks.values()] == [False, False, True, False, True, False]
    assert overlap(masks["001"], box((72, 96), slice(10, 35), slice(10, 40))) == 1
    assert set(np.unique(masks["001"])) == {0, 2} and set(np.unique(masks["002"])) == {0, 1}
    assert "without a mask in train: 2" in done.out


@pytest.mark.parametrize("case", ["c06b_coco_exif_labelstudio"], indirect=True)
def test_polygons_of_turned_photos(case: str) -> None:
    done = prepare()
    assert "6 photos have one: 6 turned" in done.out
    for image_id in ids():
        assert overlap(done.mask(image_id), box((96, 72), slice(60, 90), slice(5, 35))) == 1
        sample = done.index.entries[image_id].sample
        assert sample.orientation == 6 and read_image(sample.image, sample.orientation).shape == (96, 72, 3)
    shutil.rmtree("runs")
    ignored = prepare("--set", "dataset.options.orientation=ignore")
    assert "6 photos have one: 0 turned" in ignored.out


@pytest.mark.parametrize("case", ["c03_coco_two_points"], indirect=True)
def test_one_bad_object(case: str) -> None:
    done = prepare()
    assert done.code == 4 and "image 002, annotation 2: a polygon of 4 numbers" in done.err
    assert "1 of 7 entries" in done.err and "--skip-bad" in done.err
    done = prepare("--skip-bad")
    assert done.code == 0 and done.labels == CAT_AND_DOG
    assert [done.mask(i) is None for i in ids()] == [False, True, False, False, False, False]
    shutil.rmtree("runs")
    bare = prepare("--set", "dataset.options.render=false")
    assert bare.code == 0 and bare.labels == CAT_AND_DOG


EXIF = {
    "m09_exif_upright": [1, 6, 8, 1],
    "m09b_exif_with_180": [1, 6, 8, 3, 1],
    "m09c_exif_only_180": [1, 3, 3, 1],
}


@pytest.mark.parametrize("case", EXIF, indirect=True)
def test_turned_photos_lie_under_their_masks(case: str) -> None:
    done = prepare()
    entries = done.index.entries.values()
    assert [entry.sample.orientation for entry in entries] == EXIF[case]
    turned = sum(orientation != 1 for orientation in EXIF[case])
    assert f"{turned} photos have one: {turned} turned, 0 as stored" in done.out
    for entry in entries:
        photo = read_image(entry.sample.image, entry.sample.orientation).astype(int)
        mask = done.mask(entry.sample.image_id)
        assert mask is not None and mask.shape == photo.shape[:2] == entry.size
        assert overlap(bright(photo), mask) > 0.8
    shutil.rmtree("runs")
    stored = prepare("--set", "dataset.options.orientation=ignore", "--skip-bad")
    assert all(entry.sample.orientation == 1 for entry in stored.index.entries.values())


def bright(photo: np.ndarray) -> np.ndarray:
    """Return where a photo differs from its most frequent colours: the object that the case's maker drew on it."""
    distance = np.abs(photo - np.median(photo.reshape(-1, 3), axis=0)).sum(axis=2)
    return (distance > distance.max() / 2).astype(np.uint8)


@pytest.mark.parametrize("case", ["m03_mask_kinds"], indirect=True)
def test_masks_of_all_kinds_are_named_and_converted(case: str) -> None:
    done = prepare()
    assert done.code == 4
    assert all(f"{name}.png" in done.err for name in ("i16", "la", "rgba", "rgbgrey", "half"))
    words = ["convert", "masks", "photos/masks", "photos/converted"]
    converted = CliRunner().invoke(app, words, prog_name="wsseg")
    assert converted.exit_code == 4 and "1 of 10 files" in converted.stderr and "jpg.jpg" in converted.stderr
    for path in Path("photos/masks").glob("*.[pb][nm][gp]"):
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        expected = pixels if pixels.ndim == 2 else pixels[..., 0]
        np.testing.assert_array_equal(read_mask(Path("photos/converted") / f"{path.stem}.png"), expected)
    done = prepare("--skip-bad", "--force", "--set", "dataset.options.masks=converted")
    assert done.code == 0 and "masks: 7 of 9 train" in done.out
    assert "half.png" not in done.out and "masks that match no photo: 1, such as suffix_mask.png" in done.out


@pytest.mark.parametrize("case", ["m08_mask_suffix"], indirect=True)
def test_masks_of_other_names(case: str) -> None:
    done = prepare()
    assert done.code == 4 and "none is named after one of the 4 photos" in done.err
    assert "mask_name: '{id}_mask.png'" in done.err
    done = prepare("--force", "--set", "dataset.options.mask_name='{id}_mask.png'")
    assert done.code == 0, done.err
    assert "masks: 4 of 4 train" in done.out
    assert all(done.mask(i) is not None for i in "0123")


@pytest.mark.parametrize("case", ["m10b_background_masks"], indirect=True)
def test_background_is_no_class(case: str) -> None:
    done = prepare()
    assert done.code == 4 and "'background' cannot be a class" in done.err and "rename" in done.err
    done = prepare("--force", "--set", "dataset.options.classes=[cat]")
    assert done.code == 0 and done.labels == all_of("0123", "cat")


KNOWN: dict[str, Callable[..., Any]] = {
    "c03_coco_two_points": test_one_bad_object,
    "m03_mask_kinds": test_masks_of_all_kinds_are_named_and_converted,
    "m08_mask_suffix": test_masks_of_other_names,
    "m10b_background_masks": test_background_is_no_class,
}


@pytest.mark.parametrize("case", [name for name in CASES if name not in LABELS and name not in KNOWN], indirect=True)
def test_other_cases_are_read_or_refused(case: str) -> None:
    done = prepare()
    assert done.code in (0, 2, 4)
    assert (done.code == 0) == bool(done.out) and (done.code == 0 or done.err)
