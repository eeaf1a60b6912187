"""`wsseg convert weights`: a released checkpoint to safetensors under our names, with every tensor accounted for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..data.tensor_files import write_tensors
from ..engine.checkpoint import read_tensors
from ..errors import CheckpointError, RecipeError
from ..foreign import caffemodel, params, pth
from ..nets.weights import guess_family, rename
from .networks import BACKBONE, Network, heads, networks

State = Literal["fits", "wrong shape", "missing", "extra", "left out"]
"""fits: in the network by name and shape. missing: only the network has it. extra: written, but not in the network.
left out: not written, since none of our networks has it (an ImageNet classifier, a copy)."""

_SHOWN = 12
_IMAGENET = "ImageNet labels"
_IMAGENET_CLASSES = 1000
_UNKNOWN = "unknown; name it with --saw"
_REST = "the rest is unknown; name it with --saw"
_CAFFE = ("caffe", "deeplab-vgg16", "deeplab-vgg16-aspp")
# families with a single published backbone without classifier, trained on ImageNet
_ONLY_IMAGENET = ("mxnet", "psa", *_CAFFE)
_CLASSIFIER = re.compile(r"(fc|_fc|classifier\.6)\.weight")
# fc6 and fc7 of the ImageNet classifier, with which DeepLab on VGG-16 starts
_START_OF_CAFFE = re.compile(r"head\.branch(es\.\d)?\.fc[67]\.(weight|bias)")
# of the segmentation networks of torchvision, OpenMMLab and segmentation_models_pytorch
_MASK_HEAD = re.compile(r"classifier\.\d+\.|decode_head\.|aux_|auxiliary_head\.|segmentation_head\.")


@dataclass(frozen=True)
class Key:
    """One tensor: our name, its state, its shape, its name in the file, or the names of the parts that it joins."""

    state: State
    name: str
    shape: tuple[int, ...]
    published: str


@dataclass(frozen=True)
class ConvertedWeights:
    """The outcome of a conversion.

    Attributes:
        out: the new file.
        family: whose checkpoint it is.
        guessed: whether the family was inferred from the names.
        networks: networks that the tensors fill, or the one that they fit best.
        saw: what the weights were trained on.
        keys: every tensor of file and network.
        inside: the keys that the tensors were under in the file, such as "model_state_dict"; "" for none.
    """

    out: Path
    family: str
    guessed: bool
    networks: list[Network]
    saw: str
    keys: list[Key]
    inside: str = ""

    @property
    def counts(self) -> Counter[str]:
        """Number of tensors in each state."""
        return Counter(key.state for key in self.keys)


def run(
    source: Path,
    out: Path,
    *,
    family: str | None = None,
    saw: str | None = None,
    force: bool = False,
    about: Mapping[str, Any] | None = None,
) -> ConvertedWeights:
    """Convert a checkpoint; the kind of file is inferred from the suffix, and unknown suffixes mean PyTorch.

    family: a key of `nets.weights.FAMILIES`; by default inferred from the names. saw: what the weights were trained on,
    for every result that starts from them; by default what is known of the family. force: overwrite `out`.
    about: more values for the header, such as a licence.

    Raises:
        CheckpointError: the file cannot be read or is refused, the family is unclear, or its backbone is incomplete.
        RecipeError: `out` exists already, or is not a .safetensors file.
    """
    if out.suffix != ".safetensors":
        raise RecipeError(f"{out}: weights are written as .safetensors")
    if out.exists() and not force:
        raise RecipeError(f"{out} already exists; choose another name or add --force")
    found_in, inside = read_wrapped(source)
    published = {name: _plain(tensor) for name, tensor in found_in.items()}
    try:
        chosen = family or guess_family(published)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    tensors = rename(published, chosen)
    found = networks(tensors, chosen)
    _require_backbone(source, chosen, tensors, found)
    words = saw or has_seen(chosen, published, tensors, found)
    header = {
        **(about or {}),
        "saw": words,
        "source": source.name,
        "family": chosen,
        "backbone": found[0].backbone,
        "networks": [network.title for network in found if network.match.complete],
        "normalization": asdict(found[0].normalization) if found[0].normalization else None,
    }
    _write(out, tensors, header)
    keys = keys_of(published, tensors, found[0])
    return ConvertedWeights(out, chosen, family is None, found, words, keys, inside)


def read(source: Path) -> dict[str, Tensor]:
    """Return the tensors of a third-party file by their published names.

    Raises:
        CheckpointError: the file cannot be read, is refused, or is the result of a conversion.
    """
    return read_wrapped(source)[0]


def read_wrapped(source: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors as `read` does, and the keys that they are under in a PyTorch file; "" for none.

    Raises:
        CheckpointError: as `read`.
    """
    suffix = source.suffix.lower()
    if suffix == ".params":
        return params.read(source), ""
    if suffix == ".caffemodel":
        return caffemodel.read(source), ""
    if suffix == ".safetensors":
        tensors, header = read_tensors(source)
        if header:
            raise CheckpointError(f"{source} already has wsseg's names; a recipe's `weights` can name it as it is")
        return tensors, ""
    return pth.read_wrapped(source)


def has_seen(
    family: str, published: Mapping[str, Tensor], tensors: Mapping[str, Tensor], found: Sequence[Network]
) -> str:
    """Return what the weights of a family were trained on, as stated by every result that uses them.

    A file does not say which images it was trained on: the classes of a head are counted, not named, unless Caffe's
    layer is named after a data set. For a file unlike any published checkpoint the answer is that it is unknown.
    """
    own = heads(tensors)
    if not own or all(_START_OF_CAFFE.fullmatch(name) for name in own):
        return _backbone_has_seen(family, published)
    for word, name in (("coco", "COCO"), ("voc", "VOC")):
        if family in _CAFFE and any(word in part for part in published):
            return f"{_IMAGENET}, {name} pixel masks"
    complete = [network for network in found if network.match.complete]
    if found and not complete:  # a head from an unknown source
        return f"pixel masks; {_REST}" if any(_MASK_HEAD.match(name) for name in own) else _UNKNOWN
    counts = {network.classes for network in complete if network.classes is not None}
    classes = f" of {counts.pop()} classes" if len(counts) == 1 else ""
    names = {network.name for network in complete}
    if "deeplab v1_caffe" in names:
        return f"{_IMAGENET}, COCO pixel masks"  # the only published weights of this form
    if family == "deeplab-pytorch":
        return f"{_IMAGENET}, pixel masks{classes}"
    if all(name.startswith("head.") for name in own):
        return f"{_IMAGENET}, masks{classes} (the file does not say whether drawn by people)"
    extra = ", saliency maps" if family == "eps" else ""
    return f"{_IMAGENET}, image labels{classes}{extra}"


def _backbone_has_seen(family: str, published: Mapping[str, Tensor]) -> str:
    """Return what a backbone without our heads was trained on, by its classifier or the family's only such file."""
    if family in _ONLY_IMAGENET:
        return _IMAGENET
    classifier = next((tensor for name, tensor in published.items() if _CLASSIFIER.fullmatch(name)), None)
    if classifier is None:
        return _UNKNOWN  # such as self-supervised backbones
    return _IMAGENET if len(classifier) == _IMAGENET_CLASSES else f"image labels of {len(classifier)} classes; {_REST}"


def keys_of(published: Mapping[str, Tensor], tensors: Mapping[str, Tensor], network: Network) -> list[Key]:
    """Return every tensor of the file and of the network, those that fit first."""
    before = _names_before(published, tensors)
    match = network.match
    wrong = {name for name, _, _ in match.wrong_shape}
    extra = set(match.extra)
    keys = []
    for name, tensor in tensors.items():
        state: State = "wrong shape" if name in wrong else "extra" if name in extra else "fits"
        keys.append(Key(state, name, tuple(tensor.shape), ", ".join(before[name])))
    written = {id(published[name]) for names in before.values() for name in names}
    keys += [Key("missing", name, (), "") for name in match.missing]
    keys += [Key("left out", "", tuple(t.shape), name) for name, t in published.items() if id(t) not in written]
    order: dict[str, int] = {"fits": 0, "left out": 1, "extra": 2, "missing": 3, "wrong shape": 4}
    return sorted(keys, key=lambda key: order[key.state])


def _names_before(published: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return by our names those in the file: of the same tensor or its transpose, or of the parts joined in it."""
    same = {id(tensor): name for name, tensor in published.items()}
    turned = {tensor.data_ptr(): name for name, tensor in published.items()}
    found = {name: same.get(id(t)) or turned.get(t.data_ptr()) for name, t in tensors.items()}
    rest = {name: t for name, t in published.items() if name not in found.values() and t.ndim and t.numel()}
    return {name: [one] if one is not None else _parts(tensors[name], rest) for name, one in found.items()}


def _parts(joined: Tensor, rest: dict[str, Tensor]) -> list[str]:
    """Take out of `rest` the tensors that stand one after the other in a joined one; return their names."""
    names: list[str] = []
    while joined.ndim and len(joined):
        found = (n for n, t in rest.items() if t.shape[1:] == joined.shape[1:] and torch.equal(t, joined[: len(t)]))
        if (name := next(found, None)) is None:
            break
        joined = joined[len(rest.pop(name)) :]
        names.append(name)
    return names


def _require_backbone(source: Path, family: str, tensors: Mapping[str, Tensor], found: list[Network]) -> None:
    if not found:
        names = ", ".join(sorted(tensors)[:5])
        raise CheckpointError(
            f"{source}: as a checkpoint of {family} it matches none of our backbones ({names}, …); "
            "is --from the right family?"
        )
    match = found[0].match
    lines = [f"missing     {name}" for name in match.missing if name.startswith(BACKBONE)]
    lines += [f"wrong shape {n} {a}, expected {b}" for n, a, b in match.wrong_shape if n.startswith(BACKBONE)]
    if lines:
        shown = "\n  ".join(lines[:_SHOWN]) + (f"\n  … and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else "")
        raise CheckpointError(
            f"{source}: as a checkpoint of {family} it does not fill the backbone of {found[0].title}; nothing is "
            f"written:\n  {shown}"
        )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def _write(out: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    # safetensors refuses two names for one tensor: each needs its own memory
    own = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    write_tensors(out, own, header)
