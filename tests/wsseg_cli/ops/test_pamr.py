"""PAMR against the published implementations, and its invariants."""

from __future__ import annotations

import pytest
import torch
from golden_cases import Case, golden

from wsseg_cli.errors import DataError
from wsseg_cli.ops.pamr import local_spread, pamr, pamr_affinity, pamr_of


@golden("onestage-pamr")
def test_rings_and_iterations(case: Case) -> None:
    image, masks = (torch.from_numpy(case.inputs[name]) for name in ("image", "masks"))
    got = {}
    for name, config in case.arguments["configs"].items():
        refined = pamr(image, masks, iterations=config["num_iter"], dilations=config["dilations"])
        got[f"mask_{name}"] = refined if name == "full_it10" else refined[..., ::2, ::2]
    for name, config in (("full", "full_it1"), ("d1", "d1_it1")):
        dilations = case.arguments["configs"][config]["dilations"]
        got[f"std_{name}"] = local_spread(image, dilations)[..., ::4, ::4]
        got[f"affinity_{name}"] = pamr_affinity(image, dilations=dilations)[..., ::4, ::4]
    case.check_all(got)


@golden("rsepm-pamr")
def test_masks(case: Case) -> None:
    image, mask = (torch.from_numpy(case.inputs[name]) for name in ("image", "mask"))
    given = {name: case.arguments[name] for name in ("dilations", "sigma", "eps")}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (image - mean[:, None, None]) / std[:, None, None]
    rounds = case.arguments["num_iter"]
    case.check_all(
        {
            "refined_10": pamr(image, mask, iterations=rounds, **given),
            "refined_1": pamr(image, mask, iterations=1, **given),
            "refined_1_dil1": pamr(image, mask, iterations=1, **{**given, "dilations": [1]}),
            "refined_10_normalised_image": pamr(normalised, mask, iterations=rounds, **given),
        }
    )


def test_constant_masks_stay_and_one_pixel_has_only_itself() -> None:
    image = torch.rand(1, 3, 9, 7)
    torch.testing.assert_close(pamr(image, torch.full((1, 2, 9, 7), 0.25)), torch.full((1, 2, 9, 7), 0.25))
    torch.testing.assert_close(pamr(image[..., :1, :1], torch.ones(1, 2, 1, 1)), torch.ones(1, 2, 1, 1))


def test_constant_image_gives_equal_weights() -> None:
    weights = pamr_affinity(torch.full((1, 3, 5, 5), 0.5), dilations=[1])
    torch.testing.assert_close(weights, torch.full((1, 8, 5, 5), 1 / 8))


def test_image_without_a_class() -> None:
    assert pamr(torch.rand(1, 3, 6, 5), torch.zeros(1, 0, 6, 5)).shape == (1, 0, 6, 5)


@pytest.mark.parametrize(
    ("masks", "settings", "message"),
    [
        (torch.zeros(2, 1, 4, 4), {}, "images .* and masks"),
        (torch.zeros(1, 1, 4, 4), {"dilations": []}, "dilations"),
        (torch.zeros(1, 1, 4, 4), {"dilations": [0]}, "dilations"),
        (torch.zeros(1, 1, 4, 4), {"iterations": -1}, "iterations"),
    ],
)
def test_bad_input(masks: torch.Tensor, settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        pamr(torch.rand(1, 3, 4, 4), masks, **settings)  # type: ignore[arg-type]


def test_channels_that_are_not_kept_change_no_other() -> None:
    torch.manual_seed(0)
    images, masks = torch.rand(2, 3, 8, 9), torch.rand(2, 4, 8, 9)
    kept = torch.tensor([[True, False, True, False], [False, False, False, True]])
    whole = pamr(images, masks, iterations=2, dilations=(1, 2))
    some = pamr_of(kept, images, masks, iterations=2, dilations=(1, 2))
    torch.testing.assert_close(some, whole * kept[:, :, None, None])
