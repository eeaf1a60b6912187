from __future__ import annotations

import struct
from pathlib import Path

import pytest
from golden_cases import Case, golden, load_case
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg_cli.errors import CheckpointError
from wsseg_cli.foreign.params import read
from wsseg_cli.nets import weights


@golden("psa_mxnet_params")
def test_all_generations(case: Case) -> None:
    *generations, types = [read(case.folder / name) for name in case.arguments["files"]]
    for arrays in generations:
        assert list(arrays) == case.arguments["order"]
        renamed = weights.rename(arrays, "mxnet")
        got = {f"raw/{name.replace(':', '__')}": array for name, array in arrays.items()}
        got |= {f"torch/{name.removeprefix('backbone.')}": array for name, array in renamed.items()}
        got |= {f"types/{name.replace(':', '__')}": array for name, array in types.items()}
        assert set(got) == set(case.outputs)
        case.check_all(got)
        assert all(got[name].numpy().dtype == want.dtype for name, want in case.outputs.items())


def listed(*arrays: bytes, names: tuple[str, ...] = ()) -> bytes:
    texts = b"".join(struct.pack("<Q", len(n)) + n.encode() for n in names)
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(arrays) + struct.pack("<Q", len(names)) + texts


def dense(shape: tuple[int, ...], flag: int, data: bytes, tag: int = 0xF993FAC9, storage: int = 0) -> bytes:
    head = struct.pack("<Ii", tag, storage) + struct.pack(f"<i{len(shape)}q", len(shape), *shape)
    return head + struct.pack("<iii", 1, 0, flag) + data


def test_no_names_and_empty_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.params"
    path.write_bytes(listed(dense((2,), 3, b"\1\2"), struct.pack("<Iii", 0xF993FAC9, 0, 0)))
    arrays = read(path)
    assert arrays["0"].tolist() == [1, 2] and arrays["1"].numel() == 0
    path.write_bytes(listed(dense((), 3, b"\7", tag=0xF993FACA), struct.pack("<Iii", 0xF993FACA, 0, -1)))
    arrays = read(path)
    assert arrays["0"].item() == 7 and arrays["1"].numel() == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an MXNet .params file"),
        (b"PK\3\4" + bytes(40), "not an MXNet .params file"),
        (listed(dense((2,), 3, b"\1\2", storage=1)), "is sparse"),
        (listed(dense((2,), 99, b"\1\2")), "type 99"),
        (listed(dense((-2,), 3, b"\1\2")), r"shape \(-2,\)"),
        (listed(dense((1 << 60, 1 << 60), 0, b"")), "ends too early"),
        (listed(struct.pack("<I", 9) + bytes(80)), "9 dimensions"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60) + bytes(8), "ends too early"),
        (listed(dense((1,), 3, b"\1"), dense((1,), 3, b"\1"), names=("a",)), "2 arrays but 1 names"),
        (listed(dense((1,), 3, b"\1"), dense((1,), 3, b"\1"), names=("a", "a")), "one name to several"),
    ],
)
def test_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.params"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        read(tmp_path / "none.params")


@given(cut=st.integers(0, 10_000), name=st.sampled_from(["tiny_v0.params", "tiny_v1.params", "tiny_v2.params"]))
@settings(max_examples=60, deadline=None)
def test_every_cut_is_noticed(tmp_path_factory: pytest.TempPathFactory, cut: int, name: str) -> None:
    whole = (load_case("psa_mxnet_params").folder / name).read_bytes()
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(CheckpointError):
        read(path)
