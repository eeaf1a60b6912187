"""What plain CAM's maps gain from settings of inference alone: scales, flips, and the stride of the same network.

    python benchmarks/cam_settings.py runs/voc_table/cam-0 --every 7

mIoU of the CAMs (initial seeds) over every n-th photo that the recipe scores, image labels given, each at its best
threshold, and the processor seconds a photo. Nothing is trained.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from cam_errors import THRESHOLDS
from torch import nn
from wsseg_cam.method import CAM

from wsseg_cli.data.images import read_image
from wsseg_cli.data.stores import checked_mask
from wsseg_cli.metrics import ThresholdCurve
from wsseg_cli.notebook import Run
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import Sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--every", type=int, default=7)
    arguments = parser.parse_args()
    run = Run(arguments.run)
    method, network = run.model("train-cls")
    if not isinstance(method, CAM) or run.recipe.cam is None:
        parser.error(f"{arguments.run}: not a run of cam")
    samples = [sample for split in run.recipe.dataset.scored for sample in run.samples(split)][:: arguments.every]
    infer = run.recipe.cam.infer
    finer = method.options.backbone_options | {"output_stride": 8}
    dense = CAM(method.options.model_copy(update={"backbone_options": finer}), run.classes)
    dense_network = dense.build_model().eval()
    dense_network.load_state_dict(network.state_dict())
    choices: dict[str, tuple[CAM, nn.Module, InferSettings]] = {
        "as the recipe says": (method, network, infer),
        "no flips": (method, network, infer.model_copy(update={"flip": False})),
        "scale 1 alone": (method, network, infer.model_copy(update={"scales": (1.0,)})),
        "scales 0.5 to 2": (method, network, infer.model_copy(update={"scales": (0.5, 1.0, 1.5, 2.0)})),
        "scales 1 to 2": (method, network, infer.model_copy(update={"scales": (1.0, 1.5, 2.0)})),
        "stride 8": (dense, dense_network, infer),
        "stride 8, scale 1 alone": (dense, dense_network, infer.model_copy(update={"scales": (1.0,)})),
    }
    print(f"{len(samples)} photos", flush=True)
    for name, (plugin, model, views) in choices.items():
        started = time.process_time()
        miou, threshold = best(run, samples, plugin, model, views)
        seconds = (time.process_time() - started) / len(samples)
        print(f"{name}: {miou:.1f} at {threshold:.2f}, {seconds:.2f} s a photo", flush=True)


def best(run: Run, samples: list[Sample], method: CAM, network: nn.Module, infer: InferSettings) -> tuple[float, float]:
    """Return the best mIoU of a threshold, in per cent, and that threshold."""
    curve = ThresholdCurve(THRESHOLDS, len(run.classes))
    for sample in samples:
        assert sample.mask is not None
        scores = method.scores(network, read_image(sample.image), tuple(sample.labels), infer)  # type: ignore[arg-type]
        truth = checked_mask(sample.mask, run.classes)
        curve.add(truth, scores.classes, np.asarray(scores.full(0.0)[1:]))
    found = curve.best()
    return 100 * found.mean_iou, found.threshold


if __name__ == "__main__":
    main()
