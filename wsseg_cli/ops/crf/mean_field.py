"""Mean-field inference of a dense CRF on the CPU: all labels of a pixel filtered together, one pass over the pixels a step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...types import FloatArray
from .compiled import compiled
from .lattice import Lattice

f32 = np.float32


def mean_field(
    minus_unary: FloatArray,
    copies: FloatArray,
    smooth: Lattice,
    bilateral: Lattice,
    weights: tuple[float, float],
    iterations: int,
) -> FloatArray:
    """Return the marginals after parallel mean-field steps (Krähenbühl & Koltun 2011, algorithm 1).

    minus_unary: (N, c) float32. copies: (c,) float32, how many equal labels each row stands for.
    Returns (N, c) float32.
    """
    n, c = minus_unary.shape
    old = [np.zeros((lattice.vertices + 1, c), f32) for lattice in (smooth, bilateral)]
    new = [np.zeros_like(values) for values in old]
    q = np.empty((n, c), f32)
    for step in range(iterations + 1):
        gains = weights if step else (0.0, 0.0)
        _pixels(
            minus_unary,
            copies,
            (smooth.ids, smooth.weights, old[0], new[0]),
            (bilateral.ids, bilateral.weights, old[1], new[1]),
            np.asarray(gains, f32),
            q,
        )
        for k, lattice in enumerate((smooth, bilateral)):
            old[k], new[k] = _blur(lattice.neighbours, new[k], old[k])
    return q


@compiled
def _pixels(minus_unary, copies, smooth, bilateral, gains, q):  # type: ignore[no-untyped-def]
    """Slice the messages, take the softmax into q, and splat it for the next step."""
    ids_s, weights_s, old_s, new_s = smooth
    ids_b, weights_b, old_b, new_b = bilateral
    n, c = minus_unary.shape
    gain_s, gain_b = gains
    new_s[:] = f32(0)
    new_b[:] = f32(0)
    logits = np.empty(c, np.float32)
    for k in range(n):
        for i in range(c):
            logits[i] = minus_unary[k, i]
        for r in range(3):
            w = weights_s[k, r] * gain_s
            row = old_s[ids_s[k, r]]
            for i in range(c):
                logits[i] += w * row[i]
        for r in range(6):
            w = weights_b[k, r] * gain_b
            row = old_b[ids_b[k, r]]
            for i in range(c):
                logits[i] += w * row[i]
        top = logits[0]
        for i in range(1, c):
            top = max(top, logits[i])
        total = f32(0)
        for i in range(c):
            e = np.exp(logits[i] - top)
            logits[i] = e
            total += copies[i] * e
        inverse = f32(1) / total
        for i in range(c):
            logits[i] *= inverse
            q[k, i] = logits[i]
        for r in range(3):
            w = weights_s[k, r]
            row = new_s[ids_s[k, r]]
            for i in range(c):
                row[i] += w * logits[i]
        for r in range(6):
            w = weights_b[k, r]
            row = new_b[ids_b[k, r]]
            for i in range(c):
                row[i] += w * logits[i]


@compiled
def _blur(neighbours, old, new):  # type: ignore[no-untyped-def]
    c = old.shape[1]
    for j in range(neighbours.shape[0]):
        for v in range(neighbours.shape[1]):
            a, b = old[neighbours[j, v, 0]], old[neighbours[j, v, 1]]
            m, o = old[v], new[v]
            for i in range(c):
                o[i] = m[i] + f32(0.5) * (a[i] + b[i])
        old, new = new, old
    return old, new
