"""Before the first stage: find everything that a later one would refuse, without training or writing anything.

Networks are built on PyTorch's meta device, without memory; only the header of a weights file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..data.index import Index
from ..engine import checkpoint, hub_weights, processes
from ..engine.memory import built
from ..errors import CheckpointError, DataError, PluginError, RecipeError, WssegError
from ..ops.opencv import MISSING
from ..plugin.protocols import InitialWeights, Trainable
from ..recipe.loading import WITH_NETWORK, LoadedRecipe
from ..recipe.problems import Problem, render
from ..recipe.sections import PLUGIN
from ..recipe.yaml_core import Address
from ..settings import TrainSettings
from ..types import ClassNames
from .hand_masks import hand_masks, require_folder
from .plugins import checked, mask_refiner_of
from .precisions import refused_precisions
from .without_numbers import learns_from_one, without_numbers

if TYPE_CHECKING:
    from torch import nn

_STAND_INS = ClassNames(["one", "two"])
"""Placeholder classes before the data set has been read; their number changes only the last layers."""

_Stage = Literal["train-cls", "refine", "train-seg"]
"""Stages that may train."""

_RANK: tuple[type[WssegError], ...] = (CheckpointError, DataError, PluginError, RecipeError)
"""Which error stands for all if several kinds were found: the first of these."""


@dataclass(frozen=True)
class Finding(Problem):
    """A problem at an address of the recipe, and the kind of error that a stage would have ended with."""

    kind: type[WssegError] = RecipeError


@dataclass
class _Training:
    """One training of a recipe.

    Attributes:
        stage, name, plugin: what trains, and in which stage.
        settings: None if nothing is trained.
        section: address of the settings.
        number: position of a refiner among several.
        network: on the meta device; None if it cannot be built there.
    """

    stage: _Stage
    name: str
    plugin: Trainable[Any, Any]
    settings: TrainSettings | None
    section: Address
    number: int = 0
    network: nn.Module | None = None


class Preflight:
    """Checks the stages of a recipe that are to run, by default all; `found` grows with every check."""

    def __init__(
        self,
        recipe: LoadedRecipe,
        stages: Sequence[str] = (),
        *,
        work: Path = Path(),
        index: Index | None = None,
    ) -> None:
        """Check plugins, networks and batches, but no file and no environment variable.

        work: folder that the data set may have written into. index: of the data set, if it has been read.
        """
        self.recipe, self.work, self.index = recipe, work, index
        self.classes = None if index is None else index.classes
        self.stages = tuple(stages) or recipe.recipe.stages
        self.found: list[Finding] = []
        for problem in recipe.problems():
            self._say(problem.address, problem.message, PluginError if problem.address[-1] == "name" else RecipeError)
        looked = [self._training(stage, number) for stage in self.stages for number in self._numbers(stage)]
        self._trainings = [training for training in looked if training is not None]
        for training in self._trainings:
            self._batches(training)

    def files(self) -> None:
        """Check the machine, variables, the data set's folders and lists, extras of images, and weights."""
        self._machine()
        unset = {stage: self.recipe.unset(stage) for stage in self.stages}
        for problem in (problem for problems in unset.values() for problem in problems):
            self._say(problem.address, problem.message)
        if "prepare" in self.stages and not unset["prepare"]:
            self._data()
        if "pseudo" in self.stages and not unset["pseudo"]:
            self._mask_refiner()
        if "train-seg" in self.stages and not unset["train-seg"]:
            self._try(("train_seg", "corrected"), self._hand_masks)
        for training in self._trainings:
            self._extras(training)
            for line in training.plugin.missing():
                self._say((*self.recipe.address(training.stage, training.number), "options"), line, PluginError)
            if training.settings and training.settings.augment.opencv == "library" and find_spec("cv2") is None:
                self._say((*training.section, "augment", "opencv"), MISSING.removeprefix("opencv: "))
            for at, initial in [] if unset[training.stage] else self._initial(training):
                self._try(at, partial(self._load, initial))

    def _say(self, address: Address, message: str, kind: type[WssegError] = RecipeError) -> None:
        self.found.append(Finding(address, message, kind))

    def _numbers(self, stage: str) -> range:
        refine = self.recipe.recipe.refine
        return range(len(refine.chain)) if stage == "refine" and refine is not None else range(1)

    def _training(self, stage: str, number: int = 0) -> _Training | None:
        """Return the training of a stage, None if it has none; if it cannot be built, that is a finding.

        number: position of a refiner among several.
        """
        _, key, inner = PLUGIN.get(stage, ("", "", ""))
        section = getattr(self.recipe.recipe, key) if stage in WITH_NETWORK else None
        if section is None or any(finding.address[:2] == (key, inner) for finding in self.found):
            return None
        place = self.recipe.address(stage, number)
        choice = section.chain[number] if stage == "refine" else getattr(section, inner)
        settings = choice.train if stage == "refine" else section if isinstance(section, TrainSettings) else None
        at: Address = (key,) if stage != "refine" else (*place, "train") if len(place) > 2 else (key, "train")
        try:
            cls, options = self.recipe.as_written(stage, number)
            plugin: Trainable[Any, Any] = checked(cls(options, self.classes or _STAND_INS))
            training = _Training(cast(_Stage, stage), choice.name, plugin, settings, at, number)
            if settings is not None and plugin.required.trains:
                training.network = without_numbers(lambda: built(plugin))
        except WssegError as error:
            self._say((*place, "options"), str(error), type(error))
            return None
        return training

    def _batches(self, training: _Training) -> None:
        settings, network = training.settings, training.network
        if settings is None or network is None:
            return
        parts = processes.world() * settings.accumulate
        among = f", {processes.world()} processes" if processes.world() > 1 else ""
        said = f"batch_size {settings.batch_size}, accumulate {settings.accumulate}{among}"
        at = (*training.section, "batch_size")
        if settings.batch_size % parts:
            self._say(at, f"{settings.batch_size} is not divisible by {parts}, processes x accumulate")
        elif settings.batch_size == parts and not settings.sync_batch_norm and not learns_from_one(network, settings):
            self._say(
                at,
                f"one image at a time ({said}) gives a batch norm of this network a single value per channel, from "
                "which it cannot learn; set batch_size to "
                f"{2 * parts} or more" + (", or accumulate to 1" if settings.accumulate > 1 else ""),
            )

    def _machine(self) -> None:
        """Find what the section runtime asks for and this machine does not have."""
        import torch

        runtime = self.recipe.recipe.runtime
        here: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        if runtime.device in here and not here[runtime.device]():
            self._say(("runtime", "device"), f"no {runtime.device} device here; auto takes what there is")
        if runtime.tracker != "none" and find_spec(runtime.tracker) is None:
            package = runtime.tracker.replace("_", "-")
            self._say(("runtime", "tracker"), f"{runtime.tracker} is not installed: pip install {package}")

        if processes.on_cpu(runtime.device):
            for at, said in refused_precisions(self.recipe.recipe, self.stages, "cpu"):
                self._say(at, said)

    def _data(self) -> None:
        try:
            cls, options = self.recipe.plugin("prepare")
        except WssegError:
            return  # said already
        data = cls(options, self.work)
        data.bad = {}  # `prepare` names the single entries of a list that cannot be used
        for line in data.missing(self.recipe.recipe.dataset.splits):
            self._say(("dataset", "options"), line, DataError)
        self._try(("dataset", "options", "extras"), cls(options, self.work).extra_folders)

    def _mask_refiner(self) -> None:
        try:
            refiner = mask_refiner_of(self.recipe, self.classes or _STAND_INS)
        except WssegError:
            return  # said already
        for line in refiner.missing() if refiner is not None else []:
            self._say(("pseudo", "refiner", "options"), line, DataError)

    def _hand_masks(self) -> None:
        if self.index is not None:
            hand_masks(self.recipe, self.index)
        else:  # `prepare` looks at them once it knows the photos
            require_folder(self.recipe.section("train-seg").hand_folder)

    def _extras(self, training: _Training) -> None:
        """Find extras of images that a plugin reads and that the data set's options could name, but do not here."""
        try:
            _, options = self.recipe.as_written("prepare")
        except WssegError:
            return
        named: Any = getattr(options, "extras", None)
        for extra in sorted(training.plugin.required.extras - set(named or ())):
            own = hasattr(options, extra)
            # a data set without an option for such maps may bring them by itself, as the toy scenes do
            if getattr(options, extra) is None if own else extra != "saliency" and named is not None:
                at: Address = ("dataset", "options", extra) if own else ("dataset", "options", "extras", extra)
                message = f"is missing: {training.name} needs a {extra} map of each image; name their folder"
                self._say(at, message, PluginError)

    def fetch(self, quiet: bool = True) -> None:
        """Fetch what `weights: hub` names and no cache holds, once all else is in order, and check it too."""
        for training in self._trainings:
            for at, initial in self._initial(training):
                network = without_numbers(initial.network) if initial.weights == "hub" else None
                if network is not None:
                    self._try(at, partial(hub_weights.fetched, network, quiet))
                    self._try(at, partial(self._load, initial))

    def _try(self, at: Address, look: Callable[[], object]) -> None:
        try:
            look()
        except WssegError as error:
            self._say(at, str(error).removeprefix("weights: "), type(error))

    def _initial(self, training: _Training) -> Iterator[tuple[Address, InitialWeights]]:
        """Yield what a training loads and where the recipe names it, `${…}` filled in."""
        place = self.recipe.address(training.stage, training.number)
        try:
            cls, options = self.recipe.plugin(training.stage, training.number)
        except WssegError:
            return  # said already
        plugin: Trainable[Any, Any] = cls(options, training.plugin.classes)
        section: Any = self.recipe.section(training.stage)
        settings = section.chain[training.number].train if training.stage == "refine" else section
        for initial in plugin.initial_weights(settings):
            yield (*place, "options", initial.option) if initial.option else (*training.section, "weights"), initial

    def _load(self, initial: InitialWeights) -> None:
        """Load weights into their network without numbers, by the very steps of a training.

        Raises:
            WssegError: what the training would have raised.
        """
        network = without_numbers(initial.network)
        if network is None:
            return
        if initial.weights == "train_cls":
            known = [one for one in self._trainings if one.stage == "train-cls"]
            classifier = known[0] if known else self._training("train-cls")
            if classifier is not None and classifier.network is not None:
                checkpoint.copy_backbone(network, classifier.network.state_dict(), "weights: train_cls")
            return
        try:
            checkpoint.load_initial(network, initial.weights)
        except CheckpointError:
            # The last layers have to fit too only if there is no backbone; placeholder classes do not tell their size.
            if self.classes is not None or hasattr(network, "backbone") or not Path(initial.weights).is_file():
                raise


def refuse(found: Sequence[Finding], recipe: LoadedRecipe) -> None:
    """Raise one error that names all findings, by the lines of the recipe.

    Raises:
        WssegError: there are findings. CheckpointError if weights are among them, else DataError if data are.
    """
    if found:
        count = f"{len(found)} problem{'' if len(found) == 1 else 's'}"
        kinds = {finding.kind for finding in found}
        kind = next((kind for kind in _RANK if kind in kinds), found[0].kind)
        raise kind("\n  ".join([f"{recipe.path.name} has {count}; nothing was started", *lines(found, recipe)]))


def lines(found: Sequence[Finding], recipe: LoadedRecipe) -> list[str]:
    """Return a text for each finding, in the order of the recipe's lines, with indented details below."""
    return [line.replace("\n", "\n  ") for line in render(found, recipe.document.lines)]
