"""Mean-field inference of a dense CRF on the CPU: one pass over the pixels per step, all labels of a pixel together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ...types import ByteArray, FloatArray
from .compiled import compiled, inlined
from .features import appearance_features, position_features
from .lattice import Lattice, build_lattice
from .presets import CrfParameters
from .vectors import exp, full, highest, load, maximum, store, total

f32 = np.float32
ABSENT = f32(-3e38)
"""Logit of the columns that only pad a vector."""
LARGEST_KEPT = 1 << 21
"""Pixels of the largest image whose smoothness lattice (24 bytes per pixel and more) is kept for the next one."""


@dataclass(frozen=True)
class Kernel:
    """One Gaussian kernel of the CRF: its lattice and its weight w (Krähenbühl & Koltun 2011, eq. 3)."""

    lattice: Lattice
    weight: float


def image_kernels(image: ByteArray, parameters: CrfParameters, threads: int = 1) -> tuple[Kernel, Kernel]:
    """Return the smoothness and the appearance kernel of an image (H, W, 3) uint8.

    The first depends on the size alone and is cached for successive images of one size.

    Raises:
        DataError: a kernel is too narrow for the lattice.
    """
    height, width = image.shape[:2]
    order = parameters.feature_order
    keep = height * width <= LARGEST_KEPT
    smooth = smooth_lattice if keep else smooth_lattice.__wrapped__
    features = appearance_features(image, parameters.bilateral_sxy, parameters.bilateral_srgb, order)
    with ExitStack() as stack:
        each = _mapper(stack, threads)
        built: dict[int, Lattice] = {}

        def build(which: int) -> None:
            built[which] = build_lattice(features) if which else smooth(height, width, parameters.gaussian_sxy, order)

        each(build, range(2))
    return Kernel(built[0], parameters.gaussian_weight), Kernel(built[1], parameters.bilateral_weight)


@lru_cache(maxsize=4)
def smooth_lattice(height: int, width: int, sxy: float, order: str) -> Lattice:
    """Return the lattice of the smoothness kernel, for which only the image's size matters; a few are cached."""
    return build_lattice(position_features(height, width, sxy, order))


def mean_field(
    unary: FloatArray,
    copies: npt.NDArray[np.int64],
    smooth: Kernel,
    bilateral: Kernel,
    iterations: int,
    threads: int = 1,
) -> FloatArray:
    """Return the marginals after parallel mean-field steps (Krähenbühl & Koltun 2011, algorithm 1).

    unary: (L, N) energies. copies: (L,) how many equal labels each row stands for. smooth, bilateral: kernels of two
    and five features. threads: Python threads that share the work; compiled code releases the GIL. Returns (L, N)
    float32.
    """
    count, n = unary.shape
    width = 4 if count <= 4 else 8
    columns = -(-count // width) * width
    pixels, blur = _pixels(width), _blur(width)
    kernels = (smooth, bilateral)
    logits = np.full((n, columns), ABSENT, f32)
    np.negative(unary.T, out=logits[:, :count])
    equals = np.zeros(columns, f32)
    equals[:count] = copies
    q = np.empty((n, columns), f32)
    flat, flat_q = logits.reshape(-1), q.reshape(-1)
    values = [np.zeros((kernel.lattice.vertices + 1) * columns, f32) for kernel in kernels]
    spare = [np.zeros_like(v) for v in values]
    # every thread splats into sums of its own, so that no two write to one vertex
    sums = [np.zeros((threads, v.size), f32) for v in values]
    bounds = np.linspace(0, n, threads + 1).astype(np.int64)
    constants = (
        *(array for kernel in kernels for array in (kernel.lattice.ids, kernel.lattice.weights)),
        f32(smooth.weight),
        f32(bilateral.weight),
        equals,
        flat,
    )
    with ExitStack() as stack:
        each = _mapper(stack, threads)
        for step in range(iterations + 1):
            first, last = step == 0, step == iterations

            def refresh(t: int, first: bool = first, last: bool = last) -> None:
                pixels(*constants, *values, sums[0][t], sums[1][t], flat_q, bounds[t], bounds[t + 1], first, last)

            def spread(k: int) -> None:
                values[k], spare[k] = blur(kernels[k].lattice.neighbours, sums[k], values[k], spare[k], columns)

            each(refresh, range(threads))
            if not last:
                each(spread, range(2))
    return np.ascontiguousarray(q[:, :count].T)


def _mapper(stack: ExitStack, threads: int) -> Callable[[Callable[[int], None], range], None]:
    """Return a function that calls another for every number of a range and waits for all calls."""
    run: Any = map if threads == 1 else stack.enter_context(ThreadPoolExecutor(threads, "crf")).map

    def each(function: Callable[[int], None], numbers: range) -> None:
        for _ in run(function, numbers):
            pass

    return each


@inlined
def _sliced(values, ids, weights, corners, k, o, columns, width):
    """Return the message to pixel k from the values at the vertices of its simplex."""
    message = full(f32(0), width)
    for r in range(corners):
        message = message + load(values, ids[k, r] * columns + o, width) * weights[k, r]
    return message


@inlined
def _splat(sums, ids, weights, corners, k, o, columns, width, e):
    """Add the scores e of pixel k to the vertices of its simplex."""
    for r in range(corners):
        at = ids[k, r] * columns + o
        store(sums, at, load(sums, at, width) + e * weights[k, r])


@lru_cache
def _pixels(width: int) -> Any:
    """Return the compiled pass over the pixels for vectors of `width` labels."""

    @compiled
    def pixels(
        ids_s, weights_s, ids_b, weights_b, gain_s, gain_b, equals, minus_unary, values_s, values_b, sums_s, sums_b, q,
        start, stop, first, last
    ):  # fmt: skip
        """Slice both messages, take the softmax, splat it for the next step; the last one goes to q instead."""
        columns = equals.size
        scratch = np.empty(columns, np.float32)
        if not last:
            sums_s[:] = f32(0)
            sums_b[:] = f32(0)
        for k in range(start, stop):
            top = full(ABSENT, width)
            for o in range(0, columns, width):
                logit = load(minus_unary, k * columns + o, width)
                if not first:
                    message_s = _sliced(values_s, ids_s, weights_s, 3, k, o, columns, width)
                    message_b = _sliced(values_b, ids_b, weights_b, 6, k, o, columns, width)
                    logit = logit + message_s * gain_s + message_b * gain_b
                top = maximum(top, logit)
                store(scratch, o, logit)
            peak = highest(top)
            weight = full(f32(0), width)
            for o in range(0, columns, width):
                e = exp(load(scratch, o, width) - peak)
                weight = weight + e * load(equals, o, width)
                store(scratch, o, e)
            share = f32(1) / total(weight)
            for o in range(0, columns, width):
                e = load(scratch, o, width) * share
                if last:
                    store(q, k * columns + o, e)
                else:
                    _splat(sums_s, ids_s, weights_s, 3, k, o, columns, width, e)
                    _splat(sums_b, ids_b, weights_b, 6, k, o, columns, width, e)

    return pixels


@lru_cache
def _blur(width: int) -> Any:
    """Return the compiled pass over the vertices for vectors of `width` labels."""

    @compiled
    def blur(neighbours, sums, old, new, columns):
        """Add up the threads' sums and blur along every axis; return the result and the spare array."""
        half = f32(0.5)
        for i in range(0, old.size, width):
            value = load(sums[0], i, width)
            for t in range(1, sums.shape[0]):
                value = value + load(sums[t], i, width)
            store(old, i, value)
        for j in range(neighbours.shape[0]):
            for v in range(neighbours.shape[1]):
                a, b, at = neighbours[j, v, 0] * columns, neighbours[j, v, 1] * columns, v * columns
                for o in range(0, columns, width):
                    around = load(old, a + o, width) + load(old, b + o, width)
                    store(new, at + o, load(old, at + o, width) + around * half)
            old, new = new, old
        return old, new

    return blur
