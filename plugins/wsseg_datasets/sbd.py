"""SBD in addition to VOC: the images of `train_aug`, and masks from SBD's MATLAB files. Used by `voc`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wsseg_cli.data.files import stems_in
from wsseg_cli.data.stores import write_mask
from wsseg_cli.data.threads import in_threads
from wsseg_cli.errors import DataError
from wsseg_cli.foreign.mat import read_sbd_mask

from .lists import read_list
from .places import existing, relative

_NAMED = 10  # broken files that a message names


def sbd_folder(root: Path) -> Path:
    """Return the folder with SBD's `cls`, `train.txt` and `val.txt`, wherever `root` points in an unpacked release.

    Raises:
        DataError: it does not exist.
    """
    lists = ["train.txt", "dataset/train.txt", "benchmark_RELEASE/dataset/train.txt"]
    folder = existing(root, lists, "SBD list train.txt").parent
    existing(folder, ["cls"], "folder of SBD's class masks")
    return folder


def sbd_ids(folder: Path) -> list[str]:
    """Return the ids of SBD's own splits train and val, in this order; they divide VOC's images differently."""
    return [*read_list(folder / "train.txt"), *read_list(folder / "val.txt")]


def merged_ids(sbd: Iterable[str], train: Iterable[str], val: Iterable[str]) -> list[str]:
    """Return the ids of `train_aug`: SBD's and VOC's train without VOC's val, sorted. 10 582 with the real splits.

    sbd: ids of SBD's train and val; train, val: VOC's splits.
    """
    return sorted((set(sbd) | set(train)) - set(val))


def sbd_masks(folder: Path, image_ids: Sequence[str], out: Path) -> dict[str, Path]:
    """Return a palette PNG for each of `image_ids` that SBD has a mask of, written to `out` if it is missing.

    Values are 0 for background and class + 1; SBD has no 255.

    Raises:
        DataError: files cannot be read; all are counted, the first ones named.
    """
    known = stems_in(folder / "cls", ".mat")
    wanted = [relative(image_id, "a list").as_posix() for image_id in image_ids if image_id in known]
    done = stems_in(out, ".png")

    def convert(image_id: str) -> str | None:
        try:
            write_mask(out / f"{image_id}.png", read_sbd_mask(folder / "cls" / f"{image_id}.mat"))
        except DataError as error:
            return str(error)
        return None

    failures = [reason for reason in in_threads(convert, [i for i in wanted if i not in done]) if reason]
    if failures:
        lines = "".join(f"\n  {reason}" for reason in failures[:_NAMED])
        more = f"\n  … and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
        raise DataError(f"{folder / 'cls'}: {len(failures)} broken masks:{lines}{more}")
    return {image_id: out / f"{image_id}.png" for image_id in wanted}
