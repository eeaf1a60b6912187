"""The files of one round: features of the network before it, and the clusters made from them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, with_config
from torch import nn
from typing_extensions import TypedDict

from wsseg_cli.data import tensor_files
from wsseg_cli.data.images import read_image
from wsseg_cli.disk.records import OPEN, read_record
from wsseg_cli.disk.writing import write_text
from wsseg_cli.engine import processes
from wsseg_cli.engine.each import Work, Workers, each, share
from wsseg_cli.errors import CheckpointError, DataError
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.ops.views import view
from wsseg_cli.types import ClassNames, FloatArray, IntArray, Normalization, Sample

from .subcategory import assignments, cluster


@with_config(OPEN)
class _Clusters(TypedDict):
    fingerprint: str
    clusters: dict[str, dict[str, Annotated[int, Field(ge=0, lt=1 << 31)]]]


_REMEDY = "delete it and run again"

FEATURES, CLUSTERS = "features.safetensors", "clusters.json"


@dataclass(frozen=True)
class Round:
    """One round: its folder, what identifies it, the images, and how they are clustered.

    Attributes:
        folder: holds features.safetensors and clusters.json, and the network unless it is the last round's.
        fingerprint: files with another fingerprint are recreated.
        number: counted from 1.
        samples: the images, each with a label.
        classes: names of the foreground classes.
        subcategories: number of clusters per class.
        restarts: number of times that k-means starts.
    """

    folder: Path
    fingerprint: str
    number: int
    samples: Sequence[Sample]
    classes: ClassNames
    subcategories: int
    restarts: int

    def clusters(self, backbone: nn.Module, normalization: Normalization, workers: int = 0) -> IntArray:
        """Return the cluster of each image in each class (M, C), from the folder or from the features of `backbone`."""
        found = processes.agree(self._read() if processes.is_main() else None)
        if found is None:
            features = self._features(backbone, normalization, workers)
            error: Exception | None = None
            if processes.is_main():
                try:
                    self._write(features)
                except DataError as failure:
                    error = failure
            processes.agree(error)
            found = processes.agree(self._read() if processes.is_main() else None)
        return self._array(found)

    def _features(self, backbone: nn.Module, normalization: Normalization, workers: int) -> FloatArray:
        path = self.folder / FEATURES
        kept = processes.agree(
            _kept_features(path, self.fingerprint, len(self.samples)) if processes.is_main() else None
        )
        if kept is not None:
            return np.asarray(kept)
        features = pooled_features(
            backbone, self.samples, normalization, workers=workers, label=f"features {self.number}"
        )
        if processes.is_main():
            header = {"fingerprint": self.fingerprint, "images": [s.image_id for s in self.samples]}
            tensor_files.write_tensors(path, {"features": features}, header)
        return features

    def _write(self, features: FloatArray) -> None:
        labels = multi_hot_labels(self.samples, len(self.classes))
        few = [name for name, n in zip(self.classes, labels.sum(0), strict=True) if n < self.subcategories]
        if few:
            warnings.warn(
                f"fewer than {self.subcategories} images of {', '.join(few)}: as many clusters as images", stacklevel=2
            )
        clusters = cluster(features, labels, self.subcategories, restarts=self.restarts)
        images = list(dict.fromkeys(assignments(labels)[1].tolist()))
        content = {
            "fingerprint": self.fingerprint,
            "round": self.number,
            "subcategories": self.subcategories,
            "images_in_cluster": {
                name: np.bincount(column[column >= 0], minlength=self.subcategories).tolist()
                for name, column in zip(self.classes, clusters.T, strict=True)
            },
            "clusters": {
                self.samples[i].image_id: {self.classes[c]: int(clusters[i, c]) for c in self.samples[i].labels}
                for i in images
            },
        }
        write_text(self.folder / CLUSTERS, json.dumps(content, ensure_ascii=False, indent=1))

    def _read(self) -> dict[str, dict[str, int]] | None:
        content = read_record(self.folder / CLUSTERS, _Clusters, _REMEDY, CheckpointError)
        return content["clusters"] if content and content["fingerprint"] == self.fingerprint else None

    def _array(self, found: dict[str, dict[str, int]]) -> IntArray:
        clusters = np.full((len(self.samples), len(self.classes)), -1, np.int64)
        for row, sample in enumerate(self.samples):
            for name, number in found.get(sample.image_id, {}).items():
                if number >= self.subcategories or name not in self.classes:
                    said = f"cluster {number} of {name!r:.80}, which has {self.subcategories} or is no class"
                    raise CheckpointError(f"{self.folder / CLUSTERS}: {said}; {_REMEDY}")
                clusters[row, self.classes.label(name)] = number
        return clusters


def multi_hot_labels(samples: Sequence[Sample], num_classes: int) -> FloatArray:
    """Return the image labels (M, C) of the samples."""
    labels = np.zeros((len(samples), num_classes), np.float32)
    for row, sample in enumerate(samples):
        labels[row, list(sample.labels)] = 1.0
    return labels


def pooled_features(
    backbone: nn.Module, samples: Sequence[Sample], normalization: Normalization, *, workers: int = 0, label: str = ""
) -> FloatArray:
    """Return the mean of the last feature map of each image at its own size, (M, D); several processes share the work.

    Raises:
        DataError: images cannot be read; all that were met are named.
    """
    by_id = {sample.image_id: sample for sample in samples}
    device = next(backbone.parameters()).device
    helpers = Workers(workers) if device.type == "cpu" else Workers()
    done = each(share(list(by_id)), _extractor, (backbone.eval(), by_id, normalization), workers=helpers, label=label)
    failures: dict[str, str] = dict(processes.gather_objects(list(done.failures.items())))
    if failures:
        named = "; ".join(f"{image_id}: {why}" for image_id, why in list(failures.items())[:5])
        raise DataError(f"features of {len(failures)} of {len(samples)} images could not be computed: {named}")
    features: dict[str, FloatArray] = dict(processes.gather_objects(list(done.results.items())))
    return np.stack([features[image_id] for image_id in by_id])


def _extractor(backbone: nn.Module, samples: dict[str, Sample], normalization: Normalization) -> Work:
    device = next(backbone.parameters()).device

    @torch.no_grad()
    def feature(image_id: str) -> FloatArray:
        sample = samples[image_id]
        image = view(read_image(sample.image, sample.orientation), 1.0, normalization)
        return global_average(backbone(image[None].to(device))["conv6"])[0].float().cpu().numpy()

    return feature


def _kept_features(path: Path, fingerprint: str, images: int) -> Any:
    refusal = tensor_files.Refusal(_REMEDY, CheckpointError)
    try:
        header = tensor_files.read_header(path, refusal)
        if header.values.get("fingerprint") != fingerprint:
            return None
        features = tensor_files.read_tensors(path, "np", refusal, ["F32"])[0].get("features")
    except FileNotFoundError:
        return None
    if features is None or features.ndim != 2 or len(features) != images or not np.isfinite(features).all():
        raise CheckpointError(f"{path} does not hold the features of {images} images; {_REMEDY}")
    return features
