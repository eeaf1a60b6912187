"""`wsseg` with SC-CAM's clusters dealt out at random within each class: do the clusters say anything?

    VOC_ROOT=… python benchmarks/shuffled_clusters.py run --recipe sccam_voc_lite --run runs/sccam_shuffled --to cam

Words are those of `wsseg`. Every class keeps the sizes of its clusters; which image is in which is chance. Where this
trains as good a classifier as the recipe does, its sub-categories add nothing but more outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from wsseg_sccam import rounds

from wsseg_cli.main import main
from wsseg_cli.types import IntArray

made_of_features = rounds.cluster


def shuffled(*given: Any, **options: Any) -> IntArray:
    """Return what `cluster` does, (M, C), with the images of each class exchanged."""
    clusters = made_of_features(*given, **options)
    random = np.random.default_rng(0)
    for column in clusters.T:
        images = column >= 0
        column[images] = random.permutation(column[images])
    return clusters


rounds.cluster = shuffled

if __name__ == "__main__":
    main()
