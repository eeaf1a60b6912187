"""wsseg export: masks, onnx, hub, voc-server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..status import open_existing
from .options import JsonOpt, SetOpt, run_names

app = typer.Typer(
    help="Export: masks, onnx, hub, voc-server.",
    short_help="Write masks for labelling tools or VOC's test server, a network as ONNX or for a hub.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(
    "masks", epilog="Example: wsseg export masks runs/quickstart --to label-studio --out tasks.json --ignore unsure"
)
def masks(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN|FOLDER", help="A run, or a folder of mask PNGs.", autocompletion=run_names),
    ],
    to: Annotated[str, typer.Option("--to", help="coco, cvat, label-studio or png.", metavar="TOOL")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="FILE.json for coco and label-studio; FILE.xml (CVAT for images 1.1) or FILE.zip (Segmentation mask "
            "1.1) for cvat; a folder for png.",
            metavar="PATH",
        ),
    ],
    what: Annotated[
        str | None,
        typer.Option("--what", help="Masks of a run: pseudo or seg; default: pseudo if it has them.", metavar="WHAT"),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="A split of a run; default: all, for seg val.", metavar="NAME")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", help="For a folder: class names in the order of mask values.", metavar="FILE"),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option("--photos", help="For a folder: the folder of its photos.", metavar="DIR"),
    ] = None,
    ignore: Annotated[
        str | None,
        typer.Option("--ignore", help="Label for the pixels of 255; default: they get none.", metavar="LABEL"),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="One region per connected component; default: one per class.")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            help="label-studio: JSON with a score by image id, to sort by; default: those of `wsseg rank`.",
            metavar="FILE",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", help="Only these images: ids, one a line, as `wsseg rank --list` prints them.", metavar="FILE"
        ),
    ] = None,
    prefix: Annotated[
        str,
        typer.Option(
            "--prefix",
            help="label-studio: what precedes a photo's name, such as '/data/local-files/?d=photos/'.",
            metavar="URL",
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="png: write into a folder that holds masks, over those of the same name.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Write masks for labelling tools; `wsseg convert masks --from TOOL` reads the corrected ones back.

    Whatever the tool's format cannot hold is reported. For Label Studio the labelling interface is written next to the
    tasks, for CVAT the labels for its constructor.
    """
    from ..convert import to_tools

    choice = to_tools.Choice(ignore=ignore, instances=instances, scores=scores, images=images, prefix=prefix)
    done = to_tools.run(
        source,
        out,
        to,  # type: ignore[arg-type]
        choice,
        what=what,  # type: ignore[arg-type]
        split=split,
        classes=classes,
        photos=photos,
        force=force,
    )
    if as_json:
        console.say_json({"out": done.out, "images": done.images, "classes": done.classes, "notes": done.notes})
        return
    console.say(f"masks      {done.images} masks of {len(done.classes)} classes in {done.out} for {to}")
    for note in done.notes:
        console.say(f"           {note}")


@app.command("onnx", epilog="Example: wsseg export onnx runs/quickstart --out quickstart.onnx")
def onnx(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", help="A run with a trained network, or its model file.", autocompletion=run_names
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; default: next to the model file.", metavar="FILE")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Write the segmentation network as ONNX for any batch and any size, and compare it with torch.

    Input `pixels` (N, 3, H, W): float32 RGB, 0..255. Output `scores` (N, 1+C, H, W), background first.
    """
    from .. import export, predict

    file = predict.model_at(model).file
    written = export.export_onnx(file, out or file.with_suffix(".onnx"))
    worst = max(written.differences.values())
    if as_json:
        compared = [{"shape": list(shape), "difference": value} for shape, value in written.differences.items()]
        console.say_json({"onnx": str(written.path), "bytes": written.bytes, "compared": compared})
        return
    shapes = ", ".join("x".join(map(str, shape)) for shape in written.differences)
    console.say(f"onnx       {written.path}, {written.bytes / 1e6:.1f} MB; at {shapes} within {worst:.1e} of torch")


@app.command("hub", epilog="Example: wsseg export hub runs/quickstart --out quickstart_hub")
def hub(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", help="A run with a trained network, or its model file.", autocompletion=run_names
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder; default: hub, next to the model file.", metavar="DIR"),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="Licence that you give the network, as the hub names it: cc-by-4.0, mit, …"),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Write a folder in Hugging Face's layout: README.md (the model card), model.safetensors, config.json.

    Nothing is uploaded; `hf upload NAME FOLDER` does that. `wsseg predict --model FOLDER` takes the folder as it is.
    """
    from .. import predict
    from ..hub_folder import write_hub_folder
    from ..stages.model_card import card_of_file, card_of_run, evaluations

    chosen = predict.model_at(model)
    records = []
    if model.is_dir() and (model / "recipe.yaml").is_file():
        run = open_existing(model)
        card, records = card_of_run(run, chosen.file.parent.name), list(evaluations(run, ["seg"]))
    else:
        card = card_of_file(chosen.file)
    written = write_hub_folder(chosen.file, chosen.section, card, out or chosen.file.parent / "hub", records, licence)
    if as_json:
        console.say_json({"folder": str(written[0].parent), "files": [file.name for file in written]})
        return
    console.say(f"hub        {', '.join(file.name for file in written)} in {written[0].parent}")


@app.command("voc-server", epilog="Example: wsseg export voc-server runs/eps_voc --split test")
def voc_server(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run with predictions.", autocompletion=run_names)],
    split: Annotated[str, typer.Option("--split", help="The split that was predicted.", metavar="NAME")] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder; default: RUN/voc-server.", metavar="DIR")
    ] = None,
    competition: Annotated[
        str, typer.Option("--competition", help="comp6: any training data; comp5: only VOC's masks.")
    ] = "comp6",
    set_: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write a split's masks as VOC's test server takes them: a folder and a .tar.gz; count, sizes and values checked.

    Predict the split first: `wsseg prepare --split test`, `wsseg eval --what seg --split test`.
    """
    from .. import export

    archive, count = export.voc_server(open_existing(run, None, set_), split, out or run / "voc-server", competition)
    if as_json:
        console.say_json({"archive": str(archive), "images": count, "split": split})
        return
    console.say(f"voc-server {count} masks of {split} in {archive}; upload it as {competition}")
