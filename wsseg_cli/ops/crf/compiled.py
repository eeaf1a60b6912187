"""Decorators of compiled functions, which release the GIL and cache machine code on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])

inlined: Any = numba.njit(inline="always")
"""Decorator of a function that becomes part of the compiled functions that call it; constants stay constants there."""


def compiled(function: F) -> F:
    """Return `function` compiled by numba at its first call.

    The rules for NaN and infinity hold; only contraction and the sign of zero are relaxed.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"contract", "arcp", "nsz"},
        "error_model": "numpy",
    }
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that numba may write to: compile again in every process
        return cast(F, numba.njit(**options)(function))
