"""The smallest data set in each layout: five photos of dogs and cats, three to learn from; and what names each file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from wsseg_cli.data.stores import write_mask

from .mutations import SIZE

LISTS = {"train": ["p0", "p1", "p2"], "val": ["p3", "p4"]}
SHOWN = {"p0": "dog", "p1": "cat", "p2": "dog", "p3": "dog", "p4": "cat"}
CLASSES = ("cat", "dog")
RECIPE = """\
name: tiny
seed: 0
dataset: DATASET
train_cls:
  method: {name: cam, options: {backbone: small}}
  weights: none
  batch_size: 1
  max_steps: 1
  optim: {name: adamw, lr: 1.0e-3}
runtime: {workers: 1, device: cpu}
"""
NOTE = (
    "<annotation><size><width>20</width><height>16</height></size><object><name>NAME</name><bndbox><xmin>1</xmin>"
    "<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)


@dataclass
class Layout:
    """A data set on disk.

    name, options: of the recipe's data set. files: what to damage, by its kind in `mutations`. train: the list to learn
    from.
    """

    name: str
    options: dict[str, Any]
    files: dict[str, Path]
    train: str = "train"

    def recipe(self) -> str:
        """Return a recipe that reads it."""
        dataset = {"name": self.name, "options": self.options, "train": self.train, "val": "val"}
        return RECIPE.replace("DATASET", json.dumps(dataset, default=str))


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=95)
    return path


def truth(image_id: str) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[4:9, 3:12] = 1 + CLASSES.index(SHOWN[image_id])
    return mask


def mask(path: Path) -> Path:
    write_mask(path, truth(path.stem))
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def voc(root: Path) -> Layout:
    for split, ids in LISTS.items():
        text(root / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{i}\n" for i in ids))
        for i in ids:
            photo(root / "JPEGImages" / f"{i}.jpg")
            mask(root / "SegmentationClass" / f"{i}.png")
            text(root / "Annotations" / f"{i}.xml", NOTE.replace("NAME", SHOWN[i]))
    files = {
        "PHOTO": root / "JPEGImages" / "p1.jpg",
        "MASK": root / "SegmentationClass" / "p3.png",
        "XML": root / "Annotations" / "p2.xml",
        "LIST": root / "ImageSets" / "Segmentation" / "train.txt",
    }
    return Layout("voc", {"root": root, "classes": CLASSES}, files)


def voc_masks(root: Path) -> Layout:
    layout = voc(root)
    files = {"MASK": layout.files["MASK"]}
    return Layout("voc", layout.options | {"labels": "masks"}, files)


def sbd(root: Path) -> Layout:
    layout = voc(root)
    release = root / "sbd" / "dataset"
    text(release / "train.txt", "p0\np1\n")
    text(release / "val.txt", "p3\n")
    (release / "cls").mkdir()
    for i in ("p0", "p1"):
        (root / "SegmentationClass" / f"{i}.png").unlink()
        savemat(release / "cls" / f"{i}.mat", {"GTcls": {"Segmentation": truth(i)}}, do_compression=True)
    files = {"MAT": release / "cls" / "p1.mat", "SBD_LIST": release / "train.txt"}
    return Layout("voc", layout.options | {"sbd": root / "sbd"}, files, train="train_aug")


def rsepm(root: Path) -> Layout:
    for split, ids in LISTS.items():
        for i in ids:
            photo(root / split / "image" / f"{i}.jpg")
            mask(root / split / "mask" / f"{i}.png")
            text(root / split / "xml" / f"{i}.xml", NOTE.replace("NAME", SHOWN[i]))
    text(root / "classes.json", json.dumps(["background", *CLASSES]))
    files = {
        "PHOTO": root / "train" / "image" / "p1.jpg",
        "MASK": root / "val" / "mask" / "p3.png",
        "XML": root / "train" / "xml" / "p2.xml",
    }
    return Layout("rsepm", {"root": root, "classes": root / "classes.json"}, files)


def coco(root: Path) -> Layout:
    for split, ids in LISTS.items():
        images, annotations = [], []
        for number, i in enumerate(ids):
            photo(root / f"{split}2017" / f"{i}.jpg")
            images.append({"id": number, "file_name": f"{i}.jpg", "height": SIZE[1], "width": SIZE[0]})
            annotations.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1 + CLASSES.index(SHOWN[i]),
                    "segmentation": [[1, 1, 9.5, 1, 9, 9]],
                    "iscrowd": 0,
                }
            )
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        text(root / "annotations" / f"instances_{split}2017.json", json.dumps(content))
    files = {"PHOTO": root / "train2017" / "p1.jpg", "INSTANCES": root / "annotations" / "instances_train2017.json"}
    return Layout("coco", {"root": root, "year": 2017, "workers": 1}, files)


def folder(root: Path) -> Layout:
    for split, ids in LISTS.items():
        text(root / f"{split}.txt", "".join(f"{i}\n" for i in ids))
        for i in ids:
            photo(root / f"{i}.jpg")
            mask(root / "masks" / f"{i}.png")
            (root / "saliency").mkdir(exist_ok=True)
            Image.new("L", SIZE, 200).save(root / "saliency" / f"{i}.png")
    text(root / "labels.csv", "image,labels\n" + "".join(f"{i},{name}\n" for i, name in SHOWN.items()))
    files = {
        "PHOTO": root / "p1.jpg",
        "MASK": root / "masks" / "p3.png",
        "SALIENCY": root / "saliency" / "p2.png",
        "TABLE": root / "labels.csv",
        "LIST": root / "train.txt",
    }
    options = {"root": root, "labels": "labels.csv", "masks": "masks", "saliency": "saliency", "classes": CLASSES}
    return Layout("folder", options | {"lists": {split: f"{split}.txt" for split in LISTS}}, files)


def jsonl(root: Path) -> Layout:
    layout = folder(root)
    rows = [json.dumps({"image": f"{i}.jpg", "labels": [name]}) for i, name in SHOWN.items()]
    table = text(root / "labels.jsonl", "".join(row + "\n" for row in rows))
    return Layout("folder", layout.options | {"labels": "labels.jsonl"}, {"LINES": table})


def imagefolder(root: Path) -> Layout:
    for split, ids in LISTS.items():
        rows = []
        for i in ids:
            photo(root / split / f"{i}.jpg")
            mask(root / split / "masks" / f"{i}.png")
            rows.append({"file_name": f"{i}.jpg", "mask_file_name": f"masks/{i}.png", "labels": [SHOWN[i]]})
        text(root / split / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    files = {
        "PHOTO": root / "train" / "p1.jpg",
        "MASK": root / "val" / "masks" / "p3.png",
        "METADATA": root / "train" / "metadata.jsonl",
    }
    return Layout("huggingface", {"path": root, "classes": CLASSES}, files)


def parquet(root: Path) -> Layout:
    import datasets

    features = {"image": datasets.Image(), "labels": datasets.List(datasets.Value("string"))}
    (root / "data").mkdir(parents=True)
    for split, ids in LISTS.items():
        files = [photo(root / f"{i}.jpg") for i in ids]
        pictures = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
        for path in files:
            path.unlink()
        columns = {"image": pictures, "labels": [[SHOWN[i]] for i in ids]}
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"))
    files = {"PARQUET": root / "data" / "train-00000-of-00001.parquet"}
    return Layout("huggingface", {"path": root, "classes": CLASSES}, files)


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "voc": voc,
    "voc, labels from masks": voc_masks,
    "sbd": sbd,
    "rsepm": rsepm,
    "coco": coco,
    "folder, CSV": folder,
    "folder, JSONL": jsonl,
    "huggingface, imagefolder": imagefolder,
    "huggingface, parquet": parquet,
}
