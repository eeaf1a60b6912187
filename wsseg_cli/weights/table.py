"""The table of published start weights: who published them, as which file, trained on what. Nothing is opened here.

A new row needs nothing more: `wsseg weights get` and `weights:` in a recipe find it by its name.

What is verified: torchvision's current addresses and sizes are those of the installed torchvision (a test compares
them). No other address or size has been tried. If `Source.checked_by` is empty, no checksum is known: such a file is
recognised only by the names and shapes of its tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CheckpointError, near


@dataclass(frozen=True)
class Source:
    """One file that holds the weights, as its authors published it.

    Attributes:
        file: its name.
        mebibytes: its size, rounded; 0 if not known.
        address: for a plain download; "" if only a page leads to it.
        page: the authors' page, for people.
        sha256: of the file; for files that carry its beginning in their name, that beginning; "" if not known.
        member: the file inside a zip archive at `address` that is `file`; "" for a plain file.
        sha1: the same as `sha256`, of `file` itself, if the authors give this one.
    """

    file: str
    mebibytes: int = 0
    address: str = ""
    page: str = ""
    sha256: str = ""
    member: str = ""
    sha1: str = ""

    @property
    def checked_by(self) -> str:
        """How a download of this file is verified: "sha256", "sha256 begins …", "sha1", or "" if it cannot be."""
        if self.sha256:
            return "sha256" if len(self.sha256) == 64 else f"sha256 begins {self.sha256}"
        return "sha1" if self.sha1 else ""


@dataclass(frozen=True)
class Published:
    """Start weights by the name that a recipe gives as `weights:`.

    Attributes:
        name: that name; the file is NAME.safetensors.
        backbone: of ours that they fit.
        sources: files that hold them, the one to fetch first.
        saw: the data that they were trained on, for the protocol of every result.
        licence: of the code that publishes them, in words; the weights alone carry none.
        family: of the name map, if the names in the file do not tell it.
        mark: a tensor, by our name, without which a file is not these weights.
        note: what a user should know before choosing them.
    """

    name: str
    backbone: str
    sources: tuple[Source, ...]
    saw: str = "ImageNet labels"
    licence: str = "not known; see the page"
    family: str | None = None
    mark: str = ""
    note: str = ""

    @property
    def plain(self) -> Source | None:
        """The first source with a plain address, None if there is only a page."""
        return next((source for source in self.sources if source.address), None)


_TORCHVISION = "https://download.pytorch.org/models/"
_TORCHVISION_PAGE = "https://docs.pytorch.org/vision/stable/models.html"
_ONESTAGE = "https://download.visinf.tu-darmstadt.de/data/2020-cvpr-araslanov-1-stage-wseg/models/"
_ONESTAGE_PAGE = "https://github.com/visinf/1-stage-wseg"
_DEEPLAB_PAGE = "http://liangchiehchen.com/projects/Init%20Models.html"


def _torchvision(file: str, mebibytes: int) -> Source:
    """Return a file of torchvision, whose name ends with the beginning of its SHA-256."""
    digest = file.removesuffix(".pth").rpartition("-")[2]
    return Source(file, mebibytes, _TORCHVISION + file, _TORCHVISION_PAGE, sha256=digest)


_ROWS = (
    Published(
        "resnet38_imagenet",
        "resnet38",
        (
            Source(
                "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth",
                402,
                _ONESTAGE + "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth",
                _ONESTAGE_PAGE,
            ),
            Source("ilsvrc-cls_rna-a1_cls1000_ep-0001.params", page="https://github.com/itijyou/ademxapp"),
        ),
        note="the ResNet-38 of PSA, SEAM, EPS, PPC, SC-CAM and the single-stage system; MXNet's file holds the same",
    ),
    Published(
        "resnet50_imagenet",
        "resnet50",
        (_torchvision("resnet50-0676ba61.pth", 98), _torchvision("resnet50-19c8e357.pth", 98)),
        licence="BSD-3-Clause (torchvision)",
        note="torchvision's IMAGENET1K_V1; papers name the older file resnet50-19c8e357.pth",
    ),
    Published(
        "resnet101_imagenet",
        "resnet101",
        (_torchvision("resnet101-63fe2227.pth", 171), _torchvision("resnet101-5d3b4d8f.pth", 170)),
        licence="BSD-3-Clause (torchvision)",
        mark="backbone.conv1.weight",
        note="torchvision's IMAGENET1K_V1; papers name the older file resnet101-5d3b4d8f.pth",
    ),
    Published(
        "resnet101s_imagenet",
        "resnet101",
        (
            Source(
                "resnet101s-03a0f310.pth",
                address="https://s3.us-west-1.wasabisys.com/encoding/models/resnet101s-03a0f310.zip",
                page="https://github.com/zhanghang1989/PyTorch-Encoding",
                member="resnet101s-03a0f310.pth",
                sha1="03a0f310d6447880f1b22a83bd7d1aa7fc702c6e",
            ),
        ),
        licence="MIT (PyTorch-Encoding)",
        mark="backbone.conv1.0.weight",
        note="ResNet-101 with a stem of three convolutions: backbone_options {stem: deep}",
    ),
    Published(
        "resnet101_deeplab_init",
        "resnet101",
        (
            Source(
                "deeplabv1_resnet101-coco.pth",
                address="https://github.com/kazuto1011/deeplab-pytorch/releases/download/v1.0/deeplabv1_resnet101-coco.pth",
                page="https://github.com/kazuto1011/deeplab-pytorch",
            ),
            Source("init.caffemodel", page=_DEEPLAB_PAGE),
        ),
        saw="ImageNet labels, COCO pixel masks",
        mark="head.classifier.weight",
        note="has seen pixel masks: results that start from it are not supervised by image labels alone",
    ),
    Published(
        "vgg16_imagenet",
        "vgg16",
        (_torchvision("vgg16-397923af.pth", 528),),
        licence="BSD-3-Clause (torchvision)",
        note="convolutions alone: backbone_options {fc6_dilation: null, normalization: imagenet}",
    ),
    Published(
        "vgg16_20M",
        "vgg16",
        (Source("vgg16_20M.pth", 79, _ONESTAGE + "vgg16_20M.pth", _ONESTAGE_PAGE),),
        family="caffe",
        mark="backbone.fc6.weight",
        note="of the single-stage authors, who feed it RGB: backbone_options {normalization: imagenet}",
    ),
    Published(
        "vgg16_caffe",
        "vgg16",
        (Source("vgg16_20M.caffemodel", page=_DEEPLAB_PAGE),),
        family="caffe",
        mark="backbone.fc6.weight",
        note="of the DeepLab authors: PSA's VGG-16",
    ),
    Published(
        "vgg16_deeplab_init",
        "vgg16",
        (Source("init.caffemodel", page=_DEEPLAB_PAGE), Source("vgg16_20M.caffemodel", page=_DEEPLAB_PAGE)),
        family="deeplab-vgg16-aspp",
        mark="head.branches.0.fc6.weight",
        note="of the DeepLab authors, fc6 and fc7 of the classifier in every branch of DeepLab's ASPP",
    ),
    Published(
        "psa_resnet38_cls",
        "resnet38",
        (Source("res38_cls.pth", page="https://github.com/jiwoon-ahn/psa"),),
        saw="ImageNet labels, VOC image labels",
        licence="MIT (PSA)",
        family="psa",
        mark="fc8.weight",
        note="PSA's classifier, the feature extractor of SC-CAM's first round",
    ),
)

TABLE: dict[str, Published] = {row.name: row for row in _ROWS}
"""Published start weights by name."""


def published(name: str) -> Published:
    """Return the row of this name.

    Raises:
        CheckpointError: there is no such row.
    """
    if name not in TABLE:
        raise CheckpointError(f"no published weights {name!r}{near(name, TABLE)}; `wsseg weights list` shows them")
    return TABLE[name]
