"""PSA's walk of whole score maps: pool, walk along learnt affinities, enlarge; SEAM's short CRF afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from wsseg_cli.ops.affinity import Pairs
from wsseg_cli.ops.crf import crf_parameters, dense_crf
from wsseg_cli.ops.random_walk import enlarged, pooled, random_walk, transition_matrix
from wsseg_cli.types import IMAGENET, ByteArray, FloatArray


def walked_scores(
    scores: Tensor, affinity: Tensor, pairs: Pairs, *, beta: float = 8.0, steps_log2: int = 8, stride: int = 8
) -> Tensor:
    """Return scores walked along affinities at the padded image size, (L, h*stride, w*stride); the caller crops.

    scores: (L, H, W) in [0, 1], background first, then the present classes; affinity: (P,) of `pairs`, whose grid is
    ceil(H/stride) x ceil(W/stride).
    """
    coarse = pooled(scores, stride)
    return enlarged(random_walk(coarse, transition_matrix(affinity, pairs, beta), 2**steps_log2), stride)


def crf_after_walk(
    image: ByteArray, walked: FloatArray, num_labels: int, iterations: int = 1, **crf: Any
) -> FloatArray:
    """Return walked scores after SEAM's CRF at the padded size, (L, H', W').

    image: (H, W, 3) uint8 RGB; walked: (L, H', W') of background and present classes; num_labels: 1 + C, with the
    classes that the image lacks as rows of zeros. The published code does not take the picture but rebuilds it from the
    network's input, see `rebuilt_pixels`. crf: passed to `dense_crf`.
    """
    every = np.zeros((num_labels, *walked.shape[1:]), np.float32)
    every[: len(walked)] = walked
    size = walked.shape[1], walked.shape[2]
    parameters = crf_parameters("psa", iterations=iterations)
    return dense_crf(rebuilt_pixels(image, size), every, parameters, **crf)[: len(walked)]


def rebuilt_pixels(image: ByteArray, size: tuple[int, int]) -> ByteArray:
    """Return a picture as SEAM rebuilds it from the normalised one: (H', W', 3) uint8, padded with the mean colour.

    Normalised in float64 and kept as float32, then inverted in float32 and truncated: many levels come out one too low,
    and other data types lower other levels.
    """
    mean, std = np.asarray(IMAGENET.mean), np.asarray(IMAGENET.std)
    normalised = np.zeros((*size, 3), np.float32)
    normalised[: image.shape[0], : image.shape[1]] = (image / 255.0 - mean) / std
    restored = (normalised * std.astype(np.float32) + mean.astype(np.float32)) * np.float32(255)
    return np.clip(restored, 0, 255).astype(np.uint8)
