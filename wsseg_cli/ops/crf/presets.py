"""Parameter sets of the published dense CRFs, by name. Imported where recipes are checked: no torch, no numba."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field, ValidationError

from ...errors import RecipeError
from ...settings import CrfSettings, Settings


class CrfParameters(Settings):
    """Kernels and iterations of a fully connected CRF (Krähenbühl & Koltun 2011, eq. 3)."""

    gaussian_weight: float = Field(3.0, ge=0, description="weight of the smoothness kernel; 0 leaves it out")
    gaussian_sxy: float = Field(3.0, gt=0, description="width of the smoothness kernel in pixels")
    bilateral_weight: float = Field(10.0, ge=0, description="weight of the appearance kernel; 0 leaves it out")
    bilateral_sxy: float = Field(80.0, gt=0, description="spatial width of the appearance kernel in pixels")
    bilateral_srgb: float = Field(13.0, gt=0, description="colour width of the appearance kernel, 0..255")
    iterations: int = Field(10, ge=0, description="mean-field steps")
    feature_order: Literal["xy", "yx"] = Field("xy", description="order of the spatial features; moves the lattice")
    unary: Literal["scores", "softmax", "labels"] = Field(
        "scores", description="energies from scores, from their softmax, or from hard labels"
    )
    certainty: float = Field(0.7, gt=0, lt=1, description="probability that a hard label is right")
    clip: float = Field(1e-5, gt=0, le=1, description="lowest probability of a score")


PRESETS: dict[str, CrfParameters] = {
    "psa": CrfParameters(),
    "irn": CrfParameters(bilateral_sxy=50.0, bilateral_srgb=5.0, unary="labels"),
    "ppc": CrfParameters(feature_order="yx", unary="labels"),
    "deeplab": CrfParameters(gaussian_sxy=1.0, bilateral_weight=4.0, bilateral_sxy=67.0, bilateral_srgb=3.0),
    "deeplab_vgg16_v1": CrfParameters(bilateral_weight=4.0, bilateral_sxy=121.0, bilateral_srgb=5.0),
    "deeplab_vgg16_v2": CrfParameters(
        gaussian_weight=2.0, gaussian_sxy=2.0, bilateral_weight=4.0, bilateral_sxy=65.0, bilateral_srgb=3.0
    ),
    "seam_seg": CrfParameters(bilateral_sxy=32.0, iterations=1),
    "toco": CrfParameters(
        gaussian_weight=1.0, gaussian_sxy=1.0, bilateral_weight=4.0, bilateral_sxy=121.0, bilateral_srgb=5.0
    ),
    "toco_cam": CrfParameters(bilateral_weight=4.0, bilateral_sxy=36.0, bilateral_srgb=3.0, unary="softmax"),
}
"""psa: PSA, SEAM, EPS, SC-CAM, single stage. irn: IRN, PuzzleCAM, PPC's masks. ppc: PPC before AffinityNet.
deeplab: DeepLabv2-ResNet101, RecurSeed, EPS in its comparisons. The VGG16 pair and seam_seg: test-time segmentation.
toco: ToCo's test-time segmentation. toco_cam: its masks from score maps, which enter as a softmax of their values."""


def crf_parameters(preset: str | CrfSettings | CrfParameters = "psa", **values: Any) -> CrfParameters:
    """Return the parameters of a preset with `values` overriding it; None keeps the preset's value.

    preset: a name of `PRESETS`, the CRF section of a recipe, of which kernels and iterations are read, or parameters.

    Raises:
        RecipeError: there is no such preset, or a value is out of range.
    """
    if isinstance(preset, CrfSettings):
        section = preset.model_dump(include=set(CrfParameters.model_fields), exclude_none=True)
        return crf_parameters(preset.preset, **{**section, **values})
    if not isinstance(preset, CrfParameters) and preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"unknown CRF preset {preset!r}{hint} (there are {', '.join(PRESETS)})")
    given = {name: value for name, value in values.items() if value is not None}
    base = preset if isinstance(preset, CrfParameters) else PRESETS[preset]
    try:
        return CrfParameters.model_validate({**base.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"CRF value {name} = {first['input']!r}: {first['msg']}") from None
