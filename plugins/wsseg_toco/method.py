"""Token contrast as a method that is its own segmentation network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsseg_cli.ops.masks import probabilities
from wsseg_cli.plugin import (
    AugmentSettings,
    Batch,
    ByteArray,
    FloatArray,
    InferSettings,
    Labels,
    Losses,
    Method,
    OptimSettings,
    ParamGroups,
    Predictor,
    Progress,
    Requirements,
    ScoreMap,
    Transform,
    multilabel_soft_margin,
)

from .augment import ToCoTransform
from .infer import class_maps, merged_logits
from .labels import inside, local_crops, refined_labels, region_map, uncertain_labels
from .loss import affinity, class_contrast, dense_energy, mask_loss, patch_contrast
from .net import Enlarged, Seen, ToCoNet
from .options import ToCoOptions
from .par import par


class ToCo(Method[ToCoOptions, ToCoNet], Predictor[ToCoOptions, ToCoNet]):
    """Token contrast: patch tokens follow relations in an earlier layer's maps, class tokens avoid background."""

    paper = "Ru, Zheng, Zhan and Du, CVPR 2023, https://arxiv.org/abs/2303.01267"

    @classmethod
    def requirements(cls, options: ToCoOptions) -> Requirements:
        """Return what it asks for: a transformer, whose tokens it takes by itself."""
        return Requirements(feature_maps=frozenset({"conv6"}))

    def build_model(self) -> ToCoNet:
        """Return the network.

        Raises:
            RecipeError: the backbone is not a plain transformer of timm, or has no block `aux_layer`.
        """
        o = self.options
        return ToCoNet(self.backbone(), len(self.classes), aux_layer=o.aux_layer, projection=o.projection)

    def param_groups(self, model: ToCoNet, optim: OptimSettings) -> ParamGroups:
        """Return the published groups: encoder, its norms, classifiers and the student's head, decoder."""
        inside = list(model.backbone.named_parameters())
        heads = nn.ModuleList([model.classifier, model.aux_classifier, model.proj_head])
        faster = optim.lr * self.options.head_lr_multiplier
        return [
            {"params": [p for name, p in inside if "norm" not in name]},
            {"params": [p for name, p in inside if "norm" in name]},
            {"params": list(heads.parameters()), "lr": faster},
            {"params": list(model.decoder.parameters()), "lr": faster},
        ]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the published augmentation: image, view2 and local (3, S, S), box (4,) and label.

        Raises:
            RecipeError: `augment` does not fit it.
        """
        return ToCoTransform(augment, self.options, self.normalization)

    def training_step(self, model: ToCoNet, batch: Batch, progress: Progress) -> Losses:
        """Return the six weighted losses; one that is not due yet has weight 0 and gradients of zeros, as published."""
        o = self.options
        images, labels, boxes = batch["image"], batch["label"], batch["box"]
        maps, middle_maps = (part * labels[:, :, None, None] for part in self.class_maps(model, images))
        crops, positive = self.local_crops(batch["local"], self.region_map(middle_maps))
        masks = self.refined_labels(maps if progress.step > o.final_after else middle_maps, batch)
        seen = model(images)
        final, middle = model.class_logits(seen)
        tokens = [seen.token, model(batch["view2"]).token, model(crops.flatten(0, 1)).token]
        student, teacher = self.projections(model, torch.cat(tokens), len(images))
        pairs = affinity(self.token_labels(middle_maps, boxes, seen))
        logits = model.decoder(seen.final).float()
        logits = F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
        contrast, segment = progress.step > o.contrast_after, progress.step > o.seg_after
        return {
            "cls": multilabel_soft_margin(final, labels),
            "cls_aux": multilabel_soft_margin(middle, labels),
            "ptc": o.ptc_weight * contrast * self.by_group(patch_contrast, seen.final, pairs),
            "ctc": o.ctc_weight * contrast * class_contrast(student, teacher, positive, o.temperature),
            "seg": o.seg_weight * segment * self.by_group(mask_loss, logits, masks),
            "reg": o.reg_weight * segment * self.energy(logits.softmax(1), images, masks, boxes),
        }

    def class_maps(self, model: ToCoNet, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised maps (N, C, H, W) of both classifiers in training, of all classes."""
        return class_maps(lambda views: model.raw_cams(model(views)), images, self.options.cam_scales)

    def region_map(self, maps: Tensor) -> Tensor:
        """Return background 0, uncertain 1 and object 2 of the image's maps, (N, H, W)."""
        return region_map(maps, low=self.options.low, high=self.options.high)

    def local_crops(self, sources: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return local crops (M, N, 3, s, s), and of all views (N, 2 + M) which are positive; the global ones are."""
        o = self.options
        crops, positive = local_crops(
            sources,
            regions,
            size=o.local_size,
            count=o.local_crops,
            negative_share=o.negative_share,
            permutation=self.permutation,
        )
        return crops, torch.cat([positive.new_ones(len(sources), 2), positive], 1)

    def permutation(self, count: int) -> Tensor:
        """Return a random order of `count` pixels."""
        return torch.randperm(count)

    def token_labels(self, maps: Tensor, boxes: Tensor, seen: Seen) -> Tensor:
        """Return the labels of the tokens (N, h, w): 0, class + 1, or 255."""
        o = self.options
        grid = seen.final.shape[-2:]
        if o.token_box == "scaled":
            # a token counts if it lies entirely in the box
            sides = boxes.new_tensor([maps.shape[2] / grid[0]] * 2 + [maps.shape[3] / grid[1]] * 2, dtype=torch.float32)
            boxes = torch.where(boxes.new_tensor([1, 0, 1, 0]) > 0, (boxes / sides).ceil(), (boxes / sides).floor())
        small = F.interpolate(maps, grid, mode="bilinear", align_corners=False)
        return uncertain_labels(small, boxes, low=o.low, high=o.high)

    @torch.no_grad()
    def refined_labels(self, maps: Tensor, batch: Batch) -> Tensor:
        """Return the masks (N, H, W) that the segmentation head learns from; the colours are those of the input."""
        o = self.options
        pictures = self.normalization.invert(batch["image"].float()).round() / 255
        return refined_labels(maps, batch["label"], batch["box"], pictures, low=o.low, high=o.high, par=self.par)

    def par(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return masks (N, K, H, W) refined by images (N, 3, H, W) in [0, 1]."""
        return par(images, masks, iterations=self.options.par_iterations, dilations=self.options.par_dilations)

    def projections(self, model: ToCoNet, tokens: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """Return the student's outputs for all class tokens, view by view, the teacher's for the two global views."""
        with torch.no_grad():
            teacher = model.proj_head_t(tokens[: 2 * images].detach())
        return model.proj_head(tokens), teacher

    def energy(self, probabilities: Tensor, images: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
        """Return the dense energy of probabilities (N, 1+C, H, W)."""
        o = self.options
        return dense_energy(
            probabilities,
            self.normalization.invert(images.float()),
            masks,
            inside(boxes, (int(images.shape[2]), int(images.shape[3]))),
            weight=o.energy_weight,
            sxy=o.energy_sxy,
            srgb=o.energy_srgb,
        )

    def by_group(self, loss: Callable[[Tensor, Tensor], Tensor], *given: Tensor) -> Tensor:
        """Return the mean of a loss over groups of images, each a GPU's share as published."""
        size = self.options.images_per_group or len(given[0])
        return torch.stack([loss(*part) for part in zip(*(g.split(size) for g in given), strict=True)]).mean()

    @torch.no_grad()
    def after_step(self, model: ToCoNet, progress: Progress) -> None:
        """Move the teacher's head towards the student's: before each step but the first, in effect."""
        pairs = zip(model.proj_head_t.parameters(), model.proj_head.parameters(), strict=True)
        for ours, theirs in pairs:
            ours.mul_(self.options.teacher_momentum).add_(theirs, alpha=1 - self.options.teacher_momentum)

    def network(self, model: ToCoNet) -> nn.Module:
        """Return the segmentation network with its logits at the size of its input."""
        return Enlarged(model)

    def logits(self, model: ToCoNet, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the class scores (1+C, H, W) merged over views by `flip_merge`, then by `scale_merge`."""
        o = self.options
        pixels = self._pixels(model, image)
        if o.test_size is not None:
            pixels = F.interpolate(pixels, (o.test_size, o.test_size), mode="bilinear", align_corners=False)
        return (
            merged_logits(
                self._segments(model),
                pixels,
                (int(image.shape[0]), int(image.shape[1])),
                infer.scales,
                flip=infer.flip,
                flip_merge=o.flip_merge,
                scale_merge=o.scale_merge,
            )
            .cpu()
            .numpy()
        )

    def scores(self, model: ToCoNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the maps of the image's (or the predicted) classes: final class activation maps, or the segmentation.

        Those of the segmentation are the softmax of logits merged by maximum over flips and by sum over scales.
        """
        size = (int(image.shape[0]), int(image.shape[1]))
        pixels = self._pixels(model, image)
        if labels is None:
            final, _ = model.class_logits(model(pixels))
            labels = tuple((final[0].sigmoid() >= self.options.class_threshold).nonzero()[:, 0].tolist())
        if not labels:
            return ScoreMap("", np.zeros(0, np.int64), np.zeros((0, *size), np.float32), size)
        classes = np.array(sorted(labels), np.int64)
        if self.options.maps == "cam":
            maps = class_maps(lambda v: model.raw_cams(model(v)), pixels, infer.scales, infer.flip)[0][0].cpu().numpy()
            return ScoreMap("", classes, maps[classes], size)
        merged = merged_logits(
            self._segments(model), pixels, size, infer.scales, flip=infer.flip, flip_merge="max", scale_merge="sum"
        )
        return ScoreMap("", classes, probabilities(merged.cpu().numpy())[classes + 1], size)

    def _pixels(self, model: ToCoNet, image: ByteArray) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(self.normalization.apply(image).transpose(2, 0, 1)))
        return pixels[None].to(model.classifier.weight.device)

    @staticmethod
    def _segments(model: ToCoNet) -> Callable[[Tensor], Tensor]:
        return lambda views: model.decoder(model(views).final)
