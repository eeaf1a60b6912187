import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from recorded import Recorded
from wsseg_affinity.labels import affinity_scores, confident_labels
from wsseg_affinity.walk import crf_after_walk, rebuilt_pixels, walked_scores

from wsseg_cli.data.transforms.colour import Normalize
from wsseg_cli.data.transforms.crop import Crop, CropBox, crop
from wsseg_cli.data.transforms.pipelines import average_pool
from wsseg_cli.data.transforms.scale import Flip
from wsseg_cli.errors import DataError
from wsseg_cli.ops.affinity import neighbour_pairs, pair_labels
from wsseg_cli.ops.crf import add_power_background, crf_parameters
from wsseg_cli.ops.masks import present_values
from wsseg_cli.ops.random_walk import pooled, random_walk, transition_matrix
from wsseg_cli.types import IMAGENET


@golden("psa_affinity_dataset")
def test_training_sample(case: Case) -> None:
    a, image = case.arguments, case.inputs["image"]
    low, high = case.inputs["score_low"], case.inputs["score_high"]
    box: CropBox = Crop(a["crop"]).draw(Recorded(a["randrange_calls"]), image.shape[:2])
    arrays = crop({"image": image, "scores": np.concatenate([low, high])}, box)
    arrays = Normalize(IMAGENET).apply(Flip().apply(arrays, a["flip"]))
    scores = average_pool(arrays["scores"], 8)
    label = confident_labels(scores[: len(low)], scores[len(low) :])
    pairs = neighbour_pairs(label.shape, a["radius"])
    labels = pair_labels(torch.from_numpy(label), pairs)
    rows = len(pairs.offsets)
    case.check_all(
        {
            "image": arrays["image"].transpose(2, 0, 1)[:, ::3, ::3],
            "label": label,
            "bg_pos": labels.background.view(rows, -1),
            "fg_pos": labels.foreground.view(rows, -1),
            "neg": labels.negative.view(rows, -1),
        }
    )


@golden("wseg_aff_prepare")
def test_scores_from_hard_labels(case: Case) -> None:
    a, cams = case.arguments, case.inputs["cam"]
    classes = np.asarray(a["classes"])
    assert present_values(classes)[[0, 1, 2]].tolist() == [a["stored_rows"][i] for i in (0, 2, 3)]
    present = affinity_scores(
        case.inputs["image"],
        cams,
        classes,
        20,
        a["alpha"],
        crf_parameters("ppc", certainty=a["gt_prob"], iterations=a["t"]),
    )
    full = np.zeros((21, *present.shape[1:]), np.float32)
    full[present_values(classes)] = present
    predict = present_values(classes)[add_power_background(cams, a["alpha"]).argmax(0)]
    # a class that is nowhere in the image shares the mass that the present rows leave
    full[1] = (1 - present.sum(0)) / (21 - len(present))
    case.check_all({"predict": predict.astype("uint8"), "crf": full[a["stored_rows"]]})


@golden("seam_random_walk_crf")
def test_walk_and_crf(case: Case) -> None:
    a = case.arguments
    scores = torch.from_numpy(add_power_background(case.inputs["cam"], a["alpha"]))
    coarse = pooled(scores)
    pairs = neighbour_pairs((coarse.shape[1], coarse.shape[2]), a["radius"])
    one, other = pairs.index()
    affinity = torch.from_numpy(case.inputs["aff_dense"])[one, other]
    walked = random_walk(coarse, transition_matrix(affinity, pairs, a["beta"]), 2 ** a["logt"])
    big = walked_scores(scores, affinity, pairs, beta=a["beta"], steps_log2=a["logt"])
    q = crf_after_walk(case.inputs["image"], big.numpy(), 21, a["crf_t"])
    height, width = a["size"]
    values = present_values(case.inputs["classes"])
    case.check_all(
        {
            "cam_pooled": coarse,
            "cam_walked": walked,
            "cam_walked_absent_max": np.float32(0),
            "scores": q[:, ::2, ::2],
            "pred": values[q.argmax(0)][:height, :width].astype("uint8"),
        }
    )


def test_the_weak_background_has_the_last_word() -> None:
    low = np.array([[[0.1, 0.9, 0.9, 0.1, 0.0]], [[0.9, 0.1, 0.1, 0.9, 0.0]]], np.float32)
    high = np.array([[[0.1, 0.9, 0.1, 0.9, 0.0]], [[0.9, 0.1, 0.9, 0.1, 0.0]]], np.float32)
    assert confident_labels(low, high).tolist() == [[1, 0, 255, 0, 255]]


def test_one_label_and_one_pixel() -> None:
    ones = np.ones((1, 1, 1), np.float32)
    assert confident_labels(ones, ones).tolist() == [[0]]


@pytest.mark.parametrize(
    ("low", "high"), [((2, 3, 4), (2, 4, 3)), ((0, 3, 4), (0, 3, 4)), ((3, 4), (3, 4)), ((256, 1, 1), (256, 1, 1))]
)
def test_bad_score_pairs(low: tuple[int, ...], high: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="low and high alpha"):
        confident_labels(np.zeros(low), np.zeros(high))


def test_an_image_without_a_class_is_background() -> None:
    image = np.zeros((4, 5, 3), np.uint8)
    empty = np.zeros((0, 4, 5), np.float32)
    for preset in ("psa", "ppc"):
        scores = affinity_scores(image, empty, np.zeros(0, np.int64), 20, 4.0, preset)
        assert scores.shape == (1, 4, 5) and scores.min() == 1


def test_nan_is_named() -> None:
    with pytest.raises(DataError, match="NaN"):
        affinity_scores(np.zeros((2, 2, 3), np.uint8), np.full((1, 2, 2), np.nan, np.float32), np.array([3]), 20, 4.0)


def test_rebuilt_pixels_are_padded_and_at_most_one_too_low() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    rebuilt = rebuilt_pixels(image, (16, 24))
    low = image.astype(int) - rebuilt[:, :16]
    assert low.min() == 0 and low.max() == 1
    assert rebuilt[0, 20].tolist() == [int(255 * m) for m in IMAGENET.mean]
