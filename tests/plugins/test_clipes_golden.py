"""CLIP-ES against the published code, part by part: tokens, towers, GradCAM, boxes, affinity."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clipes_cases import check_all, clipes, cut, needs_a_tokenizer, network, watched
from golden_cases import Case, golden
from torch import Tensor
from wsseg_clip import method as room
from wsseg_clip.affinity import box_mask, mean_attention, sinkhorn, spread, symmetric
from wsseg_clip.gradcam import ClassMaps, normalized, softmax_gradcam
from wsseg_clip.network import Clip, Seen, resized_positions
from wsseg_clip.options import ClipesOptions, ClipSizes
from wsseg_clip.texts import sentences, token_numbers

from wsseg_cli.engine.frozen import computed
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ScoreMap


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
