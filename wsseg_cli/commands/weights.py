"""wsseg weights: list, get, add, where. Published start weights by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from .. import weights as room
from ..types import Json
from ..weights import Published
from .options import JsonOpt, QuietOpt

if TYPE_CHECKING:
    from ..convert.start_weights import Placed

app = typer.Typer(
    help="Published start weights by name: list, get, add, where.", no_args_is_help=True, rich_markup_mode=None
)

ForceOpt = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]


def weight_names(incomplete: str) -> list[str]:
    """Return the names in the table with this prefix, for shell completion."""
    return [name for name in room.TABLE if name.startswith(incomplete)]


NameArg = Annotated[
    str, typer.Argument(metavar="NAME", help="Name, as `wsseg weights list` shows.", autocompletion=weight_names)
]


@app.command("list", epilog="Example: wsseg weights list")
def list_(as_json: JsonOpt = False) -> None:
    """List published start weights, and which are here.

    With size, the checksum that verifies the file, what they were trained on, and the licence of the publishing code.
    Without a checksum only the names and shapes of the tensors are compared.
    """
    rows = list(room.TABLE.values())
    own = sorted(path.stem for path in room.folder().glob("*.safetensors") if path.stem not in room.TABLE)
    if as_json:
        console.say_json({"folder": room.folder(), "weights": [_as_dict(row) for row in rows], "own": own})
        return
    lines = [
        (
            row.name,
            "here" if room.path_of(row.name).is_file() else "-",
            _size(row),
            _way(row),
            row.sources[0].checked_by or "no checksum",
            row.saw,
            row.licence,
        )
        for row in rows
    ]
    lines += [(name, "here", "", "yours", "", "", "") for name in own]
    console.say(console.table(lines, ("name", "here", "size", "how", "verified by", "has seen", "licence")))
    console.note(f"In {room.folder()}. Next: wsseg weights get NAME; then `weights: NAME` in a recipe")


@app.command("get", epilog="Example: wsseg weights get resnet50_imagenet")
def get(
    name: NameArg,
    address: Annotated[
        str | None, typer.Option("--from", help="Fetch the file from another address, such as a mirror.", metavar="URL")
    ] = None,
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Download, check and convert start weights.

    An interrupted download resumes where it stopped. Recipes then find the weights by their name.
    """
    from ..convert import start_weights

    _say(start_weights.get(name, address=address, force=force, quiet=quiet), quiet)


@app.command("add", epilog="Example: wsseg weights add resnet101_deeplab_init init.caffemodel")
def add(
    name: NameArg,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The published file, as downloaded.")],
    force: ForceOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Add start weights that were downloaded by hand.

    The file is checked and converted under the name that recipes use; the original stays where it is.
    """
    from ..convert import start_weights

    _say(start_weights.add(name, file, force=force), quiet)


@app.command("where", epilog="Example: wsseg weights where")
def where(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of weights that are here.", autocompletion=weight_names)
    ] = None,
) -> None:
    """Print the folder of start weights, or the file of one of them.

    The folder is WSSEG_WEIGHTS, by default one in the user's data directory.
    """
    console.say(str(room.folder() if name is None else room.locate(name)))


def _say(placed: Placed, quiet: bool) -> None:
    row = room.published(placed.name)
    facts = [("from", placed.source), ("sha256", placed.sha256), ("has seen", row.saw), ("licence", row.licence)]
    facts += [("note", row.note)] if row.note else []
    console.say(console.table([*facts, ("wrote", str(placed.path))]))
    if not quiet:
        console.note(f"Next: `weights: {placed.name}` in a recipe")


def _size(row: Published) -> str:
    return f"{row.sources[0].mebibytes} MiB" if row.sources[0].mebibytes else "?"


def _way(row: Published) -> str:
    return "get" if row.plain else "by hand, add"


def _as_dict(row: Published) -> Json:
    path = room.path_of(row.name)
    return {
        "name": row.name,
        "path": path if path.is_file() else None,
        "backbone": row.backbone,
        "saw": row.saw,
        "licence": row.licence,
        "note": row.note or None,
        "sources": [
            {key: value or None for key, value in (vars(source) | {"checked_by": source.checked_by}).items()}
            for source in row.sources
        ],
    }
