"""What one training image becomes: the input, a second global view, and the source of the local crops.

Random values are drawn first and then applied, so that they can also be given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from wsseg_cli.data.transforms import ColorJitter, Crop, CropBox, Jitter, ResizedCrop, color_jitter, window
from wsseg_cli.ops.resize import pillow_resize, resize_image
from wsseg_cli.plugin import Arrays, AugmentSettings, ByteArray, Normalization, RecipeError

from .options import ToCoOptions

JITTERED, GREY = 0.8, 0.2
"""Shares of views that are colour-jittered, and that become grey."""
BLURRED_LOCAL, BLURRED_VIEW2, SOLARIZED_VIEW2 = 0.5, 0.1, 0.2
"""Shares of blurred and solarised views; the input is always blurred and never solarised."""
BLUR = (0.1, 2.0)
"""Radius of Pillow's Gaussian blur in pixels, uniform in this range."""
SOLARIZE_FROM = 128
"""Levels from here up are inverted."""

Rectangle = tuple[int, int, int, int]
"""Top, left, height, width in the original image."""


@dataclass(frozen=True)
class Look:
    """How one view looks: flipped, its jitter (None: none), grey, radius of its blur (0: none), solarised."""

    flipped: bool = False
    jitter: Jitter | None = None
    grey: bool = False
    blur: float = 0.0
    solarized: bool = False

    def of(self, image: ByteArray) -> ByteArray:
        """Return the view (H, W, 3) uint8 of an image of its size."""
        image = image[:, ::-1] if self.flipped else image
        picture = Image.fromarray(color_jitter(image, self.jitter) if self.jitter else np.ascontiguousarray(image))
        if self.grey:
            picture = picture.convert("L").convert("RGB")
        if self.blur:
            picture = picture.filter(ImageFilter.GaussianBlur(self.blur))
        if self.solarized:
            picture = ImageOps.solarize(picture, SOLARIZE_FROM)
        return np.asarray(picture)


@dataclass(frozen=True)
class Drawn:
    """All random values of one image: factor, flip and position of the crop, the looks, the second view's position."""

    ratio: float
    flipped: bool
    crop: CropBox
    image: Look
    local: Look
    view2: Look
    rectangle: Rectangle


class ToCoTransform:
    """The published augmentation, read from a recipe's `augment`: scale_range, interpolation, flip, crop, color_jitter.

    Raises:
        RecipeError: there is no crop, it is too small for local crops, or a key is not part of this augmentation.
    """

    def __init__(self, augment: AugmentSettings, options: ToCoOptions, normalization: Normalization) -> None:
        foreign = [key for key in ("resize_long", "scales", "hsv", "area") if getattr(augment, key)]
        if foreign:
            raise RecipeError(f"toco does not know augment.{foreign[0]}; give scale_range, flip, crop and color_jitter")
        if augment.crop is None or augment.crop <= options.local_size + 1:
            raise RecipeError(
                f"toco cuts local crops of {options.local_size} pixels out of the crop; augment.crop is "
                f"{augment.crop or 'null'}, set it larger, or local_size smaller"
            )
        self.augment, self.options, self.normalization = augment, options, normalization
        self.square = Crop(augment.crop)
        self.jitter = None if augment.color_jitter is None else ColorJitter(*augment.color_jitter)
        self.rectangle = ResizedCrop(augment.crop, options.view2_area, sampler="torchvision")

    def __call__(self, arrays: Arrays, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return image, view2 and local (3, S, S) normalised, box (4,) int64 of the image in the crop, and label."""
        image: ByteArray = arrays["image"]
        drawn = self.draw(rng, (int(image.shape[0]), int(image.shape[1])))
        resized = resize_image(image, self.resized(image.shape[:2], drawn.ratio), self.augment.interpolation)
        crop = window(resized[:, ::-1] if drawn.flipped else resized, drawn.crop, 0)
        top, left, height, width = drawn.rectangle
        second = pillow_resize(np.ascontiguousarray(image[top : top + height, left : left + width]), crop.shape[:2])
        views = {"image": drawn.image.of(crop), "local": drawn.local.of(crop), "view2": drawn.view2.of(second)}
        tensors = {name: self._tensor(view) for name, view in views.items()}
        return tensors | {"box": self._box(drawn), "label": torch.from_numpy(np.array(arrays["label"], np.float32))}

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
        """Return the draws for an image of `size` (H, W)."""
        between = self.augment.scale_range
        ratio = 1.0 if between is None else float(rng.uniform(*between))
        flipped = bool(rng.random() < self.augment.flip)
        crop = self.square.draw(rng, self.resized(size, ratio))
        image = replace(self._look(rng), blur=float(rng.uniform(*BLUR)))
        local, view2 = self._look(rng, BLURRED_LOCAL), self._look(rng, BLURRED_VIEW2, SOLARIZED_VIEW2)
        if self.options.same_flip:
            local = replace(local, flipped=image.flipped)
        return Drawn(ratio, flipped, crop, image, local, view2, self.rectangle.draw(rng, size))

    @staticmethod
    def resized(size: tuple[int, ...], ratio: float) -> tuple[int, int]:
        """Return (H, W) times the ratio, truncated to whole pixels."""
        return max(1, int(ratio * size[0])), max(1, int(ratio * size[1]))

    def _look(self, rng: np.random.Generator, blurred: float = 0.0, solarized: float = 0.0) -> Look:
        jitter = self.jitter.draw(rng, (1, 1)) if self.jitter and rng.random() < JITTERED else None
        return Look(
            flipped=bool(rng.random() < self.augment.flip),
            jitter=jitter,
            grey=bool(rng.random() < GREY),
            blur=float(rng.uniform(*BLUR)) if rng.random() < blurred else 0.0,
            solarized=bool(rng.random() < solarized),
        )

    def _box(self, drawn: Drawn) -> Tensor:
        left, top, right, bottom = drawn.crop.canvas
        if self.options.flip_box and drawn.image.flipped:
            left, right = drawn.crop.side - right, drawn.crop.side - left
        return torch.tensor([top, bottom, left, right])

    def _tensor(self, view: ByteArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.normalization.apply(view).transpose(2, 0, 1)))
