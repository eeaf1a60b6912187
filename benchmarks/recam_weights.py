r"""Which class weights of a trained ReCAM network make the best maps, and why the published product may not.

    wsseg run --recipe quickstart --to cam
    wsseg run --recipe quickstart_recam --run runs/recam_warm --to cam \
        --set train_cls.weights=runs/quickstart/train-cls/model.safetensors \
        --set train_cls.max_steps=200 --set train_cls.optim.lr=3e-4
    python benchmarks/recam_weights.py runs/recam_warm

mIoU of the CAMs (initial seeds) over a split, image labels given, at the best threshold for each choice. Where both
weights of a feature are negative, it speaks against a class in either layer, but their product is positive. The last
row leaves those features out; it is an experiment and no option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cam_errors import best_of, parser_of_images
from torch import Tensor
from wsseg_recam import net
from wsseg_recam.method import ReCAM

from wsseg_cli.data.images import read_image
from wsseg_cli.notebook import Run
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import Sample, ScoreMap


def without_both_negative(first: Tensor, second: Tensor) -> Tensor:
    return first * second * ~((first < 0) & (second < 0))


CHOICES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{str(name): combine for name, combine in net.COMBINED.items()},
    "product, features with both weights negative left out": without_both_negative,
}


def main() -> None:
    parser = parser_of_images(__doc__)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    run = Run(arguments.run)
    method, network = run.model("train-cls")
    if not isinstance(method, ReCAM) or not isinstance(network, net.ReCAMNet) or run.recipe.cam is None:
        parser.error(f"{arguments.run}: not a run of recam with a section cam")
    negative = [layer.weight.detach().numpy() < 0 for layer in (network.fc8, network.fc_sce)]
    share = (negative[0] & negative[1]).mean()
    print(f"both weights are negative in {100 * share:.0f} % of the features of a class")
    infer, samples = run.recipe.cam.infer, run.samples(arguments.split)[:: arguments.every]
    for name, combine in CHOICES.items():
        net.COMBINED[method.options.map_weights] = combine
        best = best_of(run, samples, maps(samples, method, network, infer))
        print(f"{name}: {100 * best.mean_iou:.1f} at {best.threshold:.2f}", flush=True)


def maps(samples: Iterable[Sample], method: ReCAM, network: net.ReCAMNet, infer: InferSettings) -> Iterator[ScoreMap]:
    for sample in samples:
        yield method.scores(network, read_image(sample.image), tuple(sample.labels), infer)


if __name__ == "__main__":
    main()
