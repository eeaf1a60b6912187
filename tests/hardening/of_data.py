"""Readers of pictures, masks, labels, maps, tables, recipes and data sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from end_to_end.layouts import LAYOUTS, photo
from end_to_end.layouts import mask as mask_file
from end_to_end.toy_run import RECIPE
from PIL import Image

from hardening.reader import Call, Make


def picture(suffix: str, turned: bool = True, **options: Any) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.data.images import look_at_photo
        from wsseg_cli.data.strips import Pixels

        path = folder / f"photo{suffix}"
        with Image.open(photo(folder / "a.jpg")) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6 if turned else 1
            picture.save(path, exif=exif, **options)

        def read() -> None:
            look_at_photo(path)
            Pixels(path).whole()

        return path, read

    return make


def mask(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert.masks import values_of, voc_colours
    from wsseg_cli.data.images import read_saliency
    from wsseg_cli.data.stores import checked_mask, labels_in_mask
    from wsseg_cli.errors import DataError
    from wsseg_cli.types import ClassNames

    path = mask_file(folder / "p0.png") if not (folder / "p0.png").exists() else folder / "p0.png"
    classes = ClassNames(["cat", "dog", "cow"])

    def read() -> None:
        for look in (
            lambda: labels_in_mask(path, classes),
            lambda: read_saliency(path),
            lambda: values_of(path, None, voc_colours()),
        ):
            try:
                look()
            except DataError as error:
                assert path.name in str(error)
        checked_mask(path, classes)

    return path, read


def mat(folder: Path) -> tuple[Path, Call]:
    from scipy.io import savemat

    from wsseg_cli.foreign.mat import read_sbd_mask

    path = folder / "p0.mat"
    inside = {"Segmentation": np.eye(12, dtype=np.uint8), "Boundaries": np.ones((3, 3)), "CategoriesPresent": 3}
    savemat(path, {"GTcls": inside}, do_compression=True)
    return path, lambda: read_sbd_mask(path)


def labels(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert.labels import read_labels
    from wsseg_cli.foreign.npy_out import npy_bytes

    path = folder / "cls_labels.npy"
    path.write_bytes(npy_bytes({"2007_000032": np.eye(3, dtype=np.float32)[0], 2007000033: np.zeros(3, np.float32)}))
    return path, lambda: read_labels(path)


def cams(suffix: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        import pickle

        from wsseg_cli.convert.cams import run
        from wsseg_cli.errors import DataError
        from wsseg_cli.foreign.npy_out import AsTensor, npy_bytes

        path = folder / "in" / f"p0{suffix}"
        path.parent.mkdir()
        small = np.full((4, 5), 0.5, np.float32)
        keys = {
            "keys": AsTensor(np.array([3, 4])),
            "cam": AsTensor(np.stack([small] * 2)),
            "high_res": np.stack([small] * 2),
        }
        path.write_bytes(pickle.dumps({3: small, 4: small}) if suffix == ".pkl" else npy_bytes(keys))

        def read() -> None:
            shutil.rmtree(folder / "out", ignore_errors=True)
            result = run(path.parent, folder / "out")
            if result.failures:
                raise DataError(f"{path.name}: {result.failures[0][1]}")

        return path, read

    return make


def table(name: str, content: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.convert.labels import run

        path = folder / name
        path.write_text(content, encoding="utf-8")

        def read() -> None:
            run(path, folder / "out.npy")
            run(path, folder / "out.jsonl")

        return path, read

    return make


def names(name: str, content: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.data.class_files import read_class_names

        path = folder / name
        path.write_text(content, encoding="utf-8")
        return path, lambda: read_class_names(path)

    return make


def colours(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert.masks import read_colours

    path = folder / "colours.json"
    path.write_text(json.dumps({"background": [0, 0, 0], "cat": [1, 2, 3], "dog": [255, 0, 9]}))
    return path, lambda: read_colours(path)


def recipe(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.errors import RecipeError
    from wsseg_cli.recipe import loading

    path = folder / "tiny.yaml"
    path.write_text(RECIPE + "refine: {refiner: {name: crf}}\n")

    def read() -> None:
        problems = loading.check(path)
        if problems:
            raise RecipeError(f"{path.name}: {problems[0]}")
        loaded = loading.load(path)
        for section in ("prepare", "train-cls", "cam", "eval", "runtime"):
            loaded.section(section)

    return path, read


def data_set(layout: str, kind: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.commands.options import open_run
        from wsseg_cli.stages import run_stage

        data = LAYOUTS[layout](folder / "data")
        recipe = folder / "tiny.yaml"
        recipe.write_text(data.recipe())

        def read() -> None:
            shutil.rmtree(folder / "run", ignore_errors=True)
            run_stage("prepare", open_run(str(recipe), folder / "run", (), quiet=True))

        return data.files[kind], read

    return make
