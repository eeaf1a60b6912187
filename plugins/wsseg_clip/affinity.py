"""Class-aware attention-based affinity: attention as a matrix along which class maps spread from boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from wsseg_cli.plugin import FloatArray

_LEVELS = 255
_TOUCHING = np.ones((3, 3), int)


def mean_attention(attention: Sequence[Tensor]) -> Tensor:
    """Return the mean of attention matrices (1 + n, 1 + n) without the class token, (n, n)."""
    return torch.stack(list(attention)).mean(0)[1:, 1:]


def sinkhorn(attention: Tensor, rounds: int) -> Tensor:
    """Return the matrix (n, n) after `rounds` divisions of its columns, then of its rows, by their sums."""
    for _ in range(rounds):
        attention = attention / attention.sum(0, keepdim=True)
        attention = attention / attention.sum(1, keepdim=True)
    return attention


def symmetric(attention: Tensor) -> Tensor:
    """Return the mean of a matrix (n, n) and its transpose: affinities of patches, the same both ways."""
    return (attention + attention.T) / 2


def spread(affinity: Tensor, maps: Tensor, squarings: int) -> Tensor:
    """Return the matrix (n, n), squared `squarings` times, times each map; maps and result are (K, n).

    The power is never formed: a map is multiplied by the matrix once for each factor.
    """
    for _ in range(2**squarings):
        maps = maps @ affinity.T
    return maps


def box_mask(scores: FloatArray, threshold: float, *, inclusive: bool = False) -> npt.NDArray[np.bool_]:
    """Return where the boxes around a map's regions are, (h, w): regions are above a share of the map's maximum.

    scores: (h, w) in [0, 1], compared in 256 levels. inclusive: boxes reach the last row and column. As published they
    never do: a region in these alone has an empty box.
    """
    levels = (np.asarray(scores, np.float32) * np.float32(_LEVELS)).astype(np.uint8)
    regions, _ = ndimage.label(levels > int(threshold * levels.max()), _TOUCHING)
    inside = np.zeros(levels.shape, bool)
    rows, columns = levels.shape if inclusive else (n - 1 for n in levels.shape)
    for region in ndimage.find_objects(regions):
        inside[region] = True
    inside[rows:], inside[:, columns:] = False, False
    return inside
