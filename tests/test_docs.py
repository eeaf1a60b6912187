"""What docs/ says of commands, keys and plugins is what stands in the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from wsseg_cli.main import app
from wsseg_cli.plugin.discovery import find
from wsseg_cli.recipe.loading import load
from wsseg_cli.recipe.sections import Recipe

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli", "recipes"])
def test_is_what_the_code_says(generate: ModuleType, name: str) -> None:
    text = getattr(generate, name)()
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == text, "run `python docs/generate.py`"


def test_every_key_of_a_recipe_is_explained(generate: ModuleType) -> None:
    models, seen = [Recipe], set()
    while models:
        model = models.pop()
        seen.add(model)
        for key, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{key} has no description"
            models += [inner for inner in generate._models(field.annotation) if inner not in seen]
    assert all(issubclass(model, BaseModel) for model in seen) and len(seen) > 10


def test_every_option_of_a_command_is_explained(generate: ModuleType) -> None:
    text = generate.cli()
    assert [line for line in text.splitlines() if re.fullmatch(r"\| `.*\|\s+\|", line)] == []


def test_plugins_md_shows_what_new_writes(tmp_path: Path) -> None:
    text = (DOCS / "plugins.md").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["plugins", "new", "sharper", "--kind", "refiner", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    shown = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    written = (tmp_path / "wsseg-sharper" / "wsseg_sharper" / "refiner.py").read_text(encoding="utf-8")
    test = (tmp_path / "wsseg-sharper" / "tests" / "test_sharper.py").read_text(encoding="utf-8")
    assert shown[0].strip() in written
    assert test.strip() in [block.strip() for block in shown]
    for file in (tmp_path / "wsseg-sharper").rglob("*"):
        if file.is_file():
            assert file.name in text
    load(tmp_path / "wsseg-sharper" / "sharper_toy.yaml")


def test_links_and_pictures_lead_somewhere() -> None:
    for page in [*DOCS.parent.glob("*.md"), *DOCS.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, place = link.partition("#")
            if "://" not in link:
                assert (page.parent / file).exists(), f"{page.name}: {link}"
            if not file:
                anchors = {
                    re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")
                    for head in re.findall(r"^#+ (.*)$", text, re.M)
                }
                assert place in anchors, f"{page.name}: {link}"


def test_every_plugin_of_ours_is_described() -> None:
    pages = {"datasets": "own-data.md", "methods": "methods.md", "refiners": "methods.md", "segmenters": "methods.md"}
    pages |= {"backbones": "methods.md", "mask_refiners": "methods.md"}
    for plugin in find():
        if plugin.package == "wsseg":
            text = (DOCS / pages[plugin.group]).read_text(encoding="utf-8")
            assert f"`{plugin.name}`" in text, f"{pages[plugin.group]} says nothing of {plugin.group} {plugin.name}"
