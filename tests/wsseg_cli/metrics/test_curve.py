import numpy as np
import pytest
from golden_cases import Case, golden
from hypothesis import given, settings
from hypothesis import strategies as st
from published import best_label_threshold

from wsseg_cli.errors import DataError
from wsseg_cli.metrics import Confusion, ThresholdCurve, threshold_range


def images(case: Case, truth: str, classes: str, scores: str, first: int = 0) -> list[tuple[np.ndarray, ...]]:
    number = sum(name.startswith(f"{truth}_") for name in case.inputs)
    return [
        tuple(case.inputs[f"{n}_{i}"] - (first if n == classes else 0) for n in (truth, classes, scores))
        for i in range(number)
    ]


def curve_of(
    case: Case, thresholds: list[float], names: tuple[str, ...], first: int = 0, labels: np.ndarray | None = None
):
    curve = ThresholdCurve(thresholds, 20)
    for i, (mask, classes, scores) in enumerate(images(case, *names, first=first)):
        present = None if labels is None else np.flatnonzero(labels[i]).tolist()
        curve.add(mask, classes, scores, labels=present)
    return curve


def rsepm_rows(curve: ThresholdCurve, prefix: str) -> dict[str, object]:
    points, best = curve.points(), curve.best()
    return {
        f"{prefix}_miou_percent": [100 * p.mean_iou for p in points],
        f"{prefix}_fp": [p.false_positives for p in points],
        f"{prefix}_fn": [p.false_negatives for p in points],
        f"{prefix}_best": [best.threshold, 100 * best.mean_iou, best.false_positives, best.false_negatives],
    }


@golden("eval_cam_curve")
def test_sweeps_of_three_publications(case: Case) -> None:
    names = ("gt", "keys", "cam")
    ranges = {key: threshold_range(**case.arguments[f"{key}_thresholds"]) for key in ("seam", "rs", "irn")}
    seam = curve_of(case, ranges["seam"], names)
    case.check_all(
        {
            **{f"{key}_thresholds": values for key, values in ranges.items()},
            "seam_miou_percent": [100 * p.mean_iou for p in seam.points("zero")],
            "seam_iou_percent_all": [100 * c.iou("zero") for c in seam.confusions()],
            **rsepm_rows(curve_of(case, ranges["rs"], names), "rs"),
            **rsepm_rows(curve_of(case, ranges["rs"], names, labels=case.inputs["label"]), "rs_label"),
            "irn_miou": [p.mean_iou for p in curve_of(case, ranges["irn"], names).points()],
        }
    )


@golden("eval_voc_curve")
def test_sweep_and_masks_of_seam(case: Case) -> None:
    published = threshold_range(**case.arguments["curve"])
    assert len(published) == 60
    stored = case.outputs["thresholds"]
    confusions = curve_of(case, published, ("gt", "cam_classes", "cam")).confusions()
    at = [int(np.argmin(np.abs(np.asarray(published) - t))) for t in stored]
    masks = Confusion(case.arguments["num_cls"] - 1)
    for i in range(5):
        masks.add(case.inputs[f"gt_{i}"], case.inputs[f"png_{i}"])
    case.check_all(
        {
            "png_iou": 100 * masks.iou("zero"),
            "png_miou": 100 * masks.mean_iou("zero"),
            "thresholds": np.asarray(published)[at],
            "npy_miou": [100 * confusions[i].mean_iou("zero") for i in at],
            "npy_iou": [100 * confusions[i].iou("zero") for i in at],
        }
    )


@golden("rsepm-evaluator")
def test_seeds_masks_and_labels_of_recurseed(case: Case) -> None:
    a = case.arguments
    thresholds = threshold_range(a["st_th"], a["end_th"], a["th_interval"])
    got: dict[str, object] = {}
    labels = np.stack([case.inputs[f"label_{i}"] for i in range(4)])
    for prefix, known in (("cam", None), ("cam_with_label", labels)):
        curve = curve_of(case, thresholds, ("gt", "cam_keys", "cam"), first=1, labels=known)
        rows, confusions = rsepm_rows(curve, "x"), curve.confusions()
        got |= {
            f"{prefix}_thresholds": thresholds,
            f"{prefix}_miou_per_threshold": rows["x_miou_percent"],
            f"{prefix}_best": rows["x_best"],
            f"{prefix}_P": [c.predicted for c in confusions],
            f"{prefix}_T": [c.truth for c in confusions],
            f"{prefix}_TP": [c.hits for c in confusions],
        }
    masks = Confusion(20)
    for i in range(4):
        masks.add(case.inputs[f"gt_{i}"], case.inputs[f"pred_{i}"])
    step = a["cls_th_interval"]
    label_score = best_label_threshold(
        np.stack([case.inputs[f"score_{i}"] for i in range(4)]), labels, threshold_range(step, 1 - step, step)
    )
    case.check_all(
        got
        | {
            "seg_iou_per_class": 100 * masks.iou(),
            "seg_miou_fp_fn": [100 * masks.mean_iou(), masks.false_positives(), masks.false_negatives()],
            "seg_P": masks.predicted,
            "seg_T": masks.truth,
            "seg_TP": masks.hits,
            "seg_FP_BG": masks.false_on_background,
            "seg_FP_FG": masks.false_on_foreground,
            "cls_best_th_cp_cr_cf1": [label_score.threshold, label_score.precision, label_score.recall, label_score.f1],
            "cls_cf1_per_threshold": label_score.curve,
            "cls_thresholds": threshold_range(step, 1 - step, step),
        }
    )


def plain_loop(mask: np.ndarray, classes: np.ndarray, scores: np.ndarray, thresholds: list[float]) -> list[Confusion]:
    confusions = []
    for t in thresholds:
        planes = np.concatenate([np.full((1, *mask.shape), t, np.float32), scores])
        confusion = Confusion(4)
        confusion.add(mask, np.concatenate([[0], classes + 1])[planes.argmax(0)].astype(np.uint8))
        confusions.append(confusion)
    return confusions


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 4), start=st.sampled_from([0.0, 0.1]))
def test_the_curve_is_the_loop_over_thresholds(seed: int, count: int, start: float) -> None:
    rng = np.random.default_rng(seed)
    thresholds = threshold_range(start, 0.9, 0.1)
    mask = rng.choice([0, 1, 2, 3, 4, 255], (5, 6)).astype(np.uint8)
    classes = np.sort(rng.permutation(4)[:count])
    # a third of the scores stands exactly on a threshold, some are negative
    scores = rng.uniform(-0.2, 1.0, (count, 5, 6)).astype(np.float32)
    exact = rng.random(scores.shape) < 0.3
    scores[exact] = np.asarray(thresholds, np.float32)[rng.integers(len(thresholds), size=int(exact.sum()))]
    curve = ThresholdCurve(thresholds, 4)
    shuffled = rng.permutation(count)
    curve.add(mask, classes[shuffled], scores[shuffled])
    for got, want in zip(curve.confusions(), plain_loop(mask, classes, scores, thresholds), strict=True):
        assert np.array_equal(got.counts, want.counts)


def test_parts_add_up() -> None:
    rng = np.random.default_rng(1)
    whole, left, right = (ThresholdCurve([0.1, 0.5], 3) for _ in range(3))
    for part in (left, right):
        mask = rng.integers(0, 4, (3, 3)).astype(np.uint8)
        scores = rng.random((2, 3, 3), np.float32)
        part.add(mask, [0, 2], scores)
        whole.add(mask, [0, 2], scores)
    assert np.array_equal(left.merge(right).histogram, whole.histogram)
    with pytest.raises(DataError, match="different thresholds"):
        whole.merge(ThresholdCurve([0.1], 3))


def test_an_image_without_a_class_is_background() -> None:
    curve = ThresholdCurve([0.0, 0.5], 2)
    curve.add(np.array([[0]], np.uint8), [], np.zeros((0, 1, 1), np.float32))
    assert [c.matrix[0, 0] for c in curve.confusions()] == [1, 1]
    assert curve.best().mean_iou == 1.0 and curve.best().threshold == 0.0


@pytest.mark.parametrize("thresholds", [[], [0.3, 0.2], [0.1, 0.1], [-0.1, 0.2], [float("nan")], [0.1, float("inf")]])
def test_bad_thresholds(thresholds: list[float]) -> None:
    with pytest.raises(DataError, match="thresholds"):
        ThresholdCurve(thresholds, 20)


@pytest.mark.parametrize(
    ("classes", "scores", "message"),
    [
        ([0], np.full((1, 2, 2), np.nan, np.float32), "NaN at 4 pixels"),
        ([0], np.zeros((1, 3, 2), np.float32), "size of the mask"),
        ([0, 1], np.zeros((1, 2, 2), np.float32), "one map a class"),
        ([20], np.zeros((1, 2, 2), np.float32), "not all 0..19"),
        ([1, 1], np.zeros((2, 2, 2), np.float32), "repeat a class"),
    ],
)
def test_bad_scores_are_named(classes: list[int], scores: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ThresholdCurve([0.1], 20).add(np.zeros((2, 2), np.uint8), classes, scores, image_id="a")


def test_nothing_counted() -> None:
    with pytest.raises(DataError, match="no pixel"):
        ThresholdCurve([0.1], 20).best()


def test_bad_ranges() -> None:
    with pytest.raises(DataError, match="do not make a range"):
        threshold_range(0, 1, 0)
