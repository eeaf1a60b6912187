"""A run in Python: what the three lines of docs/python.md give, and what is said where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from end_to_end.toy_run import RECIPE
from made_up_run import write_run

from wsseg_cli.data.stores import MaskStore
from wsseg_cli.engine.checkpoint import write_model
from wsseg_cli.errors import DataError, RecipeError, StageError
from wsseg_cli.notebook import Run
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages import Context
from wsseg_cli.stages.plugins import method_of
from wsseg_cli.status import open_existing


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = write_run(tmp_path / "run")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return Run(folder)


def test_maps_masks_and_pictures(run: Run) -> None:
    assert [sample.image_id for sample in run.samples("val")] == ["made/up1", "made/up2", "made/up3"]
    assert len(run.samples()) == 4 and list(run.classes) == ["cat", "dog"] and run.recipe.name == "tiny"
    scores = run.scores("cam")["made/up1"]
    assert scores.scores.shape == (1, 12, 16) and scores.size == (24, 32)
    truth, mask = run.mask("made/up1", "truth"), run.mask("made/up1")
    assert np.array_equal(mask, np.roll(truth, 1, axis=1)) and set(np.unique(truth)) == {0, 2}
    assert np.array_equal(np.asarray(run.picture("made/up1")), run.image("made/up1"))
    for kind in ("cam", "pseudo", "truth"):
        assert run.picture("made/up1", kind).size == (32, 24)


def test_prediction_of_the_split_that_was_evaluated(run: Run) -> None:
    with pytest.raises(StageError, match="run `wsseg eval` first"):
        run.mask("made/up1", "seg")
    MaskStore(run.path / "eval" / "seg-val").write("made/up1", np.full((24, 32), 1, np.uint8))
    assert run.mask("made/up1", "seg").min() == 1


def test_network(run: Run) -> None:
    with pytest.raises(StageError, match="run `wsseg train-cls` first"):
        run.model("train-cls")
    opened = open_existing(run.path)
    network = method_of(Context(opened, opened.recipe), run.classes).build_model()
    write_model(run.path / "train-cls" / "model.safetensors", network, {})
    method, loaded = run.model("train-cls")
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert (loaded.state_dict()[name] == value).all(), name
    scores = method.scores(loaded, run.image("made/up1"), (0, 1), InferSettings())
    assert list(scores.classes) == [0, 1]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda run: run.scores("pseudo"), "no score maps of 'pseudo'"),
        (lambda run: run.scores("refine"), "run `wsseg refine` first"),
        (lambda run: run.mask("made/up9"), "no image 'made/up9'"),
        (lambda run: run.mask("made/up1", "gold"), "no kind of mask 'gold'"),
        (lambda run: run.picture("made/up1", "gold"), "no picture 'gold'"),
        (lambda run: run.model("eval"), "no network of 'eval'"),
        (lambda run: run.samples("test"), "wsseg prepare --split test"),
    ],
)
def test_what_is_not_there(run: Run, ask, said: str) -> None:
    with pytest.raises(StageError, match=said):
        ask(run)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not a run"):
        Run(tmp_path)
    folder = write_run(tmp_path / "run", truth=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    with pytest.raises(StageError, match="has no mask in its data set"):
        Run(folder).mask("made/up1", "truth")
    with pytest.raises(DataError, match="no score map for image"):
        Run(folder).scores()["made/up9"]


def test_import_is_light() -> None:
    code = "import sys, wsseg_cli; print(sorted({'torch', 'numpy', 'PIL', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
