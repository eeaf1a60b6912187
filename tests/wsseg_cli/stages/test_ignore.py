"""255 in pseudo-masks: which pixels, in which masks, and what `eval` makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_up_run import write_run
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from wsseg_cli.data.index import Entry, Index, read_index, write_index
from wsseg_cli.data.stores import MaskStore, ScoreStore
from wsseg_cli.main import app
from wsseg_cli.ops.masks import confidence_of, mask_and_marginals
from wsseg_cli.recipe.renamed import modernise
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.report import collect
from wsseg_cli.report.tables import protocols
from wsseg_cli.settings import MaskCrfSettings
from wsseg_cli.stages.pseudo import pseudo_masks, training_masks
from wsseg_cli.status import open_existing
from wsseg_cli.types import ScoreMap

SCORES = ScoreMap("a", np.array([1, 4]), np.array([[[0.9, 0.3, 0.0, 0.4]], [[0.0, 0.0, 0.0, 0.4]]], np.float32), (1, 4))
RECIPE = """\
name: ignoring
seed: 0
dataset: {name: toy, options: {}, train: train, val: null, score: train}
train_cls: {method: {name: cam, options: {backbone: small}}}
cam: {infer: {scales: [1.0]}}
pseudo: {background: {threshold: 0.4}, ignore: {below: 0.6}, store_confidence: true}
"""


def section(**values: object) -> PseudoSettings:
    return PseudoSettings.model_validate_json(json.dumps({"background": {"threshold": 0.3}} | values))


def test_without_a_crf_it_is_the_share_of_the_highest_score() -> None:
    shares = confidence_of(SCORES, None, threshold=0.3, power=None)
    np.testing.assert_allclose(shares, [[0.9 / 1.2, 0.5, 1.0, 0.4 / 1.1]], rtol=1e-6)
    mask, learnt = pseudo_masks(SCORES, section(ignore={"below": 0.45}))
    assert mask.tolist() == learnt.tolist() == [[2, 0, 0, 255]]
    mask, learnt = pseudo_masks(SCORES, section(ignore={"below": 0.6, "only_training": True}))
    assert mask.tolist() == [[2, 0, 0, 2]] and learnt.tolist() == [[2, 255, 0, 255]]


def test_with_a_crf_it_is_the_marginal() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 16, 3), np.uint8)
    scores = ScoreMap("a", np.array([0, 2]), rng.random((2, 12, 16), np.float32), (12, 16))
    _, marginals = mask_and_marginals(scores, threshold=0.3, crf=MaskCrfSettings(preset="psa"), image=image)
    assert marginals is not None
    below = float(np.median(marginals.max(axis=0)))
    mask, _ = pseudo_masks(scores, section(crf="psa", ignore={"below": below}), image)
    np.testing.assert_array_equal(mask == 255, marginals.max(axis=0) < np.float32(below))
    assert 0 < (mask == 255).sum() < mask.size


def test_where_nothing_competes_all_is_sure() -> None:
    empty = ScoreMap("a", np.zeros(0, np.int64), np.zeros((0, 2, 2), np.float32), (3, 5))
    assert not pseudo_masks(empty, section(ignore={"below": 1.0}))[0].any()
    nothing = ScoreMap("a", np.array([0]), np.zeros((1, 1, 2), np.float32), (1, 2))
    assert confidence_of(nothing, None, threshold=0.0, power=None).tolist() == [[0.5, 0.5]]


def test_keys_that_belong_elsewhere_say_where() -> None:
    with pytest.raises(ValidationError, match=r"pseudo.background: \{low: …, high: …\}"):
        section(ignore={"low": 0.2, "high": 0.5})
    with pytest.raises(ValidationError, match=r"confidence is now ignore: \{below: …, only_training: true\}"):
        section(confidence=0.95)
    for below, now in ((None, None), (0.95, {"below": 0.95, "only_training": True})):
        kept = {"pseudo": {"confidence": below}}
        modernise(kept)
        assert kept == {"pseudo": {"ignore": now}}


def test_a_training_reads_its_own_masks_only_where_there_are_some(tmp_path: Path) -> None:
    (tmp_path / "confident").mkdir()
    own = section(ignore={"below": 0.5, "only_training": True})
    assert training_masks(tmp_path, own) == tmp_path / "confident"
    assert training_masks(tmp_path, section(ignore={"below": 0.5})) == tmp_path
    assert training_masks(tmp_path, None) == tmp_path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run of four images, all of `train`, of which the last two have masks, and pseudo-masks with 255."""
    folder = write_run(tmp_path / "ignoring")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    for path in [*(folder / "pseudo").iterdir(), *(folder / "eval").iterdir()]:
        path.unlink()
    (folder / "pseudo").rmdir()
    index = read_index(folder / "prepare")
    entries = []
    for number, entry in enumerate(index.entries.values()):
        sample = entry.sample
        kept = sample.mask if number > 1 else None
        without = type(sample)(sample.image_id, sample.image, sample.labels, kept)
        entries.append(Entry(without, ("train",), entry.size))
        maps = np.zeros((1, 24, 32), np.float32)
        maps[:, :, 8:20], maps[:, :, 20:] = 0.9, 0.4  # sure, and as good as background
        ScoreStore(tmp_path / "maps").write(ScoreMap(sample.image_id, np.array([number % 2]), maps, (24, 32)))
    content = write_index(folder / "prepare", Index(entries, index.classes), {})
    opened = open_existing(folder)
    opened.begin("prepare")
    opened.finish("prepare", index=content, counts={"train": 4})
    done = wsseg("pseudo", "--run", str(folder), "--use", f"cam={tmp_path / 'maps'}")
    assert done.exit_code == 0, done.output
    return folder


def wsseg(*words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--set", "runtime.workers=1"], env={"COLUMNS": "300"})


def test_masks_and_confidence_beside_them(run: Path) -> None:
    mask = MaskStore(run / "pseudo").read("made/up1", read_index(run / "prepare").classes)
    assert [int(mask[0, x]) for x in (0, 10, 25)] == [0, 2, 255]
    with Image.open(MaskStore(run / "pseudo" / "confidence").path("made/up1")) as picture:
        assert picture.mode == "L"
        confidence = np.asarray(picture)
    assert [int(confidence[0, x]) for x in (0, 10, 25)] == [255, round(255 * 0.9 / 1.3), 128]
    assert not (run / "pseudo" / "confident").exists()


def evaluated(run: Path, *words: str) -> tuple[str, dict[str, object]]:
    done = wsseg("eval", "--run", str(run), "--what", "pseudo", "--force", *words)
    assert done.exit_code == 0, done.output
    record = json.loads((run / "eval" / "pseudo-train.json").read_text(encoding="utf-8"))
    return done.stdout, record


def test_ignored_pixels_count_as_wrong_unless_they_are_left_out(run: Path) -> None:
    said, wrong = evaluated(run)
    assert "pseudo on train: 37.5 % of the pixels are 255 and count as wrong (eval.ignored)" in said
    assert wrong["protocol"]["ignored"] == {"share": 37.5, "counted": "wrong"}
    assert wrong["protocol"]["ignore"] == {"below": 0.6}
    said, left_out = evaluated(run, "--set", "eval.ignored=left_out")
    assert "37.5 % of the pixels are 255 and are left out" in said
    assert left_out["miou"] > wrong["miou"] and left_out["pixel_accuracy"] > wrong["pixel_accuracy"]
    # a third of what lies in the right part is missed by every class, so no recall reaches 1 there
    assert wrong["recall"]["background"] < left_out["recall"]["background"]


def test_n_of_n(run: Path) -> None:
    said, record = evaluated(run)
    assert "train: figures over the 2 of 4 images with a mask" in said
    assert record["protocol"]["images"] == 2 and record["protocol"]["images without a mask"] == 2
    head, rows = protocols(collect([run]))
    assert [row[head.index("images")] for row in rows] == ["2 of 4"]


def test_a_threshold_of_few_masks_has_an_interval(run: Path) -> None:
    words = ["eval", "--run", str(run), "--what", "cam", "--use", f"cam={run.parent / 'maps'}"]
    done = wsseg(*words)
    assert done.exit_code == 0, done.output
    threshold = json.loads((run / "eval" / "cam-train.json").read_text(encoding="utf-8"))["threshold"]
    low, high = threshold["interval"]
    assert low <= threshold["value"] <= high and threshold["miou_interval"][0] <= threshold["miou_interval"][1]
    assert f"threshold {threshold['value']:.2f} ({low:.2f} to {high:.2f}, 95 % bootstrap)" in done.stdout
    assert "at the best threshold of sets drawn from these 2 images (95 % bootstrap)" in done.stdout


def test_no_mask_at_all_is_said_and_no_error(run: Path) -> None:
    index = read_index(run / "prepare")
    entries = []
    for entry in index.entries.values():
        sample = entry.sample
        entries.append(Entry(type(sample)(sample.image_id, sample.image, sample.labels), entry.splits, entry.size))
    write_index(run / "prepare", Index(entries, index.classes), {})
    done = wsseg("eval", "--run", str(run), "--what", "pseudo")
    assert done.exit_code == 0 and "train: none of its 4 images has a mask" in done.stdout, done.output
