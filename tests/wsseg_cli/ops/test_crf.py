"""Dense CRF against the numbers of the published implementation."""

from __future__ import annotations

from golden_cases import Case, golden

from wsseg_cli.ops.crf import dense_crf, labels_of, with_background
from wsseg_cli.ops.crf.presets import CrfParameters


def kernels(case: Case, **more: object) -> CrfParameters:
    """Return the parameters that a case with `gaussian` and `bilateral` arguments names."""
    gaussian, bilateral = case.arguments["gaussian"], case.arguments["bilateral"]
    values = {
        "gaussian_sxy": float(gaussian["sxy"]),
        "gaussian_weight": float(gaussian["compat"]),
        "bilateral_sxy": float(bilateral["sxy"]),
        "bilateral_srgb": float(bilateral["srgb"]),
        "bilateral_weight": float(bilateral["compat"]),
        "iterations": case.arguments["iterations"],
    }
    return CrfParameters(**{**values, **more})


@golden("crf_psa_softmax3", "crf_deeplab_21", "crf_wang_seg_1iter")
def test_softmax(case: Case) -> None:
    q = dense_crf(case.inputs["image"], case.inputs["probs"].astype("float32"), kernels(case))
    case.check_all({"q": q, "argmax": labels_of(q).astype("uint8")})


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
        got[name] = dense_crf(case.inputs["image"], with_background(case.inputs["cam"], alpha), parameters)
    case.check_all(got)
