"""The `pipeline_*` golden cases: the plugin that a case names, its options and checkpoint; nothing is written here.

`case.json` was written before some options had their names, or were there at all: `RENAMED` and `LATER` say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import numpy as np
from fill import fill_array
from golden_cases import COMPARISONS, Case
from pytest import MonkeyPatch
from torch import Tensor, backends, from_numpy, nn

from wsseg_cli.nets import weights
from wsseg_cli.plugin import discovery
from wsseg_cli.recipe import loading
from wsseg_cli.recipe.evaluating import EvalSettings
from wsseg_cli.recipe.sections import PseudoSettings, Recipe
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, ClassNames, ScoreMap

RENAMED = {"rates": "lr_multipliers"}
"""Options that the cases call by an older name."""

LATER = ("multiple", "norm_eps")
"""Options that came after the cases: the recipe that a case names carries them."""

SECTIONS = {
    "methods": ("train_cls", "method"),
    "refiners": ("refine", "refiner"),
    "segmenters": ("train_seg", "segmenter"),
}


def with_either_library(test: Callable[[Case], None]) -> Callable[[Case], None]:
    """Let a case hold with one of the two libraries that torch has for convolutions on a CPU.

    Some tolerances lie at the rounding of float32: which library meets them depends on the processor.
    """

    @wraps(test)
    def run(case: Case) -> None:
        before = len(COMPARISONS)
        try:
            test(case)
        except AssertionError:
            del COMPARISONS[before:]
            with MonkeyPatch.context() as patch:
                patch.setattr(backends.mkldnn, "enabled", False)
                test(case)

    return run


@dataclass(frozen=True)
class Pipeline:
    """One case: what stands in `plugin`, and how it is built."""

    case: Case

    @property
    def said(self) -> dict[str, Any]:
        """What the case says of plugin, sections and comparison."""
        said: dict[str, Any] = self.case.spec["plugin"]
        return said

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe that carries the case's values, where it names one."""
        name = self.said.get("recipe")
        return loading.load(name).recipe if name else None

    @cached_property
    def classes(self) -> ClassNames:
        """Names of the foreground classes: VOC's, as many as the case's label counts."""
        voc = discovery.load("datasets", "voc")
        names: Any = voc.Options.model_fields["classes"].default
        return ClassNames(names)

    @property
    def image(self) -> ByteArray:
        """The photo, (H, W, 3) uint8."""
        return self.case.inputs["image"]

    @property
    def labels(self) -> tuple[int, ...] | None:
        """Labels to hand over; None: the plugin predicts them."""
        labels = self.case.arguments["labels"]
        return None if labels is None else tuple(labels)

    def choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a plugin that the case names, under today's names, with what came later."""
        options = {RENAMED.get(key, key): value for key, value in choice["options"].items()}
        section, inner = SECTIONS[choice["kind"]]
        carried = getattr(getattr(self.recipe, section, None), inner, None)
        if carried is not None and carried.name == choice["name"]:
            options = {key: carried.options[key] for key in LATER if key in carried.options} | options
        return options

    def plugin(self, choice: dict[str, Any] | None = None, options: str = "options") -> Any:
        """Return the plugin that `choice` names, by default the case's own; options: the key that they stand under."""
        choice = dict(choice or self.said)
        choice["options"] = choice[options]
        cls = discovery.load(choice["kind"], choice["name"])
        return cls(cls.Options.model_validate_json(json.dumps(self.choice(choice))), self.classes)  # type: ignore[call-arg]

    def model(self, plugin: Any, choice: dict[str, Any] | None = None, part: str = "") -> nn.Module:
        """Return the plugin's network with the case's checkpoint, brought in through the public name map.

        part: "cam/" for the method of a case with two networks.
        """
        model: nn.Module = plugin.build_model()
        fit = weights.match(weights.rename(self.checkpoint(part), (choice or self.said)["family"]), model)
        missing = [name for name in fit.missing if not name.startswith(("backbone.fc", "average."))]
        assert not (missing or fit.extra or fit.wrong_shape), (missing, fit.extra, fit.wrong_shape)
        model.load_state_dict(fit.matched, strict=False)
        return model.eval()

    def checkpoint(self, part: str = "") -> dict[str, Tensor]:
        """Return a checkpoint under its published names; `state_scale` and `state_offset` call it `part` + name."""
        file = "state_dict_method.json" if part else "state_dict.json"
        scale, offset = (self.case.spec.get(f"state_{name}", {}) for name in ("scale", "offset"))
        tensors = {}
        for name, shape, dtype in json.loads((self.case.folder / file).read_text()):
            value = fill_array(name, tuple(shape), dtype)
            value = value * np.asarray(scale.get(part + name, 1), value.dtype)
            value = value + np.asarray(offset.get(part + name, 0), value.dtype)
            tensors[name] = from_numpy(np.ascontiguousarray(value)).reshape(value.shape)
        return tensors

    def infer(self, holder: dict[str, Any] | None = None) -> InferSettings:
        """Return the views that the case asks for."""
        return InferSettings.model_validate_json(json.dumps((holder or self.said)["infer"]))

    def pseudo(self, key: str = "pseudo", **values: Any) -> PseudoSettings:
        """Return a `pseudo` section of the case, with other values of the section itself or of its CRF."""
        return PseudoSettings.model_validate_json(json.dumps(_changed(self.said[key], values)))

    def eval(self, **values: Any) -> EvalSettings:
        """Return the case's `eval` section, as `pseudo`."""
        return EvalSettings.model_validate_json(json.dumps(_changed(self.said["eval"], values)))

    def published_crf(self) -> dict[str, Any]:
        """Return what the CRF of the published script sees and takes in, beside its kernels."""
        own = self.recipe.eval.crf if self.recipe else None
        return {"image": "published", **({"min_score": own.min_score} if own is not None else {})}

    def coarse(self) -> ScoreMap:
        """Return the score map of a refiner's case, which is handed over."""
        given = self.case.inputs
        size = (int(self.image.shape[0]), int(self.image.shape[1]))
        return ScoreMap("", given["classes"].astype(np.int64), given["cam"], size)

    def check(self, name: str, got: Any) -> None:
        """Compare with output `name`, cut as `arguments.slices` says, in the type that the case stores."""
        got = np.asarray(got)
        step = self.case.arguments.get("slices", {}).get(name, {}).get("step")
        if step:
            got = got[..., :: step[0], :: step[1]]
        want = self.case.outputs[name]
        self.case.check(name, got.astype(want.dtype) if want.dtype.kind in "iu" else got)

    def all_checked(self) -> None:
        """Check that every output was compared, but for those that the case says are compared with nothing."""
        compare = self.said["compare"]
        left = set(self.case.outputs) - self.case.checked
        left = {name for name in left if name != "keys" and not compare.get(name, "").startswith("nothing")}
        assert not left, f"{self.case.name}: not compared: {sorted(left)}"


def _changed(section: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    changed = dict(section)
    for key, value in values.items():
        if key in section:
            changed[key] = value
        else:
            own = changed["crf"]
            changed["crf"] = {**({"preset": own} if isinstance(own, str) else own), key: value}
    return changed
