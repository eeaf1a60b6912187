"""Softmax-GradCAM: the gradient of a text's probability among texts, before CLIP's last attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .network import Clip

AT_ONCE = 4
"""Labels whose gradients are computed in one backward pass; more would only take memory."""

EPS = 1e-7


class ClassMaps(NamedTuple):
    """What the texts of an image's labels look at.

    Attributes:
        probabilities: (R,) of all texts.
        activations: (1 + h*w, D), the last block's normalised input.
        attention: (1 + h*w, 1 + h*w) of the last block, the mean over the heads.
        weights: (K, D) of the channels, the mean gradient over the patches.
        raw: (K, h, w), the weighted sum of the activations, not rectified.
    """

    probabilities: Tensor
    activations: Tensor
    attention: Tensor
    weights: Tensor
    raw: Tensor

    @property
    def maps(self) -> Tensor:
        """The maps with which CLIP-ES continues, (K, h, w) in [0, 1]."""
        # twice: gradients are tiny, and after one division the highest value may be well below 1
        return normalized(normalized(self.raw.relu()))


def probabilities(clip: Clip, feature: Tensor, texts: Tensor) -> Tensor:
    """Return the logarithm of each text's probability, (R,) float32; feature: (E,); texts: (R, E)."""
    scores = F.normalize(texts.float(), dim=1) @ F.normalize(feature.float(), dim=0)
    return (clip.logit_scale.float().exp() * scores).log_softmax(0)


def softmax_gradcam(
    clip: Clip, tokens: Tensor, texts: Tensor, targets: Sequence[int], grid: tuple[int, int]
) -> ClassMaps:
    """Return the class maps of one image (Lin et al., CVPR 2023, section 3.1).

    The last block runs once for all targets. Their gradients are taken together, and only as far back as queries, keys
    and values: the first linear layer is then applied to the mean over the patches instead of to every patch.

    tokens: (1 + h*w, D) float32, the last block's input. texts: (R, E). targets: (K,) rows of it. grid: (h, w).
    """
    last = clip.visual.last
    with torch.enable_grad():
        activations = last.ln_1(tokens[None]).detach()
        joined = last.queries_keys_values(activations).detach().requires_grad_()
        after, attention = last.after(tokens[None], joined)
        logs = probabilities(clip, clip.visual.feature(after[0]), texts)
        gradients = [_gradients(logs[part], joined) for part in torch.tensor(targets).split(AT_ONCE)]
    found = logs.detach().exp()
    mean = torch.cat(gradients)[:, 1:].mean(1)
    # the gradient of a probability is the probability times that of its logarithm, which does not vanish as it nears 1
    weights = found[list(targets), None] * (mean @ last.attn.in_proj_weight.detach().float())
    raw = (weights @ activations[0, 1:].T).float().unflatten(1, grid)
    return ClassMaps(found, activations[0], attention[0].detach(), weights, raw)


def _gradients(outputs: Tensor, joined: Tensor) -> Tensor:
    """Return the gradients of the outputs (k,) with respect to `joined` (1, T, 3D), (k, T, 3D)."""
    one_hot = torch.eye(len(outputs), device=outputs.device)
    (gradients,) = torch.autograd.grad(outputs, joined, one_hot, retain_graph=True, is_grads_batched=True)
    return gradients[:, 0]


def normalized(maps: Tensor) -> Tensor:
    """Return maps (K, h, w) minus their minimum, divided by their maximum after that; a map of zeros stays as it is."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (maps.amax((1, 2), keepdim=True) + EPS)
