from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from loopback import Served, serving

from wsseg_cli.errors import CheckpointError, WssegError
from wsseg_cli.weights import download as room
from wsseg_cli.weights.download import download

CONTENT = bytes(range(256)) * 12000  # three blocks, the last one not whole
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(room, "_PAUSES", (0.0, 0.0))
    with serving() as served:
        served.files["/w.pth"] = CONTENT
        yield served


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_whole_file_with_progress(server: Served, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = download(f"{server.address}/w.pth", tmp_path / "new" / "w.pth", sha256=HASH, show=lambda *n: seen.append(n))
    assert out.read_bytes() == CONTENT and files(out.parent) == ["w.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    download(f"{server.address}/w.pth", out, sha256=HASH)
    assert server.asked == [("/w.pth", "")], "what is there is not fetched again"


def test_broken_connection_goes_on_where_it_stopped(server: Served, tmp_path: Path) -> None:
    server.cuts, server.cut_after = 3, 1_000_000
    out = download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=HASH)
    assert out.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["", "bytes=1000000-", "bytes=2000000-", "bytes=3000000-"]


def test_a_later_command_goes_on(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PAUSES", ())
    server.cuts, server.cut_after = 1, 1_500_000
    with pytest.raises(
        CheckpointError, match=r"w\.pth cannot be fetched .*1\.4 MiB are kept, the same command goes on"
    ):
        download(f"{server.address}/w.pth", tmp_path / "w.pth")
    assert files(tmp_path) == ["w.pth.part"]
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=HASH).read_bytes() == CONTENT
    assert server.asked[-1] == ("/w.pth", "bytes=1500000-") and files(tmp_path) == ["w.pth"]


def test_server_without_ranges_starts_anew(server: Served, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "w.pth.part").write_bytes(b"x" * 1000)
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=HASH).read_bytes() == CONTENT


@pytest.mark.parametrize("there", [CONTENT, CONTENT + b"more"], ids=["whole", "too long"])
def test_nothing_left_to_fetch(server: Served, tmp_path: Path, there: bytes) -> None:
    (tmp_path / "w.pth.part").write_bytes(there)
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=HASH).read_bytes() == CONTENT


def test_file_that_changed_on_the_server_is_fetched_anew(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.headers["/w.pth"] = {"ETag": '"1"'}
    with monkeypatch.context() as patched:
        patched.setattr(room, "_PAUSES", ())
        server.cuts, server.cut_after = 1, 1000
        with pytest.raises(CheckpointError, match="are kept"):
            download(f"{server.address}/w.pth", tmp_path / "w.pth")
    server.headers["/w.pth"] = {"ETag": '"2"'}
    server.files["/w.pth"] = CONTENT[::-1]
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth").read_bytes() == CONTENT[::-1]
    assert files(tmp_path) == ["w.pth"], "the tag goes with the part"


@pytest.mark.parametrize("expected", ["00" * 32, "0123abcd"], ids=["whole", "beginning"])
def test_wrong_checksum(server: Served, tmp_path: Path, expected: str) -> None:
    with pytest.raises(CheckpointError, match=rf"SHA256 is {HASH}, expected {expected}.*damaged in transit"):
        download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=expected)
    assert files(tmp_path) == []


def test_beginning_of_a_checksum_is_enough(server: Served, tmp_path: Path) -> None:
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=HASH[:8]).is_file()


def test_no_network(tmp_path: Path) -> None:
    with serving() as gone:
        pass
    with pytest.raises(CheckpointError, match=r"cannot be fetched .*refused"):
        download(f"{gone.address}/w.pth", tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"cannot be fetched \(.*(not known|resolution|No address)"):
        download("http://nowhere.invalid/w.pth", tmp_path / "w.pth")
    assert files(tmp_path) == []


def test_what_servers_refuse(server: Served, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="answers 404"):
        download(f"{server.address}/none.pth", tmp_path / "w.pth")
    server.status = [503, 429]
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth").is_file(), "a server that is busy is asked again"
    server.status = [503] * 9
    with pytest.raises(CheckpointError, match="503"):
        download(f"{server.address}/w.pth", tmp_path / "v.pth")


def test_a_web_page_is_no_file(server: Served, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(CheckpointError, match="web page"):
        download(f"{server.address}/w.pth", tmp_path / "w.pth")
    assert files(tmp_path) == []


def test_disk_that_is_too_small_is_known_before(
    server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = room.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(WssegError, match=r"disk is full .*5\.9 MiB are wanted, 4\.8 MiB free.*WSSEG_WEIGHTS"):
        download(f"{server.address}/w.pth", tmp_path / "w.pth", copies=2)
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth").is_file()


def test_disk_that_fills_on_the_way(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    class Full:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, block: bytes) -> None:
            if self.stream.tell() > 1_000_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.stream.write(block)

    def opened(path: Path, mode: str = "r", **more: Any) -> Any:
        stream = real(path, mode, **more)
        return Full(stream) if path.suffix == ".part" and mode in ("wb", "ab") else stream

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        with pytest.raises(WssegError, match=r"disk is full .*No space left on device.*goes on from what is there"):
            download(f"{server.address}/w.pth", tmp_path / "w.pth")
    assert files(tmp_path) == ["w.pth.part"]
    assert download(f"{server.address}/w.pth", tmp_path / "w.pth", sha256=HASH).read_bytes() == CONTENT


def test_two_at_once(server: Served, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "w.pth.lock"),
        pytest.raises(CheckpointError, match="being fetched by another process"),
    ):
        download(f"{server.address}/w.pth", tmp_path / "w.pth")
    assert server.asked == []
