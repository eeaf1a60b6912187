from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from wsseg_cli.errors import CheckpointError
from wsseg_cli.foreign import caffemodel
from wsseg_cli.nets import deeplab, weights


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def entry(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array: np.ndarray, how: str = "shape") -> bytes:
    data = array.astype("<f4").tobytes()
    if how == "shape":
        return entry(7, entry(1, b"".join(varint(n) for n in array.shape))) + entry(5, data)
    if how == "old":
        four = [1] * (4 - array.ndim) + list(array.shape)
        return b"".join(entry(n, size) for n, size in enumerate(four, start=1)) + entry(5, data)
    if how == "double":
        return entry(7, b"".join(entry(1, n) for n in array.shape)) + entry(8, array.astype("<f8").tobytes())
    singles = b"".join(varint(5 << 3 | 5) + struct.pack("<f", number) for number in array.ravel())
    return entry(7, b"".join(entry(1, n) for n in array.shape)) + singles


def layer(name: str, kind: str, *arrays: np.ndarray, how: str = "shape") -> bytes:
    parts = entry(1, name.encode()) + entry(2, kind.encode()) + entry(3, b"data") + entry(10, 0)
    return entry(100, parts + b"".join(entry(7, blob(a, how)) for a in arrays))


def random_array(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def written(folder: Path, content: bytes) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", ["shape", "old", "double", "unpacked"])
def test_numbers_in_every_encoding(tmp_path: Path, how: str) -> None:
    kernel, bias = random_array(4, 3, 2, 2), random_array(4)
    net = entry(1, b"net") + layer("data", "Input") + layer("conv1_1", "Convolution", kernel, bias, how=how)
    got = caffemodel.read(written(tmp_path, net))
    assert list(got) == ["conv1_1.weight", "conv1_1.bias"]
    np.testing.assert_array_equal(got["conv1_1.weight"].numpy(), kernel)
    np.testing.assert_array_equal(got["conv1_1.bias"].numpy(), bias)


@pytest.mark.parametrize("nested", [False, True])
def test_layouts_of_older_caffe(tmp_path: Path, nested: bool) -> None:
    kernel, bias = random_array(4, 3, 3, 3), random_array(4)
    if nested:
        inner = entry(1, b"conv1_1") + entry(2, b"conv") + entry(50, blob(kernel, "old")) + entry(50, blob(bias, "old"))
        parts = entry(1, inner) + entry(2, b"data")
    else:
        parts = entry(4, b"conv1_1") + entry(5, 4) + entry(6, blob(kernel, "old")) + entry(6, blob(bias, "old"))
    got = caffemodel.read(written(tmp_path, entry(2, parts)))
    np.testing.assert_array_equal(got["conv1_1.weight"].numpy(), kernel)
    assert got["conv1_1.bias"].shape == (4,)


def test_batch_norm_is_divided_by_its_count_and_takes_its_scale(tmp_path: Path) -> None:
    mean, variance = random_array(3), random_array(3) ** 2
    net = layer("bn_conv1", "BatchNorm", mean * 4, variance * 4, np.array([4.0]))
    net += layer("scale_conv1", "Scale", random_array(3), random_array(3) + 1)
    net += layer("fc7", "InnerProduct", random_array(1, 1, 5, 3), how="old")
    got = caffemodel.read(written(tmp_path, net))
    np.testing.assert_allclose(got["bn_conv1.running_mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(got["bn_conv1.running_var"], variance, rtol=1e-6)
    np.testing.assert_array_equal(got["bn_conv1.bias"], random_array(3) + 1)
    assert got["fc7.weight"].shape == (5, 3)


def test_whole_network_of_the_deeplab_authors(tmp_path: Path) -> None:
    """Every tensor of DeepLab v2, written as Caffe writes it, comes back through reader and names."""
    network = deeplab.build("v2", 3)
    own = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    net = []
    layers = [("conv1", "bn_conv1", "backbone.conv1", "backbone.bn1")]
    for stage, count in ((2, 3), (3, 4), (4, 23), (5, 3)):
        for index in range(count):
            block = "abc"[index] if stage in (2, 5) else "a" if index == 0 else f"b{index}"
            inside = f"backbone.layer{stage - 1}.{index}"
            parts = [("2a", "conv1", "bn1"), ("2b", "conv2", "bn2"), ("2c", "conv3", "bn3")]
            if index == 0:
                parts.append(("1", "downsample.0", "downsample.1"))
            for branch, conv, norm in parts:
                name = f"{stage}{block}_branch{branch}"
                layers.append((f"res{name}", f"bn{name}", f"{inside}.{conv}", f"{inside}.{norm}"))
    for conv, norm, our_conv, our_norm in layers:
        mean, variance = own[f"{our_norm}.running_mean"], own[f"{our_norm}.running_var"]
        net.append(layer(conv, "Convolution", own[f"{our_conv}.weight"]))
        net.append(layer(f"{conv}_res05", "Convolution", own[f"{our_conv}.weight"]))
        net.append(layer(norm, "BatchNorm", mean, variance, np.array([1.0])))
        net.append(layer(norm.replace("bn", "scale"), "Scale", own[f"{our_norm}.weight"], own[f"{our_norm}.bias"]))
    for branch in range(4):
        name = f"head.branches.{branch}"
        net.append(layer(f"fc1_voc12_c{branch}", "Convolution", own[f"{name}.weight"], own[f"{name}.bias"]))

    read = caffemodel.read(written(tmp_path, b"".join(net)))
    assert weights.guess_family(read) == "caffe"
    match = weights.match(weights.rename(read, "caffe"), network)
    assert match.complete
    assert all(torch.equal(tensor, torch.from_numpy(own[name])) for name, tensor in match.matched.items())


def test_layers_that_we_do_not_know_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'prelu1'.*'PReLU'"):
        caffemodel.read(written(tmp_path, layer("prelu1", "PReLU", random_array(3))))
    with pytest.raises(CheckpointError, match="has 2 arrays, expected 3"):
        caffemodel.read(written(tmp_path, layer("bn", "BatchNorm", random_array(3), random_array(3))))
    with pytest.raises(CheckpointError, match="no BatchNorm before it"):
        caffemodel.read(written(tmp_path, layer("scale", "Scale", random_array(3))))


def test_shape_and_numbers_disagree(tmp_path: Path) -> None:
    wrong = entry(7, entry(1, varint(10**12))) + entry(5, b"\0" * 8)
    net = entry(100, entry(1, b"conv") + entry(2, b"Convolution") + entry(7, wrong))
    with pytest.raises(CheckpointError, match="2 numbers says that its shape is"):
        caffemodel.read(written(tmp_path, net))


@pytest.mark.parametrize("content", [b"", b"layer { name: 'conv1' }\n", b"\x80\x02}q\x00.", b"\xff" * 100])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"net\.caffemodel"):
        caffemodel.read(written(tmp_path, content))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        caffemodel.read(tmp_path / "nothing.caffemodel")


def test_damage_never_ends_in_another_error(tmp_path: Path) -> None:
    net = layer("conv1", "Convolution", random_array(2, 3, 1, 1), random_array(2)) + layer(
        "bn1", "BatchNorm", random_array(2), random_array(2), np.array([1.0])
    )
    rng = random.Random(0)
    damaged = [net[:length] for length in range(len(net))]
    for _ in range(500):
        changed = bytearray(net)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(net))] = rng.randrange(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        try:
            caffemodel.read(written(tmp_path, content))
        except CheckpointError:
            refused += 1
    assert refused > len(damaged) // 2
