"""Every reader of the toolkit with a whole file to damage: what is made, and how the commands read it."""

from __future__ import annotations

import json
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from end_to_end.layouts import LAYOUTS, mask, photo
from end_to_end.toy_run import RECIPE
from made_up_run import write_run
from PIL import Image

Call = Callable[[], object]


@dataclass(frozen=True)
class Reader:
    """A reader: form of its files (see `mutate.FORMS`), and what makes a whole one.

    make: (empty folder) -> (file to damage, call that reads it as a command does). slow: a call takes long.
    """

    form: str
    make: Callable[[Path], tuple[Path, Call]]
    slow: bool = False


def _in_run(file: str, read: Callable[[Path], object]) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        run = write_run(folder / "run")
        _complete(run)
        return run / file, lambda: read(run)

    return make


def _complete(run: Path) -> None:
    """Give a run made by hand the records that the real stages leave."""
    from wsseg_cli.run.records import write_json
    from wsseg_cli.status import open_existing

    (run / "recipe.yaml").write_text(RECIPE)
    opened = open_existing(run)
    for stage in ("prepare", "train-cls"):
        facts = json.loads((run / stage / "done.json").read_text()) if stage == "prepare" else {"images": 3}
        for name in ("stage.json", "done.json"):
            (run / stage / name).unlink(missing_ok=True)
        opened.begin(stage)
        opened.finish(stage, ["train", "val"], **facts)
    write_json(
        run / "lock", {"host": socket.gethostname(), "pid": 2**22 + 5, "since": "2026-01-01T00:00:00+00:00", "start": 5}
    )
    (run / "lock").rename(run / "prepare" / "lock")


def _index(run: Path) -> None:
    from wsseg_cli.data.index import read_index
    from wsseg_cli.report.sheet import contact_sheet

    index = read_index(run / "prepare")
    for entry in index.entries.values():
        index.samples(*entry.splits)
    from wsseg_cli.report.collect import collect

    contact_sheet(collect([run]), 1)


def _records(run: Path) -> None:
    from wsseg_cli.errors import StageError
    from wsseg_cli.status import open_existing, status, working

    opened = open_existing(run)
    for line in status(opened):
        repr(line)
    working(opened)
    for stage in ("prepare", "train-cls"):
        try:
            opened.look(stage)
            opened.require(stage)
        except StageError as error:
            # other settings are no damage: these are what a record may well say
            if str(run) not in str(error):
                raise


def _report(run: Path) -> None:
    from wsseg_cli.report.collect import collect
    from wsseg_cli.report.page import page

    page(collect([run]), images=1)


def _lock(run: Path) -> None:
    from wsseg_cli.run.lock import RunLock, holder

    path = run / "prepare" / "lock"
    holder(path)
    with RunLock(path):
        pass


def _scores(run: Path) -> None:
    from wsseg_cli.data.stores import ScoreStore

    for file in sorted((run / "cam").glob("*.safetensors")):
        if "up0" in file.name:
            ScoreStore(run / "cam")["made/up0"].full(0.3)


def _state(name: str) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        import torch

        from wsseg_cli.engine import train_state

        def network() -> tuple[Any, Any]:
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
            return model, torch.optim.AdamW(model.parameters(), 0.01)

        model, optimizer = network()
        model(torch.randn(2, 3, 8, 8)).mean().backward()
        optimizer.step()
        train_state.write(folder / "train", 5, model, optimizer, None)

        def read() -> None:
            model, optimizer = network()
            train_state.resume(folder / "train", model, optimizer, None)
            model(torch.randn(2, 3, 8, 8)).mean().backward()
            optimizer.step()

        return folder / "train" / "step_000005" / name, read

    return make


def _model(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.engine import checkpoint
    from wsseg_cli.plugin import discovery
    from wsseg_cli.stages.plugins import predictor_from, trained
    from wsseg_cli.types import ClassNames

    cls: Any = discovery.load("segmenters", "deeplabv2")
    options = cls.Options.model_validate({"backbone": "small", "backbone_options": {"width": 8}, "form": "v2_small"})
    segmenter = cls(options, ClassNames(["cat", "dog"]))
    header = {
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": options.model_dump(mode="json"),
        "classes": ["cat", "dog"],
        "normalization": {n: getattr(segmenter.normalization, n) for n in ("mean", "std", "scale", "order")},
        "weights": "none",
    }
    path = folder / "model.safetensors"
    checkpoint.write_model(path, segmenter.build_model(), header)

    def read() -> None:
        trained(predictor_from(path), path, "cpu", fast=True)

    return path, read


def _weights(suffix: str, save: Callable[[Path], None]) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.convert import weights

        path = folder / f"theirs{suffix}"
        save(path)

        def read() -> None:
            for tensor in weights.read(path).values():
                weights._plain(tensor).contiguous()

        return path, read

    return make


def _state_dict() -> dict[str, Any]:
    import torch

    half = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    return {
        "state_dict": {"conv1.weight": torch.zeros(4, 3, 3, 3), "bn1.bias": torch.ones(4), "half": half},
        "epoch": 3,
    }


def _save_zip(path: Path) -> None:
    import torch

    torch.save(_state_dict(), path)


def _save_legacy(path: Path) -> None:
    import torch

    torch.save(_state_dict(), path, _use_new_zipfile_serialization=False)


def _save_safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(_state_dict()["state_dict"], path)


def _save_params(path: Path) -> None:
    arrays = {"arg:conv1_weight": np.ones((2, 3, 3, 3), "<f4"), "aux:bn_mean": np.zeros(2, "<f4")}
    out = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        out += struct.pack("<Iii", 0xF993FAC9, 0, array.ndim) + struct.pack(f"<{array.ndim}q", *array.shape)
        out += struct.pack("<iii", 1, 0, 0) + array.tobytes()
    out += struct.pack("<Q", len(arrays))
    for name in arrays:
        out += struct.pack("<Q", len(name)) + name.encode()
    path.write_bytes(out)


def _save_caffe(path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    def layer(name: str, shape: tuple[int, ...]) -> bytes:
        sizes = field(1, b"".join(_varint(size) for size in shape))
        blob = field(5, np.ones(int(np.prod(shape)), "<f4").tobytes()) + field(7, sizes)
        return field(100, field(1, name.encode()) + field(2, b"Convolution") + field(7, blob))

    path.write_bytes(layer("conv1", (4, 3, 3, 3)) + layer("conv2", (2, 4, 1, 1)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _photo(suffix: str, **options: Any) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.data.images import look_at_photo
        from wsseg_cli.predict import read_upright

        path = folder / f"photo{suffix}"
        with Image.open(photo(folder / "a.jpg")) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6
            picture.save(path, exif=exif, **options)

        def read() -> None:
            look_at_photo(path)
            read_upright(path)

        return path, read

    return make


def _mask(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert.masks import values_of, voc_colours
    from wsseg_cli.data.images import read_saliency
    from wsseg_cli.data.stores import checked_mask, labels_in_mask
    from wsseg_cli.errors import DataError
    from wsseg_cli.types import ClassNames

    path = mask(folder / "p0.png") if not (folder / "p0.png").exists() else folder / "p0.png"
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


def _mat(folder: Path) -> tuple[Path, Call]:
    from scipy.io import savemat

    from wsseg_cli.foreign.mat import read_sbd_mask

    path = folder / "p0.mat"
    inside = {"Segmentation": np.eye(12, dtype=np.uint8), "Boundaries": np.ones((3, 3)), "CategoriesPresent": 3}
    savemat(path, {"GTcls": inside}, do_compression=True)
    return path, lambda: read_sbd_mask(path)


def _labels(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert.labels import read_labels
    from wsseg_cli.foreign.npy_out import npy_bytes

    path = folder / "cls_labels.npy"
    path.write_bytes(npy_bytes({"2007_000032": np.eye(3, dtype=np.float32)[0], 2007000033: np.zeros(3, np.float32)}))
    return path, lambda: read_labels(path)


def _cams(suffix: str) -> Callable[[Path], tuple[Path, Call]]:
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


def _table(name: str, content: str) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.convert.labels import run

        path = folder / name
        path.write_text(content, encoding="utf-8")

        def read() -> None:
            run(path, folder / "out.npy")
            run(path, folder / "out.jsonl")

        return path, read

    return make


def _names(name: str, content: str) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.data.class_files import read_class_names

        path = folder / name
        path.write_text(content, encoding="utf-8")
        return path, lambda: read_class_names(path)

    return make


def _colours(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert.masks import read_colours

    path = folder / "colours.json"
    path.write_text(json.dumps({"background": [0, 0, 0], "cat": [1, 2, 3], "dog": [255, 0, 9]}))
    return path, lambda: read_colours(path)


def _recipe(folder: Path) -> tuple[Path, Call]:
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


def _data_set(layout: str, kind: str) -> Callable[[Path], tuple[Path, Call]]:
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


READERS: dict[str, Reader] = {
    "index.jsonl": Reader("jsonl", _in_run("prepare/index.jsonl", _index)),
    "classes.json": Reader("json", _in_run("prepare/classes.json", _index)),
    "roots.json": Reader("json", _in_run("prepare/roots.json", _index)),
    "stage.json": Reader("json", _in_run("train-cls/stage.json", _records)),
    "done.json": Reader("json", _in_run("prepare/done.json", _records)),
    "stage.json, report": Reader("json", _in_run("prepare/stage.json", _report)),
    "metrics.jsonl": Reader("jsonl", _in_run("train-cls/metrics.jsonl", _report)),
    "eval/*.json": Reader("json", _in_run("eval/cam-val.json", _report)),
    "report.json": Reader("json", _in_run("prepare/report.json", _report)),
    "recipe.yaml of a run": Reader("text", _in_run("recipe.yaml", _report)),
    "lock": Reader("json", _in_run("prepare/lock", _lock)),
    "score map": Reader("safetensors", _in_run("cam/made%2Fup0.safetensors", _scores)),
    "state, model": Reader("safetensors", _state("model.safetensors")),
    "state, tensors": Reader("safetensors", _state("train_state.safetensors")),
    "state, json": Reader("json", _state("train_state.json")),
    "model": Reader("safetensors", _model),
    "weights .safetensors": Reader("safetensors", _weights(".safetensors", _save_safetensors)),
    "weights .pth": Reader("zip", _weights(".pth", _save_zip)),
    "weights .pth, old": Reader("binary", _weights(".pth", _save_legacy)),
    "weights .params": Reader("binary", _weights(".params", _save_params)),
    "weights .caffemodel": Reader("binary", _weights(".caffemodel", _save_caffe)),
    "photo .jpg": Reader("binary", _photo(".jpg")),
    "photo .png": Reader("png", _photo(".png")),
    "photo .tif": Reader("binary", _photo(".tif", compression="tiff_lzw")),
    "photo .webp": Reader("binary", _photo(".webp")),
    "photo .bmp": Reader("binary", _photo(".bmp")),
    "mask": Reader("png", _mask),
    "SBD .mat": Reader("mat", _mat),
    "labels .npy": Reader("binary", _labels),
    "maps .npy": Reader("binary", _cams(".npy")),
    "maps .pkl": Reader("binary", _cams(".pkl")),
    "labels .csv": Reader("text", _table("labels.csv", "image,labels\np0.jpg,dog;cat\np1,cow\na/p2.png,\n")),
    "labels .jsonl": Reader(
        "jsonl", _table("labels.jsonl", '{"image": "p0.jpg", "labels": ["dog"]}\n{"image": "p1", "labels": "cat"}\n')
    ),
    "names .json": Reader("json", _names("names.json", '["background", "cat", "dog"]')),
    "names .txt": Reader("text", _names("names.txt", "0 background\n1 cat\n2 dog\n")),
    "colours": Reader("json", _colours),
    "recipe": Reader("text", _recipe),
    "VOC XML": Reader("text", _data_set("voc", "XML")),
    "VOC list": Reader("text", _data_set("voc", "LIST")),
    "folder CSV": Reader("text", _data_set("folder, CSV", "TABLE")),
    "COCO JSON": Reader("json", _data_set("coco", "INSTANCES")),
    "imagefolder": Reader("jsonl", _data_set("huggingface, imagefolder", "METADATA"), slow=True),
    "parquet": Reader("binary", _data_set("huggingface, parquet", "PARQUET"), slow=True),
}
