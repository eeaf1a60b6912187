"""The single-stage model's test-time views, all padded to one size, and their merging (Araslanov & Roth, CVPR 2020).

The padding is not neutral: it enters the network's global pools, so parity needs the published size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from ..settings import InferSettings
from ..types import ByteArray, Normalization
from .views import view


def padded_views(
    image: ByteArray, infer: InferSettings, normalization: Normalization, canvas: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the views (V, 3, Ph, Pw) and where each lies in its canvas, (V, 4) int64 top, left, height, width.

    image: (H, W, 3) uint8 RGB; canvas: (Ph, Pw) pixels. Order: scale 1, its horizontal flip, scale 2, …; each is
    resized bicubically, normalised, and centred among zeros.

    Raises:
        DataError: the image at its largest scale does not fit the canvas.
    """
    views, places = [], []
    for scale in infer.scales:
        plain = view(image, scale, normalization)
        height, width = plain.shape[1:]
        if height > canvas[0] or width > canvas[1]:
            raise DataError(
                f"an image of {image.shape[1]}x{image.shape[0]} pixels is {width}x{height} at scale {scale:g} and does "
                f"not fit the padded size {canvas[1]}x{canvas[0]}; give smaller scales or a larger padded size"
            )
        for turned in (plain, plain.flip(2)) if infer.flip else (plain,):
            padded, place = centre_pad(turned, canvas)
            views.append(padded)
            places.append(place)
    return torch.stack(views), torch.tensor(places)


def centre_pad(view: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Return a view (3, h, w) centred among zeros (3, Ph, Pw), and its top, left, height, width."""
    height, width = view.shape[1:]
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    padded = view.new_zeros(view.shape[0], *canvas)
    padded[:, top : top + height, left : left + width] = view
    return padded, (top, left, height, width)


def class_gate(logits: Tensor, threshold: float) -> Tensor:
    """Return which classes are kept, (C,) bool: the highest sigmoid score of any view is above `threshold`.

    logits: (V, C).
    """
    return logits.sigmoid().amax(0) > threshold


def merge_padded(
    masks: Tensor, places: Tensor, size: tuple[int, int], gate: Tensor, *, flip: bool, background_power: float = 1.0
) -> Tensor:
    """Return one score map (1+C, H, W) from the masks of all views.

    Per view: padding cut away, bilinear to (H, W), flipped back; then the mean over the views; classes that the gate
    closes are set to 0, and the background is raised to `background_power`. The rows do not sum to 1.

    masks: (V, 1+C, Ph, Pw) in [0, 1], background first; places: (V, 4) as `padded_views` gives them; gate: (C,) bool or
    0/1; flip: every second view is a horizontal flip.
    """
    total = masks.new_zeros(masks.shape[1], *size)
    for index, (mask, place) in enumerate(zip(masks, places.long().tolist(), strict=True)):
        top, left, height, width = place
        inside = mask[None, :, top : top + height, left : left + width]
        full = F.interpolate(inside, size=size, mode="bilinear", align_corners=False)[0]
        total += full.flip(-1) if flip and index % 2 else full
    merged = total / len(masks)
    return torch.cat([merged[:1] ** background_power, merged[1:] * gate.to(merged.dtype)[:, None, None]])
