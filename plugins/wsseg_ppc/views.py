"""The two views of a batch: what the base, SEAM or EPS, computes from them, and what the contrast reads."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor
from wsseg_eps.loss import saliency_loss
from wsseg_seam.channels import foreground
from wsseg_seam.loss import equivariance, revised_min_pooling, seam_views
from wsseg_seam.pcm import resized

from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average

from .contrast import ContrastView
from .net import PpcEpsNet, PpcSeamNet

LAST: Literal[-1] = -1
"""The channel of background where EPS is the base."""


class EpsView(NamedTuple):
    """What PPC on EPS compares of a view.

    Attributes:
        cams: (N, C+1, h, w) raw class maps, background last.
        revised: (N, C+1, h, w) in [0, 1], from the correlation module.
        saliency: (N, 1, H, W) in [0, 1], at the size of the view's images.
    """

    cams: Tensor
    revised: Tensor
    saliency: Tensor


def contrast_views_on_seam(
    model: PpcSeamNet, images: Tensor, labels: Tensor, size: tuple[int, int], *, pool: float, top: float
) -> tuple[dict[str, Tensor], tuple[ContrastView, ContrastView]]:
    """Return SEAM's losses of a batch and its views for the contrast; arguments as `wsseg_seam.loss.seam_views`."""
    losses, (one, two) = seam_views(model, images, labels, size, pool=pool, top=top)
    return losses, (
        ContrastView(model.project(one.maps), one.maps.revised),
        ContrastView(model.project(two.maps), two.maps.revised),
    )


def contrast_views_on_eps(
    model: PpcEpsNet,
    images: Tensor,
    saliency: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    *,
    tau: float,
    lam: float,
    pool: float = 0.25,
    top: float = 0.2,
    bg_first_bug: bool = True,
    revised_saliency: bool = True,
) -> tuple[dict[str, Tensor], tuple[ContrastView, ContrastView]]:
    """Return the losses of EPS and SEAM of a batch and its views for the contrast (PPC on EPS).

    images: (N, 3, H, W), normalised; saliency: (N, 1, H, W) in [0, 1]; labels: (N, C) multi-hot; size: of the second
    view, which is the first resized. The rest as `eps_view_losses`.
    """
    first, second = model(images), model(resized(images, size))
    losses = eps_view_losses(
        EpsView(first.cams, first.revised, saliency),
        EpsView(second.cams, second.revised, resized(saliency, size)),
        labels,
        tau=tau,
        lam=lam,
        pool=pool,
        top=top,
        bg_first_bug=bg_first_bug,
        revised_saliency=revised_saliency,
    )
    return losses, (
        ContrastView(model.project(first), first.revised),
        ContrastView(model.project(second), second.revised),
    )


def eps_view_losses(
    first: EpsView,
    second: EpsView,
    labels: Tensor,
    *,
    tau: float,
    lam: float,
    pool: float = 0.25,
    top: float = 0.2,
    bg_first_bug: bool = True,
    revised_saliency: bool = True,
) -> dict[str, Tensor]:
    """Return the losses {"cls", "rvmin", "sal", "sal_revised", "er", "ecr"} of two views (PPC on EPS).

    labels: (N, C) multi-hot; tau, lam as in EPS; pool, top as in SEAM. bg_first_bug: as published, ECR exempts the
    first class, not the background, from the selection of the strongest class. revised_saliency: as published, the
    revised maps have a saliency loss too; a softmax of values in [0, 1] is never confident, so it calls every class
    background.
    """
    views = (first, second)
    er, (ecr1, ecr2) = equivariance(
        first.cams,
        first.revised,
        second.cams,
        second.revised,
        labels,
        top=top,
        background=LAST,
        spared=0 if bg_first_bug else LAST,
    )
    pooled = [multilabel_soft_margin(global_average(foreground(view.cams, LAST)), labels) for view in views]
    lowest = [revised_min_pooling(view.revised, labels, pool, LAST) for view in views]
    salient = [saliency_loss(view.cams, view.saliency, labels, tau=tau, lam=lam) for view in views]
    losses = {
        "cls": (pooled[0] + pooled[1]) / 2,
        "rvmin": (lowest[0] + lowest[1]) / 2,
        "sal": (salient[0] + salient[1]) / 2,
        "er": er,
        "ecr": ecr1 + ecr2,
    }
    if revised_saliency:
        revised = [saliency_loss(view.revised, view.saliency, labels, tau=tau, lam=lam) for view in views]
        losses["sal_revised"] = (revised[0] + revised[1]) / 2
    return losses
