"""Losses that several systems share."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden_cases import Case, golden

from wsseg_cli.ops.losses import mask_cross_entropy, multilabel_soft_margin, shrink_mask


@golden("seg_kazuto_resize_labels")
def test_shrink_mask(case: Case) -> None:
    mask = torch.from_numpy(case.inputs["label"])
    got = {}
    for name, want in case.outputs.items():
        side = int(name.removeprefix("label_"))
        got[name] = shrink_mask(mask, (side, side)).numpy().astype(want.dtype)
    case.check_all(got)


def test_shrink_mask_is_nearest_exact() -> None:
    mask = torch.arange(37 * 51).reshape(1, 37, 51)
    want = F.interpolate(mask[None].float(), size=(11, 20), mode="nearest-exact")[0].long()
    assert torch.equal(shrink_mask(mask, (11, 20)), want)


def test_soft_margin_is_torchs() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 5) * 30, torch.randint(2, (4, 5))
    assert torch.allclose(multilabel_soft_margin(logits, labels), F.multilabel_soft_margin_loss(logits, labels))


@pytest.mark.parametrize("ignored", [0, 3, 16])
def test_cross_entropy_over_what_is_not_ignored(ignored: int) -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(1, 3, 4, 4, requires_grad=True), torch.randint(3, (1, 4, 4))
    mask.view(-1)[:ignored] = 255
    loss = mask_cross_entropy(logits, mask)
    loss.backward()
    want = F.cross_entropy(logits, mask, ignore_index=255) if ignored < 16 else torch.tensor(0.0)
    assert torch.allclose(loss, want) and torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
