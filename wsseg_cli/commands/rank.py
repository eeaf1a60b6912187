"""wsseg rank: which photos to label next."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..errors import RecipeError
from ..status import open_existing
from .options import JsonOpt, SetOpt, run_names


class By(str, Enum):
    """What `rank` can rank by."""

    margin = "margin"
    entropy = "entropy"
    disagreement = "disagreement"


def rank_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.", autocompletion=run_names)],
    by: Annotated[
        By,
        typer.Option(
            "--by",
            help="margin: gap of the two highest scores; entropy: of all; disagreement: of pseudo-mask and network.",
        ),
    ] = By.margin,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of photos.", metavar="N")] = 50,
    split: Annotated[
        str | None, typer.Option("--split", help="A split of the run; default: those trained on.", metavar="NAME")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="disagreement: between the networks of RUN and of this run.",
            metavar="RUN",
            autocompletion=run_names,
        ),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="Print only image ids, one per line.")] = False,
    set_: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """List the photos with the least certain masks, with the reason: those to correct next.

    Photos with a hand mask that the run trains on are left out. RUN/rank.json keeps the ranking, and `wsseg export
    masks --to label-studio` takes its scores.
    """
    from .. import rank

    if as_list and as_json:
        raise RecipeError("--list and --json are two forms of the same ranking; give one of them")
    other = None if against is None else open_existing(against)
    ranking = rank.rank(open_existing(run, None, set_), by.value, split, other)
    shown = ranking.photos[:top]
    if as_json:
        photos = [{"id": p.image_id, "image": p.image, "score": p.score, "reason": p.reason} for p in shown]
        facts = {"by": by.value, "splits": list(ranking.splits), "photos": photos}
        console.say_json({**facts, "of": len(ranking.photos), "labelled": ranking.labelled})
        return
    if as_list:
        console.say("\n".join(photo.image_id for photo in shown))
        return
    rows = [(str(n), f"{photo.score:.3f}", photo.image_id, photo.reason) for n, photo in enumerate(shown, 1)]
    console.say(console.table(rows, ("", by.value, "image", "reason")))
    left_out = f"; {ranking.labelled} with a hand mask left out" if ranking.labelled else ""
    console.say(f"rank       {len(shown)} of {len(ranking.photos)} photos of {', '.join(ranking.splits)}{left_out}")


def register(app: typer.Typer) -> None:
    """Add `rank` to the command line."""
    app.command(
        "rank",
        short_help="List the photos to label next.",
        epilog="Example: wsseg rank runs/quickstart --by margin --top 20",
    )(rank_command)
