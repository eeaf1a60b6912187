"""The index of a run: what a data set keeps in the run moves with it, what lies elsewhere stays there."""

import shutil
from pathlib import Path

import pytest

from wsseg_cli.data.index import WORK, Entry, Index, extra_index, read_index, write_index
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
