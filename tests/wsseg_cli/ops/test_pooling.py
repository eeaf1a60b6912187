"""Pooling of class maps."""

from __future__ import annotations

import torch
from golden_cases import Case, golden
from published import average_in_boxes

from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average


@golden("dhr-crop-pool")
def test_average_in_boxes(case: Case) -> None:
    cams = torch.from_numpy(case.inputs["cams"]).requires_grad_()
    logits = average_in_boxes(cams, torch.from_numpy(case.inputs["crop_bboxes"]), int(case.inputs["image_size"]))
    loss = multilabel_soft_margin(logits, torch.from_numpy(case.inputs["labels"]))
    loss.backward()
    case.check_all({"logits": logits, "loss": loss, "grad_cams": cams.grad})


def test_a_full_box_is_the_global_average() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 4)
    assert torch.allclose(average_in_boxes(maps, torch.tensor([[0, 0, 32, 32]] * 2), 32), global_average(maps))


def test_a_box_smaller_than_a_cell_keeps_one() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    for box, want in (([9, 9, 10, 10], 5.0), ([32, 32, 32, 32], 15.0)):
        assert average_in_boxes(maps, torch.tensor([box]), 32).item() == want
