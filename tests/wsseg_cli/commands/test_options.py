from __future__ import annotations

from wsseg_cli.commands.options import recipe_keys, recipe_names
from wsseg_cli.commands.plugins import plugin_names


def test_completion() -> None:
    assert "quickstart" in recipe_names("quick")
    assert "cam" in plugin_names("ca")
    assert recipe_keys("see") == ["seed="]
    assert recipe_keys("train_cls.opt") == ["train_cls.optim."]
    assert "train_cls.optim.lr=" in recipe_keys("train_cls.optim.")
    assert recipe_keys("refine.train.sch") == ["refine.train.schedule."]
    assert recipe_keys("nothing") == []
