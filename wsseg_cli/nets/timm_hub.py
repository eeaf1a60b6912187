"""Where timm keeps the pretrained weights of a network, and under which licence; nothing is fetched here."""

from __future__ import annotations

from ..types import HubFile

_SEEN = {"in1k": "ImageNet", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k"}


def hub_file(name: str) -> HubFile | None:
    """Return the file of weights that timm's `name` stands for, with its tag or the default one, if there is any."""
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
    """Return what weights of this tag have seen: timm's tags name the lists of images whose labels they learnt."""
    lists = [_SEEN[word] for word in tag.split("_") if word in _SEEN]
    return f"{' and '.join(lists)} labels" if lists else f"what timm's tag {tag} says"
