"""The functions of `lanes` as plain loops over small arrays: for a numba whose internals `lanes` does not know.

Several times slower, with the same results to the last digits.
"""

from __future__ import annotations

import numpy as np

from .compiled import inlined


@inlined
def load(array, index, width):
    """Return array[index : index + width] of a flat float32 array."""
    return array[index : index + width].copy()


@inlined
def store(array, index, value):
    """Write a vector to array[index : index + width] of a flat float32 array."""
    for lane in range(value.size):
        array[index + lane] = value[lane]


@inlined
def full(number, width):
    """Return a vector of `width` times the same float32."""
    return np.full(width, number, np.float32)


@inlined
def less(a, b):
    """Return 1 where a < b, else 0."""
    return (a < b).astype(np.float32)


@inlined
def maximum(a, b):
    """Return the larger numbers of two vectors."""
    return np.maximum(a, b)


@inlined
def nearest(a):
    """Return the nearest integers, half to even."""
    return np.rint(a)


@inlined
def total(a):
    """Return the sum of a vector's numbers."""
    sum_ = np.float32(0)
    for lane in range(a.size):
        sum_ += a[lane]
    return sum_


@inlined
def highest(a):
    """Return the largest of a vector's numbers."""
    return a.max()


@inlined
def exp(a):
    """Return e**a for a <= 0, and 0 below -70 as `lanes` does."""
    return np.where(a > np.float32(-70), np.exp(a), np.float32(0))
