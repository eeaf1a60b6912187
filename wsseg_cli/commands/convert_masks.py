"""wsseg convert masks: folders of masks between formats, and the exports of labelling tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..errors import RecipeError
from .converted import say_files
from .options import JsonOpt


def masks(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder of masks; with --from, a labelling tool's file.")
    ],
    out: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the new files.")],
    tool: Annotated[
        str | None,
        typer.Option(
            "--from", help="SRC is a file of coco (instances JSON), cvat or label-studio, not a folder.", metavar="TOOL"
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--form", help="Format of SRC: palette, index, rgb, coco; default: by its pixels.", metavar="FORM"
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="Format of DST: palette, index, rgb, coco.", metavar="FORM")
    ] = "palette",
    colours: Annotated[
        Path | None,
        typer.Option("--colours", help="JSON with [r, g, b] of each value; default: VOC's.", metavar="FILE"),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option("--num-classes", min=1, help="Refuse values beyond C.", metavar="C")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            help="--from: class names in the order of mask values; default: as in SRC; label-studio needs it.",
            metavar="FILE",
        ),
    ] = None,
    ignore: Annotated[
        str | None, typer.Option("--ignore", help="--from: label whose pixels become 255.", metavar="LABEL")
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option("--photos", help="--from: folder where each mask must have a photo of its size.", metavar="DIR"),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Convert masks: colours, category ids or plain values to palette PNGs, or back; or what a labelling tool exported.

    With --from, unlabelled pixels are background, and later regions cover earlier ones.
    """
    if tool is not None:
        others = {"--form": form, "--colours": colours, "--num-classes": num_classes}
        said = [name for name, value in others.items() if value is not None] + ["--to"] * (to != "palette")
        if said:
            raise RecipeError(f"{', '.join(said)}: only for folders of masks, not for --from {tool}")
        from ..convert import from_tools

        result = from_tools.run(source, out, tool, classes=classes, ignore=ignore, photos=photos)  # type: ignore[arg-type]
    else:
        said = [name for name, value in (("--classes", classes), ("--ignore", ignore), ("--photos", photos)) if value]
        if said:
            raise RecipeError(f"{', '.join(said)}: only with --from TOOL")
        from ..convert import masks as module

        result = module.run(source, out, form=form, to=to, colours=colours, num_classes=num_classes)  # type: ignore[arg-type]
    if not as_json:
        for line in ([f"classes: {', '.join(result.classes)}"] if result.classes else []) + result.notes:
            console.note(line)
    say_files(result.out, result.written, result.counts, result.failures, "value", as_json)
