from __future__ import annotations

import numpy as np
import torch
from golden_cases import Case, golden
from wsseg_onestage.loss import (
    Cutoffs,
    balanced_mask_loss,
    class_loss,
    class_scores,
    cleaned,
    normalised_weighted_pooling,
    pseudo_ground_truth,
    refined_masks,
    size_penalty,
)
from wsseg_onestage.method import OneStage
from wsseg_onestage.net import prepend_background

from wsseg_cli.types import ClassNames


def tensors(case: Case) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in case.inputs.items()}


def method(case: Case, classes: int = 20) -> OneStage:
    """Return the method with what the case says of focal penalty, PAMR and cut-offs."""
    a = case.arguments
    options = OneStage.Options(
        focal_power=a["FOCAL_P"],
        focal_floor=a["FOCAL_LAMBDA"],
        mask_weight=a["MASK_LOSS_BCE"],
        pamr_iterations=a["PAMR_ITER"],
        pamr_dilations=tuple(a["PAMR_KERNEL"]),
        cutoff_floor=a["cutoff_low"],
        cutoff_foreground=a["cutoff_top"],
        cutoff_background=a["background_factor"],
    )
    return OneStage(options, ClassNames([f"class {i}" for i in range(classes)]))


@golden("onestage-ngwp-focal")
def test_class_scores(case: Case) -> None:
    given = tensors(case)
    got = {}
    for name, config in case.arguments["configs"].items():
        logits = given["logits"].clone().requires_grad_()
        full = prepend_background(logits)
        masks = full.softmax(1)
        power, floor = config["FOCAL_P"], config["FOCAL_LAMBDA"]
        scores = class_scores(full, masks, power=power, floor=floor)
        loss = class_loss(scores, given["labels"])
        loss.backward()
        gradient = logits.grad
        assert gradient is not None
        step = logits.shape[1] // case.outputs[f"grad_{name}"].shape[1]
        got |= {
            f"cls_{name}": scores,
            f"ngwp_{name}": normalised_weighted_pooling(full, masks)[:, 1:],
            f"focal_{name}": size_penalty(masks.mean((2, 3)), power=power, floor=floor)[:, 1:],
            f"loss_{name}": loss,
            f"grad_{name}": gradient[:, ::step],
        }
    case.check_all(got)


@golden("onestage-focal-curve")
def test_size_penalty(case: Case) -> None:
    got = {}
    for name in case.outputs:
        power, floor = (float(part[1:]) for part in name.split("_")[1:])
        share = tensors(case)["mean_mask"].requires_grad_()
        penalty = size_penalty(share, power=power, floor=floor)
        got[name] = torch.autograd.grad(penalty.sum(), share)[0] if name.startswith("df") else penalty
    case.check_all(got)


@golden("onestage-class-losses")
def test_class_losses(case: Case) -> None:
    given, got = tensors(case), {}
    for name, kind in (("hinge", "hinge"), ("softmargin", "soft_margin")):
        scores = given["scores"].clone().requires_grad_()
        loss = class_loss(scores, given["labels"], kind)  # type: ignore[arg-type]
        loss.backward()
        got |= {name: loss, f"{name}_grad": scores.grad}
    case.check_all(got)


@golden("onestage-pamr-in-model")
def test_refined_masks(case: Case) -> None:
    given, a = tensors(case), case.arguments
    size = tuple(given["image"].shape[-2:])
    refine = {"iterations": a["PAMR_ITER"], "dilations": a["PAMR_KERNEL"]}
    every_class = torch.ones_like(given["labels"])
    refined = refined_masks(given["image"], given["masks"], every_class, **refine)
    present = refined_masks(given["image"], given["masks"], given["labels"], **refine)
    kept = torch.cat([torch.ones_like(given["labels"][:, :1]), given["labels"]], 1) > 0
    torch.testing.assert_close(present[kept], refined[kept])
    case.check_all({"refined": refined, "cleaned_s4": cleaned(present, given["labels"], size)[..., ::4, ::4]})


@golden("onestage-pseudo-gt")
def test_pseudo_ground_truth(case: Case) -> None:
    given, a = tensors(case), case.arguments
    got = {}
    for name in case.outputs:
        cutoffs = Cutoffs(a[name]["cutoff_low"], a[name]["cutoff_top"], a["background_factor"])
        got[name] = pseudo_ground_truth(given["masks"], cutoffs).to(torch.uint8)
    case.check_all(got)


@golden("onestage-balanced-mask-loss")
def test_mask_loss(case: Case) -> None:
    given = tensors(case)
    logits = given["logits"].requires_grad_()
    loss = balanced_mask_loss(logits, given["pseudo_gt"].float(), given["labels"])
    (loss * torch.arange(1, len(loss) + 1)).sum().backward()
    case.check_all({"loss_per_image": loss, "grad": logits.grad})


@golden("onestage-head-losses")
def test_everything_after_the_last_convolution(case: Case) -> None:
    given, m = tensors(case), method(case)
    images, labels = given["image"], given["labels"]
    logits = given["logits"].requires_grad_()
    full = prepend_background(logits)
    scores, masks = m.scores_and_masks(full)
    truth = m.pseudo_ground_truth(images, masks, labels)
    per_image = balanced_mask_loss(full, truth, labels)
    loss = class_loss(scores, labels)
    total = loss + m.options.mask_weight * per_image.mean()
    size = tuple(images.shape[-2:])
    refined = refined_masks(m.normalization.invert(images) / 255, masks, labels)
    share = masks.mean((2, 3))[:, 1:]
    case.check_all(
        {
            "cls": scores,
            "cls_fg": (share * labels).sum(1) / labels.sum(1),
            "cam_s4": cleaned(masks, labels, size)[..., ::4, ::4],
            "dec_s4": cleaned(refined, labels, size)[..., ::4, ::4],
            "pseudo_gt": truth.to(torch.uint8),
            "loss_mask_per_image": per_image,
            "loss_cls": loss,
            "loss_pretrain": loss,
            "loss_full": total,
            "grad_pretrain": torch.autograd.grad(loss, logits, retain_graph=True)[0],
            "grad_full": torch.autograd.grad(total, logits)[0],
        }
    )


def test_no_complete_image_gives_zero_with_a_gradient_elsewhere() -> None:
    logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
    truth = torch.zeros(2, 3, 8, 8)
    truth[:, 0] = 1  # background alone: the labelled class is missing
    loss = balanced_mask_loss(logits, truth, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert loss.tolist() == [0.0, 0.0]


def test_ignored_pixels_dilute_the_mean() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    truth = torch.zeros(1, 2, 2, 2)
    truth[0, 0, 0, 0] = truth[0, 1, 1, 1] = 1
    loss = balanced_mask_loss(logits, truth, torch.ones(1, 1))
    # two of four pixels, each with weight (2 - 1) / (1 + 2)
    np.testing.assert_allclose(loss.item(), 2 / 4 * np.log(2) / 3, rtol=1e-6)


def test_a_pixel_that_two_classes_claim_has_none() -> None:
    masks = torch.tensor([[[[0.5, 0.1]], [[0.5, 0.9]]]])
    truth = pseudo_ground_truth(masks, Cutoffs(0.2, 0.5, 0.5))
    assert truth[0].tolist() == [[[0.0, 0.0]], [[0.0, 1.0]]]


def test_images_without_a_label_keep_only_the_background() -> None:
    masks = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    refined = refined_masks(torch.rand(2, 3, 12, 12), masks, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert refined.shape == masks.shape
    assert not refined[0, 1:].any() and not refined[1, 1].any() and refined[1, 2].any()
