"""`weights: hub`: the file that a hub has for a network's backbone, fetched once however many processes run."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from ..errors import CheckpointError, WssegError
from ..types import HubFile
from ..weights import hub
from . import processes
from .progress import DownloadLine


def file_of(model: nn.Module) -> HubFile:
    """Return the file that `weights: hub` means for a network.

    Raises:
        CheckpointError: no hub has weights for its backbone.
    """
    backbone = getattr(model, "backbone", None)
    if backbone is None or not hasattr(backbone, "hub_file"):
        name = type(model if backbone is None else backbone).__name__
        raise CheckpointError(f"weights: hub: no hub has weights for {name}; `wsseg weights list` shows others")
    found: HubFile = backbone.hub_file()
    return found


def cached(model: nn.Module) -> Path | None:
    """Return the local copy of that file, None if it has not been fetched yet; raises as `file_of`."""
    return hub.cached(file_of(model))


def fetched(model: nn.Module, quiet: bool = True) -> tuple[Path, str]:
    """Return the local copy of that file and what a protocol says of the weights; see `weights.hub.fetch`."""
    file = file_of(model)
    with DownloadLine("fetch", quiet=quiet) as line:
        path = hub.fetch(file, note=None if quiet else _note, show=line)
    return path, f"{file.saw} ({file.title}); licence: {file.licence}"


def bring(model: nn.Module, quiet: bool) -> None:
    """Fetch the file in the main process, so that the others find it; an error in main is raised in all of them."""
    outcome: WssegError | None = None
    if processes.is_main():
        try:
            fetched(model, quiet)
        except WssegError as error:
            outcome = error
    processes.agree(outcome)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
