from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from golden_cases import Case, golden
from toco_cases import Given, a_batch, method, sees, step, tensors
from torch import Tensor


@golden("toco_ctc_crops")
def test_local_crops(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    images = len(given["image"])
    size = (int(given["image"].shape[2]), int(given["image"].shape[3]))
    for few, channels in (("", 3), ("few_", 1)):
        m = method(
            2, cls=Given, local_size=a["crop_size"], local_crops=a["crop_num"], negative_share=a["negative_at_most"]
        )
        m.given = {"region_map": given[f"{few}roi_mask"].long(), "permutations": iter(given[f"{few}rand_index"])}
        batch = {**a_batch(images, 2, size), "local": given["image"]}
        step(m, m.build_model(), batch)
        crops, positive = m.kept["local_crops"]
        case.check(f"{few}crops", crops[:, :, :channels])
        case.check(f"{few}flags", positive.long().numpy().astype(case.outputs[f"{few}flags"].dtype))
        case.check(f"{few}candidates", np.array(m.kept["candidates"]))
    assert case.checked == set(case.outputs)


def labels_by_step(m: Any, maps: Tensor, label: Tensor, box: Tensor, size: tuple[int, int]) -> Any:
    """Return what a step makes of normalised maps (N, C, h, w) on a grid of tokens of their size."""
    model = m.build_model()
    images, classes, *grid = maps.shape
    width = model.classifier.in_channels
    sees(model, torch.randn(images, width, *grid))
    m.given = {"class_maps": (maps, maps), "local_crops": (torch.zeros(8, images, 3, 2, 2), torch.ones(images, 10))}
    batch = {**a_batch(images, classes, size), "label": label, "box": box}
    step(m, model, batch)
    return m.kept


@golden("toco_cam_to_label")
def test_labels_of_pixels_and_tokens(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    maps, label = given["cam"], given["label"]
    size = (int(maps.shape[2]), int(maps.shape[3]))
    classes = maps.shape[1]
    whole = torch.tensor([0, size[0], 0, size[1]]).expand(len(maps), 4)

    def kept(maps: Tensor, box: Tensor, low: float, high: float) -> Any:
        m = method(classes, cls=Given, low=low, high=high)
        return labels_by_step(m, maps, label, box, (int(maps.shape[2]), int(maps.shape[3])))

    uncertain = (a["low_thre"], a["high_thre"])
    plain = (a["bkg_thre"], a["bkg_thre"])
    seen = kept(maps, given["box"], *uncertain)
    case.check("label_ignore", seen["token_labels"])
    case.check("roi_mask", seen["region_map"])
    case.check("valid_cam", seen["refined_from"])
    case.check("token_label", kept(given["token_cam"], given["token_box"], *uncertain)["token_labels"])
    case.check("label_plain", kept(maps, whole, *plain)["token_labels"])
    case.check("label_box_only", kept(maps, given["box"], *plain)["token_labels"])
    assert case.checked == set(case.outputs)


@golden("toco_par")
def test_par(case: Case) -> None:
    given = tensors(case)
    for name, config in case.arguments["configs"].items():
        m = method(2, par_dilations=tuple(config["dilations"]), par_iterations=config["num_iter"])
        refined = m.par(given["image"], given["masks"])
        rows, columns = case.arguments["slices"].get(f"mask_{name}", {"step": [1, 1]})["step"]
        case.check(f"mask_{name}", refined[..., ::rows, ::columns])
    assert case.checked == set(case.outputs)


@golden("toco_refine_labels")
def test_refined_labels(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    assert a["down_scale"] == 2
    images, classes, *size = given["cam"].shape
    refined: list[Tensor] = []

    class Watched(Given):
        def par(self, images: Tensor, masks: Tensor) -> Tensor:
            # the pictures of this case are no whole levels, which a step's always are
            shown = given["image"][len(refined) : len(refined) + 1]
            shown = torch.nn.functional.interpolate(shown, images.shape[-2:], mode="bilinear", align_corners=False)
            refined.append(super().par(shown, masks))
            return refined[-1]

    m = method(
        classes,
        cls=Watched,
        low=a["low_thre"],
        high=a["high_thre"],
        par_dilations=tuple(a["dilations"]),
        par_iterations=a["num_iter"],
    )
    m.given = {"class_maps": (given["cam"], given["cam"])}
    m.given["local_crops"] = (torch.zeros(8, images, 3, 2, 2), torch.ones(images, 10))
    batch = a_batch(images, classes, (size[0], size[1]))
    pixels = given["image"] * 255
    mean, std = (torch.tensor(part)[:, None, None] for part in (m.normalization.mean, m.normalization.std))
    batch |= {"label": given["label"], "box": given["box"], "image": (pixels / 255 - mean) / std}
    step(m, m.build_model(), batch)
    got = m.kept["refined_labels"]
    case.check("refined_label", got)
    for number, stack in enumerate(refined):
        for word, part in zip(("high", "low"), stack.chunk(2, 1), strict=True):
            case.check(f"image{number}_{word}", part)
    for word, value in (("background", 0), ("ignored", 255)):
        case.check(f"count_{word}", (got == value).flatten(1).sum(1))
    assert case.checked == set(case.outputs)


def test_scaled_box_keeps_tokens_that_lie_wholly_in_it() -> None:
    maps = torch.full((1, 2, 8, 8), 0.9)
    for rule, want in (("pixels", 16), ("scaled", 4)):
        m = method(2, cls=Given, local_size=2, token_box=rule)
        box = torch.tensor([[0, 8, 0, 8]]) if rule == "pixels" else torch.tensor([[1, 7, 2, 6]])
        seen = type("S", (), {"final": torch.zeros(1, 8, 4, 4)})
        labels = m.token_labels(maps, box, seen)
        assert int((labels == 1).sum()) == want


def test_permutations_follow_torchs_seed() -> None:
    m = method(2)
    torch.manual_seed(3)
    first = m.permutation(9)
    torch.manual_seed(3)
    assert torch.equal(first, m.permutation(9)) and list(itertools.islice(sorted(first.tolist()), 3)) == [0, 1, 2]
