"""Sub-categories of one round: k-means within each class on one feature per image; no files, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from wsseg_cli.types import FloatArray, IntArray


def assignments(labels: npt.NDArray[np.float32]) -> tuple[IntArray, IntArray]:
    """Return the (class, image) pairs of multi-hot labels (M, C), class by class and in the order of the images."""
    classes, images = np.nonzero(np.asarray(labels).T)
    return classes.astype(np.int64), images.astype(np.int64)


def cluster(
    features: FloatArray,
    labels: npt.NDArray[np.float32],
    subcategories: int,
    *,
    restarts: int = 10,
    iterations: int = 300,
    seed: int = 0,
) -> IntArray:
    """Return the cluster of each image within each of its classes, (M, C), -1 where it does not have the class.

    SC-CAM, Chang et al., CVPR 2020, section 3.3: Euclidean k-means with k-means++ on raw features of whole images. An
    image of several classes is clustered once in each, always with the same feature.

    features: (M, D); labels: (M, C) multi-hot; subcategories: k, or the number of the class's images if there are
    fewer. It runs in one thread, so the same features give the same clusters.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    clusters = np.full(labels.shape, -1, np.int64)
    with threadpool_limits(1):
        for number, column in enumerate(np.asarray(labels).T):
            images = np.flatnonzero(column)
            count = min(subcategories, len(np.unique(features[images], axis=0)))
            if count:
                means = KMeans(count, init="k-means++", n_init=restarts, max_iter=iterations, random_state=seed)
                clusters[images, number] = means.fit_predict(features[images])
    return clusters


def multi_hot(clusters: IntArray, subcategories: int) -> FloatArray:
    """Return the labels (…, C*k) of clusters (…, C): a 1 at c*k + cluster for each class c present."""
    hot = np.arange(subcategories) == np.asarray(clusters)[..., None]
    return hot.reshape(*hot.shape[:-2], -1).astype(np.float32)


class SubcategoryLabels(Mapping[str, FloatArray]):
    """The sub-category labels (C*k,) of each image, made on request: all of COCO's would be 250 MB as arrays."""

    def __init__(self, image_ids: Sequence[str], clusters: IntArray, subcategories: int) -> None:
        self.rows = {image_id: row for row, image_id in enumerate(image_ids)}
        self.clusters = clusters.astype(np.int16)
        self.subcategories = subcategories

    def __getitem__(self, image_id: str) -> FloatArray:
        return multi_hot(self.clusters[self.rows[image_id]], self.subcategories)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)
