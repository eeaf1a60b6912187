"""Location and licence of timm's pretrained weights of a network; nothing is fetched here."""

from __future__ import annotations

from ..types import HubFile

_SEEN = {"in1k": "ImageNet", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k"}


def hub_file(name: str) -> HubFile | None:
    """Return the weights file for timm's `name`, with its tag or the default one; None if there is none."""
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    return HubFile(
        config.hf_hub_filename or "model.safetensors",
        repository=config.hf_hub_id,
        saw=_saw(config.tag or ""),
        licence=config.license or "none stated",
    )


def _saw(tag: str) -> str:
    """Return what weights of this tag were trained on: timm's tags name the image lists whose labels were used."""
    lists = [_SEEN[word] for word in tag.split("_") if word in _SEEN]
    return f"{' and '.join(lists)} labels" if lists else f"what timm's tag {tag} says"
