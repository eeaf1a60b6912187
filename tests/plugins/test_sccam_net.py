from __future__ import annotations

import torch
from golden_cases import Case, golden
from wsseg_sccam.loss import subcategory_losses
from wsseg_sccam.net import SubcategoryNet

from wsseg_cli import nets
from wsseg_cli.nets import weights
from wsseg_cli.ops.pooling import global_average


@golden("sccam_net")
@torch.no_grad()
def test_network(case: Case) -> None:
    tensors = weights.rename(case.state_dict(), "sccam")
    classes, subcategories = len(tensors["fc8_20.weight"]), case.arguments["k_cluster"]
    model = SubcategoryNet(nets.backbone("resnet38"), classes, subcategories).eval()
    model.load_state_dict(tensors)
    images = torch.from_numpy(case.inputs["image"])
    parent, sub = model(images)
    sub_cams = model.raw_subcategory_cams(images).relu()
    case.check_all(
        {
            "logits_parent": parent,
            "feature_div1e3": global_average(model.backbone(images)["conv6"]) / 1e3,
            "prob_parent": parent.sigmoid(),
            "logits_sub": sub,
            "prob_sub": sub.sigmoid(),
            "cam_parent": model.raw_cams(images).relu(),
            "cam_sub_first40": sub_cams[:, :40],
            "cam_sub_mean": sub_cams.mean(1),
        }
    )


@golden("sccam_loss")
def test_loss(case: Case) -> None:
    lam = case.arguments["subcls_loss_weight"]
    parent = torch.from_numpy(case.inputs["logits_parent"]).requires_grad_()
    sub = torch.from_numpy(case.inputs["logits_sub"]).requires_grad_()
    labels, sub_labels = torch.from_numpy(case.inputs["label_parent"]), torch.from_numpy(case.inputs["label_sub"])
    losses = subcategory_losses(parent, sub, labels, sub_labels, lam)
    loss = sum(losses.values())
    loss.backward()
    case.check_all(
        {
            "loss": loss,
            "parent_loss": losses["parent"],
            "sub_loss": losses["sub"] / lam,
            "grad_parent": parent.grad,
            "grad_sub": sub.grad,
        }
    )
