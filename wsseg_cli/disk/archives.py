"""Members of other people's zip archives: none that unfolds into far more than it is packed in."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from .reading import MEGABYTE

_BEGINNING = b"PK\x03\x04"

_FOLD, _FREE = 100, 16 * MEGABYTE
"""How many times its packed size a member may have beyond the bytes that any may; text has ten to twenty."""


def check_member(entry: zipfile.ZipInfo, largest: int) -> None:
    """Refuse a member of more than `largest` bytes, or one that unfolds, before any of it is unpacked.

    Raises:
        zipfile.BadZipFile: it does.
    """
    most = min(largest, _FREE + _FOLD * entry.compress_size)
    if entry.file_size > most:
        raise zipfile.BadZipFile(
            f"{entry.filename[:80]} has {entry.file_size:,} bytes, packed in {entry.compress_size:,}; "
            f"at most {most:,} are unpacked"
        )


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip archive; one whose table of contents, at the end, is missing is refused.

    Raises:
        zipfile.BadZipFile: it begins as an archive and is cut off. OSError: it cannot be read.
    """
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        if file.read(len(_BEGINNING)) == _BEGINNING:
            raise zipfile.BadZipFile("the archive is cut off: it has no table of contents; export or copy it again")
    return False


def opened(path: Path) -> zipfile.ZipFile:
    """Return an archive for reading.

    Raises:
        zipfile.BadZipFile: its table of contents is damaged. OSError: it cannot be read.
    """
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile):
        raise
    except Exception as error:  # zipfile fails in any way on a damaged table
        raise zipfile.BadZipFile(str(error) or type(error).__name__) from None


def blocks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, largest: int) -> Iterator[bytes]:
    """Yield the content of a member of at most `largest` bytes, block by block.

    Raises:
        zipfile.BadZipFile: as `check_member`, or a damaged member.
    """
    check_member(entry, largest)
    try:
        with archive.open(entry) as stream:
            while block := stream.read(MEGABYTE):
                yield block
    except Exception as error:  # as do the unpackers below it on a damaged member
        raise zipfile.BadZipFile(f"{entry.filename[:80]} cannot be unpacked ({error})") from None


def unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, largest: int) -> bytes:
    """Return the content of a member as `blocks` does."""
    return b"".join(blocks(archive, entry, largest))
