"""Short float32 vectors inside compiled functions: registers where the installed numba allows it, else plain loops.

`lanes` is written against internals of numba that may change with any release. Whatever goes wrong with it, at import
or when the first function is compiled, the dense CRF falls back to loops.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from . import plain_lanes
from .compiled import compiled


def _try(module: ModuleType) -> None:
    """Compile and call a function that uses the vectors of a module.

    Raises:
        Exception: of any kind, if the installed numba does not support it.
    """
    load, store, full, less, nearest = module.load, module.store, module.full, module.less, module.nearest
    maximum, highest, total, exp = module.maximum, module.highest, module.total, module.exp

    @compiled
    def probe(array):
        a = maximum(load(array, 0, 4) * np.float32(2) - full(np.float32(4), 4), full(np.float32(-9), 4))
        store(array, 0, nearest(a) + less(a, full(np.float32(-3), 4)))
        return highest(a) + total(exp(a - highest(a)))

    array = np.arange(4, dtype=np.float32)
    value = probe(array)
    expected = 2 + sum(np.exp(np.arange(-6, 1, 2)))
    if array.tolist() != [-3, -2, 0, 2] or abs(value - expected) > 1e-3:
        raise ArithmeticError(f"vectors of {module.__name__} give {array.tolist()} and {value}")


def _chosen() -> Any:
    try:
        from . import lanes

        _try(lanes)
    except Exception:
        return plain_lanes
    return lanes


chosen = _chosen()
"""The module whose vectors are used: `lanes` or `plain_lanes`."""

load, store, full, less, nearest = chosen.load, chosen.store, chosen.full, chosen.less, chosen.nearest
maximum, highest, total, exp = chosen.maximum, chosen.highest, chosen.total, chosen.exp
