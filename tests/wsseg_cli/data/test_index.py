"""The index of a run: what a data set keeps in the run moves with it, what lies elsewhere stays there."""

import shutil
from pathlib import Path

import pytest

from wsseg_cli.data.index import WORK, Entry, Index, extra_index, look_up, read_index, write_index
from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames, Sample


@pytest.mark.parametrize("place", [lambda prepared: prepared, lambda prepared: extra_index(prepared, "more")])
def test_own_files_move_with_the_run_and_others_do_not(tmp_path: Path, place) -> None:
    prepared, photos = tmp_path / "run" / "prepare", tmp_path / "photos"
    sample = Sample(
        image_id="a",
        image=prepared / "data" / "a.png",
        labels=(0,),
        mask=photos / "a.png",
        extras={},
        orientation=1,
    )
    index = Index([Entry(sample, ("train",), (4, 5))], ClassNames(["x"]))
    place(prepared).mkdir(parents=True)
    write_index(place(prepared), index, {WORK: prepared / "data", "root": photos})

    moved = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    found = read_index(place(Path(moved) / "prepare")).samples("train")[0]
    assert found.image == tmp_path / "elsewhere" / "prepare" / "data" / "a.png"
    assert found.mask == photos / "a.png"


@pytest.mark.parametrize("broken", ["[]", '{"work": 5}', "{", '"work"'])
def test_roots_of_another_shape_are_refused(tmp_path: Path, broken: str) -> None:
    sample = Sample(image_id="a", image=tmp_path / "a.png", labels=(0,), mask=None, extras={}, orientation=1)
    write_index(tmp_path, Index([Entry(sample, ("train",), (4, 5))], ClassNames(["x"])), {})
    (tmp_path / "roots.json").write_text(broken)
    with pytest.raises(DataError, match="prepare --force"):
        read_index(tmp_path)


@pytest.mark.parametrize("split", ["../../outside", "a/b", "x" * 101, "", "a\\nb"])
def test_splits_that_name_no_file_are_refused(tmp_path: Path, split: str) -> None:
    sample = Sample(image_id="a", image=tmp_path / "a.png", labels=(0,), mask=None, extras={}, orientation=1)
    write_index(tmp_path, Index([Entry(sample, ("train",), (4, 5))], ClassNames(["x"])), {})
    path = tmp_path / "index.jsonl"
    path.write_text(path.read_text().replace('"train"', f'"{split}"'))
    with pytest.raises(DataError, match=r"`lists\.0`.*prepare --force"):
        read_index(tmp_path)


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
