"""The command line: `wsseg`. Commands live in `commands/`; here is what surrounds them, exit codes above all."""

from __future__ import annotations

import errno
import shlex
import sys
from typing import Annotated, Any

import typer

from . import __version__, console
from .commands import backbones, convert, export, plugins, predict, recipes, report, stages, state, weights
from .errors import WssegError

INTERRUPTED = 130


class Commands(typer.core.TyperGroup):
    """The group of all commands: turns what a user can mend into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a WssegError, Ctrl-C and a full disk end it without a traceback."""
        try:
            return super().invoke(ctx)
        except WssegError as error:
            console.error(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            again = shlex.join(["wsseg", *sys.argv[1:]])
            console.note(f"\ninterrupted; what is done is kept, and the same command goes on from there:\n  {again}")
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f" at {error.filename}" if error.filename else ""
            console.error(
                f"the disk is full{where}; nothing is half-written, the same command goes on after making room"
            )
            raise typer.Exit(1) from error


app = typer.Typer(
    name="wsseg",
    cls=Commands,
    help="Weakly-supervised semantic segmentation from image-level labels.",
    epilog="Example: wsseg run --recipe quickstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        console.say(f"wsseg {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


stages.register(app)
state.register(app)
predict.register(app)
report.register(app)
app.add_typer(recipes.app, name="recipes")
app.add_typer(export.app, name="export")
app.add_typer(plugins.app, name="plugins")
backbones.register(app)
app.add_typer(convert.app, name="convert")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run the command line."""
    app(prog_name="wsseg")
