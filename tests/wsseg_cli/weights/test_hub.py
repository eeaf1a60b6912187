"""`weights: hub` against servers on the loopback address: torchvision's addresses, and a small Hugging Face hub."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import Served, serving
from safetensors.torch import save
from shell import ROOT, environment
from torch import nn

from wsseg_cli import nets
from wsseg_cli.engine import checkpoint, hub_weights
from wsseg_cli.errors import CheckpointError
from wsseg_cli.types import HubFile
from wsseg_cli.weights import download as downloads
from wsseg_cli.weights import hub


class OnHub(nn.Module):
    """A backbone with weights on a hub."""

    def __init__(self, file: HubFile) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.file = file

    def hub_file(self) -> HubFile:
        return self.file

    def from_hub(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name.removeprefix("theirs."): tensor for name, tensor in tensors.items()}


TENSORS = {
    "theirs.conv.weight": torch.arange(6.0).reshape(2, 3, 1, 1),
    "theirs.conv.bias": torch.ones(2),
    "fc.weight": torch.ones(1000, 2),
}


def network(file: HubFile) -> nn.Module:
    model = nn.Module()
    model.backbone = OnHub(file)
    return model


def pickled(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(downloads, "_PAUSES", ())
    with serving() as served:
        served.files["/net.pth"] = pickled(TENSORS)
        yield served


def at(server: Served, **more: Any) -> HubFile:
    digest = hashlib.sha256(server.files["/net.pth"]).hexdigest()[:8]
    return HubFile("net.pth", address=f"{server.address}/net.pth", licence="theirs", sha256=digest, **more)


def test_a_file_with_an_address_is_fetched_once(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        model = network(at(server, mebibytes=2))
        hub_weights.bring(model, quiet=False)
        assert checkpoint.load_initial(model, "hub") == "ImageNet labels (net.pth); licence: theirs"
        assert torch.equal(model.backbone.conv.weight, TENSORS["theirs.conv.weight"])
    assert len(server.asked) == 1 and (hub.torch_cache() / "net.pth").is_file()
    assert "fetching net.pth (2 MiB, licence: theirs)" in capsys.readouterr().err


def test_a_damaged_file_in_the_cache_is_named(server: Served) -> None:
    hub.fetch(at(server))
    (hub.torch_cache() / "net.pth").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"torch.*net\.pth: the SHA256 is .*, expected"):
        hub.fetch(at(server))


def test_without_a_network_one_message_says_everything(server: Served) -> None:
    file = HubFile("net.pth", address="http://nowhere.invalid/net.pth", licence="theirs", mebibytes=98)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_initial(network(file), "hub")
    text = str(caught.value)
    assert caught.value.exit_code == 6
    for words in ("net.pth, 98 MiB, licence: theirs", "curl -LO http://nowhere.invalid/net.pth", "TORCH_HOME"):
        assert words in text
    assert str(hub.torch_cache() / "net.pth") in text and "weights: start.safetensors" in text


def test_a_pickle_that_holds_more_than_tensors_is_refused(server: Served) -> None:
    server.files["/net.pth"] = pickled({**TENSORS, "object": Path("x")})
    with pytest.raises(CheckpointError, match=r"is refused: .*Nothing of it was executed"):
        checkpoint.load_initial(network(at(server)), "hub")


def test_weights_of_another_network(server: Served) -> None:
    server.files["/net.pth"] = pickled({"theirs.conv.weight": torch.ones(5, 3, 1, 1)})
    with pytest.raises(CheckpointError, match=r"does not fit the network:\n  wrong shape conv\.weight"):
        checkpoint.load_initial(network(at(server)), "hub")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet38", {}, "no hub has weights for ResNet38; `wsseg weights list`"),
        ("resnet101", {"stem": "deep"}, "7x7 stem; with stem: deep use `weights: resnet101s_imagenet`"),
        ("resnet50", {"normalization": "caffe"}, r"set backbone_options \{normalization: imagenet\}"),
        ("vgg16", {}, "has no fc6 and fc7 of 1024 channels"),
        ("small", {}, "no hub has weights for"),
    ],
)
def test_backbones_that_no_hub_has(name: str, options: dict[str, Any], message: str) -> None:
    model = nn.Module()
    with torch.device("meta"):
        model.backbone = nets.backbone(name, **options)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load_initial(model, "hub")


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "vgg16"])
def test_torchvisions_tensors_fill_our_backbones(name: str) -> None:
    import torchvision

    options = {"fc6_dilation": None, "normalization": "imagenet"} if name == "vgg16" else {}
    with torch.device("meta"):
        backbone = nets.backbone(name, **options)
        theirs = getattr(torchvision.models, name)().state_dict()
    file = backbone.hub_file()
    assert file.address.startswith("https://download.pytorch.org/") and file.name.endswith(f"-{file.sha256}.pth")
    assert file.mebibytes > 90
    ours = backbone.from_hub(theirs)
    assert [line for line in checkpoint.differences(backbone.state_dict(), ours) if "unexpected  fc." not in line] == []


HUB = """
import sys
from wsseg_cli.types import HubFile
from wsseg_cli.weights import hub
from wsseg_cli.errors import WssegError
try:
    print(hub.fetch(HubFile(sys.argv[1], "timm/net.a1_in1k", licence="apache-2.0", mebibytes=9), note=print))
except WssegError as error:
    print(error); sys.exit(error.exit_code)
"""


def on_hub(folder: Path, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = environment(folder) | {"HF_HOME": str(folder / "hf"), "no_proxy": "*", **variables}
    words = [sys.executable, "-c", HUB, name]
    return subprocess.run(words, capture_output=True, text=True, env=env, cwd=ROOT)


def test_hugging_face_hub(tmp_path: Path, server: Served) -> None:
    content = save({"conv.weight": torch.ones(2, 3, 1, 1)})
    path = "/timm/net.a1_in1k/resolve/main/model.safetensors"
    server.files[path] = content
    server.headers[path] = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "a" * 40}
    done = on_hub(tmp_path, "model.safetensors", HF_ENDPOINT=server.address)
    assert done.returncode == 0, done.stdout + done.stderr
    note, file = done.stdout.splitlines()
    assert note == "fetching model.safetensors of timm/net.a1_in1k (9 MiB, licence: apache-2.0)"
    assert Path(file).read_bytes() == content and file.startswith(str(tmp_path / "hf"))
    asked = len(server.asked)
    again = on_hub(tmp_path, "model.safetensors", HF_ENDPOINT=server.address, HF_HUB_OFFLINE="1")
    assert again.stdout == f"{file}\n" and len(server.asked) == asked, "out of the cache, without a word"


def test_hugging_face_hub_offline(tmp_path: Path) -> None:
    done = on_hub(tmp_path, "model.safetensors", HF_HUB_OFFLINE="1")
    assert done.returncode == 6 and done.stderr == ""
    for words in (
        "model.safetensors of timm/net.a1_in1k, 9 MiB, licence: apache-2.0",
        "hf download timm/net.a1_in1k model.safetensors",
        f"HF_HOME (~/.cache/huggingface) to {tmp_path / 'hf'}",
        "weights: PATH/model.safetensors",
    ):
        assert words in done.stdout


def test_hugging_face_hub_refuses(tmp_path: Path, server: Served) -> None:
    done = on_hub(tmp_path, "model.safetensors", HF_ENDPOINT=server.address)
    assert done.returncode == 6 and "404" in done.stdout and "Traceback" not in done.stderr
