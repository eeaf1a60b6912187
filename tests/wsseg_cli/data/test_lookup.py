"""What a worker process looks up in the index is what reading all of it gives."""

from pathlib import Path

import pytest

from wsseg_cli.data.index import Entry, Index, extra_index, read_index, write_index
from wsseg_cli.data.lookup import look_up
from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames, Sample


def entry(image_id: str, *splits: str, number: int = 0) -> Entry:
    sample = Sample(image_id=image_id, image=Path(f"/photos/{number}.png"), labels=(0,), mask=None)
    return Entry(sample, splits, (4, 5 + number))


IDS = ["a", 'quo"ted', "back\\slash", "schön/ä\u4e2d", "line\nbreak"]


def test_a_worker_looks_up_what_the_index_holds(tmp_path: Path) -> None:
    entries = [entry(image_id, "train", number=number) for number, image_id in enumerate(IDS)]
    write_index(tmp_path, Index(entries, ClassNames(["x"])), {"photos": Path("/photos")})
    found = look_up(tmp_path)
    assert dict(found.entries) == read_index(tmp_path).entries and found.classes == ClassNames(["x"])
    assert list(found.entries) == IDS and not isinstance(found.entries, dict)
    assert found.entries["a"] is found.entries["a"] and found.entries[IDS[1]] is not found.entries["a"]
    with pytest.raises(KeyError):
        found.entries["b"]


def test_a_worker_sees_the_splits_that_were_added(tmp_path: Path) -> None:
    write_index(tmp_path, Index([entry("a", "train")], ClassNames(["x"])), {})
    added = extra_index(tmp_path, "more")
    added.mkdir(parents=True)
    write_index(added, Index([entry("a", "more"), entry("b", "more")], ClassNames(["x"])), {})
    assert look_up(tmp_path).entries == read_index(tmp_path).entries
    assert look_up(tmp_path).entries["a"].splits == ("train", "more")


@pytest.mark.parametrize("wrong", ["", "[]\n", "{}\n", '{"id": "a"}', '{"id": "a"}\n', "\xff\n"])
def test_an_index_of_another_form_is_refused_to_workers_too(tmp_path: Path, wrong: str) -> None:
    write_index(tmp_path, Index([entry("a", "train")], ClassNames(["x"])), {})
    with (tmp_path / "index.jsonl").open("a", encoding="latin-1") as file:
        file.write(wrong)
    if wrong:
        with pytest.raises(DataError, match=r"prepare --force"):
            read_index(tmp_path)
        with pytest.raises(DataError, match=r"prepare --force"):
            look_up(tmp_path)
    else:
        assert look_up(tmp_path).entries == read_index(tmp_path).entries


def test_a_line_that_is_broken_is_named_when_its_image_is_asked_for(tmp_path: Path) -> None:
    write_index(tmp_path, Index([entry("a", "train"), entry("b", "train")], ClassNames(["x"])), {})
    path = tmp_path / "index.jsonl"
    path.write_text(path.read_text().replace('"b", "image"', '"b", "picture"'))
    found = look_up(tmp_path)
    assert found.entries["a"].size == (4, 5)
    with pytest.raises(DataError, match=r"index\.jsonl, image 'b'.*prepare --force"):
        found.entries["b"]
