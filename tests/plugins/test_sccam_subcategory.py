from __future__ import annotations

import pickle

import numpy as np
from golden_cases import Case, golden
from wsseg_sccam.subcategory import SubcategoryLabels, assignments, cluster, multi_hot


@golden("sccam_subcategory_labels")
def test_labels(case: Case) -> None:
    a, labels = case.arguments, case.inputs["label"].astype(np.float32)
    k = a["k_cluster"]
    clusters = cluster(
        case.inputs["feature"], labels, k, restarts=a["n_init"], iterations=a["max_iter"], seed=a["random_state"]
    )
    classes, images = assignments(labels)
    for number in range(labels.shape[1]):  # the numbering within a class is free
        mine = classes == number
        theirs = case.outputs["cluster_labels"][case.outputs["class_of_cluster_label"] == number]
        pairs = set(zip(clusters[images[mine], number].tolist(), theirs.tolist(), strict=True))
        names = dict(pairs)
        assert len(names) == len(pairs) == len(set(names.values()))
        clusters[images[mine], number] = [names[c] for c in clusters[images[mine], number].tolist()]
    order = list(dict.fromkeys(images.tolist()))
    kinds = {name: want.dtype for name, want in case.outputs.items()}
    got = {
        "order": np.array(order),
        "label_sub": multi_hot(clusters, k)[order],
        "label_parent": labels[order],
        "cluster_labels": clusters[images, classes],
        "class_of_cluster_label": classes,
        "image_of_cluster_label": images,
    }
    case.check_all({name: value.astype(kinds[name]) for name, value in got.items()})


def test_few_and_equal_images() -> None:
    features = np.array([[0.0, 0], [0, 0], [5, 5], [1, 0]], np.float32)
    labels = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]], np.float32)
    clusters = cluster(features, labels, 4)
    assert clusters[0, 0] == clusters[1, 0] != clusters[2, 0]
    assert clusters[2, 1] == 0
    assert (clusters[:, 2] == -1).all() and (clusters[3] == -1).all()


def test_same_features_same_clusters() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(80, 12)).astype(np.float32), rng.integers(0, 2, (80, 3)).astype(np.float32)
    np.testing.assert_array_equal(cluster(features, labels, 5), cluster(features, labels, 5))


def test_labels_are_made_when_asked_for() -> None:
    made = SubcategoryLabels(["a", "b/c"], np.array([[1, -1], [-1, 0]]), 3)
    np.testing.assert_array_equal(made["a"], [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))["b/c"], [0, 0, 0, 1, 0, 0])
    assert list(made) == ["a", "b/c"] and len(made) == 2 and made["a"].dtype == np.float32
