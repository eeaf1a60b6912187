"""wsseg plugins: list, show, new."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .. import console
from ..errors import CheckFailed, PluginError, near
from ..plugin.discovery import Found, check, find, load_found, one
from ..plugin.protocols import Plugin, Trainable
from ..plugin.requirements import differing, in_words
from ..scaffold import KINDS, new_plugin
from ..types import Json
from .options import JsonOpt

app = typer.Typer(help="Plugins: list, show, new.", no_args_is_help=True, rich_markup_mode=None)

Kind = Enum("Kind", {kind: kind for kind in KINDS}, type=str)  # type: ignore[misc]


def plugin_names(incomplete: str) -> list[str]:
    """Return the names of installed plugins with this prefix, for shell completion."""
    return sorted({plugin.name for plugin in find() if plugin.name.startswith(incomplete)})


@app.command("list", epilog="Example: wsseg plugins list --strict")
def list_(
    strict: Annotated[
        bool, typer.Option("--strict", help="Import every plugin; exit with 1 if one is broken.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """List datasets, methods, refiners, segmenters and backbones, built-in and third-party, and what is broken."""
    checked = check(importing=strict)
    if as_json:
        rows = [
            {
                "group": c.plugin.group,
                "name": c.plugin.name,
                "package": c.plugin.package,
                "version": c.plugin.version,
                "state": "broken" if c.problem else "ok",
                "problem": c.problem or None,
                "paper": c.paper or None,
            }
            for c in checked
        ]
        console.say_json({"plugins": rows})
    else:
        lines = [
            (c.plugin.group, c.plugin.name, c.plugin.origin, "BROKEN" if c.problem else "ok", c.problem or c.paper)
            for c in checked
        ]
        console.say(console.table(lines))
        console.note("Next: wsseg plugins show NAME")
    broken = [c.plugin.name for c in checked if c.problem]
    if strict and broken:
        raise CheckFailed(f"{len(broken)} of {len(checked)} plugins are broken: {', '.join(broken)}")


@app.command("show", epilog="Example: wsseg plugins show cam")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a plugin.", autocompletion=plugin_names)],
    group: Annotated[
        str | None,
        typer.Option("--group", help="datasets, methods, refiners, segmenters or backbones.", metavar="GROUP"),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Show what a plugin is and needs, and its options: name, type, default, bounds, meaning."""
    groups = [group] if group else sorted({plugin.group for plugin in find() if plugin.name == name})
    if not groups:
        names = sorted({plugin.name for plugin in find()})
        raise PluginError(f"no plugin {name!r}; installed: {', '.join(names) or 'none'}{near(name, names)}")
    for number, chosen in enumerate(groups):
        plugin = one(chosen, name)
        cls = load_found(plugin)
        if as_json:
            continue
        if number:
            console.say()
        _describe(plugin, cls)
    if as_json:
        shown = [_as_dict(one(chosen, name)) for chosen in groups]
        console.say_json({"plugins": shown})


@app.command("new", epilog="Example: wsseg plugins new mine --kind refiner")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin, such as mine.")],
    kind: Annotated[Kind, typer.Option("--kind", help="Kind of plugin.")] = Kind.method,  # type: ignore[attr-defined]
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory in which the folder wsseg-NAME is created.", metavar="DIR")
    ] = Path(),
) -> None:
    """Write a plugin package that installs, passes its own tests and runs on the toy scenes as it is."""
    files = new_plugin(name, kind.value, out)
    for file in files:
        console.say(str(file))
    folder = files[0].parent
    console.note(f"Next: pip install -e {folder} && wsseg run --recipe {files[-1]}")


def _describe(plugin: Found, cls: type[Plugin[Any]]) -> None:
    summary = (cls.__doc__ or "").strip().split("\n")[0]
    facts = [("name", f"{plugin.name} ({plugin.group[:-1]}, {plugin.origin})")]
    facts += [(word, text) for word, text in (("what", summary), ("paper", cls.paper)) if text]
    facts += _needs(plugin.group, cls)
    console.say(console.table(facts))
    options = [
        (key, _type(field), _default(field), _bounds(field), field.description or "")
        for key, field in cls.Options.model_fields.items()
    ]
    console.say("options" if options else "options  none")
    if options:
        console.say("  " + console.table(options, ("name", "type", "default", "bounds", "")).replace("\n", "\n  "))


def _as_dict(plugin: Found) -> Json:
    cls = load_found(plugin)
    return {
        "group": plugin.group,
        "name": plugin.name,
        "package": plugin.package,
        "version": plugin.version,
        "paper": cls.paper or None,
        "needs": _needs_data(cls),
        "options": cls.Options.model_json_schema(),
    }


def _needs(group: str, cls: type[Plugin[Any]]) -> list[tuple[str, str]]:
    """Return the rows (needs, requirement), with the options that cause the requirement if it depends on them."""
    if not issubclass(cls, Trainable):
        return []
    return [
        ("needs", f"{_spelled(given)}: {in_words(asked, group)}" if given else in_words(asked, group))
        for given, asked in differing(cls)
    ]


def _needs_data(cls: type[Plugin[Any]]) -> list[Json]:
    if not issubclass(cls, Trainable):
        return []
    return [
        {
            "options": given,
            "training": sorted(asked.training),
            "inference": sorted(asked.inference),
            "feature_maps": sorted(asked.feature_maps),
            "trains": asked.trains,
            "gradients": asked.gradients,
        }
        for given, asked in differing(cls)
    ]


def _spelled(given: Json) -> str:
    return ", ".join(f"{name}: {json.dumps(value)}".replace('"', "") for name, value in given.items())


def _type(field: FieldInfo) -> str:
    return _named(field.annotation)


def _named(kind: Any) -> str:
    """Return a type as shown to recipe authors: bounds have their own column."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _named(parts[0])
    if origin is Literal:
        return " | ".join(json.dumps(part) for part in parts)
    if origin in (Union, UnionType):
        return " | ".join(map(_named, parts))
    name = "None" if kind is type(None) else "..." if kind is ... else getattr(origin or kind, "__name__", str(kind))
    return f"{name}[{', '.join(map(_named, parts))}]" if parts else name


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or hasattr(value, "model_dump"):
        return "see type"
    return json.dumps(value, default=str, ensure_ascii=False)


def _bounds(field: FieldInfo) -> str:
    words = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "length >=", "max_length": "length <="}
    found = [
        (word, getattr(limit, key)) for limit in field.metadata for key, word in words.items() if hasattr(limit, key)
    ]
    return ", ".join(f"{word} {value}" for word, value in found if value is not None)
