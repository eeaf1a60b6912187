"""Files of weights for CLIP-ES, whoever wrote them, and the model file that names them and keeps features of texts."""

from __future__ import annotations

import builtins
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch
from safetensors.torch import save_file
from tiny_clip import ONE_VIEW, PHOTO, clipes, network
from torch import Tensor

from wsseg_cli.convert import weights as convert
from wsseg_cli.convert.networks import Network
from wsseg_cli.engine import checkpoint
from wsseg_cli.engine.frozen import load_trained, write_frozen
from wsseg_cli.errors import CheckpointError
from wsseg_cli.nets.weights import match, rename
from wsseg_cli.plugin import ClassNames


def transformers_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    rules = (
        ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
        ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
        ("visual.ln_pre.", "vision_model.pre_layrnorm."),
        ("visual.ln_post.", "vision_model.post_layernorm."),
        ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
        ("transformer.resblocks.", "text_model.encoder.layers."),
        ("token_embedding.", "text_model.embeddings.token_embedding."),
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("ln_final.", "text_model.final_layer_norm."),
        ("visual.proj", "visual_projection.weight"),
        ("text_projection", "text_projection.weight"),
    )
    inside = (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("attn.out_proj", "self_attn.out_proj"))
    inside += (("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"))
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        new = next((new + name.removeprefix(old) for old, new in rules if name.startswith(old)), name)
        for old, theirs in inside:
            new = new.replace(f".{old}.", f".{theirs}.")
        if ".attn.in_proj_" in new:
            before, _, kind = new.partition("attn.in_proj_")
            named |= {
                f"{before}self_attn.{q}_proj.{kind}": part for q, part in zip("qkv", tensor.chunk(3), strict=True)
            }
        else:
            named[new] = tensor.T if new.endswith("projection.weight") else tensor
    return named


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize("who", ["open_clip", "transformers", "wrapped", "sixteen bits"])
def test_files_by_whom_they_come_from(who: str, tmp_path: Path) -> None:
    tensors = tiny_clip.tensors()
    named = {
        "open_clip": tensors,
        "transformers": transformers_names(tensors) | {"text_model.embeddings.position_ids": torch.zeros(1, 12)},
        "wrapped": {f"module.{n}": t for n, t in tensors.items()} | {"vocab_size": torch.tensor(64)},
        "sixteen bits": {name: tensor.half() for name, tensor in tensors.items()},
    }[who]
    path = saved(tmp_path / "clip.safetensors", named)
    model = clipes().build_model()
    said = checkpoint.load_initial(model, str(path))
    exact = who != "sixteen bits"
    for name, tensor in tensors.items():
        torch.testing.assert_close(model.backbone.state_dict()[name], tensor if exact else tensor.half().float())
    assert said == "400 million image-text pairs (OpenAI, not public) (clip.safetensors); licence: MIT (OpenAI)"
    with torch.device("meta"):
        checkpoint.load_initial(clipes().build_model(), str(path))


def test_a_conversion_names_the_parts_of_a_joined_tensor_and_the_transposed_one() -> None:
    theirs = {"text_model.embeddings.position_ids": torch.tensor(0.5)} | transformers_names(tiny_clip.tensors())
    theirs |= {name: torch.randn(tensor.shape) for name, tensor in theirs.items() if tensor.is_floating_point()}
    tensors = rename(theirs, "clip")
    network = Network("method clipes", "a backbone", None, match(tensors, clipes().build_model()), None)
    keys = {key.name or key.published: key for key in convert.keys_of(theirs, tensors, network)}
    assert {key.state for key in keys.values() if key.name} == {"fits"} and len(keys) == len(tensors) + 1
    assert keys["text_model.embeddings.position_ids"].state == "left out"
    before = "vision_model.encoder.layers.1.self_attn"
    parts = ", ".join(f"{before}.{letter}_proj.bias" for letter in "qkv")
    assert keys["backbone.visual.transformer.resblocks.1.attn.in_proj_bias"].published == parts
    assert keys["backbone.visual.proj"].published == "visual_projection.weight"


def test_what_a_file_says_of_itself_stands_before_what_a_recipe_says(tmp_path: Path) -> None:
    source = tmp_path / "clip.bin"
    torch.save({"state_dict": tiny_clip.tensors(tiny_clip.FEW_WORDS | {"layers": 12, "text_layers": 12})}, source)
    with pytest.raises(CheckpointError, match="does not fill the backbone of method clipes on a backbone of its own"):
        convert.run(source, tmp_path / "clip.safetensors", saw="two billion pairs")
    path = saved(tmp_path / "plain.safetensors", tiny_clip.tensors())
    method = clipes(saw="a hundred pairs", licence="none")
    assert (
        checkpoint.load_initial(method.build_model(), str(path)) == "a hundred pairs (plain.safetensors); licence: none"
    )


class Exploit:
    def __reduce__(self) -> Any:
        return (builtins.exec, ("raise SystemExit('executed')",))


def test_files_that_are_no_clip(tmp_path: Path) -> None:
    tensors = tiny_clip.tensors()
    width = tiny_clip.FEW_WORDS["features"]
    bad = {
        "one shape": (tensors | {"visual.proj": torch.zeros(width, width)}, "wrong shape visual.proj"),
        "a part": ({n: t for n, t in tensors.items() if n.startswith("visual.")}, "missing     positional_embedding"),
        "timm": ({"cls_token": torch.zeros(5), "pos_embed": torch.zeros(2), "head.weight": torch.zeros(3)}, "missing"),
        "another": ({"layer1.0.conv1.weight": torch.zeros(2, 2, 3, 3)}, "missing     "),
        "queries": (
            transformers_names(tensors)
            | {
                "vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.zeros(3, 5),
                "vision_model.x": torch.ones(1),
            },
            "visual.transformer.resblocks.0.attn.in_proj_weight",
        ),
    }
    for what, (named, words) in bad.items():
        path = saved(tmp_path / f"{what}.safetensors", named)
        for device in ("cpu", "meta"):
            with pytest.raises(CheckpointError, match="does not fit the network") as caught, torch.device(device):
                checkpoint.load_initial(clipes().build_model(), str(path))
            assert words in str(caught.value), what
    pickled = tmp_path / "clip.pt"
    pickled.write_bytes(pickle.dumps(Exploit()))
    disguised = tmp_path / "clip.safetensors"
    disguised.write_bytes(pickled.read_bytes())
    for path in (pickled, disguised):
        with pytest.raises(CheckpointError, match=r"wsseg convert weights|not a readable safetensors"):
            checkpoint.load_initial(clipes().build_model(), str(path))
    with pytest.raises(CheckpointError, match=r"refused|no PyTorch checkpoint"):
        convert.run(pickled, tmp_path / "out.safetensors")


def test_hub_has_one_size() -> None:
    model = clipes().build_model()
    with pytest.raises(CheckpointError, match="that file is ViT-B/16"):
        checkpoint.load_initial(model, "hub")


# the model file


def test_the_model_file_keeps_features_and_no_weights(tmp_path: Path) -> None:
    method, weights = clipes(), tiny_clip.write(tmp_path / "clip.safetensors")
    path = tmp_path / "model.safetensors"
    said = write_frozen(path, method, str(weights), {"name": "clipes"})
    assert "400 million" in said and path.stat().st_size < 4000 < weights.stat().st_size
    tensors, header = checkpoint.read_tensors(path)
    assert list(tensors) == ["texts"] == header["kept"]
    model = method.build_model()
    with pytest.raises(CheckpointError, match="no features of texts"):
        method.scores(model, PHOTO, (0,), ONE_VIEW)
    load_trained(model, path)
    want = method.scores(network(method), PHOTO, (0, 4), ONE_VIEW).scores
    np.testing.assert_array_equal(method.scores(model, PHOTO, (0, 4), ONE_VIEW).scores, want)

    other = clipes(ClassNames(["cat", "dog"]))
    with pytest.raises(CheckpointError, match=r"texts \(8, 32\), expected \(4, 32\)"):
        load_trained(other.build_model(), path)
    checkpoint.tensor_files.write_tensors(path, {}, header)
    with pytest.raises(CheckpointError, match="lacks what was computed"):
        load_trained(method.build_model(), path)
    checkpoint.tensor_files.write_tensors(path, tensors, header | {"frozen": dict.fromkeys(header["frozen"], "")})
    with pytest.raises(CheckpointError, match=r"model\.safetensors: weights: '' is neither a file"):
        load_trained(method.build_model(), path)
    checkpoint.tensor_files.write_tensors(path, tensors, header)
    tiny_clip.write(weights, seed=1)
    with pytest.raises(CheckpointError, match="whose content has since changed"):
        load_trained(method.build_model(), path)
    with pytest.raises(CheckpointError, match="would be random"):
        write_frozen(path, method, "none", {})
