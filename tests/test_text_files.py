"""Text files are UTF-8 whatever the machine's locale: nobody opens one without saying so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("wsseg_cli", "plugins", "benchmarks", "docs")


def without_encoding(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of every call that opens, reads or writes a text, or talks to a process in text, untold."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        said = {word.arg for word in call.keywords}
        if "encoding" in said or None in said:
            continue
        if name in ("read_text", "write_text"):
            # ours in disk/ take (path, limit) or (path, text) and are UTF-8 by themselves
            if isinstance(call.func, ast.Attribute):
                yield call.lineno, name
        elif name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile"):
            given = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
            modes = [part.value for part in _parts(given) if isinstance(part.value, str)]
            opener = call.func.value if isinstance(call.func, ast.Attribute) else None
            others = isinstance(opener, ast.Name) and opener.id in ("os", "Image", "archive", "tarfile")
            binary = any(set(mode) <= set("rwxabt+|:gz") and "b" in mode for mode in modes)
            if not binary and not others and not any(mode.startswith(("r:", "w:")) for mode in modes):
                yield call.lineno, name
        elif name in ("run", "Popen", "check_output") and said & {"text", "universal_newlines"}:
            yield call.lineno, name


def _parts(nodes: list[ast.expr]) -> Iterator[ast.Constant]:
    for node in nodes:
        yield from (part for part in ast.walk(node) if isinstance(part, ast.Constant))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_text_file_says_its_encoding(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line}: {name} without encoding"
        for file in files
        for line, name in without_encoding(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("open('a')", ["open"]),
        ("open('a', 'w')", ["open"]),
        ("path.open()", ["open"]),
        ("path.read_text()", ["read_text"]),
        ("path.write_text('x')", ["write_text"]),
        ("subprocess.run([], text=True)", ["run"]),
        ("open('a', 'rb')", []),
        ("path.open('wb')", []),
        ("path.open('ab' if resumed else 'wb')", []),
        ("path.write_text('x', encoding='utf-8')", []),
        ("write_text(path, 'x')", []),
        ("os.open(path, os.O_RDONLY)", []),
    ],
)
def test_what_is_found(source: str, names: list[str]) -> None:
    assert [name for _, name in without_encoding(source)] == names
