from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsseg_cli.data import proposal_records
from wsseg_cli.data.proposals import Proposals, ProposalStore, read_proposals
from wsseg_cli.errors import DataError
from wsseg_cli.ops.run_lengths import counts_of, text_of
from wsseg_cli.settings import MAX_MEGAPIXELS

STACKS = arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9)))


@settings(deadline=None, max_examples=60)
@given(stack=STACKS, mask=st.integers(0, 2**31))
def test_runs_say_what_pixels_say(stack: np.ndarray, mask: int) -> None:
    size = (stack.shape[1], stack.shape[2])
    found = Proposals.from_masks(list(stack), size)
    other = np.random.default_rng(mask).random(size) < 0.5
    assert [found.mask(n).tolist() for n in range(len(found))] == stack.tolist()
    assert found.areas.tolist() == stack.sum((1, 2)).tolist()
    assert found.overlaps(other).tolist() == (stack & other).sum((1, 2)).tolist()
    chosen = np.arange(len(stack)) % 2 == 0
    assert np.array_equal(found.union(chosen), stack[chosen].any(0))
    for number, piece in enumerate(stack):
        rows, columns = np.nonzero(piece)
        box = [columns.min(), rows.min(), np.ptp(columns), np.ptp(rows)] if len(rows) else [0, 0, 0, 0]
        assert found.boxes[number].tolist() == box
        assert np.array_equal(counts_of(text_of(found.counts(number))), found.counts(number))


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12))
def test_text_of_run_lengths_is_cocos(counts: list[int]) -> None:
    text = text_of(np.array(counts, np.int64))
    assert counts_of(text).tolist() == counts
    mask = pytest.importorskip("pycocotools.mask")
    height = sum(counts)
    if 0 < height < 2**16:
        ours = mask.frPyObjects({"size": [height, 1], "counts": counts}, height, 1)
        assert ours["counts"].decode() == text


def test_regions(tmp_path: Path) -> None:
    regions = np.array([[0, 0, 7], [0, 3, 7]])
    for zero, values in ((True, (0, 3, 7)), (False, (3, 7))):
        found = Proposals.from_regions(regions, zero)
        ProposalStore(tmp_path).write("a", found)
        kept = ProposalStore(tmp_path).read("a")
        assert [kept.mask(n).tolist() for n in range(len(kept))] == [(regions == v).tolist() for v in values]


def record(counts: Any, size: tuple[int, int] = (2, 3), **more: Any) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": counts}, **more}


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "expected proposals"),
    "another form": ({"masks": []}, "annotations"),
    "no segmentation": ([{"area": 1}], "segmentation"),
    "binary masks": ([{"segmentation": [[True]]}], "segmentation"),
    "too short": ([record([0, 5])], "proposal 0 fill 5 pixels, the image has 3x2"),
    "too long": ([record([0, 4, 3])], "proposal 0 fill 7 pixels, the image has 3x2"),
    "beyond": ([record([0, 6]), record([7, 0])], "proposal 1 has run lengths beyond its 3x2 pixels"),
    "negative": ([record([7, -1])], "proposal 0 has run lengths beyond"),
    "above int64": ([record([2**70])], "proposal 0 has no run lengths"),
    "fractions": ([record([0.5, 5.5])], "counts"),
    "text of others": ([record("é")], "proposal 0 has no run lengths"),
    "a character": ([record("~")], "a character that no run length has"),
    "without end": ([record("o")], "the last number does not end"),
    "many bits": ([record("ooooooooo0")], "more than 35 bits"),
    "two sizes": ([record([6]), record([12], (3, 4))], "proposals of 2 sizes, 3x2 and 4x3"),
    "no pixels": ([record([], (0, 3))], "an image of 3x0 pixels"),
    "a size of thousands of digits": (
        f'{{"image": {{"height": 1{"0" * 4000}, "width": 9}}, "annotations": []}}',
        "height",
    ),
    "another image": ({"image": {"height": 9, "width": 9}, "annotations": [record([6])]}, "2 sizes, 3x2 and 9x9"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_files_that_hold_no_proposals(tmp_path: Path, name: str) -> None:
    content, said = BAD[name]
    path = tmp_path / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=r"a\.json") as raised:
        read_proposals(path)
    assert said in str(raised.value)


def test_sizes_are_bounded_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_MEGAPIXELS, "1")
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record([10**6 * 10**6], (10**6, 10**6))] * 1000))
    with pytest.raises(DataError, match="megapixels; at most 1 are read"):
        read_proposals(path)
    # thousands of proposals of an image that may be read take no pixel of memory
    path.write_text(json.dumps([record([999_999, 1], (1000, 1000))] * 5000))
    found = read_proposals(path)
    assert len(found) == 5000 and found.union(np.ones(5000, bool)).sum() == 1


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match="a folder, not a file"):
        read_proposals(tmp_path / "a.json")


def test_counts_are_bounded_before_memory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal_records, "MOST", 3)
    monkeypatch.setattr(proposal_records, "MOST_RUNS", 5)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([record([6])] * 4))
    with pytest.raises(DataError, match=r"a\.json: 4 proposals; at most 3 are read"):
        read_proposals(path)
    for counts in ([1, 1, 1, 1, 1, 1], "111111"):
        path.write_text(json.dumps([record(counts)]))
        with pytest.raises(DataError, match="6 runs of pixels; at most 5 are read"):
            read_proposals(path)
