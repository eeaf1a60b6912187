from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from toco_cases import UNWEIGHTED, Fixed, Given, a_batch, filled, head_of, method, published, sees, step, tensors
from torch import Tensor
from wsseg_toco import loss
from wsseg_toco.loss import affinity, class_contrast
from wsseg_toco.method import ToCo
from wsseg_toco.net import Directions

from wsseg_cli.types import Progress

BOTH = ("voc", "coco")
SOURCES = {"final": 0, "auxiliary": 1}
TERMS = ("cls", "cls_aux", "ptc", "ctc", "seg", "reg")
STAGES: dict[str, dict[str, Any]] = {
    "voc": {"seg_after": 2000},
    "coco": {"seg_after": 8000, "contrast_after": 12000, "final_after": 12000},
}


def gradient(value: Tensor, given: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, given)
    return found


@golden("toco_ptc_loss")
def test_patch_contrast(case: Case) -> None:
    given = tensors(case)
    images, width, *grid = given["feature_map"].shape
    for name in ("mixed", "ignored", "one_class"):
        m = method(2, cls=Given, local_size=2, **UNWEIGHTED)
        model = m.build_model()
        maps = given["feature_map"].clone().requires_grad_()
        model.decoder = Fixed(torch.zeros(images, 3, *grid))
        for part in ("classifier", "aux_classifier"):
            setattr(model, part, torch.nn.Conv2d(width, 2, 1, bias=False))
        sees(model, maps)
        m.given = {"token_labels": given[f"{name}/label"].long()}
        m.given["projections"] = (torch.zeros(10 * images, 3), torch.zeros(2 * images, 3))
        value = step(m, model, a_batch(images, 2, (8, 8)))["ptc"]
        pairs = affinity(m.kept["token_labels"])
        got = {"loss": value, "grad_feature_map": gradient(value, maps)}
        got["pairs"] = np.array([int((pairs == value).sum()) for value in (1, 0)])
        if name == "mixed":
            got["affinity"] = pairs
        for output, array in got.items():
            case.check(f"{name}/{output}", array)
    assert case.checked == set(case.outputs)


@golden("toco_ctc_loss")
def test_class_contrast(case: Case) -> None:
    given = tensors(case)
    positive = given["flags"]
    images, views = positive.shape
    assert views == case.arguments["ncrops"]
    for temperature in case.arguments["temps"]:
        m = method(2, cls=Given, local_size=2, local_crops=views - 2, temperature=temperature, **UNWEIGHTED)
        student = given["student"].clone().requires_grad_()
        model = m.build_model()
        model.proj_head, model.proj_head_t = Fixed(student), Fixed(given["teacher"])
        m.given = {"local_crops": (torch.zeros(views - 2, images, 3, 2, 2), positive)}
        value = step(m, model, a_batch(images, 2, (8, 8)))["ctc"]
        case.check(f"temp{temperature}/loss", value)
        case.check(f"temp{temperature}/grad_student", gradient(value, student))
    assert case.checked == set(case.outputs)


@golden("toco_ctc_head")
def test_projection_heads(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    sizes = (a["hidden"], a["bottleneck"], a["out_dim"])
    network = {"width": a["in_dim"], "depth": 1, "heads": 1, "mlp_ratio": 1.0, "img_size": 4, "patch_size": 1}
    m = method(2, {**network, "qkv_bias": True, "projection": sizes}, teacher_momentum=a["momentum"])
    model = m.build_model()
    model.load_state_dict(case.state_dict(), strict=False)
    assert set(case.state_dict()) == {n for n in model.state_dict() if n.startswith("proj_head")}
    tokens = given["token"].clone().requires_grad_()
    channels = a["slices"]["student"]["channel_step"]
    student, _ = m.projections(model, tokens, 1)
    (student * given["weight_of_output"]).sum().backward()
    case.check("student", student[:, ::channels])
    case.check("grad_token", tokens.grad)
    head = dict(model.proj_head.named_parameters())
    assert head["last_layer.weight_g"].grad is None
    for name in [output.removeprefix("grad/") for output in case.outputs if output.startswith("grad/")]:
        found = head[name].grad
        assert found is not None
        case.check(f"grad/{name}", found[: len(case.outputs[f"grad/{name}"])])
    done = 0
    for updates in (0, *a["updates"]):
        for _ in range(updates - done):
            m.after_step(model, Progress(done, 10, 0))
        done = updates
        _, teacher = m.projections(model, torch.cat([tokens, tokens]), len(tokens))
        channels = a["slices"][f"teacher_after{updates}"]["channel_step"]
        case.check(f"teacher_after{updates}", teacher[: len(tokens), ::channels])
    rows, columns = case.outputs["teacher_weight"].shape
    case.check("teacher_weight", model.proj_head_t.mlp[2].weight[:rows, :columns])
    assert case.checked == set(case.outputs)


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


def masks_and_logits(case: Case, mask: Tensor, **more: Any) -> tuple[Any, Any, Any, Tensor]:
    """Return method, network, batch and logits of a step whose masks and low-resolution logits are given."""
    logits = tensors(case)["logits"].clone().requires_grad_()
    images, channels, *grid = logits.shape
    m = method(channels - 1, cls=Given, local_size=2, **UNWEIGHTED, **more)
    model = m.build_model()
    sees(model, torch.randn(images, model.classifier.in_channels, *grid))
    model.decoder = Fixed(logits)
    m.given = {"refined_labels": mask, "local_crops": (torch.zeros(8, images, 3, 2, 2), torch.ones(images, 10))}
    return m, model, a_batch(images, channels - 1, (int(mask.shape[1]), int(mask.shape[2]))), logits


@golden("toco_seg_loss")
def test_mask_loss(case: Case) -> None:
    given = tensors(case)
    for name, mask in (("mixed", "label"), ("no_foreground", "no_foreground"), ("all_ignored", "all_ignored")):
        m, model, batch, logits = masks_and_logits(case, given[mask].long())
        value = step(m, model, batch)["seg"]
        for output, array in (("loss", value), ("grad_logits", gradient(value, logits))):
            case.check(f"safe/{name}/{output}", array)
            if name == "mixed":
                case.check(output, array)
    assert case.checked == set(case.outputs)


@golden("toco_energy_loss")
def test_energy(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    a, given = case.arguments, tensors(case)
    kept: dict[str, Tensor] = {}

    def smoothed(values: Tensor, pixels: Tensor, **widths: float) -> Tensor:
        kept.update(scaled_prob=values, scaled_image=pixels, filtered=original(values, pixels, **widths))
        return kept["filtered"]

    original = loss.smoothed
    monkeypatch.setattr(loss, "smoothed", smoothed)
    m, model, batch, logits = masks_and_logits(
        case,
        given["label"].long(),
        energy_weight=a["weight"],
        energy_srgb=float(a["sigma_rgb"]),
        energy_sxy=float(a["sigma_xy"]),
    )
    assert a["scale_factor"] == 0.5
    enlarged: list[Tensor] = []

    def energy(probabilities: Tensor, *rest: Any) -> Tensor:
        enlarged.append(probabilities)
        return ToCo.energy(m, probabilities, *rest)

    m.energy = energy
    batch |= {"image": given["image"], "box": given["box"]}
    energies = step(m, model, batch)["reg"]
    # the gradient by the resized logits is the one by their softmax, through the softmax
    (by_probability,) = torch.autograd.grad(energies, enlarged[0], retain_graph=True)
    p = enlarged[0].detach()
    by_logits = p * (by_probability - (by_probability * p).sum(1, keepdim=True))
    got = {"loss": energies, "grad_logits": gradient(energies, logits), "grad_full": by_logits, **kept}
    for name, said in a["slices"].items():
        rows, columns = said["step"]
        got[name] = got[name][..., ::rows, ::columns]
    case.check_all(got)


def indices(case: Case, name: str) -> Iterator[Tensor]:
    return iter(tensors(case)[name])


@golden("toco_train_step")
def test_training_step(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    head = head_of(case)
    for which in BOTH:
        said = a[which]
        m = method(
            a["network"]["classes"],
            a["network"],
            cls=Given,
            projection=head,
            local_size=a["local_crop_size"],
            local_crops=a["crop_num"],
            cam_scales=tuple(a["cam_scales"]),
            high=said["high_thre"],
            low=said["low_thre"],
            temperature=said["temp"],
            teacher_momentum=a["momentum"],
            **{f"{name}_weight": a[f"w_{name}"] for name in ("ptc", "ctc", "seg", "reg")},
            par_dilations=tuple(a["dilations"]),
            par_iterations=a["num_iter"],
            energy_weight=a["energy"]["weight"],
            energy_srgb=float(a["energy"]["sigma_rgb"]),
            energy_sxy=float(a["energy"]["sigma_xy"]),
            **STAGES[which],
        )
        model = filled(m, case)
        raw = Given(m.options.model_copy(update=UNWEIGHTED | {"contrast_after": -1}), m.classes)
        levels = {name: given[name].numpy().transpose(0, 2, 3, 1) for name in ("image", "view2", "local")}
        pixels = {name: np.stack([m.normalization.apply(i) for i in images]) for name, images in levels.items()}
        batch = {name: torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for name, x in pixels.items()}
        batch |= {"label": given["label"], "box": given["box"]}
        for number in a["iterations"][which]:
            prefix = f"{which}_{number}"
            m.after_step(model, Progress(number, 10**6, 0))  # of the step before; the first one moves nothing in truth
            for one in (m, raw):
                one.given = {"permutations": indices(case, f"{prefix}/rand_index")}
            unweighted = raw.training_step(model, batch, Progress(number, 10**6, 0))
            model.zero_grad(set_to_none=True)
            losses = m.training_step(model, batch, Progress(number, 10**6, 0))
            total = torch.stack(list(losses.values())).sum()
            total.backward()
            for term in TERMS:
                case.check(f"{prefix}/loss_{term}", unweighted[term])
            case.check(f"{prefix}/loss_total", total)
            case.check(f"{prefix}/refined_label", m.kept["refined_labels"])
            case.check(f"{prefix}/token_label", m.kept["token_labels"])
            case.check(f"{prefix}/flags", m.kept["local_crops"][1].long())
            check_gradients(case, prefix, model)
            if which == "voc" and number == a["iterations"]["voc"][0]:
                check_once(case, m)
    assert case.checked == set(case.outputs)


def check_gradients(case: Case, prefix: str, model: torch.nn.Module) -> None:
    found = {published(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    zero = [name for name, g in found.items() if not bool(g.any())]
    for output, names in (("grad_names", list(found)), ("zero_grad_names", zero or [""])):
        key = f"{prefix}/{output}"
        case.check(key, np.array(sorted(names)), np.array(sorted(case.outputs[key].tolist())))
    for name, cut in case.arguments["probes"].items():
        slices = ... if cut == "whole" else tuple(slice(*ends) for ends in cut)
        case.check(f"{prefix}/grad.{name}", found[name][slices])
        case.check(f"{prefix}/gradnorm.{name}", found[name].norm())


def check_once(case: Case, m: Any) -> None:
    cuts = case.arguments["slices"]
    for name, maps in zip(("cams", "cams_aux"), m.kept["class_maps"], strict=True):
        rows, columns = cuts[name]["step"]
        case.check(name, maps[..., ::rows, ::columns])
    case.check("roi_mask", m.kept["region_map"])
    for name, outputs in zip(("student", "teacher"), m.kept["projections"], strict=True):
        case.check(name, outputs[:, :: cuts[name]["channel_step"]])


@golden("toco_schedule")
def test_weights_of_the_losses_and_source_of_the_masks(case: Case) -> None:
    assert case.arguments["loss_order"] == list(TERMS)
    for which in BOTH:
        recipe = method(2, cls=Given, local_size=2, **STAGES[which])
        raw = Given(recipe.options.model_copy(update=UNWEIGHTED | {"contrast_after": -1}), recipe.classes)
        model = recipe.build_model()
        torch.manual_seed(0)
        maps = (torch.rand(1, 2, 8, 8), torch.rand(1, 2, 8, 8))
        batch = {**a_batch(1, 2, (8, 8)), "image": torch.randn(1, 3, 8, 8)}
        rows, sources = [], []
        for number in case.inputs[f"{which}/n_iter"].tolist():
            losses = []
            for one in (recipe, raw):
                one.given = {"class_maps": maps, "local_crops": (torch.zeros(8, 1, 3, 2, 2), torch.ones(1, 10))}
                losses.append(step(one, model, batch, number))
            rows.append([float(losses[0][term].detach() / losses[1][term].detach()) for term in TERMS])
            used = recipe.kept["refined_from"]
            sources.append(next(word for word, n in SOURCES.items() if torch.equal(used, maps[n])))
        case.check(f"{which}/loss_weights", np.array(rows))
        case.check(f"{which}/pseudo_label_source", np.array(sources))


def test_step_without_a_mask_pixel_is_finite() -> None:
    m = method(2, cls=Given, local_size=2, **UNWEIGHTED)
    m.given = {"refined_labels": torch.full((1, 8, 8), 255)}
    losses = step(m, m.build_model(), a_batch(1, 2, (8, 8)))
    assert all(bool(torch.isfinite(value)) for value in losses.values()) and float(losses["seg"]) == 0


def test_products_of_any_size_give_finite_contrast() -> None:
    large = class_contrast(torch.full((4, 8), 30.0), torch.full((2, 8), 30.0), torch.tensor([[1.0, 1, 1, 0]]), 0.1)
    assert torch.isfinite(large)


def test_groups_of_images_have_means_of_their_own() -> None:
    torch.manual_seed(0)
    batch = {**a_batch(4, 2, (8, 8)), "image": torch.randn(4, 3, 8, 8)}
    torch.manual_seed(1)
    model = method(2).build_model()
    masks = torch.randint(0, 3, (4, 8, 8))

    def losses(size: int | None, part: slice = slice(None)) -> Any:
        m = method(2, cls=Given, local_size=2, images_per_group=size, **UNWEIGHTED)
        cut = {name: value[part] for name, value in batch.items()}
        m.given = {"refined_labels": masks[part]}
        return step(m, model, cut)

    halves = [losses(None, slice(0, 2)), losses(None, slice(2, 4))]
    for name in ("ptc", "seg"):
        joined = torch.stack([half[name] for half in halves]).mean()
        torch.testing.assert_close(losses(2)[name], joined)
    assert not torch.allclose(losses(None)["seg"], losses(2)["seg"])


def test_scaled_box_keeps_tokens_that_lie_wholly_in_it() -> None:
    maps = torch.full((1, 2, 8, 8), 0.9)
    for rule, want in (("pixels", 16), ("scaled", 4)):
        m = method(2, cls=Given, local_size=2, token_box=rule)
        box = torch.tensor([[0, 8, 0, 8]]) if rule == "pixels" else torch.tensor([[1, 7, 2, 6]])
        seen = type("S", (), {"final": torch.zeros(1, 8, 4, 4)})
        labels = m.token_labels(maps, box, seen)
        assert int((labels == 1).sum()) == want


def test_teacher_starts_as_a_copy_and_never_learns() -> None:
    model = method(2).build_model()
    for ours, theirs in zip(model.proj_head_t.parameters(), model.proj_head.parameters(), strict=True):
        assert torch.equal(ours, theirs) and not ours.requires_grad
    assert not Directions(3, 4).weight_g.requires_grad


def test_permutations_follow_torchs_seed() -> None:
    m = method(2)
    torch.manual_seed(3)
    first = m.permutation(9)
    torch.manual_seed(3)
    assert torch.equal(first, m.permutation(9)) and list(itertools.islice(sorted(first.tolist()), 3)) == [0, 1, 2]
