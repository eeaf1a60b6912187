from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wsseg_cli.errors import RecipeError
from wsseg_cli.recipe import yaml_core


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("5.0e-4", 0.0005),
        (".5", 0.5),
        ("3.", 3.0),
        ("-2", -2),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("2007_000032", "2007_000032"),
        ("20_000", "20_000"),
        ("1:30", "1:30"),
        ("2026-11-24", "2026-11-24"),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1e-3'", "1e-3"),
        ("=", "="),
        ("[1, no]", [1, "no"]),
    ],
)
def test_core_rules(text: str, value: Any) -> None:
    got = yaml_core.parse_value(text, "--set")
    assert got == value and type(got) is type(value)


def test_lines_of_keys_and_items() -> None:
    document = yaml_core.parse("a:\n  b: 1\n  c:\n    - x\n    - y\n", "r.yaml")
    assert document.data == {"a": {"b": 1, "c": ["x", "y"]}}
    assert (document.lines["a",], document.lines["a", "b"], document.lines["a", "c", 1]) == (1, 2, 5)


def test_all_keys_that_stand_twice_are_named() -> None:
    with pytest.raises(RecipeError, match=r"(?s)line 3  a: stands on line 1 already.*line 5  b\.c: stands on line 4"):
        yaml_core.parse(
            "a: 1\nb:\na: 2\nb2: 0\n".replace("b:\na: 2\nb2: 0", "x: 0\na: 2\nb: {c: 1,\n  c: 2}"), "r.yaml"
        )


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.system [echo]", "a: !x 1", "a: !!str 1", "--- !!map\na: 1"]
)
def test_tags_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="tag"):
        yaml_core.parse(text, "r.yaml")


def test_anchors_are_allowed() -> None:
    data = yaml_core.parse("a: &x {lr: 1e-2}\nb: *x\n", "r.yaml").data
    assert data == {"a": {"lr": 0.01}, "b": {"lr": 0.01}}
    data["a"]["lr"] = 1
    assert data["b"]["lr"] == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [*x]", "the anchor around it"),
        ("a: [1", "line 1"),
        ("a: b: c", "line 1"),
        ("? [a, b]\n: 1", "must be one word"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: " + "[" * 5000, "too deep"),
        ("\x00", "special characters"),
    ],
)
def test_what_is_no_recipe(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        yaml_core.parse(text, "r.yaml")


def test_aliases_do_not_multiply() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(RecipeError, match="multiply"):
        yaml_core.parse("\n".join(rows), "r.yaml")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab1e-_:.~ no#${}'\"", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_VALUES)
def test_what_is_dumped_is_read_back(value: Any) -> None:
    text = yaml_core.dump({"a": value})
    assert yaml_core.parse(text, "x").data == {"a": value}
    assert yaml.safe_load(text) == {"a": value}
