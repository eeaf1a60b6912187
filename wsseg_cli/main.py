"""The command line: `wsseg`. Commands live in `commands/`; this module surrounds them, above all with exit codes."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated, Any

import typer

from . import __version__, console
from .commands import backbones, convert, export, plugins, predict, rank, recipes, report, stages, state, weights
from .commands.hints import made_whole
from .commands.verbosity import LevelOpt, VerboseOpt, everywhere
from .errors import DataError, WssegError
from .runlog import close_log, command_line
from .settings import MAX_MEGAPIXELS
from .signals import INTERRUPTED, TERMINATED, Terminated, raise_on_sigterm

_log = logging.getLogger(__name__)


class Commands(typer.core.TyperGroup):
    """The group of all commands: turns errors that a user can fix into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command and end the log of its run, if it has one, with the exit code."""
        code = 1
        try:
            result = self._guarded(ctx)
            code = 0
            return result
        except Exception as error:
            code = getattr(error, "exit_code", code)
            if not hasattr(error, "exit_code"):
                _log.info("a bug of wsseg:", exc_info=True)
            raise
        finally:
            close_log(code)
            console.set_level("info")

    def _guarded(self, ctx: Any) -> Any:
        """Run a command; a WssegError, Ctrl-C and a full disk end it without a traceback."""
        try:
            return super().invoke(ctx)
        except WssegError as error:
            said = made_whole(str(error), sys.argv[1:])
            console.error(f"{said}{console.advice_on_letters(said)}")
            _log.debug("where it came from:", exc_info=True)
            raise typer.Exit(error.exit_code) from error
        except Terminated as error:
            said = "terminated; what is done is kept, and the same command resumes from there:"
            console.note(f"{said} {command_line()}")
            raise typer.Exit(TERMINATED) from error
        except KeyboardInterrupt as error:
            said = "\ninterrupted; what is done is kept, and the same command resumes from there:"
            console.note(f"{said}\n  {command_line()}")
            raise typer.Exit(INTERRUPTED) from error
        except MemoryError as error:
            console.error("not enough memory; what is done is kept, the same command resumes when there is more")
            raise typer.Exit(1) from error
        except UnicodeEncodeError as error:
            advice = console.advice_on_letters(str(error.object))
            if not advice:
                raise
            console.error(f"{error.object}{advice}")
            raise typer.Exit(1) from error
        except OSError as error:
            console.error(_machine_said(error))
            raise typer.Exit(1) from error


def _machine_said(error: OSError) -> str:
    """Return in one line what the operating system refused: these are not bugs, and a traceback would not help."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; nothing is half-written, the same command resumes after making room"
    reason = str(error.strerror or error).splitlines()[0] if str(error) else type(error).__name__
    return f"the system says: {reason}{where}; nothing is half-written, the same command resumes once that is fixed"


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
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            "--max-megapixels",
            min=1e-6,
            max=99_999,
            help="Refuse larger pictures, masks and maps by their header; default: 100.",
            metavar="N",
        ),
    ] = None,
    verbose: VerboseOpt = False,
    log_level: LevelOpt = None,
) -> None:
    try:
        os.getcwd()
    except OSError:  # paths would not mean anything, and libraries of torch's fail on it in their own ways
        raise DataError("the working directory is gone; `cd` to one that is there") from None
    if max_megapixels is not None:
        os.environ[MAX_MEGAPIXELS] = str(max_megapixels)  # for worker processes as well


stages.register(app)
state.register(app)
predict.register(app)
report.register(app)
rank.register(app)
app.add_typer(recipes.app, name="recipes")
app.add_typer(export.app, name="export")
app.add_typer(plugins.app, name="plugins")
backbones.register(app)
app.add_typer(convert.app, name="convert")
app.add_typer(weights.app, name="weights")
everywhere(app)


def main() -> None:
    """Run the command line."""
    raise_on_sigterm()
    console.outlast_readers()
    app(prog_name="wsseg")
