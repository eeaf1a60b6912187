"""OpenCV itself, for recipes that ask for it: the resizing and the colour shift that numpy emulates elsewhere.

A result never depends on whether the package is installed. The recipe says which one computes, `augment.opencv:
emulated` or `library`; without the package, a recipe that asks for the library is refused.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..types import ByteArray

OpenCV = Literal["emulated", "library"]
"""What computes: numpy, with the same bits on every machine, or the package opencv-python-headless."""

MISSING = "opencv: library needs the package: pip install 'wsseg[opencv]'"


def cv2() -> Any:
    """Return the module cv2, which then computes in one thread as every loader worker does.

    Raises:
        RecipeError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise RecipeError(MISSING) from None
    cv2.setNumThreads(1)
    return cv2


def version(by: OpenCV) -> dict[str, str]:
    """Return what a model file says about the OpenCV that its training used; {} if numpy computed."""
    return {"opencv": cv2().__version__} if by == "library" else {}


def resize(
    array: npt.NDArray[Any], size: tuple[int, int], kernel: Literal["cubic", "linear"], factor: float | None = None
) -> npt.NDArray[Any]:
    """Return a uint8 or float32 array (H, W) or (H, W, D) at `size` (H, W).

    factor: the requested factor, from which OpenCV derives its step; see `resize.opencv_resize`.

    Raises:
        RecipeError: OpenCV is not installed.
    """
    library = cv2()
    interpolation = library.INTER_CUBIC if kernel == "cubic" else library.INTER_LINEAR
    if factor is None:
        resized = library.resize(array, (size[1], size[0]), interpolation=interpolation)
    else:
        resized = library.resize(array, None, fx=factor, fy=factor, interpolation=interpolation)
    return np.asarray(resized)


def hsv_shift(image: ByteArray, hue: int, saturation: int, value: int) -> ByteArray:
    """Return image (H, W, 3) uint8 RGB with hue (half degrees), saturation and value (levels) shifted.

    Raises:
        RecipeError: OpenCV is not installed.
    """
    library = cv2()
    hsv = library.cvtColor(np.ascontiguousarray(image), library.COLOR_RGB2HSV).astype(np.int64)
    shifted = np.clip(hsv + np.array([0, saturation, value]), 0, 255)
    shifted[..., 0] = (hsv[..., 0] + hue) % 180
    return np.asarray(library.cvtColor(shifted.astype(np.uint8), library.COLOR_HSV2RGB))
