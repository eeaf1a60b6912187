from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from wsseg_cli.commands.options import recipe_keys, recipe_names
from wsseg_cli.commands.plugins import plugin_names


def keys(incomplete: str, recipe: str | None = None) -> list[str]:
    context: Any = SimpleNamespace(params={"recipe": recipe})
    return recipe_keys(context, incomplete)


def test_names() -> None:
    assert "quickstart" in recipe_names("quick")
    assert "cam" in plugin_names("ca")


def test_keys() -> None:
    assert keys("see") == ["seed="]
    assert "train_cls.optim.lr=" in keys("train_cls.opt") and "train_cls.optim." not in keys("train_cls.opt")
    assert "train_cls.optim.lr=" in keys("train_cls.optim.")
    assert [key for key in keys("refine.train.s") if "schedule" in key] == ["refine.train.schedule."]
    assert keys("nothing") == []


def test_keys_of_plugins_are_those_of_the_recipe() -> None:
    assert keys("train_cls.method.o") == ["train_cls.method.options="]
    assert "train_cls.method.options.dropout=" in keys("train_cls.method.o", "quickstart")
    assert keys("train_cls.method.o", "no such recipe") == ["train_cls.method.options="]
