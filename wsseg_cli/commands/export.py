"""wsseg export: onnx, hub, voc-server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..status import open_existing
from .options import JsonOpt, SetOpt, run_names

app = typer.Typer(
    help="Export: onnx, hub, voc-server.",
    short_help="Write a network as ONNX or for a hub, or masks for VOC's test server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("onnx", epilog="Example: wsseg export onnx runs/quickstart --out quickstart.onnx")
def onnx(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", help="A run with a trained network, or its model file.", autocompletion=run_names
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; default: beside the model file.", metavar="FILE")
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
        Path | None, typer.Option("--out", "-o", help="The folder; default: hub, beside the model file.", metavar="DIR")
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
        str, typer.Option("--competition", help="comp6: any training data; comp5: VOC's masks alone.")
    ] = "comp6",
    set_: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write a split's masks as VOC's test server takes them, folder and .tar.gz, count, sizes and values checked.

    Predict the split first: `wsseg prepare --split test`, `wsseg eval --what seg --split test`.
    """
    from .. import export

    archive, count = export.voc_server(open_existing(run, None, set_), split, out or run / "voc-server", competition)
    if as_json:
        console.say_json({"archive": str(archive), "images": count, "split": split})
        return
    console.say(f"voc-server {count} masks of {split} in {archive}; upload it as {competition}")
