"""The index of a run: what a data set keeps in the run moves with it, what lies elsewhere stays there."""

import shutil
from pathlib import Path

import pytest

from wsseg_cli.data.index import WORK, Entry, Index, extra_index, read_index, write_index
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
