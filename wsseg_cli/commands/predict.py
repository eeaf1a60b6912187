"""wsseg predict: masks for any photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from .. import console
from ..errors import RecipeError
from ..recipe.evaluating import EvalSettings
from ..types import Json
from .options import JsonOpt, QuietOpt, run_names

_SHOWN = 6  # classes named on a photo's line


def predict(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE…", help="Photos, folders, patterns such as 'in/*.jpg'.")
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            "-m",
            help="A run with a trained network, or just its train-seg/model.safetensors.",
            metavar="RUN|FILE",
            autocompletion=run_names,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the masks.", metavar="DIR")] = Path(
        "predictions"
    ),
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw the masks over the photos.")] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Also write the confidence of each pixel, as grey PNGs in DIR/confidence.")
    ] = False,
    crf: Annotated[
        str | None,
        typer.Option("--crf", help="Dense CRF by preset, or `none`; default: as the run's eval.", metavar="PRESET"),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option("--scales", help="Sizes of the views, such as 0.5,1,1.5; default: as the run's eval."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Add the horizontal flip of every view; default: as the run's eval."),
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option(
            "--longest",
            min=32,
            help="Larger photos are scaled down to this for the network, before windows are cut; default: as "
            "the run's eval, or 1024 without windows.",
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", min=0, help="Larger photos are cut into windows of this side, 0: none; default: as the run's."
        ),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option("--overlap", min=0, help="Smallest overlap of neighbouring windows, in pixels.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp32, bf16 or fp16; default: as the run's eval.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")] = None,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Write a mask for each photo, as large as the photo; no labels needed.

    A run treats photos as its `eval` does; a model file alone uses a single view and no CRF.
    """
    from .. import predict as prediction
    from ..engine import checkpoint
    from ..stages.per_image import report_failures

    chosen = prediction.model_at(model)
    section = _views(chosen.section, crf, scales, flip, precision)
    section = _windows(section, tile, overlap)
    runtime = chosen.runtime
    if device is not None:
        runtime = _validated(type(runtime), {**runtime.model_dump(), "device": device}, "--device")
    photos = prediction.photos_at(images, out)
    start = str(checkpoint.read_header(chosen.file).get("weights", "unknown"))
    records, failures = prediction.predict(
        photos,
        replace(chosen, section=section, runtime=runtime),
        out,
        overlay=overlay,
        scores=scores,
        longest=longest,
        quiet=quiet,
    )
    if as_json:
        failed = [{"image": str(photos[name]), "reason": reason} for name, reason in failures]
        console.say_json(
            {"model": str(chosen.file), "initial_weights": start, "out": str(out), "images": records, "failed": failed}
        )
    else:
        _tell(records, out, [name for name, asked in (("overlays", overlay), ("confidence", scores)) if asked])
        if not quiet:
            console.note(f"network    {chosen.file}; initial weights: {start}")
    report_failures(out, "predict", failures, len(photos))


def _views(
    section: EvalSettings, crf: str | None, scales: str | None, flip: bool | None, precision: str | None
) -> EvalSettings:
    """Return the run's settings, overridden by the command line.

    Raises:
        RecipeError: a value that a recipe would not take either.
    """
    infer: Json = section.infer.model_dump()
    if scales is not None:
        try:
            infer["scales"] = tuple(float(text) for text in scales.split(","))
        except ValueError:
            raise RecipeError(f"--scales {scales}: expected numbers, such as 0.5,1,1.5") from None
    if flip is not None:
        infer["flip"] = flip
    if precision is not None:
        infer["precision"] = precision
    values: Json = {"infer": infer, "crf": section.crf.model_dump() if section.crf else None}
    if crf is not None:
        values["crf"] = None if crf == "none" else crf
    given = {"--crf": crf, "--scales": scales, "--precision": precision}
    flags = " ".join(name for name, value in given.items() if value is not None)
    return _validated(EvalSettings, values, flags)


def _windows(section: EvalSettings, tile: int | None, overlap: int | None) -> EvalSettings:
    """Return the settings with the windows that the command line asks for; a tile of 0 means none.

    Raises:
        RecipeError: a value that a recipe would not take either.
    """
    values: Json = section.infer.model_dump()
    values |= {} if tile is None else {"tile": tile or None}
    values |= {} if overlap is None else {"overlap": overlap}
    infer = _validated(type(section.infer), values, "--tile, --overlap")
    return section.model_copy(update={"infer": infer})


def _validated(kind: type[Any], values: Json, flags: str) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{flags}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def _tell(records: list[Json], out: Path, beside: list[str]) -> None:
    rows = []
    for record in records:
        areas = sorted(record["areas"].items(), key=lambda item: -item[1])
        more = f", and {len(areas) - _SHOWN} more" if len(areas) > _SHOWN else ""
        rows.append((record["name"], ", ".join(f"{name} {share:.1%}" for name, share in areas[:_SHOWN]) + more))
    if rows:
        console.say(console.table(rows))
        smaller = sum(record["size"] != record["seen_at"] for record in records)
        scaled = f"; {smaller} scaled down for the network (--longest)" if smaller else ""
        also = "".join(f", {name} in {out / name}" for name in beside)
        console.say(f"predict    {len(records)} masks in {out}{also}{scaled}")


def register(app: typer.Typer) -> None:
    """Add `predict` to the command line."""
    app.command(
        "predict",
        short_help="Write masks for any photos.",
        epilog="Example: wsseg predict photos/ --model runs/quickstart --overlay",
    )(predict)
