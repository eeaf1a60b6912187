from __future__ import annotations

import json
from pathlib import Path

import pytest
from torchvision.models import get_model_weights
from typer.testing import CliRunner

from wsseg_cli import nets
from wsseg_cli.errors import CheckpointError
from wsseg_cli.main import app
from wsseg_cli.nets.weights import FAMILIES
from wsseg_cli.recipe.loading import builtin, load
from wsseg_cli.weights import TABLE, WORDS, Source, by_name, published

SOURCES = [(name, source) for name, row in TABLE.items() for source in row.sources]
TORCHVISION = {"resnet50_imagenet": "resnet50", "resnet101_imagenet": "resnet101", "vgg16_imagenet": "vgg16"}


@pytest.mark.parametrize(
    ("name", "source"), SOURCES, ids=lambda value: value.file if isinstance(value, Source) else value
)
def test_every_source_leads_somewhere(name: str, source: Source) -> None:
    assert source.page.startswith("http")
    assert not source.address or source.address.startswith("https://")
    assert not source.address or source.address.endswith(".zip" if source.member else f"/{source.file}")
    assert set(source.sha256 + source.sha1) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", TABLE)
def test_rows(name: str) -> None:
    row = TABLE[name]
    assert by_name(name) and name not in WORDS
    assert row.family is None or row.family in FAMILIES
    nets.require_feature_maps(row.backbone, {"conv6"})
    assert published(name) is row


@pytest.mark.parametrize("name", TORCHVISION)
def test_what_torchvision_says_of_its_files(name: str) -> None:
    entry = get_model_weights(TORCHVISION[name])["IMAGENET1K_V1"]
    source = TABLE[name].plain
    assert source is not None and source.address == entry.url
    assert source.mebibytes == round(entry.meta["_file_size"])


def test_what_verifies_a_file_is_said() -> None:
    checked = {row.name: row.sources[0].checked_by for row in TABLE.values()}
    assert checked["resnet50_imagenet"] == "sha256 begins 0676ba61" and checked["resnet101s_imagenet"] == "sha1"
    assert checked["vgg16_20M"] == checked["resnet38_imagenet"] == ""
    done = CliRunner().invoke(app, ["weights", "list"])
    for name, how in checked.items():
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
        assert (how or "no checksum") in line
    rows = json.loads(CliRunner().invoke(app, ["weights", "list", "--json"]).stdout)["weights"]
    assert {row["name"]: row["sources"][0]["checked_by"] or "" for row in rows} == checked


def test_an_unknown_name() -> None:
    with pytest.raises(
        CheckpointError, match="no published weights 'resnet38_imagnet'; did you mean 'resnet38_imagenet'"
    ):
        published("resnet38_imagnet")


@pytest.mark.parametrize("file", [path for path, _ in builtin()], ids=lambda path: path.stem)
def test_recipes_start_from_what_can_be_had(file: Path) -> None:
    recipe = load(file).recipe
    trainings = [recipe.train_cls, recipe.train_seg, recipe.refine.train if recipe.refine else None]
    for training in trainings:
        if training is not None:
            assert training.weights in WORDS or training.weights in TABLE, training.weights
