"""Seeded damage to files of every kind that data sets read: each is read or refused, never anything else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.mutations import damaged
from PIL import Image
from scipy.io import savemat
from wsseg_datasets.coco import COCO
from wsseg_datasets.lists import read_list
from wsseg_datasets.voc_xml import read_objects

from wsseg_cli.convert.cams import score_map
from wsseg_cli.data.class_files import read_class_names
from wsseg_cli.data.label_table import read_label_table
from wsseg_cli.errors import WssegError
from wsseg_cli.foreign.mat import read_sbd_mask
from wsseg_cli.foreign.npy import read
from wsseg_cli.foreign.npy_out import AsTensor, npy_bytes

EACH = 40
SCORES = np.full((2, 3, 4), 0.5, np.float32)
INSTANCES = {
    "categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "sofa"}],
    "images": [{"id": 9, "file_name": "a.jpg", "height": 10, "width": 12}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 3, "segmentation": [[0, 0, 8.5, 0, 8, 8]], "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 1, "segmentation": {"size": [10, 12], "counts": [60, 60]}},
        {"id": 3, "image_id": 9, "category_id": 1, "segmentation": {"size": [10, 12], "counts": "l1l1"}},
    ],
}
NOTE = (
    "<annotation><size><width>20</width><height>10</height></size><object><name>dog</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)


def coco(path: Path) -> Any:
    options = COCO.Options(root=path.parent, annotations={"train": path}, images={"train": path.parent}, workers=1)
    data = COCO(options, path.parent / "work")
    data.classes()
    return list(data.samples("train"))


def mat(path: Path) -> bytes:
    savemat(path, {"GTcls": {"Segmentation": np.eye(9, dtype=np.uint8)}}, do_compression=True)
    return path.read_bytes()


KINDS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], Any]]] = {
    "i.json": (lambda _: json.dumps(INSTANCES).encode(), coco),
    "n.xml": (lambda _: NOTE.encode(), read_objects),
    "m.mat": (mat, read_sbd_mask),
    "c.npy": (lambda _: npy_bytes({3: SCORES[0], 7: SCORES[1]}), lambda path: score_map(read(path), "a")),
    "t.npy": (
        lambda _: npy_bytes({"keys": AsTensor(np.array([3, 7])), "cam": AsTensor(SCORES), "high_res": SCORES}),
        lambda path: score_map(read(path), "a"),
    ),
    "l.csv": (lambda _: b'image,labels\na/b.jpg,dog;sofa\n"c, d.png",\n', read_label_table),
    "l.jsonl": (
        lambda _: b'{"image": "a.jpg", "labels": ["dog", "sofa"]}\n{"image": "b", "labels": ""}\n',
        read_label_table,
    ),
    "classes.json": (lambda _: b'{"class_names": ["background", "dog", "sofa"]}', read_class_names),
    "train.txt": (lambda _: b"2007_000032\n/JPEGImages/2007_000039.jpg /x.png\n", read_list),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_read_or_refused(tmp_path: Path, name: str) -> None:
    make, use = KINDS[name]
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (12, 10)).save(folder / "a.jpg")
    path = folder / name
    path.write_bytes(make(path))
    whole = path.read_bytes()
    use(path)
    rng = random.Random(name)
    refused = 0
    for _ in range(EACH):
        path.write_bytes(damaged(whole, rng))
        try:
            use(path)
        except WssegError as error:
            refused += 1
            assert name in str(error) or "image" in str(error) or "class names" in str(error), error
    assert refused or name in ("train.txt", "l.csv")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in"]
