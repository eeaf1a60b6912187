"""The features in which a dense CRF's two kernels measure distances, and rows of energies that cannot differ."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...types import ByteArray, FloatArray, IntArray


def position_features(height: int, width: int, sxy: float, order: str) -> FloatArray:
    """Return the features of the smoothness kernel, (2, H*W) float32: x / sxy, y / sxy, or y first with `order` yx."""
    y, x = np.indices((height, width), np.float32)
    planes = (x, y) if order == "xy" else (y, x)
    return np.stack(planes).reshape(2, -1) / np.float32(sxy)


def appearance_features(image: ByteArray, sxy: float, srgb: float, order: str) -> FloatArray:
    """Return the features of the appearance kernel, (5, H*W) float32: position / sxy, then r, g, b / srgb."""
    height, width = image.shape[:2]
    colours = np.moveaxis(image, -1, 0).reshape(3, -1).astype(np.float32) / np.float32(srgb)
    return np.concatenate([position_features(height, width, sxy, order), colours])


def merge_equal_rows(unary: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return (first, row, copies): the distinct rows, which of them each row equals, and how often each occurs.

    unary: (L, N). Labels with equal energies everywhere have equal marginals by symmetry, so one stands for all of
    them: absent classes cost nothing.
    """
    sample = unary[:, :: max(1, unary.shape[1] // 64)]
    candidates: dict[bytes, list[int]] = {}
    first: list[int] = []
    row = np.empty(len(unary), np.int64)
    for label, energies in enumerate(unary):
        alike = candidates.setdefault(sample[label].tobytes(), [])
        same = next((k for k in alike if np.array_equal(unary[first[k]], energies)), None)
        if same is None:
            same = len(first)
            first.append(label)
            alike.append(same)
        row[label] = same
    return np.array(first, np.int64), row, np.bincount(row).astype(np.int64)


def as_flat(unary: npt.NDArray[np.floating]) -> FloatArray:
    """Return (L, H, W) energies as contiguous (L, H*W) float32."""
    return np.ascontiguousarray(unary, np.float32).reshape(len(unary), -1)
