"""The dense CRF as a refiner: score maps in, marginals out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from wsseg_cli.errors import RecipeError
from wsseg_cli.ops.crf import crf_parameters, dense_crf, labels_of
from wsseg_cli.ops.masks import present_values
from wsseg_cli.plugin.protocols import Labels, PluginOptions, Refiner
from wsseg_cli.settings import CrfSettings, InferSettings
from wsseg_cli.types import ByteArray, ScoreMap

from .classes import kept


class CRFOptions(PluginOptions):
    """Options of the dense CRF."""

    crf: CrfSettings = Field(CrfSettings(), description="preset, or {preset: psa, iterations: 5, …}")
    power: float | None = Field(None, gt=0, description="background (1 - highest score) ** power, PSA's alpha")
    threshold: float | None = Field(None, ge=0, le=1, description="constant background score")
    count: Literal["present", "all"] = Field(
        "present", description="labels that hard-label energies count: those of the image, or of the data set as in PPC"
    )

    @model_validator(mode="after")
    def _one_background(self) -> CRFOptions:
        try:
            crf_parameters(self.crf)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        if self.power is not None and self.threshold is not None:
            raise ValueError("give one of power and threshold; with neither, maps need a background of their own")
        return self


class CRF(Refiner[CRFOptions, Any]):
    """Fully connected CRF; the refined map has a background of its own, the marginal of the background."""

    paper = "Krähenbühl and Koltun, NeurIPS 2011, https://arxiv.org/abs/1210.5644"

    def refine(
        self,
        model: Any,
        image: ByteArray,
        labels: Labels,
        coarse: ScoreMap,
        infer: InferSettings,
    ) -> ScoreMap:
        """Return the marginals of the kept classes and of the background at image size.

        Raises:
            DataError: the map has no background, or does not fit the image.
        """
        coarse = kept(coarse, labels, image)
        height, width = coarse.size
        if len(coarse.classes) == 0:
            nothing = np.zeros((0, height, width), np.float32)
            return ScoreMap(coarse.image_id, coarse.classes, nothing, coarse.size, np.ones((height, width), np.float32))
        scores = coarse.full(self.options.threshold, power=self.options.power)
        section = self.options.crf
        device = _torch_device() if section.backend == "torch" else "cpu"
        if crf_parameters(section).unary == "labels" and self.options.count == "all":
            values, count = present_values(coarse.classes), len(self.classes.with_background)
            q = dense_crf(image, values[labels_of(scores)], section, labels=count, device=device)[values]
        else:
            q = dense_crf(image, scores, section, device=device)
        return ScoreMap(coarse.image_id, coarse.classes, q[1:], coarse.size, q[0])


def _torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
