from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsseg_cli.disk.reading import open_regular, read_bytes, read_text, require_regular


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, words in (("fifo", "a FIFO"), ("zero", "a device"), (".", "a folder")):
        for read in (open_regular, require_regular, lambda path: read_bytes(path, 10)):
            with pytest.raises(OSError, match=words):
                read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345\r\n")
    assert read_bytes(tmp_path / "a", 7) == b"12345\r\n"
    assert read_text(tmp_path / "a", 7) == "12345\n"
    with pytest.raises(OSError, match="7 bytes; at most 6 are read"):
        read_bytes(tmp_path / "a", 6)
