"""Keys of a recipe that nothing would read, given its other keys."""

from __future__ import annotations

from ..settings import InferSettings, OptimSettings, ScheduleSettings, Settings, TrainSettings
from .sections import Recipe
from .yaml_core import Address


def unused(recipe: Recipe) -> list[tuple[Address, str]]:
    """Return (address, why) of every key that is in the recipe but that nothing would read."""
    found: list[tuple[Address, str]] = []
    trainings: list[tuple[Address, TrainSettings | None]] = [
        (("train_cls",), recipe.train_cls if isinstance(recipe.train_cls, TrainSettings) else None),
        (("refine", "train"), recipe.refine.train if recipe.refine else None),
        (("train_seg",), recipe.train_seg),
    ]
    if recipe.refine and isinstance(recipe.refine.refiner, tuple):
        trainings += [(("refine", "refiner", n, "train"), one.train) for n, one in enumerate(recipe.refine.refiner)]
    for at, training in trainings:
        if training is not None:
            found += [((*at, "optim", key), why) for key, why in _unused_optim(training.optim)]
            found += [((*at, "schedule", key), why) for key, why in _unused_schedule(training.schedule)]
    if recipe.train_seg is not None and recipe.train_seg.masks != "corrected":
        keys = [key for key in ("corrected", "repeat_corrected") if _said(recipe.train_seg, key)]
        found += [(("train_seg", key), f"masks: {recipe.train_seg.masks} reads no hand masks") for key in keys]
    if recipe.train_seg is None and recipe.train_cls is None:
        found += [(("eval", key), "no train_seg section") for key in ("infer", "crf") if _said(recipe.eval, key)]
    if recipe.cam is None and recipe.refine is None and _said(recipe.eval, "thresholds"):
        found.append((("eval", "thresholds"), "no cam section"))
    if recipe.refine:
        places: list[tuple[Address, InferSettings | None]] = [(("refine", "infer"), recipe.refine.infer)]
        if isinstance(recipe.refine.refiner, tuple):
            places += [(("refine", "refiner", n, "infer"), one.infer) for n, one in enumerate(recipe.refine.refiner)]
        found += [((*at, "tile"), "refiners look at whole images") for at, infer in places if infer and infer.tile]
    return found


def _unused_optim(optim: OptimSettings) -> list[tuple[str, str]]:
    keys = ("betas",) if optim.name == "sgd" else ("momentum", "nesterov")
    return [(key, f"optimiser {optim.name} has none") for key in keys if _said(optim, key)]


def _unused_schedule(schedule: ScheduleSettings) -> list[tuple[str, str]]:
    readers: dict[str, tuple[str, ...]] = {
        "power": ("poly",),
        "milestones": ("step",),
        "factor": ("step",),
        "final": ("cosine",),
        "divisor": ("poly", "cosine"),
    }
    return [
        (key, f"schedule {schedule.name} has none")
        for key, names in readers.items()
        if schedule.name not in names and _said(schedule, key)
    ]


def _said(settings: Settings, key: str) -> bool:
    """Return whether a key is in the recipe with a value other than its default; the default may be written out."""
    default = type(settings).model_fields[key].get_default(call_default_factory=True)
    return key in settings.model_fields_set and getattr(settings, key) != default
