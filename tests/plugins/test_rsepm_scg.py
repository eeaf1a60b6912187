"""Self-correlation against RecurSeed's first public code and against SPA's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from golden_cases import Case, golden
from torch import Tensor
from wsseg_rsepm.maps import to_one
from wsseg_rsepm.net import turned_back
from wsseg_rsepm.scg import PUBLISHED, ScgParameters, correlations, high_order, self_correlation, spread


def parameters(given: dict[str, Any]) -> ScgParameters:
    return ScgParameters(
        first=given["first_th"],
        second=given["second_th"],
        foreground=given["foreground_th"],
        background=given["background_th"],
        iterations=given["iteration"],
        second_weight=given["second_weight"],
    )


@golden("rsepm-scg")
def test_self_correlation(case: Case) -> None:
    a = {name: torch.from_numpy(value) for name, value in case.inputs.items()}
    features = [a["feature_0"], a["feature_1"]]
    got: dict[str, Tensor] = {}
    for name, given in case.arguments.items():
        p = parameters(given)
        got[f"{name}_SC1_f0"], got[f"{name}_SC2_f0"] = correlations(features[0], p)
        got[f"{name}_HSC"] = high_order(features, p)
        got[f"{name}_SCM"] = self_correlation(a["cams"], features, p)
    pairs = [turned_back(a[f"hflip_feature_{i}"]).sum(0, keepdim=True) for i in (0, 1)]
    got["hflip_SCM"] = self_correlation(a["cams"][:1], pairs, parameters(case.arguments["default"]))
    got["cam_single"] = to_one(a["raw_cam"].relu())
    got["cam_list"] = to_one(a["raw_cam"].relu().sum(0, keepdim=True))
    case.check_all(got)


@golden("spa-hsc-scm")
def test_spa(case: Case) -> None:
    given = case.arguments
    p = ScgParameters(
        first=given["scg_fosc_th"],
        second=given["scg_sosc_th"],
        foreground=given["fg_th"],
        background=given["bg_th"],
        iterations=given["order"] - 1,
        second_weight=given["scg_so_weight"],
        eps=1e-5,
    )
    got: dict[str, Tensor] = {}
    features = {block: torch.from_numpy(case.inputs[f"feat_{block}"]) for block in "45"}
    for block, maps in features.items():
        got[f"fo_{block}"], got[f"so_{block}"] = correlations(maps, p)
        got[f"hsc_{block}"] = high_order([maps], p)
    cam = torch.from_numpy(case.inputs["cam"])[None, None]
    got["scm"] = spread(cam, high_order(features.values(), p), p)[0, 0]
    case.check_all(got)


def test_a_full_box_changes_nothing_and_padding_stays_empty() -> None:
    torch.manual_seed(0)
    cams, features = torch.rand(2, 3, 5, 6), torch.rand(2, 8, 5, 6)
    whole = torch.ones(2, 5, 6, dtype=torch.bool)
    torch.testing.assert_close(self_correlation(cams, [features]), self_correlation(cams, [features], PUBLISHED, whole))
    part = whole.clone()
    part[:, 3:] = False
    cut = self_correlation(cams, [features], PUBLISHED, part)
    assert (cut[:, :, 3:] == 0).all() and (cut[:, :, :3] > 0).any()


def test_a_map_without_foreground_is_zero() -> None:
    maps = self_correlation(torch.full((1, 2, 4, 4), 0.2), [torch.rand(1, 4, 4, 4)], replace(PUBLISHED, background=0.1))
    assert (maps == 0).all()


def test_no_feature_map() -> None:
    with pytest.raises(ValueError, match="at least one feature map"):
        high_order([], PUBLISHED)
