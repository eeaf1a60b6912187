"""The pictures of docs/methods.md: what each method makes of the same toy scenes.

    python benchmarks/method_table.py toy                makes the runs, runs/toy_table/METHOD-SEED
    python benchmarks/method_pictures.py                 docs/images/METHOD.jpg of each run that is there, and its place

    VOC_ROOT=… python benchmarks/method_pictures.py --sheets runs/voc_table/*-0 --split train_mini --to pictures

The last writes no page: pictures/RUN.jpg shows twenty images of each run, spread over the split, for a look at photos
whose rights keep them out of this repository.

From left to right photo, score map of the seed, pseudo-mask and truth; one row a scene, the same for every method.
Colours are those of VOC.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from method_table import TABLES
from PIL import Image, ImageOps

from wsseg_cli.notebook import Run

KINDS = ("photo", "cam", "pseudo", "truth")
GAP = 4
BOX = 240, 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/toy_table"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=Path("docs/methods.md"), help="pictures go to images/ beside it")
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", nargs="+", type=int, default=[3, 15], help="places in the split")
    parser.add_argument("--sheets", nargs="+", type=Path, metavar="RUN", help="twenty images of each, and no page")
    parser.add_argument("--to", type=Path, default=Path("pictures"), help="folder of the sheets")
    arguments = parser.parse_args()
    if arguments.sheets:
        for folder in arguments.sheets:
            write_sheet(folder, arguments.split, arguments.to)
        return
    page = arguments.page.read_text(encoding="utf-8")
    for method, row in TABLES["toy"].rows.items():
        place = f"<!-- picture: {method} -->"
        if place not in page:
            continue
        folder = arguments.runs / f"{method}-{arguments.seed}"
        if not (folder / "pseudo" / "done.json").is_file():
            print(f"{folder}: not there, no picture")
            continue
        run = Run(folder)
        samples = run.samples(arguments.split)
        rows = [[run.picture(samples[place].image_id, kind) for kind in KINDS] for place in arguments.images]
        target = arguments.page.parent / "images" / f"{method}.jpg"
        sheet(rows).save(target, quality=78, optimize=True)
        print(f"{target} ({target.stat().st_size / 1000:.0f} kB)")
        page = re.sub(rf"{place}(\n!\[.*)?", f"{place}\n![{row.title} on two toy scenes](images/{method}.jpg)", page)
    arguments.page.write_text(page, encoding="utf-8")


def write_sheet(folder: Path, split: str, to: Path) -> None:
    """Write twenty images of a run whose pseudo-masks are there, two in a row, each in a box of one size."""
    if not (folder / "pseudo" / "done.json").is_file():
        print(f"{folder}: no pseudo-masks, no sheet")
        return
    run = Run(folder)
    samples = run.samples(split)
    shown = samples[:: max(1, len(samples) // 20)][:20]
    pictures = [[boxed(run.picture(sample.image_id, kind)) for kind in KINDS] for sample in shown]
    to.mkdir(parents=True, exist_ok=True)
    target = to / f"{folder.name}.jpg"
    sheet([[*one, *two] for one, two in zip(pictures[::2], pictures[1::2], strict=False)]).save(target, quality=80)
    print(target)


def boxed(picture: Image.Image) -> Image.Image:
    box = Image.new("RGB", BOX, "white")
    box.paste(ImageOps.contain(picture, BOX))
    return box


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Return pictures of one size, row under row, with white between them."""
    width, height = (side + GAP for side in rows[0][0].size)
    whole = Image.new("RGB", (width * len(rows[0]) - GAP, height * len(rows) - GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(picture, (x * width, y * height))
    return whole


if __name__ == "__main__":
    main()
