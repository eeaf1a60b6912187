"""The picture of the README: photo, CAM, pseudo-mask, prediction and truth of a few scenes of a finished run.

python benchmarks/readme_picture.py runs/quickstart docs/images/quickstart.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from wsseg_cli.data.images import read_image
from wsseg_cli.data.index import read_index
from wsseg_cli.data.overlays import mask_overlay, score_overlay
from wsseg_cli.data.stores import MaskStore, ScoreStore, checked_mask

GAP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", nargs="+", type=int, default=[1, 4, 6, 11], help="places in the split")
    parser.add_argument("--enlarge", type=int, default=1)
    arguments = parser.parse_args()
    index = read_index(arguments.run / "prepare")
    samples = index.samples(arguments.split)
    rows = []
    for place in arguments.images:
        sample = samples[place]
        image = read_image(sample.image, sample.orientation)
        classes, size = index.classes, image.shape[:2]
        masks = [
            MaskStore(arguments.run / "pseudo").read(sample.image_id, classes, size),
            MaskStore(arguments.run / "eval" / f"seg-{arguments.split}").read(sample.image_id, classes, size),
            checked_mask(sample.mask, classes, size),
        ]
        scores = ScoreStore(arguments.run / "cam")[sample.image_id]
        rows.append([image, score_overlay(image, scores), *(mask_overlay(image, mask) for mask in masks)])
    height = max(row[0].shape[0] for row in rows) + GAP
    width = max(row[0].shape[1] for row in rows) + GAP
    sheet = np.full((height * len(rows) - GAP, width * len(rows[0]) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            sheet[y * height : y * height + tile.shape[0], x * width : x * width + tile.shape[1]] = tile
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(sheet)
    size = (sheet.shape[1] * arguments.enlarge, sheet.shape[0] * arguments.enlarge)
    picture.resize(size, Image.Resampling.LANCZOS).save(arguments.picture)


if __name__ == "__main__":
    main()
