from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsseg_cli.errors import PluginError, RecipeError
from wsseg_cli.plugin import discovery, inspection


class Entry:
    """An entry point of a package that is not installed."""

    def __init__(self, name: str, value: str, package: str = "wsseg-other", version: str = "1.0") -> None:
        self.name, self.value = name, value
        self.dist = SimpleNamespace(name=package, version=version)

    def load(self) -> Any:
        return importlib.metadata.EntryPoint(self.name, self.value, "g").load()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("wsseg_t_")]:
        del sys.modules[name]


def offer(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    def select(group: str) -> tuple[Entry, ...]:
        return entries if group == "wsseg.refiners" else ()

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda: SimpleNamespace(select=select))


def write(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


GOOD = """
from wsseg_cli.plugin.protocols import Refiner, Requirements
class R(Refiner):
    paper = "A. Nobody"
    def refine(self, model, image, labels, coarse, infer):
        return coarse
"""

BROKEN = {
    "wsseg_t_import": ("import wsseg_t_nowhere\n" + GOOD, "ModuleNotFoundError: No module named 'wsseg_t_nowhere'"),
    "wsseg_t_syntax": ("def (", "SyntaxError"),
    "wsseg_t_absent": ("x = 1", "has no attribute 'R'"),
}
HOLLOW = {
    "wsseg_t_exit": ("import sys\nsys.exit(3)\n" + GOOD, "SystemExit: 3"),
    "wsseg_t_noclass": ("R = 3", "does not subclass"),
    "wsseg_t_other": ("class R: pass", "does not subclass"),
    "wsseg_t_lacks": ("from wsseg_cli.plugin.protocols import Refiner\nclass R(Refiner): pass", "it lacks refine"),
    "wsseg_t_options": (GOOD + "    class Options: pass\n", "Options does not subclass"),
    "wsseg_t_learns": (
        GOOD + "    @classmethod\n    def requirements(cls, options): return Requirements()\n",
        "it lacks build_model, train_transform, training_step",
    ),
}


@pytest.mark.parametrize("module", [*BROKEN, *HOLLOW])
def test_broken_plugins_say_why(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    text, reason = (BROKEN | HOLLOW)[module]
    write(folder, module, text)
    offer(monkeypatch, Entry("r", f"{module}:R"))
    with pytest.raises(PluginError) as caught:
        discovery.load("refiners", "r")
    assert reason in str(caught.value) and "(wsseg-other 1.0)" in str(caught.value)
    assert reason in discovery.check()[0].problem
    if module in BROKEN:
        assert reason in discovery.check(importing=False)[0].problem


def test_a_good_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "wsseg_t_good", GOOD)
    offer(monkeypatch, Entry("r", "wsseg_t_good:R"))
    assert discovery.check(importing=False)[0].paper == "A. Nobody"
    assert "wsseg_t_good" not in sys.modules
    assert discovery.load("wsseg.refiners", "r").__name__ == "R"


def test_two_packages_offer_one_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "wsseg_t_good", GOOD)
    offer(monkeypatch, Entry("r", "wsseg_t_good:R", "wsseg-a"), Entry("r", "wsseg_t_good:R", "wsseg-b", "2"))
    with pytest.raises(PluginError, match=r"offered by wsseg-a 1\.0 and wsseg-b 2"):
        discovery.load("refiners", "r")
    assert all("is offered by" in checked.problem for checked in discovery.check())


def test_a_name_of_the_house_is_not_taken_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "wsseg_t_good", GOOD)
    offer(monkeypatch, Entry("r", "wsseg_t_bad:R", "a-first"), Entry("r", "wsseg_t_good:R", "wsseg", "0.1"))
    assert discovery.one("refiners", "r").package == "wsseg"
    assert [bool(checked.problem) for checked in discovery.check()] == [False, True]


def test_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, Entry("psa", "x:Y"))
    with pytest.raises(PluginError, match=r"no plugin 'psaa' in wsseg\.refiners; installed: psa; did you mean 'psa'"):
        discovery.load("refiners", "psaa")
    with pytest.raises(RecipeError, match="no group"):
        discovery.find("nothing")
    assert discovery.short_group("method") == "methods"


def test_a_missing_import_is_seen_through_the_package(folder: Path) -> None:
    write(folder, "wsseg_t_pkg/__init__", "from . import deep\n")
    write(folder, "wsseg_t_pkg/deep", "from .deeper import x\n")
    write(folder, "wsseg_t_pkg/deeper", "import wsseg_t_nowhere\nx = 1\n")
    write(folder, "wsseg_t_pkg/entry", "from .deep import x as R\n")
    assert "wsseg_t_nowhere" in inspection.look("wsseg_t_pkg.entry:R")[1]
    assert "wsseg_t_pkg" not in sys.modules


def test_imports_that_may_fail_are_left_alone(folder: Path) -> None:
    write(
        folder,
        "wsseg_t_try",
        "try:\n    import wsseg_t_nowhere\nexcept ImportError:\n    pass\n"
        "class R:\n    def requirements(cls, options):\n"
        "        return Requirements(training=frozenset({'saliency'} if options.base == 'eps' else ()))\n",
    )
    assert inspection.look("wsseg_t_try:R") == ("", "")
    seen = inspection.requirements_seen("wsseg_t_try:R", {"base": "eps"})
    assert seen is not None and seen.extras == {"saliency"}
    seen = inspection.requirements_seen("wsseg_t_try:R", {"base": "seam"})
    assert seen is not None and not seen.extras
    assert inspection.requirements_seen("wsseg_t_try:R", {}) is None
    assert inspection.requirements_seen("wsseg_t_nowhere:R", {}) is None
