"""CLIP-ES against the published code, part by part, each as a stage calls it: texts through what `train-cls` keeps of
them, images through the scores that `cam` stores. Where a case brings an inner array in the place of an image, the
method is given that array, and the rest is its own.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clipes_cases import (
    SMALL,
    Given,
    check_all,
    clipes,
    cut,
    filler,
    needs_a_tokenizer,
    network,
    numbered,
    scored,
    small_network,
    watched,
)
from golden_cases import Case, golden, kept_results, noted
from torch import Tensor
from wsseg_clip import method as room
from wsseg_clip.network import Seen
from wsseg_clip.options import HEAD_WIDTH, ClipSizes
from wsseg_clip.texts import sentences

from wsseg_cli.engine.frozen import computed
from wsseg_cli.ops.masks import full_scores
from wsseg_cli.settings import InferSettings


@golden("clipes_tokens")
def test_tokens(case: Case) -> None:
    texts = [str(text) for text in case.inputs["texts"]]
    names = numbered(len(texts))
    sizes = ClipSizes(**SMALL | {"context": case.arguments["context_length"], "vocabulary": case.arguments["end"] + 1})
    options = {"templates": ("{}",), "class_texts": dict(zip(names, texts, strict=True)), **filler(["{}"], sizes)}
    method = clipes(case, names, sizes=sizes, **options)
    needs_a_tokenizer(method.options, texts)
    model = method.build_model()
    with watched(model.backbone.token_embedding) as read:
        computed(method, model)
    tokens = read[0][: len(texts)]
    case.check_all({"tokens": tokens, "eot_position": tokens.argmax(1)})


@golden("clipes_text_features")
def test_text_features(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(name) for name in case.inputs["names"]]
    got: dict[str, Any] = {}
    for templates in case.arguments["templates"]:
        sizes = clipes(case, names).options.sizes
        method = clipes(case, names, templates=tuple(templates), **filler(templates, sizes))
        needs_a_tokenizer(method.options, sentences(method.options, names))
        model = network(case, method)
        clip = model.backbone
        blocks = list(clip.transformer.resblocks)
        raw = kept_results(monkeypatch, clip, "text_features")
        with watched(clip.token_embedding, *(block.ln_1 for block in blocks[1:]), clip.ln_final) as states:
            features = computed(method, model)["texts"]
        word = {1: "one_template", 2: "two_templates", 3: "three_templates"}[len(templates)]
        got[word] = features[: len(names)]
        if len(templates) == 1:
            tokens, *after = (state[: len(names)] for state in states)
            got |= {"tokens": tokens, "raw": raw[0][: len(names)]}
            got |= {f"text_block_{number}": state for number, state in enumerate(after)}
    check_all(case, got)


@golden("clipes_preprocess")
def test_pixels(case: Case) -> None:
    method = clipes(case, ["cat"], background=(), sizes=ClipSizes(**SMALL, patch=case.arguments["patch"]))
    model = small_network(method)
    assert method.normalization.mean == tuple(case.arguments["mean"])
    assert method.normalization.std == tuple(case.arguments["std"])
    for name, image in case.inputs.items():
        # a grey image is resized in one channel as published; the same in three
        three = image if image.ndim == 3 else np.stack([image] * 3, -1)
        method.scores(model, three, (0,), InferSettings())
        pixels = method.kept["pixels"]
        case.check(name, cut(case, name, pixels))
        case.check(f"{name}_size", np.array(pixels.shape[1:]))
    assert case.checked == set(case.outputs)


@golden("clipes_positions")
def test_positions(case: Case) -> None:
    got = {}
    for name, table in case.inputs.items():
        rows, width = table.shape
        heads = -(-width // HEAD_WIDTH)
        sizes = ClipSizes(**SMALL | {"grid": round((rows - 1) ** 0.5), "width": heads * HEAD_WIDTH}, patch=1)
        method = clipes(case, ["cat"], background=(), sizes=sizes)
        model = small_network(method)
        tower = model.backbone.visual
        # the table fills the first channels; without patches and class token nothing else is in the sum
        for part in (tower.conv1.weight, tower.class_embedding, tower.positional_embedding):
            part.zero_()
        tower.positional_embedding[:, :width] = torch.from_numpy(table)
        for height, across in case.arguments["sizes"]:
            with watched(tower.ln_pre) as embedded:
                scored(method, model, (0,), (height, across))
            got[f"{name}_{height}x{across}"] = embedded[0][0, :, :width]
    case.check_all(got)


def at_work(
    case: Case, monkeypatch: pytest.MonkeyPatch, method: Given, targets: list[int], texts: Tensor | None = None
) -> dict[str, Any]:
    """Return, by the cases' names, what the method makes of the case's pixels on its way to the maps of its classes.

    targets: the case's numbers of these classes. texts: features; by default those that the method computes once.
    """
    model = network(case, method)
    if texts is None:
        texts = computed(method, model)["texts"]
    else:
        model.texts.copy_(texts)
    pixels = case.inputs["image"] if "image" in case.inputs else case.probe("image")
    method.given = {"pixels": torch.from_numpy(pixels)[0]}
    tower = model.backbone.visual
    blocks, normed = list(tower.transformer.resblocks), []
    embeddings = kept_results(monkeypatch, tower, "feature")
    hook = tower.ln_post.register_forward_hook(lambda *args: normed.append(noted(args[2].detach())))
    with watched(*(block.ln_1 for block in blocks), tower.ln_post) as states:
        scored(method, model, range(len(targets)))
    hook.remove()
    first, *after = (state.view(-1, state.shape[-1]) for state in states)
    seen, found = method.kept["seen"], method.kept["class_maps"]
    got = {"ln_pre": first, "penultimate": seen.tokens, "ln_post": normed[0], "embedding": embeddings[0]}
    got |= {f"block_{number}": state for number, state in enumerate(after)}
    attention = [*seen.attention, found.attention]
    got |= {f"attention_{number}": one for number, one in enumerate(attention, len(blocks) - len(attention))}
    got |= {"attention_last": found.attention, "activations": found.activations[1:].T.unflatten(1, seen.grid)}
    for row, target in enumerate(targets):
        got |= {f"weights_{target}": found.weights[row], f"raw_{target}": found.raw[row]}
        got[f"cam_{target}"] = method.kept["maps"][row]
    return got | {"probabilities": found.probabilities, "text_features": texts}


@golden("clipes_encoder")
def test_image_tower(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = case.arguments["model"]["vision_layers"]
    method = clipes(case, ["cat", "dog"], attention_layers=layers, background=())
    texts = torch.eye(2, method.options.sizes.features)
    check_all(case, at_work(case, monkeypatch, method, [0], texts))


@golden("clipes_gradcam")
def test_gradcam(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, texts = case.arguments["targets"], torch.from_numpy(case.inputs["text_features"])
    others = [number for number in range(len(texts)) if number not in targets]
    method = clipes(case, numbered(len(targets)), background=tuple(f"word {number}" for number in others))
    order = np.array([*targets, *others])  # classes come before the background
    got = at_work(case, monkeypatch, method, targets, texts[order])
    check_all(case, got | {"probabilities": got["probabilities"][order.argsort()]})


@golden("clipes_vitb16_probe")
@pytest.mark.slow
def test_full_size(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    names, words = case.arguments["names"], tuple(case.arguments["background"])
    layers = case.arguments["model"]["vision_layers"]
    options = {"background": words, "templates": (case.arguments["template"],), "attention_layers": layers}
    method = clipes(case, names, **options)
    needs_a_tokenizer(method.options, sentences(method.options, [*names, *words]))
    check_all(case, at_work(case, monkeypatch, method, list(range(len(names)))))


def spreading(case: Case, maps: Tensor, attention: list[Tensor], **options: Any) -> tuple[Given, Any]:
    """Return the method and its scores of an image of one pixel a cell, its maps (K, h, w) and attention given.

    As the published loop was run for the cases: with stubs for network and GradCAM that hand out what a case has.
    """
    count, *grid = maps.shape
    sizes = ClipSizes(**SMALL, patch=1)
    method = clipes(case, numbered(count), background=(), sizes=sizes, **options)
    layers = method.options.attention_layers
    seen = Seen(torch.zeros(1), attention[-layers:-1], (grid[0], grid[1]))
    method.given = {"seen": seen, "class_maps": SimpleNamespace(maps=maps, attention=attention[-1])}
    return method, scored(method, small_network(method), range(count), grid)


@golden("clipes_boxes")
def test_boxes(case: Case) -> None:
    maps = {name: torch.from_numpy(scores)[None] for name, scores in case.inputs.items()}
    for name in case.outputs:
        which, _, threshold = name.partition("/mask_")
        cells = maps[which][0].numel()
        method, _ = spreading(case, maps[which], [torch.eye(1 + cells)] * 2, box_threshold=float(threshold))
        case.check(name, method.kept["boxes"][0])
    assert case.checked == set(case.outputs)


@golden("clipes_attention_affinity")
def test_affinity(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = list(torch.from_numpy(case.inputs["attention"]))
    maps = torch.from_numpy(case.inputs["cams"])
    layers = case.arguments["layers_used"]
    inner = {name: kept_results(monkeypatch, room, name) for name in ("mean_attention", "sinkhorn", "symmetric")}
    got: dict[str, Any] = {}
    for name, threshold in case.arguments["thresholds"].items():
        method, scores = spreading(case, maps, attention, attention_layers=layers, box_threshold=threshold)
        got |= {f"{name}_refined": method.kept["refined"], f"{name}_masks": method.kept["boxes"]}
        np.testing.assert_array_equal(scores.scores, room.normalized(method.kept["refined"]))
    mean, even, both = (results[0] for results in inner.values())
    # the power itself is never formed: maps of one cell each, all of them in a box, have its columns
    cells = torch.eye(len(both)).unflatten(1, maps.shape[1:])
    method, _ = spreading(case, cells, attention, attention_layers=layers, box_edge="inclusive")
    got |= {"attention_mean": mean, "sinkhorn": even, "symmetric": both, "squared": method.kept["refined"].flatten(1).T}
    case.check_all(got)


@golden("clipes_refined_map")
def test_stored_map(case: Case) -> None:
    def stored(maps: Tensor, size: list[int]) -> Any:
        """Return the scores of an image of this size whose refined maps are given, on their own grid if one fits."""
        grid = tuple(maps.shape[1:])
        fits = [side for side in range(1, max(size) + 1) if tuple(-(-length // side) for length in size) == grid]
        sizes = ClipSizes(**SMALL, patch=(fits or [1])[0])
        method = clipes(case, numbered(len(maps)), background=(), sizes=sizes)
        before = SimpleNamespace(maps=maps, attention=torch.zeros(1))
        method.given = {"seen": Seen(torch.zeros(1), [], grid), "class_maps": before, "refined": maps}
        return scored(method, small_network(method), range(len(maps)), size)

    low, down = (torch.from_numpy(case.inputs[name]) for name in ("low", "down"))
    large, small = stored(low, case.arguments["size"]), stored(down, case.arguments["smaller_size"])
    got = {"normalised": large.scores, "full_size": large.full(0.0)[1:], "smaller": small.full(0.0)[1:]}
    # what later stages compute with where the published code stores float16
    check_all(case, got | {"stored": full_scores(large, 0.0, None, half=True)[1:]})
