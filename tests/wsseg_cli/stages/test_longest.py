"""`infer.longest`: large photos are shrunk for inference, and maps and masks still belong to the whole photo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.data.images import read_mask
from wsseg_cli.data.overlays import mask_overlay, score_overlay
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.main import app
from wsseg_cli.ops.masks import crf_scores, mask_at_size, mask_from_map, mask_from_scores
from wsseg_cli.ops.resize import shrunk, shrunk_size, strips
from wsseg_cli.recipe.loading import builtin, load
from wsseg_cli.recipe.sections import Recipe
from wsseg_cli.settings import InferSettings, MaskCrfSettings
from wsseg_cli.stages.large_photos import size_warning
from wsseg_cli.types import ScoreMap, resize_scores

RECIPE = """\
name: own
dataset: {name: folder, options: {root: photos, labels: labels.csv, masks: masks, classes: [cat, dog]}, train: train}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 8}}}
  weights: none
  batch_size: 2
  max_steps: 2
  augment: {resize_long: [48, 64], crop: 48}
  optim: {name: adamw, lr: 0.01}
cam: {infer: {scales: [1.0, 1.5], flip: true, longest: 64}}
refine: {refiner: {name: pamr, options: {iterations: 2}}, infer: {longest: 64}}
pseudo: {background: {threshold: 0.4}, crf: {preset: psa, longest: 64}}
train_seg:
  segmenter: {name: deeplabv2, options: {backbone: small, backbone_options: {width: 8}, form: v2_small}}
  weights: train_cls
  batch_size: 2
  max_steps: 2
  augment: {resize_long: [48, 64], crop: 48}
  optim: {name: adamw, lr: 0.001}
eval: {infer: {longest: 64}, crf: psa}
runtime: {workers: 0, device: cpu}
"""


def test_sizes() -> None:
    assert shrunk_size((3024, 4032), 512) == (384, 512)
    assert shrunk_size((500, 375), 512) == (500, 375) and shrunk_size((3024, 4032), None) == (3024, 4032)
    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8)
    assert shrunk(image, 40) is image and shrunk(image, 20).shape == (20, 15, 3)
    assert shrunk(image[..., 0], 20).shape == (20, 15)


def test_strips_are_the_whole() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((3, 9, 7), np.float32)
    whole = resize_scores(scores, (45, 33))
    parts = [resize_scores(scores, (45, 33), rows) for rows in strips((45, 33), 200)]
    assert len(parts) == 8 and np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(mask_at_size(scores, (45, 33), [4, 7]), mask_from_scores(whole, [4, 7]))
    large = (1200, 1000)  # more than one strip
    assert np.array_equal(mask_at_size(scores, large), mask_from_scores(resize_scores(scores, large)))
    map_ = ScoreMap("a", np.array([1, 3]), scores[:2], large)
    assert np.array_equal(mask_from_map(map_, power=2), mask_from_scores(map_.full(power=2), map_.classes))


def test_overlays_are_drawn_strip_by_strip() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (1100, 1000, 3)).astype(np.uint8)  # more than one strip
    mask = rng.integers(0, 3, (1100, 1000)).astype(np.uint8)
    whole = mask_overlay(image, mask)
    map_ = ScoreMap("a", np.array([0, 2]), rng.random((2, 1100, 1000), np.float32), (1100, 1000))
    drawn = score_overlay(image, map_)
    for rows in (slice(0, 40), slice(1040, 1100)):
        # the colours of a part are those of the whole only if the highest value stands in it
        assert mask[rows].max() == 2 and np.array_equal(mask_overlay(image[rows], mask[rows]), whole[rows])
        part = ScoreMap("a", map_.classes, map_.scores[:, rows], (len(mask[rows]), 1000))
        assert np.array_equal(score_overlay(image[rows], part), drawn[rows])


def test_the_crf_of_a_photo_four_times_as_large() -> None:
    """Its widths follow the scale: the mask is that of the small photo, enlarged."""
    rng = np.random.default_rng(2)
    image = np.full((48, 64, 3), 40, np.uint8)
    image[12:36, 16:48] = (200, 160, 30)
    image = (image + rng.integers(0, 12, image.shape)).astype(np.uint8)
    scores = np.full((1, 12, 16), 0.2, np.float32)
    scores[0, 4:8, 5:11] = 0.9
    large = np.asarray(Image.fromarray(image).resize((256, 192), Image.Resampling.BICUBIC))
    crf = MaskCrfSettings(preset="psa", bilateral_sxy=12, bilateral_srgb=13)
    small = mask_from_map(ScoreMap("a", np.array([0]), scores, (48, 64)), threshold=0.4, crf=crf, image=image)
    given: dict[str, Any] = {"threshold": 0.4, "image": large}
    map_ = ScoreMap("a", np.array([0]), scores, (192, 256))
    followed = mask_from_map(map_, crf=crf.model_copy(update={"longest": 64}), **given)
    stayed = mask_from_map(map_, crf=crf, **given)
    enlarged = small.repeat(4, axis=0).repeat(4, axis=1)
    assert followed.shape == (192, 256) and 0 < small.mean() < 1
    assert (followed == enlarged).mean() > 0.98 > (stayed == enlarged).mean()
    logits = np.log(np.concatenate([1 - scores, scores]))
    shrinking = crf.model_copy(update={"longest": 64})
    assert crf_scores(resize_scores(logits, (192, 256)), large, shrinking).shape[1:] == (48, 64)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "masks").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    for number in range(6):
        soft = Image.fromarray(rng.integers(0, 255, (9, 12, 3)).astype(np.uint8)).resize((400, 300))
        soft.save(tmp_path / "photos" / f"p{number}.jpg")
        mask = np.zeros((300, 400), np.uint8)
        mask[60:200, 90:300] = 1 + number % 2
        Image.fromarray(mask).save(tmp_path / "photos" / "masks" / f"p{number}.png")
        rows.append(f"p{number},{'dog' if number % 2 else 'cat'}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows) + "\n")
    Path("r.yaml").write_text(RECIPE)
    return tmp_path


@pytest.mark.slow
def test_a_run_on_large_photos(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsseg_cam.method import CAM
    from wsseg_deeplab.segmenter import DeepLabV2
    from wsseg_refine.pamr import PAMR

    seen: dict[str, set[tuple[int, ...]]] = {}

    def watched(name: str, before: Any) -> Any:
        def look(self: Any, model: Any, image: Any, *args: Any, **more: Any) -> Any:
            seen.setdefault(name, set()).add(image.shape)
            return before(self, model, image, *args, **more)

        return look

    for cls, name in ((CAM, "scores"), (PAMR, "refine"), (DeepLabV2, "logits")):
        monkeypatch.setattr(cls, name, watched(name, getattr(cls, name)))
    done = CliRunner().invoke(app, ["run", "--recipe", "r.yaml", "--run", "run", "-q"])
    assert done.exit_code == 0, done.output
    assert seen == {"scores": {(48, 64, 3)}, "refine": {(48, 64, 3)}, "logits": {(48, 64, 3)}}
    for stage in ("cam", "refine"):
        map_ = next(iter(ScoreStore(Path("run") / stage).values()))
        assert map_.size == (300, 400) and map_.scores.shape[1:] == (12, 16)
    for folder in ("pseudo", "eval/seg-train"):
        files = list(Path("run", folder).glob("*.png"))
        assert files and all(read_mask(file).shape == (300, 400) for file in files)
    assert "photos are far larger than the 64 pixels that training sees, up to 400x300" in done.stdout
    assert "score maps are made at 64 pixels" in done.stdout


def test_prepare_says_what_to_do(photos: Path) -> None:
    words = ["prepare", "--recipe", "r.yaml", "--run", "other", "--set", "cam.infer.longest=null"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "`cam.infer.longest: 64`" in done.stdout


def test_no_warning_at_the_size_of_the_training() -> None:
    recipe = load("cam_folder").recipe
    assert size_warning(recipe, [(375, 500), (1200, 900)]) == []
    assert len(size_warning(recipe, [(375, 500), (1201, 900)])) == 1
    assert size_warning(load("quickstart").recipe, [(144, 192)]) == []


def test_which_recipes_shrink() -> None:
    shrinking = {file.stem for file, _ in builtin() if (cam := load(file).recipe.cam) and cam.infer.longest}
    named = {file.stem for file, _ in builtin() if file.stem.endswith(("_folder", "_lite"))}
    assert {name for name in named if load(name).recipe.cam} == shrinking
    for name in shrinking:
        recipe: Recipe = load(name).recipe
        parts = [one.infer for one in recipe.refine.chain] if recipe.refine else []
        sides = [recipe.cam and recipe.cam.infer.longest, recipe.eval.infer.longest]
        sides += [one.longest for one in parts if one]
        sides += [recipe.pseudo.crf.longest] if recipe.pseudo and recipe.pseudo.crf else []
        assert set(sides) == {512}, name  # the photos of VOC, on which their settings were chosen, stay as they are


def test_a_key_that_is_null_changes_no_fingerprint() -> None:
    from wsseg_cli.run.fingerprint import asks

    recipe = load("psa_voc").recipe
    for stage in ("cam", "refine", "pseudo", "eval"):
        assert not [key for key in asks(recipe, stage) if "longest" in key]
    assert InferSettings().longest is None


MEMORY = """\
import json, resource, sys
from wsseg_cli.main import main
sys.argv[1:] = json.loads(sys.argv[1])
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
# not RUSAGE_SELF, which begins with what the process that started this one had
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("KIB", max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""


@pytest.mark.slow
def test_phone_photos_stay_below_three_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    for number in range(6):
        soft = Image.fromarray(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)).resize((4032, 3024))
        soft.save(tmp_path / "photos" / f"p{number}.jpg")
        rows.append(f"p{number},{'dog' if number % 2 else 'cat'}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows) + "\n")
    words = ["run", "--recipe", "cam_folder", "--run", "run", "-q", "--set", "train_cls.weights=none"]
    words += ["--set", "train_cls.epochs=1", "--set", "train_seg.epochs=1", "--set", "runtime.device=cpu"]
    words += ["--set", "dataset.options.root=photos"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, json.dumps(words)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split("KIB ")[1]) < 3 << 20
    masks = list((tmp_path / "run" / "pseudo").glob("*.png"))
    assert masks and all(read_mask(mask).shape == (3024, 4032) for mask in masks)
