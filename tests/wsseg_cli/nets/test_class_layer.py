import torch

from wsseg_cli.nets.class_layer import class_layer


def test_zero_start_gives_empty_maps_and_still_learns():
    layer = class_layer(8, 3, "zero")
    features = torch.rand(2, 8, 4, 4)
    maps = layer(features)
    assert maps.shape == (2, 3, 4, 4)
    assert not maps.any()
    maps.mean().backward()
    assert layer.weight.grad.abs().min() > 0


def test_uniform_start_is_torchs_own():
    torch.manual_seed(0)
    layer = class_layer(400, 100, "uniform")
    assert 0.9 / 20 < layer.weight.abs().max() <= 1 / 20


def test_xavier_start_is_the_published_range():
    torch.manual_seed(0)
    layer = class_layer(200, 100)
    bound = (6 / 300) ** 0.5
    assert 0.9 * bound < layer.weight.abs().max() <= bound
    assert layer.bias is None
