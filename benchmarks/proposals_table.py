"""What mask proposals add to plain CAM's pseudo-masks: superpixels, and as an oracle true objects.

    python benchmarks/proposals_table.py toy --write docs/methods.md       toy scenes, random seeds 0 1 2
    VOC_ROOT=… python benchmarks/proposals_table.py voc --seeds 0 --write docs/methods.md

CAM and CRF are those of `method_table.py`'s first row, whose runs are taken over. Runs are in
runs/proposals_table. Proposals are made of the photos by scikit-image or of the true masks, and pass
`wsseg convert proposals` and the mask refiner sepl at its published rule. Every figure is a mIoU over the training
split with image labels given. Nothing is chosen on the masks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from method_table import (
    TABLES,
    Table,
    copy_once,
    random_seeds,
    settings_of,
    share_prepare,
    spread,
    write_between_marks,
    wsseg,
)
from PIL import Image
from scipy.ndimage import label
from skimage.segmentation import felzenszwalb, slic

from wsseg_cli.data.images import read_image
from wsseg_cli.data.index import read_index
from wsseg_cli.data.proposals import Proposals, ProposalStore
from wsseg_cli.data.stores import checked_mask

Pieces = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(photo (H, W, 3), truth (H, W)) -> label image (H, W)."""


class Row(NamedTuple):
    """A line of the table: proposals, whether the whole scene is one more, and options of sepl."""

    title: str
    proposals: str = ""
    scene: bool = False
    options: str = ""


def objects(_: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the connected parts of each class, from 1 on; the rest is 0."""
    regions = np.zeros(truth.shape, np.int64)
    for value in [int(v) for v in np.unique(truth) if v not in (0, 255)]:
        parts, _count = label(truth == value)
        regions[parts > 0] = parts[parts > 0] + regions.max()
    return regions


SOURCES: dict[str, Pieces] = {
    "slic": lambda photo, _: slic(photo, n_segments=100, compactness=10, start_label=0),
    "felzenszwalb": lambda photo, _: felzenszwalb(photo, scale=100, sigma=0.5, min_size=50),
    "objects": objects,
}
ROWS = {
    "cam": Row("CAM + CRF"),
    "slic": Row("+ superpixels (SLIC, 100)", "slic"),
    "felzenszwalb": Row("+ superpixels (Felzenszwalb, scale 100)", "felzenszwalb"),
    "objects": Row("+ true objects (oracle)", "objects"),
    "scene": Row("+ true objects and the whole scene (oracle)", "objects", True),
    "guarded": Row("the same with `max_share: 0.5` (oracle)", "objects", True, ", max_share: 0.5"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["toy", "voc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/proposals_table"))
    parser.add_argument("--write", type=Path, help="put the table between its marks in this file")
    arguments = parser.parse_args()
    of_methods = TABLES[arguments.data]
    out = arguments.out / arguments.data
    reached: dict[str, list[float]] = {}
    for seed in arguments.seeds:
        run = out / f"cam-{seed}"
        settings = [word for text in settings_of(of_methods, "cam", seed) for word in ("--set", text)]
        common = ["--recipe", of_methods.rows["cam"].recipe, "--run", str(run), *settings, "--quiet"]
        copy_once(Path(f"runs/{arguments.data}_table/cam-{seed}"), run)
        with share_prepare(out / "prepare", run):
            wsseg(["run", "--to", "cam", *common])
        for name, row in ROWS.items():
            reached.setdefault(name, []).append(figure(run, row, out, common, of_methods))
            print(f"{name} seed {seed}: {reached[name][-1]:.1f}", file=sys.stderr, flush=True)
    lines = [
        f"| {of_methods.caption}, {random_seeds(arguments.seeds)} | pseudo-masks |",
        "|---|---|",
        *(f"| {row.title} | {spread(reached[name])} |" for name, row in ROWS.items()),
    ]
    table = "\n".join(lines)
    print(table)
    if arguments.write:
        write_between_marks(arguments.write, f"{arguments.data} proposals", table)


def figure(run: Path, row: Row, out: Path, common: list[str], of_methods: Table) -> float:
    """Return the mIoU of the pseudo-masks of one row; it is kept beside the run."""
    kept = run / f"proposals-{list(ROWS.values()).index(row)}.json"
    if not kept.is_file():
        asked = []
        if row.proposals:
            folder = proposals(run, row, out, of_methods.train)
            asked = ["--set", f"pseudo.refiner={{name: sepl, options: {{folder: {folder}{row.options}}}}}"]
        wsseg(["pseudo", "--split", of_methods.train, "--force", *common, *asked])
        wsseg(["eval", "--what", "pseudo", "--split", of_methods.train, *common, *asked])
        kept.write_bytes((run / f"eval/pseudo-{of_methods.train}.json").read_bytes())
    miou: float = json.loads(kept.read_bytes())["miou"]
    return miou


def proposals(run: Path, row: Row, out: Path, split: str) -> Path:
    """Return the folder of a row's proposals of all training photos, made at the first call."""
    folder = out / f"{row.proposals}{'-scene' if row.scene else ''}"
    index = read_index(run / "prepare")
    samples = index.samples(split)
    if not all((folder / f"{sample.image_id}.json").is_file() for sample in samples):
        regions = out / f"{row.proposals}-regions"
        for sample in samples:
            assert sample.mask is not None
            truth = checked_mask(sample.mask, index.classes)
            pieces = SOURCES[row.proposals](read_image(sample.image), truth)
            save(regions / f"{sample.image_id}.png", pieces)
        wsseg(["convert", "proposals", str(regions), str(folder), "--zero", zero(row)])
        if row.scene:
            with_scene(folder, [sample.image_id for sample in samples])
    return folder


def zero(row: Row) -> str:
    return "none" if row.proposals == "objects" else "region"


def save(path: Path, regions: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(regions.astype(np.uint16)).save(path)


def with_scene(folder: Path, image_ids: list[str]) -> None:
    """Add one proposal that covers the whole image to each file."""
    store = ProposalStore(folder)
    for image_id in image_ids:
        found = store.read(image_id)
        counts: list[Any] = [found.counts(number) for number in range(len(found))]
        pixels = found.size[0] * found.size[1]
        store.write(image_id, Proposals.from_counts(found.size, [*counts, np.array([0, pixels])]))


if __name__ == "__main__":
    main()
