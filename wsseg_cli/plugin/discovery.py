"""How plugins are found, by entry point: `find` imports nothing, `load` imports one, `check` inspects all."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, overload

from ..errors import PluginError, RecipeError, near
from . import protocols
from .backbone_entry import BackboneEntry
from .requirements import learns

KINDS: dict[str, type[protocols.Plugin[Any]]] = {
    "datasets": protocols.Dataset,
    "methods": protocols.Method,
    "refiners": protocols.Refiner,
    "mask_refiners": protocols.MaskRefiner,
    "segmenters": protocols.Segmenter,
    "backbones": BackboneEntry,
}
"""The groups, `wsseg.<group>` as entry points, and the class that each promises."""

CORE = "wsseg"
"""The distribution whose names no other can take over."""

_TRAINING = ("build_model", "train_transform", "training_step")
_ASKED: dict[str, tuple[str, ...]] = {
    "datasets": ("classes", "samples"),
    "methods": ("build_model", "scores"),
    "refiners": ("refine",),
    "mask_refiners": ("refine_mask",),
    "segmenters": ("build_model", "logits"),
    "backbones": ("build",),
}


@dataclass(frozen=True)
class Found:
    """One plugin as its package's metadata names it; nothing is imported."""

    group: str
    name: str
    package: str
    version: str
    target: str
    entry: importlib.metadata.EntryPoint

    @property
    def builtin(self) -> bool:
        """True for a plugin of this distribution."""
        return self.package.lower() == CORE

    @property
    def origin(self) -> str:
        """Package and version, as messages name them."""
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class Checked:
    """A plugin and what is known about it; `problem` is empty if there is none."""

    plugin: Found
    paper: str = ""
    problem: str = ""


def short_group(group: str) -> str:
    """Return "methods" for "wsseg.methods", "methods" or "method".

    Raises:
        RecipeError: no such group.
    """
    short = group.removeprefix("wsseg.")
    short = short if short in KINDS else f"{short}s"
    if short not in KINDS:
        raise RecipeError(f"no group of plugins {group!r}; there are {', '.join(KINDS)}{near(group, KINDS)}")
    return short


def find(group: str | None = None) -> list[Found]:
    """Return the installed plugins of one group, or of all, by group and name; reads metadata only."""
    groups = [short_group(group)] if group else list(KINDS)
    installed = importlib.metadata.entry_points()  # reads the metadata of every package: once for all groups
    found: list[Found] = []
    for one in groups:
        offered = _offered(one, installed.select(group=f"wsseg.{one}"))
        found += sorted(offered, key=lambda plugin: (not plugin.builtin, plugin.name))
    return found


def _offered(group: str, entries: Iterable[importlib.metadata.EntryPoint]) -> Iterator[Found]:
    origins: dict[int, tuple[str, str]] = {}
    for entry in entries:
        if id(entry.dist) not in origins:  # a package parses its metadata again each time that it is asked
            origins[id(entry.dist)] = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown package", "?")
        package, version = origins[id(entry.dist)]
        yield Found(group, entry.name, package, version, entry.value, entry)


def one(group: str, name: str) -> Found:
    """Return the plugin that `name` means in `group`, without importing it.

    Raises:
        PluginError: no plugin has that name, or two packages offer it.
    """
    group = short_group(group)
    plugins = find(group)
    named = [plugin for plugin in plugins if plugin.name == name]
    if not named:
        names = sorted({plugin.name for plugin in plugins})
        raise PluginError(
            f"no plugin {name!r} in wsseg.{group}; installed: {', '.join(names) or 'none'}{near(name, names)}"
            "\n  `wsseg plugins list` shows all; a new one comes with `pip install`"
        )
    if named[0].builtin:
        return named[0]
    if len(named) > 1:
        both = " and ".join(plugin.origin for plugin in named)
        raise PluginError(f"plugin {name!r} of wsseg.{group} is offered by {both}; uninstall one of them")
    return named[0]


@overload
def load(group: Literal["datasets"], name: str) -> type[protocols.Dataset[Any]]: ...
@overload
def load(group: Literal["methods"], name: str) -> type[protocols.Method[Any, Any]]: ...
@overload
def load(group: Literal["refiners"], name: str) -> type[protocols.Refiner[Any, Any]]: ...
@overload
def load(group: Literal["mask_refiners"], name: str) -> type[protocols.MaskRefiner[Any]]: ...
@overload
def load(group: Literal["segmenters"], name: str) -> type[protocols.Segmenter[Any, Any]]: ...
@overload
def load(group: str, name: str) -> type[protocols.Plugin[Any]]: ...
def load(group: str, name: str) -> type[protocols.Plugin[Any]]:
    """Return the class of one plugin, imported and checked.

    Raises:
        PluginError: not found, offered twice, does not load, or is not what its group promises.
    """
    return load_found(one(group, name))


def load_found(plugin: Found) -> type[protocols.Plugin[Any]]:
    """Return the class behind an entry point, imported and checked.

    Raises:
        PluginError: it does not load or is not what its group promises.
    """
    try:
        cls: type[protocols.Plugin[Any]] = plugin.entry.load()
    # a third-party module may raise anything when imported, sys.exit included; all of it means that it does not load
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"plugin {plugin.name!r} ({plugin.origin}) does not load: {reason}") from error
    problem = _broken_promise(plugin.group, cls)
    if problem:
        raise PluginError(f"plugin {plugin.name!r} ({plugin.origin}) is not a valid {plugin.group[:-1]}: {problem}")
    return cls


def _broken_promise(group: str, cls: object) -> str:
    """Return why an imported object is not a plugin of its group, or ""."""
    base = KINDS[group]
    if not inspect.isclass(cls) or not issubclass(cls, base):
        return f"{cls!r} does not subclass {base.__module__}.{base.__name__}"
    if not (inspect.isclass(cls.Options) and issubclass(cls.Options, protocols.PluginOptions)):
        return f"its Options does not subclass {protocols.PluginOptions.__name__}"
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    asked = list(_ASKED[group])
    if issubclass(cls, protocols.Trainable) and cls.train is protocols.Trainable.train and learns(cls):
        asked += [name for name in _TRAINING if name not in asked]
    absent = [name for name in asked if name in abstract or getattr(cls, name) is getattr(base, name)]
    return f"it lacks {', '.join(absent)}" if absent else ""


def check(importing: bool = True) -> list[Checked]:
    """Return every installed plugin with its paper and, if it is broken, why.

    importing: really import each, which takes as long as importing torch; otherwise its source is read, which finds
    missing packages, syntax errors and missing names in milliseconds.
    """
    from .inspection import look

    results = []
    plugins = find()
    for plugin in plugins:
        rivals = [p for p in plugins if (p.group, p.name) == (plugin.group, plugin.name) and p is not plugin]
        if rivals and not plugin.builtin:
            owner = next((p for p in rivals if p.builtin), rivals[0])
            verb = "belongs to" if owner.builtin else "is offered by"
            results.append(Checked(plugin, problem=f"the name {plugin.name!r} {verb} {owner.origin}, too"))
        elif importing:
            try:
                results.append(Checked(plugin, paper=load_found(plugin).paper))
            except PluginError as error:
                results.append(Checked(plugin, problem=str(error).split(": ", 1)[-1]))
        else:
            paper, problem = look(plugin.target)
            results.append(Checked(plugin, paper, problem))
    return results
