"""Any network of timm as a backbone, `timm/NAME`; tensor names are timm's. timm is imported only when needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..errors import CheckpointError
from ..plugin.backbone import Backbone, TokenBackbone, Tokens
from ..plugin.backbone_entry import FEATURE_MAPS, FREEZING_PRESETS, BackboneEntry, BackboneOptions, Freezing
from ..types import IMAGENET, NORMALIZATIONS, HubFile, Normalization
from . import timm_hub, timm_layout
from .timm_layout import Layout, layout_of

_INSIDE = "model."


class TimmBackbone(Backbone):
    """A network of timm without classifier.

    Feature maps are its last four levels, conv3 to conv6 (stride 4 to 32 in most), or as many as it has. For a plain
    transformer they are the tokens after each quarter of the blocks, normalised and reshaped to maps. conv6 is what the
    network's own classifier would pool. Images are padded with zeros at the right and at the bottom if the network only
    takes whole patches, or would leave out the last rows and columns.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.name = layout.name
        self.model = timm_layout.create(layout.name, layout.arguments)
        for part in layout.unused:
            setattr(self.model, part, nn.Identity())
        self.feature_maps = dict(layout.channels)
        self.stride = layout.strides["conv6"]
        self.freezings = {word: Freezing(tuple(self._up_to(word)), "fixed") for word in list(layout.channels)[:-1]}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps by name; images: (N, 3, H, W), normalised."""
        images = timm_layout.padded(images, self.layout.multiple)
        maps = timm_layout.feature_maps(self.model, images, self.layout.indices, self.layout.last)
        return dict(zip(self.feature_maps, maps, strict=True))

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the tensors under timm's names."""
        return self.model.state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        inside = prefix + _INSIDE
        for name in [n for n in state_dict if n.startswith(prefix) and not n.startswith(inside)]:
            state_dict[inside + name[len(prefix) :]] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def hub_file(self) -> HubFile:
        """Return timm's weights on the Hugging Face hub for this network and tag.

        Raises:
            CheckpointError: there are none.
        """
        file = timm_hub.hub_file(self.name)
        if file is None:
            raise CheckpointError(
                f"weights: hub: timm has no weights of {self.name} on the Hugging Face hub; give a path, or `none`"
            )
        return file

    def _up_to(self, feature_map: str) -> Iterator[str]:
        """Yield the names of all modules that a feature map is computed from, in timm's order."""
        info: Any = self.model.feature_info
        levels = info if isinstance(info, list) else info.info
        place = list(self.feature_maps).index(feature_map)
        path = levels[self.layout.indices[place]]["module"].split(".")
        yield from (_INSIDE + name for name, _ in self.model.named_parameters(recurse=False))
        module, before = self.model, _INSIDE
        for number, part in enumerate(path):
            for name, _ in module.named_children():
                if name == part:
                    break
                yield before + name
            if number == len(path) - 1:
                yield before + part
            module, before = module.get_submodule(part), f"{before}{part}."


class TimmTransformer(TimmBackbone, TokenBackbone):
    """A plain transformer of timm: tokens and attention of every layer in addition to its feature maps."""

    def tokens(self, images: Tensor, attention: bool = False) -> Tokens:
        """Return the tokens of every layer and, if requested, the attention; images: (N, 3, H, W), normalised."""
        prefix, multiple = self.layout.prefix or 0, self.layout.multiple
        images = timm_layout.padded(images, multiple)
        final, layers, seen = timm_layout.tokens(self.model, images, attention)
        height, width = images.shape[-2:]
        return Tokens(tuple(layers), final, tuple(seen), prefix, (height // self.stride, width // self.stride))


class TimmOptions(BackboneOptions):
    """Options of timm's networks."""

    # what the name of a feature map freezes depends on the network, which defines it
    freezing_presets = FREEZING_PRESETS | dict.fromkeys(FEATURE_MAPS[:-1], Freezing())

    output_stride: int | None = Field(
        None, ge=1, description="image pixels per cell of conv6, in convolutional networks; null: timm's own"
    )
    arguments: dict[str, bool | int | float | str] = Field(
        {}, description="further arguments that timm builds it with, such as {embed_dim: 96, depth: 6, num_heads: 3}"
    )
    frozen: bool | str = Field(
        False,
        description="what never learns: conv3, conv4, conv5 (all up to it), batch_norm, statistics, whole",
    )


class Timm(BackboneEntry[TimmOptions]):
    """Any network of timm, `timm/NAME`: resnet18, convnext_atto, vit_tiny_patch16_224 and a thousand others."""

    paper = "Wightman, github.com/huggingface/pytorch-image-models"
    family = True

    @property
    def layout(self) -> Layout:
        """Return the layout of the network.

        Raises:
            RecipeError: timm has no such network, or it cannot be a backbone with these options.
        """
        return layout_of(self.model, self.options.output_stride, tuple(sorted(self.options.arguments.items())))

    @property
    def feature_maps(self) -> Mapping[str, int]:
        """Return the stride of each feature map with these options."""
        return self.layout.strides

    @property
    def parameters(self) -> int:
        """Return the number of weights without a classifier."""
        return self.layout.parameters

    @property
    def normalization(self) -> Normalization:
        """Return the normalisation of input pixels from timm's configuration of the pretrained weights."""
        if self.options.normalization is not None:
            return NORMALIZATIONS[self.options.normalization]
        timm_layout.require(self.model)
        import timm

        config = timm.get_pretrained_cfg(self.model)
        if config is None or len(config.mean) != len(IMAGENET.mean):
            return IMAGENET
        (red, green, blue), std = config.mean, config.std
        return Normalization(mean=(red, green, blue), std=(std[0], std[1], std[2]))

    def build(self) -> TimmBackbone:
        """Return the network with random weights."""
        return TimmBackbone(self.layout) if self.layout.prefix is None else TimmTransformer(self.layout)
