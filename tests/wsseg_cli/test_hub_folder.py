"""The card of a network, and a run exported in Hugging Face's layout: written, read back, predicting the same masks."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from made_up_run import record, write_run
from PIL import Image
from typer.testing import CliRunner
from wsseg_deeplab.segmenter import DeepLabV2

from wsseg_cli import main as cli
from wsseg_cli.data.index import Index, extra_index, read_index, write_index
from wsseg_cli.engine import checkpoint
from wsseg_cli.stages.model_card import write_cards
from wsseg_cli.status import open_existing
from wsseg_cli.types import ClassNames

EVAL = "eval: {infer: {scales: [0.75, 1.25], flip: true}, crf: {preset: psa, bilateral_sxy: 40}}\n"
NETWORK = """\
train_seg:
  segmenter: {name: deeplabv2}
  augment: {crop: 64}
  batch_size: 2
  max_steps: 5
  optim: {name: sgd, lr: 0.1}
  weights: none
"""


def wsseg(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(cli.app, list(words), prog_name="wsseg", env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with a network of random weights and numbers of its own."""
    folder = write_run(tmp_path / "runs" / "mine")
    with (folder / "recipe.yaml").open("a", encoding="utf-8") as recipe:
        recipe.write(EVAL + NETWORK)
    torch.manual_seed(0)
    segmenter = DeepLabV2(DeepLabV2.Options(backbone="small", multi_scale=(0.5,)), ClassNames(["cat", "dog"]))
    network = segmenter.build_model()
    with torch.no_grad():
        for parameter in network.head.parameters():  # type: ignore[union-attr]
            parameter.normal_(std=0.2)
    header = {
        "wsseg": "0.1.0",
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": segmenter.options.model_dump(mode="json"),
        "classes": ["cat", "dog"],
        "normalization": asdict(segmenter.normalization),
        "recipe": "made_up",
        "weights": "ImageNet labels (net.pth); licence: Apache-2.0",
        "masks": "pseudo",
        "steps": 5,
    }
    (folder / "train-seg").mkdir()
    checkpoint.write_model(folder / "train-seg" / "model.safetensors", network, header)
    seg = record("seg", ("cat", "dog")) | {"precision": {}, "recall": {}, "pixel_accuracy": 90.0}
    (folder / "eval" / "seg-val.json").write_text(json.dumps(seg), encoding="utf-8")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(path)
    return path


def test_the_card_says_data_classes_protocol_numbers_and_licence(run: Path) -> None:
    write_cards(open_existing(run))
    card = (run / "train-seg" / "model.md").read_text(encoding="utf-8")
    for said in (
        "# made_up: deeplabv2 on small",
        "| trained on | pseudo-masks |",
        "Data set `toy`: train (1 images), val (3 images). Trained on train.",
        "Mask values: 0 background, 1 cat, 2 dog; 255 is ignored.",
        "Views at scales 0.75, 1.25, each also flipped; dense CRF: ",
        "| | seg on val |",
        "| **mean** | 41.5 |",
        "| dog | 42.0 |",
        "supervision: I",
        "Initial weights: ImageNet labels (net.pth); licence: Apache-2.0.",
    ):
        assert said in card
    assert str(run.parent.parent) not in card, "no place of this machine"


def test_the_card_counts_added_splits_and_reads_no_large_index(run: Path) -> None:
    entry = read_index(run / "prepare").entries["made/up0"]
    added = Index([replace(entry, splits=("test",))], ClassNames(("cat", "dog")))
    write_index(extra_index(run / "prepare", "test"), added, {})
    (run / "prepare" / "index.jsonl").write_text("not read", encoding="utf-8")
    write_cards(open_existing(run))
    card = (run / "train-seg" / "model.md").read_text(encoding="utf-8")
    assert "Data set `toy`: train (1 images), val (3 images), test (1 images)." in card


def test_equal_runs_have_equal_cards_and_only_networks_have_one(run: Path) -> None:
    before = []
    for _ in range(2):
        write_cards(open_existing(run))
        before.append((run / "train-seg" / "model.md").read_bytes())
    assert before[0] == before[1]
    assert not (run / "train-cls" / "model.md").exists()


def test_a_damaged_record_spoils_no_stage(run: Path) -> None:
    (run / "eval" / "seg-val.json").write_text("{", encoding="utf-8")
    write_cards(open_existing(run))
    assert not (run / "train-seg" / "model.md").exists()
    assert "eval --what seg" in wsseg("export", "hub", str(run), code=5).stderr


def test_a_run_comes_back_from_its_folder(run: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "hub"
    said = wsseg("export", "hub", str(run), "--out", str(out), "--license", "cc-by-4.0").stdout
    assert said == f"hub        README.md, model.safetensors, config.json in {out}\n"
    assert {path.name for path in out.iterdir()} == {"README.md", "model.safetensors", "config.json"}
    _, front, body = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    head = yaml.safe_load(front)
    assert (head["license"], head["library_name"], head["pipeline_tag"]) == ("cc-by-4.0", "wsseg", "image-segmentation")
    metric = head["model-index"][0]["results"][0]["metrics"][0]
    assert (metric["type"], metric["value"]) == ("mean_iou", 41.5)
    assert body.lstrip().startswith("# made_up: deeplabv2 on small") and "## Licences" in body
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "background", "1": "cat", "2": "dog"}
    assert (out / "model.safetensors").read_bytes() == (run / "train-seg" / "model.safetensors").read_bytes()
    masks = []
    for number, model in enumerate((run, out, run / "train-seg" / "model.safetensors")):
        wsseg("predict", str(photo), "--model", str(model), "--out", str(tmp_path / str(number)), "--device", "cpu")
        masks.append((tmp_path / str(number) / "photo.png").read_bytes())
    assert masks[0] == masks[1] != masks[2], "views and CRF come along; a file alone looks once"


def test_a_file_alone_has_a_folder_too(run: Path, photo: Path, tmp_path: Path) -> None:
    file = run / "train-seg" / "model.safetensors"
    folder = json.loads(wsseg("export", "hub", str(file), "--json").stdout)["folder"]
    assert folder == str(run / "train-seg" / "hub")
    front = yaml.safe_load((Path(folder) / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert "license" not in front and "model-index" not in front
    wsseg("predict", str(photo), "--model", folder, "--out", str(tmp_path / "out"))
    assert (
        "the model itself is in that folder"
        in wsseg("export", "hub", str(file), "--out", str(file.parent), code=2).stderr
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "config.json"),
        ('{"model_type": "bert"}', "wsseg"),
        ('{"wsseg": {"eval": {"infer": {"scales": ["a"]}}}}', "wsseg.eval.infer.scales.0"),
    ],
)
def test_a_config_that_is_not_ours_is_refused(run: Path, photo: Path, tmp_path: Path, text: str, said: str) -> None:
    out = tmp_path / "hub"
    wsseg("export", "hub", str(run), "--out", str(out))
    (out / "config.json").write_text(text, encoding="utf-8")
    done = wsseg("predict", str(photo), "--model", str(out), code=6)
    assert said in done.stderr and "--model" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "said", [{"options": 5}, {"classes": "cat"}, {"normalization": {"mean": "a"}}, {"frozen": []}, {"kept": [1]}]
)
def test_a_header_of_another_form_is_refused(run: Path, said: dict[str, Any]) -> None:
    file = run / "train-seg" / "model.safetensors"
    tensors, header = checkpoint.read_tensors(file)
    checkpoint.tensor_files.write_tensors(file, tensors, header | said)
    for words in (["export", "hub", str(file)], ["predict", "a.jpg", "--model", str(file)]):
        done = wsseg(*words, code=6)
        assert f"its header: `{next(iter(said))}" in done.stderr and "Traceback" not in done.stderr
