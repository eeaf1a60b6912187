"""A folder of photos: tables, class folders, lists, masks and EXIF orientation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from wsseg_datasets.folder import Folder

from wsseg_cli.errors import DataError


def photo(path: Path, size: tuple[int, int] = (8, 6), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)
    return path


def folder(root: Path, **options: Any) -> Folder:
    return Folder(Folder.Options(root=root, **options), root / "work")


def both(data: Folder) -> dict[str, Any]:
    return {s.image_id: s for split in ("train", "val") for s in data.samples(split)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(20):
        photo(tmp_path / "trip" / f"p{i:02d}.jpg")
    rows = [f"trip/p{i:02d}.jpg,{'dog' if i % 2 else 'cat;dog'}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("image,labels\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_a_table_of_labels(photos: Path) -> None:
    data = folder(photos, labels=Path("labels.csv"))
    assert list(data.classes()) == ["cat", "dog"]
    samples = both(data)
    assert len(samples) == 20
    assert samples["trip/p00"].labels == (0, 1) and samples["trip/p01"].labels == (1,)
    assert all(s.image.is_file() and s.mask is None for s in samples.values())


def test_the_division_depends_on_the_id_alone(photos: Path) -> None:
    before = {s.image_id for s in folder(photos, labels=Path("labels.csv")).samples("val")}
    photo(photos / "trip" / "new.jpg")
    with (photos / "labels.csv").open("a") as table:
        table.write("trip/new,dog\n")
    after = {s.image_id for s in folder(photos, labels=Path("labels.csv")).samples("val")}
    assert 0 < len(before) < 10
    assert before == after - {"trip/new"}


def test_jsonl_and_ids_without_suffix(photos: Path) -> None:
    (photos / "l.jsonl").write_text(
        '{"image": "trip/p00", "labels": ["a b", "c"]}\n\n{"image": "trip/p01.jpg", "labels": "c|d"}\n'
        '{"image": "trip/p02", "labels": []}\n'
    )
    (photos / "all.txt").write_text("trip/p00.jpg\ntrip/p01\ntrip/p02\n")
    data = folder(photos, labels=Path("l.jsonl"), lists={"all": Path("all.txt")})
    assert [s.labels for s in data.samples("all")] == [(0, 1), (1, 2), ()]
    assert data.facts()["photos that the table does not name"] == 17
    with pytest.raises(DataError, match="no split 'train'; the option `lists` has all"):
        list(data.samples("train"))


def test_class_folders(tmp_path: Path) -> None:
    for name in ("dog/a.jpg", "dog/b.png", "cat/deep/a.jpg", "cat/.hidden.jpg", "stray.jpg"):
        photo(tmp_path / name)
    (tmp_path / "all.txt").write_text("dog/a\ndog/b\ncat/deep/a\n")
    data = folder(tmp_path, lists={"all": Path("all.txt")})
    assert list(data.classes()) == ["cat", "dog"]
    assert {s.image_id: s.labels for s in data.samples("all")} == {"dog/a": (1,), "dog/b": (1,), "cat/deep/a": (0,)}


def test_masks_need_class_names_and_are_no_photos(tmp_path: Path) -> None:
    photo(tmp_path / "dog" / "a.jpg")
    photo(tmp_path / "dog" / "b.jpg")
    photo(tmp_path / "masks" / "dog" / "a.png")
    (tmp_path / "all.txt").write_text("dog/a\ndog/b\n")
    options = {"masks": Path("masks"), "lists": {"all": Path("all.txt")}}
    with pytest.raises(DataError, match="option `classes`"):
        folder(tmp_path, **options).classes()
    data = folder(tmp_path, classes=("cat", "dog"), **options)
    first, second = data.samples("all")
    assert first.mask == tmp_path / "masks" / "dog" / "a.png" and second.mask is None
    assert first.labels == (1,)


def exif_folder(
    root: Path, photos: dict[str, tuple[tuple[int, int], int, tuple[int, int] | None]], **options: Any
) -> Any:
    """A data set of photos {name: (stored size, orientation, size of the mask)}, and its samples."""
    (root / "masks").mkdir()
    for name, (size, orientation, mask) in photos.items():
        photo(root / "dog" / f"{name}.jpg", size, orientation)
        if mask:
            photo(root / "masks" / "dog" / f"{name}.png", mask)
    (root / "all.txt").write_text("".join(f"dog/{name}\n" for name in photos))
    data = folder(root, classes=("dog",), masks=Path("masks"), lists={"all": Path("all.txt")}, **options)
    return data, [s.orientation for s in data.samples("all")]


WIDE, TALL, SQUARE = (8, 6), (6, 8), (8, 8)


@pytest.mark.parametrize(
    ("photos", "applied", "said"),
    [
        ({"a": (WIDE, 6, None), "b": (WIDE, 3, None)}, [6, 3], "nothing tells"),
        ({"a": (WIDE, 6, TALL), "b": (WIDE, 3, WIDE)}, [6, 3], "2 turned, 0 as stored"),
        ({"a": (WIDE, 8, WIDE), "b": (WIDE, 3, WIDE)}, [1, 1], "0 turned, 2 as stored"),
        ({"a": (WIDE, 3, WIDE), "b": (WIDE, 2, WIDE), "c": (WIDE, 4, WIDE)}, [3, 2, 4], "nothing tells"),
        ({"a": (SQUARE, 6, SQUARE), "b": (WIDE, 1, WIDE)}, [6, 1], "1 photos have one: 1 turned"),
        ({"a": (SQUARE, 5, SQUARE), "b": (WIDE, 7, WIDE)}, [1, 1], "0 turned, 2 as stored"),
        ({"a": (WIDE, 6, TALL), "b": (WIDE, 8, WIDE), "c": (WIDE, 3, WIDE)}, [6, 1, 3], "each as the size"),
        ({"a": (WIDE, 1, WIDE)}, [1], None),
    ],
)
def test_masks_tell_whether_exif_orientation_is_applied(
    tmp_path: Path, photos: dict[str, Any], applied: list[int], said: str | None
) -> None:
    data, found = exif_folder(tmp_path, photos)
    assert found == applied
    assert (said in data.facts()["EXIF orientation"]) if said else "EXIF orientation" not in data.facts()


@pytest.mark.parametrize(("rule", "applied"), [("apply", [6, 3]), ("ignore", [1, 1])])
def test_an_option_says_whether_exif_orientation_is_applied(tmp_path: Path, rule: str, applied: list[int]) -> None:
    photos: dict[str, Any] = {"a": (SQUARE, 6, SQUARE), "b": (WIDE, 3, WIDE)}
    data, found = exif_folder(tmp_path, photos, orientation=rule)
    assert found == applied and f"orientation: {rule}" in data.facts()["EXIF orientation"]


@pytest.mark.parametrize(
    ("pattern", "file"),
    [("{id}_mask.png", "dog/a_mask.png"), ("{name}.png", "dog/a.jpg.png"), ("seg/{id}.bmp", "seg/dog/a.bmp")],
)
def test_names_of_masks(tmp_path: Path, pattern: str, file: str) -> None:
    photo(tmp_path / "dog" / "a.jpg")
    photo(tmp_path / "masks" / file)
    photo(tmp_path / "masks" / "stray.png")
    (tmp_path / "all.txt").write_text("dog/a\n")
    options = {"classes": ("dog",), "masks": Path("masks"), "lists": {"all": Path("all.txt")}}
    data = folder(tmp_path, mask_name=pattern, **options)
    assert [s.mask for s in data.samples("all")] == [tmp_path / "masks" / file]
    assert data.facts()["masks that match no photo"] == "1, such as stray.png (option mask_name)"
    with pytest.raises(DataError, match=r"none is named after one of the 1 photos .*mask_name: '.*\{id\}"):
        list(folder(tmp_path, **options).samples("all"))
    for broken in ("mask.png", "../{id}.png", "{id:d}.png"):
        with pytest.raises(DataError, match="mask_name"):
            list(folder(tmp_path, mask_name=broken, **options).samples("all"))


def test_converted_masks_of_photos_in_folders(tmp_path: Path) -> None:
    photo(tmp_path / "dog" / "a.jpg")
    photo(tmp_path / "masks" / "dog%2Fa.png")
    (tmp_path / "all.txt").write_text("dog/a\n")
    data = folder(tmp_path, classes=("dog",), masks=Path("masks"), lists={"all": Path("all.txt")})
    assert [s.mask for s in data.samples("all")] == [tmp_path / "masks" / "dog%2Fa.png"]


def test_class_folders_below_folders_of_lists(tmp_path: Path) -> None:
    for name in ("train/dog/1.jpg", "train/cat/1.jpg", "valid/dog/1.jpg"):
        photo(tmp_path / name)
    data = folder(tmp_path)
    assert list(data.classes()) == ["cat", "dog"]
    assert {s.image_id: s.labels for s in data.samples("train")} == {"train/cat/1": (0,), "train/dog/1": (1,)}
    assert {s.image_id: s.labels for s in data.samples("val")} == {"valid/dog/1": (1,)}
    with pytest.raises(DataError, match="there are train and val"):
        list(data.samples("test"))


def test_classes_named_train_and_val_in_folders_are_classes(tmp_path: Path) -> None:
    for name in ("train/1.jpg", "bus/2.jpg", "bus/old/3.jpg"):
        photo(tmp_path / name)
    assert list(folder(tmp_path).classes()) == ["bus", "train"]


@pytest.mark.parametrize("name", ["background", "_background_", "__ignore__", "Background"])
def test_names_that_mean_no_class(photos: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"'{name}' cannot be a class.*rename"):
        folder(photos, labels=Path("labels.csv"), classes=(name, "cat", "dog")).classes()
    (photos / "labels.csv").write_text(f"image,labels\ntrip/p00,{name}\ntrip/p01,dog\n")
    with pytest.raises(DataError, match=f"'{name}' cannot be a class"):
        folder(photos, labels=Path("labels.csv")).classes()
    renaming = folder(photos, labels=Path("labels.csv"), rename={name: None, "dog": "Dog"}, val_share=0.001)
    assert list(renaming.classes()) == ["Dog"]
    assert [s.labels for s in renaming.samples("train")] == [(), (0,)]
    given = folder(photos, labels=Path("labels.csv"), classes=("dog",), val_share=0.001)
    assert [s.labels for s in given.samples("train")] == [(), (0,)]


def test_bad_entries_are_collected(photos: Path) -> None:
    (photos / "labels.csv").write_text("image,labels\ntrip/p00,dgo\ntrip/p01,dog\n../x,dog\n,dog\n")
    (photos / "list.txt").write_text("trip/p00\ntrip/p01\ntrip/p99\n")
    data = folder(photos, labels=Path("labels.csv"), classes=("dog",), lists={"train": Path("list.txt")})
    data.bad = {}
    assert [s.image_id for s in data.samples("train")] == ["trip/p01"]
    assert len(data.bad) == 4 and "did you mean 'dog'" in data.bad["trip/p00"]


def test_labels_from_masks(tmp_path: Path) -> None:
    for name in ("a", "sub/b", "c", "broken"):
        photo(tmp_path / f"{name}.jpg")
    for name, value in (("a", 2), ("sub/b", 255)):
        path = photo(tmp_path / "masks" / f"{name}.png")
        Image.new("L", (8, 6), value).save(path)
    (tmp_path / "masks" / "broken.png").write_bytes(b"")  # prepare names it
    (tmp_path / "all.txt").write_text("a\nsub/b\nc\nbroken\n")
    options = {"labels": "masks", "lists": {"all": Path("all.txt")}, "classes": ("cat", "dog")}
    data = folder(tmp_path, masks=Path("masks"), **options)
    assert {s.image_id: s.labels for s in data.samples("all")} == {"a": (1,), "sub/b": (), "c": (), "broken": ()}
    with pytest.raises(DataError, match="needs the option `masks`"):
        folder(tmp_path, **options).facts()


@pytest.mark.parametrize(("size", "applied"), [((6, 8), True), ((8, 6), False)], ids=["turned", "as stored"])
def test_saliency_maps_of_the_stored_size_forbid_turning_too(
    tmp_path: Path, size: tuple[int, int], applied: bool
) -> None:
    photo(tmp_path / "dog" / "a.jpg", orientation=6)
    photo(tmp_path / "saliency" / "dog" / "a.png", size)
    (tmp_path / "all.txt").write_text("dog/a\n")
    (sample,) = folder(tmp_path, saliency=Path("saliency"), lists={"all": Path("all.txt")}).samples("all")
    assert sample.orientation == (6 if applied else 1)


def test_files_that_cannot_be_read_are_left_to_prepare(tmp_path: Path) -> None:
    photo(tmp_path / "dog" / "a.jpg")
    (tmp_path / "dog" / "b.jpg").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("image,labels\ndog/a.jpg,dog\ndog/b.jpg,dog\ndog/gone.jpg,dog\n")
    (tmp_path / "all.txt").write_text("dog/a\ndog/b\ndog/gone\n")
    data = folder(tmp_path, labels=Path("labels.csv"), lists={"all": Path("all.txt")})
    assert [s.image.name for s in data.samples("all")] == ["a.jpg", "b.jpg", "gone.jpg"]


def test_names_and_ids_that_mean_nothing(photos: Path) -> None:
    with pytest.raises(DataError, match=r"trip/p\d+': unknown class 'dog'.*did you mean 'dogs'"):
        both(folder(photos, labels=Path("labels.csv"), classes=("cat", "dogs")))
    (photos / "list.txt").write_text("trip/p00\ntrip/p99\n")
    with pytest.raises(DataError, match="image 'trip/p99' is not in the data set"):
        list(folder(photos, labels=Path("labels.csv"), lists={"train": Path("list.txt")}).samples("train"))
    (photos / "labels.csv").write_text("image,labels\n../../etc/passwd.png,dog\n")
    with pytest.raises(DataError, match="expected a path inside its folder"):
        both(folder(photos, labels=Path("labels.csv")))


def test_one_id_for_two_files(tmp_path: Path) -> None:
    photo(tmp_path / "dog" / "a.jpg")
    photo(tmp_path / "dog" / "a.png")
    with pytest.raises(DataError, match=r"'dog/a' stands for dog/a.jpg and dog/a.png"):
        folder(tmp_path).classes()
    (tmp_path / "labels.csv").write_text("image,labels\ndog/a.jpg,dog\ndog/a.png,cat\n")
    with pytest.raises(DataError, match="ids must be unique"):
        folder(tmp_path, labels=Path("labels.csv")).classes()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere of photos"):
        folder(tmp_path / "nowhere").classes()
    with pytest.raises(DataError, match="neither class folders"):
        folder(tmp_path).classes()
    photo(tmp_path / "dog" / "a.jpg")
    with pytest.raises(DataError, match=r"too few to divide|no folder"):
        both(folder(tmp_path))
    with pytest.raises(DataError, match="`saliency`"):
        list(folder(tmp_path, saliency=Path("sal")).samples("train"))
    with pytest.raises(DataError, match="without the option `lists`"):
        list(folder(tmp_path).samples("test"))
