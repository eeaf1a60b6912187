"""PPC's prototypes and contrast where the published code says nothing: no weight, masked prototypes, lone pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from wsseg_ppc.contrast import ContrastView, Pixels, Rules, intra_view, pixels, prototypes


def test_prototypes_without_any_weight_are_zero() -> None:
    found = prototypes(torch.rand(6, 3), torch.zeros(6, 2), 4)
    assert found.vectors.equal(torch.zeros(2, 3))
    assert found.places.shape == (2, 4)
    assert prototypes(torch.rand(3, 3), torch.rand(3, 2), 32).places.shape == (2, 3)


def test_masked_prototypes_come_from_images_with_the_class() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    view = ContrastView(torch.rand(2, 5, 4, 4), torch.rand(2, 3, 4, 4))
    masked = pixels(view, labels, Rules(0, 0.2, 4, 0, 1, prototypes="masked", grid=4))
    published = pixels(view, labels, Rules(0, 0.2, 4, 0, 1, grid=4))
    vectors = masked.prototypes.vectors
    assert vectors[2].abs().sum() == 0 and published.prototypes.vectors[2].norm() == pytest.approx(1)
    features = view.projection.flatten(2).transpose(1, 2).flatten(0, 1)
    behind = features[masked.labels == 0].mean(0)
    assert torch.allclose(vectors[0], behind / behind.norm(), atol=1e-6)
    assert torch.allclose(vectors[1], published.prototypes.vectors[1])


def test_a_class_of_one_pixel_counts_and_adds_nothing() -> None:
    unit = torch.nn.functional.normalize(torch.rand(9, 4), dim=1)
    vectors = torch.nn.functional.normalize(torch.rand(3, 4), dim=1)
    found = prototypes(torch.rand(9, 4), torch.rand(9, 3), 2)._replace(vectors=vectors)
    rules, keys = Rules(0, 0.2, 2, 0, 1), torch.from_numpy(np.random.default_rng(0).random(9))
    all_of_one = Pixels(unit, torch.zeros(9, dtype=torch.long), found)
    lone = torch.zeros(9, dtype=torch.long)
    lone[4] = 2
    one_apart = Pixels(unit, lone, found)
    rest = torch.arange(9) != 4
    alone = intra_view(Pixels(unit[rest], lone[rest], found), rules, keys[rest])
    assert intra_view(one_apart, rules, keys).item() == pytest.approx(alone.item() / 2, rel=1e-6)
    assert torch.isfinite(intra_view(all_of_one, rules, keys))
