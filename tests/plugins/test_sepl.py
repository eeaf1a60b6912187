from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_cases import Case, golden
from PIL import Image
from typer.testing import CliRunner
from wsseg_proposals.refiner import SEPL
from wsseg_proposals.sepl import vote

from wsseg_cli.convert import proposals as convert
from wsseg_cli.data.proposals import Proposals, ProposalStore
from wsseg_cli.errors import DataError
from wsseg_cli.main import app
from wsseg_cli.stages.pseudo import refined_mask
from wsseg_cli.types import ClassNames, Sample


def classes(count: int) -> ClassNames:
    return ClassNames([f"class {i}" for i in range(count)])


def refiner(folder: Path, count: int = 3, **options: Any) -> SEPL:
    return SEPL(SEPL.Options(folder=folder, **options), classes(count))


def sample(image_id: str) -> Sample:
    return Sample(image_id, Path(f"{image_id}.png"), ())


def stack(folder: Path, pixels: np.ndarray) -> None:
    """Write a stack of masks (J, H, W) as SAM's script does."""
    folder.mkdir(parents=True)
    for number, piece in enumerate(pixels):
        Image.fromarray(piece).save(folder / f"{number}.png")


@golden("sepl_merge")
def test_published_rule(case: Case, tmp_path: Path) -> None:
    a = case.arguments
    store = ProposalStore(tmp_path / "proposals")
    for scene in a["n_classes"]:
        labels, pixels = case.inputs[f"{scene}/labels"], case.inputs[f"{scene}/proposals"]
        if len(pixels):
            stack(tmp_path / "stacks" / scene, pixels)
        else:
            store.write(scene, Proposals.from_masks([], (int(labels.shape[0]), int(labels.shape[1]))))
    convert.run(tmp_path / "stacks", store.folder)
    for scene, count in a["n_classes"].items():
        for rule in a["variants"]:
            plugin = refiner(
                store.folder, count - 1, rule=rule, in_class=a["in_class_share"], of_class=a["of_class_share"]
            )
            assert plugin.missing([scene]) == []
            mask = case.inputs[f"{scene}/labels"].copy()
            case.check(f"{scene}/{rule}", refined_mask(plugin, sample(scene), mask, plugin.classes))
    assert case.checked == set(case.outputs)


@golden("sam_proposals")
def test_forms_of_proposals(case: Case, tmp_path: Path) -> None:
    size = tuple(case.arguments["size"])
    for name, file in case.arguments["files"].items():
        source = tmp_path / name
        source.mkdir()
        (source / "photo.json").write_bytes((case.folder / file).read_bytes())
    stack(tmp_path / "stack" / "photo", case.inputs["png_stack"])
    (tmp_path / "regions").mkdir()
    np.save(tmp_path / "regions" / "photo.npy", case.inputs["regions"])
    for name in (*case.arguments["files"], "stack", "regions"):
        convert.run(tmp_path / name, tmp_path / f"{name}-out")
        found = ProposalStore(tmp_path / f"{name}-out").read("photo")
        assert found.size == size
        masks = np.stack([found.mask(number) for number in range(len(found))])
        if name == "regions":
            case.check("regions_masks", masks)
            case.check("regions_ids", np.unique(case.inputs["regions"]))
            continue
        case.check("masks", masks)
        case.check("area", found.areas)
        case.check("bbox", found.boxes)
        for quality in ("predicted_iou", "stability_score") if name != "stack" else ():
            case.check(quality, found.quality[quality])
    assert case.checked == set(case.outputs)


def voted(tmp_path: Path, mask: np.ndarray, masks: list[np.ndarray], **options: Any) -> list[list[int]]:
    ProposalStore(tmp_path).write("a", Proposals.from_masks(masks, mask.shape))  # type: ignore[arg-type]
    return refiner(tmp_path, **options).refine_mask(sample("a"), mask.copy()).tolist()


def test_guard_against_a_proposal_of_the_whole_scene(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[0, 0] = 2
    scene = np.ones((4, 4), bool)
    assert voted(tmp_path, mask, [scene]) == np.full((4, 4), 2).tolist()
    assert voted(tmp_path, mask, [scene], max_share=0.9) == mask.tolist()
    half = np.zeros((4, 4), bool)
    half[:2] = True
    assert voted(tmp_path, mask, [scene, half], max_share=0.5) == np.where(half, 2, 0).tolist()


def test_left_out_pixels_may_stay(tmp_path: Path) -> None:
    mask = np.array([[255, 1, 1, 255]], np.uint8)
    taken = np.array([[False, True, True, True]])
    assert voted(tmp_path, mask, [taken]) == [[0, 1, 1, 1]]
    assert voted(tmp_path, mask, [taken], keep_ignored=True) == [[255, 1, 1, 1]]


def test_an_image_without_proposals_keeps_its_classes(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    mask = np.array([[0, 1, 255]], np.uint8)
    assert refiner(tmp_path).refine_mask(sample("a"), mask.copy()).tolist() == [[0, 1, 0]]


def test_what_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    assert "no such folder" in refiner(tmp_path / "none").missing()[0]
    plugin = refiner(tmp_path)
    assert plugin.missing() == []
    assert "no proposals of image 'b'" in plugin.missing(["b"])[0]
    with pytest.raises(DataError, match="no such file of proposals"):
        plugin.refine_mask(sample("b"), np.zeros((2, 3), np.uint8))
    ProposalStore(tmp_path).write("a", Proposals.from_masks([np.ones((3, 2), bool)], (3, 2)))
    with pytest.raises(DataError, match="the mask has 3x2; one of the two has the photo's EXIF"):
        plugin.refine_mask(sample("a"), np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match=r"proposals of 2x3 pixels, the mask has 9x9$"):
        plugin.refine_mask(sample("a"), np.zeros((9, 9), np.uint8))


REFINER = ", refiner: {name: sepl, options: {folder: proposals, max_share: 0.9}}"
RECIPE = f"""\
name: votes
dataset: {{name: toy, options: {{train: 4, val: 2, size: [64, 64], workers: 1}}, train: train, val: val}}
train_cls:
  method: {{name: cam, options: {{backbone: small, backbone_options: {{width: 4}}}}}}
  weights: none
  batch_size: 4
  max_steps: 1
  optim: {{name: sgd, lr: 0.01}}
cam: {{}}
pseudo: {{background: {{threshold: 0.3}}{REFINER}}}
runtime: {{workers: 0, device: cpu}}
"""


@pytest.mark.slow
def test_stage_pseudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)

    def wsseg(*words: str, recipe: str = "r.yaml") -> Any:
        return CliRunner().invoke(app, [*words, "--recipe", recipe, "--run", "run", "--quiet"])

    said = wsseg("run")
    assert said.exit_code == 4 and "no such folder proposals" in said.output and "nothing was started" in said.output
    assert not Path("run").exists() or not list(Path("run").rglob("index.jsonl"))
    Path("proposals").mkdir()
    assert wsseg("run", "--to", "cam").exit_code == 0
    said = wsseg("pseudo")
    assert said.exit_code == 4 and "pseudo.refiner: 4 missing" in said.output
    assert not list(Path("run/pseudo").glob("*.png"))
    truth = sorted(Path("run/prepare/data").rglob("masks/*.png"))
    assert truth
    for path in truth:
        ProposalStore(Path("proposals")).write(path.stem, Proposals.from_regions(np.asarray(Image.open(path))))
    assert wsseg("pseudo").exit_code == 0
    assert wsseg("eval", "--what", "pseudo").exit_code == 0
    record = next(Path("run/eval").glob("pseudo-*.json")).read_text()
    assert '"mask refiner": "sepl"' in record
    refined = {path.stem: np.asarray(Image.open(path)) for path in Path("run/pseudo").glob("*.png")}
    Path("plain.yaml").write_text(RECIPE.replace(REFINER, ""))
    assert wsseg("pseudo", "--force", recipe="plain.yaml").exit_code == 0
    store, several = ProposalStore(Path("proposals")), 0
    for image_id, mask in refined.items():
        plain = np.asarray(Image.open(Path("run/pseudo") / f"{image_id}.png"))
        assert np.array_equal(mask, vote(plain, store.read(image_id), 6, max_share=0.9))
        several += not np.array_equal(mask, plain)
    assert several
    assert wsseg("pseudo", "--force").exit_code == 0
    Path("r.yaml").write_text(RECIPE.replace("max_share: 0.9", "rule: max_iou"))
    assert "max_iou" in wsseg("pseudo").output  # made with other settings: named, not taken over


def test_a_misspelt_option_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("max_share", "max_shar"))
    said = CliRunner().invoke(app, ["recipes", "check", str(path)])
    assert said.exit_code == 2 and "pseudo.refiner.options.max_shar" in said.output
    path.write_text(RECIPE.replace("name: sepl", "name: crf"))
    said = CliRunner().invoke(app, ["recipes", "check", str(path)])
    assert said.exit_code == 2 and "no plugin 'crf' in wsseg.mask_refiners" in said.output
