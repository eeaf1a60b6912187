"""Entry point of the dense CRF: checks the input, merges labels that cannot differ, and hands over to a backend."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import DataError, RecipeError
from ...settings import CrfSettings
from ...types import ByteArray, FloatArray, IntArray
from .features import as_flat, merge_equal_rows
from .presets import CrfParameters, crf_parameters
from .unary import unary_from_labels, unary_from_scores, unary_from_softmax

Backend = Literal["auto", "numba", "torch", "pydensecrf"]
LARGEST_ENERGY = 1e30


def available_backends() -> dict[str, bool]:
    """Return which backends are installed, by name; nothing is imported."""
    return {name: _is_installed(name) for name in ("numba", "torch", "pydensecrf")}


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def choose_backend(backend: Backend = "auto") -> str:
    """Return the backend that will run: with `auto` numba, since torch on a GPU has not been shown to be faster.

    Raises:
        RecipeError: the backend is unknown or not installed.
    """
    chosen = "numba" if backend == "auto" else backend
    there = available_backends()
    if chosen not in there:
        raise RecipeError(f"unknown CRF backend {chosen!r}; expected auto, {', '.join(there)}")
    if not there[chosen]:
        package = "wsseg[pydensecrf]" if chosen == "pydensecrf" else chosen
        others = ", ".join(["auto", *(name for name, installed in there.items() if installed)])
        raise RecipeError(f"CRF backend {chosen!r} is not installed: pip install '{package}', or set backend: {others}")
    return chosen


def dense_crf(
    image: ByteArray,
    values: npt.NDArray[Any],
    preset: str | CrfSettings | CrfParameters = "psa",
    *,
    labels: int | None = None,
    backend: Backend = "auto",
    device: str = "cpu",
    threads: int = 1,
) -> FloatArray:
    """Return the marginals of scores or hard labels under a preset, (L, H, W) float32, summing to one over L.

    image: (H, W, 3) uint8 RGB. values: scores (L, H, W) for most presets; for `irn` and `ppc`, whose energies come
    from hard labels, (H, W) integers, or scores whose argmax is taken. preset: a name, a recipe's CRF section (whose
    backend is used if none is given here) or parameters. labels: with hard labels, the total number L of labels, on
    which the energies depend; by default the number of rows of the scores, or one more than the highest label.

    Raises:
        DataError: image and values do not match, or hold values that no CRF can use.
        RecipeError: the preset or backend is unknown.
    """
    parameters = crf_parameters(preset)
    if backend == "auto" and isinstance(preset, CrfSettings):
        backend = preset.backend
    values = np.asarray(values)
    if parameters.unary == "scores":
        unary = unary_from_scores(values, clip=parameters.clip)
    elif parameters.unary == "softmax":
        unary = unary_from_softmax(values, clip=parameters.clip)
    else:
        rows = int(values.max(initial=0)) + 1
        if values.ndim == 3:
            rows, values = len(values), unary_from_scores(values, clip=np.finfo(np.float32).tiny).argmin(axis=0)
        unary = unary_from_labels(values, labels or rows, certainty=parameters.certainty)
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

    Krähenbühl & Koltun 2011, algorithm 1, Potts compatibility, kernels normalised symmetrically. image: (H, W, 3)
    uint8 RGB. unary: (L, H, W) energies; a single label gives ones. device: where the torch backend computes.
    threads: cores for one image with numba; several Python threads may call at once. Returns (L, H, W) float32,
    summing to one over L.

    Raises:
        DataError: a type or shape is wrong, or energies are not finite.
        RecipeError: the backend is unknown or not installed.
    """
    _check(image, unary, threads)
    chosen = choose_backend(backend)
    if len(unary) == 1:
        return np.ones(unary.shape, np.float32)
    energies = as_flat(unary)
    if chosen == "pydensecrf":
        from .library import library_mean_field

        return library_mean_field(image, energies, parameters).reshape(unary.shape)
    first, row, copies = merge_equal_rows(energies)
    distinct = energies if len(first) == len(energies) else energies[first]
    if len(first) == 1:
        return np.full(unary.shape, 1 / len(unary), np.float32)
    if chosen == "torch":
        from .torch_lattice import torch_mean_field

        q = torch_mean_field(image, distinct, copies, parameters, device)
    else:
        from .mean_field import image_kernels, mean_field

        q = mean_field(distinct, copies, *image_kernels(image, parameters, threads), parameters.iterations, threads)
    return (q if len(first) == len(energies) else q[row]).reshape(unary.shape)


def labels_of(marginals: FloatArray) -> IntArray:
    """Return the row of the highest marginal for every pixel, (H, W) int64; the first of equal ones."""
    return marginals.argmax(axis=0)


def _check(image: ByteArray, unary: FloatArray, threads: int) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"CRF image has shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8 in RGB")
    if unary.ndim != 3 or 0 in unary.shape:
        raise DataError(f"CRF energies have shape {unary.shape}, expected (labels, H, W), none of them 0")
    if unary.shape[1:] != image.shape[:2]:
        raise DataError(
            f"CRF scores are {unary.shape[1]} x {unary.shape[2]} pixels, the image {image.shape[0]} x {image.shape[1]}"
            " (height x width); resize the scores to the image first"
        )
    if not np.abs(unary).max() <= LARGEST_ENERGY:
        raise DataError("CRF energies hold NaN, infinity or numbers beyond 1e30; look for what made the scores")
    if threads < 1:
        raise DataError(f"threads of the CRF is {threads}, expected at least 1")
