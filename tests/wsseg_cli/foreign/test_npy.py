from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg_cli.errors import DataError
from wsseg_cli.foreign import npy
from wsseg_cli.foreign.npy_out import AsTensor, npy_bytes
from wsseg_cli.foreign.opcodes import Refused


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


NUMBERS = torch.arange(60, dtype=torch.float32).reshape(3, 5, 4) / 7
VALUES = {
    "keys": torch.tensor([3, 14]),
    "half": NUMBERS.half(),
    "bfloat16": NUMBERS.bfloat16(),
    "view": NUMBERS[1:, ::2].permute(2, 0, 1),
    "none": torch.empty(0, 3),
    "one": torch.tensor(3.0),
    "bool": torch.tensor([True, False]),
    "array": np.arange(6.0).reshape(2, 3).T,
    "big endian": np.arange(4, dtype=">i2"),
    "number": np.float32(3),
    5: [1, (2, "x"), None],
    np.int32(7): {"inner": np.zeros((0, 2), np.uint8)},
}


def check_values(got: dict[Any, Any]) -> None:
    for key, value in VALUES.items():
        if isinstance(value, torch.Tensor):
            want = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
            np.testing.assert_array_equal(got[key], want)
            assert got[key].dtype == want.dtype and got[key].shape == want.shape
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(got[key], value)
            assert got[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
    assert got["number"] == 3 and got[5] == [1, (2, "x"), None] and got[7]["inner"].shape == (0, 2)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol(protocol: int) -> None:
    check_values(npy.parse(pickle.dumps(VALUES, protocol)))


def test_npy_of_a_dict() -> None:
    check_values(npy.parse(saved(VALUES)))


@pytest.mark.parametrize(
    "array", [np.arange(5), np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.zeros((2, 0), np.float16)]
)
def test_plain_arrays(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    got = npy.read(tmp_path / "a.npy")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype and got.shape == array.shape and got.flags.writeable


def test_array_of_dicts_and_ordered_dict() -> None:
    got = npy.parse(saved(np.array([{"a": 1}, {"b": 2}])))
    assert got.tolist() == [{"a": 1}, {"b": 2}]
    assert npy.parse(pickle.dumps(OrderedDict(a=1), 2)) == {"a": 1}


class Runs:
    """What an attacker puts into a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "run"
    for name, data in (
        ("whole.pkl", pickle.dumps(Runs(trap), protocol)),
        ("inside.pkl", pickle.dumps({"a": Runs(trap)}, protocol)),
        ("array.npy", saved({"a": [Runs(trap)]})),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name}.*mkdir.*nothing was executed"):
            npy.read(tmp_path / name)
    assert not trap.exists()


def inner(name: str, *arguments: bytes) -> bytes:
    return b"\x80\x03c" + name.encode().replace(b" ", b"\n") + b"\n(" + b"".join(arguments) + b"tR."


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle at all",
        b"\x80\x04.",
        b"\x80\x04N",
        pickle.dumps(eval),
        pickle.dumps(np.ndarray),
        pickle.dumps({(1, 2): 3}),
        pickle.dumps(1 << 300),
        pickle.dumps(np.zeros(3, "M8[s]")),
        pickle.dumps(np.zeros(3, [("a", "f4")])),
        pickle.dumps({1, 2}),
        b"\x80\x02c__builtin__\ngetattr\n.",
        b"(S'x'\nios\nsystem\n.",
        b"\x80\x04\x82\x01.",
        b"Px\n.",
        b"\x80\x04h\x07.",
        b"\x80\x04]\x94\x8c\x01aa\x8c\x01ba\x8c\x01bb.",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        inner("numpy.core.multiarray _reconstruct", b"J", struct.pack("<i", 1)),
        inner("_codecs encode", b"X\x01\x00\x00\x00x", b"X\x05\x00\x00\x00rot13"),
        inner("torch.storage _load_from_bytes", b"C\x05hello"),
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': print}",
        b"\x93NUMPY\x03\x00\x00\x00\x00\x00",
    ],
)
def test_what_is_not_data(data: bytes) -> None:
    with pytest.raises(Refused):
        npy.parse(data)


def test_header_that_asks_for_more_than_there_is() -> None:
    data = saved(np.zeros(4, np.float32)).replace(b"(4,)", b"(1073741824,)")
    with pytest.raises(Refused):
        npy.parse(data)


def test_tensor_that_reaches_past_its_numbers() -> None:
    data = pickle.dumps(torch.zeros(4), 2)
    assert data.count(b"K\x04\x85") == 1
    with pytest.raises(Refused, match="past"):
        npy.parse(data.replace(b"K\x04\x85", b"K\x05\x85"))


def test_memory_bomb() -> None:
    """One storage, named again and again with a stride of zero, would fill the memory."""
    data = pickle.dumps([torch.zeros(1).expand(1 << 13, 1 << 13)], 2)
    with pytest.raises(Refused, match="unfolds"):
        npy.parse(data)


def test_part_that_holds_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    got = npy.parse(pickle.dumps(loop))
    assert got[0] is got


SMALL = {"keys": torch.tensor([1]), "cam": np.ones((1, 2, 2), np.float32), "n": 3}
# pickled once: a tensor's pickle holds the address of its storage, and its length varies from one to the next
WHOLE = [saved(SMALL), pickle.dumps(SMALL, 2), npy_bytes({1: np.ones(2)})]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_files_are_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Refused):
            npy.parse(bytes(whole))


def test_no_elements_in_a_shape_beyond_measure() -> None:
    said, huge = b"(0, 2), }                           ", b"(0, 549755813888, 549755813888), }  "
    assert npy.parse(saved(np.empty((0, 2)))).shape == (0, 2)
    with pytest.raises(Refused, match="broken shape"):
        npy.parse(saved(np.empty((0, 2))).replace(said, huge))


@pytest.mark.parametrize("waiting", [b"]", b"(", b"N"])
def test_values_that_belong_to_nothing(waiting: bytes) -> None:
    with pytest.raises(Refused, match="belong to nothing"):
        npy.parse(b"\x80\x02" + waiting * 300_000 + b".")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.npy"):
        npy.read(tmp_path / "nothing.npy")


def test_written_dicts_are_what_repositories_read() -> None:
    value = {
        3: np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
        "keys": AsTensor(np.array([0, 4])),
        "cam": AsTensor(np.ones((2, 3, 4), np.float32)),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.array(2.5),
        "text": "x",
        "large": 1 << 40,
    }
    data = npy_bytes(value)
    assert b"_core" not in data
    theirs = np.load(io.BytesIO(data), allow_pickle=True).item()
    ours = npy.parse(data)
    for key, part in value.items():
        want = part.numbers if isinstance(part, AsTensor) else part
        assert isinstance(theirs[key], torch.Tensor) == isinstance(part, AsTensor)
        np.testing.assert_array_equal(theirs[key], want)
        np.testing.assert_array_equal(ours[key], want)
        assert np.shape(theirs[key]) == np.shape(ours[key]) == np.shape(want)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [np.str_, np.bytes_])
def test_keys_of_numpy_text(tmp_path: Path, kind: Any, protocol: int) -> None:
    names = ["2007_000032", "Stühle 中文"] if kind is np.str_ else [b"2007_000032"]
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({kind(name): np.eye(2)[0] for name in names}, protocol))
    found = npy.read(path)
    assert list(found) == names and all(type(name) in (str, bytes) for name in found)


def test_arrays_of_text_are_refused(tmp_path: Path) -> None:
    for protocol in (2, 5):
        path = tmp_path / "a.pkl"
        path.write_bytes(pickle.dumps({"a": np.array(["dog"])}, protocol))
        with pytest.raises(DataError, match="array of type <U3"):
            npy.read(path)
