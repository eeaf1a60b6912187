"""CLIP-ES on one photo beside the straightforward way, in one run on one thread: a backward pass a class.

Both share the eleven blocks before the last. Straightforward: for each label the last block forward and backward, the
attention brought to even sums, symmetrised and squared as a matrix, as the published script does; parameters get no
gradient, which that script computes, too. Ours: `Method.scores`. CLIP ViT-B/16 with random weights; runs alternate.

python benchmarks/clipes.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from wsseg_clip.affinity import box_mask, mean_attention, sinkhorn, symmetric
from wsseg_clip.gradcam import normalized, probabilities
from wsseg_clip.method import CLIPES
from wsseg_clip.network import ClipNet
from wsseg_clip.options import ClipesOptions

from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, ClassNames, FloatArray

CLASSES = ClassNames(["person", "dog", "bottle", "sofa", "chair", "car"])


def straightforward(method: CLIPES, model: ClipNet, image: ByteArray, labels: tuple[int, ...]) -> FloatArray:
    o, clip = method.options, model.backbone
    last = clip.visual.last
    seen = clip.seen(method.pixels(image), len(clip.visual.transformer.resblocks))
    texts = torch.cat([model.texts[list(labels)], model.texts[len(CLASSES) :]])
    refined = []
    for row in range(len(labels)):
        activations = last.ln_1(seen.tokens[None]).detach().requires_grad_()
        after, attention = last.after(seen.tokens[None], last.queries_keys_values(activations))
        probability = probabilities(clip, clip.visual.feature(after[0]), texts).exp()[row]
        (gradient,) = torch.autograd.grad(probability, activations)
        raw = (activations.detach()[0, 1:] @ gradient[0, 1:].mean(0)).view(1, *seen.grid)
        scores = normalized(normalized(raw.relu()))[0]
        mean = mean_attention([*seen.attention, attention[0].detach()][-o.attention_layers :])
        affinity = symmetric(sinkhorn(mean, o.sinkhorn_rounds))
        squared = affinity @ affinity
        inside = torch.from_numpy(box_mask(scores.numpy(), o.box_threshold)).flatten()
        refined.append(((squared * inside) @ scores.flatten()).view(seen.grid))
    return normalized(torch.stack(refined)).numpy()


def timed(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Return the processor seconds of each way; runs alternate, the order turns round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 3, 6])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    method = CLIPES(ClipesOptions(texts="voc"), CLASSES)
    model = method.build_model().eval()
    model.backbone.logit_scale.fill_(np.log(100.0))
    model.texts.copy_(torch.nn.functional.normalize(torch.randn_like(model.texts), dim=1))
    image = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    infer = InferSettings()
    pixels = method.pixels(image)
    shared = timed({"blocks": lambda: model.backbone.seen(pixels, method.options.attention_layers)}, options.runs + 1)
    before = median(shared["blocks"][1:])
    print(f"{torch.__version__}, one thread, 375x500, processor seconds; the blocks before the last: {before:.2f}")
    for count in options.labels:
        labels = tuple(range(count))
        ways: dict[str, Callable[[], object]] = {
            "ours": lambda labels=labels: method.scores(model, image, labels, infer),  # type: ignore[misc]
            "straightforward": lambda labels=labels: straightforward(  # type: ignore[misc]
                method, model, image, labels
            ),
        }
        ours, theirs = method.scores(model, image, labels, infer).scores, straightforward(method, model, image, labels)
        seconds = timed(ways, options.runs)
        whole = {name: median(values) for name, values in seconds.items()}
        after = {name: value - before for name, value in whole.items()}
        print(f"{count} label{'s' * (count > 1)}: largest difference of a map {np.abs(ours - theirs).max():.1e}")
        for name, values in seconds.items():
            print(
                f"  {name:<16} {whole[name]:.2f} ({' '.join(f'{v:.2f}' for v in values)}), after them {after[name]:.2f}"
            )
        print(
            f"  straightforward / ours: {whole['straightforward'] / whole['ours']:.2f}, "
            f"after the shared blocks {after['straightforward'] / after['ours']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
