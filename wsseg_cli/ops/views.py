"""Test-time views of one image (scales and horizontal flips) and how the network's outputs for them are merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..settings import InferSettings
from ..types import ByteArray, FloatArray, Normalization
from .resize import opencv_resize, pillow_resize, scaled_size

ViewResize = Literal["pillow_bicubic", "opencv_cubic", "tensor_bilinear"]
"""`pillow_bicubic`: of the uint8 image, before normalising (PSA, SEAM, EPS, PPC, SC-CAM).
`opencv_cubic`: of the normalised image (semantic-segmentation-codebase).
`tensor_bilinear`: of the normalised image, sizes truncated (RS+EPM)."""

LARGE_VIEW = 50_000
"""Pixels of a view above which a CPU takes it and its horizontal flip one by one: two no longer fit its caches."""

Merge = Literal["mean_logits", "sum_logits", "mean_probabilities", "max_logits"]


def view_batches(
    image: ByteArray, infer: InferSettings, normalization: Normalization, resize: ViewResize = "pillow_bicubic"
) -> Iterator[Tensor]:
    """Yield the normalised views of each scale in turn: (1, 3, h, w), or (2, 3, h, w) with the horizontal flip second.

    image: (H, W, 3) uint8 RGB.
    """
    for scale in infer.scales:
        plain = view(image, scale, normalization, resize)
        yield torch.stack([plain, plain.flip(2)]) if infer.flip else plain[None]


def view(image: ByteArray, scale: float, normalization: Normalization, resize: ViewResize = "pillow_bicubic") -> Tensor:
    """Return the image at `scale`, normalised, (3, h, w) float32."""
    size = (int(image.shape[0]), int(image.shape[1]))
    if resize == "pillow_bicubic":
        pixels = normalization.apply(pillow_resize(image, scaled_size(size, scale)))
    elif resize == "opencv_cubic":
        pixels = normalization.apply(image)
        if scale != 1:
            pixels = opencv_resize(pixels, scaled_size(size, scale), "cubic", scale)
    else:
        pixels = normalization.apply(image)
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    if resize == "tensor_bilinear" and scale != 1:
        target = scaled_size(size, scale, "floor")
        tensor = F.interpolate(tensor[None], size=target, mode="bilinear", align_corners=False)[0]
    return tensor


def merge_views(
    maps: Iterable[Tensor],
    size: tuple[int, int],
    *,
    rule: Literal["sum", "mean"] = "sum",
    align_corners: bool = False,
) -> Tensor:
    """Return the maps of all views merged into one, (K, H, W): resized bilinearly to `size`, flipped back, added up.

    maps: one (1, K, h, w) or (2, K, h, w) per scale, the second of two belonging to the horizontal flip, as
    `view_batches` gives them. The running sum keeps one full-size map in memory, not one per view.
    """
    total, views = None, 0
    for pair in maps:
        # Resizing is linear and symmetric in left and right: adding up first gives the same with less work.
        small = pair if len(pair) == 1 else pair[:1] + pair[1:].flip(-1)
        full = F.interpolate(small, size=size, mode="bilinear", align_corners=align_corners)[0]
        total = full if total is None else total.add_(full)
        views += len(pair)
    if total is None:
        raise ValueError("no views to merge")
    return total / views if rule == "mean" else total


@torch.no_grad()
def multi_scale_logits(
    model: nn.Module,
    image: ByteArray,
    infer: InferSettings,
    *,
    normalization: Normalization,
    forward: Callable[[Tensor], Tensor] | None = None,
    resize: ViewResize = "opencv_cubic",
    merge: Merge = "mean_logits",
    align_corners: bool = True,
) -> FloatArray:
    """Return a segmentation network's class scores for one image, (1+C, H, W) float32, ready for a softmax.

    merge: `mean_logits` and align_corners True are semantic-segmentation-codebase's; `sum_logits` and False are
    PuzzleCAM's, whose softmax is of the sum; `mean_probabilities` and False are RS+EPM's: logits are enlarged to their
    view before its softmax, and the logarithm of the mean is returned; `max_logits` takes the highest of any view.
    forward: normalised views (V, 3, h, w) -> logits (V, 1+C, h', w'), by default the model, expected in eval mode.
    """
    forward = forward or model
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    size = (int(image.shape[0]), int(image.shape[1]))
    views = (batch.to(device) for batch in view_batches(image, infer, normalization, resize))
    seen = ((batch, forward_views(forward, batch).float()) for batch in views)
    logits = (z for _, z in seen)
    if merge == "mean_logits":
        merged = merge_views(logits, size, rule="mean", align_corners=align_corners)
    elif merge == "sum_logits":
        merged = merge_views(logits, size, align_corners=align_corners)
    elif merge == "mean_probabilities":
        enlarged = (F.interpolate(z, b.shape[-2:], mode="bilinear", align_corners=align_corners) for b, z in seen)
        mean = merge_views((z.softmax(1) for z in enlarged), size, rule="mean", align_corners=align_corners)
        merged = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    else:
        merged = torch.stack([merge_views([z], size, align_corners=align_corners) for z in _apart(logits)]).amax(0)
    return merged.cpu().numpy()


def forward_views(forward: Callable[[Tensor], Tensor], views: Tensor) -> Tensor:
    """Return the network's maps of a view and its flip, one after the other where a CPU is faster that way."""
    if views.device.type == "cpu" and views.shape[-2] * views.shape[-1] > LARGE_VIEW:
        return torch.cat([forward(one) for one in views.split(1)])
    return forward(views)


def _apart(pairs: Iterable[Tensor]) -> Iterator[Tensor]:
    for pair in pairs:
        yield pair[:1]
        if len(pair) == 2:
            yield pair[1:].flip(-1)
