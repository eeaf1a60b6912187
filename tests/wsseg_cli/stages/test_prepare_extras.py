"""Extras, such as saliency maps, that are there for the train split alone."""

from __future__ import annotations

from pathlib import Path

from wsseg_cli.stages.prepare import extras_for_training
from wsseg_cli.types import Sample


def test_only_what_is_trained_on_needs_its_extras(tmp_path: Path) -> None:
    there, gone = tmp_path / "there.png", tmp_path / "gone.png"
    there.touch()
    samples = {
        "learnt": Sample("learnt", Path("a.jpg"), (0,), extras={"saliency": gone}),
        "evaluated": Sample("evaluated", Path("b.jpg"), (0,), extras={"saliency": gone, "depth": there}),
        "plain": Sample("plain", Path("c.jpg"), (0,)),
    }
    kept = extras_for_training(samples, {"learnt": ["val", "train"], "evaluated": ["val"], "plain": ["val"]}, ["train"])
    assert kept["learnt"] is samples["learnt"]  # its map is missing: prepare will say so
    assert dict(kept["evaluated"].extras) == {"depth": there}
    assert kept["plain"] is samples["plain"]
