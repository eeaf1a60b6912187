"""`wsseg rank`: which photos to label next, why, and what becomes of the ranking."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_run import write_run
from typer.testing import CliRunner, Result

from wsseg_cli.data.index import Entry, Index, read_index, write_index
from wsseg_cli.data.stores import MaskStore, ScoreStore, write_mask
from wsseg_cli.main import app
from wsseg_cli.status import open_existing
from wsseg_cli.types import ScoreMap

TRAINING = """\
weights: none, batch_size: 2, max_steps: 1, optim: {name: sgd, lr: 0.01}"""
RECIPE = f"""\
name: ranked
seed: 0
dataset: {{name: toy, options: {{}}, train: train, val: null, score: train}}
train_cls: {{method: {{name: cam, options: {{backbone: small}}}}, {TRAINING}}}
cam: {{infer: {{scales: [1.0]}}}}
pseudo: {{background: {{threshold: 0.5}}}}
train_seg:
  segmenter: {{name: deeplabv2, options: {{backbone: small, form: v2_small}}}}
  masks: corrected
  corrected: HAND
  weights: none
  batch_size: 2
  max_steps: 1
  optim: {{name: sgd, lr: 0.01}}
"""
CLASSES = ("cat", "dog")
SURE, RIVALS, FAINT = (1.0, 0.0), (0.5, 0.5), (0.5, 0.0)
"""Scores of cat and dog on the object, which takes half of the picture, against a background of 0.5."""


def wsseg(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "300"})


def finished(folder: Path, *stages: str) -> None:
    opened = open_existing(folder)
    for stage in stages:
        opened.begin(stage)
        opened.finish(stage, ["train"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run whose maps are sure of the first image, undecided between classes in the second, faint in the third.

    Network and pseudo-mask agree on all but the last image.
    """
    folder = write_run(tmp_path / "ranked", CLASSES)
    (tmp_path / "hand").mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.replace("HAND", str(tmp_path / "hand")), encoding="utf-8")
    index = read_index(folder / "prepare")
    entries = [Entry(entry.sample, ("train",), entry.size) for entry in index.entries.values()]
    content = write_index(folder / "prepare", Index(entries, index.classes), {})
    opened = open_existing(folder)
    opened.begin("prepare")
    opened.finish("prepare", index=content, counts={"train": 4})
    for number, entry in enumerate(entries):
        maps = np.zeros((2, 24, 32), np.float32)
        maps[:, :12] = np.array((SURE, RIVALS, FAINT, SURE)[number])[:, None, None]
        image_id = entry.sample.image_id
        ScoreStore(folder / "cam").write(ScoreMap(image_id, np.arange(2), maps, (24, 32)))
        mask = np.zeros((24, 32), np.uint8)
        mask[:12] = 1
        MaskStore(folder / "pseudo").write(image_id, mask)
        MaskStore(folder / "eval" / "seg-train").write(image_id, np.where(mask, 2, mask) if number == 3 else mask)
    finished(folder, "cam", "pseudo", "train-seg", "eval")
    return folder


def ranking(run: Path, by: str, *words: object) -> list[tuple[str, float, str]]:
    done = wsseg("rank", run, "--by", by, "--json", *words)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["by"] == by and data["splits"] == ["train"]
    return [(photo["id"].removeprefix("made/up"), photo["score"], photo["reason"]) for photo in data["photos"]]


def test_margin(run: Path) -> None:
    found = ranking(run, "margin")
    # shares of background, cat, dog on the object: (1/3, 2/3, 0), (1/3, 1/3, 1/3), (1/2, 1/2, 0); elsewhere (1, 0, 0)
    assert [(name, score) for name, score, _ in found] == [("1", 0.5), ("2", 0.5), ("0", 0.333333), ("3", 0.333333)]
    assert found[0][2] == "cat or background in 50 % of its pixels"
    assert ranking(run, "margin", "--top", 1) == found[:1]


def test_entropy(run: Path) -> None:
    found = ranking(run, "entropy")
    thirds = -(np.log(1 / 3) / 3 + np.log(2 / 3) * 2 / 3) / np.log(3) / 2
    wanted = [("1", 0.5), ("2", np.log(2) / np.log(3) / 2), ("0", thirds), ("3", thirds)]
    assert [name for name, *_ in found] == [name for name, _ in wanted]
    np.testing.assert_allclose([score for _, score, _ in found], [score for _, score in wanted], atol=1e-5)


def test_disagreement_of_pseudo_mask_and_network(run: Path) -> None:
    found = ranking(run, "disagreement")
    assert found[0] == ("3", 0.666667, "pseudo-mask says cat, network says dog in 50 % of its pixels")
    assert found[1:] == [(name, 0.0, "the two agree") for name in "012"]


def test_disagreement_of_two_runs(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    classes = read_index(run / "prepare").classes
    store = MaskStore(other / "eval" / "seg-train")
    store.write("made/up0", np.zeros_like(store.read("made/up0", classes)))
    found = ranking(run, "disagreement", "--against", other)
    assert found[0] == ("0", 0.75, "ranked says cat, other says background in 50 % of its pixels")
    assert [score for _, score, _ in found[1:]] == [0.0] * 3
    (other / "prepare" / "classes.json").write_text('["cat", "cow"]')
    done = wsseg("rank", run, "--by", "disagreement", "--against", other)
    assert done.exit_code == 4 and f"{other} has other classes than {run}" in done.stderr
    done = wsseg("rank", run, "--against", other)
    assert done.exit_code == 2 and "--against" in done.stderr and "of --by disagreement, not of margin" in done.stderr


def test_table_and_list(run: Path) -> None:
    done = wsseg("rank", run, "--top", 2)
    assert done.stdout.splitlines() == [
        "   margin  image     reason",
        "1  0.500   made/up1  cat or background in 50 % of its pixels",
        "2  0.500   made/up2  cat or background in 50 % of its pixels",
        "rank       2 of 4 photos of train",
    ]
    assert wsseg("rank", run, "--top", 3, "--list").stdout == "made/up1\nmade/up2\nmade/up0\n"
    done = wsseg("rank", run, "--list", "--json")
    assert done.exit_code == 2 and "give one of them" in done.stderr


def test_what_a_hand_has_labelled_is_left_out(run: Path, tmp_path: Path) -> None:
    write_mask(tmp_path / "hand" / "made%2Fup1.png", np.zeros((24, 32), np.uint8))
    done = wsseg("rank", run, "--list")
    assert done.stdout.splitlines() == ["made/up2", "made/up0", "made/up3"]
    assert "3 of 3 photos of train; 1 with a hand mask left out" in wsseg("rank", run).stdout
    # the network has not learnt from this mask yet
    done = wsseg("rank", run, "--by", "disagreement")
    assert done.exit_code == 5 and "the hand masks have changed" in done.stderr
    for number in (0, 2, 3):
        write_mask(tmp_path / "hand" / f"made%2Fup{number}.png", np.zeros((24, 32), np.uint8))
    done = wsseg("rank", run)
    assert done.exit_code == 5 and "all 4 images of train have a hand mask" in done.stderr


def test_what_is_missing_is_named(run: Path) -> None:
    shutil.rmtree(run / "eval" / "seg-train")
    done = wsseg("rank", run, "--by", "disagreement")
    assert done.exit_code == 5 and "run `wsseg eval --what seg --split train` first" in done.stderr
    shutil.rmtree(run / "cam")
    done = wsseg("rank", run)
    assert done.exit_code == 5 and "run `wsseg cam` first" in done.stderr
    assert wsseg("rank", run / "nowhere").exit_code == 2


def exported(run: Path) -> tuple[str, dict[str, float | None]]:
    out = run.parent / "tasks.json"
    done = wsseg("export", "masks", run, "--to", "label-studio", "--out", out)
    assert done.exit_code == 0, done.output
    tasks = json.loads(out.read_text(encoding="utf-8"))
    return done.stdout, {task["data"]["image_id"]: task["predictions"][0].get("score") for task in tasks}


def test_label_studio_gets_its_scores(run: Path) -> None:
    assert set(exported(run)[1].values()) == {None}
    ranking(run, "margin")
    said, scores = exported(run)
    assert f"scores of {run / 'rank.json'}, by margin" in said
    assert scores == {"made/up0": 0.666667, "made/up1": 0.5, "made/up2": 0.5, "made/up3": 0.666667}
    # of maps that were made anew since then, the ranking says nothing
    opened = open_existing(run, overrides=["cam.store_stride=8"])
    opened.begin("cam", force=True)
    opened.finish("cam", ["train"])
    opened.begin("pseudo", force=True)
    for number in range(4):
        MaskStore(run / "pseudo").write(f"made/up{number}", np.zeros((24, 32), np.uint8))
    opened.finish("pseudo", ["train"])
    said, scores = exported(run)
    assert "is of other results than these and gives no scores" in said and set(scores.values()) == {None}
    (run / "rank.json").write_text('{"by": "luck"')
    done = wsseg("export", "masks", run, "--to", "label-studio", "--out", run.parent / "again.json")
    assert done.exit_code == 4 and str(run / "rank.json") in done.stderr and "`wsseg rank` again" in done.stderr
    assert not (run.parent / "again.json").exists()


def test_only_the_photos_of_a_list_are_exported(run: Path, tmp_path: Path) -> None:
    listed = tmp_path / "next.txt"
    listed.write_text(wsseg("rank", run, "--top", 2, "--list").stdout)
    words = ["export", "masks", run, "--to", "png", "--out", tmp_path / "out", "--images", listed]
    assert wsseg(*words).exit_code == 0
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.png")) == ["made%2Fup1", "made%2Fup2"]
    listed.write_bytes(b"\xef\xbb\xbfmade/up1\r\n")  # as editors of Windows write it
    assert wsseg(*words[:-3], tmp_path / "one", *words[-2:]).exit_code == 0
    listed.write_text("made/up1\nmade/up7\n")
    words[-3] = tmp_path / "none"
    done = wsseg(*words)
    assert done.exit_code == 4 and "1 of 2 have no mask here, such as 'made/up7'" in done.stderr
    listed.write_text("\n")
    assert "lists no image" in wsseg(*words).stderr
    assert "cannot be read" in wsseg(*words[:-1], tmp_path / "nowhere.txt").stderr
