from __future__ import annotations

import numpy as np
import torch
from golden_cases import Case, golden
from PIL import Image
from wsseg_deeplab.loss import mask_cross_entropy, pyramid_cross_entropy, shrunk_mask


@golden("seg_ce_ignore")
def test_cross_entropy(case: Case) -> None:
    logits = torch.from_numpy(case.inputs["logits"]).requires_grad_()
    loss = mask_cross_entropy(logits, torch.from_numpy(case.inputs["label"]), case.arguments["ignore"])
    loss.backward()
    case.check_all({"loss": loss, "grad": logits.grad})


@golden("seg_kazuto_msc_loss")
def test_sum_over_scales(case: Case) -> None:
    names = ["1x", "0.5x", "0.75x", "max"]
    logits = [torch.from_numpy(case.inputs[f"logits_{name}"]).requires_grad_() for name in names]
    mask = torch.from_numpy(case.inputs["label"])
    parts = pyramid_cross_entropy(logits, mask, case.arguments["ignore"])
    loss = torch.stack(parts).sum() / case.arguments["iter_size"]
    loss.backward()
    got = {"loss": loss, "parts": torch.stack(parts)}
    for name, z in zip(names, logits, strict=True):
        got |= {f"grad_{name}": z.grad, f"label_{name}": shrunk_mask(mask, z.shape[-2:])}
    case.check_all(got)


@golden("seg_kazuto_resize_labels")
def test_shrunk_masks(case: Case) -> None:
    mask = torch.from_numpy(case.inputs["label"])
    case.check_all({name: shrunk_mask(mask, want.shape[-2:]) for name, want in case.outputs.items()})


def test_shrunk_mask_is_pillows_for_any_size() -> None:
    mask = np.random.default_rng(0).integers(0, 256, (1, 37, 53), np.uint8)
    want = np.asarray(Image.fromarray(mask[0]).resize((20, 11), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(shrunk_mask(torch.from_numpy(mask), (11, 20))[0].numpy(), want)


def test_a_mask_without_any_pixel_gives_no_loss() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = mask_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
