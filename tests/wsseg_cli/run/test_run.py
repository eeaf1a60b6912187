from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsseg_cli.errors import StageError
from wsseg_cli.recipe import loading as recipe
from wsseg_cli.run.directory import RunDir
from wsseg_cli.status import status

TEXT = """\
name: tiny
dataset: {name: toy, train: train, val: val}
train_cls:
  method: {name: cam}
  weights: none
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1e-2}
cam: {}
pseudo: {background: {threshold: 0.3}, crf: psa}
train_seg:
  segmenter: {name: deeplabv2}
  weights: train_cls
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1e-2}
"""


def run_of(folder: Path, *overrides: str, use: dict[str, Path] | None = None) -> RunDir:
    file = folder / "tiny.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return RunDir(folder / "run", recipe.load(file, overrides), use)


@pytest.fixture
def done(tmp_path: Path) -> RunDir:
    """Return a run whose stages up to train-seg are done."""
    run = run_of(tmp_path)
    run.begin("prepare")
    run.finish("prepare", index="abc", counts={"train": 3, "val": 2})
    for stage in ("train-cls", "cam", "pseudo", "train-seg"):
        splits = ("train",) if stage in ("cam", "pseudo") else ()
        assert run.begin(stage, splits) == "new"
        run.finish(stage, splits)
    return run


def test_done_is_skipped_and_another_list_continues(done: RunDir) -> None:
    assert done.begin("cam", ["train"]) == "done"
    assert done.begin("cam", ["val"]) == "continue"
    done.finish("cam", ["val"], images=5)
    assert done.begin("cam", ["val", "train"]) == "done"
    assert done.require("cam", ["train", "val"])["images"] == 5
    with pytest.raises(StageError, match="wsseg cam --split test"):
        done.require("cam", ["test"])


def test_started_is_continued(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert run.begin("prepare") == "new"
    assert run_of(tmp_path).begin("prepare") == "continue"
    with pytest.raises(StageError, match="not finished: run `wsseg prepare` first"):
        run.require("prepare")


def test_changed_settings_are_refused_with_the_keys(done: RunDir, tmp_path: Path) -> None:
    other = run_of(tmp_path, "cam.infer.scales=[0.5, 1.0]", "cam.store_stride=1")
    with pytest.raises(StageError) as caught:
        other.begin("cam")
    text = str(caught.value)
    assert "cam.infer.scales: [1.0] → [0.5, 1.0]" in text and "cam.store_stride: 4 → 1" in text
    assert "--force" in text and "--run" in text
    with pytest.raises(StageError, match=r"cam\.store_stride: 4 → 1"):
        other.begin("pseudo")
    with pytest.raises(StageError, match="stale"):
        other.require("cam")
    assert other.begin("train-cls") == "done"


def test_force_clears_the_folder(done: RunDir, tmp_path: Path) -> None:
    old = done.folder("cam") / "a.safetensors"
    old.write_bytes(b"x")
    other = run_of(tmp_path, "cam.store_stride=1")
    assert other.begin("cam", force=True) == "new"
    assert not old.exists() and other.done("cam") is None
    assert other.begin("cam") == "continue"


@pytest.mark.parametrize(
    "override",
    [
        "runtime.workers=3",
        "runtime.device=cpu",
        "pseudo.crf={preset: psa, backend: numba}",
        "train_cls.save_every=5",
        "reference={cam: 3}",
        "eval.infer.flip=true",
        "train_cls.schedule.power=0.9",
        "name=other",
    ],
)
def test_what_changes_no_number_changes_no_fingerprint(done: RunDir, tmp_path: Path, override: str) -> None:
    other = run_of(tmp_path, override)
    for stage in ("prepare", "train-cls", "cam", "pseudo", "train-seg"):
        assert other.begin(stage, ["train"] if stage in ("cam", "pseudo") else ()) == "done"


@pytest.mark.parametrize(
    ("override", "stale"),
    [
        ("seed=1", ["train-cls", "cam", "pseudo", "train-seg"]),
        ("train_cls.method.options={tau: 1}", ["train-cls", "cam", "pseudo", "train-seg"]),
        ("cam.labels.train=predicted", ["cam", "pseudo", "train-seg"]),
        ("pseudo.background.threshold=0.2", ["pseudo", "train-seg"]),
        ("train_seg.max_steps=21", ["train-seg"]),
        ("train_seg.masks=ground_truth", ["train-seg"]),
        ("dataset.val=null", ["prepare"]),
    ],
)
def test_what_is_stale_downstream(done: RunDir, tmp_path: Path, override: str, stale: list[str]) -> None:
    other = run_of(tmp_path, override)
    assert [line.stage for line in status(other) if line.state == "stale"] == stale


def test_an_index_of_other_content_makes_all_stale(done: RunDir, tmp_path: Path) -> None:
    done.finish("prepare", index="other")
    assert done.begin("prepare") == "done"
    with pytest.raises(StageError, match="the index of prepare has changed"):
        run_of(tmp_path).begin("train-cls")


def test_variables_do_not_enter_a_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    override = "dataset.options={root: '${WSSEG_TEST_ROOT}'}"
    monkeypatch.setenv("WSSEG_TEST_ROOT", "/a")
    first = run_of(tmp_path, override).fingerprint("prepare")
    monkeypatch.setenv("WSSEG_TEST_ROOT", "/b")
    assert run_of(tmp_path, override).fingerprint("prepare") == first


def test_a_folder_in_place_of_a_stage(done: RunDir, tmp_path: Path) -> None:
    given = tmp_path / "cams"
    given.mkdir()
    (given / "a.safetensors").write_bytes(b"1")
    used = run_of(tmp_path, use={"cam": given})
    with pytest.raises(StageError, match="pseudo read the run's cam, now the folder of --use cam"):
        used.begin("pseudo")
    assert used.begin("pseudo", ["train"], force=True) == "new"
    assert used.source("pseudo", "cam") == given and used.require("cam", ["train"])["use"] == str(given)
    used.finish("pseudo", ["train"])
    assert run_of(tmp_path, use={"cam": given}).begin("pseudo", ["train"]) == "done"
    # what reads the pseudo-masks later knows what they were made from without being told again
    later = run_of(tmp_path)
    later.require("pseudo", ["train"])
    assert [line.stage for line in status(later) if line.state == "stale"] == ["train-seg"]
    (given / "a.safetensors").write_bytes(b"2")
    with pytest.raises(StageError, match="the folder of --use cam has changed"):
        run_of(tmp_path, use={"cam": given}).begin("pseudo")


def test_use_that_makes_no_sense(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for use in ({"cam": tmp_path / "none"}, {"cam": tmp_path / "empty"}, {"camm": tmp_path}):
        with pytest.raises(StageError, match="--use"):
            run_of(tmp_path, use=use)
    with pytest.raises(StageError, match="train-cls does not read pseudo"):
        run_of(tmp_path, use={"pseudo": tmp_path}).begin("train-cls")


def test_eval_follows_what_is_there(done: RunDir, tmp_path: Path) -> None:
    assert done.begin("eval") == "new"
    done.finish("eval")
    assert done.begin("eval") == "done"
    done.begin("pseudo", force=True)
    assert run_of(tmp_path).begin("eval") == "new"
    with pytest.raises(StageError, match=r"eval\.infer\.flip: false → true"):
        run_of(tmp_path, "eval.infer.flip=true").begin("eval")


def test_the_recipe_is_written_and_reads_back(done: RunDir) -> None:
    assert recipe.load(done.path / "recipe.yaml").recipe == done.recipe.recipe


def test_broken_records_are_named(done: RunDir) -> None:
    (done.folder("cam") / "done.json").write_text("{", encoding="utf-8")
    with pytest.raises(StageError, match=r"cam.done\.json: not JSON .*`wsseg cam --force` makes it again"):
        done.begin("cam")


def test_other_versions_are_mentioned(done: RunDir) -> None:
    path = done.folder("cam") / "done.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(record), encoding="utf-8")
    assert done.other_versions("cam")[0].startswith("numpy 1.0, now ")
    assert done.begin("cam", ["train"]) == "done"


def test_nothing_half_written_is_left(done: RunDir) -> None:
    assert [path for path in done.path.rglob("*") if ".tmp" in path.name] == []
