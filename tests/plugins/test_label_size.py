"""Labels of PSA and IRN for a phone's photo: at the photo's size, in the memory of a small one."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_networks import SMALL
from wsseg_affinity import irn, psa

from wsseg_cli.data.stores import MaskStore, ScoreStore
from wsseg_cli.types import ByteArray, ClassNames, Sample, ScoreMap

CLASSES = ClassNames(["cat", "dog", "sofa"])
SIZE = (2400, 3200)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.full((*SIZE, 3), 40, np.uint8)
    pixels[600:1800, 800:2400] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    return tmp_path / "a.png"


def cams() -> dict[str, ScoreMap]:
    scores = np.zeros((1, 60, 80), np.float32)
    scores[:, 15:45, 20:60] = 0.9
    return {"a": ScoreMap("a", np.array([1]), scores, SIZE)}


def as_labelled(mask: ByteArray) -> None:
    assert mask.shape == SIZE
    assert (mask[700:1700, 900:2300] == 2).mean() > 0.99 and (mask[:400] == 0).mean() > 0.99


def test_a_phone_photo(photo: Path, tmp_path: Path) -> None:
    samples, kept = {"a": Sample("a", photo, (1,))}, MaskStore(tmp_path / "irn")
    low, high = ScoreStore(tmp_path / "low"), ScoreStore(tmp_path / "high")
    refiners = (
        irn.IRN(irn.IRNOptions(**SMALL, label_longest=160), CLASSES),
        psa.PSA(psa.PSAOptions(**SMALL, label_longest=160), CLASSES),
    )
    work = (
        irn._labeller(samples, cams(), "cpu", kept, refiners[0]),
        psa._labeller(samples, cams(), "cpu", low, high, refiners[1]),
    )
    for write in work:
        tracemalloc.start()
        write("a")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * SIZE[0] * SIZE[1] * 3, "a CRF of the whole photo takes some hundred bytes a pixel"
    as_labelled(kept.read("a", CLASSES))
    assert low["a"].scores.shape == (1, 120, 160) and low["a"].size == SIZE
    assert high["a"].full()[1, 1200, 1600] > 0.9


def test_what_is_small_enough_is_as_before() -> None:
    assert psa.PSAOptions(**SMALL).label_longest == irn.IRNOptions(**SMALL).label_longest == 1024
