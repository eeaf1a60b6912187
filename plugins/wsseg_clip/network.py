"""CLIP with a vision transformer: both towers under OpenAI's names, cut before the last block of the image tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsseg_cli.nets.clip_names import openai_names
from wsseg_cli.plugin import CheckpointError, HubFile

from .options import HEAD_WIDTH, ClipSizes

HUB = HubFile(
    "open_clip_model.safetensors",
    repository="timm/vit_base_patch16_clip_224.openai",
    saw="400 million image-text pairs (OpenAI, not public)",
    licence="MIT (OpenAI), Apache-2.0 as the hub states it",
)
"""OpenAI's ViT-B/16, both towers, as open_clip keeps it."""


class LayerNorm(nn.LayerNorm):
    """A layer norm that computes in float32 whatever its input."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the normalised tokens in their own type."""
        normed = F.layer_norm(tokens.float(), self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.to(tokens.dtype)


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (…, out) of (…, in)."""
        return F.linear(tokens, self.weight.to(tokens.dtype), self.bias.to(tokens.dtype))


class Attention(nn.Module):
    """Weights of multi-head attention; `in_proj` holds queries, keys and values in this order."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)


class MLP(nn.Module):
    """Two linear layers with QuickGELU, a * sigmoid(1.702 a), between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (…, D) of (…, D)."""
        hidden = self.c_fc(tokens)
        return self.c_proj(hidden * torch.sigmoid(1.702 * hidden))


class Block(nn.Module):
    """A pre-norm block of a transformer, in the two halves between which CLIP-ES takes its gradient."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.attn = LayerNorm(width), Attention(width)
        self.ln_2, self.mlp = LayerNorm(width), MLP(width)

    def queries_keys_values(self, normed: Tensor) -> Tensor:
        """Return (N, T, 3D) of what `ln_1` gives, (N, T, D)."""
        dtype = normed.dtype
        return F.linear(normed, self.attn.in_proj_weight.to(dtype), self.attn.in_proj_bias.to(dtype))

    def after(self, tokens: Tensor, joined: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the block's output (N, T, D) and its attention (N, T, T), rows queries, the mean over the heads.

        tokens: (N, T, D), its input. joined: queries, keys and values of it. mask: (T, T), added to the logits.
        """
        query, key, value = self._heads(joined)
        logits = (query * HEAD_WIDTH**-0.5) @ key.transpose(-2, -1)
        weights = (logits if mask is None else logits + mask.to(logits.dtype)).softmax(-1)
        return self._joined(tokens, weights @ value), weights.mean(1)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the block's output alone, (N, T, D)."""
        query, key, value = self._heads(self.queries_keys_values(self.ln_1(tokens)))
        mask = None if mask is None else mask.to(query.dtype)
        return self._joined(tokens, F.scaled_dot_product_attention(query, key, value, mask))

    @staticmethod
    def _heads(joined: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (part.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for part in joined.chunk(3, -1))
        return query, key, value

    def _joined(self, tokens: Tensor, heads: Tensor) -> Tensor:
        tokens = tokens + self.attn.out_proj(heads.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.ln_2(tokens))


class Transformer(nn.Module):
    """A stack of blocks."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(layers))


class ImageTower(nn.Module):
    """CLIP's vision transformer."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        width, scale = sizes.width, sizes.width**-0.5
        self.conv1 = nn.Conv2d(3, width, sizes.patch, sizes.patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(1 + sizes.grid**2, width))
        self.ln_pre, self.ln_post = LayerNorm(width), LayerNorm(width)
        self.transformer = Transformer(width, sizes.layers)
        self.proj = nn.Parameter(scale * torch.randn(width, sizes.features))

    @property
    def last(self) -> Block:
        """The last block, which is run separately."""
        block: Block = self.transformer.resblocks[-1]  # type: ignore[assignment]
        return block

    def embedded(self, images: Tensor) -> Tensor:
        """Return the tokens before the first block, (N, 1 + h*w, D), class token first; images: (N, 3, p*h, p*w)."""
        patches = self.conv1(images.to(self.conv1.weight.dtype))
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.class_embedding.to(tokens.dtype).expand(len(tokens), 1, -1)
        places = resized_positions(self.positional_embedding, (patches.shape[2], patches.shape[3]))
        return self.ln_pre(torch.cat([first, tokens], 1) + places.to(tokens.dtype))

    def feature(self, tokens: Tensor) -> Tensor:
        """Return an image's feature (E,): the mean over the patches of what the last block gives, (1 + h*w, D)."""
        return self.ln_post(tokens)[1:].mean(0) @ self.proj.to(tokens.dtype)


class Seen(NamedTuple):
    """The image tower's result for one image, without gradient, up to its last block.

    Attributes:
        tokens: (1 + h*w, D) float32, the last block's input, class token first.
        attention: (1 + h*w, 1 + h*w) float32 of the requested blocks before the last, in order.
        grid: (h, w).
    """

    tokens: Tensor
    attention: list[Tensor]
    grid: tuple[int, int]


class Clip(nn.Module):
    """Both towers of CLIP; names of tensors are OpenAI's."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.text_width
        self.visual = ImageTower(sizes)
        self.transformer = Transformer(width, sizes.text_layers)
        self.token_embedding = nn.Embedding(sizes.vocabulary, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(sizes.context, width))
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, sizes.features))
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))  # log(1 / 0.07), where CLIP's training starts

    def hub_file(self) -> HubFile:
        """Return OpenAI's ViT-B/16 as open_clip keeps it on the Hugging Face hub.

        Raises:
            CheckpointError: the network has other sizes.
        """
        if self.sizes != ClipSizes():
            raise CheckpointError("weights: hub: that file is ViT-B/16; name a file of these sizes, or leave out sizes")
        return HUB

    def from_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a file of OpenAI, open_clip or transformers under our names, which are OpenAI's."""
        return openai_names(tensors)

    def halve(self) -> Clip:
        """Keep the weights of convolutions, linear layers and projections in float16, as OpenAI's file does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | Attention):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.half()
        for projection in (self.visual.proj, self.text_projection):
            projection.data = projection.data.half()
        return self

    @torch.no_grad()
    def seen(self, image: Tensor, attention_layers: int) -> Seen:
        """Return the image tower's result before its last block for an image (3, p*h, p*w), normalised.

        attention_layers: number of last blocks whose attention is kept, counting the last one, which is run later.
        """
        blocks: list[Block] = list(self.visual.transformer.resblocks)  # type: ignore[arg-type]
        tokens = self.visual.embedded(image[None])
        attention: list[Tensor] = []
        for number, block in enumerate(blocks[:-1]):
            if number < len(blocks) - attention_layers:
                tokens = block(tokens)
            else:
                tokens, weights = block.after(tokens, block.queries_keys_values(block.ln_1(tokens)))
                attention.append(weights[0].float())
        patch = self.sizes.patch
        return Seen(tokens[0].float(), attention, (image.shape[1] // patch, image.shape[2] // patch))

    @torch.no_grad()
    def text_features(self, tokens: Tensor) -> Tensor:
        """Return the features of texts, (N, E) float32, not normalised; tokens: (N, T) numbers, zeros after the end."""
        length = tokens.shape[1]
        states = self.token_embedding(tokens).to(self.text_projection.dtype)
        states = states + self.positional_embedding[:length].to(states.dtype)
        ahead = torch.full((length, length), float("-inf"), device=tokens.device).triu(1)
        for block in self.transformer.resblocks:
            states = block(states, ahead)
        ends = self.ln_final(states)[torch.arange(len(tokens)), tokens.argmax(1)]
        return (ends @ self.text_projection).float()


class ClipNet(nn.Module):
    """A frozen CLIP and the features of the texts that it distinguishes.

    Args:
        sizes: of the network.
        texts: how many there are, classes first.
        saw, licence: of the weights, for the protocol.
    """

    def __init__(self, sizes: ClipSizes, texts: int, saw: str = "", licence: str = "") -> None:
        super().__init__()
        self.backbone = Clip(sizes)
        self.saw, self.licence = saw, licence
        self.register_buffer("texts", torch.zeros(texts, sizes.features), persistent=False)
        self.texts: Tensor


def resized_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the table of positions for (h, w) patches, (1 + h*w, D): bilinear, and rounded to float16 as published.

    table: (1 + g*g, D), the class token's row first, which is not resized.
    """
    side = round((len(table) - 1) ** 0.5)
    picture = table[1:].float().T.unflatten(1, (side, side))[None]
    resized = F.interpolate(picture, grid, mode="bilinear", align_corners=False)[0].flatten(1).T
    return torch.cat([table[:1].float(), resized]).half().to(table.dtype)
