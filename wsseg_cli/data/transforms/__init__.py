"""Joint transforms of an image and its aligned maps: {image, mask, saliency, scores}.

Every random number comes from a generator that is passed in: augmentation is a pure function of (seed, epoch, index).
"""

from .colour import ColorJitter, HsvShift, Jitter, Normalize, color_jitter, hsv_shift
from .crop import Crop, CropBox, ResizedCrop, crop, rectangle_torchvision, rectangle_tv021, window
from .pipelines import (
    PoolScores,
    affinity_transform,
    average_pool,
    classification_transform,
    segmentation_transform,
)
from .scale import Flip, Rescale, ResizeLong, resize
from .step import Arrays, Pipeline, Step, to_tensors

__all__ = [
    "Arrays",
    "ColorJitter",
    "Crop",
    "CropBox",
    "Flip",
    "HsvShift",
    "Jitter",
    "Normalize",
    "Pipeline",
    "PoolScores",
    "Rescale",
    "ResizeLong",
    "ResizedCrop",
    "Step",
    "affinity_transform",
    "average_pool",
    "classification_transform",
    "color_jitter",
    "crop",
    "hsv_shift",
    "rectangle_torchvision",
    "rectangle_tv021",
    "resize",
    "segmentation_transform",
    "to_tensors",
    "window",
]
