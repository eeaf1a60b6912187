from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from wsseg_cli.disk.archives import blocks, is_archive, opened, unpack


def test_members_are_unpacked_within_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text", b"abc" * 1000)
        archive.writestr("zeros", bytes(40 << 20))
    with opened(path) as archive:
        text, zeros = archive.infolist()
        assert unpack(archive, text, 3000) == b"".join(blocks(archive, text, 3000)) == b"abc" * 1000
        with pytest.raises(zipfile.BadZipFile, match=r"text has 3,000 bytes, packed in \d+; at most 2,999"):
            unpack(archive, text, 2999)
        with pytest.raises(zipfile.BadZipFile, match=r"zeros has 41,943,040 bytes, packed in 40,\d+; at most 2"):
            unpack(archive, zeros, 1 << 30)


def test_damage_is_one_kind_of_error(tmp_path: Path) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text", b"abc" * 1000)
    whole = held.getvalue()
    path, seen = tmp_path / "a.zip", set()
    for place in range(len(whole)):
        for value in (0, 255):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                with opened(path) as archive:
                    seen.add(b"".join(unpack(archive, entry, 1 << 20) for entry in archive.infolist()))
            except (zipfile.BadZipFile, OSError) as error:
                seen.add(type(error))
    assert zipfile.BadZipFile in seen and OSError not in seen


def test_an_archive_that_is_cut_off_is_no_other_file(tmp_path: Path) -> None:
    path, text = tmp_path / "a.zip", tmp_path / "a.xml"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text", b"abc" * 1000)
    text.write_text("<annotations/>")
    assert is_archive(path) and not is_archive(text)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(zipfile.BadZipFile, match="cut off"):
        is_archive(path)
