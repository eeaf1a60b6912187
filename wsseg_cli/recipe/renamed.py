"""Options that had other names before 0.1.0, and their present names, in recipes, run records and model files."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from ..errors import PluginError
from ..plugin import discovery
from .sections import PLUGIN

RENAMED = {
    "rates": "lr_multipliers",
    "class_start": "head_init",
    "head_rate": "head_lr_multiplier",
    "scg_taps": "scg_feature_maps",
}
"""Old name of an option: its name now."""


def new_name(old: str, known: Container[str]) -> str | None:
    """Return the present name of a renamed option, if the plugin with the `known` options has one of that name."""
    name = RENAMED.get(old)
    return name if name is not None and old not in known and name in known else None


def with_new_names(options: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    """Return a plugin's options under their present names; `known` are the plugin's own."""
    return {new_name(key, known) or key: value for key, value in options.items()}


def modernise(data: Mapping[str, Any]) -> None:
    """Rename the old options in the values of a recipe that an older run keeps."""
    pseudo = data.get("pseudo")
    if isinstance(pseudo, dict) and "confidence" in pseudo:
        below = pseudo.pop("confidence")
        pseudo["ignore"] = None if below is None else {"below": below, "only_training": True}
    for group, key, inner in PLUGIN.values():
        section = data.get(key)
        choice = section.get(inner) if isinstance(section, dict) and inner else section
        options = choice.get("options") if isinstance(choice, dict) else None
        if isinstance(options, dict) and not RENAMED.keys().isdisjoint(options):
            try:
                known = discovery.load(group, str(choice.get("name"))).Options.model_fields  # type: ignore[union-attr]
            except PluginError:
                continue
            choice["options"] = with_new_names(options, known)  # type: ignore[index]


def same_names(record: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run recorded of a stage, with old options named as in `node`, which is what is asked now."""
    asked, now = record.get("asks", {}), node.get("asks", {})
    asks = {_address(key, now): value for key, value in asked.items()}
    reads = {
        source: same_names(entry, node.get("reads", {}).get(source, {})) if "asks" in entry else entry
        for source, entry in record.get("reads", {}).items()
    }
    return {"asks": asks, "reads": reads}


def _address(key: str, now: Container[str]) -> str:
    before, dot, name = key.rpartition(".options.")
    address = f"{before}{dot}{RENAMED.get(name, name)}"
    return address if dot and key not in now and address in now else key
