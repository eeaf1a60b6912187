"""Writes docs/cli.md and docs/recipes.md from the command line and the models themselves: `python docs/generate.py`."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

HERE = Path(__file__).resolve().parent

CLI_HEAD = """\
# Commands

Written by `python docs/generate.py` from the command line itself; a test compares the two.
`wsseg COMMAND --help` says the same. Results go to stdout, everything else to stderr.

Every command takes, before or behind its name, `-v` (`--verbose`), which also says what is read, chosen and done, and
where an error came from, and `--log-level debug|info|warning|error`; `warning` leaves out progress and remarks.
Stages and `run` append to `RUN/wsseg.log` what was asked, by which version, when it began and ended, the exit code,
and what was said. A reader of the output may go, as `head` does: the work goes on, and the exit code is
that of the work.

Exit codes: 0 done; 1 a check failed; 2 usage or recipe; 3 plugin; 4 data; 5 stage order or staleness; 6 checkpoint;
7 training; 130 interrupted.
"""

RECIPES_HEAD = """\
# Every key of a recipe

Written by `python docs/generate.py` from the models that check recipes; a test compares the two.
`wsseg recipes check FILE` says what is wrong with a recipe, `wsseg plugins show NAME` lists the options of a plugin.

A section that is null or left out means that its stage does not run. Texts may hold `${NAME}`, filled in from the
environment when the stage runs. Numbers follow YAML 1.2: `1e-3` is a number, `2007_000032` and `no` are texts.
"""

NEEDED: dict[tuple[str, ...], str] = {
    ("convert", "weights"): "PSA's published classifier, 400 MB",
    ("export", "voc-server"): "VOC, and days of a GPU",
    ("weights", "add"): "the DeepLab authors' init.caffemodel",
    ("weights", "get"): "a network",
}
"""Examples that a test of this page cannot run, and what they need."""


def cli() -> str:
    """Return docs/cli.md."""
    from wsseg_cli.main import app

    return CLI_HEAD + "\n" + "\n".join(_command(typer.main.get_command(app), ("wsseg",))).rstrip() + "\n"


def _command(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if not children:
        yield f"## {' '.join(words)}\n"
        yield f"{' '.join((command.help or '').split())}\n"
        if words[1:] in NEEDED:
            yield f"<!-- not run: needs {NEEDED[words[1:]]} -->"
        yield f"```sh\n{(command.epilog or '').removeprefix('Example: ')}\n```\n"
        hints = typing.get_type_hints(inspect.unwrap(command.callback))
        rows = [_parameter(parameter, hints) for parameter in command.params if not _unsaid(parameter)]
        yield "| | | |\n|---|---|---|"
        yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
        yield ""
    for name in sorted(children):
        yield from _command(children[name], (*words, name))


def _unsaid(parameter: Any) -> bool:
    return parameter.name == "help" or getattr(parameter, "hidden", False)


def _parameter(parameter: Any, hints: dict[str, Any]) -> tuple[str, str, str]:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name}`"
        return names, "required" if parameter.required else "", parameter.help or ""
    kind = hints.get(parameter.name)
    metavar = "" if parameter.is_flag else f" {parameter.metavar or _values(kind)}"
    names = ", ".join(f"`{name}{metavar}`" for name in parameter.opts)
    default = getattr(parameter.default, "value", parameter.default)
    words = "required" if parameter.required else ""
    if not (words or parameter.is_flag or default in (None, "", 0, [], ())):
        words = f"`{default}`"
    return names, words, parameter.help or ""


def _values(annotation: Any) -> str:
    """Return the values of the enumeration in an annotation, else what kind of value it takes."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(member.value) for member in annotation)
    inner = [one for one in typing.get_args(annotation) if one is not type(None)]
    return _values(inner[0]) if inner else getattr(annotation, "__name__", "VALUE").upper()


def recipes() -> str:
    """Return docs/recipes.md."""
    from wsseg_cli.recipe.sections import Recipe

    lines = [RECIPES_HEAD, "## The recipe\n", *_table(Recipe)]
    seen: list[Any] = []
    queue: list[Any] = [Recipe]
    places: dict[type, list[str]] = {}
    while queue:
        model = queue.pop(0)
        for key, field in model.model_fields.items():
            for inner in _models(field.annotation):
                place = f"{places[model][0]}.{key}" if model in places else key
                if place not in places.setdefault(inner, []):
                    places[inner].append(place)
                if inner not in seen:
                    seen.append(inner)
                    queue.append(inner)
    for model in seen:
        summary = (model.__doc__ or "").strip().split("\n")[0]
        titles = ", ".join(f"`{place}`" for place in places[model])
        lines += [f"\n## {titles}\n", f"{summary}\n", *_table(model)]
    return "\n".join(lines) + "\n"


def _table(model: Any) -> Iterator[str]:
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for key, field in model.model_fields.items():
        cells = (f"`{key}`", _type(field.annotation), _default(field), _meaning(field))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _models(annotation: Any) -> Iterator[type]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def _type(annotation: Any) -> str:
    """Return a type as people who write YAML call it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(one) for one in inner)
    if origin is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return f"list of {_type(inner[0])}"
        return "[" + ", ".join(_type(one) for one in inner) + "]"
    if origin is dict:
        return "mapping"
    if list(_models(annotation)):
        return "section"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if hasattr(value, "model_dump"):
        return "its defaults"
    words = {None: "null", True: "true", False: "false"}
    shown = words[value] if value is None or isinstance(value, bool) else value
    return f"`{list(shown) if isinstance(shown, tuple) else shown}`" if shown != "" else ""


def _meaning(field: FieldInfo) -> str:
    words = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [f"{sign} {getattr(limit, key)}" for limit in field.metadata for key, sign in words.items()
              if getattr(limit, key, None) is not None]  # fmt: skip
    return (field.description or "") + (f" ({', '.join(bounds)})" if bounds else "")


def main() -> None:
    """Write both files."""
    for name, text in (("cli.md", cli()), ("recipes.md", recipes())):
        (HERE / name).write_text(text, encoding="utf-8")
        print(HERE / name, file=sys.stderr)


if __name__ == "__main__":
    main()
