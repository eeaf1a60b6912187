"""Seeded damage to files of every kind that the commands read.

Most changes make a file that must be refused (`broken_files.py`); `damaged` changes bytes at random, after which it may
be valid still.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

Mutation = Callable[[bytes, Random], bytes]

SIZE = (20, 16)
"""Width and height of the photos that are damaged."""

OUT_OF_IT = ["../../outside", "../outside", "/etc/passwd", "a/../../../outside", "nul\x00byte"]
"""Names that lead out of a data set, or are none."""


class Attack:
    """What runs a command when it is unpickled by anything that executes what it reads."""

    def __init__(self, mark: str = "owned") -> None:
        self.command = f"touch {mark}"

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def damaged(data: bytes, rng: Random) -> bytes:
    """Return `data` with bytes changed, cut out, doubled or put in, or its end cut off."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                del changed[place : place + rng.randint(1, 8)]
            case 2:
                changed[place:place] = changed[place : place + 20]
            case 3:
                changed[place:place] = rng.choice([b"../../", b"\x00", b"-1", b"1e999", b"[[[", b"NaN", b"99999999999"])
            case 4 if rng.random() < 0.3:
                del changed[place:]
        if not changed:
            break
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(1, len(data) * 9 // 10)]


def bytes_of(save: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE, format: str = "PNG", **options: Any) -> Mutation:
    return lambda data, rng: bytes_of(lambda to: Image.new(mode, size).save(to, format, **options))


def values(value: int) -> Mutation:
    pixels = np.full(SIZE[::-1], value, np.uint8)
    return lambda data, rng: bytes_of(lambda to: Image.fromarray(pixels).save(to, "PNG"))


def animated(data: bytes, rng: Random) -> bytes:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    return bytes_of(lambda to: frames[0].save(to, "GIF", save_all=True, append_images=frames[1:]))


def claiming(data: bytes, rng: Random) -> bytes:
    """Return a PNG whose header says 60 000 x 60 000 pixels, of which a handful follow."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def text(content: str) -> Mutation:
    return lambda data, rng: content.encode()


def without(part: str, instead: str = "") -> Mutation:
    """Return the change of `part`, which the file must hold."""

    def change(data: bytes, rng: Random) -> bytes:
        assert part.encode() in data, part
        return data.replace(part.encode(), instead.encode(), 1)

    return change


def edited(change: Callable[[Any], Any]) -> Mutation:
    """Return the change of a JSON file's content."""

    def mutate(data: bytes, rng: Random) -> bytes:
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return mutate


def pickled(value: Any) -> Mutation:
    return lambda data, rng: pickle.dumps(value)


def npy(value: Any) -> Mutation:
    def change(data: bytes, rng: Random) -> bytes:
        return bytes_of(lambda to: np.save(to, np.array(value, object), allow_pickle=True))

    return change


def matlab(content: dict[str, Any]) -> Mutation:
    return lambda data, rng: bytes_of(lambda to: savemat(to, content, do_compression=True))
