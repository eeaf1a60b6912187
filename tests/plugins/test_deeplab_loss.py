from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from PIL import Image
from wsseg_deeplab.loss import logits_loss, pyramid_losses, strided_mask

from wsseg_cli.ops.losses import mask_cross_entropy, shrink_mask


@golden("seg_ce_ignore")
def test_cross_entropy(case: Case) -> None:
    logits = torch.from_numpy(case.inputs["logits"]).requires_grad_()
    loss = mask_cross_entropy(logits, torch.from_numpy(case.inputs["label"]).long(), case.arguments["ignore"])
    loss.backward()
    case.check_all({"loss": loss, "grad": logits.grad})


@golden("seg_kazuto_msc_loss")
def test_sum_over_scales(case: Case) -> None:
    names = ["1x", "0.5x", "0.75x", "max"]
    logits = [torch.from_numpy(case.inputs[f"logits_{name}"]).requires_grad_() for name in names]
    mask = torch.from_numpy(case.inputs["label"])
    parts = pyramid_losses(logits, mask, "pillow", ignore=case.arguments["ignore"])
    loss = torch.stack(parts).sum() / case.arguments["iter_size"]
    loss.backward()
    got = {"loss": loss, "parts": torch.stack(parts)}
    for name, z in zip(names, logits, strict=True):
        got |= {f"grad_{name}": z.grad, f"label_{name}": shrink_mask(mask, tuple(z.shape[-2:]))}
    case.check_all(got)


def test_shrunk_masks_are_pillows_for_any_size() -> None:
    mask = np.random.default_rng(0).integers(0, 256, (1, 37, 53), np.uint8)
    want = np.asarray(Image.fromarray(mask[0]).resize((20, 11), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(shrink_mask(torch.from_numpy(mask), (11, 20))[0].numpy(), want)


def test_a_mask_without_any_pixel_gives_no_loss() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = mask_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_strided_mask_takes_every_eighth_pixel_of_published_crops() -> None:
    mask = torch.arange(33 * 41).reshape(1, 33, 41)
    assert torch.equal(strided_mask(mask, (5, 6)), mask[:, ::8, ::8])
    # Caffe's pools round up: a crop of another size has one cell more, which takes the last pixel
    assert torch.equal(strided_mask(mask[:, :32, :40], (5, 6))[0, -1, -1], mask[0, 31, 39])


@pytest.mark.parametrize("rule", ["crop", "pillow", "stride"])
def test_logits_of_any_size_meet_their_mask(rule: Any) -> None:
    logits = torch.randn(2, 3, 5, 6, requires_grad=True)
    mask = torch.randint(3, (2, 33, 41), dtype=torch.uint8)
    loss = logits_loss(logits, mask, rule)
    assert loss.isfinite() and loss > 0
    ignored = logits_loss(logits, torch.full_like(mask, 255), rule)
    ignored.backward()
    assert ignored.item() == 0 and not logits.grad.any()  # type: ignore[union-attr]
