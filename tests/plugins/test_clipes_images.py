"""CLIP-ES against the published code: whole images, what the stages make of stored maps, names of checkpoints."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from clipes_cases import clipes, network
from fill import fill_array
from golden_cases import Case, golden
from torch import Tensor
from wsseg_clip import method as room
from wsseg_clip.affinity import box_mask
from wsseg_clip.gradcam import ClassMaps, softmax_gradcam
from wsseg_clip.method import CLIPES
from wsseg_clip.options import ClipesOptions
from wsseg_clip.texts import _data

from wsseg_cli.engine.frozen import computed
from wsseg_cli.metrics import Confusion
from wsseg_cli.nets.clip_names import openai_names
from wsseg_cli.nets.weights import match, rename
from wsseg_cli.ops.crf import unary_from_scores
from wsseg_cli.ops.crf.presets import crf_parameters
from wsseg_cli.ops.masks import full_scores, mask_and_marginals
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import crf_image
from wsseg_cli.stages.pseudo import pseudo_mask, pseudo_masks
from wsseg_cli.types import ClassNames, ScoreMap


def class_names(texts: str) -> list[str]:
    """Return the names that our data sets give the classes of a published list."""
    return [row.get("coco_name", row["name"]) for row in _data()[texts]["classes"]]


@golden("clipes_image_end_to_end", "clipes_image_end_to_end_coco")
def test_whole_images(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    said = case.arguments
    classes = class_names(said["texts"])
    method = clipes(
        case,
        classes,
        texts=said["texts"],
        templates=(said["template"],),
        box_threshold=said["box_threshold"],
    )
    # as the published file has them: in the order in which the annotation names them; ours ascend
    keys = said["labels"] if "labels" in said else list(dict.fromkeys(method.classes.label(n) for n in said["objects"]))
    order = np.argsort(np.argsort(keys))
    model = network(case, method)
    texts = computed(method, model)["texts"]
    found: list[ClassMaps] = []
    refined: list[Tensor] = []

    def gradcam(*args: Any) -> ClassMaps:
        found.append(softmax_gradcam(*args))
        return found[-1]

    def kept(self: CLIPES, maps: Tensor, attention: Any) -> Tensor:
        refined.append(refine(self, maps, attention))
        return refined[-1]

    refine = CLIPES.refined
    monkeypatch.setattr(room, "softmax_gradcam", gradcam)
    monkeypatch.setattr(CLIPES, "refined", kept)
    scores = method.scores(model, case.inputs["image"], tuple(sorted(keys)), InferSettings())
    assert scores.classes.tolist() == sorted(keys)
    (maps,), (low,) = (one.maps for one in found), refined
    probable = torch.cat([found[0].probabilities[torch.from_numpy(order)], found[0].probabilities[len(keys) :]])
    case.check_all(
        {
            "keys": scores.classes[order],
            "text_features": torch.cat([texts[keys], texts[len(classes) :]]),
            "probabilities": probable,
            "cam": maps[order],
            "masks": np.stack([box_mask(m, said["box_threshold"]) for m in maps[order].numpy()]).astype(np.uint8),
            "refined_low": low[order],
            "attn_highres": scores.full(0.0)[1:][order].astype(np.float16),
        }
    )


def stored(case: Case, before: str = "") -> ScoreMap:
    """Return the map that the published file of an image holds, its classes in their order there."""
    scores = case.inputs[f"{before}attn_highres"]
    return ScoreMap("", case.inputs[f"{before}keys"], scores.astype(np.float32), (scores.shape[1], scores.shape[2]))


@golden("clipes_background_labels")
def test_labels_with_background(case: Case) -> None:
    rules = sorted({name.rpartition("/")[2] for name in case.outputs if "/" in name})
    images = sorted({name.partition("/")[0] for name in case.inputs})
    for rule in rules:
        kind, _, value = rule.partition("_")
        background = {{"power": "power", "constant": "threshold"}[kind]: float(value)}
        section = PseudoSettings.model_validate({"background": background, "precision": "fp16"})
        counts = Confusion(case.arguments["n_classes"] - 1)
        for image in images:
            mask = pseudo_mask(stored(case, f"{image}/"), section)
            case.check(f"{image}/{rule}", mask)
            counts.add(case.inputs[f"{image}/truth"], mask)
        case.check(f"class_iou_{rule}", counts.iou())
        case.check(f"mean_iou_{rule}", np.array(counts.mean_iou("without_truth")))
        case.check(f"pixel_accuracy_{rule}", np.array(counts.accuracy()))
    assert case.checked == set(case.outputs)


@golden("clipes_confidence_labels")
def test_confident_labels(case: Case) -> None:
    said = case.arguments
    crf: dict[str, Any] = {"preset": "deeplab", "image": "published", "iterations": said["iterations"]}
    for kernel, width in (("gaussian", ("sxy",)), ("bilateral", ("sxy", "srgb"))):
        crf |= {f"{kernel}_weight": said[kernel]["compat"]} | {f"{kernel}_{n}": said[kernel][n] for n in width}
    ignore = {"below": said["confidence"], "only_training": True}
    values = {"background": {"power": said["background_power"]}, "precision": "fp16", "ignore": ignore}
    values |= {"crf": {k: float(v) if isinstance(v, int) and k != "iterations" else v for k, v in crf.items()}}
    section = PseudoSettings.model_validate_json(json.dumps(values))
    method, scores, image = clipes(case, ["cat"]), stored(case), case.inputs["image"]
    seen = crf_image(section.crf, method, image)
    assert section.crf is not None
    probabilities = full_scores(scores, None, said["background_power"], half=True)
    mask, learnt = pseudo_masks(scores, section, seen)
    by_name = {"": seen, "_file_pixels": image}
    got: dict[str, Any] = {
        "labels": learnt,
        "labels_eval": mask,
        "crf_image_bgr": seen,
        "probabilities_in": probabilities,
    }
    got["unary"] = unary_from_scores(probabilities, clip=crf_parameters(section.crf).clip)
    got["labels_file_pixels"] = pseudo_masks(scores, section, image)[1]
    for name, pixels in by_name.items():
        q = mask_and_marginals(scores, power=said["background_power"], crf=section.crf, image=pixels, half=True)[1]
        got[f"q{name}"] = q
    case.check_all(got)


def transformers_tensors(rows: list[dict[str, Any]], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    for row in rows:
        tensor, how = tensors[row["openai"]], row["transformers_how"]
        parts = tensor.chunk(3) if "split" in how else [tensor.T if how == "transpose" else tensor]
        named |= dict(zip(row["transformers"], parts, strict=True))
    return named


def timm_tensors(rows: list[dict[str, Any]], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {"head.bias": torch.zeros(1)}
    for row in rows:
        if "timm" in row:
            tensor, how = tensors[row["openai"]], row["timm_how"]
            batch = re.match(r"shape \((1, )+", how)
            named[row["timm"]] = (
                tensor.view(*[1] * batch.group().count("1"), *tensor.shape)
                if batch
                else tensor.T
                if "transpose" in how
                else tensor
            )
    return named


@golden("clipes_name_map")
@pytest.mark.slow
def test_name_maps(case: Case) -> None:
    rows = json.loads((case.folder / "mapping.json").read_text())
    assert len(rows) == case.arguments["tensors"]
    tensors = {r["openai"]: torch.from_numpy(np.asarray(fill_array(r["openai"], tuple(r["shape"])))) for r in rows}
    with torch.device("meta"):
        model = CLIPES(ClipesOptions(), ClassNames(["cat"])).build_model()
        half = CLIPES(ClipesOptions(precision="fp16"), ClassNames(["cat"])).build_model()
    theirs = {
        "openai": tensors,
        "open_clip": {row["open_clip"]: tensors[row["openai"]] for row in rows},
        "transformers": transformers_tensors(rows, tensors)
        | {"text_model.embeddings.position_ids": torch.zeros(1, 77)},
        "wrapped": {f"module.{name}": tensor for name, tensor in tensors.items()} | {"vocab_size": torch.zeros(())},
    }
    for who, named in theirs.items():
        assert match(rename(named, "clip"), model).complete, who
        ours = openai_names(named)
        assert all(torch.equal(ours[name], tensor) for name, tensor in tensors.items()), who
    image = openai_names(timm_tensors(rows, tensors))
    expected = {row["openai"] for row in rows if "timm" in row}
    assert set(image) == expected and all(torch.equal(image[name], tensors[name]) for name in expected)
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in half.backbone.state_dict().items()}
    assert kinds == {row["openai"]: row["dtype_in_fp16_model"] for row in rows}
