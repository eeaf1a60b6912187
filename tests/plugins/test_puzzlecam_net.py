from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_cases import Case, golden
from wsseg_puzzlecam.method import PuzzleCAM
from wsseg_puzzlecam.net import PuzzleClassifier
from wsseg_puzzlecam.tiles import merged, tiled

from wsseg_cli import nets
from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import deeplab, weights
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ClassNames


@golden("puzzle-classifier-r50")
@torch.no_grad()
def test_classifier(case: Case) -> None:
    network = PuzzleClassifier(nets.backbone(case.arguments["model_name"]), 20).eval()
    network.load_state_dict(weights.rename(case.state_dict(), "puzzlecam"))
    image = torch.from_numpy(case.inputs["image"])
    maps = network(image)
    last = network.backbone(image)
    pooled = network.classifier(last["conv6"].mean((2, 3), keepdim=True)).flatten(1)

    picture = case.inputs["picture_uint8"]
    classes = np.flatnonzero(case.inputs["label"]).tolist()
    infer = InferSettings(scales=tuple(case.arguments["scales"]), flip=True)
    method = PuzzleCAM(PuzzleCAM.Options(), ClassNames([str(c) for c in range(20)]))
    scores = method.scores(network, picture, tuple(classes), infer)

    pieces = case.arguments["num_pieces"]
    case.check_all(
        {
            "logits": maps.mean((2, 3)),
            "features": maps,
            "logits_without_cam": pooled,
            "stage5_mean_per_channel": last["conv6"].mean((2, 3)),
            "stage1_mean_per_channel": last["conv2"].mean((2, 3)),
            "cam": scores.strided,
            "hr_cam": scores.scores,
            "keys": np.array([0, *(scores.classes + 1)]),
            "tiled_then_merged": merged(
                network(tiled(torch.from_numpy(case.inputs["batch_for_tiles"]), pieces)), pieces
            ),
        }
    )


@golden("puzzle-deeplabv3plus-r50")
@torch.no_grad()
def test_deeplab(case: Case) -> None:
    arguments = case.arguments
    network = deeplab.build("v3plus_puzzlecam", arguments["num_classes"], arguments["model_name"]).eval()
    network.load_state_dict(weights.rename(case.state_dict(), "puzzlecam"))
    logits = network(torch.from_numpy(case.inputs["image"]))
    case.check_all(
        {
            "logits_ch7": logits[:, 7],
            "logits_mean_per_class": logits.mean((2, 3)),
            "logits_centre_row": logits[:, :, logits.shape[2] // 2],
        }
    )


@golden("puzzle-tile-merge")
def test_tiles(case: Case) -> None:
    x = torch.from_numpy(case.inputs["x"])
    got = {}
    for pieces in case.arguments["num_pieces"]:
        tiles = tiled(x, pieces)
        # tiles of a few pixels are doubled in place of being pooled (the case's notes)
        whole = case.outputs[f"pooled_merged_{pieces}"].shape == x.shape
        changed = 2 * tiles if whole else F.avg_pool2d(tiles, 2)
        got |= {
            f"tiled_{pieces}": tiles,
            f"merged_{pieces}": merged(tiles, pieces),
            f"pooled_merged_{pieces}": merged(changed, pieces),
        }
    case.check_all(got)


def test_tiles_that_do_not_fit() -> None:
    with pytest.raises(RecipeError, match="13x12"):
        tiled(torch.zeros(1, 3, 12, 13), 4)
    with pytest.raises(RecipeError, match="5 tiles"):
        merged(torch.zeros(5, 3, 2, 2), 5)
