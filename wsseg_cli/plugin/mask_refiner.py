"""What a mask refiner is: the last step of the stage pseudo. No torch at import."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PluginError
from ..types import ByteArray, ClassNames, Sample
from .options import OptionsT, Plugin


class MaskRefiner(Plugin[OptionsT]):
    """Makes pseudo-masks better by what it knows of each image; learns nothing. The last step of the stage pseudo."""

    def __init__(self, options: OptionsT, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    def missing(self, image_ids: Sequence[str] = ()) -> list[str]:
        """Return what is not there of the files that it reads, a line each, before anything is computed.

        image_ids: of the images that it is to work on, as far as they are known.
        """
        return []

    def refine_mask(self, sample: Sample, mask: ByteArray) -> ByteArray:
        """Return the refined (H, W) uint8 mask of one image, values as in `ClassNames`; `mask` may be written into.

        Raises:
            DataError: what it reads of the image is broken, or does not fit it.
        """
        raise PluginError(f"{type(self).__name__} does not refine masks")
