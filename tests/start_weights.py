"""Published start weights as files of their layout: names and shapes of the published checkpoint, converted to ours.

What is in the files is random or, where the header alone is read, left out of a sparse file.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import torch
from golden_cases import golden_folder
from torch import Tensor

from wsseg_cli.nets import weights

SOURCES = {
    "resnet38_imagenet": ("resnet38_backbone", "psa", ""),
    "resnet50_imagenet": ("onestage-backbone-resnet50", "torchvision", ""),
    "resnet101_imagenet": ("onestage-backbone-resnet101", "torchvision", ""),
    "resnet101s_imagenet": ("seg_wseg_deeplabv1_resnet101", "torchvision", "backbone."),
    "resnet101_deeplab_init": ("seg_kazuto_deeplabv1_resnet101_coco", "deeplab-pytorch", ""),
    "vgg16_20M": ("onestage-backbone-vgg16", "caffe", ""),
    "vgg16_caffe": ("onestage-backbone-vgg16", "caffe", ""),
    "vgg16_deeplab_init": ("onestage-backbone-vgg16", "deeplab-vgg16-aspp", ""),
    "psa_resnet38_cls": ("psa_resnet38_cls", "psa", ""),
}
"""By name: the golden case with the published checkpoint, its family, and the part of its names that the file lacks."""


def layout(name: str) -> dict[str, Tensor]:
    """Return the tensors of the converted file, on the meta device."""
    case, family, prefix = SOURCES[name]
    rows = json.loads((golden_folder() / case / "state_dict.json").read_text(encoding="utf-8"))
    published = {n.removeprefix(prefix): torch.empty(s, device="meta") for n, s, _ in rows if n.startswith(prefix)}
    return weights.rename(published, family)


def write_header(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file of this layout whose numbers take no room on the disk."""
    head, size = _head(tensors)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)


def write_random(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a whole safetensors file of this layout; its numbers are one random block again and again."""
    head, size = _head(tensors)
    block = np.random.default_rng(0).standard_normal(1 << 21, np.float32).tobytes()
    with path.open("wb") as file:
        file.write(head)
        for begin in range(0, size, len(block)):
            file.write(block[: size - begin])


def _head(tensors: dict[str, Tensor]) -> tuple[bytes, int]:
    """Return the header of a file with these tensors as float32, and the bytes of their numbers."""
    header: dict[str, object] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + 4 * prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, end
