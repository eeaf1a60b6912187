"""One training step of the full-size recipes on made-up images: images a second and peak memory, no data needed.

    python benchmarks/training_step.py     # every VOC and COCO recipe, crop and batch as published
    python benchmarks/training_step.py eps_voc seam_voc --crop 224 --batch 1    # what a CPU can do

Networks have random weights; losses that begin later in a training are on. Every section is measured in a process of
its own, with the recipe's precision and cuDNN's own choice on a GPU, in float32 on a CPU; --batch is that of one part.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wsseg_cli.engine.fit import step_count
from wsseg_cli.engine.optim import build_optimizer, set_learning_rates
from wsseg_cli.plugin.protocols import Trainable
from wsseg_cli.recipe import loading as recipes
from wsseg_cli.settings import TrainSettings
from wsseg_cli.types import ByteArray, ClassNames, Progress

STAGES = ("train-cls", "refine", "train-seg")
CLASSES = {"voc": 20, "coco": 80}
IMAGES = {"voc": 10_582, "coco": 82_081}
PHOTO = (375, 500)
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Measured(NamedTuple):
    crop: int
    parts: int
    batch: int
    seconds: list[float]
    peak: float


class Trainer:
    """One training section of a recipe, ready for a step."""

    def __init__(self, name: str, stage: str, crop: int | None = None, batch: int | None = None) -> None:
        loaded = recipes.load(name)
        data = loaded.recipe.dataset.name
        section: Any = loaded.section(stage)
        self.settings: TrainSettings = section.train if stage == "refine" else section
        cls, options = loaded.plugin(stage)
        self.classes = ClassNames(f"class {number}" for number in range(CLASSES[data]))
        self.plugin: Trainable = cls(options, self.classes)  # type: ignore[assignment, arg-type, call-arg]
        self.parts = self.settings.accumulate if batch is None else 1
        self.batch_size = batch or self.settings.batch_size // self.parts
        augment = self.settings.augment
        self.augment = augment if crop is None else augment.model_copy(update={"crop": crop, "resize_long": None})
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # half-way, in an epoch by which every loss has begun
        steps = step_count(self.settings, IMAGES[data])
        self.progress = Progress(steps // 2, steps, epoch=steps)
        torch.manual_seed(0)
        self.model: nn.Module = self.plugin.build_model().to(self.device).train()
        groups = self.plugin.param_groups(self.model, self.settings.optim)
        self.optimizer = build_optimizer(groups, self.settings.optim, fused=self.device.type == "cuda")
        half = self.settings.precision == "fp16" and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=half)

    def batch(self) -> dict[str, Any]:
        """Return one part's images as the loop would make them."""
        transform = self.plugin.train_transform(self.augment)
        rows = [dict(transform(self._arrays(i), np.random.default_rng(i))) for i in range(self.batch_size)]
        tensors: dict[str, Any] = {name: torch.stack([row[name] for row in rows]).to(self.device) for name in rows[0]}
        numbers = torch.arange(self.batch_size, device=self.device)
        return tensors | {"index": numbers, "image_id": [f"{number}" for number in range(self.batch_size)]}

    def _arrays(self, number: int) -> dict[str, Any]:
        """Return what training reads of one image, with two classes in it."""
        image, mask = picture(number)
        label = np.zeros(len(self.classes), np.float32)
        label[[0, 2]] = 1
        each = getattr(self.plugin.options, "subcategories", 10)
        sub = np.zeros(each * len(self.classes), np.float32)
        sub[[1, 2 * each]] = 1
        marginals = np.stack([(mask == value).astype(np.float32) for value in (0, 1, 3)] * 2)
        targets = {"subcategory": sub, "mask": mask, "scores": marginals}
        arrays = {"image": image, "label": label, "saliency": 255 * (mask > 0).astype(np.uint8), "mask": mask}
        read = {"image", "label"} | self.plugin.required.training
        kept = {name: value for name, value in arrays.items() if name in read}
        wanted = {"sccam": "subcategory", "psa": "scores", "irn": "mask"}.get(self.plugin.__class__.__name__.lower())
        return kept | ({f"target/{wanted}": targets[wanted]} if wanted else {})

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the losses of one part."""
        dtype = DTYPES.get(self.settings.precision) if self.device.type == "cuda" else None
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return self.plugin.training_step(self.model, batch, self.progress)

    def step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Do one step of the optimiser, every part with the same batch; return the losses of the last part."""
        set_learning_rates(self.optimizer, self.settings.schedule, self.progress)
        for _ in range(self.parts):
            losses = self.losses(batch)
            self.scaler.scale(torch.stack([*losses.values()]).sum() / self.parts).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.plugin.after_step(self.model, self.progress)
        return losses


def picture(number: int) -> tuple[ByteArray, ByteArray]:
    """Return a noisy image and its mask, which shows the first and the third class."""
    rng = np.random.default_rng(number)
    height, width = PHOTO
    mask = np.zeros(PHOTO, np.uint8)
    mask[height // 5 : height // 2, width // 6 : width // 2] = 1
    mask[height // 2 :, 2 * width // 3 :] = 3
    return (40 * mask[..., None] + rng.integers(0, 100, (*PHOTO, 3))).astype(np.uint8), mask


def measure(name: str, stage: str, crop: int | None, batch: int | None, steps: int) -> Measured:
    """Return seconds of each step after the first, and peak memory in GB: CUDA's, or this process'."""
    trainer = Trainer(name, stage, crop, batch)
    images = trainer.batch()
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        trainer.step(images)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    on_cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = on_cpu if trainer.device.type == "cpu" else torch.cuda.max_memory_allocated()
    size = int(images["image"].shape[-1])
    return Measured(size, trainer.parts, trainer.batch_size, seconds[1:], peak / 1e9)


def sections(name: str) -> list[str]:
    """Return the stages of a recipe that train."""
    recipe = recipes.load(name).recipe
    refine = recipe.refine is not None and recipe.refine.train is not None
    there = {"train-cls": recipe.train_cls, "refine": refine or None, "train-seg": recipe.train_seg}
    return [stage for stage in STAGES if there[stage] is not None]


def main() -> None:
    known = [path.stem for path, _ in recipes.builtin() if path.stem.endswith(("_voc", "_coco", "_full"))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=known, metavar="RECIPE")
    parser.add_argument("--stage", choices=STAGES, help="this one alone")
    parser.add_argument("--crop", type=int, help="side in pixels in place of the recipe's")
    parser.add_argument("--batch", type=int, help="images in place of the recipe's, in one part")
    parser.add_argument("--steps", type=int, default=3, help="timed, after one that is not")
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}\n\n| recipe | section | crop | images a step | images a second | seconds a step (all) | peak GB |")
    print("| --- | --- | ---: | ---: | ---: | --- | ---: |", flush=True)
    for name in options.recipes:
        for stage in [stage for stage in sections(name) if options.stage in (None, stage)]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(measure, (name, stage, options.crop, options.batch, options.steps))
            images, every = found.parts * found.batch, " ".join(f"{second:.2f}" for second in found.seconds)
            rate = images / median(found.seconds)
            shown = f"{images}" if found.parts == 1 else f"{found.parts} x {found.batch}"
            print(
                f"| {name} | {stage} | {found.crop} | {shown} | {rate:.2f} | {every} | {found.peak:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
