"""Views padded to one size, and their merging."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from published import merge_crops

from wsseg_cli.errors import DataError
from wsseg_cli.ops.padded_views import class_gate, merge_padded, padded_views
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import IMAGENET, ClassNames


def tensors(case: Case) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in case.inputs.items()}


@golden("onestage-infer-views")
def test_views(case: Case) -> None:
    a = case.arguments
    infer = InferSettings(scales=tuple(map(float, a["scales"])), flip=a["FLIP"])
    image = case.inputs["image"]
    views, places = padded_views(image, infer, IMAGENET, tuple(a["pad_hw"]))
    names = ClassNames([f"class {i}" for i in range(len(case.outputs["labels"]))])
    labels = np.zeros(len(names), np.float32)
    labels[list(names.labels_in(case.inputs["gt"]))] = 1
    got = {name: views[int(name.removeprefix("view"))] for name in case.outputs if name.startswith("view")}
    normalised = IMAGENET.apply(image).transpose(2, 0, 1)
    case.check_all({**got, "pads": places.float(), "image_normalised": normalised, "labels": labels})


@golden("onestage-infer-merge")
def test_merge(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    gate = class_gate(given["cls_raw"], a["FP_CUT_SCORE"])
    got = {"gate": gate.to(torch.uint8)}
    for name, keep in (("gated", gate), ("clean", given["labels_gt"])):
        merged = merge_padded(
            given["masks"], given["pads"], tuple(a["image_hw"]), keep, flip=a["flip"], background_power=a["BG_POW"]
        )
        got[f"merged_{name}"] = merged
        got[f"pred_{name}"] = merged.argmax(0).numpy().astype(case.outputs[f"pred_{name}"].dtype)
    case.check_all(got)


@golden("onestage-infer-merge-crops")
def test_merge_crops(case: Case) -> None:
    given, size = tensors(case), tuple(case.arguments["image_hw"])
    merged = merge_crops(given["masks"], given["coords"], size, given["labels"], flip=case.arguments["FLIP"])
    case.check_all({"merged": merged})


def test_image_that_does_not_fit() -> None:
    infer = InferSettings(scales=(1.0, 2.0))
    with pytest.raises(DataError, match=r"40x20 pixels is 80x40 at scale 2 and does not fit the padded size 64x64"):
        padded_views(np.zeros((20, 40, 3), np.uint8), infer, IMAGENET, (64, 64))
