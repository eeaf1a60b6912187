"""What no random change finds: files that are none, and small files made to take hours or all memory."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from end_to_end.mutations import Attack

Make = Callable[[Path], object]


def hostile(path: Path, form: str) -> Iterator[Make]:
    """Yield functions that put something hostile in the place of `path`, a file of this form."""
    yield lambda to: to.write_bytes(b"")
    yield lambda to: to.mkdir()
    yield lambda to: os.mkfifo(to)
    yield lambda to: to.symlink_to("/dev/zero")
    yield lambda to: to.symlink_to(to.name)
    yield lambda to: to.write_bytes(pickle.dumps(Attack()))
    yield lambda to: to.write_bytes(pickle.dumps({"a": Attack()}, 2))
    yield lambda to: to.write_bytes(b"[" * 200_000)
    yield lambda to: to.write_bytes(b'{"a":' * 100_000)
    yield from _of_suffix.get(path.suffix, lambda: iter(()))()
    if path.suffix == ".zip":
        yield from _archives(path)
    if path.name == "p0.json":
        yield from _proposals()
    if form == "safetensors":
        yield from _tensors()


def _tensors() -> Iterator[Make]:
    def many(to: Path) -> None:
        entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
        header = ("{" + ",".join(entry % number for number in range(300_000)) + "}").encode()
        to.write_bytes(len(header).to_bytes(8, "little") + header)

    def huge(to: Path) -> None:
        header = b'{"scores":{"dtype":"F32","shape":[1099511627776,8],"data_offsets":[0,35184372088832]}}'
        to.write_bytes(len(header).to_bytes(8, "little") + header)

    yield many
    yield huge
    yield lambda to: to.write_bytes(b"\xff" * 8 + b"{}")
    yield lambda to: to.write_bytes((1 << 40).to_bytes(8, "little") + b"{}" * 100)


def _pickles() -> Iterator[Make]:
    yield lambda to: to.write_bytes(b"\x80\x02N" + b"2" * 30_000_000 + b".")  # DUP
    yield lambda to: to.write_bytes(b"\x80\x02" + b"]" * 30_000_000 + b".")
    yield lambda to: to.write_bytes(b"\x80\x02" + b"N0" * 15_000_000 + b"N.")
    yield lambda to: to.write_bytes(b"\x80\x02Nr\xff\xff\xff\x7f.")  # LONG_BINPUT far away
    yield lambda to: to.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.")  # bytes of a TiB
    yield lambda to: to.write_bytes(b"\x80\x02(" * 5_000_000 + b".")
    # a key of tuples in tuples, whose hash takes 2^60 steps
    yield lambda to: to.write_bytes(b"\x80\x02}Nq\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60)) + b"Ns.")
    yield lambda to: to.write_bytes(b"\x80\x02" + b"(" + b"]" * 100_000 + b"a" * 99_999 + b".")
    yield lambda to: to.write_bytes(b"I" + b"9" * 2_000_000 + b"\n.")
    yield lambda to: to.write_bytes(b"\x80\x02\x8b" + struct.pack("<i", 4_000_000) + b"\x7f" * 4_000_000 + b".")


def _checkpoints() -> Iterator[Make]:
    import torch

    def stride_0(to: Path) -> None:
        torch.save({"w": torch.zeros(1, dtype=torch.float16).expand(1 << 20, 1 << 20)}, to)

    def many_views(to: Path) -> None:
        base = torch.zeros(1 << 20)
        torch.save({f"w{number}": base for number in range(2000)}, to)

    def bomb(to: Path) -> None:
        buffer = io.BytesIO()
        torch.save({"w": torch.zeros(3)}, buffer)
        with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
            for info in old.infolist():
                data = old.read(info)
                new.writestr(info.filename, data + b"\0" * (1 << 30) if info.filename.endswith("data/0") else data)

    def long_pickle(to: Path) -> None:
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
            new.writestr("archive/data.pkl", b"\x80\x02N" + b"N0" * 15_000_000 + b".")
            new.writestr("archive/version", "3\n")
            new.writestr("archive/byteorder", "little")

    def many_parts(to: Path) -> None:
        with zipfile.ZipFile(to, "w") as new:
            new.writestr("archive/data.pkl", b"\x80\x02" + b"]" * 4_000_000 + b".")
            new.writestr("archive/version", "3\n")
            new.writestr("archive/byteorder", "little")

    yield from _pickles()
    yield many_parts
    yield stride_0
    yield many_views
    yield bomb
    yield long_pickle


def _caffe() -> Iterator[Make]:
    yield lambda to: to.write_bytes(b"\xa2\x06\x00" * 13_000_000)  # empty layers
    yield lambda to: to.write_bytes(b"\x12\x00" * 20_000_000)  # of the old layout
    yield lambda to: to.write_bytes(b"\x08\x01" * 20_000_000)  # a field that says nothing


def _params() -> Iterator[Make]:
    yield lambda to: to.write_bytes(struct.pack("<QQQ", 0x112, 0, 1 << 61))
    yield lambda to: to.write_bytes(struct.pack("<QQQ", 0x112, 0, 10_000_000) + b"\0" * 40_000_000)
    body = struct.pack("<Iii2q", 0xF993FAC9, 0, 2, 0, 1 << 62) + struct.pack("<iii", 1, 0, 0)
    yield lambda to: to.write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + body + struct.pack("<Q", 0))


def _mats() -> Iterator[Make]:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    bomb = zlib.compress(element(14, b"\0" * (200 << 20)))
    yield lambda to: to.write_bytes(head + struct.pack("<II", 15, len(bomb)) + bomb)
    array = (
        element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<ii", 1 << 30, 1 << 30)) + element(1, b"GTcls")
    )
    yield lambda to: to.write_bytes(head + element(14, array + element(2, b"\0" * 8)))
    yield lambda to: to.write_bytes(head + struct.pack("<II", 14, 0xFFFFFFF0) + b"\0" * 100)


def _archives(path: Path) -> Iterator[Make]:
    """Yield archives of whose members one unfolds into a GiB of zeros."""
    with zipfile.ZipFile(path) as whole:
        members = {entry.filename: whole.read(entry) for entry in whole.infolist()}
    for name in list(members)[:2]:
        yield lambda to, name=name: _with_a_bomb(to, members, name)  # type: ignore[misc]


def _with_a_bomb(to: Path, members: dict[str, bytes], name: str) -> None:
    folded = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = folded.compress(b"\0" * (1 << 20)) + folded.flush(zlib.Z_FULL_FLUSH)
    packed = block * 1024 + folded.flush()
    with zipfile.ZipFile(to, "w") as archive:
        for other, content in members.items():
            archive.writestr(other, packed if other == name else content)
    data = bytearray(to.read_bytes())
    # stored as it is packed: both of its headers are told that it is deflated, and how large it becomes
    for mark, method, size in ((b"PK\3\4", 8, 22), (b"PK\1\2", 10, 24)):
        at = data.index(mark)
        while struct.unpack_from("<I", data, at + size)[0] != len(packed):
            at = data.index(mark, at + 1)
        struct.pack_into("<H", data, at + method, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", data, at + size, 1 << 30)
    to.write_bytes(data)


def _proposals() -> Iterator[Make]:
    one = '{"segmentation":{"size":[%d,%d],"counts":%s}}'
    yield lambda to: to.write_text("[" + ",".join([one % (1, 1, "[1]")] * 200_000) + "]")
    yield lambda to: to.write_text("[" + one % (9000, 9000, "[" + "0," * 5_000_000 + "81000000]") + "]")
    yield lambda to: to.write_text("[" + one % (9000, 9000, '"' + "0" * 9_000_000 + '"') + "]")
    yield lambda to: to.write_text("[" + ",".join([one % (9000, 9000, '"' + "0" * 4_000_000 + '"')] * 2) + "]")
    yield lambda to: to.write_text('{"image":{"height":1%s,"width":9},"annotations":[]}' % ("0" * 4000))


_of_suffix: dict[str, Callable[[], Iterator[Make]]] = {
    ".npy": _pickles,
    ".pkl": _pickles,
    ".pth": _checkpoints,
    ".caffemodel": _caffe,
    ".params": _params,
    ".mat": _mats,
}
