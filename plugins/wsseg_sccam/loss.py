"""SC-CAM's loss: classes and sub-categories."""

from __future__ import annotations

from torch import Tensor

from wsseg_cli.ops.losses import multilabel_soft_margin


def subcategory_losses(
    parent: Tensor, sub: Tensor, labels: Tensor, sub_labels: Tensor, lam: float = 5.0
) -> dict[str, Tensor]:
    """Return {"parent", "sub"}, whose sum SC-CAM minimises (Chang et al., CVPR 2020, section 3.2).

    parent: (N, C) and sub: (N, C*k) scores before a sigmoid; labels and sub_labels: multi-hot of the same shapes. Both
    are means over images and channels; lam (lambda) weights that of the sub-categories.
    """
    return {"parent": multilabel_soft_margin(parent, labels), "sub": lam * multilabel_soft_margin(sub, sub_labels)}
