"""What a later stage would refuse is said before the first one, all of it, with nothing begun."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from start_weights import SOURCES, layout, write_header, write_random
from typer.testing import CliRunner

from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError
from wsseg_cli.main import app
from wsseg_cli.recipe import loading as recipes
from wsseg_cli.stages import preflight
from wsseg_cli.stages.preflight import Preflight
from wsseg_cli.types import ClassNames
from wsseg_cli.weights import TABLE

TOY = """\
name: tiny
dataset: {name: toy, options: {train: 4, val: 2, size: [64, 64], workers: 1}, train: train, val: val}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 4}}}
  weights: none
  batch_size: 4
  max_steps: 1
  optim: {name: sgd, lr: 0.01}
cam: {}
pseudo: {background: {threshold: 0.3}}
train_seg:
  segmenter: {name: deeplabv3plus, options: {backbone: small, backbone_options: {width: 4}}}
  weights: train_cls
  augment: {crop: 64}
  batch_size: 4
  max_steps: 1
  optim: {name: sgd, lr: 0.01}
runtime: {workers: 0, device: cpu}
"""


TRAIN = "weights: none, batch_size: 4, max_steps: 1, optim: {name: sgd, lr: 0.1}"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(TOY, encoding="utf-8")
    return path


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "120"})


def found(name: str | Path, *overrides: str, files: bool = True) -> list[str]:
    recipe = recipes.load(name, overrides)
    look = Preflight(recipe)
    if files:
        look.files()
    return preflight.lines(look.found, recipe)


def named_weights(recipe: recipes.LoadedRecipe) -> set[str]:
    """Return the names of all files of weights in a recipe, without folder and suffix."""

    def values(data: Any) -> Iterator[str]:
        for key, value in data.items() if isinstance(data, dict) else ():
            yield from [value] if key in ("weights", "extractor") else values(value)

    names = {Path(value).name.removesuffix(".safetensors") for value in values(recipe.document.data)}
    return names - {"none", "package", "hub", "train_cls", "train"}


BUILTIN = [file for file, _ in recipes.builtin()]
WITH_FILES = [file for file in BUILTIN if named_weights(recipes.load(file))]


def test_there_are_recipes_with_files() -> None:
    assert len(WITH_FILES) > 15
    named = {name for file in WITH_FILES for name in named_weights(recipes.load(file))}
    assert named == set(SOURCES) and named <= set(TABLE), "`wsseg weights get` brings each of them"


@pytest.mark.parametrize("file", WITH_FILES, ids=lambda file: file.stem)
def test_the_head_of_a_recipe_says_where_its_weights_come_from(file: Path) -> None:
    head = " ".join(line.lstrip("# ") for line in file.read_text(encoding="utf-8").split("\nname:")[0].split("\n"))
    for name in named_weights(recipes.load(file)):
        assert name in head, f"{file.name} needs {name}"
    assert "wsseg weights get" in head


def look_at_files(recipe: recipes.LoadedRecipe) -> list[preflight.Finding]:
    """Return what preflight finds wrong, but for the data."""
    look = Preflight(recipe)
    look.files()
    return [finding for finding in look.found if finding.address[0] != "dataset"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_a_whole_file_of_the_published_layout_fits_every_recipe_that_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSSEG_WEIGHTS", str(tmp_path))
    path = tmp_path / f"{name}.safetensors"
    asking = [recipe for recipe in map(recipes.load, WITH_FILES) if name in named_weights(recipe)]
    assert asking
    try:
        write_random(path, layout(name))
        for recipe in asking:
            found = look_at_files(recipe)
            others = named_weights(recipe) - {name}
            # the recipe's other files are not there, and nothing else is wrong with it
            assert all(f.kind is CheckpointError for f in found), found
            assert {o for o in others for f in found if o in f.message} == others and len(found) >= len(others)
            assert not [f for f in found if not any(o in f.message for o in others)], (recipe.path.name, found)
    finally:
        path.unlink(missing_ok=True)
    missing = look_at_files(asking[0])
    assert any(name in finding.message and finding.kind is CheckpointError for finding in missing)


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_of_another_layout_fits_no_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSEG_WEIGHTS", str(tmp_path))
    tensors = layout(name)
    spoilt = next(n for n, t in tensors.items() if n.startswith("backbone.") and t.dim() == 4)
    tensors[spoilt] = torch.empty(*tensors[spoilt].shape[:-1], 9, device="meta")
    write_header(tmp_path / f"{name}.safetensors", tensors)
    recipe = next(recipe for recipe in map(recipes.load, WITH_FILES) if name in named_weights(recipe))
    assert any(spoilt.removeprefix("backbone.") in finding.message for finding in look_at_files(recipe))


@pytest.mark.parametrize("stem", ["deep", "7x7"])
def test_both_stems_of_ppcs_network_have_their_weights(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"deep": "resnet101s_imagenet", "7x7": "resnet101_imagenet"}[stem]
    other = {"deep": "resnet101_imagenet", "7x7": "resnet101s_imagenet"}[stem]
    plain = "train_seg.segmenter.options.backbone_options={stem: 7x7}"
    cls, options = recipes.load("ppc_eps_voc", [] if stem == "deep" else [plain]).as_written("train-seg")
    plugin: Any = cls(options, ClassNames(["cat", "dog"]))  # type: ignore[arg-type, call-arg]
    path = tmp_path / f"{name}.safetensors"
    tensors = {n: torch.rand(t.shape) for n, t in layout(name).items() if not n.endswith("num_batches_tracked")}
    save_file(tensors, path)
    model = plugin.build_model()
    checkpoint.load_initial(model, str(path))
    loaded = {f"backbone.{n}": t for n, t in model.backbone.state_dict().items()}
    assert all(torch.equal(loaded[n], t) for n, t in tensors.items() if n.startswith("backbone."))
    write_header(path, layout(other))
    with pytest.raises(CheckpointError, match=r"conv1"), torch.device("meta"):
        checkpoint.load_initial(plugin.build_model(), str(path))


def test_all_at_once_and_nothing_begun(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSSEG_TEST_ROOT", raising=False)
    monkeypatch.setenv("WSSEG_TEST_MAPS", str(tmp_path / "nowhere"))
    (tmp_path / "photos").mkdir()
    data = (
        "dataset={name: folder, options: {root: photos, labels: labels.csv, saliency: '${WSSEG_TEST_MAPS}'}, "
        "train: train, val: val}"
    )
    overrides = [
        data,
        "train_cls.weights=none.safetensors",
        "train_seg.weights=${WSSEG_TEST_ROOT}/x.safetensors",
        "train_seg.batch_size=1",
    ]
    words = [word for text in overrides for word in ("--set", text)]
    for command in (["run", "--recipe", toy], ["recipes", "check", toy, "--files"]):
        done = wsseg(*command, *words)
        assert done.exit_code == 6, done.stderr
        for part in (
            "train_cls.weights: none.safetensors: no such file",
            "train_seg.weights: the environment variable WSSEG_TEST_ROOT is not set",
            "train_seg.batch_size: one image at a time",
            "nowhere; set the data set's option `saliency`",
            "labels.csv; set the data set's option `labels`",
        ):
            assert part in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "tiny.yaml"]
    assert wsseg("recipes", "check", toy, "--files", "--set", data).exit_code == 4
    assert wsseg("recipes", "check", toy, "--set", data).exit_code == 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train_seg.batch_size=1"], "batch_size 1, accumulate 1.*set batch_size to 2 or more$"),
        (["train_seg.batch_size=2", "train_seg.accumulate=2"], "set batch_size to 4 or more, or accumulate to 1$"),
        (["train_seg.segmenter.options.backbone=resnet99"], "unknown backbone 'resnet99'"),
        (["train_cls.method.options.backbone_options.widht=8"], "backbone_options.widht: unknown option"),
        (["train_cls.method.name=cma"], "no plugin 'cma'"),
        (
            ["refine.refiner={name: irn, options: {backbone: vgg16}}", f"refine.train={{{TRAIN}}}"],
            "backbone 'vgg16' has no feature map conv2",
        ),
    ],
)
def test_networks_are_part_of_every_check(toy: Path, overrides: list[str], words: str) -> None:
    lines = found(toy, *overrides, files=False)
    assert len(lines) == 1 and re.search(words, lines[0]), lines
    assert wsseg("recipes", "check", toy, *(w for o in overrides for w in ("--set", o))).exit_code == 2


def test_batches_are_shared_by_processes(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    lines = found(toy, "train_seg.batch_size=2", "train_cls.batch_size=3", files=False)
    assert "train_cls.batch_size: 3 is not divisible by 2" in lines[0] or "3 is not divisible by 2" in lines[1]
    assert any("(batch_size 2, accumulate 1, 2 processes)" in line and "set batch_size to 4" in line for line in lines)


def test_a_batch_of_one_is_fine_without_a_batch_norm_of_single_cells(toy: Path) -> None:
    assert found(toy, "train_seg.segmenter.name=deeplabv2", "train_seg.batch_size=1") == []


def test_a_backbone_that_differs_from_the_classifiers(toy: Path) -> None:
    lines = found(toy, "train_seg.segmenter.options.backbone_options.width=8")
    assert len(lines) == 1 and "train_seg.weights: the classifier's backbone" in lines[0] and "wrong shape" in lines[0]


def test_weights_that_are_no_weights(toy: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    write_header(whole, {"backbone.stem.0.weight": torch.empty(2, 3, 3, 3)})
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-4])
    text = tmp_path / "text.pth"
    text.write_text("not weights")
    for path, words in ((whole, "missing     stem.1.weight"), (cut, "not a readable"), (text, "wsseg convert weights")):
        lines = found(toy, f"train_cls.weights={path}")
        assert len(lines) == 1 and "train_cls.weights: " in lines[0] and words in lines[0]


def test_saliency_that_nothing_names(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    data = "dataset={name: folder, options: {root: photos}, train: train, val: val}"
    method = "train_cls.method={name: eps, options: {backbone: small, backbone_options: {width: 4}}}"
    lines = found(toy, data, method)
    assert len(lines) == 1 and "dataset.options.saliency: is missing: eps needs a saliency map" in lines[0]
    assert found(toy, method) == [], "the toy scenes bring theirs"


def test_what_the_machine_lacks(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    device, tracker = found(toy, "runtime.device=cuda", "runtime.tracker=comet_ml")
    assert "runtime.device: no cuda device here" in device and "pip install comet-ml" in tracker
    assert found(toy, "runtime.device=cuda", files=False) == []
    (opencv,) = found(toy, "train_seg.augment.hsv=[1, 1, 1]", "train_seg.augment.opencv=library")
    assert "train_seg.augment.opencv" in opencv and "pip install 'wsseg[opencv]'" in opencv


def test_what_is_done_is_not_asked_for_again(toy: Path, tmp_path: Path) -> None:
    assert wsseg("run", "--recipe", toy, "--to", "train-cls").exit_code == 0
    gone = ["--set", f"train_seg.weights={tmp_path / 'later.safetensors'}"]
    done = wsseg("run", "--recipe", toy, *gone)
    assert done.exit_code == 6 and not (tmp_path / "runs/tiny/cam").exists()
    assert "1 problem; nothing was started" in done.stderr
    assert wsseg("run", "--recipe", toy, *gone, "--to", "pseudo").exit_code == 0
    later = wsseg("run", "--recipe", toy, *gone, "--no-preflight")
    assert later.exit_code == 6 and "nothing was started" not in later.stderr


def test_a_precision_that_the_device_lacks(toy: Path) -> None:
    keys = ("cam.infer.precision", "eval.infer.precision")
    assert found(toy, *(f"{key}=bf16" for key in keys)) == []
    said = found(toy, *(f"{key}=fp16" for key in keys))
    assert [line.partition(": ")[2] for line in said] == ["fp16 is for GPUs; a CPU computes in fp32 or bf16"] * 2
    assert all(key in " ".join(said) for key in keys)
    assert len(found(toy, "cam.infer.precision=fp16", "runtime.device=cuda")) == (not torch.cuda.is_available())
