"""Networks of timm as ONNX: a convolutional one and a transformer, whose images are padded to whole patches."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsseg_cli import export, nets


class PointClassifier(nn.Module):
    """One linear layer on the last feature map, resized to the image."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = nets.backbone(backbone)
        self.head = nn.Conv2d(self.backbone.feature_maps["conv6"], 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.head(self.backbone(images)["conv6"])
        return nn.functional.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/resnet18", "timm/vit_tiny_patch16_224"])
def test_any_size(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = export.FromPixels(PointClassifier(name), nets.normalization(name)).eval()
    shapes = {"pixels": {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, 97, 129),),
            dynamo=True,
            input_names=["pixels"],
            output_names=["scores"],
            dynamic_shapes=shapes,
            verbose=False,
        )
    onnx.save_model(program.model_proto, str(tmp_path / "network.onnx"))
    found = export.differences(tmp_path / "network.onnx", network)
    assert len(found) == 2 and max(found.values()) <= export.TOLERANCE, found
