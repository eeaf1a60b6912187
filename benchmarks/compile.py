"""Networks under torch.compile beside the same networks without it, on one thread of a CPU, in one run.

    OMP_NUM_THREADS=1 python benchmarks/compile.py              # all cases
    OMP_NUM_THREADS=1 python benchmarks/compile.py --case step --runs 5

Step: a training step of cam_voc_lite at its crop and batch. View: its forward pass over one view of 375 x 500. Lite and
resnet50: `cam` of six photos of different sizes, four scales with flips, with the classifiers of cam_voc_lite and, at
half the size, of irn_voc. Batch norms are folded at inference if the recipe says so.
What is compiled are the backbones, in place (`nn.Module.compile`), for any size of image where views are of many sizes.
Weights are random, compiled code comes from an empty cache, and every case has a process of its own, in which the ways
alternate. Seconds are the processor's. Compiling is the first pass over the photos, or the first step, beyond a later
one, by the processor with the C++ compiler's time, and by the clock. Earned back: what must be done until its time is.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import cast

import torch
from cam_inference import LABELS, VIEWS, lively
from torch import nn
from torch._dynamo.utils import counters
from training_step import Trainer
from wsseg_cam.method import CAM
from wsseg_cam.net import CamNet

from wsseg_cli.nets.inference import for_inference
from wsseg_cli.plugin.backbone import Backbone
from wsseg_cli.recipe import loading as recipes
from wsseg_cli.testing import made_up
from wsseg_cli.types import FloatArray

PLAIN, COMPILED = "uncompiled", "compiled"
SIZES = ((375, 500), (500, 333), (334, 500), (281, 500), (500, 400), (442, 500))
"""Heights and widths of photos, as VOC has them."""
CASES = {name: ("cam_voc_lite", 1) for name in ("step", "view", "lite")} | {"resnet50": ("irn_voc", 2)}
"""Recipe of each case, and what the sides of its photos are divided by."""
REPEATS = 5
"""Forward passes between two looks at the clock, where one alone is short."""


def compiled(network: nn.Module, dynamic: bool) -> nn.Module:
    """Return a network whose backbones are compiled when they are first called; names of its tensors stay."""
    for module in network.modules():
        if isinstance(module, Backbone):
            module.compile(dynamic=dynamic)
    return network


def processor() -> float:
    """Return the processor seconds of this process and of the compilers that it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def classifier(recipe: str) -> tuple[CAM, CamNet]:
    """Return the method of a recipe and its network with random weights, as the stage `cam` uses it."""
    trainer = Trainer(recipe, "train-cls", crop=64, batch=1)
    method, network = trainer.plugin, trainer.model
    assert isinstance(method, CAM) and isinstance(network, CamNet)
    lively(network)
    if recipes.load(recipe).section("cam").fold_norms:
        for_inference(network)
    return method, network


def one_view(recipe: str, divisor: int, runs: int) -> None:
    """Print the seconds that the forward pass of one view takes each way, compiled for its size alone."""
    _, plain = classifier(recipe)
    fast = cast(CamNet, compiled(copy.deepcopy(plain), False))
    image = torch.randn(1, 3, *SIZES[0])

    def way(network: CamNet) -> Callable[[], None]:
        def forward() -> None:
            with torch.inference_mode():
                for _ in range(REPEATS):
                    network.raw_cams(image)

        return forward

    print(f"one view of {recipe}, {tuple(image.shape)}", flush=True)
    compare(way(plain), way(fast), runs, REPEATS, "views")


def score_maps(recipe: str, divisor: int, runs: int) -> None:
    """Print the seconds that the score maps of a photo take each way."""
    method, plain = classifier(recipe)
    networks = {PLAIN: plain, COMPILED: cast(CamNet, compiled(copy.deepcopy(plain), True))}
    photos = [made_up(size=(height // divisor, width // divisor))[0] for height, width in SIZES]
    seen: dict[str, list[FloatArray]] = {}

    def way(name: str) -> Callable[[], None]:
        def scores() -> None:
            with torch.inference_mode():
                seen[name] = [method.scores(networks[name], photo, LABELS, VIEWS).scores for photo in photos]

        return scores

    print(f"score maps of {recipe}, photos of {photos[0].shape[0]} x {photos[0].shape[1]} and the like", flush=True)
    compare(way(PLAIN), way(COMPILED), runs, len(photos), "photos")
    pairs = zip(seen[PLAIN], seen[COMPILED], strict=True)
    print(f"  largest difference of scores in [0, 1]: {max(float(abs(a - b).max()) for a, b in pairs):.1e}", flush=True)


def training_step(recipe: str, divisor: int, runs: int) -> None:
    """Print the seconds that a training step takes each way."""
    losses: dict[str, float] = {}

    def way(name: str) -> Callable[[], None]:
        trainer = Trainer(recipe, "train-cls")
        if name == COMPILED:
            compiled(trainer.model, False)
        images = trainer.batch()

        def step() -> None:
            torch.manual_seed(0)
            losses.setdefault(name, float(trainer.step(images)["cls"].detach()))

        return step

    print(f"training step of {recipe}", flush=True)
    compare(way(PLAIN), way(COMPILED), runs, 1, "steps")
    print("  losses of the first step: " + ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()), flush=True)


def compare(plain: Callable[[], None], fast: Callable[[], None], runs: int, units: int, of: str) -> None:
    """Print what a call of each way takes, a unit, what compiling takes, and when that is earned back."""
    ways, seconds = {PLAIN: plain, COMPILED: fast}, {PLAIN: list[float](), COMPILED: list[float]()}
    plain()
    begun, clock = processor(), time.perf_counter()
    fast()
    first, clock = processor() - begun, time.perf_counter() - clock
    graphs = counters["stats"]["unique_graphs"]
    print(f"  the first pass took {first:.0f} s, {clock:.0f} s by the clock, with {graphs} compiled graphs", flush=True)
    for number in range(runs):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            begun = processor()
            way()
            seconds[name].append((processor() - begun) / units)
    for name, each in seconds.items():
        print(f"  {name:12} {median(each):6.3f} s ({' '.join(f'{one:.3f}' for one in each)})")
    before, after = median(seconds[PLAIN]), median(seconds[COMPILED])
    cost, gain = first - units * after, before - after
    earned = f"earned back after {cost / gain:.0f} {of}" if gain > 0 else "never earned back"
    print(f"  {before / after:.2f} x; compiling took {cost:.0f} s, {earned}", flush=True)


def measure(case: str, runs: int) -> None:
    """Measure one case, in a process that has compiled nothing before."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    {"step": training_step, "view": one_view}.get(case, score_maps)(*CASES[case], runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="this one alone")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, one thread", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        for case in [options.case] if options.case else CASES:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(measure, (case, options.runs))


if __name__ == "__main__":
    main()
