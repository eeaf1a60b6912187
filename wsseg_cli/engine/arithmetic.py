"""The arithmetic of networks: the precision that autocast computes in, and whether a GPU may round to TF32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ..settings import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    """Return the context in which matrix products and convolutions on `device` are computed in `precision`.

    Weights and what autocast deems in need of it stay float32.
    """
    return nullcontext() if precision == "fp32" else torch.autocast(device, _DTYPES[precision])


def refusal(device: str, precision: Precision) -> str:
    """Return why networks do not predict in this precision on a device of this type; empty where they do."""
    if precision == "fp16" and device == "cpu":
        return "fp16 is for GPUs; a CPU computes in fp32 or bf16"
    return ""


def allow_tf32(allowed: bool) -> None:
    """Let NVIDIA GPUs that can round the inputs of float32 products and convolutions to TF32, or forbid it.

    By itself torch allows it for convolutions and forbids it for matrix products.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
