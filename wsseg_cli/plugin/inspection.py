"""What can be told about a plugin from its source alone, without importing it: `plugins list` answers without torch."""

from __future__ import annotations

import ast
import gc
import importlib.machinery
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .protocols import Requirements

_SEEN = ("training", "inference", "trains")
"""Parts of `Requirements` that are read from source; feature maps may be computed."""

MOST_FILES = 200
"""Number of files of one plugin package that are followed; a larger package is assumed to be sound."""


def look(target: str) -> tuple[str, str]:
    """Return (paper, problem) of an entry point `package.module:Class`; no problem if the source cannot be seen.

    Follows the imports at the top of the plugin's own modules and reports missing packages, syntax errors and a missing
    class, in the words that importing would use.
    """
    module, _, attribute = target.partition(":")
    try:
        file = _file_of(module)
        if file is None:
            return "", ""
        problem = _missing_import(module, file)
        source = _source(file)
    except ModuleNotFoundError as error:
        return "", f"ModuleNotFoundError: {error}"
    except SyntaxError as error:
        return "", f"SyntaxError: {error.msg} ({Path(error.filename or module).name}, line {error.lineno})"
    except (OSError, ValueError) as error:
        return "", f"{type(error).__name__}: {error}"
    if problem:
        return "", problem
    name = attribute.split(".")[0]
    if name and name not in source.names and "*" not in source.names:
        return "", f"AttributeError: module {module!r} has no attribute {name!r}"
    seen = source.classes.get(name)
    return str(seen.values.get("paper", "")) if seen else "", ""


def _file_of(module: str) -> Path | None:
    """Return the source file of a module without importing its package; None if it is not a source file.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    head, *rest = module.split(".")
    spec = importlib.util.find_spec(head)
    known = head
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            break
        known = f"{known}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(known, list(spec.submodule_search_locations))
    if spec is None or known != module:
        raise ModuleNotFoundError(f"No module named {(known if spec is None else module)!r}")
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _missing_import(module: str, file: Path) -> str:
    """Return why importing `module` would fail because another module is missing, or ""."""
    own = module.split(".")[0]
    queue, seen = [(own, _file_of(own)), (module, file)], {module}
    while queue and len(seen) < MOST_FILES:
        name, path = queue.pop()
        if path is None:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for wanted in _absolute(_source(path).imports, package):
            if wanted in seen:
                continue
            seen.add(wanted)
            if wanted.split(".")[0] == own:
                queue.append((wanted, _file_of(wanted)))
            elif importlib.util.find_spec(wanted.split(".")[0]) is None:
                return f"ModuleNotFoundError: No module named {wanted.split('.')[0]!r}"
    return ""


@dataclass(frozen=True)
class _Class:
    """A class at the top of a module: its plain values, and what its `requirements` returns, if it has one."""

    values: dict[str, Any]
    asked: ast.expr | None


@dataclass(frozen=True)
class _Source:
    """What is kept of a file: its unconditional imports as (level, module), the names that it binds, its classes."""

    imports: tuple[tuple[int, str], ...]
    names: frozenset[str]
    classes: dict[str, _Class]


def _source(file: Path) -> _Source:
    return _read(file, file.stat().st_mtime_ns)


@cache  # plugins share modules, and parsing is most of the work
def _read(file: Path, _: int) -> _Source:
    """Return what is kept of a file; `_` is its modification time.

    Raises:
        SyntaxError: the file does not parse.
    """
    collecting = gc.isenabled()
    gc.disable()  # a tree is thousands of short-lived objects: looking for cycles among them doubles the time
    try:
        body = ast.parse(file.read_bytes(), filename=str(file)).body
        imports = [(0, alias.name) for node in body if isinstance(node, ast.Import) for alias in node.names]
        imports += [(node.level, node.module or "") for node in body if isinstance(node, ast.ImportFrom)]
        classes = {node.name: _class(node) for node in body if isinstance(node, ast.ClassDef)}
        return _Source(tuple(imports), frozenset(_bound_names(body)), classes)
    finally:
        if collecting:
            gc.enable()


def _class(node: ast.ClassDef) -> _Class:
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "requirements"]
    returned = [part.value for item in functions for part in item.body if isinstance(part, ast.Return)]
    return _Class(_plain_values(node.body), returned[0] if returned else None)


def _absolute(imports: Iterable[tuple[int, str]], package: str) -> Iterator[str]:
    """Yield the names of imported modules as seen from a package."""
    parts = package.split(".") if package else []
    for level, module in imports:
        above = parts[: len(parts) - level + 1] if level else []
        if name := ".".join([*above, *([module] if module else [])]):
            yield name


def _bound_names(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements at the top of a module bind."""
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def requirements_seen(target: str, options: Mapping[str, Any]) -> Requirements | None:
    """Return what an entry point's plugin asks for with these options, from its source; None if it cannot be seen.

    Its `requirements` is understood if it is one `return Requirements(…)` of plain values, `options.NAME`, `==` and `a
    if b else c`; a class without one of its own asks for nothing besides images and labels.
    """
    module, _, name = target.partition(":")
    try:
        file = _file_of(module)
        seen = _source(file).classes.get(name) if file else None
        if seen is None:
            return None
        return _evaluated(seen.asked, options) if seen.asked else Requirements()
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, ModuleNotFoundError):
        return None


def _evaluated(node: ast.expr | None, options: Mapping[str, Any]) -> Any:
    """Return the value of an expression of `requirements`.

    Raises:
        ValueError: the expression has another form. KeyError: an option is not given.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(_evaluated(part, options) for part in parts)
        case ast.Attribute(value=ast.Name(id="options"), attr=name):
            return options[name]
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _evaluated(left, options) == _evaluated(right, options)
        case ast.IfExp(test=test, body=yes, orelse=no):
            return _evaluated(yes if _evaluated(test, options) else no, options)
        case ast.Call(func=ast.Name(id="frozenset"), args=args):
            return frozenset(*(_evaluated(part, options) for part in args))
        case ast.Call(func=ast.Name(id="Requirements"), keywords=keywords):
            return Requirements(**{str(k.arg): _evaluated(k.value, options) for k in keywords if k.arg in _SEEN})
    raise ValueError(f"{ast.dump(node) if node else node} is not a plain value")


def class_values(target: str) -> dict[str, Any]:
    """Return the plain values (texts, numbers, dicts of them, …) in the class body behind an entry point."""
    module, _, name = target.partition(":")
    try:
        file = _file_of(module)
        seen = _source(file).classes.get(name) if file else None
        return dict(seen.values) if seen else {}
    except (OSError, ValueError, SyntaxError, ModuleNotFoundError):
        return {}


def _plain_values(body: Iterable[ast.stmt]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in body:
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        value = getattr(item, "value", None)
        # frozenset({"saliency"}) is not a literal, its argument is
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "frozenset" and len(value.args) == 1:
            value = value.args[0]
        for one in targets:
            if isinstance(one, ast.Name) and isinstance(value, ast.expr):
                try:
                    values[one.id] = ast.literal_eval(value)
                except ValueError:
                    continue
    return values
