"""Files that a hub holds, for `weights: hub`: taken from the hub's own cache, or fetched into it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError, WssegError
from ..types import HubFile
from .download import Show, download, require_hash

Note = Callable[[str], None]
"""Called with a line for people before something is fetched."""


def fetch(file: HubFile, *, note: Note | None = None, show: Show | None = None) -> Path:
    """Return the local copy of a hub's file; only what is not in the hub's cache is fetched.

    The cache of the Hugging Face hub is under HF_HOME, that of torchvision under TORCH_HOME, as usual.

    Raises:
        CheckpointError: it is not cached and cannot be fetched; the message says how to get it by hand.
        WssegError: the disk is full.
    """
    size = f"{file.mebibytes:.0f} MiB, " if file.mebibytes else ""

    def told() -> None:
        if note:
            note(f"fetching {file.title} ({size}licence: {file.licence})")

    return _of_repository(file, told) if file.repository else _of_address(file, told, show)


def cached(file: HubFile) -> Path | None:
    """Return the local copy of a hub's file, None if it has not been fetched."""
    if file.repository:
        import huggingface_hub

        found = huggingface_hub.try_to_load_from_cache(file.repository, file.name)
        return Path(found) if isinstance(found, str) else None
    path = torch_cache() / file.name
    return path if path.is_file() else None


def torch_cache() -> Path:
    """Return where torchvision keeps the weights that it fetches."""
    from torch.hub import get_dir

    return Path(get_dir()) / "checkpoints"


def _of_address(file: HubFile, told: Callable[[], None], show: Show | None) -> Path:
    path = torch_cache() / file.name
    if cached(file):
        require_hash(path, file.sha256, str(path))
        return path
    told()
    try:
        return download(file.address, path, sha256=file.sha256, show=show)
    except CheckpointError as error:
        raise CheckpointError(
            f"weights: hub: {error}\n"
            f"  the file: {_described(file)}\n"
            f"  on a machine with a network: curl -LO {file.address}\n"
            f"  then put it here as {path} (TORCH_HOME moves that folder),\n"
            f"  or convert it and name the result: wsseg convert weights {file.name} start.safetensors; "
            "weights: start.safetensors"
        ) from error


def _of_repository(file: HubFile, told: Callable[[], None]) -> Path:
    import huggingface_hub
    from huggingface_hub.utils import logging

    if there := cached(file):
        return there
    told()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # its five lines about as many attempts
    try:
        return Path(huggingface_hub.hf_hub_download(file.repository, file.name, library_name="wsseg"))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WssegError(f"the disk is full; make room, or export HF_HOME=DIR on another disk ({error})") from error
        home = Path(huggingface_hub.constants.HF_HOME)
        cause = error.__cause__ or error  # what the hub's library wraps says more
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise CheckpointError(
            f"weights: hub: {file.title} is not in the cache and cannot be fetched ({reason.rstrip('.')})\n"
            f"  the file: {_described(file)}\n"
            f"  on a machine with a network: hf download {file.repository} {file.name}\n"
            f"  then copy that machine's HF_HOME (~/.cache/huggingface) to {home}, or export HF_HOME=COPY,\n"
            f"  or copy the file alone and name it: weights: PATH/{file.name}"
        ) from error
    finally:
        logging.set_verbosity(before)


def _described(file: HubFile) -> str:
    size = f", {file.mebibytes:.0f} MiB" if file.mebibytes else ""
    return f"{file.title}{size}, licence: {file.licence}, has seen: {file.saw}"
