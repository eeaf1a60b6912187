"""Door of the dense CRF: checks the input, merges labels that cannot differ, and hands over to a backend."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...types import ByteArray, FloatArray, IntArray
from .presets import CrfParameters, crf_parameters
from .unary import unary_from_labels, unary_from_scores

Backend = Literal["auto", "numba", "torch", "pydensecrf"]


def dense_crf(
    image: ByteArray,
    values: npt.NDArray[Any],
    preset: Any = "psa",
    *,
    labels: int | None = None,
    backend: Backend = "auto",
    device: str = "cpu",
    threads: int = 1,
) -> FloatArray:
    """Return the marginals of scores or hard labels under a preset, (L, H, W) float32, summing to one over L.

    image: (H, W, 3) uint8 RGB. values: scores (L, H, W) for most presets; for `irn` and `ppc`, whose energies come
    from hard labels, (H, W) integers, or scores whose argmax is taken. preset: a name, a recipe's CRF section or
    `CrfParameters`. labels: with hard labels the number L of all labels, which the energies depend on; by default
    the rows of the scores, or one more than the highest label.

    Raises:
        DataError: image and values do not fit, or hold what no CRF can use.
        RecipeError: unknown preset or backend.
    """
    parameters = preset if isinstance(preset, CrfParameters) else crf_parameters(preset)
    values = np.asarray(values)
    if parameters.unary == "scores":
        unary = unary_from_scores(values, clip=parameters.clip)
    else:
        hard = values
        if values.ndim == 3:
            unary_from_scores(values)
            hard = values.argmax(axis=0)
        count = labels or (len(values) if values.ndim == 3 else int(values.max(initial=0)) + 1)
        unary = unary_from_labels(hard, count, certainty=parameters.certainty)
    return marginals(image, unary, parameters, backend=backend, device=device, threads=threads)


def marginals(
    image: ByteArray,
    unary: FloatArray,
    parameters: CrfParameters,
    *,
    backend: Backend = "auto",
    device: str = "cpu",
    threads: int = 1,
) -> FloatArray:
    """Return the marginals Q of a fully connected CRF after `parameters.iterations` mean-field steps.

    image: (H, W, 3) uint8 RGB. unary: (L, H, W) energies. Returns (L, H, W) float32, summing to one over L.

    Raises:
        DataError: wrong type or shape, or energies that are not finite.
    """
    from .lattice import build_lattice
    from .mean_field import mean_field

    count, height, width = unary.shape
    if count == 1:
        return np.ones((1, height, width), np.float32)
    n = height * width
    rows = np.ascontiguousarray(-unary.reshape(count, n).T)
    q = mean_field(
        rows,
        np.ones(count, np.float32),
        build_lattice(_features(image, parameters, parameters.gaussian_sxy)),
        build_lattice(_features(image, parameters, parameters.bilateral_sxy, parameters.bilateral_srgb)),
        (parameters.gaussian_weight, parameters.bilateral_weight),
        parameters.iterations,
    )
    return np.ascontiguousarray(q.T).reshape(count, height, width)


def labels_of(marginals: FloatArray) -> IntArray:
    """Return the row of the highest marginal for every pixel, (H, W) int64; the first of equal ones."""
    return marginals.argmax(axis=0)


def _features(image: ByteArray, parameters: CrfParameters, sxy: float, srgb: float | None = None) -> FloatArray:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    first, second = (x, y) if parameters.feature_order == "xy" else (y, x)
    planes = [first / np.float32(sxy), second / np.float32(sxy)]
    if srgb is not None:
        planes += list(np.moveaxis(image.astype(np.float32) / np.float32(srgb), -1, 0))
    return np.stack(planes, axis=-1).reshape(-1, len(planes))
