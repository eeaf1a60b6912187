"""What keeping score maps at every 4th pixel costs: mIoU at the best threshold and bytes, beside full resolution.

    python benchmarks/store_stride.py RUN [--recipe quickstart]

RUN has a trained classifier. Its maps of the training split are computed again, at stride 1 and at stride 4, into a
temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from wsseg_cli.data.images import read_image
from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore, checked_mask
from wsseg_cli.engine.each import one_thread
from wsseg_cli.metrics import ThresholdCurve, threshold_range
from wsseg_cli.recipe.loading import load
from wsseg_cli.run.directory import RunDir
from wsseg_cli.stages import Context
from wsseg_cli.stages.plugins import method_of, trained

STRIDES = (1, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--images", type=int, default=None, help="at most so many images")
    arguments = parser.parse_args()
    recipe = load(arguments.recipe)
    context = Context(RunDir(arguments.run, recipe), recipe)
    index = read_index(context.prepared)
    method = method_of(context, index.classes)
    model = trained(method, arguments.run / "train-cls" / "model.safetensors", "cpu")
    samples = index.samples(*recipe.recipe.dataset.train)[: arguments.images]
    curves = {s: ThresholdCurve(threshold_range(0, 1, 0.01), len(index.classes)) for s in STRIDES}
    sizes = dict.fromkeys(STRIDES, 0)
    with tempfile.TemporaryDirectory() as folder, one_thread():
        stores = {s: ScoreStore(Path(folder) / str(s)) for s in STRIDES}
        for sample in samples:
            assert sample.mask is not None
            image = read_image(sample.image, sample.orientation)
            scores = method.scores(model, image, sample.labels, recipe.section("cam").infer)
            mask = checked_mask(sample.mask, index.classes, image.shape[:2])
            for stride, store in stores.items():
                store.write(scores, stride)
                kept = store[""]
                curves[stride].add(mask, kept.classes, kept.full(0.0)[1:])
                sizes[stride] += store.path("").stat().st_size
    best = {stride: curve.best() for stride, curve in curves.items()}
    for stride in STRIDES:
        print(
            f"stride {stride}: mIoU {100 * best[stride].mean_iou:.2f} at threshold {best[stride].threshold:.2f}, "
            f"{sizes[stride] / len(samples) / 1e3:.1f} kB an image"
        )
    lost = 100 * (best[1].mean_iou - best[4].mean_iou)
    print(f"{len(samples)} images: stride 4 loses {lost:.2f} mIoU and takes 1/{sizes[1] / sizes[4]:.1f} of the bytes")


if __name__ == "__main__":
    main()
