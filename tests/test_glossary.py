"""The field's words: no retired word stands in names, help texts, messages, pages or recipes."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

from wsseg_cli.recipe.renamed import RENAMED

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"

TEXT = {
    r"\btrunks?\b": "backbone",
    r"\btaps?\b": "feature map",
    r"`rates`|\brates:|\bclass_start\b|\bhead_rate\b": "lr_multipliers, head_init, head_lr_multiplier",
    r"\b(train|training|val|validation|score|test) lists?\b|\bno list '": "split",
    r"\bmirror images?\b": "horizontal flip",
    r"\bjudg(e|es|ed|ing|ement|ment)\b": "evaluate",
    r"\b(the|a|our|this) house\b|\bhouse rules?\b|\bgarden\b": "core, plugins",
    r"\b(the|a|same|Python|back|front) door\b": "API",
    r"\b(upper|lower|ground|the|a|one|each|which) floors?\b|\bfloors \d": "layer",
    r"\| seed \|": "CAM (initial seed)",
    r"\bunturned\b": "as stored",
}
NAMES = {"trunk", "trunks", "tap", "taps", "judge", "judged", "garden", "door", "doors", "floors", "mirrored"}
WHOLE_NAMES = {"rates", *RENAMED}
# what the old names are is said here, and a kernel has taps
EXEMPT = {"wsseg_cli/recipe/renamed.py", "docs/glossary.md", "docs/parity.md", "tests/test_glossary.py"}
SUFFIXES = {".py", ".md", ".yaml", ".j2", ".ipynb", ".toml", ".js", ".html"}


def files(*roots: str) -> list[str]:
    """Return the text files below these folders and files, built from what is there, git or no git."""
    paths = [p for root in roots for p in ([ROOT / root] if (ROOT / root).is_file() else (ROOT / root).rglob("*"))]
    names = (path.relative_to(ROOT).as_posix() for path in paths if path.suffix in SUFFIXES and path.is_file())
    return sorted(name for name in names if name not in EXEMPT)


PAGES = files("wsseg_cli", "plugins", "recipes", "docs", "benchmarks", "README.md", "README.zh.md", "CONTRIBUTING.md")


def retired(text: str) -> list[str]:
    """Return "line N: word, say X" for every retired word in a text."""
    found = []
    for pattern, instead in TEXT.items():
        for match in re.finditer(pattern, text, flags=re.IGNORECASE):
            found.append(f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}, say {instead}")
    return found


def retired_names(source: str) -> list[str]:
    """Return the retired names of Python source."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = [(token.start[0], token.string) for token in tokens if token.type == tokenize.NAME]
    return [f"line {n}: {s}" for n, s in names if s in WHOLE_NAMES or NAMES & set(s.lower().split("_"))]


@pytest.mark.parametrize("name", PAGES)
def test_no_retired_word(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert retired(text) == []
    if name.endswith(".py"):
        assert retired_names(text) == []


def test_retired_words_are_seen() -> None:
    said = "The trunk, two Taps and a mirror image of the val list are judged.\n| seed | rates: |"
    assert len(retired(said)) == 7
    assert retired_names("def judged(old_trunk, rates): ...") != []
    assert retired_names("def rate(backbone, learning_rates): ...") == []


def test_the_glossary_has_terms_with_sources_and_all_renamed_keys() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE)
    terms = [term for term, _, _ in rows if term != "term"]
    assert len(terms) >= 40 and len(set(terms)) == len(terms)
    assert all(source == "wsseg" or re.search(r"\d{4}", source) for term, _, source in rows if term != "term")
    for old, new in RENAMED.items():
        assert f"`{old}`" in text and f"`{new}`" in text
