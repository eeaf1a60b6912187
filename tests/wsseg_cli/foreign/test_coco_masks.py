from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from dev_data import dev_data
from golden_cases import Case, golden

from wsseg_cli.errors import DataError
from wsseg_cli.foreign.coco_masks import class_mask, object_mask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools


@golden("coco_render")
def test_overlap_and_crowd_rules(case: Case) -> None:
    content = json.loads((case.folder / case.arguments["annotations"]).read_text())
    size = (content["images"][0]["height"], content["images"][0]["width"])
    ids = case.inputs["category_ids"].tolist()
    contiguous = {category: value for value, category in enumerate(sorted(c["id"] for c in content["categories"]), 1)}
    objects = [(contiguous[a["category_id"]], a["segmentation"], bool(a["iscrowd"])) for a in content["annotations"]]
    case.check_all(
        {
            "contiguous": np.array([contiguous[i] for i in ids]),
            "instances": np.stack([object_mask(segmentation, size) for _, segmentation, _ in objects]),
            "last_wins": class_mask(objects, size, "last"),
            "first_wins": class_mask(objects, size, "first"),
            "last_wins_without_crowd": class_mask(objects, size, "last", "skip"),
        }
    )


SQUARE = [[0, 0, 8, 0, 8, 8, 0, 8]]
SMALL = [[2, 2, 5, 2, 5, 5, 2, 5]]
CROWD = {"size": [10, 10], "counts": [0, 50, 50]}


def test_smallest_on_top_and_ignored_crowd() -> None:
    objects = [(1, SMALL, False), (2, SQUARE, False), (3, CROWD, True)]
    smallest = class_mask(objects, (10, 10), "smallest", "ignore")
    assert smallest[3, 3] == 1 and smallest[6, 6] == 2
    # 64 pixels of the square against 50 of the crowd: the crowd lies above
    assert smallest[0, 0] == 255 and smallest[9, 0] == 255 and smallest[9, 9] == 0
    assert class_mask(objects, (10, 10), "last", "ignore")[3, 3] == 255
    assert class_mask(objects, (10, 10), "first", "ignore")[9, 0] == 255
    assert not class_mask([], (10, 10)).any()


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        "text",
        None,
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, "x", 4, 5, 6]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[1, 2, 1e300, 4, 5, 6]],
        {"size": [10, 9], "counts": [90]},
        {"size": [10, 10], "counts": [50]},
        {"size": [10, 10], "counts": [-1, 101]},
        {"size": [10, 10], "counts": [1 << 80]},
        {"size": [10, 10], "counts": [99.5, 0.5]},
        {"size": [10, 10], "counts": "\x00"},
        {"size": [10, 10], "counts": "oooooooooooooooooooooooo"},
        {"counts": "0"},
    ],
)
def test_broken_segmentations(segmentation: Any) -> None:
    with pytest.raises(DataError):
        object_mask(segmentation, (10, 10))


def theirs(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    tools = pytest.importorskip("pycocotools.mask")
    if isinstance(segmentation, list):
        return tools.decode(tools.merge(tools.frPyObjects(segmentation, *size)))
    packed = segmentation if not isinstance(segmentation["counts"], list) else tools.frPyObjects(segmentation, *size)
    return tools.decode(packed)


@pytest.mark.parametrize("corner", [9e5, 10**400])
def test_outlines_without_end(corner: Any) -> None:
    with pytest.raises(DataError, match=r"outline of|values that are not numbers"):
        object_mask([[0, 0, corner, corner, 0, corner] * 50], (16, 20))


def test_no_larger_than_a_picture_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSEG_MAX_MEGAPIXELS", "0.001")
    with pytest.raises(DataError, match="1001x1 pixels"):
        object_mask([[0, 0, 5, 5, 0, 5]], (1, 1001))


def test_random_polygons_equal_pycocotools() -> None:
    tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for trial in range(1500):
        size = tuple(int(side) for side in rng.integers(1, 60, 2))
        polygons = []
        for _ in range(int(rng.integers(1, 4))):
            corners = rng.uniform(-20, 80, (int(rng.integers(3, 12)), 2))
            corners = np.round(corners * 2) / 2 if trial % 3 == 0 else corners
            corners[1] = corners[0] if trial % 5 == 0 else corners[1]
            polygons.append(corners.ravel().tolist())
        np.testing.assert_array_equal(object_mask(polygons, size), theirs(polygons, size))
        packed = tools.encode(np.asfortranarray((rng.random(size) < 0.5).astype(np.uint8)))
        np.testing.assert_array_equal(object_mask(packed, size), tools.decode(packed))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("overlap", ["last", "first"])
def test_coco_equals_pycocotools(split: str, overlap: Any) -> None:
    content = json.loads(dev_data("coco_tiny", "annotations", f"instances_{split}2017.json").read_text())
    for image in content["images"]:
        size = (image["height"], image["width"])
        objects = [
            (a["category_id"], a["segmentation"], bool(a["iscrowd"]))
            for a in content["annotations"]
            if a["image_id"] == image["id"]
        ]
        want = np.zeros(size, np.uint8)
        for value, segmentation, _ in objects:
            inside = theirs(segmentation, size) > 0
            want[inside if overlap == "last" else inside & (want == 0)] = value
        np.testing.assert_array_equal(class_mask(objects, size, overlap), want)
