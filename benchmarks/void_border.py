"""What the void border of VOC's masks is worth: CAMs (initial seeds) scored with it, and with its pixels given a class.

    VOC_ROOT=… python benchmarks/void_border.py runs/voc_road/cam_train-0 --split train

VOC's masks have a border of void around objects, which is not scored; SBD's, which most of train_aug has, have none.
Here each void pixel takes the class of the nearest pixel that has one. mIoU at the best threshold, image labels given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from cam_errors import THRESHOLDS, parser_of_images
from scipy.ndimage import distance_transform_edt

from wsseg_cli.data.stores import checked_mask
from wsseg_cli.metrics import ThresholdCurve
from wsseg_cli.notebook import Run
from wsseg_cli.types import IGNORE


def main() -> None:
    parser = parser_of_images(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--only", type=Path, help="a list of photos; others are not scored")
    arguments = parser.parse_args()
    only = None if arguments.only is None else set(arguments.only.read_text(encoding="utf-8").split())
    run = Run(arguments.run)
    samples = [s for s in run.samples(arguments.split) if only is None or s.image_id in only][:: arguments.every]
    if not samples:
        parser.error(f"{arguments.only} lists no image of {arguments.split}")
    maps = run.scores("cam")
    with_void, without = (ThresholdCurve(THRESHOLDS, len(run.classes)) for _ in range(2))
    void = pixels = 0
    for sample in samples:
        scores = maps[sample.image_id]
        assert sample.mask is not None
        mask = checked_mask(sample.mask, run.classes)
        void, pixels = void + int((mask == IGNORE).sum()), pixels + mask.size
        for curve, truth in ((with_void, mask), (without, filled(mask))):
            curve.add(truth, scores.classes, scores.full(0.0)[1:])
    print(f"{len(samples)} photos; {void / pixels:.1%} of the pixels are void")
    for title, curve in (("as they are", with_void), ("void pixels given a class", without)):
        best = curve.best()
        print(f"masks {title}: {100 * best.mean_iou:.1f} at {best.threshold:.2f}")


def filled(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a mask (H, W) whose void pixels have the class of the nearest other pixel; all void stays void."""
    void = mask == IGNORE
    if void.all():
        return mask
    rows, columns = distance_transform_edt(void, return_distances=False, return_indices=True)
    return mask[rows, columns]


if __name__ == "__main__":
    main()
