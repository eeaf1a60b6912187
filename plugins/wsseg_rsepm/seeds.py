"""From RecurSeed's stored seeds to pseudo-masks, as the published script makes them."""

from __future__ import annotations

import numpy as np

from wsseg_cli.errors import DataError
from wsseg_cli.ops.crf import CrfParameters, dense_crf, labels_of
from wsseg_cli.types import IMAGENET, ByteArray, FloatArray, IntArray, Normalization, resize_scores


def rebuilt_pixels(image: ByteArray, normalization: Normalization = IMAGENET) -> ByteArray:
    """Return the pixels that the script rebuilds from the normalised image, up to one grey level too low.

    image: (H, W, 3) uint8. Normalised in float32, inverted in float64, cut off: the types decide which levels fall.
    """
    normalised = normalization.apply(image)
    rebuilt = normalised * np.array(normalization.std, np.float64) + np.array(normalization.mean, np.float64)
    return (rebuilt * normalization.scale).astype(np.uint8)


def seed_mask(
    image: ByteArray,
    seed: FloatArray,
    keys: IntArray,
    *,
    power: float | None = 2.0,
    threshold: float | None = None,
    crf: str | CrfParameters | None = "deeplab",
    lone_key_is_background: bool = False,
) -> ByteArray:
    """Return the mask of a stored seed, (H, W) uint8 mask values.

    image: (H, W, 3) uint8. seed: (K, h, w) in [0, 1]; keys: mask values of its rows, 0 first where the background row
    is still to be made. threshold: a constant background; power: background (1 - max over rows) ** power; neither: the
    rows are taken as they are. crf None: the highest row without a CRF. lone_key_is_background: as published, a single
    key gives background whatever it names.

    Raises:
        DataError: rows and keys do not fit.
    """
    keys = np.asarray(keys, np.int64)
    if len(keys) == 1 and (lone_key_is_background or keys[0] == 0):
        return np.zeros(image.shape[:2], np.uint8)
    rows = resize_scores(seed, (image.shape[0], image.shape[1]))
    if threshold is not None:
        rows = np.concatenate([np.full((1, *rows.shape[1:]), threshold, np.float32), rows])
    elif power is not None:
        rows = np.concatenate([(1 - rows.max(axis=0, keepdims=True)) ** np.float32(power), rows])
    if len(rows) != len(keys):
        raise DataError(f"seed has {len(rows)} rows with its background, and {len(keys)} keys: {keys.tolist()}")
    return keys[labels_of(dense_crf(image, rows, crf) if crf else rows)].astype(np.uint8)
