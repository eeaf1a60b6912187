from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import with_config
from typing_extensions import TypedDict

from wsseg_cli.disk.records import OPEN, parse_record, read_lines, read_record
from wsseg_cli.errors import DataError, StageError


@with_config(OPEN)
class Form(TypedDict, total=False):
    a: int
    b: dict[str, float]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"x":' * 5000, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ('{"a": "\\ud800"}', "not JSON"),
        ('{"a": 1.5}', "`a`: input should be a valid integer"),
        ('{"b": {"x": NaN}}', "`b.x`: input should be a finite number"),
        ('{"b": {"x": 1e999}}', "`b.x`: input should be a finite number"),
        ("[]", "input should be an object .got a list of 0."),
        ("", "not JSON"),
    ],
)
def test_refused_with_key_and_remedy(text: str, words: str) -> None:
    with pytest.raises(DataError, match=f"^here: {words}.*; make it again$"):
        parse_record(text, Form, "here", "make it again")


def test_files_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert read_record(path, Form, "") is None and list(read_lines(path, Form, "")) == []
    path.write_text('{"a": 1, "later": [null]}\n\n{"a": 2}\n{"a"')
    assert [row["a"] for row in read_lines(path, Form, "", last_may_be_cut=True)] == [1, 2]
    with pytest.raises(StageError, match="line 4"):
        list(read_lines(path, Form, "", StageError))
