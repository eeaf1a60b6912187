"""Bad input, a test a row: the answer names the thing and the exit code says its kind; nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from end_to_end.toy_run import RECIPE
from wsseg_cli.data.files import to_header
from wsseg_cli.main import app

FOLDER = RECIPE.replace(
    "name: toy\n  options: {train: 10, val: 6, size: [96, 80], workers: 1}", "name: folder\n  OPTIONS"
)
FOLDER = FOLDER.replace("[train, val]", "[train]").replace("workers: 1", "workers: 0")
FOLDER = FOLDER.replace("max_steps: 30", "max_steps: 2").replace("max_steps: 20", "max_steps: 2")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight photos with labels and masks, a recipe that reads them, and we stand beside it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rows = ["image,labels"]
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (90, 100, 3), dtype=np.uint8)).save(root / f"images/p{number}.jpg")
        mask = np.zeros((90, 100), np.uint8)
        mask[20:60, 20:70] = 1 + number % 2
        Image.fromarray(mask).save(root / f"masks/p{number}.png")
        rows.append(f"p{number},{'dog' if number % 2 else 'cat'}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "train.txt").write_text("".join(f"p{n}\n" for n in range(6)))
    (root / "val.txt").write_text("p6\np7\n")
    places = f"labels: {root}/labels.csv, masks: {root}/masks, lists: {{train: {root}/train.txt, val: {root}/val.txt}}"
    options = f"options: {{root: {root}/images, classes: [cat, dog], {places}}}"
    (tmp_path / "tiny.yaml").write_text(FOLDER.replace("OPTIONS", options))
    return root


def wsseg(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*words, "--recipe", "tiny.yaml"], prog_name="wsseg")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def _animated(path: Path) -> None:
    frames = [Image.new("RGB", (100, 90), c) for c in ("red", "blue")]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unreadable": (_bytes(b"this is no picture"), "not a readable picture"),
    "truncated": (_cut, "truncated"),
    "zero-byte": (_bytes(b""), "empty file"),
    "floats": (lambda p: Image.new("F", (100, 90)).save(p, format="TIFF"), "mode F"),
    "huge": (lambda p: Image.new("1", (11000, 10000)).save(p, format="PNG"), "megapixels"),
    "animated": (_animated, "animated"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image(photos: Path, kind: str) -> None:
    make, reason = BAD_IMAGES[kind]
    make(photos / "images/p1.jpg")
    done = wsseg("prepare", code=4)
    assert "p1.jpg" in done.stderr and reason in done.stderr and "--skip-bad" in done.stderr
    assert not Path("runs/tiny/prepare/index.jsonl").exists()
    wsseg("prepare", "--skip-bad")
    index = [json.loads(line)["id"] for line in Path("runs/tiny/prepare/index.jsonl").read_text().splitlines()]
    assert "p1" not in index and len(index) == 7
    assert json.loads(Path("runs/tiny/prepare/bad.jsonl").read_text())["id"] == "p1"


def test_all_bad_images_are_named_at_once(photos: Path) -> None:
    for number in (1, 2, 6):
        (photos / f"images/p{number}.jpg").write_bytes(b"")
    done = wsseg("prepare", code=4)
    assert all(f"p{n}.jpg" in done.stderr for n in (1, 2, 6)) and "3 of 8" in done.stderr


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Image.fromarray(np.zeros((90, 99), np.uint8)), "the mask is 99x90 pixels, its image 100x90"),
        (Image.new("RGB", (100, 90)), "a mask of mode RGB"),
        (Image.fromarray(np.full((90, 100), 9, np.uint8)), "mask value 9 is out of range for 2 classes"),
    ],
    ids=["another size", "RGB", "value above the classes"],
)
def test_bad_mask(photos: Path, mask: Image.Image, reason: str) -> None:
    mask.save(photos / "masks/p3.png")
    done = wsseg("prepare", code=4)
    assert "p3.png" in done.stderr and reason in done.stderr


def test_bad_saliency(photos: Path) -> None:
    maps = photos / "saliency"
    maps.mkdir()
    for number in range(6):  # the validation split needs none
        Image.new("L", (100, 90)).save(maps / f"p{number}.png")
    words = ("prepare", "--set", f"dataset.options.saliency={maps}")
    wsseg(*words)
    Image.new("L", (90, 100)).save(maps / "p3.png")
    (maps / "p4.png").unlink()
    Image.fromarray(np.zeros((90, 100), np.uint16)).save(maps / "p5.png")
    error = wsseg(*words, "--force", code=4).stderr
    assert "p3.png: the saliency map is 90x100 pixels, its image 100x90" in error
    assert "p4.png is missing" in error and "p5.png: a saliency map of mode I;16" in error


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("labels.csv", "image,labels\n" + "".join(f"p{n},cow\n" for n in range(8)), "cow"),
        ("labels.csv", "image,labels\np0,cat\np0,dog\n", "p0"),
        ("train.txt", "p0\np1\np0\n", "p0"),
        ("train.txt", "p0\nnothere\n", "nothere"),
    ],
    ids=["unknown label", "duplicate label row", "id twice in a split", "id not on disk"],
)
def test_bad_labels_and_splits(photos: Path, file: str, text: str, reason: str) -> None:
    (photos / file).write_text(text)
    assert reason in wsseg("prepare", code=4).stderr


def test_same_image_in_train_and_val_is_a_warning(photos: Path) -> None:
    (photos / "val.txt").write_text("p0\np7\n")
    assert "1 images stand in both" in wsseg("prepare").stdout


def test_image_without_label_is_a_negative_in_training_and_all_background(photos: Path) -> None:
    rows = (photos / "labels.csv").read_text().replace("p0,cat", "p0,")
    (photos / "labels.csv").write_text(rows)
    assert "1 images show none of the classes: negatives in training" in wsseg("prepare").stdout
    said = wsseg("train-cls", "--set", "train_cls.unlabelled=drop", "--run", "other", code=5).stderr
    assert "prepare" in said
    assert "on 6 images, 1 of them negatives" in wsseg("train-cls").stdout
    dropped = wsseg("train-cls", "--force", "--set", "train_cls.unlabelled=drop").stdout
    assert "on 5 images, 1 images without a label left out" in dropped
    wsseg("train-cls", "--force")
    wsseg("cam")
    wsseg("pseudo")
    assert not np.array(Image.open("runs/tiny/pseudo/p0.png")).any()


def test_stages_out_of_order(photos: Path) -> None:
    assert "wsseg prepare" in wsseg("train-cls", code=5).stderr
    wsseg("prepare")
    assert "wsseg train-cls" in wsseg("cam", code=5).stderr
    assert "wsseg cam" in wsseg("pseudo", code=5).stderr


def test_broken_and_foreign_checkpoints(photos: Path) -> None:
    wsseg("prepare")
    wsseg("train-cls")
    model = Path("runs/tiny/train-cls/model.safetensors")
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    assert "not a readable safetensors file" in wsseg("cam", code=6).stderr
    model.write_bytes(whole)
    tensors = load_file(model)
    tensors["fc8.weight"] = torch.zeros(5, *tensors["fc8.weight"].shape[1:])
    tensors["stranger"] = torch.zeros(1)
    save_file(tensors, model, metadata=to_header({}))
    error = wsseg("cam", code=6).stderr
    assert "fc8.weight (5," in error and "expected (2," in error and "unexpected  stranger" in error


def test_initial_weights_that_are_no_weights(photos: Path) -> None:
    wsseg("prepare")
    assert "no such file" in wsseg("train-cls", "--set", "train_cls.weights=none.safetensors", code=6).stderr
    assert "no package of weights" in wsseg("train-cls", "--force", "--set", "train_cls.weights=package", code=6).stderr


def test_a_pickle_is_not_executed(photos: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.safetensors"
    trap.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    wsseg("prepare")
    assert "not a readable safetensors file" in wsseg("train-cls", "--set", f"train_cls.weights={trap}", code=6).stderr
    assert not (tmp_path / "owned").exists()


def test_a_yaml_tag_is_refused(photos: Path) -> None:
    text = Path("tiny.yaml").read_text().replace("seed: 3", "seed: !!python/object/apply:os.getpid []")
    Path("tiny.yaml").write_text(text)
    assert "tag" in wsseg("prepare", code=2).stderr


def test_a_loss_that_is_not_finite(photos: Path) -> None:
    wsseg("prepare")
    done = wsseg("train-cls", "--set", "train_cls.optim.lr=1e30", "--set", "train_cls.max_steps=40", code=7)
    assert "loss `cls` is" in done.stderr and "images p" in done.stderr and "last good checkpoint" in done.stderr


def test_failures_of_a_per_image_stage_are_collected(photos: Path) -> None:
    for stage in ("prepare", "train-cls"):
        wsseg(stage)
    kept = (photos / "images/p2.jpg").read_bytes()
    (photos / "images/p2.jpg").write_bytes(kept[:600])
    assert "1 file has changed: p2.jpg" in wsseg("cam", code=5).stderr
    done = wsseg("cam", "--trust-data", code=4)
    assert "1 of 6 images failed" in done.stderr and "p2" in done.stderr
    assert len(list(Path("runs/tiny/cam").glob("*.safetensors"))) == 5
    assert not Path("runs/tiny/cam/done.json").exists()
    (photos / "images/p2.jpg").write_bytes(kept)
    wsseg("cam")
    assert not Path("runs/tiny/cam/failures.jsonl").exists()


def test_score_maps_of_another_data_set(photos: Path) -> None:
    for stage in ("prepare", "train-cls", "cam"):
        wsseg(stage)
    shutil.copytree("runs/tiny/cam", "other")
    (Path("other") / "p1.safetensors").write_bytes(b"xx")
    done = wsseg("pseudo", "--use", "cam=other", code=4)
    assert "p1.safetensors: not a readable score map" in done.stderr


def test_a_value_of_a_mask_that_comes_from_elsewhere(photos: Path) -> None:
    for stage in ("prepare", "train-cls", "cam", "pseudo"):
        wsseg(stage)
    Image.fromarray(np.full((90, 100), 7, np.uint8)).save("runs/tiny/pseudo/p1.png")
    assert "mask value 7 is out of range for 2 classes" in wsseg("eval", "--what", "pseudo", code=4).stderr
