"""`plugins new`: a plugin package that installs, is listed, passes its own tests and runs on the toy scenes."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from .. import __version__
from ..disk.writing import new_folder
from ..errors import PluginError
from ..plugin.discovery import find

KINDS = ("method", "refiner", "mask_refiner", "segmenter", "dataset")
"""What a plugin can be; each has a template of its own."""

_HERE = Path(__file__).resolve().parent


def new_plugin(name: str, kind: str = "method", parent: Path = Path()) -> list[Path]:
    """Write the package wsseg-NAME into a new folder of `parent`; return its files.

    Raises:
        PluginError: the name is not valid for a plugin or is taken, or the folder exists already.
        DataError: the package cannot be written.
    """
    if kind not in KINDS:
        raise PluginError(f"no kind of plugin {kind!r}; there are {', '.join(KINDS)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} cannot name a plugin: a lower-case letter, then letters, digits and '_'")
    taken = [plugin for plugin in find(f"{kind}s") if plugin.name == name]
    if taken:
        raise PluginError(f"the {_in_words(kind)} {name!r} already exists, in {taken[0].origin}; choose another name")
    folder = parent / f"wsseg-{name.replace('_', '-')}"
    if folder.exists():
        raise PluginError(f"{folder} already exists; move it away or choose another name")
    if not parent.is_dir():
        raise PluginError(f"the folder {parent} does not exist")
    files = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        f"wsseg_{name}/__init__.py": "package.py.j2",
        f"wsseg_{name}/{kind}.py": f"{kind}.py.j2",
        f"tests/test_{name}.py": "test.py.j2",
        f"{name}_toy.yaml": "recipe.yaml.j2",
    }
    texts = {target: _filled(template, name, kind) for target, template in files.items()}
    with new_folder(folder) as place:
        for target, text in texts.items():
            path = place / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return [folder / target for target in texts]


def _filled(template: str, name: str, kind: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # sources and plain texts, not HTML: nothing needs escaping, and `name` is letters, digits and "_"
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=False,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    title = "".join(part.capitalize() for part in name.split("_"))
    return environment.get_template(template).render(
        name=name,
        kind=kind,
        kind_in_words=_in_words(kind),
        title=title,
        package=f"wsseg_{name}",
        distribution=f"wsseg-{name}",
        version=__version__,
    )


def _in_words(kind: str) -> str:
    return kind.replace("_", " ")
