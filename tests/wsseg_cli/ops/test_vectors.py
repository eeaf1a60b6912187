"""Vectors as registers of numba, and as plain loops where this numba does not take the registers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsseg_cli.ops.crf import dense_crf

CODE = """
import sys
import numpy as np
{before}
from wsseg_cli.ops.crf import dense_crf, vectors
rng = np.random.default_rng(0)
image = rng.integers(0, 256, (23, 30, 3), np.uint8)
q = [dense_crf(image, rng.random((n, 23, 30), np.float32), "psa") for n in (3, 9)]
np.savez(sys.argv[1], *q)
print(vectors.chosen.__name__)
"""
BROKEN = {
    "no private module": "sys.modules['wsseg_cli.ops.crf.lanes'] = None",
    "does not compile": "import wsseg_cli.ops.crf.lanes as lanes; lanes.nearest = lambda a: a.no_such_thing",
    "wrong numbers": "import wsseg_cli.ops.crf.lanes as lanes; lanes.total = lanes.highest",
}


def run(before: str, folder: Path) -> tuple[str, list[np.ndarray]]:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    words = [sys.executable, "-c", CODE.format(before=before), str(folder / "q.npz")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "q.npz") as arrays:
        return done.stdout.strip().rpartition(".")[2], list(arrays.values())


@pytest.mark.slow
@pytest.mark.parametrize("reason", list(BROKEN))
def test_plain_loops_give_the_same_marginals(reason: str, tmp_path: Path) -> None:
    name, found = run(BROKEN[reason], tmp_path)
    assert name == "plain_lanes"
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (23, 30, 3), np.uint8)
    for count, q in zip((3, 9), found, strict=True):
        np.testing.assert_allclose(q, dense_crf(image, rng.random((count, 23, 30), np.float32), "psa"), atol=2e-4)


def test_this_numba_takes_the_registers() -> None:
    from wsseg_cli.ops.crf import vectors

    assert vectors.chosen.__name__.endswith(".lanes")
