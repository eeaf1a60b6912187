"""What the golden cases of ToCo share: the method on the case's network, parts that are given instead of computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from golden_cases import Case, GivenParts, noted
from torch import Tensor, nn
from wsseg_toco.method import ToCo
from wsseg_toco.net import Seen, ToCoNet

from wsseg_cli.nets import weights
from wsseg_cli.types import ClassNames, Progress

TINY: dict[str, Any] = {
    "width": 8,
    "depth": 3,
    "heads": 1,
    "mlp_ratio": 1.0,
    "img_size": 4,
    "patch_size": 1,
    "qkv_bias": True,
    "layer_norm_eps": 1e-6,
}
UNWEIGHTED: dict[str, Any] = {
    **dict.fromkeys(("ptc_weight", "ctc_weight", "seg_weight", "reg_weight"), 1.0),
    "seg_after": -1,
}


def options(network: dict[str, Any] = TINY, **more: Any) -> dict[str, Any]:
    """Return the method's options for a network as a case describes it."""
    arguments = {
        "embed_dim": network["width"],
        "depth": network["depth"],
        "num_heads": network["heads"],
        **{name: network[name] for name in ("mlp_ratio", "img_size", "patch_size", "qkv_bias")},
    }
    return {
        "backbone": "timm/vit_base_patch16_224",
        "backbone_options": {"normalization": "imagenet", "arguments": arguments},
        "aux_layer": network.get("aux_layer", -1),
        "projection": network.get("projection", (8, 4, 4)),
        **more,
    }


def method(classes: int, network: dict[str, Any] = TINY, cls: type[ToCo] = ToCo, **more: Any) -> Any:
    """Return the method on the case's network."""
    made = cls(cls.Options(**options(network, **more)), ClassNames([f"class {i}" for i in range(classes)]))
    made.case_network = network  # type: ignore[attr-defined]
    return made


def filled(made: Any, case: Case) -> ToCoNet:
    """Return the network with the case's checkpoint, through the public name map."""
    model = made.build_model()
    model.load_state_dict(weights.rename(case.state_dict(), "toco"))
    wanted = made.case_network["layer_norm_eps"]
    assert all(m.eps == wanted for m in model.backbone.modules() if isinstance(m, nn.LayerNorm))
    return model.eval()


def head_of(case: Case) -> tuple[int, int, int]:
    """Return hidden width, bottleneck and outputs of the projection head in the case's checkpoint."""
    arrays = case.arrays_of_checkpoint()
    outputs, bottleneck = arrays["proj_head.last_layer.weight_v"].shape
    return len(arrays["proj_head.mlp.0.weight"]), bottleneck, outputs


def tensors(case: Case) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in case.inputs.items()}


def published(name: str) -> str:
    """Return the published name of a parameter of our network."""
    return name.replace("backbone.model.", "encoder.", 1)


class Fixed(nn.Module):
    """Gives what it was made with, whatever it is given."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def forward(self, _: Tensor) -> Tensor:
        return self.given


class Given(GivenParts, ToCo):
    """The method with parts of a step that are given; what the others return is kept in `kept`."""

    def class_maps(self, model: Any, images: Tensor) -> Any:
        return self._part("class_maps", model, images)

    def region_map(self, maps: Tensor) -> Any:
        return self._part("region_map", maps)

    def local_crops(self, sources: Tensor, regions: Tensor) -> Any:
        return self._part("local_crops", sources, regions)

    def token_labels(self, maps: Tensor, boxes: Tensor, seen: Seen) -> Any:
        return self._part("token_labels", maps, boxes, seen)

    def refined_labels(self, maps: Tensor, batch: Any) -> Any:
        self.__dict__.setdefault("kept", {})["refined_from"] = noted(maps)
        return self._part("refined_labels", maps, batch)

    def projections(self, model: Any, tokens: Tensor, images: int) -> Any:
        return self._part("projections", model, tokens, images)

    def permutation(self, count: int) -> Tensor:
        self.__dict__.setdefault("kept", {}).setdefault("candidates", []).append(count)
        given = getattr(self, "given", {})
        if "permutations" not in given:
            return super().permutation(count)
        return next(given["permutations"])


def a_batch(images: int, classes: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return a batch of zeros whose boxes are whole and whose labels are all there."""
    blank = torch.zeros(images, 3, *size)
    box = torch.tensor([0, size[0], 0, size[1]]).expand(images, 4)
    named = {name: blank for name in ("image", "view2", "local")}
    return {**named, "label": torch.ones(images, classes), "box": box, "image_id": ["x"] * images}


def sees(model: ToCoNet, maps: Tensor) -> Seen:
    """Let a network see the same patch tokens (N, D, h, w) in whatever it looks at; return what it then says."""
    said = Seen(maps.mean((2, 3)), maps, maps)

    def forward(images: Tensor) -> Seen:
        count = len(images)
        return Seen(*(part[:1].expand(count, *part.shape[1:]) for part in said)) if count != len(maps) else said

    model.forward = forward  # type: ignore[method-assign, assignment]
    return said


def step(made: Any, model: ToCoNet, batch: dict[str, Any], number: int = 0) -> dict[str, Tensor]:
    return made.training_step(model.train(), batch, Progress(number, 10**6, 0))
