"""`wsseg weights get` and `add` against a server on the loopback address; a small network stands in the table."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import Served, serving
from torch import nn
from typer.testing import CliRunner

from wsseg_cli import nets
from wsseg_cli.convert import start_weights
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError, DataError, RecipeError
from wsseg_cli.main import app
from wsseg_cli.weights import TABLE, Published, Source, folder, path_of
from wsseg_cli.weights import download as downloads

LITE = "efficientnet_lite0"


@pytest.fixture(scope="module")
def published() -> bytes:
    """A checkpoint as its authors would have it, weights drawn at random."""
    torch.manual_seed(0)
    stream = io.BytesIO()
    torch.save(nets.backbone(LITE, classes=3).state_dict(), stream)
    return stream.getvalue()


@pytest.fixture
def server(published: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve the checkpoint, and have rows of it in the table and an empty folder of start weights."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("WSSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(downloads, "_PAUSES", ())
    with serving() as served:
        served.files["/lite.pth"] = published
        sha256 = downloads.hashlib.sha256(published).hexdigest()
        page = "https://example.org/page"
        rows = [
            Source("lite.pth", 18, f"{served.address}/lite.pth", page, sha256=sha256),
            Source("lite.pth", 18, f"{served.address}/lite.zip", page, member="lite.pth", sha1="1" * 40),
            Source("lite.pth", page=page),
        ]
        for name, source in zip(("plain", "zipped", "paged"), rows, strict=True):
            row = Published(name, LITE, (source,), saw="many photos", licence="MIT (theirs)", note="a note")
            monkeypatch.setitem(TABLE, name, row)
        yield served


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, ["weights", *map(str, words)], env={"COLUMNS": "120"})


def left() -> list[str]:
    """Return what lies in the folder of start weights, downloads included."""
    return sorted(
        p.relative_to(folder()).as_posix() for p in folder().rglob("*") if p.is_file() and p.suffix != ".lock"
    )


def loaded(name: str) -> tuple[nn.Module, str]:
    model = nn.Module()
    model.backbone = nets.backbone(LITE)
    return model, checkpoint.load_initial(model, name)


def test_get_brings_weights_that_a_recipe_finds_by_name(server: Served, published: bytes) -> None:
    done = wsseg("get", "plain")
    assert done.exit_code == 0, done.stderr
    assert "has seen  many photos" in done.stdout and "licence   MIT (theirs)" in done.stdout
    assert str(path_of("plain")) in done.stdout and "`weights: plain` in a recipe" in done.stderr
    size = -(-len(published) >> 20)
    assert f"{size}/{size}" in done.stderr.splitlines()[-2], "progress in MiB"
    assert left() == ["plain.safetensors"] and not (folder() / ".downloads" / "plain").exists()
    model, said = loaded("plain")
    assert said == "many photos; licence: MIT (theirs)"
    want = torch.load(io.BytesIO(published), weights_only=True)
    assert all(torch.equal(value, want[name]) for name, value in model.backbone.state_dict().items())
    header = checkpoint.read_header(path_of("plain"))
    assert header["sha256"] == TABLE["plain"].sources[0].sha256 and header["address"].endswith("/lite.pth")
    again = wsseg("get", "plain")
    assert again.exit_code == 2 and "already exists; --force" in again.stderr and len(server.asked) == 1
    assert wsseg("get", "plain", "--force", "--quiet").stderr == ""


def test_nothing_is_fetched_that_was_not_asked_for(server: Served) -> None:
    with pytest.raises(CheckpointError, match="wsseg weights get plain"):
        loaded("plain")
    for words in (["list"], ["list", "--json"], ["where"]):
        assert wsseg(*words).exit_code == 0
    assert wsseg("where", "plain").exit_code == 6 and wsseg("get", "paged").exit_code == 6
    assert server.asked == [] and not folder().exists()


def test_a_broken_download_is_gone_on_from(server: Served) -> None:
    server.cuts, server.cut_after = 1, 5_000_000
    broken = wsseg("get", "plain")
    assert broken.exit_code == 6 and "4.8 MiB are kept, the same command goes on from there" in broken.stderr
    assert left() == [".downloads/plain/lite.pth.part"]
    assert wsseg("get", "plain").exit_code == 0
    assert [wanted for _, wanted in server.asked] == ["", "bytes=5000000-"] and left() == ["plain.safetensors"]


def test_wrong_checksum(server: Served, published: bytes) -> None:
    server.files["/lite.pth"] = published[:-1] + b"!"
    done = wsseg("get", "plain")
    assert done.exit_code == 6 and "expected" in done.stderr and "Traceback" not in done.stderr
    assert left() == []
    server.files["/lite.pth"] = published
    assert wsseg("get", "plain").exit_code == 0


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04"], ids=["empty", "text", "zip"])
def test_a_mirror_with_another_file(server: Served, damage: bytes) -> None:
    server.files["/mirror.pth"] = damage
    done = wsseg("get", "plain", "--from", f"{server.address}/mirror.pth")
    assert done.exit_code == 6 and "weights add plain FILE" in done.stderr and left() == []


def test_a_mirror(server: Served, published: bytes) -> None:
    server.files["/deep/lite.pth"] = published
    assert wsseg("get", "plain", "--from", f"{server.address}/deep/lite.pth?raw=1").exit_code == 4 + 2
    server.files["/deep/lite.pth?raw=1"] = published
    assert wsseg("get", "plain", "--from", f"{server.address}/deep/lite.pth?raw=1").exit_code == 0
    for address in (
        "file:///etc/passwd",
        "ftp://h/x.pth",
        f"{server.address}/",
        "lite.pth",
        "http://[x/y.pth",
        "http://h/..",
    ):
        assert wsseg("get", "paged", "--from", address).exit_code == 2
    assert "is not a valid address" in wsseg("get", "paged", "--from", f"{server.address}/ü.pth").stderr


def test_no_network(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("lite.pth", address="http://nowhere.invalid/lite.pth", page="https://example.org/page")
    monkeypatch.setitem(TABLE, "far", Published("far", LITE, (source,)))
    done = wsseg("get", "far")
    assert done.exit_code == 6 and "cannot be fetched" in done.stderr
    assert (
        "By hand: download lite.pth (http://nowhere.invalid/lite.pth), then: wsseg weights add far FILE" in done.stderr
    )
    assert left() == []


def test_full_disk(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patched:
        patched.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=20_000_000))
        done = wsseg("get", "plain")
    assert done.exit_code == 1 and "disk is full" in done.stderr and "WSSEG_WEIGHTS=DIR" in done.stderr

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        done = wsseg("get", "plain")
    assert done.exit_code == 4 and "No space left on device" in done.stderr
    assert left() == [".downloads/plain/lite.pth"], "what was fetched is kept"
    asked = len(server.asked)
    assert wsseg("get", "plain").exit_code == 0 and len(server.asked) == asked and left() == ["plain.safetensors"]


def test_a_folder_that_cannot_be_written(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WSSEG_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(DataError, match="WSSEG_WEIGHTS=DIR"):
        start_weights.get("plain", quiet=True)


def test_archives(server: Served, published: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("somewhere/lite.pth", published)
    server.files["/lite.zip"] = stream.getvalue()
    done = wsseg("get", "zipped")
    assert done.exit_code == 6 and "SHA1 is" in done.stderr and left() == []
    row = TABLE["zipped"]
    sha1 = downloads.hashlib.sha1(published).hexdigest()
    source = Source(**{**vars(row.sources[0]), "sha1": sha1})
    monkeypatch.setitem(TABLE, "zipped", Published("zipped", LITE, (source,)))
    assert wsseg("get", "zipped").exit_code == 0 and left() == ["zipped.safetensors"]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("other.txt", "x")
    server.files["/lite.zip"] = stream.getvalue()
    done = wsseg("get", "zipped", "--force")
    assert done.exit_code == 6 and "has no lite.pth; it holds other.txt" in done.stderr
    assert left() == ["zipped.safetensors"], "what was there stays"


def test_add(server: Served, published: bytes, tmp_path: Path) -> None:
    refused = wsseg("get", "paged")
    assert refused.exit_code == 6 and "lite.pth (https://example.org/page)" in refused.stderr
    file = tmp_path / "lite.pth"
    file.write_bytes(published)
    assert wsseg("add", "paged", file).exit_code == 0
    assert file.is_file() and loaded("paged")[1] == "many photos; licence: MIT (theirs)"
    assert checkpoint.read_header(path_of("paged"))["address"] is None
    again = wsseg("add", "paged", file)
    assert again.exit_code == 2 and "--force" in again.stderr
    assert wsseg("add", "paged", tmp_path / "none.pth", "--force").exit_code == 6
    unknown = wsseg("add", "pagde", file)
    assert unknown.exit_code == 6 and "did you mean 'paged'" in unknown.stderr
    file.write_bytes(b"other")
    wrong = wsseg("add", "plain", file)
    assert wrong.exit_code == 6 and "expected" in wrong.stderr and file.is_file(), "somebody's file is never removed"


def test_weights_of_another_network(server: Served, published: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(published)
    with pytest.raises(CheckpointError, match=rf"holds backbone {LITE}, not resnet50_imagenet"):
        start_weights.add("resnet50_imagenet", file)
    TABLE["marked"] = Published("marked", LITE, TABLE["plain"].sources, mark="fc8.weight")
    try:
        with pytest.raises(CheckpointError, match=r"without fc8\.weight"):
            start_weights.add("marked", file)
    finally:
        del TABLE["marked"]
    assert left() == []


def test_list(server: Served) -> None:
    wsseg("get", "plain")
    shutil.copy(path_of("plain"), path_of("own"))
    lines = {line.split()[0]: line for line in wsseg("list").stdout.splitlines()}
    assert lines["plain"].split()[1] == "here" and lines["zipped"].split()[1] == "-"
    assert "by hand" in lines["paged"] and "yours" in lines["own"]
    said = json.loads(wsseg("list", "--json").stdout)
    rows = {row["name"]: row for row in said["weights"]}
    assert rows["plain"]["path"] == str(path_of("plain")) and rows["paged"]["path"] is None and said["own"] == ["own"]
    assert rows["resnet50_imagenet"]["sources"][0]["sha256"] == "0676ba61"
    assert wsseg("where", "plain").stdout.strip() == str(path_of("plain"))
    with pytest.raises(RecipeError, match="already exists"):
        start_weights.get("plain")


@pytest.mark.slow
def test_a_row_of_the_table_from_a_mirror(server: Served) -> None:
    import torchvision

    stream = io.BytesIO()
    torch.save(torchvision.models.resnet50().state_dict(), stream)
    server.files["/mirror.pth"] = stream.getvalue()
    done = wsseg("get", "resnet50_imagenet", "--from", f"{server.address}/mirror.pth")
    assert done.exit_code == 0, done.stderr
    model = nn.Module()
    model.backbone = nets.backbone("resnet50")
    assert checkpoint.load_initial(model, "resnet50_imagenet") == "ImageNet labels; licence: BSD-3-Clause (torchvision)"
    server.files["/resnet50-0676ba61.pth"] = stream.getvalue()
    wrong = wsseg("get", "resnet50_imagenet", "--force", "--from", f"{server.address}/resnet50-0676ba61.pth")
    assert wrong.exit_code == 6 and "expected 0676ba61…" in wrong.stderr, "a file of the table's is checked anywhere"
