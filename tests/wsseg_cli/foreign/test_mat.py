from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from golden_cases import Case, golden
from PIL import Image
from scipy.io import savemat

from wsseg_cli.data.stores import write_mask
from wsseg_cli.errors import DataError
from wsseg_cli.foreign.mat import read_sbd_mask


@golden("onestage-sbd-convert")
def test_sbd_mask(case: Case, tmp_path: Path) -> None:
    path = tmp_path / f"{case.arguments['filename']}.mat"
    path.write_bytes(case.inputs["mat_bytes"].tobytes())
    mask = read_sbd_mask(path)
    case.check("png_array", mask)
    # the published converter writes a grey picture; ours differs from it in the palette alone
    case.check("png_mode", np.asarray(Image.fromarray(mask).mode))
    write_mask(tmp_path / "mask.png", mask)
    case.check("png_array", np.asarray(Image.open(tmp_path / "mask.png")))


def good(path: Path) -> bytes:
    savemat(path, {"GTcls": {"Segmentation": np.eye(5, dtype=np.uint8)}}, do_compression=True)
    return path.read_bytes()


def test_broken_files(tmp_path: Path) -> None:
    data = good(tmp_path / "good.mat")
    assert read_sbd_mask(tmp_path / "good.mat").tolist() == np.eye(5).tolist()
    for name, broken in {
        "empty": b"",
        "text": b"hello" * 60,
        "cut": data[:-20],
        "garbled": data[:150] + bytes(len(data) - 150),
    }.items():
        path = tmp_path / f"{name}.mat"
        path.write_bytes(broken)
        with pytest.raises(DataError, match=f"{name}.mat"):
            read_sbd_mask(path)
    with pytest.raises(DataError, match=r"nothing\.mat"):
        read_sbd_mask(tmp_path / "nothing.mat")


@pytest.mark.parametrize(
    "content",
    [
        {"other": 1},
        {"GTcls": 3},
        {"GTcls": {"Boundaries": 1}},
        {"GTcls": {"Segmentation": np.zeros((2, 2, 2))}},
        {"GTcls": {"Segmentation": np.full((2, 2), 300)}},
        {"GTcls": {"Segmentation": "text"}},
    ],
)
def test_other_content(tmp_path: Path, content: dict[str, object]) -> None:
    savemat(tmp_path / "x.mat", content)
    with pytest.raises(DataError, match=r"x\.mat"):
        read_sbd_mask(tmp_path / "x.mat")


def test_zip_bomb(tmp_path: Path) -> None:
    data = good(tmp_path / "good.mat")
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    (tmp_path / "bomb.mat").write_bytes(data[:128] + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match="unfolds"):
        read_sbd_mask(tmp_path / "bomb.mat")
