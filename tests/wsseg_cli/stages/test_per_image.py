"""Who does the images of a stage: processes on a CPU, threads that share one network on another device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from wsseg_cli.engine import processes
from wsseg_cli.engine.each import Workers
from wsseg_cli.errors import RecipeError
from wsseg_cli.main import app
from wsseg_cli.settings import RuntimeSettings
from wsseg_cli.stages import cam, network_masks
from wsseg_cli.stages.per_image import cpu_workers, device_and_workers

RECIPE = """\
name: threads
dataset: {name: toy, options: {train: 14, val: 2, size: [96, 80]}, train: train, val: val}
train_cls:
  method: {name: METHOD, options: {backbone: small, backbone_options: {width: 8}, OPTIONS}}
  weights: none
  batch_size: 4
  max_steps: 2
  augment: {crop: 64}
  optim: {name: sgd, lr: 0.01}
cam: {infer: {scales: [1.0, 1.5], flip: true}}
train_seg:
  segmenter: {name: deeplabv2, options: {backbone: small, backbone_options: {width: 8}, form: v2_small}}
  masks: ground_truth
  weights: none
  batch_size: 4
  max_steps: 2
  augment: {crop: 64}
  optim: {name: sgd, lr: 0.01}
eval: {infer: {scales: [1.0, 1.5], flip: true}, crf: psa}
runtime: {workers: 0, device: cpu}
"""


OPTIONS = {
    "cam": "dropout: 0.5",
    "seam": "dropout: 0.5",
    "eps": "dropout: 0.5",
    "puzzlecam": "alpha: 1",
    "onestage": "channels: 16, pad_size: null",
    "rsepm": "decoder_width: 16, aspp_dilations: [1, 2, 3]",
}
"""A method for each way to make score maps."""


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "start", lambda device: torch.device("cuda"))
    monkeypatch.setattr(processes, "cores", lambda: 64)


@pytest.mark.usefixtures("on_a_gpu")
def test_a_gpu_is_fed_by_threads() -> None:
    assert device_and_workers(RuntimeSettings()) == ("cuda", Workers(4, threads=True))
    assert device_and_workers(RuntimeSettings(workers=9)) == ("cuda", Workers(9, threads=True))
    assert device_and_workers(RuntimeSettings(), gradients=True) == ("cuda", Workers(1, threads=True))


@pytest.mark.usefixtures("on_a_gpu")
def test_float32_is_float32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    for wanted in (False, True, False):
        device_and_workers(RuntimeSettings(tf32=wanted))
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == wanted
    device_and_workers(RuntimeSettings(), precision="fp16")


def test_a_cpu_refuses_fp16() -> None:
    with pytest.raises(RecipeError, match=r"infer\.precision: fp16 is for GPUs"):
        device_and_workers(RuntimeSettings(device="cpu"), precision="fp16")


@pytest.mark.usefixtures("on_a_gpu")
def test_what_needs_no_network_takes_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_workers(RuntimeSettings()) == Workers(64)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert cpu_workers(RuntimeSettings()) == Workers(16)
    assert cpu_workers(RuntimeSettings(workers=3)) == Workers(3)


def files(folder: Path, *stages: str) -> dict[str, bytes]:
    paths = [path for stage in stages for path in (folder / stage).rglob("scene_*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize("method", list(OPTIONS))
def test_threads_write_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.replace("METHOD", method).replace("OPTIONS", OPTIONS[method]))
    common = ["--recipe", str(recipe), "--run", str(tmp_path / "run"), "--quiet"]
    commands = (["cam", *common, "--force"], ["eval", *common, "--what", "seg", "--force"])

    def made() -> dict[str, bytes]:
        for command in commands:
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 0, done.output
        return files(tmp_path / "run", "cam", "eval")

    for stage in ("prepare", "train-cls", "train-seg"):
        assert CliRunner().invoke(app, [stage, *common]).exit_code == 0
    alone = made()
    for module in (cam, network_masks):
        monkeypatch.setattr(module, "device_and_workers", lambda *_, **__: ("cpu", Workers(4, threads=True)))
    assert made() == alone and len(alone) > 16
