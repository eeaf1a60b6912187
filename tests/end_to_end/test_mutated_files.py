"""Files damaged by a seeded script, through the commands: refused by name, nothing executed, nothing strewn about."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from end_to_end.broken_files import BROKEN
from end_to_end.layouts import LAYOUTS, mask, photo
from end_to_end.mutations import damaged
from wsseg_cli.foreign.npy_out import npy_bytes
from wsseg_cli.main import app

pytestmark = [
    pytest.mark.slow,
    # Hugging Face's datasets leave files open
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KINDS = {
    "voc": ["PHOTO", "MASK", "XML", "LIST"],
    "voc, labels from masks": ["MASK"],
    "sbd": ["MAT", "SBD_LIST"],
    "rsepm": ["PHOTO", "MASK", "XML"],
    "coco": ["PHOTO", "INSTANCES"],
    "folder, CSV": ["PHOTO", "MASK", "SALIENCY", "TABLE", "LIST"],
    "folder, JSONL": ["LINES"],
    "huggingface, imagefolder": ["PHOTO", "MASK", "METADATA"],
    "huggingface, parquet": ["PARQUET"],
}
ALSO_NAMED = {
    "LIST": ("split 'train", "nothere.jpg"),
    "SBD_LIST": ("split 'train", "nothere.jpg"),
    "INSTANCES": ("coco-masks/train/p0.png",),
    "METADATA": ("outside.jpg", "nothere.jpg", "train, row 0"),
    "PARQUET": ("train, row", "p0.jpg", "p1.jpg", "p2.jpg"),
}
"""What else names the culprit: the name or the row in a file that is whole."""

RANDOM = 8
"""Random changes to each file of a layout, besides those after which it must be refused."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that we stand in, which is also home and the place of temporary files."""
    for name in ("here", "home", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    photo(tmp_path / "outside.jpg")  # what names that lead out of a data set would reach
    return tmp_path


def surroundings(home: Path, own: Path) -> dict[str, str]:
    """Return the hash of every file and the name of every folder in `home` that is not below `own`."""
    found = {}
    for path in sorted(home.rglob("*")):
        if path != own and not path.is_relative_to(own):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def refused(home: Path, own: Path, code: int, names: tuple[str, ...], *words: object) -> bool:
    """Run a command that may write below `own`; return whether it refused, as it must, or did what it was asked for.

    A refusal has the exit code `code`, names the file by one of `names`, and is no traceback.
    """
    before = surroundings(home, own)
    done = CliRunner().invoke(app, [str(word) for word in words], prog_name="wsseg")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "Traceback" not in done.output
    assert surroundings(home, own) == before, "something was written outside, or executed"
    assert not list(own.rglob("*.tmp")), "half-written files"
    assert done.exit_code in (0, code), f"exit {done.exit_code}\n{done.output}"
    if done.exit_code:
        assert any(name in done.stderr for name in names), f"none of {names} is named in\n{done.stderr}"
    return bool(done.exit_code)


def changes(kind: str, whole: bytes, seed: str) -> Iterator[tuple[str, bytes, bool]]:
    """Yield (what was done, the changed file, whether it must be refused)."""
    for name, change in BROKEN[kind].items():
        yield name, change(whole, Random(f"{seed}, {name}")), True
    rng = Random(seed)
    for number in range(RANDOM):
        yield f"random change {number}", damaged(whole, rng), False


@pytest.mark.parametrize("layout", LAYOUTS)
def test_data_sets(home: Path, layout: str) -> None:
    if layout.startswith("huggingface"):
        datasets = pytest.importorskip("datasets")
        assert datasets
    data = LAYOUTS[layout](home / "data")
    assert list(data.files) == KINDS[layout]
    recipe = home / "here" / "tiny.yaml"
    recipe.write_text(data.recipe())
    run = home / "run"
    words = ("prepare", "--recipe", recipe, "--run", run)
    assert not refused(home, run, 4, (), *words)
    counts: Counter[str] = Counter()
    problems = []
    for kind, path in data.files.items():
        whole = path.read_bytes()
        for name, changed, must in changes(kind, whole, f"{layout}, {kind}"):
            shutil.rmtree(run)
            path.write_bytes(changed)
            try:
                said_no = refused(home, run, 4, (path.name, f"{path.stem}.", *ALSO_NAMED.get(kind, ())), *words)
                assert said_no or not must, "was taken"
                assert (run / "prepare" / "index.jsonl").exists() != said_no
            except Exception as error:
                said_no = True
                problems.append(f"{kind}: {name}: {type(error).__name__} {error}")
            counts["broken" if must else "refused" if said_no else "valid still"] += 1
        path.write_bytes(whole)
    print(f"{layout}: {dict(counts)}")
    assert not problems, "\n".join(problems)
    assert counts["broken"] == sum(len(BROKEN[kind]) for kind in KINDS[layout])
    assert counts["refused"] + counts["valid still"] == RANDOM * len(data.files)


def vectors(path: Path) -> None:
    path.write_bytes(npy_bytes({"2007_000032": np.eye(3, dtype=np.float32)[0], "b": np.zeros(3, np.float32)}))


def cams(path: Path) -> None:
    path.write_bytes(npy_bytes({3: np.full((4, 5), 0.5, np.float32)}))


def coded(path: Path) -> None:
    mask(path.with_stem("p0")).rename(path)


def checkpoint(path: Path) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}}, path)


CONVERSIONS: dict[str, tuple[str, str, Callable[[Path], None], tuple[str, ...], int]] = {
    "labels": ("VECTORS", "bad.npy", vectors, (), 4),
    "cams": ("CAMS", "bad.npy", cams, (), 4),
    "cams, pickled": ("CAMS", "bad.pkl", cams, (), 4),
    "masks": ("CODED", "bad.png", coded, ("--num-classes", "2"), 4),
    "weights": ("CHECKPOINT", "bad.pth", checkpoint, ("--from", "psa"), 6),
    "weights, MXNet": ("CHECKPOINT", "bad.params", checkpoint, ("--from", "psa"), 6),
    "weights, Caffe": ("CHECKPOINT", "bad.caffemodel", checkpoint, (), 6),
    "weights, safetensors": ("CHECKPOINT", "bad.safetensors", checkpoint, (), 6),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_conversions(home: Path, conversion: str) -> None:
    """One file of a folder is damaged; the other is converted all the same."""
    kind, name, make, options, code = CONVERSIONS[conversion]
    word = conversion.partition(",")[0]
    path = home / "theirs" / name
    path.parent.mkdir()
    make(path)
    whole = path.read_bytes()
    out = home / "ours"
    many = word in ("cams", "masks")
    if many:
        make(path.with_stem("good"))
    source, target = (
        (path.parent, out / "new") if many else (path, out / f"new.{'csv' if word == 'labels' else 'safetensors'}")
    )
    if word == "labels":
        (home / "names.txt").write_text("cat\ndog\ncow\n")
        options = ("--classes", str(home / "names.txt"))
    words = ("convert", word, source, target, *options)
    counts: Counter[str] = Counter()
    problems = []
    for what, changed, must in changes(kind, whole, conversion):
        shutil.rmtree(out, ignore_errors=True)
        path.write_bytes(changed)
        try:
            said_no = refused(home, out, code, (name, "'bad'"), *words)
            assert said_no or not must, "was taken"
            written = sorted(file.stem for file in out.rglob("*") if file.is_file())
            assert bool(written) if not said_no else written == (["good"] if many else [])
        except Exception as error:
            said_no = True
            problems.append(f"{what}: {type(error).__name__} {error}")
        counts["broken" if must else "refused" if said_no else "valid still"] += 1
    print(f"convert {conversion}: {dict(counts)}")
    assert not problems, "\n".join(problems)
    assert counts["broken"] == len(BROKEN[kind])


def test_there_are_two_hundred() -> None:
    broken = [name for kinds in KINDS.values() for kind in kinds for name in BROKEN[kind]]
    converted = [name for kind, *_ in CONVERSIONS.values() for name in BROKEN[kind]]
    assert len(broken) >= 200 and len(converted) >= 60
    assert set(BROKEN) == {k for kinds in KINDS.values() for k in kinds} | {k for k, *_ in CONVERSIONS.values()}


def test_a_made_photo_above_the_limit_is_one() -> None:
    import io

    with Image.open(io.BytesIO(BROKEN["PHOTO"]["of 110 megapixels"](b"", Random(0)))) as picture:
        assert picture.width * picture.height == 110_000_000
