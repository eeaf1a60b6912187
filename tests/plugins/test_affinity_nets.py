from __future__ import annotations

import pytest
import torch
from golden_cases import Case, golden
from wsseg_affinity.nets import AffinityNet
from wsseg_affinity.psa import PSA, PSAOptions

from wsseg_cli.engine.optim import psa_param_groups
from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import weights
from wsseg_cli.ops.affinity import Pairs, feature_affinity, neighbour_pairs
from wsseg_cli.ops.random_walk import walk_radius
from wsseg_cli.plugin.backbone import Backbone
from wsseg_cli.settings import OptimSettings
from wsseg_cli.types import ClassNames


def affinity_net(backbone: str, **options: int) -> AffinityNet:
    return PSA(PSAOptions(backbone=backbone, backbone_options=options), ClassNames(["a"])).build_model()


def loaded(case: Case, backbone: str) -> AffinityNet:
    model = affinity_net(backbone).eval()
    model.load_state_dict(weights.rename(case.state_dict(), "psa"))
    return model


def dense(affinity: torch.Tensor, pairs: Pairs) -> torch.Tensor:
    """Return the symmetric (hw, hw) matrix with unit diagonal that the published network can give instead of pairs."""
    one, other = pairs.index()
    matrix = torch.eye(pairs.size[0] * pairs.size[1])
    matrix[one, other] = matrix[other, one] = affinity[0]
    return matrix


def both(features: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return affinities (N, directions, sources) and as a dense matrix."""
    pairs = neighbour_pairs(tuple(features.shape[2:]), radius)
    affinity = feature_affinity(features, pairs)
    return affinity.unflatten(1, (len(pairs.offsets), -1)), dense(affinity, pairs)


@golden("psa_resnet38_aff", "psa_vgg16_aff")
@torch.no_grad()
def test_psa(case: Case) -> None:
    model = loaded(case, "vgg16" if "conv1_1.weight" in case.state_dict() else "resnet38")
    features = model(torch.from_numpy(case.inputs["image"]))
    affinity, matrix = both(features, case.arguments["radius"])
    got = {"aff": affinity, "aff_dense": matrix, "f9_first8": features[:, :8], "f9_mean": features.mean(1)}
    case.check_all(got)


@golden("seam_resnet38_aff")
@torch.no_grad()
def test_seam(case: Case) -> None:
    model = loaded(case, "resnet38")
    got = {}
    for name, end in (("image", ""), ("image_small", "_small")):
        features = model(torch.from_numpy(case.inputs[name]))
        radius = walk_radius(tuple(features.shape[2:]), case.arguments["radius"])
        got[f"aff{end}"], got[f"aff_dense{end}"] = both(features, radius)
    case.check_all(got)


def test_any_backbone_with_the_feature_maps() -> None:
    class Coarser(Backbone):
        feature_maps = {"conv4": 3, "conv5": 5, "conv6": 7}

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                feature_map: images[:1, :1, ::s, ::s].expand(1, c, -1, -1)
                for (feature_map, c), s in zip(self.feature_maps.items(), (2, 4, 8), strict=True)
            }

    assert AffinityNet(Coarser())(torch.randn(1, 3, 40, 48)).shape == (1, 448, 5, 6)
    Coarser.feature_maps = {"conv6": 7}
    with pytest.raises(RecipeError, match="conv4, conv5"):
        AffinityNet(Coarser())


def test_group_norms_count_as_old() -> None:
    model = affinity_net("vgg16", width=2)
    old, old_biases, new, new_biases = psa_param_groups(model, model.new_layers, OptimSettings(lr=1, weight_decay=1))
    names = {id(p): name for name, p in model.named_parameters()}
    assert [names[id(p)] for p in new["params"]] == ["f8_3.weight", "f8_4.weight", "f8_5.weight", "f9.weight"]
    assert {"gn8_3.weight", "gn8_4.weight", "gn8_5.weight"} <= {names[id(p)] for p in old["params"]}
    assert {"gn8_3.bias", "conv3_1.bias"} <= {names[id(p)].removeprefix("backbone.") for p in old_biases["params"]}
    assert not new_biases["params"]
