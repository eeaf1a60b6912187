"""SEPL as a mask refiner: proposals from a folder, one file per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from wsseg_cli.data.proposals import ProposalStore
from wsseg_cli.plugin import ByteArray, DataError, MaskRefiner, PluginOptions, PositiveShare, Sample, Share

from .sepl import Rule, vote


class SEPLOptions(PluginOptions):
    """Options of sepl; the defaults are the published rule."""

    folder: Path = Field(description="proposals, ID.json, by `wsseg convert proposals` or as SAM writes them")
    rule: Rule = Field("max_iou_imp2", description="the published variant")
    in_class: Share = Field(0.5, description="share of a proposal in the class that must be exceeded")
    of_class: Share = Field(0.85, description="max_iou_imp2: share of the class in a proposal that suffices")
    max_share: PositiveShare | None = Field(
        None,
        description="ours, against a scene-wide proposal that paints the whole image: those of more than this share of "
        "the image do not vote; null: all do, as published",
    )
    keep_ignored: bool = Field(False, description="255 stays where no proposal was taken; published: background")


class SEPL(MaskRefiner[SEPLOptions]):
    """Mask proposals that agree with a class of the pseudo-mask take its label."""

    paper = "Chen et al., arXiv 2305.05803, https://arxiv.org/abs/2305.05803"

    @property
    def _store(self) -> ProposalStore:
        return ProposalStore(self.options.folder.expanduser())

    def missing(self, image_ids: Sequence[str] = ()) -> list[str]:
        """Return what is missing: the folder, or files of images, one line each."""
        store = self._store
        if not store.folder.is_dir():
            return [f"folder: no such folder {store.folder}; `wsseg convert proposals` writes one"]
        return [f"no proposals of image {i!r}: {store.path(i)}" for i in image_ids if not store.path(i).is_file()]

    def refine_mask(self, sample: Sample, mask: ByteArray) -> ByteArray:
        """Return the mask after the vote.

        Raises:
            DataError: the image's proposals are missing, broken or of another size.
        """
        o = self.options
        proposals = self._store.read(sample.image_id)
        height, width = mask.shape
        if len(proposals) and proposals.size != (height, width):
            found = f"{proposals.size[1]}x{proposals.size[0]}"
            turned = "; one of the two has the photo's EXIF turn" if proposals.size == (width, height) else ""
            path = self._store.path(sample.image_id)
            raise DataError(f"{path}: proposals of {found} pixels, the mask has {width}x{height}{turned}")
        if not len(proposals):
            proposals = type(proposals).from_counts((height, width), [])
        return vote(
            mask,
            proposals,
            len(self.classes),
            o.rule,
            in_class=o.in_class,
            of_class=o.of_class,
            max_share=o.max_share,
            keep_ignored=o.keep_ignored,
        )
