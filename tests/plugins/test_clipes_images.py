"""CLIP-ES against the published code: whole images, what the stages make of stored maps, names of checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clipes_cases import clipes, network
from fill import fill_array
from golden_cases import Case, golden, kept_results
from safetensors.torch import save_file
from torch import Tensor
from wsseg_clip.method import CLIPES
from wsseg_clip.options import ClipesOptions
from wsseg_clip.texts import _data

from wsseg_cli.convert import weights as convert
from wsseg_cli.engine import checkpoint
from wsseg_cli.engine.frozen import computed
from wsseg_cli.metrics import Confusion
from wsseg_cli.nets.clip_names import openai_names
from wsseg_cli.ops import masks
from wsseg_cli.ops.crf import inference
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import crf_image
from wsseg_cli.stages.pseudo import pseudo_mask, pseudo_masks
from wsseg_cli.types import ClassNames, ScoreMap


def class_names(texts: str) -> list[str]:
    """Return the names that our data sets give the classes of a published list."""
    return [row.get("coco_name", row["name"]) for row in _data()[texts]["classes"]]


@golden("clipes_image_end_to_end", "clipes_image_end_to_end_coco")
def test_whole_images(case: Case) -> None:
    said = case.arguments
    classes = class_names(said["texts"])
    method = clipes(
        case,
        classes,
        texts=said["texts"],
        templates=(said["template"],),
        box_threshold=said["box_threshold"],
    )
    keys = said["labels"] if "labels" in said else list(dict.fromkeys(method.classes.label(n) for n in said["objects"]))
    model = network(case, method)
    texts = computed(method, model)["texts"]
    scores = method.scores(model, case.inputs["image"], tuple(sorted(keys)), InferSettings())
    kept = method.kept
    got = {
        "keys": scores.classes,
        "text_features": torch.cat([texts[sorted(keys)], texts[len(classes) :]]),
        "probabilities": kept["class_maps"].probabilities,
        "cam": kept["maps"],
        "masks": kept["boxes"],
        "refined_low": kept["refined"],
        "attn_highres": scores.full(0.0)[1:],
    }
    # as the published file has them: in the order in which the annotation names them; ours ascend
    order = np.argsort(keys)
    for name, value in got.items():
        want = case.outputs[name]
        case.check(name, value, np.concatenate([want[: len(keys)][order], want[len(keys) :]]))
    assert case.checked == set(case.outputs)


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
def test_confident_labels(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
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
    inner = {
        "probabilities_in": kept_results(monkeypatch, masks, "full_scores"),
        "unary": kept_results(monkeypatch, inference, "unary_from_scores"),
    }
    marginals = kept_results(monkeypatch, masks, "crf_marginals")
    mask, learnt = pseudo_masks(scores, section, seen)
    got: dict[str, Any] = {"labels": learnt, "labels_eval": mask, "crf_image_bgr": seen, "q": marginals.pop()}
    got |= {name: results[0] for name, results in inner.items()}
    got["labels_file_pixels"] = pseudo_masks(scores, section, image)[1]
    case.check_all(got | {"q_file_pixels": marginals.pop()})


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
def test_name_maps(case: Case, tmp_path: Path) -> None:
    rows = json.loads((case.folder / "mapping.json").read_text())
    assert len(rows) == case.arguments["tensors"]
    tensors = {r["openai"]: torch.from_numpy(np.asarray(fill_array(r["openai"], tuple(r["shape"])))) for r in rows}
    assert all(row["open_clip"] == row["openai"] for row in rows), "one file is both"
    # as `weights` of a recipe: from a file into the method's own network, at its full size
    model = CLIPES(ClipesOptions(), ClassNames(["cat"])).build_model()
    source, path = tmp_path / "clip.bin", tmp_path / "clip.safetensors"
    for who in ("openai", "transformers"):
        if who == "openai":
            save_file({f"module.{n}": t for n, t in tensors.items()} | {"vocab_size": torch.zeros(())}, path)
        else:
            numbers = {"text_model.embeddings.position_ids": torch.zeros(1, 77)}
            torch.save(transformers_tensors(rows, tensors) | numbers, source)
            result = convert.run(source, path)
            source.unlink()
            assert result.counts == {"fits": len(tensors), "left out": len(numbers)}
            assert {key.name: key.published for key in result.keys if key.state == "fits"} == {
                f"backbone.{row['openai']}": ", ".join(row["transformers"]) for row in rows
            }
        for parameter in model.parameters():
            parameter.zero_()
        checkpoint.load_initial(model, str(path))
        path.unlink()
        ours = model.backbone.state_dict()
        assert set(ours) == set(tensors) and all(torch.equal(ours[n], tensor) for n, tensor in tensors.items()), who
    image = openai_names(timm_tensors(rows, tensors))  # the image tower alone, which is no CLIP for a recipe
    expected = {row["openai"] for row in rows if "timm" in row}
    assert set(image) == expected and all(torch.equal(image[name], tensors[name]) for name in expected)
    with torch.device("meta"):
        half = CLIPES(ClipesOptions(precision="fp16"), ClassNames(["cat"])).build_model()
    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in half.backbone.state_dict().items()}
    assert kinds == {row["openai"]: row["dtype_in_fp16_model"] for row in rows}
