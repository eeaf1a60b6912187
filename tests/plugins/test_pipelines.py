"""Whole published inference scripts, from image and labels to files, through what the stages call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from pipeline_cases import Pipeline, with_either_library

from wsseg_cli.ops.masks import crf_marginals, crf_scores, mask_from_scores, probabilities
from wsseg_cli.recipe.evaluating import EvalSettings
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.stages.plugins import crf_image
from wsseg_cli.stages.pseudo import pseudo_mask
from wsseg_cli.types import ScoreMap

pytestmark = pytest.mark.slow


def marginals(scores: ScoreMap, section: PseudoSettings, image: np.ndarray) -> np.ndarray:
    """Return the marginals that `pseudo_mask` takes the highest of."""
    assert section.background is not None and section.crf is not None
    background = section.background
    return crf_marginals(image, scores.full(background.threshold, power=background.power), section.crf)


def mask_of(logits: np.ndarray, image: np.ndarray, section: EvalSettings) -> np.ndarray:
    """Return the mask as `eval` writes it."""
    return mask_from_scores(crf_scores(logits, image, section.crf))


def check_masks(p: Pipeline, scores: ScoreMap, names: tuple[str, str] = ("mask", "mask_crf")) -> None:
    """Compare the masks without and, where the case has one, with the CRF of its `pseudo` section."""
    p.check(names[0], pseudo_mask(scores, p.pseudo(crf=None)))
    if p.said["pseudo"]["crf"] is not None:
        p.check(names[1], pseudo_mask(scores, p.pseudo(), p.image))


@golden("pipeline_psa_cam", "pipeline_seam_cam", "pipeline_eps_cam", "pipeline_sccam_cam")
@torch.inference_mode()
def test_class_maps(case: Case) -> None:
    p = Pipeline(case)
    method = p.plugin()
    scores = method.scores(p.model(method), p.image, p.labels, p.infer())
    p.check("classes", scores.classes)
    p.check("cam", scores.scores)
    p.check("pred", pseudo_mask(scores, p.pseudo()))
    if "labels_for_refiner" in p.said:
        low, high = p.plugin(p.said["labels_for_refiner"]).label_scores(p.image, scores)
        p.check("la_crf", low)
        p.check("ha_crf", high)
    p.all_checked()


@golden("pipeline_ppc_eps_cam", "pipeline_ppc_seam_cam")
@with_either_library
@torch.inference_mode()
def test_class_maps_with_a_crf(case: Case) -> None:
    p = Pipeline(case)
    method = p.plugin()
    scores = method.scores(p.model(method), p.image, p.labels, p.infer())
    p.check("classes", scores.classes)
    p.check("cam", scores.scores)
    p.check("pred", pseudo_mask(scores, p.pseudo()))
    if "crf" in p.said:
        refined = p.plugin(p.said["crf"]).refine(None, p.image, p.labels, scores, p.infer())
        p.check("crf_png", pseudo_mask(refined, p.pseudo(background=None)))
    else:
        section = p.pseudo("pseudo_crf")
        p.check("pseudo", pseudo_mask(scores, section, p.image))
        p.check("crf", marginals(scores, section, p.image))
    p.all_checked()


@golden("pipeline_irn_cam", "pipeline_puzzlecam_cam")
@torch.inference_mode()
def test_both_resolutions(case: Case) -> None:
    p = Pipeline(case)
    method, refiner = p.plugin(), p.plugin(p.said["labels_for_refiner"])
    scores = method.scores(p.model(method), p.image, p.labels, p.infer())
    p.check("classes", scores.classes)
    p.check("high_res", scores.scores)
    p.check("cam", refiner.walk_start(scores))
    label = next(name for name in case.outputs if name.endswith("_label"))
    p.check(label, refiner.confident_labels(p.image, scores))
    p.all_checked()


@golden("pipeline_irn_chain", "pipeline_puzzlecam_chain")
@torch.inference_mode()
def test_method_and_walk(case: Case) -> None:
    p = Pipeline(case)
    method, choice = p.plugin(), p.said["refiner"]
    scores = method.scores(p.model(method, part="cam/"), p.image, p.labels, p.infer())
    refiner = p.plugin(choice)
    walked = refiner.refine(p.model(refiner, choice), p.image, p.labels, scores, p.infer(choice))
    p.check("classes", walked.classes)
    p.check("rw", walked.scores)
    check_masks(p, walked)
    p.all_checked()


@golden("pipeline_irn_walk", "pipeline_puzzlecam_walk")
@torch.inference_mode()
def test_walk_along_boundaries(case: Case) -> None:
    p = Pipeline(case)
    refiner = p.plugin()
    model = p.model(refiner)
    walked = refiner.refine(model, p.image, p.labels, p.coarse(), p.infer())
    p.check("edge", refiner.edge(model, p.image))
    p.check("rw", walked.scores)
    check_masks(p, walked)
    p.all_checked()


@golden("pipeline_psa_walk", "pipeline_seam_walk", "pipeline_ppc_walk")
@torch.inference_mode()
def test_walk_along_affinities(case: Case) -> None:
    p = Pipeline(case)
    refiner = p.plugin()
    model = p.model(refiner)
    walked = refiner.refine(model, p.image, p.labels, p.coarse(), p.infer())
    p.check("walked", walked.full())
    p.check("mask", pseudo_mask(walked, p.pseudo()))
    if "options_crf" in p.said:
        after = p.plugin(options="options_crf").refine(model, p.image, p.labels, p.coarse(), p.infer())
        p.check("crf", after.full())
        p.check("mask_crf", pseudo_mask(after, p.pseudo()))
    p.all_checked()


@golden("pipeline_onestage_masks")
@torch.inference_mode()
def test_masks_of_the_single_stage_model(case: Case) -> None:
    p = Pipeline(case)
    method = p.plugin()
    scores = method.scores(p.model(method), p.image, p.labels, p.infer())
    p.check("classes", scores.classes)
    p.check("merged", scores.full())
    check_masks(p, scores, ("pred", "crf_png"))
    p.all_checked()


@golden("pipeline_rsepm_single_stage")
@torch.inference_mode()
def test_seed_and_mask_of_recurseed(case: Case) -> None:
    p = Pipeline(case)
    method = p.plugin()
    scores = method.scores(p.model(method), p.image, p.labels, p.infer())
    p.check("classes", scores.classes)
    p.check("seed", scores.scores)
    p.check("mask_file", pseudo_mask(scores, p.pseudo(), p.image))
    published = p.pseudo(**p.published_crf())
    p.check("mask", pseudo_mask(scores, published, crf_image(published.crf, method, p.image)))
    p.all_checked()


@golden(
    "pipeline_deeplab_pytorch",
    "pipeline_puzzlecam_deeplabv3plus",
    "pipeline_rsepm_deeplabv2",
    "pipeline_rsepm_deeplabv3plus",
    "pipeline_wang_deeplabv1",
    "pipeline_wang_deeplabv3plus",
    "pipeline_wseg_deeplabv1",
    "pipeline_wseg_deeplabv1_resnet101",
    "pipeline_wseg_deeplabv2",
)
@with_either_library
@torch.inference_mode()
def test_segmentation(case: Case) -> None:
    p = Pipeline(case)
    segmenter = p.plugin()
    logits = segmenter.logits(p.model(segmenter), p.image, p.infer(p.said["eval"]))
    if "logits" in case.outputs:
        p.check("logits", logits)
    else:
        p.check("probabilities", probabilities(logits))
    p.check("mask", mask_of(logits, p.image, p.eval(crf=None)))
    if "mask_crf_file" in case.outputs:
        p.check("mask_crf_file", mask_of(logits, p.image, p.eval()))
        published = p.eval(**p.published_crf())
        seen = crf_image(published.crf, segmenter, p.image)
        p.check("mask_crf", mask_of(logits, seen, published))
        if "crf_image" in case.outputs:
            p.check("crf_image", seen)
    elif "mask_crf" in case.outputs:
        p.check("mask_crf", mask_of(logits, p.image, p.eval()))
    p.all_checked()
