"""Pixel-adaptive mask refinement as a refiner."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from wsseg_cli.ops.pamr import DILATIONS, pamr
from wsseg_cli.plugin.protocols import Labels, PluginOptions, Refiner
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, ScoreMap

from .classes import kept


class PAMROptions(PluginOptions):
    """Options of PAMR."""

    iterations: int = Field(10, ge=0, description="averages taken one after the other")
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        DILATIONS, min_length=1, description="radii in pixels of the rings of eight neighbours"
    )
    sigma: float = Field(0.1, gt=0, description="width of the colour kernel in local standard deviations")
    stride: int = Field(1, ge=1, description="pixels per cell of the working grid; 4 in the single-stage model")


class PAMR(Refiner[PAMROptions, Any]):
    """Scores drawn to the image's edges by repeated local averages; the map's own background is refined too."""

    paper = "Araslanov and Roth, CVPR 2020, https://arxiv.org/abs/2005.08104"

    def refine(
        self,
        model: Any,
        image: ByteArray,
        labels: Labels,
        coarse: ScoreMap,
        infer: InferSettings,
    ) -> ScoreMap:
        """Return the map refined at image size, or at 1/stride of it.

        Raises:
            DataError: the map does not fit the image.
        """
        coarse = kept(coarse, labels, image)
        rows = list(coarse.scores) if coarse.background is None else [coarse.background, *coarse.scores]
        if not rows:
            return coarse
        options = self.options
        height, width = image.shape[:2]
        grid = (height - 1) // options.stride + 1, (width - 1) // options.stride + 1
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None] / 255
        if grid != (height, width):
            pixels = F.interpolate(pixels, grid, mode="bilinear", align_corners=True)
        masks = torch.from_numpy(np.stack(rows).astype(np.float32))[None]
        refined = pamr(pixels, masks, iterations=options.iterations, dilations=options.dilations, sigma=options.sigma)[
            0
        ].numpy()
        if coarse.background is None:
            return replace(coarse, scores=refined)
        return replace(coarse, scores=refined[1:], background=refined[0])
