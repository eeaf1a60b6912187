"""wsseg convert: weights, labels, cams, masks, proposals. Third-party files in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from ..types import Json
from .convert_masks import masks
from .converted import files, refuse, say_files
from .options import JsonOpt, QuietOpt

if TYPE_CHECKING:
    from ..convert.weights import ConvertedWeights

app = typer.Typer(
    help="Convert files of other projects: weights, labels, cams, masks, proposals.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def families(incomplete: str) -> list[str]:
    """Return the families of checkpoints with this prefix, for shell completion."""
    from ..nets.weights import FAMILIES

    return [name for name in FAMILIES if name.startswith(incomplete)]


@app.command("weights", epilog="Example: wsseg convert weights res38_cls.pth weights/psa.safetensors --from psa")
def weights(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A .pth, .params, .caffemodel or .safetensors file.")],
    out: Annotated[Path, typer.Argument(metavar="DST", help="The new .safetensors file.")],
    family: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Whose checkpoint it is, such as psa; inferred if the names leave no doubt.",
            metavar="FAMILY",
            autocompletion=families,
        ),
    ] = None,
    saw: Annotated[
        str | None,
        typer.Option(
            "--saw",
            help="What the weights were trained on, for the protocol of every result, such as 'VOC labels'.",
            metavar="TEXT",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Convert a released checkpoint and report key by key what fits, is missing or is left over."""
    from ..convert import weights as module

    result = module.run(source, out, family=family, saw=saw, force=force)
    if as_json:
        console.say_json(_weights_as_dict(result))
        return
    if not quiet:
        rows = [(key.state, key.name or "-", _shape(key.shape), _was(key.published, key.name)) for key in result.keys]
        console.say(console.table(rows, ("", "our name", "shape", "name in the file")))
        console.say()
    complete = [network.title for network in result.networks if network.match.complete]
    counts = ", ".join(f"{count} {'fit' if state == 'fits' else state}" for state, count in result.counts.items())
    facts = [
        ("family", f"{result.family}{' (guessed)' if result.guessed else ''}"),
        *([("inside", result.inside)] if result.inside else []),
        ("tensors", counts),
        ("network", "; ".join(complete) or f"none of ours has all of them; nearest: {result.networks[0].title}"),
        ("saw", result.saw),
        ("wrote", str(result.out)),
    ]
    console.say(console.table(facts))
    if not quiet:
        console.note(f"Next: weights: {result.out} in a recipe")


@app.command("labels", epilog="Example: wsseg convert labels cls_labels.npy labels.csv --classes names.txt")
def labels(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Labels as .npy, .csv or .jsonl, or a prepared run.")],
    out: Annotated[Path, typer.Argument(metavar="DST", help="The new file, .npy, .csv or .jsonl.")],
    classes: Annotated[
        Path | None,
        typer.Option("--classes", help="File with the class names, in the order of the vectors.", metavar="FILE"),
    ] = None,
    keys: Annotated[
        str,
        typer.Option(
            "--keys", help="How a new .npy names images: by id, or by number as IRN does.", metavar="id|number"
        ),
    ] = "id",
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Folder of masks to compare the labels with.", metavar="DIR")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Convert labels between a .npy of vectors and a table of names, or write those of a run's data set; count them."""
    from ..convert import labels as module

    result = module.run(source, out, classes=classes, keys=keys, masks=masks)  # type: ignore[arg-type]
    agreement = result.agreement
    if as_json:
        compared = None if agreement is None else vars(agreement)
        names = None if result.classes is None else list(result.classes)
        counted = {"images": result.images, "without": result.without, "counts": result.counts}
        console.say_json({"out": result.out, **counted, "classes": names, "agreement": compared})
        return
    named = result.classes or [str(number) for number in range(len(result.counts))]
    console.say(console.table([(name, str(count)) for name, count in zip(named, result.counts, strict=True)]))
    console.say(f"{result.images} images, {result.without} without a label")
    if agreement is not None:
        console.say(f"{agreement.equal} of {agreement.compared} images with a mask show exactly their labels")
    console.say(str(result.out))


@app.command("cams", epilog="Example: wsseg convert cams out_cam runs/my/cams")
def cams(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of score maps, another project's or wsseg's.")],
    out: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the new files.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--form",
            help="Format of the other project: psa, crf, irn, puzzlecam, recurseed; recognised by its keys.",
            metavar="FORM",
        ),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option("--num-classes", min=1, help="Refuse classes beyond C.", metavar="C")
    ] = None,
    stride: Annotated[
        int, typer.Option("--stride", min=1, help="Stride at which the new score maps are stored.", metavar="N")
    ] = 1,
    divide: Annotated[
        float, typer.Option("--divide", help="Divide the values, to bring them into [0, 1].", metavar="X")
    ] = 1.0,
    as_json: JsonOpt = False,
) -> None:
    """Convert score maps between the formats of other projects and wsseg's."""
    from ..convert import cams as module

    result = module.run(source, out, form=form, num_classes=num_classes, stride=stride, divide=divide)  # type: ignore[arg-type]
    say_files(result.out, result.written, result.counts, result.failures, "class", as_json)


app.command("masks", epilog="Example: wsseg convert masks SegmentationClass masks --form rgb")(masks)


@app.command("proposals", epilog="Example: wsseg convert proposals superpixels proposals")
def proposals(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of proposals.")],
    out: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the new files, one per image.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--form",
            help="sam (JSON of SAM or SA-1B), stack (one folder of PNGs per image), labels (label images, such as "
            "superpixels); inferred from the files.",
            metavar="FORM",
        ),
    ] = None,
    zero: Annotated[
        str, typer.Option("--zero", help="What 0 is in a label image: region or none.", metavar="region|none")
    ] = "region",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the photos, to check sizes and gaps.", metavar="DIR")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Convert mask proposals from any source to run lengths, which the mask refiner sepl reads, and check them."""
    from ..convert import proposals as module

    result = module.run(source, out, form=form, zero=zero, images=images)  # type: ignore[arg-type]
    if as_json:
        failed = [{"file": str(path), "problem": problem} for path, problem in result.failures]
        of_image = sum(number * count for number, count in result.counts.items())
        said = {"out": result.out, "form": result.form, "written": result.written, "proposals": of_image}
        console.say_json({**said, "failures": failed})
    else:
        numbers = sorted(result.counts.elements())
        spread = f"{numbers[0]} to {numbers[-1]} an image" if numbers else "none"
        rows = [("form", result.form), ("proposals", f"{sum(numbers)}, {spread}"), ("written", files(result.written))]
        console.say(console.table([*rows, ("to", str(result.out))]))
    refuse(result.written, result.failures, "image")


def _weights_as_dict(result: ConvertedWeights) -> Json:
    return {
        "out": result.out,
        "family": result.family,
        "guessed": result.guessed,
        "inside": result.inside or None,
        "saw": result.saw,
        "counts": dict(result.counts),
        "networks": [
            {"name": n.name, "backbone": n.backbone, "classes": n.classes, "complete": n.match.complete}
            for n in result.networks
        ],
        "keys": [{"state": k.state, "name": k.name, "shape": k.shape, "published": k.published} for k in result.keys],
    }


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "-"


def _was(published: str, name: str) -> str:
    return "" if published == name else published
