import numpy as np
import pytest
from golden_cases import Case, golden
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg_cli.errors import DataError
from wsseg_cli.metrics import PROTOCOLS, Confusion


def confusion_of(case: Case, protocol: str, truth: str = "gt", guess: str = "pred") -> Confusion:
    total = Confusion(20, PROTOCOLS[protocol].predicted_ignore)
    for i in range(sum(name.startswith(f"{truth}_") for name in case.inputs)):
        total.add(case.inputs[f"{truth}_{i}"], case.inputs[f"{guess}_{i}"])
    return total


def seam(case: Case) -> dict[str, object]:
    confusion, absent = confusion_of(case, "seam"), PROTOCOLS["seam"].absent
    return {"seam_iou_percent": 100 * confusion.iou(absent), "seam_miou_percent": 100 * confusion.mean_iou(absent)}


def eps(case: Case) -> dict[str, object]:
    confusion, absent = confusion_of(case, "eps"), PROTOCOLS["eps"].absent
    return {"eps_iou": confusion.iou(absent), "eps_miou": confusion.mean_iou(absent)}


@golden("eval_masks_all_present")
def test_all_protocols(case: Case) -> None:
    e, k, r, o = (confusion_of(case, name) for name in ("eps", "deeplab", "rsepm", "onestage"))
    case.check_all(
        {
            **seam(case),
            **eps(case),
            "confusion": e.matrix,
            "eps_precision": e.precision(),
            "eps_recall": e.recall(),
            "eps_acc": e.accuracy(),
            "eps_fwavacc": e.frequency_weighted_iou(),
            "kazuto_class_iou": k.iou(),
            "kazuto_miou": k.mean_iou(PROTOCOLS["deeplab"].absent),
            "kazuto_pixel_acc": k.accuracy(),
            "kazuto_mean_acc": k.mean_accuracy(),
            "kazuto_fwiou": k.frequency_weighted_iou(),
            "rs_miou_percent": 100 * r.mean_iou(),
            "rs_iou_percent": 100 * r.iou(),
            "rs_fp": r.false_positives(),
            "rs_fn": r.false_negatives(),
            "onestage_iou_percent": 100 * o.iou("zero"),
            "onestage_miou_with_bg": 100 * o.mean_iou("zero"),
            "onestage_miou_without_bg": 100 * o.mean_iou("zero", background=False),
        }
    )


@golden("eval_masks_absent_classes")
def test_absent_classes(case: Case) -> None:
    k = confusion_of(case, "deeplab")
    case.check_all(
        {
            **seam(case),
            **eps(case),
            "kazuto_class_iou": k.iou(PROTOCOLS["deeplab"].absent),
            "kazuto_miou": k.mean_iou(PROTOCOLS["deeplab"].absent),
            "rs_miou_percent": 100 * confusion_of(case, "rsepm").mean_iou(PROTOCOLS["rsepm"].absent),
            "onestage_miou_with_bg": 100 * confusion_of(case, "onestage").mean_iou(PROTOCOLS["onestage"].absent),
        }
    )


@golden("eval_masks_pred255")
def test_predicted_ignore(case: Case) -> None:
    case.check_all({**seam(case), **eps(case)})


@golden("eval_hist")
def test_counts_and_rates(case: Case) -> None:
    confusion = confusion_of(case, "eps")

    def stored(values: np.ndarray) -> np.ndarray:
        return np.nan_to_num(values, nan=-1.0)

    case.check_all(
        {
            "hist": confusion.matrix,
            "acc": confusion.accuracy(),
            "recall": stored(confusion.recall()),
            "precision": stored(confusion.precision()),
            "iou": stored(confusion.iou()),
            "miou": confusion.mean_iou(),
            "mean_precision": np.nanmean(confusion.precision()),
            "mean_recall": confusion.mean_accuracy(),
            "fwavacc": confusion.frequency_weighted_iou(),
        }
    )


@golden("onestage-metric-iou")
def test_onestage(case: Case) -> None:
    confusion = Confusion(20, PROTOCOLS["onestage"].predicted_ignore)
    for mask, prediction in zip(case.inputs["gt"], case.inputs["pred"], strict=True):
        confusion.add(mask, prediction)
    case.check_all(
        {
            "confusion": confusion.matrix,
            "iou": 100 * confusion.iou("zero"),
            "precision": 100 * np.nan_to_num(confusion.precision()),
            "recall": 100 * np.nan_to_num(confusion.recall()),
            "miou_with_bg": 100 * confusion.mean_iou("zero"),
            "miou_without_bg": 100 * confusion.mean_iou("zero", background=False),
            "jaccard_train_helper": confusion.iou("zero"),
        }
    )


def byte(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


@pytest.mark.parametrize(
    ("mode", "iou"),
    [("miss", [0.5, 1 / 2]), ("drop", [0.5, 1.0]), ("background", [1 / 3, 1 / 2])],
)
def test_what_a_predicted_255_counts_as(mode: str, iou: list[float]) -> None:
    confusion = Confusion(2, mode)
    confusion.add(byte([0, 0, 1, 1, 255]), byte([0, 2, 1, 255, 255]))
    assert confusion.iou()[:2].tolist() == pytest.approx(iou)


def test_a_predicted_255_is_refused_if_asked() -> None:
    with pytest.raises(DataError, match=r"prediction of image 'x' has the value 255"):
        Confusion(2, "error").add(byte([0, 0]), byte([0, 255]), image_id="x")


@pytest.mark.parametrize(
    ("mask", "prediction", "message"),
    [
        (byte([0, 21]), byte([0, 0]), "mask has the value 21; expected 0..20 or 255"),
        (byte([0, 0]), byte([0, 77]), "prediction has the value 77"),
        (np.array([[-1]]), byte([0]), "value -1"),
        (byte([0, 0]), byte([0]), "expected equal sizes"),
        (np.zeros((2, 2, 3), np.uint8), byte([0]), "not colours"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "expected .* integers"),
    ],
)
def test_bad_masks_are_named(mask: np.ndarray, prediction: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Confusion(20).add(mask, prediction)


@pytest.mark.parametrize("num_classes", [0, 255, 300])
def test_classes_must_fit_a_byte(num_classes: int) -> None:
    with pytest.raises(DataError, match="1 to 254"):
        Confusion(num_classes)


def test_254_classes_fit() -> None:
    confusion = Confusion(254)
    confusion.add(byte([254, 255, 0]), byte([254, 3, 0]))
    assert confusion.mean_iou() == 1.0 and confusion.in_mean().sum() == 2


def test_one_pixel_and_only_ignored_pixels() -> None:
    confusion = Confusion(20)
    confusion.add(byte([255]), byte([3]))
    assert np.isnan(confusion.mean_iou()) and np.isnan(confusion.accuracy()) and confusion.mean_iou("zero") == 0
    assert np.isnan(confusion.frequency_weighted_iou())
    confusion.add(byte([3]), byte([3]))
    assert confusion.mean_iou() == 1.0


def test_counts_do_not_overflow() -> None:
    confusion, part = Confusion(1), Confusion(1)
    part.counts[0, 0] = 2**31
    for _ in range(3):
        confusion.merge(part)
    assert confusion.matrix[0, 0] == 3 * 2**31 and confusion.counts.dtype == np.int64
    with pytest.raises(DataError, match="of 2 classes"):
        confusion.merge(Confusion(2))


masks = st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=12, max_size=12).map(
    lambda values: np.array(values, np.uint8).reshape(3, 4)
)


@settings(max_examples=50, deadline=None)
@given(first=masks, second=masks, guess=masks, mode=st.sampled_from(["miss", "drop", "background"]))
def test_parts_add_up_and_rates_are_shares(first: np.ndarray, second: np.ndarray, guess: np.ndarray, mode: str) -> None:
    whole, left, right = Confusion(3, mode), Confusion(3, mode), Confusion(3, mode)
    left.add(first, guess)
    right.add(second, guess)
    whole.add(np.concatenate([first, second]), np.concatenate([guess, guess]))
    assert np.array_equal(left.merge(right).counts, whole.counts)
    for absent in ("exclude", "zero", "without_truth"):
        value = whole.mean_iou(absent)
        assert np.isnan(value) or 0 <= value <= 1
    assert np.all(whole.matrix.sum() <= np.sum(first != 255) + np.sum(second != 255))
