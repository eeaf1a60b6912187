from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dev_data import dev_data
from golden_cases import Case, golden
from PIL import Image
from wsseg_datasets.lists import id_of_line, read_list

from wsseg_cli.convert.labels import Labels, read_labels, run, write_labels_npy
from wsseg_cli.data.index import Entry, Index, write_index
from wsseg_cli.errors import DataError, RecipeError, StageError
from wsseg_cli.foreign.npy import read
from wsseg_cli.types import ClassNames, Sample


@golden("cls_labels_npy")
def test_file_in_the_published_format(case: Case) -> None:
    case.check("names_from_lines", np.array([id_of_line(str(line)) for line in case.inputs["line_examples"]]))
    labels = read_labels(case.folder / "small_cls_labels.npy")
    case.check("first3_names", np.array(list(labels.vectors)))
    case.check("first3_labels", np.stack(list(labels.vectors.values())))


@golden("cls_labels_npy")
def test_facts_of_the_released_file(case: Case) -> None:
    folder = dev_data("voc12_masks")
    labels = read_labels(folder / "cls_labels.npy").vectors
    ids = {
        name: read_list(folder / "ImageSets" / "Segmentation" / f"{name}.txt") for name in ("train", "train_aug", "val")
    }
    first = list(labels)[:3]
    everything = np.stack(list(labels.values()))
    case.check_all(
        {
            "names_from_lines": np.array([id_of_line(str(line)) for line in case.inputs["line_examples"]]),
            "first3_names": np.array(first),
            "first3_labels": np.stack([labels[image_id] for image_id in first]),
            "n_entries": len(labels),
            "class_counts_all": everything.sum(0).astype(int),
            **{f"class_counts_{n}": sum(labels[i] for i in ids[n]).astype(int) for n in ids},
            "n_lines": np.array([len(ids[name]) for name in ("train", "train_aug", "val")]),
            "labels_per_image_hist": np.bincount(everything.sum(1).astype(int)),
            "label_2007_000032": labels["2007_000032"],
        }
    )


def test_comparison_with_masks(tmp_path: Path) -> None:
    folder = dev_data("voc12_masks")
    done = run(folder / "cls_labels.npy", tmp_path / "by_number.npy", keys="number", masks=folder / "SegmentationClass")
    assert done.images == 12031 and done.without == 0 and done.agreement is not None
    assert done.agreement.compared == 2913 and 0.9 < done.agreement.equal / done.agreement.compared < 1
    again = read(tmp_path / "by_number.npy")
    assert 2007000032 in again and len(again) == 12031


CLASSES = ClassNames(["dog", "sofa", "cat"])
VECTORS = {
    "2007_000032": np.array([1, 0, 1], np.float32),
    "2008_000001": np.array([0, 0, 0], np.float32),
    "2009_000002": np.array([0, 1, 0], np.float32),
}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("keys", ["id", "number"])
def test_there_and_back(tmp_path: Path, suffix: str, keys: str) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("background\ndog\nsofa\ncat\n")
    write_labels_npy(tmp_path / "a.npy", Labels(VECTORS, None), keys)
    assert next(iter(np.load(tmp_path / "a.npy", allow_pickle=True).item())) == (
        "2007_000032" if keys == "id" else 2007000032
    )
    done = run(tmp_path / "a.npy", tmp_path / f"b{suffix}", classes=names)
    assert (done.images, done.without, done.counts) == (3, 1, (1, 1, 1))
    back = run(tmp_path / f"b{suffix}", tmp_path / "c.npy", classes=names)
    assert back.counts == (1, 1, 1)
    got = read_labels(tmp_path / "c.npy").vectors
    assert list(got) == list(VECTORS)
    for image_id, vector in VECTORS.items():
        np.testing.assert_array_equal(got[image_id], vector)


def test_a_run_that_was_prepared(tmp_path: Path) -> None:
    samples = [Sample("a", Path("a.jpg"), (0, 2)), Sample("sub/b", Path("b.jpg"), ())]
    index = Index([Entry(sample, ("train",), (4, 5)) for sample in samples], CLASSES)
    write_index(tmp_path / "run" / "prepare", index, {})
    done = run(tmp_path / "run", tmp_path / "l.csv")
    assert done.counts == (1, 0, 1) and done.without == 1
    assert (tmp_path / "l.csv").read_text().splitlines() == ["image,labels", "a,dog;cat", "sub/b,"]
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    run(tmp_path / "run", tmp_path / "l.npy", classes=tmp_path / "names.txt")
    vectors = read(tmp_path / "l.npy")
    assert {i: v.tolist() for i, v in vectors.items()} == {"a": [1, 1], "sub/b": [0, 0]}
    with pytest.raises(StageError, match="run `wsseg prepare` first"):
        run(tmp_path, tmp_path / "l.npy")


def test_disagreement_by_class(tmp_path: Path) -> None:
    write_labels_npy(tmp_path / "a.npy", Labels(VECTORS, None))
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8)).save(tmp_path / "masks" / "2007_000032.png")
    Image.fromarray(np.array([[2, 0]], np.uint8)).save(tmp_path / "masks" / "2009_000002.png")
    agreement = run(tmp_path / "a.npy", tmp_path / "b.npy", masks=tmp_path / "masks").agreement
    assert agreement is not None and (agreement.compared, agreement.equal) == (2, 1)
    assert agreement.only_labels == (0, 0, 1) and agreement.only_masks == (0, 1, 0)


def test_what_does_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "a.npy"
    write_labels_npy(source, Labels(VECTORS, None))
    (tmp_path / "two.txt").write_text("dog\nsofa\n")
    with pytest.raises(RecipeError, match="--classes"):
        run(source, tmp_path / "b.csv")
    with pytest.raises(RecipeError, match="written as"):
        run(source, tmp_path / "b.txt")
    with pytest.raises(DataError, match="3 classes, but 2 names"):
        run(source, tmp_path / "b.csv", classes=tmp_path / "two.txt")
    with pytest.raises(DataError, match="has no number"):
        write_labels_npy(source, Labels({"a": VECTORS["2007_000032"]}, None), "number")
    for value in (
        [1, 2],
        {},
        {"a": 3},
        {"a": np.zeros((2, 2))},
        {"a": np.array([0.5])},
        {"a": np.zeros(2), "b": np.zeros(3)},
    ):
        np.save(source, np.array(value, dtype=object) if isinstance(value, dict) else np.array(value))
        with pytest.raises(DataError, match=r"a\.npy"):
            read_labels(source)
    (tmp_path / "t.csv").write_text("image,labels\na,dog;cow\n")
    (tmp_path / "three.json").write_text('["dog", "sofa", "cat"]')
    with pytest.raises(DataError, match="'a': unknown class 'cow'"):
        run(tmp_path / "t.csv", source, classes=tmp_path / "three.json")
