"""CLIP-ES: what a frozen CLIP looks at when it reads an image's labels (Lin et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.ops.resize import pillow_resize, scaled_size
from wsseg_cli.plugin import (
    ByteArray,
    CheckpointError,
    InferSettings,
    Labels,
    Method,
    Normalization,
    Requirements,
    ScoreMap,
    resize_scores,
)

from .affinity import box_mask, mean_attention, sinkhorn, spread, symmetric
from .gradcam import ClassMaps, normalized, probabilities, softmax_gradcam
from .network import ClipNet, Seen
from .options import ClipesOptions
from .texts import (
    REMEDY,
    background_words,
    class_texts,
    has_tokenizer,
    sentences,
    token_numbers,
    without_tokens,
)

CLIP_PIXELS = Normalization(
    mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711), scale=255.0, order="RGB"
)

CRF_PIXELS = Normalization(mean=(104.008, 116.669, 122.675), std=(1.0, 1.0, 1.0), scale=1.0, order="BGR")


class CLIPES(Method[ClipesOptions, ClipNet]):
    """Class maps of a frozen CLIP: the texts of an image's labels compete with words for their surroundings."""

    paper = "Lin et al. (CLIP-ES), CVPR 2023, https://arxiv.org/abs/2212.09506"

    @classmethod
    def requirements(cls, options: ClipesOptions) -> Requirements:
        """Return what it asks for: nothing is learnt, and the last block is differentiated."""
        return Requirements(trains=False, gradients=True)

    @property
    def normalization(self) -> Normalization:
        """Return how CLIP expects its pixels."""
        return CLIP_PIXELS

    def published_pixels(self, image: ByteArray) -> ByteArray:
        """Return what the paper's code gives its CRF: BGR minus the mean colour, cast to bytes (deeplab-pytorch)."""
        return restored_pixels(image, CRF_PIXELS, "mean_subtracted")

    def missing(self) -> list[str]:
        """Return the tokenizer if the recipe's texts need one and it is missing; class names may be placeholders."""
        words = [*background_words(self.options, self.classes), *self.options.class_texts.values()]
        lacking = without_tokens(self.options, sentences(self.options, words))
        if not lacking or has_tokenizer():
            return []
        return [f"{len(lacking)} sentences have to be tokenized, such as {lacking[0]!r}: {REMEDY}"]

    def build_model(self) -> ClipNet:
        """Return CLIP with random weights, and room for the features of all texts."""
        o = self.options
        texts = len(self.classes) + len(background_words(o, self.classes))
        net = ClipNet(o.sizes, texts, saw=o.saw, licence=o.licence)
        if o.precision == "fp16":
            net.backbone.halve()
        return net.requires_grad_(False)

    def precompute(self, model: ClipNet) -> dict[str, Tensor]:
        """Return the features of the texts of all classes, then of the background words, (C + M, E), each of length 1.

        Those of several templates are averaged: each is divided by its length, and so is the mean.

        Raises:
            RecipeError: a class has no text, or a text is too long. PluginError: a tokenizer is needed.
        """
        o = self.options
        texts = [*class_texts(o, self.classes), *background_words(o, self.classes)]
        table = token_numbers(o, sentences(o, texts))
        length = int(table.argmax(1).max()) + 1  # what follows the end is never attended to
        tokens = torch.from_numpy(table[:, :length]).to(model.texts.device)
        features = _unit(model.backbone.text_features(tokens)).unflatten(0, (len(o.templates), -1))
        return {"texts": _unit(features.mean(0))}

    def scores(self, model: ClipNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the refined maps of the image's labels, one value per patch; without labels, of the probable classes.

        As published there is one view, of the image's own size; maps of several are averaged.

        Raises:
            CheckpointError: the network holds no text features.
        """
        if not model.texts.any():
            raise CheckpointError("the network holds no features of texts; run `wsseg train-cls --force`")
        size = (int(image.shape[0]), int(image.shape[1]))
        views = [(scale, flip) for scale in infer.scales for flip in ([False, True] if infer.flip else [False])]
        total, grid = None, tuple(-(-side // self.options.sizes.patch) for side in size)
        for scale, flip in views:
            seen = self.seen(model, image[:, ::-1] if flip else image, scale)
            labels = self._predicted(model, seen) if labels is None else labels
            if not labels:
                return ScoreMap("", np.zeros(0, np.int64), np.zeros((0, *grid), np.float32), size)
            maps = resize_scores(self.maps(model, seen, labels), (grid[0], grid[1]))
            maps = maps[:, :, ::-1] if flip else maps
            total = maps if total is None else total + maps
        assert total is not None and labels is not None  # there is at least one view
        if len(views) > 1:
            total = normalized(torch.from_numpy(np.ascontiguousarray(total))).numpy()
        return ScoreMap("", np.array(labels, np.int64), total, size)

    def pixels(self, image: ByteArray, scale: float = 1.0) -> Tensor:
        """Return the view of an image (H, W, 3) that CLIP sees, (3, p*h, p*w): stretched to whole patches."""
        patch = self.options.sizes.patch
        height, width = scaled_size((int(image.shape[0]), int(image.shape[1])), scale)
        whole = (-(-height // patch) * patch, -(-width // patch) * patch)
        pixels = self.normalization.apply(pillow_resize(np.ascontiguousarray(image), whole))
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def maps(self, model: ClipNet, seen: Seen, labels: Sequence[int]) -> np.ndarray:
        """Return the refined maps of the labels, (K, h, w) in [0, 1], from what CLIP has seen up to its last block."""
        found = self.class_maps(model, seen, labels)
        attention = [one.float() for one in (*seen.attention, found.attention)]
        with torch.autocast(model.texts.device.type, enabled=False):  # a map goes through the affinities several times
            return normalized(self.refined(found.maps, attention)).cpu().numpy()

    def seen(self, model: ClipNet, image: ByteArray, scale: float) -> Seen:
        """Return what CLIP has seen of a view of an image (H, W, 3) up to its last block."""
        pixels = self.pixels(image, scale).to(model.texts.device)
        return model.backbone.seen(pixels, self.options.attention_layers)

    def class_maps(self, model: ClipNet, seen: Seen, labels: Sequence[int]) -> ClassMaps:
        """Return what the labels' texts look at, among themselves and the background words, before any refinement."""
        texts = torch.cat([model.texts[list(labels)], model.texts[len(self.classes) :]])
        return softmax_gradcam(model.backbone, seen.tokens, texts, range(len(labels)), seen.grid)

    def refined(self, maps: Tensor, attention: Sequence[Tensor]) -> Tensor:
        """Return class maps (K, h, w) spread along the attention of the last blocks, (1 + n, 1 + n) each.

        Each is spread from inside its boxes to everywhere; the result is not normalised.
        """
        o = self.options
        affinity = symmetric(sinkhorn(mean_attention(attention[-o.attention_layers :]), o.sinkhorn_rounds))
        sources = maps * self.boxes(maps)
        return spread(affinity, sources.flatten(1), o.squarings).view_as(maps)

    def boxes(self, maps: Tensor) -> Tensor:
        """Return where the boxes around the regions of maps (K, h, w) in [0, 1] are, (K, h, w) bool."""
        o = self.options
        inclusive = o.box_edge == "inclusive"
        masks = [box_mask(m, o.box_threshold, inclusive=inclusive) for m in maps.cpu().numpy()]
        return torch.from_numpy(np.stack(masks)).to(maps.device)

    @torch.no_grad()
    def _predicted(self, model: ClipNet, seen: Seen) -> tuple[int, ...]:
        """Return the classes whose text is probable among those of all classes and the background words."""
        visual = model.backbone.visual
        feature = visual.feature(visual.last(seen.tokens[None])[0])
        found = probabilities(model.backbone, feature, model.texts).exp()[: len(self.classes)]
        return tuple((found >= self.options.class_probability).nonzero()[:, 0].tolist())


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
