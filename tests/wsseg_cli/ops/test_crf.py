"""Dense CRF against the numbers of the published implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
from golden_cases import Case, golden

from wsseg_cli.ops.crf import (
    PRESETS,
    Backend,
    CrfParameters,
    add_power_background,
    crf_parameters,
    dense_crf,
    labels_of,
    marginals,
    unary_from_labels,
    unary_from_scores,
)

OURS: tuple[Backend, ...] = ("numba", "torch")


def kernels(case: Case, **more: Any) -> CrfParameters:
    """Return the parameters that a case with `gaussian` and `bilateral` arguments names."""
    gaussian, bilateral = case.arguments["gaussian"], case.arguments["bilateral"]
    values = {
        "gaussian_sxy": gaussian["sxy"],
        "gaussian_weight": gaussian["compat"],
        "bilateral_sxy": bilateral["sxy"],
        "bilateral_srgb": bilateral["srgb"],
        "bilateral_weight": bilateral["compat"],
        "iterations": case.arguments["iterations"],
        "clip": case.arguments.get("clip", 1e-5),
    }
    return CrfParameters(**{**values, **more})


@golden("crf_kernel_messages")
def test_messages(case: Case) -> None:
    unary = unary_from_scores(case.inputs["probs"])
    for backend in OURS:
        got = {}
        for name in case.outputs:
            kind, *numbers = name.replace("sxy", "").split("_")
            values = {"gaussian_weight": 0, "bilateral_weight": 0, "iterations": 1}
            values[f"{kind}_weight"] = case.arguments["compat"]
            values |= {f"{kind}_{word}": int(number) for word, number in zip(("sxy", "srgb"), numbers, strict=False)}
            q = marginals(case.inputs["image"], unary, CrfParameters(**values), backend=backend).astype("float64")
            got[name] = np.log(q[1] / q[0]) - (unary[0] - unary[1])
        case.check_all(got)


@golden("crf_unaries")
def test_unaries(case: Case) -> None:
    count, sure = case.arguments["n_labels"], case.arguments["gt_prob"]
    unsure = case.inputs["labels_zero_unsure"]
    got = {
        "softmax": unary_from_scores(case.inputs["probs"]),
        "softmax_scale0.7": unary_from_scores(case.inputs["probs"], scale=case.arguments["softmax_scale"]),
        "labels": unary_from_labels(case.inputs["labels"], count, certainty=sure),
        "labels_zero_unsure": unary_from_labels(unsure, count, certainty=sure, zero_unsure=True),
    }
    case.check_all({name: unary.reshape(count, -1) for name, unary in got.items()})


@golden("crf_psa_softmax3", "crf_deeplab_21", "crf_wang_seg_1iter")
def test_softmax(case: Case) -> None:
    for backend in OURS:
        q = dense_crf(case.inputs["image"], case.inputs["probs"].astype("float32"), kernels(case), backend=backend)
        case.check_all({"q": q, "argmax": labels_of(q).astype("uint8")})


@golden("crf_psa_cam_alpha4", "crf_psa_cam_alpha32")
def test_cams(case: Case) -> None:
    scores = add_power_background(case.inputs["cam"], case.arguments["alpha"])
    q = dense_crf(case.inputs["image"], scores, kernels(case))
    case.check_all({"unary_input": scores, "q": q, "argmax": labels_of(q).astype("uint8")})


@golden("crf_psa")
def test_alpha(case: Case) -> None:
    given = case.arguments
    got = {}
    for name in case.outputs:
        alpha = int(name.split("_")[1].removeprefix("alpha"))
        shrink = given["scale_factor"] if name.endswith("scale2") else 1
        parameters = CrfParameters(
            gaussian_sxy=given["gauss_sxy"] / shrink,
            gaussian_weight=given["gauss_compat"],
            bilateral_sxy=given["bi_sxy"] / shrink,
            bilateral_srgb=given["bi_srgb"],
            bilateral_weight=given["bi_compat"],
            iterations=1 if name.endswith("t1") else given["t"],
            clip=given["clip"],
        )
        got[name] = dense_crf(case.inputs["image"], add_power_background(case.inputs["cam"], alpha), parameters)
    case.check_all(got)


@golden("psa_crf")
def test_psa(case: Case) -> None:
    published = PRESETS["psa"]
    q = {}
    for name, given in case.arguments.items():
        parameters = crf_parameters(
            "psa",
            iterations=given["t"],
            gaussian_sxy=published.gaussian_sxy / given["scale_factor"],
            bilateral_sxy=published.bilateral_sxy / given["scale_factor"],
        )
        q[name] = dense_crf(case.inputs["image"], case.inputs[f"probs{given['labels']}"], parameters)
    every = q["t1_labels21"]
    case.check_all({**q, "t1_labels21": every[[0, 5, 9]], "t1_labels21_other": every[1]})


@golden("psa_cam_crf")
def test_psa_cams(case: Case) -> None:
    parameters = crf_parameters("psa", iterations=case.arguments["t"])
    got: dict[str, Any] = {"keys": np.concatenate([[0], case.inputs["present"] + 1])}
    for name in ("low_alpha", "high_alpha"):
        scores = add_power_background(case.inputs["cam"], case.arguments[name])
        got[name] = dense_crf(case.inputs["image"], scores, parameters)
    case.check_all(got)


@golden("onestage-crf")
def test_onestage(case: Case) -> None:
    image, scores = case.inputs["image"], case.inputs["scores"]
    steps = case.arguments["iterations"]
    q = dense_crf(image, scores, kernels(case, iterations=steps["t10"]))
    once = dense_crf(image, scores, kernels(case, iterations=steps["t1_s2"]))
    case.check_all({"q_t10": q, "argmax_t10": labels_of(q).astype("uint8"), "q_t1_s2": once[:, ::2, ::2]})


@golden("crf_irn_label4")
def test_hard_labels(case: Case) -> None:
    count, sure = case.arguments["n_labels"], case.arguments["gt_prob"]
    parameters = kernels(case, unary="labels", certainty=sure)
    q = dense_crf(case.inputs["image"], case.inputs["labels"], parameters, labels=count)
    unary = unary_from_labels(case.inputs["labels"], count, certainty=sure)
    case.check_all({"unary": unary, "q": q, "argmax": labels_of(q).astype("uint8")})


@golden("crf_ppc_label21_yx")
def test_hard_labels_y_first(case: Case) -> None:
    order = case.arguments["feature_order"].replace(",", "")
    parameters = kernels(case, unary="labels", certainty=case.arguments["gt_prob"], feature_order=order)
    count = case.arguments["n_labels"]
    for backend in OURS:
        q = dense_crf(case.inputs["image"], case.inputs["labels"], parameters, labels=count, backend=backend)
        case.check_all({"q": q[:6], "q_absent": q[-1], "argmax": labels_of(q).astype("uint8")})


@golden("ppc_crf_hard")
def test_ppc(case: Case) -> None:
    image, cams, given = case.inputs["image"], case.inputs["cam"], case.arguments
    values = np.concatenate([[0], case.inputs["classes"] + 1])
    shared = {
        "gaussian_sxy": given["gauss_sxy"],
        "gaussian_weight": given["gauss_compat"],
        "bilateral_weight": given["bi_compat"],
        "iterations": given["t"],
        "certainty": given["gt_prob"],
    }
    flat = np.concatenate([np.full((1, *cams.shape[1:]), 0.26, np.float32), cams])
    q = dense_crf(image, values[labels_of(flat)], crf_parameters("irn", **shared), labels=given["n_labels"])
    absent = np.setdiff1d(np.arange(given["n_labels"]), values)
    got = {"crf_pred": labels_of(q).astype("uint8"), "crf_q_present": q[values], "crf_q_absent_max": q[absent].max(0)}
    for alpha in (4, 24):
        hard = values[labels_of(add_power_background(cams, alpha))]
        q = dense_crf(image, hard, crf_parameters("ppc", **shared), labels=given["n_labels"])
        got |= {f"aff_prepare_alpha{alpha}": q[values]}
        got |= {f"aff_prepare_alpha{alpha}_argmax": labels_of(q).astype("uint8")}
    case.check_all(got)
