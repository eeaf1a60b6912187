"""`wsseg weights get` and `add`: a published file, fetched or downloaded by hand, becomes named start weights."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..disk.archives import blocks, opened
from ..disk.writing import write_atomically
from ..engine.progress import DownloadLine
from ..errors import CheckpointError, DataError, RecipeError
from ..weights import Published, Source, folder, path_of, published
from ..weights.download import digest, download, require_hash
from . import weights as conversion

_MOST_WEIGHTS = 8 << 30  # largest file of weights in an archive, in bytes
_LONGEST = 150  # of a file name, with what is appended to it


@dataclass(frozen=True)
class Placed:
    """Start weights that have been put into the folder: name, path, source file and the SHA-256 of that file."""

    name: str
    path: Path
    source: str
    sha256: str


def get(name: str, *, address: str | None = None, force: bool = False, quiet: bool = False) -> Placed:
    """Fetch start weights from the table, check them and convert them into the folder.

    address: another address of the file, such as a mirror. A file that the table names is checked against the table's
    hash wherever it comes from.

    Raises:
        CheckpointError: there is no such name, the file is only linked from a page, there is no network, or the file is
            broken or another one.
        RecipeError: the weights are there already, or `address` is not an address.
        WssegError: the disk is full; what was fetched is kept.
    """
    row = published(name)
    _require_free(row, force)
    source = _source(row, address)
    workshop = _workshop(row)
    place = workshop / _last_part(source.address)
    try:
        with DownloadLine("get", quiet=quiet) as line:
            expected = "" if source.member else source.sha256
            download(source.address, place, sha256=expected, copies=2, show=line)
        placed = _converted(row, place, source)
    except CheckpointError as error:
        # a download of the wrong file must not be resumed
        place.unlink(missing_ok=True)
        raise CheckpointError(f"{name}: {error}\n  {_by_hand(row)}") from error
    else:
        place.unlink()
    finally:
        _tidy(workshop)
    return placed


def add(name: str, file: Path, *, force: bool = False) -> Placed:
    """Convert a file that was downloaded by hand into the folder, under a name of the table; the file itself is kept.

    Raises:
        CheckpointError: there is no such name; the file cannot be read, is not the table's, or does not fit.
        RecipeError: the weights are there already.
    """
    row = published(name)
    _require_free(row, force)
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    known = next((source for source in row.sources if source.file == file.name), Source(file.name))
    try:
        return _converted(row, file, known)
    finally:
        _tidy(_workshop(row))


def _require_free(row: Published, force: bool) -> None:
    path = path_of(row.name)
    if path.exists() and not force:
        raise RecipeError(f"{path} already exists; --force makes it again")


def _source(row: Published, address: str | None) -> Source:
    """Return what to fetch: the table's plain file, or the one at `address`, recognised by its name."""
    if address is None:
        if row.plain is None:
            raise CheckpointError(f"{row.name}: it cannot be fetched automatically. {_by_hand(row)}")
        return row.plain
    try:
        last = _last_part(address) if urlsplit(address).scheme in ("http", "https") else ""
    except ValueError:  # unclosed brackets
        last = ""
    if last in ("", ".", "..") or len(last) > _LONGEST:
        raise RecipeError(f"--from {address!r}: expected the address of a file, http://… or https://…")
    known = next((s for s in row.sources if last in (s.file, _last_part(s.address))), Source(last))
    return Source(known.file, address=address, sha256=known.sha256, member=known.member, sha1=known.sha1)


def _converted(row: Published, file: Path, source: Source) -> Placed:
    """Convert a file or an archive member, and put the result into the folder once it is known to be the right one.

    Raises:
        CheckpointError: the file is not the published one.
    """
    workshop = _workshop(row)
    inner = file
    made = workshop / f"{row.name}.safetensors"
    try:
        if source.member and zipfile.is_zipfile(file) and file.name != source.member:
            inner = _unpacked(file, source.member, workshop)
        require_hash(inner, source.sha256 if inner is file else "", str(file))
        require_hash(inner, source.sha1, str(inner), "sha1")
        total = digest(file)
        about = {"name": row.name, "licence": row.licence, "address": source.address or None, "sha256": total}
        result = conversion.run(inner, made, family=row.family, saw=row.saw, force=True, about=about)
        require_right(row, result)
        path = path_of(row.name)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
        if inner is not file:
            inner.unlink(missing_ok=True)
    return Placed(row.name, path, source.file, total)


def require_right(row: Published, result: conversion.ConvertedWeights) -> None:
    """Check that the converted weights are those of a row in the table.

    Raises:
        CheckpointError: the backbone is another one, or the tensor that identifies these weights is missing.
    """
    names = {key.name for key in result.keys if key.state != "missing"}
    backbone = result.networks[0].backbone
    if backbone != row.backbone or (row.mark and row.mark not in names):
        lacks = "" if backbone != row.backbone else f" without {row.mark}"
        raise CheckpointError(f"the file holds {result.networks[0].title}{lacks}, not {row.name} ({row.backbone})")


def _unpacked(archive: Path, member: str, workshop: Path) -> Path:
    """Return one file of an archive, extracted into `workshop` under its own name, wherever it is in the archive."""
    try:
        with opened(archive) as packed:
            found = next((name for name in packed.namelist() if name.rpartition("/")[2] == member), None)
            if found is None:
                raise CheckpointError(f"{archive.name} has no {member}; it holds {', '.join(packed.namelist()[:8])}")
            out = workshop / member

            def fill(temporary: Path) -> None:
                with temporary.open("wb") as written:
                    written.writelines(blocks(packed, packed.getinfo(found), _MOST_WEIGHTS))

            write_atomically(out, fill, durable=False)
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{archive.name} is damaged ({error})") from error
    return out


def _workshop(row: Published) -> Path:
    """Return the folder where a file is fetched and converted: on the same disk as its destination."""
    place = folder() / ".downloads" / row.name
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {place}: {error.strerror or error}; export WSSEG_WEIGHTS=DIR") from error
    return place


def _tidy(workshop: Path) -> None:
    """Remove the folder if no fetched data is left in it."""
    if all(path.suffix == ".lock" for path in workshop.iterdir()):
        for path in workshop.iterdir():
            path.unlink(missing_ok=True)
        workshop.rmdir()


def _by_hand(row: Published) -> str:
    """Return how to add the weights without `get`."""
    files = " or ".join(f"{s.file} ({s.address or s.page})" for s in row.sources)
    return f"By hand: download {files}, then: wsseg weights add {row.name} FILE"


def _last_part(address: str) -> str:
    return unquote(urlsplit(address).path).rpartition("/")[2]
