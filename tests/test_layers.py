"""Layers import downwards only, by the table in docs/architecture.md; what has to answer at once imports no torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsseg_cli import plugin as api

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "wsseg_cli"
PLUGINS = ROOT / "plugins"

TABLE = re.findall(
    r"^\| (\d) [^|]*\| ([^|]*)\|[^|]*\| (yes|no) \|$", (ROOT / "docs/architecture.md").read_text("utf-8"), re.MULTILINE
)
LAYERS = {int(number): set(re.findall(r"`(\w+)`", modules)) for number, modules, _ in TABLE}
LAYER = {module: number for number, modules in LAYERS.items() for module in modules} | {"": 0}
OPEN_TO_PLUGINS = {int(number) for number, _, answer in TABLE if answer == "yes"}
NEED_TORCH = {f"{module}.{name}" for name, module in api.NEED_TORCH.items()}
TORCH_FREE = ["main", "__main__", "recipe.loading", "recipe.catalogue", "run.directory", "status", "doctor", "stages"]
TORCH_FREE += ["plugin", "plugin.protocols", "plugin.discovery"]
TORCH_FREE += ["notebook"]


def imports_of(file: Path, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute module) of every import in a file, those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + (1 if is_package else 0)] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{stem}.{alias.name}"


def top_module(module: str) -> str:
    """Return the module right below the package, "ops" of `wsseg_cli.ops.crf`; "" for names of the package itself."""
    parts = module.split(".")
    own = parts[1] if len(parts) > 1 else ""
    return own if (CORE / own).is_dir() or (CORE / f"{own}.py").is_file() else ""


def module_of(file: Path, root: Path) -> tuple[str, bool]:
    parts = file.relative_to(root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return ".".join(parts[:-1] if is_package else parts), is_package


CORE_FILES = sorted(CORE.rglob("*.py"))
PLUGIN_FILES = sorted(PLUGINS.rglob("*.py"))


def test_the_table_of_layers_names_what_there_is() -> None:
    there = {top_module(module_of(file, ROOT)[0]) for file in CORE_FILES} - {""}
    named = set(LAYER) - {""}
    assert len(LAYERS) == 9 and sum(map(len, LAYERS.values())) == len(named)
    assert there == named, f"docs/architecture.md lacks {sorted(there - named)}, and names {sorted(named - there)}"


@pytest.mark.parametrize("file", CORE_FILES, ids=lambda file: file.relative_to(CORE).as_posix())
def test_core_imports_downwards(file: Path) -> None:
    module, is_package = module_of(file, ROOT)
    own = top_module(module)
    plugins = {path.name for path in PLUGINS.iterdir() if path.is_dir()}
    for line, wanted in imports_of(file, module, is_package):
        assert wanted.split(".")[0] not in plugins, f"{file}:{line} imports a plugin by name: {wanted}"
        if wanted.split(".")[0] != "wsseg_cli":
            continue
        other = top_module(wanted)
        message = f"{file.name}:{line} {own} (layer {LAYER[own]}) imports {other} (layer {LAYER[other]})"
        if other == own or other == "" or (module == "wsseg_cli.plugin" and wanted in NEED_TORCH):
            continue
        assert LAYER[other] <= LAYER[own], message
        if LAYER[other] == LAYER[own] and own not in ("main", "__main__", "commands"):
            folders = (CORE / own).is_dir() and (CORE / other).is_dir()
            assert not folders, f"{message}: two folders of one layer"


HOMES = ("errors", "settings", "types", "plugin", "plugin.protocols", "plugin.backbone", "plugin.backbone_entry")
"""Modules of the core whose names `wsseg_cli.plugin` offers; what it does not list is not for plugins."""


@pytest.mark.parametrize("file", PLUGIN_FILES, ids=lambda file: file.relative_to(PLUGINS).as_posix())
def test_plugins_import_what_the_plugin_api_lists(file: Path) -> None:
    module, is_package = module_of(file, PLUGINS)
    for line, wanted in imports_of(file, module, is_package):
        if wanted.split(".")[0] != "wsseg_cli":
            continue
        home, _, name = wanted.rpartition(".")
        listed = home.removeprefix("wsseg_cli.") in HOMES and name in api.__all__
        below = any(f"{wanted}.".startswith(f"{offered}.") for offered in api.MODULES)
        assert listed or below, f"{module}:{line} imports {wanted}, which wsseg_cli.plugin does not list"
        assert LAYER[top_module(wanted)] in OPEN_TO_PLUGINS, f"{module}:{line} imports {wanted}"


def test_the_plugin_api_offers_what_it_lists() -> None:
    assert all(hasattr(api, name) for name in api.__all__) and set(api.NEED_TORCH) <= set(api.__all__)
    assert all((CORE / module.removeprefix("wsseg_cli.")).is_dir() for module in api.MODULES)


def test_plugins_import_each_other_without_cycles() -> None:
    names = {path.name for path in PLUGINS.iterdir() if path.is_dir()}
    reach: dict[str, set[str]] = {name: set() for name in names}
    for file in PLUGIN_FILES:
        module, is_package = module_of(file, PLUGINS)
        own = module.split(".")[0]
        reach[own] |= {w.split(".")[0] for _, w in imports_of(file, module, is_package)} & names - {own}
    for _ in names:
        for name in names:
            reach[name] |= {far for near in reach[name] for far in reach[near]}
    assert [name for name in sorted(names) if name in reach[name]] == []


def test_answers_without_torch() -> None:
    lines = "".join(f"import wsseg_cli.{name}\n" for name in TORCH_FREE if name != "__main__")
    code = (
        f"import sys\n{lines}print(sorted({{'torch', 'numba', 'scipy', 'datasets', 'accelerate'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_plugin_folder_is_in_the_wheel() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    folders = sorted(path.name for path in PLUGINS.iterdir() if any(path.rglob("*.py")))
    assert [name for name in folders if f'"plugins/{name}"' not in pyproject] == []
