"""`wsseg export masks`: the masks of a run or of a folder as a labelling tool's file, or as palette PNGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ..data.class_files import read_class_names
from ..data.files import write_text
from ..data.index import Index, read_index
from ..data.palette import voc_colours
from ..data.stores import MaskStore, checked_mask
from ..errors import DataError, RecipeError, StageError
from ..foreign import coco_file, cvat, label_studio
from ..foreign.regions import Picture
from ..rank import kept_scores
from ..recipe.sections import Recipe
from ..run.directory import RunDir
from ..status import open_existing
from ..types import IGNORE, ClassNames, means_no_class
from .chosen import listed, scores_in
from .photos import Photos

Target = Literal["coco", "cvat", "label-studio", "png"]
What = Literal["pseudo", "seg"]

_SUFFIXES = {"coco": (".json",), "cvat": (".xml", ".zip"), "label-studio": (".json",)}
_OVERLAYS = "overlays"  # where `wsseg predict --overlay` draws, next to its masks


@dataclass(frozen=True)
class Choice:
    """How the masks are exported.

    Attributes:
        ignore: name of the label for the pixels of 255; None leaves them unlabelled.
        instances: one region per connected component, else one per class.
        scores: JSON with a score by image id, which tools sort by; None: those of a run's ranking, if it keeps one.
        images: file with the ids of the wanted images, one per line; None: all.
        prefix: what precedes a photo's name in Label Studio, such as /data/local-files/?d=photos/.
    """

    ignore: str | None = None
    instances: bool = False
    scores: Path | None = None
    images: Path | None = None
    prefix: str = ""


@dataclass
class ExportedMasks:
    """The outcome: file or folder, photos, classes, and remarks, such as what the format cannot hold."""

    out: Path
    images: int = 0
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Mask:
    image_id: str
    file_name: str
    path: Path
    size: tuple[int, int] | None


def run(
    source: Path,
    out: Path,
    to: Target,
    choice: Choice = Choice(),
    *,
    what: What | None = None,
    split: str | None = None,
    classes: Path | None = None,
    photos: Path | None = None,
    force: bool = False,
) -> ExportedMasks:
    """Write masks for a labelling tool, whole or not at all (PNGs one by one, after all have been checked).

    source: a run, or a folder of palette PNGs, which needs classes. out: for "cvat", FILE.xml is "CVAT for images 1.1",
    FILE.zip "Segmentation mask 1.1"; for "png" a folder. what, split: which masks of a run; by default pseudo-masks of
    all splits if the recipe has them, else the network's of `val`. photos: folder with the photos of a mask folder.
    force: write PNGs into a folder that holds something, where masks may have been corrected.

    Raises:
        RecipeError: options do not go together. StageError: the run has no such masks. DataError: a mask has invalid
        values or not the size of its photo, photos are missing, or the tool cannot hold a name.
    """
    _check(out, to, choice)
    if (source / "recipe.yaml").is_file():
        if classes is not None or photos is not None:
            raise RecipeError(
                f"{source} is a run, which knows its classes and photos; leave --classes and --photos out"
            )
        names, masks = _of_run(open_existing(source), what, split)
    else:
        if what is not None or split is not None:
            raise RecipeError(f"{source} is not a run; --what and --split choose masks of one")
        names, masks = _of_folder(source, out, classes, photos)
    if to == "png" and not force and out.is_dir() and any(out.iterdir()):
        raise RecipeError(f"--out {out}: holds files, perhaps corrected masks; choose another or add --force")
    if choice.images is not None:
        wanted = listed(choice.images, [one.image_id for one in masks])
        masks = [one for one in masks if one.image_id in wanted]
    labels = _labels(names, choice.ignore)
    result = ExportedMasks(out, classes=tuple(names))
    if photos is None and not (source / "recipe.yaml").is_file() and to != "png":
        result.notes.append("photos are named like the masks; --photos DIR gives their own names")
    scores = _scores(source, to, choice, [one.image_id for one in masks], result)
    with_ignore: list[str] = []

    def pictures() -> Iterator[Picture]:
        for one in masks:
            mask = checked_mask(one.path, names, one.size)
            if (mask == IGNORE).any():
                with_ignore.append(one.image_id)
            yield Picture(one.image_id, one.file_name, mask, scores.get(one.image_id))

    result.images = _writer(source, out, to, choice)(labels, pictures)
    if with_ignore and IGNORE not in labels and to != "png":
        result.notes.append(
            f"{len(with_ignore)} masks hold {IGNORE}, which {to} has no pixels for: they are left without a label, and "
            "come back as background; --ignore NAME keeps them under a label"
        )
    return result


_Write = Callable[[Mapping[int, str], Callable[[], Iterator[Picture]]], int]


def _writer(source: Path, out: Path, to: Target, choice: Choice) -> _Write:
    """Return the function that checks the labels, writes the pictures and counts them."""

    def coco(labels: Mapping[int, str], pictures: Callable[[], Iterator[Picture]]) -> int:
        return coco_file.write(out, labels, pictures(), choice.instances)

    def for_cvat(labels: Mapping[int, str], pictures: Callable[[], Iterator[Picture]]) -> int:
        archive = out.suffix.lower() == ".zip"
        cvat.refuse(list(labels.values()), archive)
        if archive:
            return cvat.write_archive(out, labels, pictures(), voc_colours())
        return cvat.write_xml(out, labels, pictures(), voc_colours(), choice.instances)

    def studio(labels: Mapping[int, str], pictures: Callable[[], Iterator[Picture]]) -> int:
        label_studio.refuse(list(labels.values()))
        version = f"wsseg {source.name}"
        return label_studio.write(
            out, labels, pictures(), voc_colours(), choice.instances, prefix=choice.prefix, version=version
        )

    def png(labels: Mapping[int, str], pictures: Callable[[], Iterator[Picture]]) -> int:
        for _ in pictures():
            pass  # unusable masks raise here, before the first one is written
        count = 0
        for picture in pictures():
            MaskStore(out).write(picture.image_id, picture.mask)
            count += 1
        write_text(out / "classes.txt", "".join(f"{name}\n" for name in labels.values()))
        return count

    writers: dict[Target, _Write] = {"coco": coco, "cvat": for_cvat, "label-studio": studio, "png": png}
    return writers[to]


def _check(out: Path, to: Target, choice: Choice) -> None:
    if to not in get_args(Target):
        raise RecipeError(f"unknown target {to!r}; expected one of {', '.join(get_args(Target))}")
    suffixes = _SUFFIXES.get(to, ())
    if suffixes and out.suffix.lower() not in suffixes:
        raise RecipeError(f"--out {out}: --to {to} writes {' or '.join('FILE' + suffix for suffix in suffixes)}")
    if to == "png" and out.is_file():
        raise RecipeError(f"--out {out}: is a file; --to png writes a folder")
    if (to == "png" or out.suffix.lower() == ".zip") and choice.instances:
        raise RecipeError("--instances: masks of values hold no instances; coco, label-studio and cvat's XML do")
    if to == "png" and choice.ignore is not None:
        raise RecipeError(f"--ignore {choice.ignore}: PNGs hold {IGNORE} as it is")
    if to != "label-studio" and (choice.scores is not None or choice.prefix):
        raise RecipeError(f"--scores and --prefix: only for --to label-studio, not for {to}")


def _labels(classes: ClassNames, ignore: str | None) -> dict[int, str]:
    """Return the labels by mask value.

    Raises:
        DataError: a name cannot be encoded as text. RecipeError: `ignore` is a class or means background.
    """
    labels = dict(enumerate(classes, 1))
    if ignore is not None:
        if ignore in classes or not ignore.strip() or means_no_class(ignore.strip("_- ")):
            raise RecipeError(f"--ignore {ignore}: is a class or stands for background; choose another name")
        labels[IGNORE] = ignore
    for name in labels.values():
        if not name.strip() or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"class {name!r:.80}: no file can hold this name; rename the class")
    return labels


def _of_run(run: RunDir, what: What | None, split: str | None) -> tuple[ClassNames, list[_Mask]]:
    recipe = run.recipe.recipe
    index = read_index(run.folder("prepare"))
    what = what or ("pseudo" if recipe.pseudo is not None else "seg")
    if what not in get_args(What):
        raise RecipeError(f"--what {what}: expected one of {', '.join(get_args(What))}")
    if what == "seg":
        folder, split = _predicted(run, recipe, split)
    else:
        run.require("pseudo", [split] if split else [])
        folder = run.folder("pseudo")
    samples = index.samples(*([split] if split else index.splits()))
    missing = MaskStore(folder).missing([sample.image_id for sample in samples])
    if split is not None and missing:
        raise StageError(
            f"{folder}: {len(missing)} of {len(samples)} masks of {split} are missing, such as {missing[0]}"
        )
    left_out = set(missing)
    masks = [_of_sample(index, sample.image_id, folder) for sample in samples if sample.image_id not in left_out]
    if not masks:
        raise StageError(f"{folder}: holds no masks; run the stage that writes them first")
    gone = [one for one in masks if not index.entries[one.image_id].sample.image.is_file()]
    if gone:
        raise DataError(f"{len(gone)} photos are missing, such as {index.entries[gone[0].image_id].sample.image}")
    return index.classes, masks


def _predicted(run: RunDir, recipe: Recipe, split: str | None) -> tuple[Path, str]:
    """Return the folder of the network's masks of a split, and the name of the split."""
    split = split or recipe.dataset.val or recipe.dataset.train[0]
    folder = run.folder("eval") / f"seg-{split}"
    changed = run.changes("eval")
    if changed or not folder.is_dir():
        why = f"made otherwise: {'; '.join(changed)}" if changed else "is missing"
        raise StageError(f"{folder}: {why}; run `wsseg eval --what seg --split {split}` first")
    return folder, split


def _of_sample(index: Index, image_id: str, folder: Path) -> _Mask:
    suffix = index.entries[image_id].sample.image.suffix
    name = image_id if image_id.lower().endswith(suffix.lower()) and suffix else image_id + suffix
    return _Mask(image_id, name, MaskStore(folder).path(image_id), index.size(image_id))


def _of_folder(folder: Path, out: Path, classes: Path | None, photos: Path | None) -> tuple[ClassNames, list[_Mask]]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run or folder")
    if classes is None:
        raise RecipeError(f"{folder}: masks hold numbers; --classes FILE says which names they stand for, from 1 on")
    if out.resolve() == folder.resolve():
        raise RecipeError(f"{out}: would overwrite the masks that are read; name another folder")
    names = read_class_names(classes)
    found = sorted(path for path in folder.rglob("*.png") if path.is_file() and not path.name.startswith("."))
    inner = [path.relative_to(folder) for path in found]
    paths = {inside.with_suffix("").as_posix(): folder / inside for inside in inner if inside.parts[0] != _OVERLAYS}
    if not paths:
        raise DataError(f"{folder}: holds no masks (.png)")
    if photos is None:
        return names, [_Mask(name, f"{name}.png", path, None) for name, path in paths.items()]
    there = Photos(photos)
    ids = {name: there.find(name) for name in paths}
    lone = [name for name, image_id in ids.items() if image_id is None]
    if lone:
        raise DataError(f"{photos}: {len(lone)} of {len(paths)} masks have no photo there, such as {paths[lone[0]]}")
    masks = []
    for name, image_id in ids.items():
        mask = checked_mask(paths[name], names)
        there.check(image_id or name, (int(mask.shape[0]), int(mask.shape[1])))
        masks.append(_Mask(image_id or name, there.file_name(image_id or name), paths[name], None))
    twice = len(masks) - len({one.image_id for one in masks})
    if twice:
        raise DataError(f"{folder}: {twice} photos of {photos} have several masks")
    return names, masks


def _scores(source: Path, to: Target, choice: Choice, ids: list[str], result: ExportedMasks) -> Mapping[str, float]:
    if choice.scores is not None:
        return scores_in(choice.scores, ids, result.notes)
    if to != "label-studio" or not (source / "recipe.yaml").is_file():
        return {}
    scores, said = kept_scores(open_existing(source))
    result.notes += [said] if said else []
    return scores
