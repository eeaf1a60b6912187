"""Options of token contrast; the defaults are the published ones for VOC."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from wsseg_cli.ops.pamr import DILATIONS
from wsseg_cli.plugin import Count, NetworkOptions, Positive, PositiveShare


class ToCoOptions(NetworkOptions):
    """Options of ToCo."""

    backbone: str = Field(
        "timm/vit_base_patch16_224", description="plain transformer of timm with one class token and learnt positions"
    )
    backbone_options: dict[str, Any] = Field(
        {"normalization": "imagenet"}, description="options of the backbone; published: {normalization: imagenet}"
    )
    aux_layer: int = Field(-3, description="block that the auxiliary classifier reads, from the end if negative")
    projection: tuple[Count, Count, Count] = Field(
        (2048, 256, 1024), description="head of class tokens: hidden width, bottleneck, outputs"
    )
    head_lr_multiplier: float = Field(10.0, ge=0, description="learning rate of everything but the backbone")
    view2_area: tuple[PositiveShare, PositiveShare] = Field((0.4, 1.0), description="area of the second global view")
    local_size: int = Field(96, ge=2, description="side of a local crop in pixels")
    local_crops: int = Field(8, ge=1, description="local crops per image")
    negative_share: float = Field(
        0.2, ge=0, description="a crop is negative up to this mean of its region map, which is 0, 1 or 2 per pixel"
    )
    cam_scales: tuple[Positive, ...] = Field(
        (1.0, 0.5, 1.5), min_length=1, description="sizes of the views of the maps in training; 1 is always among them"
    )
    high: float = Field(0.7, ge=0, le=1, description="normalised maps: a class above this")
    low: float = Field(0.25, ge=0, le=1, description="background up to this; uncertain in between")
    temperature: float = Field(0.5, gt=0, description="of the class token contrast; 1.0 on COCO")
    teacher_momentum: float = Field(0.9, ge=0, le=1, description="of the teacher's head")
    ptc_weight: float = Field(0.2, ge=0, description="weight of the patch token contrast")
    ctc_weight: float = Field(0.5, ge=0, description="weight of the class token contrast")
    seg_weight: float = Field(0.1, ge=0, description="weight of the segmentation loss")
    reg_weight: float = Field(0.05, ge=0, description="weight of the dense energy loss")
    seg_after: int = Field(2000, ge=-1, description="last step with weight 0 of the two losses of masks; -1: none")
    contrast_after: int = Field(-1, ge=-1, description="the same for the two contrasts; 12000 on COCO")
    final_after: int = Field(
        -1, ge=-1, description="last step whose masks come from the auxiliary maps, then the final ones; 12000 on COCO"
    )
    images_per_group: int | None = Field(
        None,
        ge=1,
        description="images over whose pixels ptc and seg are averaged; 2 (one GPU's) as published; null: all",
    )
    token_box: Literal["pixels", "scaled"] = Field(
        "pixels", description="the crop's box on the grid of tokens: in pixels as published, or divided by their side"
    )
    flip_box: bool = Field(False, description="flip the crop's box with the input; published: false")
    same_flip: bool = Field(
        False, description="local crops come from an image flipped like the input; published: false"
    )
    par_dilations: tuple[Count, ...] = Field(
        DILATIONS, min_length=1, description="radii in pixels of PAR's rings, at half the size of the crop"
    )
    par_iterations: int = Field(10, ge=0, description="averages of PAR taken one after the other")
    energy_weight: float = Field(1e-7, ge=0, description="factor of the dense energy, before reg_weight")
    energy_srgb: float = Field(15.0, gt=0, description="colour width of the dense energy, 0..255")
    energy_sxy: float = Field(100.0, gt=0, description="spatial width of the dense energy in pixels of the crop")
    maps: Literal["cam", "segmentation"] = Field(
        "cam", description="what score maps are: class activation maps, or the segmentation's softmax"
    )
    class_threshold: float = Field(0.5, ge=0, le=1, description="score from which a class counts as predicted")
    flip_merge: Literal["sum", "max"] = Field("sum", description="logits of a view and its flip; max on COCO")
    scale_merge: Literal["max", "sum"] = Field("max", description="logits of the scales; sum on COCO")
    test_size: int | None = Field(
        None, ge=1, description="side of the square that images are resized to for segmentation; 448 on COCO; null: own"
    )

    @model_validator(mode="after")
    def _in_order(self) -> ToCoOptions:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        if self.view2_area[0] > self.view2_area[1]:
            raise ValueError(f"view2_area: {list(self.view2_area)} is not [smallest, largest]")
        return self
