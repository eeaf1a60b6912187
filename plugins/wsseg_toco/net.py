"""The network: a plain transformer with two classifiers, a segmentation head, and heads of its class token.

Modules have the published names, except for the encoder, which is `backbone` with timm's names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsseg_cli.ops.cam import class_activation_maps
from wsseg_cli.plugin import Backbone, Normalization, RecipeError


class Seen(NamedTuple):
    """The encoder's outputs for images.

    Attributes:
        token: (N, D), the class token after the final norm.
        final: (N, D, h, w), the patch tokens after the final norm.
        middle: (N, D, h, w), the patch tokens of an earlier block, not normalised.
    """

    token: Tensor
    final: Tensor
    middle: Tensor


class ToCoNet(nn.Module):
    """A transformer that classifies, localises and segments (Ru et al., CVPR 2023).

    Args:
        backbone: a plain transformer of timm.
        num_classes: C, without background.
        aux_layer: block of the auxiliary classifier, counted from the end if negative.
        projection: hidden width, bottleneck and outputs of the head of class tokens.

    Raises:
        RecipeError: the backbone is not such a transformer, or has no such block.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        aux_layer: int = -3,
        projection: tuple[int, int, int] = (2048, 256, 1024),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        vit = self._vit
        require_plain(vit)
        depth = len(vit.blocks)
        if not -depth <= aux_layer < depth:
            raise RecipeError(f"aux_layer {aux_layer}: the backbone has {depth} blocks")
        self.aux_block = aux_layer % depth
        vit.pos_embed.requires_grad_(False)
        width = int(vit.embed_dim)
        self.classifier = nn.Conv2d(width, num_classes, 1, bias=False)
        self.aux_classifier = nn.Conv2d(width, num_classes, 1, bias=False)
        self.decoder = LargeFOV(width, 1 + num_classes)
        self.proj_head = ProjectionHead(width, *projection)
        self.proj_head_t = ProjectionHead(width, *projection)
        self.proj_head_t.load_state_dict(self.proj_head.state_dict())
        self.proj_head_t.requires_grad_(False)

    @property
    def _vit(self) -> Any:
        return getattr(self.backbone, "model", None)

    @property
    def normalization(self) -> Normalization:
        """How the backbone expects its pixels."""
        return self.backbone.normalization

    @property
    def patch(self) -> int:
        """Side of a token in pixels."""
        return self.backbone.stride

    def forward(self, images: Tensor) -> Seen:
        """Return class token and patch tokens of images (N, 3, H, W), normalised.

        Rows and columns at the right and bottom that do not fill a patch are left out, as published; images smaller
        than a patch are padded with zeros.
        """
        vit = self._vit
        if not torch.compiler.is_compiling():  # an export takes any size except these
            images = self._filled_up(images)
        height, width = (side // self.patch for side in images.shape[-2:])
        tokens = vit.patch_embed(images[..., : height * self.patch, : width * self.patch]).flatten(1, -2)
        tokens = torch.cat([vit.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1)
        tokens = vit.norm_pre(tokens + resized_positions(vit.pos_embed, (height, width)))
        middle = tokens
        for number, block in enumerate(vit.blocks):
            tokens = block(tokens)
            if number == self.aux_block:
                middle = tokens
        tokens = vit.norm(tokens)
        if self.aux_block == len(vit.blocks) - 1:
            middle = tokens
        maps = [part[:, 1:].transpose(1, 2).unflatten(2, (height, width)) for part in (tokens, middle)]
        return Seen(tokens[:, 0], *maps)

    def _filled_up(self, images: Tensor) -> Tensor:
        below, beside = (max(self.patch - side, 0) for side in images.shape[-2:])
        return F.pad(images, (0, beside, 0, below)) if below or beside else images

    def class_logits(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return both classifiers' scores (N, C) before a sigmoid: channels of the maps pooled by their maximum."""
        pooled = ((seen.final, self.classifier), (seen.middle, self.aux_classifier))
        final, middle = (layer(maps.amax((2, 3), keepdim=True)).flatten(1) for maps, layer in pooled)
        return final, middle

    def raw_cams(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Return both classifiers at every token, (N, C, h, w) each, not rectified."""
        final = class_activation_maps(seen.final, self.classifier.weight)
        return final, class_activation_maps(seen.middle, self.aux_classifier.weight)


def require_plain(vit: Any) -> None:
    """Check that a network of timm is a transformer whose class token and patches have learnt positions.

    Raises:
        RecipeError: it is not such a transformer.
    """
    plain = all(getattr(vit, part, None) is not None for part in ("cls_token", "pos_embed", "blocks", "norm"))
    side = round((vit.pos_embed.shape[1] - 1) ** 0.5) if plain else 0
    if not plain or vit.num_prefix_tokens != 1 or 1 + side * side != vit.pos_embed.shape[1]:
        raise RecipeError(
            "backbone: toco needs a plain transformer of timm with one class token and learnt positions on a square, "
            "such as timm/vit_base_patch16_224 or timm/deit_base_patch16_224"
        )


def resized_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return position embeddings (1, 1 + g * g, D) on another grid, (1, 1 + h * w, D).

    The class token's stays; the others are resized bicubically with half-pixel centres and without antialiasing, as
    published. timm's own resizing is antialiased and gives other numbers.
    """
    side = round((positions.shape[1] - 1) ** 0.5)
    square = positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    square = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], square.flatten(2).transpose(1, 2)], 1)


class LargeFOV(nn.Module):
    """Two dilated 3x3 convolutions and a linear layer, without biases (Chen et al., arXiv 1412.7062)."""

    def __init__(self, inside: int, outside: int, width: int = 512, dilation: int = 5) -> None:
        super().__init__()
        self.conv6 = nn.Conv2d(inside, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv7 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.conv8 = nn.Conv2d(width, outside, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (N, 1+C, h, w), background first, of patch tokens (N, D, h, w)."""
        logits: Tensor = self.conv8(F.relu(self.conv7(F.relu(self.conv6(maps)))))
        return logits


class ProjectionHead(nn.Module):
    """Three linear layers, a unit vector, and directions that it is compared with (as in DINO, without its norms)."""

    def __init__(self, inside: int, hidden: int, bottleneck: int, outside: int) -> None:
        super().__init__()
        layers: Sequence[nn.Module] = (
            nn.Linear(inside, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.mlp = nn.Sequential(*layers)
        self.last_layer = Directions(bottleneck, outside)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, outputs), each in [-1, 1], of class tokens (N, D)."""
        projected: Tensor = self.last_layer(F.normalize(self.mlp(tokens), dim=-1))
        return projected


class Directions(nn.Module):
    """A linear layer whose rows have length g, which is 1 and does not learn (weight normalisation)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outside, 1), requires_grad=False)
        self.weight_v = nn.Parameter(nn.Linear(inside, outside, bias=False).weight.detach().clone())

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the products (N, outputs) of vectors (N, bottleneck) with the directions."""
        return F.linear(vectors, self.weight_g * self.weight_v / self.weight_v.norm(dim=1, keepdim=True))


class Enlarged(nn.Module):
    """The segmentation network alone, with its logits resized to its input.

    Args:
        model: the whole network.
    """

    def __init__(self, model: ToCoNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1+C, H, W), background first, of normalised images (N, 3, H, W)."""
        logits = self.model.decoder(self.model(images).final)
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
