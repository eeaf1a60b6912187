"""What converted weights have seen, told from their family, their heads and their classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from wsseg_cli import nets
from wsseg_cli.convert import weights as convert
from wsseg_cli.engine import checkpoint
from wsseg_cli.main import app
from wsseg_cli.nets import weights

REST = "the rest is unknown; name it with --saw"
UNKNOWN = "unknown; name it with --saw"


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, ["convert", "weights", *map(str, words)], env={"COLUMNS": "120"})


@pytest.mark.parametrize(
    ("family", "names", "want"),
    [
        ("psa", ["backbone.conv1a.weight", "fc8.weight"], "ImageNet labels, image labels"),
        ("psa", ["backbone.conv1a.weight"], "ImageNet labels"),
        ("eps", ["backbone.conv1a.weight", "fc8.weight"], "ImageNet labels, image labels, saliency maps"),
        ("caffe", ["backbone.conv1.weight", "fc1_coco.weight"], "ImageNet labels, COCO pixel masks"),
        ("deeplab-vgg16-aspp", ["backbone.conv1_1.weight", "head.branches.3.fc6.weight"], "ImageNet labels"),
        ("deeplab-pytorch", ["backbone.conv1.weight", "head.branches.0.weight"], "ImageNet labels, pixel masks"),
        ("torchvision", ["backbone.conv1.weight"], UNKNOWN),
    ],
)
def test_what_weights_have_seen(family: str, names: list[str], want: str) -> None:
    tensors = dict.fromkeys(names, torch.zeros(1))
    assert convert.has_seen(family, tensors, tensors, []) == want


@pytest.mark.parametrize(
    ("classifier", "want"),
    [
        ({"fc.weight": 1000}, "ImageNet labels"),
        ({"fc.weight": 20}, f"image labels of 20 classes; {REST}"),
        ({}, UNKNOWN),
    ],
    ids=["ImageNet", "fine-tuned", "self-supervised"],
)
def test_what_a_backbone_has_seen(classifier: dict[str, int], want: str) -> None:
    published = {"layer1.0.conv1.weight": torch.zeros(1)}
    published |= {name: torch.zeros(rows, 1) for name, rows in classifier.items()}
    assert convert.has_seen("torchvision", published, weights.rename(published, "torchvision"), []) == want


HEADS = {
    "torchvision's DeepLab v3": (["classifier.0.convs.0.0.weight", "classifier.4.weight"], f"pixel masks; {REST}"),
    "its auxiliary head": (["aux_classifier.4.weight"], f"pixel masks; {REST}"),
    "mmseg": (["decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"], f"pixel masks; {REST}"),
    "smp": (["segmentation_head.0.weight"], f"pixel masks; {REST}"),
    "mmpretrain": (["head.fc.weight"], UNKNOWN),
    "a projection": (["projector.0.weight", "predictor.0.weight"], UNKNOWN),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_unknown_heads_have_seen(name: str, tmp_path: Path) -> None:
    """Written as published, converted by the command; every protocol repeats what it says."""
    with torch.device("meta"):
        backbone = nets.backbone("resnet50").state_dict()
    heads, want = HEADS[name]
    tensors = {f"backbone.{n}": torch.zeros((), dtype=t.dtype).expand(t.shape) for n, t in backbone.items()}
    tensors |= {head: torch.zeros(21, 8, 1, 1) for head in heads}
    out = tmp_path / "ours.safetensors"
    source = tmp_path / "theirs.pth"
    torch.save({"state_dict": tensors}, source)
    done = wsseg(source, out, "--from", "torchvision", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["saw"] == want
    assert checkpoint.read_header(out)["saw"] == want
    said = wsseg(source, out, "--from", "torchvision", "--json", "--force", "--saw", "VOC masks")
    assert json.loads(said.stdout)["saw"] == "VOC masks"
