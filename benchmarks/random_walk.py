"""Our sparse random walk beside the published dense squaring: seconds, memory, largest difference, in one run.

python benchmarks/random_walk.py --runs 7
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsseg_cli.ops.affinity import Pairs, feature_affinity, neighbour_pairs
from wsseg_cli.ops.random_walk import random_walk, transition_matrix

BETA = 8.0


def case(grid: tuple[int, int], classes: int) -> tuple[torch.Tensor, torch.Tensor, Pairs]:
    """Return scores, affinities and pairs of a grid: features that change slowly, as those of a network do."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 32, *grid, generator=generator)
    features = 3 * torch.nn.functional.avg_pool2d(features, 5, 1, 2)
    pairs = neighbour_pairs(grid, 5)
    return torch.rand(classes, *grid, generator=generator), feature_affinity(features, pairs)[0], pairs


def dense(scores: torch.Tensor, affinity: torch.Tensor, pairs: Pairs, steps_log2: int) -> torch.Tensor:
    """Walk as the published code does: a dense matrix, its power kept, squared steps_log2 times, then one product."""
    one, other = pairs.index()
    matrix = torch.eye(scores[0].numel())
    matrix[one, other] = matrix[other, one] = affinity
    weights = matrix.pow_(BETA)
    transition = weights / weights.sum(0, keepdim=True)
    for _ in range(steps_log2):
        transition = transition @ transition
    return (scores.flatten(1) @ transition).view(scores.shape)


def sparse(scores: torch.Tensor, affinity: torch.Tensor, pairs: Pairs, steps_log2: int) -> torch.Tensor:
    return random_walk(scores, transition_matrix(affinity, pairs, BETA), 2**steps_log2)


WALKS = {"dense": dense, "sparse": sparse}


def memory_of(name: str, grid: tuple[int, int], classes: int, steps_log2: int, sender: Any) -> None:
    """Send how far the resident memory of this process rises while one walk runs, in bytes."""
    torch.set_num_threads(1)
    WALKS[name](*case((grid[0] // 2, grid[1] // 2), classes), 2)  # libraries loaded, kernels chosen
    arguments = case(grid, classes)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # or the walk would hide in memory that is free but still resident
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = status("VmRSS")
    WALKS[name](*arguments, steps_log2)
    sender.send(status("VmHWM") - before)


def status(key: str) -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith(key)
    )
    return int(line.split()[1]) * 1024


def measured_memory(*arguments: Any) -> int:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=memory_of, args=(*arguments, sender))
    process.start()
    value = receiver.recv()
    process.join()
    return int(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, nargs=2, default=(47, 63), help="rows and columns: 47 63 is 375x500 at 1/8")
    parser.add_argument("--classes", type=int, default=5, help="score maps, background included")
    parser.add_argument("--steps-log2", type=int, default=8)
    parser.add_argument("--runs", type=int, default=7, help="of the sparse walk; the dense one runs half as often")
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    grid = tuple(a.grid)
    scores, affinity, pairs = case(grid, a.classes)
    seconds: dict[str, list[float]] = {"dense": [], "sparse": []}
    results = {}
    for run in range(a.runs):
        for name in WALKS if run % 2 == 0 else ["sparse"]:
            start = time.perf_counter()
            results[name] = WALKS[name](scores, affinity, pairs, a.steps_log2)
            seconds[name].append(time.perf_counter() - start)
    memory = {name: measured_memory(name, grid, a.classes, a.steps_log2) for name in WALKS}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    difference = float((results["dense"] - results["sparse"]).abs().max())
    rows = {
        "grid": grid,
        "classes": a.classes,
        "steps": 2**a.steps_log2,
        "threads": a.threads,
        "seconds": {name: [round(v, 4) for v in values] for name, values in seconds.items()},
        "median": {name: round(v, 4) for name, v in medians.items()},
        "faster": round(medians["dense"] / medians["sparse"], 1),
        "memory_mb": {name: round(v / 1e6, 1) for name, v in memory.items()},
        "less_memory": round(memory["dense"] / max(memory["sparse"], 1), 1),
        "largest_difference": difference,
        "labels_differ": int(np.sum(results["dense"].argmax(0).numpy() != results["sparse"].argmax(0).numpy())),
    }
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
