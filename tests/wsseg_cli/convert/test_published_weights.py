"""The table of start weights against the names and shapes of published files, without the files."""

from __future__ import annotations

import json

import pytest
import torch
from golden_cases import golden_folder

from wsseg_cli.convert import start_weights
from wsseg_cli.convert import weights as convert
from wsseg_cli.convert.networks import networks
from wsseg_cli.errors import CheckpointError
from wsseg_cli.nets.weights import guess_family, rename
from wsseg_cli.weights import TABLE, path_of

PUBLISHED = {
    "resnet38_imagenet": "onestage-backbone-resnet38",
    "resnet50_imagenet": "onestage-backbone-resnet50",
    "resnet101_imagenet": "onestage-backbone-resnet101",
    "resnet101_deeplab_init": "seg_kazuto_deeplabv1_resnet101_coco",
    "vgg16_20M": "onestage-backbone-vgg16",
    "psa_resnet38_cls": "psa_resnet38_cls",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes_are_what_the_table_expects(name: str) -> None:
    manifest = golden_folder() / PUBLISHED[name] / "state_dict.json"
    if not manifest.exists():
        pytest.skip(f"no golden case {PUBLISHED[name]}")
    rows = json.loads(manifest.read_text())
    tensors = {n: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for n, shape, kind in rows}
    expect(name, tensors)
    if name == "resnet101_imagenet":
        with pytest.raises(CheckpointError, match=r"without backbone\.conv1\.0\.weight, not resnet101s_imagenet"):
            expect("resnet101s_imagenet", tensors)


def test_torchvisions_vgg16_is_what_the_table_expects() -> None:
    import torchvision

    with torch.device("meta"):
        expect("vgg16_imagenet", torchvision.models.vgg16().state_dict())


def expect(name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Judge published tensors as `add` would, without a file: by name map, network and mark."""
    row = TABLE[name]
    family = row.family or guess_family(tensors)
    ours = rename(tensors, family)
    found = networks(ours, family)
    keys = convert.keys_of(tensors, ours, found[0])
    assert not [key for key in keys if key.state in ("missing", "wrong shape") and key.name.startswith("backbone.")]
    result = convert.ConvertedWeights(path_of(name), family, True, found, row.saw, keys)
    start_weights.require_right(row, result)
