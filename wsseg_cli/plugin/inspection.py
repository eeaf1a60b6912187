"""What can be said of a plugin from its source alone, without importing it: `plugins list` answers without torch."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .protocols import Requirements

_SEEN = ("training", "inference", "trains")
"""Parts of `Requirements` that are read from source; feature maps may be computed."""

MOST_FILES = 200
"""Files of one plugin package that are followed; a package beyond that is taken for well."""


def look(target: str) -> tuple[str, str]:
    """Return (paper, problem) of an entry point `package.module:Class`; what cannot be seen counts as well.

    Follows the imports at the top of the plugin's own modules and reports what is not installed, what does not parse
    and a class that is not there, in the words that importing would use.
    """
    module, _, attribute = target.partition(":")
    try:
        file = _file_of(module)
        if file is None:
            return "", ""
        problem = _missing_import(module, file)
        tree = ast.parse(file.read_bytes())
    except ModuleNotFoundError as error:
        return "", f"ModuleNotFoundError: {error}"
    except SyntaxError as error:
        return "", f"SyntaxError: {error.msg} ({Path(error.filename or module).name}, line {error.lineno})"
    except (OSError, ValueError) as error:
        return "", f"{type(error).__name__}: {error}"
    if problem:
        return "", problem
    name = attribute.split(".")[0]
    names = _bound_names(tree)
    if name and name not in names and "*" not in names:
        return "", f"AttributeError: module {module!r} has no attribute {name!r}"
    return str(_plain_values(tree, name).get("paper", "")), ""


def _file_of(module: str) -> Path | None:
    """Return the source file of a module without importing its package; None if it is no source file.

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
    """Return why importing `module` would fail for want of another module, or nothing."""
    own = module.split(".")[0]
    queue, seen = [(own, _file_of(own)), (module, file)], {module}
    while queue and len(seen) < MOST_FILES:
        name, path = queue.pop()
        if path is None:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for wanted in _imports(path, path.stat().st_mtime_ns, package):
            if wanted in seen:
                continue
            seen.add(wanted)
            if wanted.split(".")[0] == own:
                queue.append((wanted, _file_of(wanted)))
            elif importlib.util.find_spec(wanted.split(".")[0]) is None:
                return f"ModuleNotFoundError: No module named {wanted.split('.')[0]!r}"
    return ""


@cache  # plugins share modules, and parsing is most of the work
def _imports(file: Path, _: int, package: str) -> tuple[str, ...]:
    """Return the modules that stand in unconditional imports at the top of a file; `_` is when it was written."""
    names: list[str] = []
    for node in ast.parse(file.read_bytes(), filename=str(file)).body:
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            names.append(".".join([*above, *([node.module] if node.module else [])]))
    return tuple(filter(None, names))


def _bound_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def requirements_seen(target: str, options: Mapping[str, Any]) -> Requirements | None:
    """Return what the plugin behind an entry point asks for with these options, from its source; None: not to be seen.

    Its `requirements` is understood where it is one `return Requirements(…)` of plain values, `options.NAME`, `==` and
    `a if b else c`; where a class has none of its own, nothing beside images and labels is asked.
    """
    module, _, name = target.partition(":")
    try:
        file = _file_of(module)
        body = [node for node in ast.parse(file.read_bytes()).body if isinstance(node, ast.ClassDef)] if file else []
        own = [item for node in body if node.name == name for item in node.body]
        returned = [
            node.value
            for item in own
            if isinstance(item, ast.FunctionDef) and item.name == "requirements"
            for node in item.body
            if isinstance(node, ast.Return)
        ]
        return _evaluated(returned[0], options) if returned else Requirements() if own else None
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, ModuleNotFoundError):
        return None


def _evaluated(node: ast.expr | None, options: Mapping[str, Any]) -> Any:
    """Return the value of an expression of `requirements`.

    Raises:
        ValueError: it is of another form. KeyError: an option that is not given.
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
    raise ValueError(f"{ast.dump(node) if node else node} is no plain value")


def class_values(target: str) -> dict[str, Any]:
    """Return the plain values (texts, numbers, dicts of them, …) in the class body behind an entry point."""
    module, _, name = target.partition(":")
    try:
        file = _file_of(module)
        return _plain_values(ast.parse(file.read_bytes()), name) if file else {}
    except (OSError, ValueError, SyntaxError, ModuleNotFoundError):
        return {}


def _plain_values(tree: ast.Module, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    for item in (item for body in bodies for item in body):
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        value = getattr(item, "value", None)
        # frozenset({"saliency"}) is no literal, its argument is
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "frozenset" and len(value.args) == 1:
            value = value.args[0]
        for one in targets:
            if isinstance(one, ast.Name) and isinstance(value, ast.expr):
                try:
                    values[one.id] = ast.literal_eval(value)
                except ValueError:
                    continue
    return values
