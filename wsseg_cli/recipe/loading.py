"""Reading a recipe: find it, apply --set, validate it whole, fill in ${ENV} for the running stage, load its plugin."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ValidationError

from ..disk.reading import read_text
from ..errors import PluginError, RecipeError, near
from ..plugin import discovery
from ..plugin.backbones import checked_entry, entry_class
from ..plugin.inspection import requirements_seen
from ..plugin.protocols import (
    Dataset,
    Method,
    NetworkOptions,
    Plugin,
    PluginOptions,
    Predictor,
    Refiner,
    Requirements,
    Segmenter,
)
from . import yaml_core
from .problems import Problem, problems_of, render, show
from .renamed import modernise
from .sections import (
    PLUGIN,
    SECTION,
    STAGES,
    CamSettings,
    DatasetSettings,
    EvalSettings,
    FrozenClsSettings,
    PluginChoice,
    PseudoSettings,
    Recipe,
    RefineSettings,
    RuntimeSettings,
    Settings,
    TrainClsSettings,
    TrainSegSettings,
    unused,
)
from .yaml_core import Address, Document

__all__ = ["SECTION", "STAGES", "LoadedRecipe", "Recipe", "builtin", "check", "load", "locate"]

MISSING_TRAINING = "give batch_size, optim, and max_steps or epochs"
"""What a section lacks that names a method and its weights alone."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
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
    def plugin(self, stage: Literal["train-seg"]) -> tuple[type[Segmenter[Any, Any]], PluginOptions]: ...
    @overload
    def plugin(self, stage: str, number: int = -1) -> tuple[type[Any], PluginOptions]: ...
    def plugin(self, stage: str, number: int = -1) -> tuple[type[Any], PluginOptions]:
        """Return the plugin class of "prepare", "train-cls", "refine" or "train-seg" and its validated options.

        number: place of a refiner among several, the last by default.

        Raises:
            PluginError: the plugin is not there or is broken.
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
        options, problems = _options(cls, choice.options, (*at, "options"))
        if options is None:
            raise _error(self.path, problems, self.document)
        return cls, options

    def as_written(self, stage: str, number: int = -1) -> tuple[type[Any], PluginOptions]:
        """Return the plugin class of a stage and its options, `${…}` not filled in.

        Raises:
            PluginError: the plugin is not there or is broken. RecipeError: its options do not fit.
        """
        group, key, _ = PLUGIN[stage]
        return self._of_choice(group, *self._choice(stage, getattr(self.recipe, key), number))

    def address(self, stage: str, number: int = -1) -> Address:
        """Return where the recipe names the plugin of a stage; number: place of a refiner among several."""
        return self._choice(stage, getattr(self.recipe, PLUGIN[stage][1]), number)[1]

    def requirements(self) -> dict[str, Requirements]:
        """Return what each plugin of this recipe that has a network asks for, by its name; needs no `${…}`.

        Raises:
            PluginError: a plugin is not there or is broken. RecipeError: its options do not fit.
        """
        found: dict[str, Requirements] = {}
        for stage, (_, key, inner) in PLUGIN.items():
            section = getattr(self.recipe, key)
            if section is None or not inner:
                continue
            for number in range(len(section.chain) if stage == "refine" else 1):
                choice, _ = self._choice(stage, section, number)
                cls, options = self.as_written(stage, number)
                found[choice.name] = cls.requirements(options)
        return found

    def extras(self) -> dict[str, Requirements]:
        """Return what each plugin of this recipe reads of a sample, by its name; a plugin is imported only if it must.

        Plugins that are not there or are broken are left out: the stage that needs them says so.
        """
        found: dict[str, Requirements] = {}
        for stage, (group, key, inner) in PLUGIN.items():
            section = getattr(self.recipe, key)
            if section is None or not inner:
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
        return _plugin_problems(self.document)

    def unset(self, stage: str) -> list[Problem]:
        """Return the `${…}` of a stage's section whose environment variable is not set."""
        missing: list[Problem] = []
        section = getattr(self.recipe, SECTION[stage])
        _fill(section.model_dump(mode="json", exclude_unset=True), (SECTION[stage],), missing)
        return missing

    def _filled(self, at: Address, section: _S) -> _S:
        missing: list[Problem] = []
        data = _fill(section.model_dump(mode="json", exclude_unset=True), at, missing)
        if missing:
            raise _error(self.path, missing, self.document)
        return _validated(type(section), data)


def load(
    name_or_path: str | os.PathLike[str], overrides: Sequence[str] = (), *, old_names: bool = False
) -> LoadedRecipe:
    """Return a validated recipe: a file of that name in the working directory, else a built-in one.

    overrides: `a.b=value` as --set takes them, applied in order; values by the rules of the file.
    old_names: take options under the names that they had before 0.1.0, for the recipe that a run keeps.

    Raises:
        RecipeError: no such recipe, or anything in it that is wrong, all at once.
    """
    path = locate(name_or_path)
    document = _read(path, overrides)
    if old_names:
        modernise(document.data)
    recipe, problems = _core(document)
    if recipe is None or problems:
        raise _error(path, problems, document)
    return LoadedRecipe(recipe, path, document)


def check(name_or_path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[str]:
    """Return all that is wrong with a recipe, core and plugins together, a line each; [] if nothing is.

    Raises:
        RecipeError: no such recipe, or no YAML.
    """
    document = _read(locate(name_or_path), overrides)
    _, problems = _core(document)
    return render([*problems, *_plugin_problems(document)], document.lines)


def folders() -> list[Path]:
    """Return where built-in recipes stand: beside the source tree, or in the installed package."""
    here = Path(__file__).resolve().parents[1]
    # an editable install leaves a copy in the package that goes stale, so the source tree comes first
    beside, packaged = here.parent / "recipes", here / "recipes"
    return [beside] if (here.parent / "pyproject.toml").is_file() and beside.is_dir() else [packaged]


def builtin() -> list[tuple[Path, str]]:
    """Return the built-in recipes as (file, description from its first comment line), by name."""
    files = sorted(file for folder in folders() for file in folder.glob("*.yaml"))
    return [(file, _first_comment(file)) for file in files]


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file that a recipe's name or path means.

    Raises:
        RecipeError: there is none.
    """
    name = os.fspath(name_or_path)
    candidates = [Path(name), Path(f"{name}.yaml")]
    if Path(name).name == name:
        candidates += [folder / f"{name.removesuffix('.yaml')}.yaml" for folder in folders()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = [path.stem for path, _ in builtin()]
    raise RecipeError(
        f"no recipe {name!r}, neither a file nor built in{near(Path(name).stem, known)}"
        "\n  `wsseg recipes list` shows the built-in ones"
    )


def _first_comment(file: Path) -> str:
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _read(path: Path, overrides: Sequence[str]) -> Document:
    try:
        text = read_text(path, yaml_core.LARGEST, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    document = yaml_core.parse(text, path.name)
    if not isinstance(document.data, dict):
        raise RecipeError(f"{path.name} holds {show(document.data)}; a recipe is a mapping with name, dataset, …")
    for override in overrides:
        _override(document, override)
    return document


def _override(document: Document, override: str) -> None:
    """Put one `a.b=value` into the document; sections on the way are made."""
    address, sign, text = override.partition("=")
    keys = tuple(address.strip().split("."))
    if not sign or not all(keys):
        raise RecipeError(f"--set {override!r}: expected key=value, such as train_cls.optim.lr=0.02")
    value = yaml_core.parse_value(text, f"--set {override!r}")
    here = document.data
    for depth, key in enumerate(keys[:-1], 1):
        if here.get(key) is None:
            here[key] = {}
        here = here[key]
        if not isinstance(here, dict):
            raise RecipeError(f"--set {override!r}: {'.'.join(keys[:depth])} is {show(here)}, not a section")
    here[keys[-1]] = value
    for old in [old for old in document.lines if old[: len(keys)] == keys]:
        del document.lines[old]
    document.lines[keys] = "--set"


def _core(document: Document) -> tuple[Recipe | None, list[Problem]]:
    """Return the recipe, None if it does not fit together, and all that is wrong but for plugins and their options."""
    malformed: list[Problem] = []
    _walk_texts(document.data, (), malformed)
    try:
        recipe = _validated(Recipe, document.data)
    except ValidationError as error:
        return None, [*problems_of(error, Recipe), *malformed]
    why = [Problem(address, f"is not used: {reason}") for address, reason in unused(recipe)]
    return recipe, [*malformed, *why]


def _validated(model: type[_S], data: Any) -> _S:
    # JSON mode: lists may stand for tuples and texts for paths, while a text for a number is still refused
    return model.model_validate_json(json.dumps(data))


def _options(
    cls: type[Plugin[Any]], data: Mapping[str, Any], at: Address
) -> tuple[PluginOptions | None, list[Problem]]:
    try:
        options = _validated(cls.Options, data)
    except ValidationError as error:
        return None, problems_of(error, cls.Options, at)
    problems = _backbone_problems(options, at)
    return (None if problems else options), problems


def _backbone_problems(options: PluginOptions, at: Address) -> list[Problem]:
    """Return what is wrong with the backbone that a plugin's options name, and with the options given to it."""
    if not isinstance(options, NetworkOptions):
        return []
    try:
        entry = checked_entry(options.backbone, options.backbone_options)
        entry.feature_maps  # noqa: B018 (a network of timm says here that it cannot be a backbone with these options)
    except (PluginError, RecipeError) as error:
        return [Problem((*at, "backbone"), str(error))]
    except ValidationError as error:
        return problems_of(error, entry_class(options.backbone)[0].Options, (*at, "backbone_options"))
    return []


def _plugin_problems(document: Document) -> list[Problem]:
    problems: list[Problem] = []
    for group, key, inner in PLUGIN.values():
        section = document.data.get(key)
        if not isinstance(section, dict):
            continue
        choice = section.get(inner) if inner else section
        at: Address = (key, inner) if inner else (key,)
        if isinstance(choice, list):
            for number, one in enumerate(choice):
                problems += _problems_of_choice(document, group, one, (*at, number), one)
        else:
            problems += _problems_of_choice(document, group, choice, at, section)
    return problems


def _problems_of_choice(document: Document, group: str, choice: Any, at: Address, section: Any) -> list[Problem]:
    """Return what is wrong with one plugin that a recipe names; section: where its training stands."""
    if not isinstance(choice, dict) or not isinstance(choice.get("name"), str):
        return []
    try:
        cls = discovery.load(group, choice["name"])
    except PluginError as error:
        return [Problem((*at, "name"), str(error).partition("\n")[0])]
    options = choice.get("options", {})
    if not isinstance(options, dict):
        return []
    validated, problems = _options(cls, options, (*at, "options"))
    if validated is not None and issubclass(cls, Refiner):
        place = (*at, "train") if section is choice else (at[0], "train")
        problems += _training(cls.requirements(validated).trains, choice["name"], section, place)
    elif validated is not None and issubclass(cls, Method):
        problems += _classifier(cls.requirements(validated).trains, choice["name"], section)
        problems += _masks(cls, choice["name"], document)
    return problems


def _classifier(trains: bool, name: str, section: Mapping[str, Any]) -> list[Problem]:
    given = [key for key in section if key not in FrozenClsSettings.model_fields]
    if trains and not given:
        return [Problem(("train_cls",), f"method {name!r} trains: {MISSING_TRAINING}")]
    if not trains:
        return [Problem(("train_cls", key), f"is not used: method {name!r} learns nothing") for key in given]
    return []


def _masks(method: type[Method[Any, Any]], name: str, document: Document) -> list[Problem]:
    """Return the keys of `eval` that are about a network's masks, in a recipe that makes none."""
    section = document.data.get("eval")
    if issubclass(method, Predictor) or document.data.get("train_seg") or not isinstance(section, dict):
        return []
    why = f"is not used: no train_seg section, and method {name!r} gives score maps, no masks"
    default = EvalSettings().model_dump(mode="json")
    return [Problem(("eval", key), why) for key in ("infer", "crf") if section.get(key, default[key]) != default[key]]


def _training(learns: bool, name: str, section: Mapping[str, Any], at: Address) -> list[Problem]:
    trained = section.get("train") is not None
    if learns and not trained:
        return [Problem(at, f"is missing: refiner {name!r} learns")]
    if trained and not learns:
        return [Problem(at, f"is not used: refiner {name!r} learns nothing")]
    return []


def _walk_texts(data: Any, at: Address, problems: list[Problem]) -> None:
    """Collect texts whose `${` is no variable."""
    if isinstance(data, dict):
        for key, value in data.items():
            _walk_texts(value, (*at, key), problems)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _walk_texts(value, (*at, index), problems)
    elif isinstance(data, str) and "${" in _VARIABLE.sub("", data):
        problems.append(Problem(at, f"{show(data)} is no ${{NAME}} of letters, digits and '_'"))


def _fill(data: Any, at: Address, missing: list[Problem]) -> Any:
    if isinstance(data, dict):
        return {key: _fill(value, (*at, key), missing) for key, value in data.items()}
    if isinstance(data, list):
        return [_fill(value, (*at, index), missing) for index, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    for name in _VARIABLE.findall(data):
        if not os.environ.get(name):
            missing.append(Problem(at, f"the environment variable {name} is not set; `export {name}=…`"))
    return _VARIABLE.sub(lambda match: os.environ.get(match[1], ""), data)


def _error(path: Path, problems: Sequence[Problem], document: Document) -> RecipeError:
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return RecipeError("\n  ".join([f"{path.name} has {count}", *render(problems, document.lines)]))
