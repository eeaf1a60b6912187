"""The same published scripts through the stages themselves: a run with one photo, its networks put in their places.

Stages keep score maps as float16 and fold batch norms, so a few labels and the last digits of scores differ.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_cases import Case, golden
from numpy.typing import NDArray
from PIL import Image
from pipeline_cases import Pipeline

from wsseg_cli.data.images import read_mask
from wsseg_cli.data.stores import MaskStore, ScoreStore
from wsseg_cli.engine import checkpoint
from wsseg_cli.recipe import loading
from wsseg_cli.run.directory import RunDir
from wsseg_cli.stages import Context, run_stage
from wsseg_cli.types import ScoreMap

pytestmark = pytest.mark.slow

PHOTO, SPLIT = "photo", "all"
HALF = 2**-11
"""What float16 may change of a score in [0, 1]."""
WALKED = 4e-3
"""What it may change of one that a walk made of maps in float16."""
AGREEMENT = 0.997
"""Share of the labels that float16 leaves as they are; 0 to 0.18 % move."""
TRAINING = {"weights": "none", "batch_size": 1, "max_steps": 1, "optim": {"name": "sgd", "lr": 0.1}}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that is gone after the test: networks are large."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def opened(p: Pipeline, folder: Path, sections: dict[str, Any], use: dict[str, Path] | None = None) -> Context:
    """Return the context of a run that holds the case's photo, prepared."""
    photos = folder / "photos"
    photos.mkdir()
    Image.fromarray(p.image).save(photos / f"{PHOTO}.png")
    names = [p.classes[label] for label in p.case.arguments.get("labels") or (0,)]
    (photos / "labels.jsonl").write_text(json.dumps({"image": f"{PHOTO}.png", "labels": names}))
    (photos / "all.txt").write_text(PHOTO)
    lists = {SPLIT: "all.txt"}
    # training reads saliency in some methods, so `prepare` asks for it; what is tested here does not
    (photos / "saliency").mkdir()
    Image.new("L", p.image.shape[1::-1]).save(photos / "saliency" / f"{PHOTO}.png")
    options = {"root": str(photos), "labels": "labels.jsonl", "classes": list(p.classes), "lists": lists}
    options |= {"saliency": "saliency"}
    recipe: dict[str, Any] = {"name": "case", "dataset": {"name": "folder", "options": options, "train": SPLIT}}
    recipe |= sections | {"runtime": {"workers": 0, "device": "cpu"}}
    (folder / "case.yaml").write_text(json.dumps(recipe))
    loaded = loading.load(folder / "case.yaml")
    context = Context(RunDir(folder / "run", loaded), loaded, quiet=True)
    run_stage("prepare", context)
    return Context(RunDir(folder / "run", loaded, use), loaded, quiet=True) if use else context


def put(context: Context, stage: str, model: Any) -> None:
    """Write a network as if the stage had trained it."""
    context.run.begin(stage)
    checkpoint.write_model(context.run.folder(stage) / checkpoint.MODEL, model, {"weights": "none"})
    context.run.finish(stage)


def put_refiner(context: Context, model: Any) -> None:
    """Write a refiner's network as if the stage had trained it; it makes its labels, and finds this finished."""
    context.run.look("refine")
    header = {"weights": "none", "fingerprint": context.run.fingerprint("refine")}
    checkpoint.write_model(context.run.folder("refine") / "train" / checkpoint.MODEL, model, header)


def chosen(p: Pipeline, choice: dict[str, Any]) -> dict[str, Any]:
    return {"name": choice["name"], "options": p.choice(choice)}


def method_section(p: Pipeline) -> dict[str, Any]:
    labels = "given" if p.labels is not None else "predicted"
    cam = {"infer": p.said["infer"], "store_stride": 1, "labels": {"train": labels}}
    return {"train_cls": {"method": chosen(p, p.said), **TRAINING}, "cam": cam}


def refine_section(p: Pipeline, choice: dict[str, Any], infer: dict[str, Any]) -> dict[str, Any]:
    return {"refine": {"refiner": chosen(p, choice), "train": TRAINING, "infer": infer, "store_stride": 1}}


def near(got: NDArray[Any], p: Pipeline, name: str, more: float) -> None:
    """Compare scores with an output under the case's tolerance and what float16 adds to it."""
    step = p.case.arguments.get("slices", {}).get(name, {}).get("step")
    got = got[..., :: step[0], :: step[1]] if step else got
    tolerance = p.case.spec["tolerance"]
    own = tolerance["per_output"].get(name, tolerance)
    np.testing.assert_allclose(got, p.case.outputs[name], rtol=own["rtol"], atol=own["atol"] + more)


def agree(got: NDArray[Any], p: Pipeline, name: str) -> None:
    share = (got == p.case.outputs[name]).mean()
    assert share >= AGREEMENT, f"{p.case.name}/{name}: {share:.4%} of the labels agree"


def stored(context: Context, stage: str) -> ScoreMap:
    return ScoreStore(context.run.folder(stage))[PHOTO]


def mask(context: Context) -> NDArray[Any]:
    run_stage("pseudo", context)
    return read_mask(MaskStore(context.run.folder("pseudo")).path(PHOTO))


METHODS = {
    "pipeline_psa_cam": ("cam", "pred"),
    "pipeline_seam_cam": ("cam", "pred"),
    "pipeline_eps_cam": ("cam", "pred"),
    "pipeline_sccam_cam": ("cam", "pred"),
    "pipeline_ppc_seam_cam": ("cam", "pred"),
    "pipeline_ppc_eps_cam": ("cam", "pseudo"),
    "pipeline_onestage_masks": ("merged", "crf_png"),
    "pipeline_rsepm_single_stage": ("seed", "mask"),
}
"""Score map and mask of each case."""


@golden(*METHODS)
def test_cam_and_pseudo(case: Case, folder: Path) -> None:
    p = Pipeline(case)
    scores, masked = METHODS[case.name]
    pseudo = p.pseudo("pseudo_crf" if "pseudo_crf" in p.said else "pseudo")
    if "mask_file" in case.outputs:
        pseudo = p.pseudo(**p.published_crf())
    context = opened(p, folder, method_section(p) | {"pseudo": pseudo.model_dump(mode="json")})
    put(context, "train-cls", p.model(p.plugin()))
    run_stage("cam", context)
    found = stored(context, "cam")
    np.testing.assert_array_equal(found.classes, case.outputs["classes"])
    rows = found.scores if found.background is None else np.concatenate([found.background[None], found.scores])
    near(rows, p, scores, HALF)
    agree(mask(context), p, masked)


@golden("pipeline_irn_cam", "pipeline_puzzlecam_cam")
def test_cam_keeps_both_resolutions(case: Case, folder: Path) -> None:
    p = Pipeline(case)
    refine = refine_section(p, p.said["labels_for_refiner"], {"scales": [1.0]})
    context = opened(p, folder, method_section(p) | refine)
    put(context, "train-cls", p.model(p.plugin()))
    run_stage("cam", context)
    found = stored(context, "cam")
    assert found.strided is not None
    near(found.scores, p, "high_res", HALF)
    near(found.strided, p, "cam", HALF)


@golden("pipeline_irn_chain", "pipeline_puzzlecam_chain")
def test_cam_refine_and_pseudo(case: Case, folder: Path) -> None:
    p = Pipeline(case)
    choice = p.said["refiner"]
    sections = method_section(p) | refine_section(p, choice, choice["infer"]) | {"pseudo": p.said["pseudo"]}
    context = opened(p, folder, sections)
    put(context, "train-cls", p.model(p.plugin(), part="cam/"))
    run_stage("cam", context)
    put_refiner(context, p.model(p.plugin(choice), choice))
    run_stage("refine", context)
    near(stored(context, "refine").scores, p, "rw", WALKED)
    agree(mask(context), p, "mask_crf" if p.said["pseudo"]["crf"] else "mask")


@golden("pipeline_irn_walk", "pipeline_puzzlecam_walk", "pipeline_psa_walk", "pipeline_seam_walk", "pipeline_ppc_walk")
def test_refine_and_pseudo(case: Case, folder: Path) -> None:
    p = Pipeline(case)
    coarse = p.coarse()
    stride = -(-coarse.size[0] // coarse.scores.shape[1])
    ScoreStore(folder / "cams").write(ScoreMap(PHOTO, coarse.classes, coarse.scores, coarse.size), stride)
    sections = refine_section(p, p.said, p.said["infer"]) | {"pseudo": p.said["pseudo"]}
    context = opened(p, folder, sections, use={"cam": folder / "cams"})
    put_refiner(context, p.model(p.plugin()))
    run_stage("refine", context)
    found = stored(context, "refine")
    if found.background is None:
        near(found.scores, p, "rw", WALKED)
    else:
        near(np.concatenate([found.background[None], found.scores]), p, "walked", WALKED)
    masks = Context(RunDir(context.run.path, context.recipe), context.recipe, quiet=True)
    agree(mask(masks), p, "mask_crf" if p.said["pseudo"]["crf"] else "mask")


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
def test_eval(case: Case, folder: Path) -> None:
    p = Pipeline(case)
    section = p.eval(**p.published_crf()) if "mask_crf_file" in case.outputs else p.eval()
    evaluation = section.model_dump(mode="json", exclude_none=True, include={"infer", "crf"})
    segmenter = {"segmenter": chosen(p, p.said), "masks": "ground_truth", **TRAINING}
    context = opened(p, folder, {"train_seg": segmenter, "eval": evaluation})
    put(context, "train-seg", p.model(p.plugin()))
    run_stage("eval", context, what="seg", split=SPLIT)
    found = read_mask(MaskStore(context.run.folder("eval") / f"seg-{SPLIT}").path(PHOTO))
    agree(found, p, "mask_crf" if p.said["eval"]["crf"] else "mask")
