"""The second loss of ReCAM: each class is told from the others by the features under its own map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.ops.cam import class_activation_maps, max_norm


def class_features(features: Tensor, weight: Tensor) -> Tensor:
    """Return the features under each class's own map, (N, C, D): the mean over the cells of map times features.

    The maps are CAMs, rectified and divided by their maximum + 1e-5; the gradient flows through them as well. A map
    that is 0 everywhere gives features of 0 (Chen et al., CVPR 2022).

    features: (N, D, h, w); weight: (C, D) or (C, D, 1, 1), of the first class layer.
    """
    with torch.autocast(features.device.type, enabled=False):  # the sum over a large map would overflow fp16
        features = features.float()
        maps = class_activation_maps(features, weight.float()).relu()
        maps = max_norm(maps.flatten(0, 1)).reshape(maps.shape)
        return maps.flatten(2) @ features.flatten(2).mT / maps[0, 0].numel()


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the softmax cross-entropy, averaged over the classes of an image, then over the images of the batch.

    logits: (N, C, C), row k those of the features of class k, whose one label is k; labels: (N, C) multi-hot. Only the
    rows of an image's classes count; an image without a class adds 0.
    """
    by_class = -F.log_softmax(logits.float(), 2).diagonal(dim1=1, dim2=2)
    return ((by_class * labels).sum(1) / labels.sum(1).clamp(min=1)).mean()
