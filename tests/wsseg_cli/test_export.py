"""export: ONNX that equals torch at sizes it was not traced with; the test server's archive, what it refuses."""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from wsseg_deeplab.segmenter import DeepLab, DeepLabV1, DeepLabV2, DeepLabV3Plus

from wsseg_cli import main as cli
from wsseg_cli.data.files import from_header
from wsseg_cli.data.stores import write_mask
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError, PluginError
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import predictor_from, trained
from wsseg_cli.types import ClassNames


def wsseg(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words), prog_name="wsseg", env={"COLUMNS": "200"})


def model_file(path: Path, cls: type[DeepLab] = DeepLabV2, name: str = "deeplabv2", **options: Any) -> Path:
    """Write a network with random weights as `train-seg` writes a trained one."""
    torch.manual_seed(0)
    segmenter = cls(cls.Options(**{"backbone": "small", **options}), ClassNames(["disc", "ring"]))
    model = segmenter.build_model()
    with torch.no_grad():
        for parameter in model.head.parameters():  # type: ignore[union-attr]
            parameter.normal_(std=0.2)  # scores that differ from pixel to pixel
    header = {
        "kind": "segmenters",
        "name": name,
        "options": segmenter.options.model_dump(mode="json"),
        "classes": list(segmenter.classes),
        "normalization": asdict(segmenter.normalization),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_model(path, model, header)
    return path


NARROW = {"width": 4}
NETWORKS: dict[str, tuple[type[DeepLab], str, dict[str, Any]]] = {
    "plain": (DeepLabV2, "deeplabv2", {}),
    "fused scales": (DeepLabV2, "deeplabv2", {"multi_scale": (0.5, 0.75)}),
    "v3+": (DeepLabV3Plus, "deeplabv3plus", {}),
    "vgg16": (DeepLabV1, "deeplabv1", {"backbone": "vgg16", "backbone_options": NARROW}),
    "resnet38": (DeepLabV1, "deeplabv1", {"backbone": "resnet38", "backbone_options": NARROW}),
    "efficientnet": (DeepLabV2, "deeplabv2", {"backbone": "efficientnet_lite0", "form": "v2_small"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=lambda name: name)
def test_onnx_is_torch_at_any_size_and_batch(network: str, tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    cls, name, options = NETWORKS[network]
    file = model_file(tmp_path / "net.safetensors", cls, name, **options)
    done = wsseg("export", "onnx", str(file), "--json")
    assert done.exit_code == 0, done.output
    compared = json.loads(done.stdout)["compared"]
    assert len({tuple(c["shape"][1:]) for c in compared}) == 2 and len({c["shape"][0] for c in compared}) == 2
    assert max(c["difference"] for c in compared) <= 1e-4
    written = tmp_path / "net.onnx"
    metadata = {entry.key: entry.value for entry in onnx.load(written).metadata_props}
    assert metadata["classes"].split("\n") == ["background", "disc", "ring"]
    # a third size, through the segmenter's own view of a photo
    segmenter = predictor_from(file)
    image = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    got = session.run(None, {"pixels": image.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    want = segmenter.logits(trained(segmenter, file, "cpu"), image, InferSettings())
    np.testing.assert_allclose(got, want, atol=1e-4 * max(1.0, np.abs(want).max()))


def test_onnx_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsseg_cli.export.importlib.util.find_spec", lambda name: None if name == "onnx" else 1)
    done = wsseg("export", "onnx", str(model_file(tmp_path / "net.safetensors")))
    assert done.exit_code == 2 and "pip install 'wsseg[onnx]'" in done.stderr


def test_files_that_are_no_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    good = model_file(tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="its header: `kind`: field required"):
        save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
        predictor_from(tmp_path / "bare.safetensors")
    header = checkpoint.read_header(good)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"kind": "refiners"}, CheckpointError, "expected a segmentation network"),
        ({"kind": "methods", "name": "cam"}, CheckpointError, "gives score maps rather than masks"),
        ({"name": "deeplabv9"}, PluginError, "no plugin 'deeplabv9'"),
        ({"options": {"backbon": "small"}}, CheckpointError, "backbon"),
        ({"normalization": {**header["normalization"], "scale": 1.0}}, CheckpointError, "trained on pixels"),
    ]
    for change, error, message in cases:
        metadata = {"wsseg": json.dumps(header | change)}
        assert from_header(metadata)
        save_file(load_file(good), tmp_path / "changed.safetensors", metadata=metadata)
        with pytest.raises(error, match=message):
            predictor_from(tmp_path / "changed.safetensors")
    done = wsseg("export", "onnx", str(tmp_path / "none.safetensors"))
    assert done.exit_code == 6 and "no such run or file" in done.stderr
    done = wsseg("export", "onnx", str(tmp_path))
    assert done.exit_code == 6 and "not a run" in done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a recipe of a few toy scenes with masks and its run, trained a step, list `val` predicted."""
    folder = tmp_path_factory.mktemp("voc")
    recipe = folder / "toy.yaml"
    recipe.write_text((Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml").read_text())
    overrides = [
        "dataset.options.train=6",
        "dataset.options.val=4",
        "train_cls=null",
        "cam=null",
        "pseudo=null",
        "train_seg.weights=none",
        "train_seg.masks=ground_truth",
        "train_seg.max_steps=2",
        "train_seg.batch_size=2",
        "train_seg.schedule.warmup=1",
        "train_seg.augment.crop=48",
        "runtime.workers=0",
        "runtime.device=cpu",
    ]
    words = [word for text in overrides for word in ("--set", text)]
    done = wsseg("run", "-r", str(recipe), "--run", str(folder / "run"), *words)
    assert done.exit_code == 0, done.output
    return recipe, folder / "run"


def test_server_archive(run: tuple[Path, Path], tmp_path: Path) -> None:
    done = wsseg("export", "voc-server", str(run[1]), "--split", "val", "--out", str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["images"] == 4
    folder = tmp_path / "results" / "VOC2012" / "Segmentation" / "comp6_val_cls"
    files = sorted(folder.iterdir())
    assert len(files) == 4
    picture = Image.open(files[0])
    assert picture.mode == "P" and np.asarray(picture).max() < 255
    first = (tmp_path / "results.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "results.tar.gz") as tar:
        assert tar.getnames() == [file.relative_to(tmp_path).as_posix() for file in files]
    assert wsseg("export", "voc-server", str(run[1]), "--split", "val", "--out", str(tmp_path)).exit_code == 0
    assert (tmp_path / "results.tar.gz").read_bytes() == first


def test_server_refuses(run: tuple[Path, Path], tmp_path: Path) -> None:
    masks = sorted((run[1] / "eval" / "seg-val").glob("*.png"))
    kept = masks[0].read_bytes()
    height, width = np.asarray(Image.open(masks[0])).shape

    def words() -> Any:
        return wsseg("export", "voc-server", str(run[1]), "--split", "val", "--out", str(tmp_path))

    try:
        write_mask(masks[0], np.full((height, width), 255, np.uint8))
        assert words().exit_code == 4 and "value 255" in words().stderr
        write_mask(masks[0], np.zeros((height, width - 1), np.uint8))
        assert words().exit_code == 4 and f"{width - 1}x{height}" in words().stderr
        write_mask(masks[0], np.full((height, width), 77, np.uint8))
        assert words().exit_code == 4 and "mask value 77" in words().stderr
        masks[0].unlink()
        assert words().exit_code == 5 and "1 of 4 masks are not there" in words().stderr
        done = wsseg("export", "voc-server", str(run[1]))
        assert done.exit_code == 5 and "wsseg prepare --split test" in done.stderr
    finally:
        masks[0].write_bytes(kept)
    assert not (tmp_path / "results.tar.gz").exists()
