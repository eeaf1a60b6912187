"""Recipe files: where the built-in ones are, what a name means, and a file's values with --set applied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..disk.reading import read_text
from ..errors import RecipeError, near
from . import yaml_core
from .problems import show
from .yaml_core import Document


def folders() -> list[Path]:
    """Return where built-in recipes are: next to the source tree, or in the installed package."""
    here = Path(__file__).resolve().parents[1]
    # an editable install leaves a copy in the package that goes stale, so the source tree comes first
    beside, packaged = here.parent / "recipes", here / "recipes"
    return [beside] if (here.parent / "pyproject.toml").is_file() and beside.is_dir() else [packaged]


def builtin() -> list[tuple[Path, str]]:
    """Return the built-in recipes as (file, description from its first comment line), by name."""
    files = sorted(file for folder in folders() for file in folder.glob("*.yaml"))
    return [(file, _first_comment(file)) for file in files]


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file that a recipe's name or path means.

    Raises:
        RecipeError: there is no such file.
    """
    name = os.fspath(name_or_path)
    candidates = [Path(name), Path(f"{name}.yaml")]
    if Path(name).name == name:
        candidates += [folder / f"{name.removesuffix('.yaml')}.yaml" for folder in folders()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = [path.stem for path, _ in builtin()]
    raise RecipeError(
        f"no recipe {name!r}, neither a file nor built in{near(Path(name).stem, known)}"
        "\n  `wsseg recipes list` shows the built-in ones"
    )


def _first_comment(file: Path) -> str:
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def read(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Return the values of a recipe file with `overrides` applied, and the lines they came from.

    overrides: `a.b=value`, as --set takes them.

    Raises:
        RecipeError: the file cannot be read, is not a YAML mapping, or an override does not apply.
    """
    try:
        text = read_text(path, yaml_core.LARGEST, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    document = yaml_core.parse(text, path.name)
    if not isinstance(document.data, dict):
        raise RecipeError(f"{path.name} holds {show(document.data)}; a recipe is a mapping with name, dataset, …")
    for override in overrides:
        _override(document, override)
    return document


def _override(document: Document, override: str) -> None:
    """Put one `a.b=value` into the document; missing sections on the way are created."""
    address, sign, text = override.partition("=")
    keys = tuple(address.strip().split("."))
    if not sign or not all(keys):
        raise RecipeError(f"--set {override!r}: expected key=value, such as train_cls.optim.lr=0.02")
    value = yaml_core.parse_value(text, f"--set {override!r}")
    here = document.data
    for depth, key in enumerate(keys[:-1], 1):
        if here.get(key) is None:
            here[key] = {}
        here = here[key]
        if not isinstance(here, dict):
            raise RecipeError(f"--set {override!r}: {'.'.join(keys[:depth])} is {show(here)}, not a section")
    here[keys[-1]] = value
    for old in [old for old in document.lines if old[: len(keys)] == keys]:
        del document.lines[old]
    document.lines[keys] = "--set"
