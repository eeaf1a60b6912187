"""Options that make the network of each plugin of ours small, and what it is trained on besides images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tiny_clip

from wsseg_cli.plugin import ByteArray

SMALL = {"backbone": "small", "backbone_options": {"width": 8}}
VIT = {"img_size": 64, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
NETWORKS: dict[str, list[dict[str, Any]]] = {
    "methods.cam": [SMALL],
    "methods.clipes": [{"texts": "voc", "sizes": tiny_clip.SIZES, "precision": kind} for kind in ("fp32", "fp16")],
    "methods.eps": [SMALL],
    "methods.onestage": [{**SMALL, "channels": 16, "pad_size": None, "warmup_epochs": 0}],
    "methods.ppc": [{**SMALL, "base": base, "view_size": 32, "grid": 4} for base in ("seam", "eps")],
    "methods.puzzlecam": [SMALL],
    "methods.recam": [SMALL],
    "methods.rsepm": [
        {**SMALL, "decoder_width": 16, "aspp_dilations": (1, 2, 3), "recursion_epoch": 0, "mix_epoch": 0}
    ],
    "methods.sccam": [{**SMALL, "subcategories": 2}],
    "methods.seam": [SMALL],
    "methods.toco": [
        {
            "backbone": "timm/vit_tiny_patch16_224",
            "backbone_options": {"normalization": "imagenet", "arguments": VIT},
            "projection": (16, 8, 8),
            "local_size": 16,
            "par_dilations": (1, 2),
            "maps": maps,
        }
        for maps in ("cam", "segmentation")
    ],
    "refiners.irn": [{**SMALL, "radius": 3, "padded": 96, "steps_log2": 2}],
    "refiners.psa": [{**SMALL, "radius": 2, "steps_log2": 2}],
    "segmenters.deeplabv1": [SMALL],
    "segmenters.deeplabv2": [SMALL],
    "segmenters.deeplabv2_aspp_bn": [SMALL],
    "segmenters.deeplabv3plus": [SMALL],
}


def one_hot(mask: ByteArray) -> np.ndarray:
    return np.stack([mask == value for value in (0, 1, 3)]).astype(np.float32)


TARGETS: dict[str, Callable[[ByteArray], dict[str, Any]]] = {
    "methods.sccam": lambda mask: {"target/subcategory": np.array([1, 0, 0, 0, 0, 1], np.float32)},
    "refiners.psa": lambda mask: {"target/scores": np.concatenate([one_hot(mask), one_hot(mask)])},
    "refiners.irn": lambda mask: {"target/mask": mask},
}
"""What is made before a training, by the plugin itself."""
