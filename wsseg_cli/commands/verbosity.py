"""How much a command says: -v and --log-level, before or after the command, the same for all of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import typer

from .. import console

Level = Enum("Level", {name: name for name in console.LEVELS}, type=str)  # type: ignore[misc]


def _verbose(asked: bool) -> None:
    if asked:
        console.set_level("debug")


def _level(name: Level | None) -> None:
    if name is not None:
        console.set_level(name.value)


VERBOSE_HELP = "Also say what is read, chosen and done, and where an error came from. Works after the command, too."
LEVEL_HELP = "What is said on stderr: debug as --verbose; warning: no progress and no remarks; error: only errors."

VerboseOpt = Annotated[bool, typer.Option("--verbose", "-v", callback=_verbose, help=VERBOSE_HELP)]
LevelOpt = Annotated[Level | None, typer.Option("--log-level", callback=_level, help=LEVEL_HELP)]
_AGAIN = {
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", callback=_verbose, hidden=True)],
    "log_level": Annotated[Level | None, typer.Option("--log-level", callback=_level, hidden=True)],
}


def everywhere(app: typer.Typer) -> None:
    """Let every command of `app`, and of the groups in it, take the options after its name as well."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _taking_both(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            everywhere(group.typer_instance)


def _taking_both(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with both options added; their callbacks do the work."""

    @functools.wraps(callback)
    def command(*args: Any, verbose: bool = False, log_level: Any = None, **kwargs: Any) -> Any:
        return callback(*args, **kwargs)

    signature = inspect.signature(callback, eval_str=True)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_AGAIN[name])
        for name, default in (("verbose", False), ("log_level", None))
    ]
    vars(command)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *more])
    command.__annotations__ = {**callback.__annotations__, **_AGAIN}
    return command
