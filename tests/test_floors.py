"""A floor imports only from floors below it; what has to answer at once imports no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ROOT / "wsseg_cli"
GARDEN = ROOT / "plugins"

FLOORS = {
    0: "errors types settings disk signals",
    1: "ops nets metrics",
    2: "plugin",
    3: "recipe",
    4: "run",
    5: "data foreign",
    6: "engine",
    7: "stages convert report scaffold status predict export doctor testing notebook",
    8: "main console commands __main__",
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()} | {"": 0}
OPEN_TO_PLUGINS = {0, 1, 2, 5, 6}
TORCH_FREE = ["main", "__main__", "recipe.loading", "recipe.catalogue", "run.directory", "status", "doctor", "stages"]
TORCH_FREE += ["plugin.protocols", "plugin.discovery"]
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


def room_of(module: str) -> str:
    """Return the room of `wsseg_cli.room.file.name`; names that the package itself holds have none."""
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else ""
    return room if (HOUSE / room).is_dir() or (HOUSE / f"{room}.py").is_file() else ""


def module_of(file: Path, root: Path) -> tuple[str, bool]:
    parts = file.relative_to(root).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return ".".join(parts[:-1] if is_package else parts), is_package


HOUSE_FILES = sorted(HOUSE.rglob("*.py"))
PLUGIN_FILES = sorted(GARDEN.rglob("*.py"))


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module_of(file, ROOT)[0]) for file in HOUSE_FILES}
    assert rooms <= set(FLOOR), f"say in FLOORS where these stand: {sorted(rooms - set(FLOOR))}"


@pytest.mark.parametrize("file", HOUSE_FILES, ids=lambda file: file.relative_to(HOUSE).as_posix())
def test_house_imports_downwards(file: Path) -> None:
    module, is_package = module_of(file, ROOT)
    room = room_of(module)
    plugins = {path.name for path in GARDEN.iterdir() if path.is_dir()}
    for line, wanted in imports_of(file, module, is_package):
        assert wanted.split(".")[0] not in plugins, f"{file}:{line} imports a plugin by name: {wanted}"
        if wanted.split(".")[0] != "wsseg_cli":
            continue
        other = room_of(wanted)
        message = f"{file.name}:{line} {room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})"
        if other == room or other == "":
            continue
        assert FLOOR[other] <= FLOOR[room], message
        if FLOOR[other] == FLOOR[room] and room not in ("main", "__main__", "commands"):
            folders = (HOUSE / room).is_dir() and (HOUSE / other).is_dir()
            assert not folders, f"{message}: two folders of one floor"


@pytest.mark.parametrize("file", PLUGIN_FILES, ids=lambda file: file.relative_to(GARDEN).as_posix())
def test_plugins_import_what_is_open_to_them(file: Path) -> None:
    module, is_package = module_of(file, GARDEN)
    for line, wanted in imports_of(file, module, is_package):
        if wanted.split(".")[0] == "wsseg_cli" and (room := room_of(wanted)):
            floor = FLOOR[room]
            assert floor in OPEN_TO_PLUGINS, f"{module}:{line} imports {room} (floor {floor})"


def test_plugins_import_each_other_without_cycles() -> None:
    names = {path.name for path in GARDEN.iterdir() if path.is_dir()}
    reach: dict[str, set[str]] = {name: set() for name in names}
    for file in PLUGIN_FILES:
        module, is_package = module_of(file, GARDEN)
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
    folders = sorted(path.name for path in GARDEN.iterdir() if any(path.rglob("*.py")))
    assert [name for name in folders if f'"plugins/{name}"' not in pyproject] == []
