from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.errors import CheckpointError
from wsseg_cli.weights import WORDS, by_name, folder, locate, path_of


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WSSEG_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "weights"


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder() == tmp_path / "weights" and not folder().exists()
    monkeypatch.delenv("WSSEG_WEIGHTS")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert folder() == tmp_path / "data" / "wsseg" / "weights"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / ".local" / "share" / "wsseg" / "weights"
    monkeypatch.setenv("WSSEG_WEIGHTS", "~/w")
    assert folder() == tmp_path / "w"


def test_an_account_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("WSSEG_WEIGHTS")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(CheckpointError, match="export WSSEG_WEIGHTS=DIR"):
        folder()


def test_words_are_no_files() -> None:
    for word in WORDS:
        assert not by_name(word)
        with pytest.raises(CheckpointError, match=f"{word} is not a file"):
            locate(word)


def test_a_name_is_found_in_the_folder(own_folder: Path) -> None:
    own_folder.mkdir()
    for name in ("resnet38_imagenet", "mine"):
        path_of(name).write_bytes(b"")
        assert by_name(name) and locate(name) == own_folder / f"{name}.safetensors"


def test_a_path_stays_a_path(tmp_path: Path) -> None:
    for name in ("w.safetensors", "resnet38_imagenet"):
        (tmp_path / name).write_bytes(b"")
        assert not by_name(name) and locate(name) == Path(name), "a file that is there wins"
    assert not by_name("sub/w")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("resnet50_imagenet", r"is not in .*weights yet; bring it there: wsseg weights get resnet50_imagenet"),
        ("resnet50_imagnet", "did you mean 'resnet50_imagenet'"),
        ("packge", "did you mean 'package'"),
        ("", "'' is neither a file"),
        ("n" * 400, "is neither a file"),
        ("old/resnet50_imagenet.safetensors", r"no such file; `weights: resnet50_imagenet` finds it by name after"),
        ("old/mine.safetensors", "no such file$"),
        (".", "is a folder"),
        ("/", "is a folder"),
    ],
)
def test_what_is_not_there(value: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        locate(value)
