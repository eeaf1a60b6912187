"""Readers of other people's weights: PyTorch, safetensors, MXNet, Caffe."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hardening.reader import Call, Make


def weights(suffix: str, save: Callable[[Path], None]) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.convert import weights

        path = folder / f"theirs{suffix}"
        save(path)

        def read() -> None:
            for tensor in weights.read(path).values():
                weights._plain(tensor).contiguous()

        return path, read

    return make


def _state_dict() -> dict[str, Any]:
    import torch

    half = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    return {
        "state_dict": {"conv1.weight": torch.zeros(4, 3, 3, 3), "bn1.bias": torch.ones(4), "half": half},
        "epoch": 3,
    }


def save_zip(path: Path) -> None:
    import torch

    torch.save(_state_dict(), path)


def save_legacy(path: Path) -> None:
    import torch

    torch.save(_state_dict(), path, _use_new_zipfile_serialization=False)


def save_safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(_state_dict()["state_dict"], path)


def save_params(path: Path) -> None:
    arrays = {"arg:conv1_weight": np.ones((2, 3, 3, 3), "<f4"), "aux:bn_mean": np.zeros(2, "<f4")}
    out = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        out += struct.pack("<Iii", 0xF993FAC9, 0, array.ndim) + struct.pack(f"<{array.ndim}q", *array.shape)
        out += struct.pack("<iii", 1, 0, 0) + array.tobytes()
    out += struct.pack("<Q", len(arrays))
    for name in arrays:
        out += struct.pack("<Q", len(name)) + name.encode()
    path.write_bytes(out)


def save_caffe(path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    def layer(name: str, shape: tuple[int, ...]) -> bytes:
        sizes = field(1, b"".join(_varint(size) for size in shape))
        blob = field(5, np.ones(int(np.prod(shape)), "<f4").tobytes()) + field(7, sizes)
        return field(100, field(1, name.encode()) + field(2, b"Convolution") + field(7, blob))

    path.write_bytes(layer("conv1", (4, 3, 3, 3)) + layer("conv2", (2, 4, 1, 1)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


LITE = "efficientnet_lite0"


def save_lite(path: Path) -> None:
    """Write a whole published backbone in few bytes: each of its tensors is one number that is repeated."""
    import torch

    from wsseg_cli import nets

    with torch.device("meta"):
        published = nets.backbone(LITE, classes=3).state_dict()
    one = torch.zeros(1)
    torch.save({name: one.expand(it.shape) if it.ndim else one.sum() for name, it in published.items()}, path)


def conversion(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert import weights

    path = folder / "lite.pth"
    save_lite(path)
    return path, lambda: weights.run(path, folder / "out.safetensors", force=True)


def archive(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert import start_weights
    from wsseg_cli.errors import CheckpointError
    from wsseg_cli.weights import TABLE, Published, Source

    os.environ["WSSEG_WEIGHTS"] = str(folder / "weights")
    source = Source("lite.pth", address="http://nowhere.invalid/lite.zip", member="lite.pth")
    TABLE["zipped"] = Published("zipped", LITE, (source,))
    path, inner = folder / "lite.pth.zip", folder / "lite.pth"
    save_lite(inner)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(inner, "models/lite.pth")

    def read() -> None:
        if not path.is_file():  # what is downloaded always is one
            raise CheckpointError(f"{path.name}: no such file")
        start_weights._converted(TABLE["zipped"], path, source)

    return path, read
