"""CLIP-ES beside its golden cases: texts, labels that are not given, views and half precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch
from tiny_clip import CLASSES, ONE_VIEW, PHOTO, clipes, network
from torch import Tensor
from wsseg_clip import texts
from wsseg_clip.affinity import box_mask
from wsseg_clip.gradcam import probabilities, softmax_gradcam
from wsseg_clip.method import CLIPES
from wsseg_clip.network import Clip
from wsseg_clip.options import ClipesOptions, ClipSizes
from wsseg_datasets.voc import Voc

from wsseg_cli.errors import PluginError, RecipeError
from wsseg_cli.plugin import ClassNames, InferSettings

# texts


def test_published_lists_know_the_classes_of_our_data_sets() -> None:
    voc: Any = Voc.Options.model_fields["classes"].default
    found = texts.class_texts(ClipesOptions(texts="voc"), ClassNames(voc))
    assert len(found) == len(voc) and found[voc.index("bird")] == "bird avian"
    names = [row.get("coco_name", row["name"]) for row in texts._data()["coco"]["classes"]]
    found = texts.class_texts(ClipesOptions(texts="coco"), ClassNames(names))
    assert (
        len(found) == 80 and found[names.index("couch")] == "sofa" and found[names.index("snowboard")] == "sknowboard"
    )
    assert texts.class_texts(ClipesOptions(texts="coco"), ClassNames(["tv", "dog"])) == ["tvmonitor screen", "dog"]
    for name in ("voc", "coco"):
        listed = [*texts.published(name).texts.values(), *texts.published(name).background]
        assert (
            texts.without_tokens(ClipesOptions(), [texts.sentence("a clean origami {}.", text) for text in listed])
            == []
        )


def test_names_are_texts_and_a_class_is_no_background() -> None:
    classes = ClassNames(["cat", "Sky", "pond"])
    options = ClipesOptions(class_texts={"pond": "lake"})
    assert texts.class_texts(options, classes) == ["cat", "Sky", "lake"]
    words = texts.background_words(options, classes)
    assert "sky" not in words and "lake" not in words and "keyboard" in words and len(words) == 23
    assert "keyboard" not in texts.background_words(ClipesOptions(texts="coco"), classes)
    assert texts.background_words(ClipesOptions(background=("wall", "wall", "cat")), classes) == ["wall"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"texts": "voc"}, "texts: voc has no class 'pond'.*class_texts"),
        ({"class_texts": {"pnd": "lake"}}, "class_texts: 'pnd' is none of the classes cat, pond"),
    ],
)
def test_classes_without_a_text(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        texts.class_texts(ClipesOptions(**options), ClassNames(["cat", "pond"]))


def test_sentences_that_have_no_numbers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "find_spec", lambda name: None)
    options = ClipesOptions()
    assert texts.token_numbers(options, ["a clean origami cat."])[0, :3].tolist() == [49406, 320, 3772]
    with pytest.raises(PluginError, match=r"'a clean origami axolotl\.': pip install 'wsseg\[clip\]'.*option `tokens`"):
        texts.token_numbers(options, ["a clean origami cat.", "a clean origami axolotl."])
    numbers = (49406, 320, 49407)
    given = ClipesOptions(tokens={"a clean origami axolotl.": numbers})
    assert texts.token_numbers(given, ["a clean origami axolotl."])[0, :4].tolist() == [*numbers, 0]
    own = CLIPES(ClipesOptions(background=("moss", "sky")), ClassNames(["one"]))
    (line,) = own.missing()
    assert "1 sentences" in line and "origami moss" in line and "wsseg[clip]" in line
    assert CLIPES(ClipesOptions(), ClassNames(["one"])).missing() == [], "the names of classes may be stand-ins"


def test_texts_that_clip_cannot_read() -> None:
    sizes = ClipSizes(context=4, vocabulary=64)
    long, strange = ClipesOptions(sizes=sizes, tokens={"x": (1,) * 5}), ClipesOptions(sizes=sizes, tokens={"x": (64,)})
    with pytest.raises(RecipeError, match="'x' has 5 tokens; CLIP reads 4"):
        texts.token_numbers(long, ["x"])
    with pytest.raises(RecipeError, match="token 64 is none of the 64"):
        texts.token_numbers(strange, ["x"])
    with pytest.raises(ValueError, match="has no token"):
        ClipesOptions(tokens={"x": ()})


def test_features_of_texts_do_not_depend_on_what_follows_the_end() -> None:
    method = clipes()
    model = network(method)
    table = texts.token_numbers(method.options, texts.sentences(method.options, list(CLASSES)))
    whole = model.backbone.text_features(torch.from_numpy(table))
    torch.testing.assert_close(model.texts[: len(CLASSES)], torch.nn.functional.normalize(whole, dim=1))


# maps


def one_by_one(clip: Clip, tokens: Tensor, rows: Tensor, targets: list[int]) -> Tensor:
    """Return the channel weights by a backward pass a class, to the block's normalised input, of the probability."""
    last, found = clip.visual.last, []
    for target in targets:
        activations = last.ln_1(tokens[None]).detach().requires_grad_()
        after, _ = last.after(tokens[None], last.queries_keys_values(activations))
        probability = probabilities(clip, clip.visual.feature(after[0]), rows).exp()[target]
        (gradient,) = torch.autograd.grad(probability, activations)
        found.append(gradient[0, 1:].mean(0))
    return torch.stack(found)


def test_gradients_together_are_those_of_a_pass_each() -> None:
    method = clipes()
    model = network(method)
    seen = model.backbone.seen(method.pixels(PHOTO), 2)
    targets = [5, 0, 3, 1, 4, 2]
    found = softmax_gradcam(model.backbone, seen.tokens, model.texts, targets, seen.grid)
    expected = one_by_one(model.backbone, seen.tokens, model.texts, targets)
    torch.testing.assert_close(found.weights, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert found.probabilities.sum().item() == pytest.approx(1, abs=1e-5)


def test_labels_given_predicted_and_none() -> None:
    method = clipes(class_probability=0.0)
    model = network(method)
    every = method.scores(model, PHOTO, tuple(range(len(CLASSES))), ONE_VIEW)
    assert every.scores.shape == (len(CLASSES), 5, 6) and every.size == (70, 93)
    np.testing.assert_array_equal(method.scores(model, PHOTO, None, ONE_VIEW).scores, every.scores)
    assert method.scores(model, PHOTO, (), ONE_VIEW).scores.shape == (0, 5, 6)
    nothing = clipes(class_probability=1.0)
    assert nothing.scores(model, PHOTO, None, ONE_VIEW).classes.tolist() == []
    seen = model.backbone.seen(method.pixels(PHOTO), 1)
    texts_of_all = softmax_gradcam(model.backbone, seen.tokens, model.texts, [0], seen.grid).probabilities
    likely = clipes(class_probability=float(texts_of_all[: len(CLASSES)].sort().values[-2:].mean()))
    assert likely.scores(model, PHOTO, None, ONE_VIEW).classes.tolist() == [int(texts_of_all[: len(CLASSES)].argmax())]


def test_several_views_know_left_from_right() -> None:
    method = clipes()
    model = network(method)
    views = InferSettings(scales=(1.0, 1.5), flip=True)
    found = method.scores(model, PHOTO, (0, 2), views)
    turned = method.scores(model, PHOTO[:, ::-1], (0, 2), views)
    np.testing.assert_allclose(found.scores, turned.scores[:, :, ::-1], atol=2e-3)
    assert found.scores.shape == (2, 5, 6) and found.scores.max() <= 1
    assert not np.allclose(found.scores, method.scores(model, PHOTO, (0, 2), ONE_VIEW).scores, atol=1e-2)


def test_an_image_of_as_many_tokens_as_a_text() -> None:
    """76 patches and the class token: the published code takes them for a text and keeps an attention too many."""
    method = clipes()
    model = network(method)
    photo = PHOTO.repeat(4, 1)[: 4 * 16, : 19 * 16]
    assert method.scores(model, photo, (1,), ONE_VIEW).scores.shape == (1, 4, 19)
    layers = tiny_clip.FEW_WORDS["layers"]
    assert len(model.backbone.seen(method.pixels(photo), layers).attention) == layers - 1


def test_half_precision_gives_nearly_the_same_maps() -> None:
    full, half = clipes(), clipes(precision="fp16")
    model, small = network(full), network(half)
    assert small.backbone.visual.conv1.weight.dtype == torch.float16
    assert small.backbone.visual.ln_pre.weight.dtype == torch.float32
    want, got = (m.scores(net, PHOTO, (0, 1), ONE_VIEW).scores for m, net in ((full, model), (half, small)))
    np.testing.assert_allclose(got, want, atol=0.05)
    assert not np.array_equal(got, want)


def test_boxes_up_to_the_edge_are_an_option() -> None:
    scores = np.zeros((4, 5), np.float32)
    scores[3, 4] = 1
    assert not box_mask(scores, 0.4).any()
    assert box_mask(scores, 0.4, inclusive=True).sum() == 1
