"""A valid recipe: read and validated as a whole, `${ENV}` filled in for the running stage, its plugins loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ValidationError

from ..errors import PluginError, RecipeError
from ..plugin import discovery
from ..plugin.inspection import requirements_seen
from ..plugin.protocols import (
    Dataset,
    MaskRefiner,
    Method,
    PluginOptions,
    Refiner,
    Requirements,
    Segmenter,
)
from ..settings import ONE_LENGTH
from .evaluating import EvalSettings
from .files import builtin, locate, read
from .plugin_problems import options_of, plugin_problems
from .problems import Problem, problems_of, render, validated_json
from .renamed import modernise
from .sections import (
    PLUGIN,
    SECTION,
    STAGES,
    CamSettings,
    DatasetSettings,
    FrozenClsSettings,
    PluginChoice,
    PseudoSettings,
    Recipe,
    RefineSettings,
    RuntimeSettings,
    Settings,
    TrainClsSettings,
    TrainSegSettings,
)
from .unused import unused
from .variables import filled, misspelt
from .yaml_core import Address, Document, spell

__all__ = ["SECTION", "STAGES", "LoadedRecipe", "Recipe", "builtin", "check", "load", "locate"]

WITH_NETWORK = ("train-cls", "refine", "train-seg")
"""The stages whose plugin may have a network."""

_S = TypeVar("_S", bound=BaseModel)


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe that is valid as far as the core can tell, with the file and lines that it came from.

    Attributes:
        recipe: the sections, `${…}` not filled in.
        path: the file.
        document: its values after --set, and their lines.
    """

    recipe: Recipe
    path: Path
    document: Document = field(repr=False)

    @overload
    def section(self, stage: Literal["prepare"]) -> DatasetSettings: ...
    @overload
    def section(self, stage: Literal["train-cls"]) -> TrainClsSettings | FrozenClsSettings: ...
    @overload
    def section(self, stage: Literal["cam"]) -> CamSettings: ...
    @overload
    def section(self, stage: Literal["refine"]) -> RefineSettings: ...
    @overload
    def section(self, stage: Literal["pseudo"]) -> PseudoSettings: ...
    @overload
    def section(self, stage: Literal["train-seg"]) -> TrainSegSettings: ...
    @overload
    def section(self, stage: Literal["eval"]) -> EvalSettings: ...
    @overload
    def section(self, stage: Literal["runtime"]) -> RuntimeSettings: ...
    @overload
    def section(self, stage: str) -> Settings: ...
    def section(self, stage: str) -> Settings:
        """Return the section of a stage (or "runtime") with `${…}` filled in from the environment.

        Raises:
            RecipeError: the recipe has no such section, or a variable that it uses is not set.
        """
        key = SECTION.get(stage, stage.replace("-", "_"))
        section: Settings | None = getattr(self.recipe, key)
        if section is None:
            raise RecipeError(
                f"{self.path.name} has no section {key}; it has {', '.join(SECTION[s] for s in self.recipe.stages)}"
            )
        return self._filled((key,), section)

    @overload
    def plugin(self, stage: Literal["prepare"]) -> tuple[type[Dataset[Any]], PluginOptions]: ...
    @overload
    def plugin(self, stage: Literal["train-cls"]) -> tuple[type[Method[Any, Any]], PluginOptions]: ...
    @overload
    def plugin(self, stage: Literal["refine"], number: int = -1) -> tuple[type[Refiner[Any, Any]], PluginOptions]: ...
    @overload
    def plugin(self, stage: Literal["pseudo"]) -> tuple[type[MaskRefiner[Any]], PluginOptions]: ...
    @overload
    def plugin(self, stage: Literal["train-seg"]) -> tuple[type[Segmenter[Any, Any]], PluginOptions]: ...
    @overload
    def plugin(self, stage: str, number: int = -1) -> tuple[type[Any], PluginOptions]: ...
    def plugin(self, stage: str, number: int = -1) -> tuple[type[Any], PluginOptions]:
        """Return the plugin class of "prepare", "train-cls", "refine", "pseudo" or "train-seg" and validated options.

        number: position of a refiner among several, the last by default.

        Raises:
            PluginError: the plugin is missing or broken.
            RecipeError: its options do not fit, or a variable that they use is not set.
        """
        return self._of_choice(PLUGIN[stage][0], *self._choice(stage, self.section(stage), number))

    def _choice(self, stage: str, section: Any, number: int) -> tuple[PluginChoice, Address]:
        _, key, inner = PLUGIN[stage]
        if not inner:
            return section, (key,)
        choice = getattr(section, inner)
        if isinstance(choice, tuple):
            place = range(len(choice))[number]
            return choice[place], (key, inner, place)
        return choice, (key, inner)

    def _of_choice(self, group: str, choice: PluginChoice, at: Address) -> tuple[type[Any], PluginOptions]:
        cls = discovery.load(group, choice.name)
        options, problems = options_of(cls, choice.options, (*at, "options"))
        if options is None:
            raise _error(self.path, problems, self.document)
        return cls, options

    def as_written(self, stage: str, number: int = -1) -> tuple[type[Any], PluginOptions]:
        """Return the plugin class of a stage and its options, `${…}` not filled in.

        Raises:
            PluginError: the plugin is missing or broken. RecipeError: its options do not fit.
        """
        group, key, _ = PLUGIN[stage]
        return self._of_choice(group, *self._choice(stage, getattr(self.recipe, key), number))

    def address(self, stage: str, number: int = -1) -> Address:
        """Return where the recipe names the plugin of a stage; number: position of a refiner among several."""
        return self._choice(stage, getattr(self.recipe, PLUGIN[stage][1]), number)[1]

    def requirements(self) -> dict[str, Requirements]:
        """Return what each plugin of this recipe that has a network asks for, by its name; needs no `${…}`.

        Raises:
            PluginError: a plugin is missing or broken. RecipeError: its options do not fit.
        """
        found: dict[str, Requirements] = {}
        for stage, (_, key, _) in PLUGIN.items():
            section = getattr(self.recipe, key)
            if section is None or stage not in WITH_NETWORK:
                continue
            for number in range(len(section.chain) if stage == "refine" else 1):
                choice, _ = self._choice(stage, section, number)
                cls, options = self.as_written(stage, number)
                found[choice.name] = cls.requirements(options)
        return found

    def extras(self) -> dict[str, Requirements]:
        """Return what each plugin of this recipe reads of a sample, by its name; plugins are imported only if needed.

        Plugins that are missing or broken are left out: the stage that needs them reports it.
        """
        found: dict[str, Requirements] = {}
        for stage, (group, key, _) in PLUGIN.items():
            section = getattr(self.recipe, key)
            if section is None or stage not in WITH_NETWORK:
                continue
            for number in range(len(section.chain) if stage == "refine" else 1):
                choice, _ = self._choice(stage, section, number)
                try:
                    seen = requirements_seen(discovery.one(group, choice.name).target, choice.options)
                    if seen is None:
                        cls, options = self.as_written(stage, number)
                        seen = cls.requirements(options)
                except (PluginError, RecipeError):
                    continue
                found[choice.name] = seen
        return found

    def problems(self) -> list[Problem]:
        """Return all that is wrong with the plugins of this recipe and their options."""
        return plugin_problems(self.document)

    def unset(self, stage: str) -> list[Problem]:
        """Return the `${…}` of a stage's section whose environment variable is not set."""
        missing: list[Problem] = []
        section = getattr(self.recipe, SECTION[stage])
        if section is not None:
            filled(section.model_dump(mode="json", exclude_unset=True), (SECTION[stage],), missing)
        return missing

    def _filled(self, at: Address, section: _S) -> _S:
        missing: list[Problem] = []
        data = filled(section.model_dump(mode="json", exclude_unset=True), at, missing)
        if missing:
            raise _error(self.path, missing, self.document)
        return validated_json(type(section), data)


def load(
    name_or_path: str | os.PathLike[str], overrides: Sequence[str] = (), *, old_names: bool = False
) -> LoadedRecipe:
    """Return a validated recipe: a file of that name in the working directory, else a built-in one.

    overrides: `a.b=value` as --set takes them, applied in order; values by the rules of the file.
    old_names: take options under the names that they had before 0.1.0, for the recipe that a run keeps.

    Raises:
        RecipeError: there is no such recipe, or it has problems, which are all named at once.
    """
    path = locate(name_or_path)
    document = read(path, overrides)
    if old_names:
        modernise(document.data)
    recipe, problems = _core(document)
    if recipe is None or problems:
        raise _error(path, problems, document)
    return LoadedRecipe(recipe, path, document)


def check(name_or_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[str]:
    """Return all that is wrong with a recipe, core and plugins together, one line each; [] if nothing is.

    Raises:
        RecipeError: there is no such recipe, or it is not YAML.
    """
    document = read(locate(name_or_path), overrides)
    _, problems = _core(document)
    return render([*problems, *plugin_problems(document)], document.lines)


def _core(document: Document) -> tuple[Recipe | None, list[Problem]]:
    """Return the recipe (None if it is not valid) and all that is wrong, except with plugins and their options."""
    malformed: list[Problem] = []
    misspelt(document.data, (), malformed)
    try:
        recipe = validated_json(Recipe, document.data)
    except ValidationError as error:
        return None, [*(_with_way(problem, document) for problem in problems_of(error, Recipe)), *malformed]
    why = [Problem(address, f"is not used: {reason}") for address, reason in unused(recipe)]
    return recipe, [*malformed, *why]


def _with_way(problem: Problem, document: Document) -> Problem:
    """Return a problem with the --set that fixes it, if a --set caused it."""
    if problem.message == ONE_LENGTH:
        for given, other in (("max_steps", "epochs"), ("epochs", "max_steps")):
            if document.lines.get((*problem.address, given)) == "--set":
                way = f"--set {spell((*problem.address, other))}=null"
                return Problem((*problem.address, given), f"{ONE_LENGTH}; `{way}` removes the other one")
    return problem


def _error(path: Path, problems: Sequence[Problem], document: Document) -> RecipeError:
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return RecipeError("\n  ".join([f"{path.name} has {count}", *render(problems, document.lines)]))
