"""What a mask refiner is: the last step of the stage pseudo. No torch at import."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PluginError
from ..types import ByteArray, ClassNames, Sample
from .options import OptionsT, Plugin


class MaskRefiner(Plugin[OptionsT]):
    """Improves pseudo-masks by what it knows about each image; learns nothing. The last step of the stage pseudo."""

    def __init__(self, options: OptionsT, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    def missing(self, image_ids: Sequence[str] = ()) -> list[str]:
        """Return which of the files that it reads are missing, one line each, before anything is computed.

        image_ids: the images that it is to work on, as far as they are known.
        """
        return []

    def refine_mask(self, sample: Sample, mask: ByteArray) -> ByteArray:
        """Return the refined (H, W) uint8 mask of one image, values as in `ClassNames`; `mask` may be modified.

        Raises:
            DataError: what it reads about the image is broken, or does not match it.
        """
        raise PluginError(f"{type(self).__name__} does not refine masks")
