"""PuzzleCAM's losses against its training loop, and its method on a tiny backbone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from pydantic import ValidationError
from torch import Tensor
from wsseg_puzzlecam.loss import alpha_at, peak_normalised, reconstruction, tile_entropy
from wsseg_puzzlecam.method import PuzzleCAM

from wsseg_cli.errors import RecipeError
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.settings import InferSettings, OptimSettings
from wsseg_cli.types import ClassNames, Progress

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "cam_level": {"level": "cam"},
    "l2": {"distance": "l2"},
    "selection": {"counted": "present"},
    "none": {"counted": "all"},
    "conf": {"conf": True},
    "cl_re": {"tile_class": False},
}


@golden("puzzle-losses")
def test_losses(case: Case) -> None:
    given = case.arguments
    labels = torch.from_numpy(case.inputs["labels"])
    tile_logits = torch.from_numpy(case.inputs["tiled_logits"])
    rise = {"alpha": given["alpha"], "rise": given["alpha_schedule"]}
    alpha = alpha_at(given["iteration"], given["max_iteration"], **rise)
    got: dict[str, Any] = {}
    for name, option in VARIANTS.items():
        features = torch.from_numpy(case.inputs["features"]).requires_grad_()
        of_tiles = torch.from_numpy(case.inputs["re_features"]).requires_grad_()
        maps, together = features, of_tiles
        class_loss = multilabel_soft_margin(global_average(maps), labels)
        if option.get("level") == "cam":
            maps, together = peak_normalised(maps), peak_normalised(together)
        p_class = multilabel_soft_margin(global_average(together), labels) * option.get("tile_class", True)
        how = {key: option[key] for key in ("distance", "counted") if key in option}
        re = reconstruction(maps, together, labels, **how)
        conf = tile_entropy(tile_logits) * option.get("conf", False)
        total = class_loss + p_class + alpha * re + conf
        total.backward()
        columns = [x.detach() for x in (class_loss, p_class, re, conf)]
        got[f"{name}_class_pclass_re_conf_alpha_total"] = np.array([*columns, alpha, total.detach()])
        got[f"{name}_grad_features"] = features.grad
        got[f"{name}_grad_re_features"] = of_tiles.grad
    rows = case.outputs["alpha_table"][:, 0]
    got["alpha_table"] = np.array([[i, alpha_at(int(i), given["max_iteration"], **rise)] for i in rows])
    case.check_all(got)


@golden("puzzle-make-cam")
def test_peak_normalised(case: Case) -> None:
    case.check_all({"cam": peak_normalised(torch.from_numpy(case.inputs["features"]))})


def method(**options: Any) -> PuzzleCAM:
    return PuzzleCAM(PuzzleCAM.Options(backbone="small", **options), ClassNames(["a", "b", "c"]))


def batch(side: int = 32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"image": torch.randn(2, 3, side, side), "label": torch.tensor([[1.0, 0, 0], [0, 1, 1]])}


def test_step_and_scores() -> None:
    puzzle = method(tile_entropy=True, level="cam")
    model = puzzle.build_model()
    losses = puzzle.training_step(model, batch(), Progress(5, 10, 0))
    assert set(losses) == {"cls", "tile_cls", "tile_entropy", "rec"}
    sum(losses.values()).backward()
    assert model.classifier.weight.grad is not None
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    scores = puzzle.scores(model.eval(), image, (0, 2), InferSettings(scales=(0.5, 1.0), flip=True))
    assert scores.classes.tolist() == [0, 2] and scores.scores.shape == (2, 30, 41)
    assert scores.scores.max() <= 1


def test_first_step_has_no_reconstruction() -> None:
    puzzle = method()
    assert puzzle.training_step(puzzle.build_model(), batch(), Progress(0, 10, 0))["rec"] == 0


def test_rates() -> None:
    puzzle = method()
    groups = puzzle.param_groups(puzzle.build_model(), OptimSettings(lr=0.1, weight_decay=1e-4))
    assert [g["lr"] for g in groups] == pytest.approx([0.1, 0.2, 1.0, 2.0])
    assert [g["weight_decay"] for g in groups] == [1e-4, 0, 1e-4, 0]


def test_crops_that_do_not_fit() -> None:
    puzzle = method()
    with pytest.raises(RecipeError, match="33x33"):
        puzzle.training_step(puzzle.build_model(), batch(33), Progress(0, 10, 0))
    with pytest.raises(RecipeError, match="6x6 cells, those of the whole image 5x5"):
        puzzle.training_step(puzzle.build_model(), batch(34), Progress(0, 10, 0))
    with pytest.raises(ValidationError, match="5 tiles"):
        PuzzleCAM.Options(pieces=5)
