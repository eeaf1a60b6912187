"""CLIP-ES against the published code: tokens, towers, GradCAM, affinity, whole images, what the stages make of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fill import fill_array
from golden_cases import Case, golden
from torch import Tensor, nn
from wsseg_clip import method as room
from wsseg_clip.affinity import box_mask, mean_attention, sinkhorn, spread, symmetric
from wsseg_clip.gradcam import ClassMaps, normalized, softmax_gradcam
from wsseg_clip.method import CLIPES
from wsseg_clip.network import Clip, ClipNet, Seen, resized_positions
from wsseg_clip.options import ClipesOptions, ClipSizes
from wsseg_clip.texts import _data, sentences, token_numbers, without_tokens

from wsseg_cli.engine.checkpoint import load_strictly
from wsseg_cli.engine.frozen import computed
from wsseg_cli.metrics import Confusion
from wsseg_cli.nets.clip_names import openai_names
from wsseg_cli.nets.weights import match, rename
from wsseg_cli.ops.crf import unary_from_scores
from wsseg_cli.ops.crf.presets import crf_parameters
from wsseg_cli.ops.masks import label_scores
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import crf_image
from wsseg_cli.stages.pseudo import arithmetic, pseudo_mask, pseudo_masks
from wsseg_cli.types import ClassNames, ScoreMap

SIZES = {
    "embed_dim": "features",
    "vision_layers": "layers",
    "vision_width": "width",
    "patch": "patch",
    "context_length": "context",
    "vocab": "vocabulary",
    "text_width": "text_width",
    "text_layers": "text_layers",
}
"""What the cases call the sizes of a CLIP, and what we do."""


def clipes(case: Case, classes: list[str], **options: Any) -> CLIPES:
    """Return the method with the sizes of the case's network and the published values beside."""
    said = case.arguments.get("model")
    if said:
        grid = said["image_resolution"] // said["patch"]
        options["sizes"] = ClipSizes(grid=grid, **{ours: said[theirs] for theirs, ours in SIZES.items()})
    return CLIPES(ClipesOptions(**options), ClassNames(classes))


def network(case: Case, method: CLIPES) -> ClipNet:
    """Return the method's network with the case's checkpoint, brought in through the public name map."""
    model = method.build_model().eval()
    load_strictly(model.backbone, openai_names(case.state_dict()), case.name)
    return model


def cut(case: Case, name: str, got: Any) -> Any:
    """Return what the case keeps of an output."""
    rule = case.arguments.get("slices", {}).get(name, {})
    if "positions" in rule:
        got = got[:, : rule["positions"]]
    if "axis0_step" in rule:
        got = got[:: rule["axis0_step"]]
    if "step" in rule:
        rows, columns = rule["step"]
        got = got[..., ::rows, ::columns]
    return got


def check_all(case: Case, got: dict[str, Any]) -> None:
    case.check_all({name: cut(case, name, value) for name, value in got.items()})


@contextmanager
def watched(*modules: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what modules are given, in the order of their calls."""
    given: list[Tensor] = []
    hooks = [m.register_forward_pre_hook(lambda _, args: given.append(args[0].detach())) for m in modules]
    yield given
    for hook in hooks:
        hook.remove()


def needs_a_tokenizer(options: ClipesOptions, wanted: list[str]) -> None:
    if without_tokens(options, wanted):
        pytest.importorskip("open_clip", reason="its tokenizer comes with wsseg[clip]")


@golden("clipes_tokens")
def test_tokens(case: Case) -> None:
    texts = [str(text) for text in case.inputs["texts"]]
    options = ClipesOptions(sizes=ClipSizes(context=case.arguments["context_length"]))
    needs_a_tokenizer(options, texts)
    tokens = token_numbers(options, texts)
    case.check_all({"tokens": tokens, "eot_position": tokens.argmax(1)})


@golden("clipes_text_features")
def test_text_features(case: Case) -> None:
    names = [str(name) for name in case.inputs["names"]]
    got: dict[str, Any] = {}
    for templates in case.arguments["templates"]:
        method = clipes(case, names, templates=tuple(templates), background=())
        needs_a_tokenizer(method.options, sentences(method.options, names))
        model = network(case, method)
        word = {1: "one_template", 2: "two_templates", 3: "three_templates"}[len(templates)]
        got[word] = computed(method, model)["texts"]
        if len(templates) == 1:
            got["tokens"] = token_numbers(method.options, sentences(method.options, names))
            blocks = list(model.backbone.transformer.resblocks)
            following = [*(block.ln_1 for block in blocks[1:]), model.backbone.ln_final]
            with watched(*following) as states:
                got["raw"] = model.backbone.text_features(torch.from_numpy(got["tokens"]))
            got |= {f"text_block_{number}": state for number, state in enumerate(states)}
    check_all(case, got)


@golden("clipes_preprocess")
def test_pixels(case: Case) -> None:
    method = clipes(case, ["cat"], sizes=ClipSizes(patch=case.arguments["patch"]))
    assert method.normalization.mean == tuple(case.arguments["mean"])
    assert method.normalization.std == tuple(case.arguments["std"])
    for name, image in case.inputs.items():
        # a grey image is resized in one channel as published; the same in three
        pixels = method.pixels(image if image.ndim == 3 else np.stack([image] * 3, -1))
        case.check(name, cut(case, name, pixels))
        case.check(f"{name}_size", np.array(pixels.shape[1:]))
    assert case.checked == set(case.outputs)


@golden("clipes_positions")
def test_positions(case: Case) -> None:
    tables = {name: torch.from_numpy(table) for name, table in case.inputs.items()}
    case.check_all(
        {
            f"{name}_{rows}x{columns}": resized_positions(table, (rows, columns))
            for name, table in tables.items()
            for rows, columns in case.arguments["sizes"]
        }
    )


@golden("clipes_encoder")
def test_image_tower(case: Case) -> None:
    method = clipes(case, ["cat", "dog"])
    clip: Clip = network(case, method).backbone
    image = torch.from_numpy(case.inputs["image"])[0]
    texts = torch.eye(2, method.options.sizes.features)
    blocks, normed = list(clip.visual.transformer.resblocks), []
    hook = clip.visual.ln_post.register_forward_hook(lambda *args: normed.append(args[2].detach()))
    with watched(*(block.ln_1 for block in blocks), clip.visual.ln_post) as states:
        seen = clip.seen(image, len(blocks))
        found = softmax_gradcam(clip, seen.tokens, texts, [0], seen.grid)
    hook.remove()
    first, *after = (state.reshape(-1, state.shape[-1]) for state in states)
    got = {
        "ln_pre": first,
        "penultimate": seen.tokens,
        "ln_post": normed[0],
        "embedding": clip.visual.feature(after[-1]),
    }
    got |= {f"block_{number}": state for number, state in enumerate(after)}
    got |= {f"attention_{number}": weights for number, weights in enumerate([*seen.attention, found.attention])}
    check_all(case, got)


def outputs_of(case: Case, found: ClassMaps, targets: list[int]) -> dict[str, Any]:
    got: dict[str, Any] = {"probabilities": found.probabilities}
    for number, target in enumerate(targets):
        got |= {f"weights_{target}": found.weights[number], f"raw_{target}": found.raw[number]}
        got |= {f"cam_{target}": found.maps[number]}
    return got


@golden("clipes_gradcam")
def test_gradcam(case: Case) -> None:
    method = clipes(case, ["cat"])
    clip: Clip = network(case, method).backbone
    seen = clip.seen(torch.from_numpy(case.inputs["image"])[0], 1)
    targets = case.arguments["targets"]
    found = softmax_gradcam(clip, seen.tokens, torch.from_numpy(case.inputs["text_features"]), targets, seen.grid)
    activations = found.activations[1:].T.unflatten(1, seen.grid)
    more = {"activations": activations, "attention_last": found.attention}
    check_all(case, outputs_of(case, found, targets) | more)


@golden("clipes_vitb16_probe")
@pytest.mark.slow
def test_full_size(case: Case) -> None:
    names, words = case.arguments["names"], tuple(case.arguments["background"])
    method = clipes(case, names, background=words, templates=(case.arguments["template"],))
    needs_a_tokenizer(method.options, sentences(method.options, [*names, *words]))
    model = network(case, method)
    texts = computed(method, model)["texts"]
    clip: Clip = model.backbone
    seen = clip.seen(torch.from_numpy(case.probe("image"))[0], method.options.sizes.layers)
    targets = list(range(len(names)))
    found = softmax_gradcam(clip, seen.tokens, texts, targets, seen.grid)
    got = outputs_of(case, found, targets) | {"text_features": texts, "penultimate": seen.tokens}
    got |= {f"attention_{number}": weights for number, weights in enumerate([*seen.attention, found.attention])}
    check_all(case, got)


@golden("clipes_boxes")
def test_boxes(case: Case) -> None:
    for name in case.outputs:
        which, _, threshold = name.partition("/mask_")
        case.check(name, box_mask(case.inputs[which], float(threshold)).astype(np.uint8))
    assert case.checked == set(case.outputs)


@golden("clipes_attention_affinity")
def test_affinity(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = list(torch.from_numpy(case.inputs["attention"]))
    maps = torch.from_numpy(case.inputs["cams"])
    layers, grid = case.arguments["layers_used"], tuple(maps.shape[1:])
    mean = mean_attention(attention[-layers:])
    even = sinkhorn(mean, ClipesOptions().sinkhorn_rounds)
    both = symmetric(even)
    squared = spread(both, torch.eye(len(both)), ClipesOptions().squarings)
    got: dict[str, Any] = {"attention_mean": mean, "sinkhorn": even, "symmetric": both, "squared": squared}
    # as the published loop was run: with stubs for network and GradCAM that hand out what the case gives
    model: Any = SimpleNamespace(texts=torch.ones(len(maps), 1), backbone=SimpleNamespace())
    model.backbone.seen = lambda image, count: Seen(torch.zeros(1), attention[-count:-1], grid)
    stub = SimpleNamespace(maps=maps, attention=attention[-1])
    monkeypatch.setattr(room, "softmax_gradcam", lambda *args: stub)
    labels = tuple(range(len(maps)))
    for name, threshold in case.arguments["thresholds"].items():
        options = {"attention_layers": layers, "box_threshold": threshold, "background": ()}
        method = clipes(case, [f"class {label}" for label in labels], **options)
        refined = method.refined(maps, attention)
        masks = np.stack([box_mask(scores, threshold) for scores in maps.numpy()]).astype(np.uint8)
        got |= {f"{name}_refined": refined, f"{name}_masks": masks}
        side = method.options.sizes.patch
        image = np.zeros((grid[0] * side, grid[1] * side, 3), np.uint8)
        scores = method.scores(model, image, labels, InferSettings())
        np.testing.assert_array_equal(scores.scores, normalized(refined))
    case.check_all(got)


@golden("clipes_refined_map")
def test_stored_map(case: Case) -> None:
    def full(maps: Tensor, size: list[int]) -> np.ndarray:
        scores = ScoreMap("", np.arange(len(maps)), maps.numpy(), (size[0], size[1]))
        return scores.full(0.0)[1:]

    low, down = (normalized(torch.from_numpy(case.inputs[name])) for name in ("low", "down"))
    large = full(low, case.arguments["size"])
    small = full(down, case.arguments["smaller_size"])
    check_all(case, {"normalised": low, "full_size": large, "stored": large.astype(np.float16), "smaller": small})


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
    values = {"background": {"power": said["background_power"]}, "precision": "fp16", "confidence": said["confidence"]}
    values |= {"crf": {k: float(v) if isinstance(v, int) and k != "iterations" else v for k, v in crf.items()}}
    section = PseudoSettings.model_validate_json(json.dumps(values))
    method, scores, image = clipes(case, ["cat"]), stored(case), case.inputs["image"]
    seen = crf_image(section.crf, method, image)
    assert section.crf is not None
    probabilities = scores.full(**{k: v for k, v in arithmetic(section).items() if k != "threshold"})
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
        q = label_scores(scores, **arithmetic(section), crf=section.crf, image=pixels)
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
