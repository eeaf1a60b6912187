"""The protocol of a number: everything that must be known to compare it with another one."""

from __future__ import annotations

from typing import Any

from ..engine import checkpoint
from ..plugin.protocols import stated
from ..recipe.background import BackgroundSettings
from ..recipe.sections import PseudoSettings, RefineSettings
from ..run.threshold import chosen
from ..settings import InferSettings
from ..types import Json
from . import Context
from .hand_masks import masks_said
from .per_image import label_rule
from .plugins import network_stage


def protocol_of(context: Context, artefact: str, split: str, images: int) -> Json:
    """Return split, images, labels given or predicted, views, CRF, initial weights and supervision of a result.

    For a folder that --use gave for the artefact, only its path is known.
    """
    recipe = context.recipe.recipe
    protocol: Json = {"split": split, "images": images, "classes": "mean over classes and background"}
    protocol |= {"tf32": True} if recipe.runtime.tf32 else {}
    if artefact == "seg":
        return protocol | _of_network(context)
    if artefact in context.run.use:  # made elsewhere: only its path is known
        return protocol | {"folder": str(context.run.use[artefact]), "labels": "unknown", "supervision": "unknown"}
    protocol["labels"] = label_rule(context).source(split)
    if recipe.cam is not None:
        protocol["infer"] = _views(recipe.cam.infer)
        protocol["store_stride"] = recipe.cam.store_stride
    if recipe.refine is not None and artefact != "cam":
        protocol["refiner"] = ", ".join(one.name for one in recipe.refine.chain)
        protocol |= _refiner_precision(recipe.refine)
    protocol["crf"] = _crf(recipe.pseudo.crf) if artefact == "pseudo" and recipe.pseudo else None
    if artefact == "pseudo" and recipe.pseudo and recipe.pseudo.refiner:
        protocol["mask refiner"] = recipe.pseudo.refiner.name
    if artefact == "pseudo" and recipe.pseudo and recipe.pseudo.ignore and not recipe.pseudo.ignore.only_training:
        protocol["ignore"] = {"below": recipe.pseudo.ignore.below}
    if artefact == "pseudo" and recipe.pseudo and recipe.pseudo.background:
        protocol |= _background(context, recipe.pseudo)
        if recipe.pseudo.precision != "fp32":
            protocol["precision"] = recipe.pseudo.precision
    model = context.run.folder("train-cls") / checkpoint.MODEL
    if model.is_file():
        protocol["initial weights"] = checkpoint.read_header(model).get("weights", "unknown")
    protocol["supervision"] = _supervision(context)
    return protocol


def _of_network(context: Context) -> Json:
    recipe = context.recipe.recipe
    header = checkpoint.read_header(context.run.folder(network_stage(recipe)) / checkpoint.MODEL)
    learnt, hand = header.get("masks"), header.get("learnt_from", {}).get("hand", 0)
    supervision = "fully supervised" if learnt == "ground_truth" else _supervision(context)
    return {
        "labels": "none",
        "infer": _views(recipe.eval.infer),
        "crf": _crf(recipe.eval.crf),
        "initial weights": header.get("weights", "unknown"),
        "supervision": supervision + (", hand masks" if hand else ""),
        **({"masks": masks_said(header)} if learnt == "corrected" else {}),
    }


def _views(infer: InferSettings) -> Json:
    """Return the settings of the views, with those of windows if there are any, and a precision other than fp32."""
    unsaid = {"overlap"} if infer.tile is None else set()
    unsaid |= {"precision"} if infer.precision == "fp32" else set()
    return infer.model_dump(mode="json", exclude_none=True, exclude=unsaid)


def _refiner_precision(section: RefineSettings) -> Json:
    """Return the precisions of the refiners that learn, unless all are fp32."""
    said = [one.infer.precision for one in section.chain if one.train is not None and one.infer is not None]
    return {"refiner precision": ", ".join(said)} if set(said) - {"fp32"} else {}


def _supervision(context: Context) -> str:
    """Return I (image labels) and what else the recipe's plugins read, S for saliency maps."""
    if context.recipe.recipe.train_cls is None:
        return "unknown"
    return stated(set().union(*(asked.extras for asked in context.recipe.requirements().values())))


def _background(context: Context, section: PseudoSettings) -> Json:
    if isinstance(section.background, BackgroundSettings):
        return {"background": section.background.model_dump(exclude_none=True)}
    found = chosen(context.run.folder("pseudo"))
    return {"background": {"threshold": found.threshold}, "threshold": found.said} if found else {}


def _crf(section: Any) -> Any:
    return None if section is None else section.model_dump(mode="json", exclude_none=True, exclude={"backend"})
