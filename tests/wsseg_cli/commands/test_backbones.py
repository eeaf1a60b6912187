from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
from typer.testing import CliRunner

from wsseg_cli import main as cli
from wsseg_cli.nets.timm_hub import hub_file
from wsseg_cli.nets.timm_names import model_names
from wsseg_cli.plugin.backbones import backbone_entry
from wsseg_cli.plugin.discovery import find


def wsseg(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["backbones", *words], prog_name="wsseg", env={"COLUMNS": "160"})


def rows(*words: str) -> dict[str, dict[str, Any]]:
    done = wsseg(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["backbones"]}


def test_all_but_timms_networks_without_a_pattern() -> None:
    shown = rows()
    assert set(shown) == {found.name for found in find("backbones")} - {"timm"}
    for name, row in shown.items():
        entry = backbone_entry(name)
        assert (row["parameters"], row["feature_maps"]) == (entry.parameters, entry.feature_maps)
    done = wsseg()
    assert "resnet50" in done.stdout and f"timm/…  {len(timm.list_models())} networks" in done.stdout
    assert "resnet50_imagenet (get)" in shown["resnet50"]["weights"]


def test_weights_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSEG_WEIGHTS", str(tmp_path))
    (tmp_path / "resnet50_imagenet.safetensors").touch()
    assert rows("resnet50")["resnet50"]["weights"].startswith("resnet50_imagenet (here)")
    repository = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
    (repository / "snapshots" / "1").mkdir(parents=True)
    (repository / "snapshots" / "1" / "model.safetensors").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    code = "import sys; from wsseg_cli.main import main; sys.argv[1:] = ['backbones', 'timm/resnet18']; main()"
    environment = os.environ | {"HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "hub (here; apache-2.0)" in done.stdout, done.stderr


def test_a_pattern_looks_into_timms_networks() -> None:
    shown = rows("timm/resnet18*")
    assert set(shown) == {"timm/resnet18", "timm/resnet18d"}
    assert shown["timm/resnet18"]["feature_maps"] == {"conv3": 4, "conv4": 8, "conv5": 16, "conv6": 32}
    assert "only takes images of its own size" in rows("hiera_tiny_224")["timm/hiera_tiny_224"]["weights"]
    assert {"timm/tf_efficientnet_lite0", "efficientnet_lite0"} <= set(rows("efficientnet_lite0"))


def test_many_networks_are_listed_by_name_only() -> None:
    shown = rows("timm/*")
    assert {name.removeprefix("timm/") for name in shown} == set(timm.list_models()) == set(model_names())
    assert all(row["parameters"] is None for row in shown.values())
    assert "for 20 or fewer" in wsseg("timm/convnext*").stderr


def test_no_such_backbone() -> None:
    done = wsseg("timm/resnet55")
    assert done.exit_code == 2 and "no backbone 'timm/resnet55'; did you mean 'resnet5" in done.stderr


def test_lists_come_without_torch(tmp_path: Path) -> None:
    for words in ("['backbones']", "['backbones', 'timm/*']", "['plugins', 'list']"):
        code = (
            "import sys; from wsseg_cli.main import app; from typer.testing import CliRunner; "
            f"done = CliRunner().invoke(app, {words}); "
            "print(done.exit_code, sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "0 []"


def test_where_timm_keeps_weights() -> None:
    file = hub_file("vit_base_patch16_224.augreg_in21k_ft_in1k")
    assert file is not None and file.repository == "timm/vit_base_patch16_224.augreg_in21k_ft_in1k"
    assert (file.name, file.licence, file.saw) == (
        "model.safetensors",
        "apache-2.0",
        "ImageNet-21k and ImageNet labels",
    )
    dino = hub_file("vit_small_patch14_dinov2")
    assert dino is not None and dino.saw == "what timm's tag lvd142m says"
    assert hub_file("efficientnet_lite1") is None
