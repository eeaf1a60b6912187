from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsseg_cli.errors import RecipeError
from wsseg_cli.plugin import discovery, protocols
from wsseg_cli.recipe import loading as recipe

TEXT = """\
# A recipe for tests, with every section.
name: whole
dataset:
  name: toy
  options: {train: 12}
  train: train
  val: val
train_cls:
  method: {name: cam, options: {backbone: small}}
  weights: "${WSSEG_TEST_WEIGHTS}/a.safetensors"
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1e-2, momentum: 0.9}
cam:
  infer: {scales: [0.5, 1.0], flip: true}
pseudo:
  background: {threshold: 0.3}
  crf: psa
train_seg:
  segmenter: {name: deeplabv2, options: {backbone: small}}
  weights: train_cls
  batch_size: 4
  epochs: 2
  optim: {name: adamw, lr: 1e-3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "whole.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        recipe.load(file, overrides)
    return str(caught.value).split("\n")[1:]


def test_published_crf_pixels_need_a_method(file: Path) -> None:
    override = "pseudo.crf={preset: deeplab, image: published, min_score: 0.05}"
    crf = recipe.load(file, [override]).recipe.pseudo.crf
    assert (crf.image, crf.min_score) == ("published", 0.05)
    rest = ("cam=null", "train_cls=null", "train_seg=null")
    assert "needs a train_cls section" in "".join(problems(file, override, *rest))
    # only stages that write masks ask for it: what a refiner learns from sees the photo
    wrong = "refine={refiner: {name: crf, options: {crf: {image: published}, threshold: 0.3}}}"
    with pytest.raises(RecipeError, match=r"crf\.image: unknown option"):
        recipe.load(file, [wrong]).plugin("refine")


def test_a_whole_recipe(file: Path) -> None:
    loaded = recipe.load(file).recipe
    assert loaded.stages == ("prepare", "train-cls", "cam", "pseudo", "train-seg", "eval")
    assert loaded.dataset.scored == ("train",) and loaded.dataset.splits == ("train", "val")
    assert loaded.cam and loaded.cam.store_stride == 4 and loaded.cam.labels.val == "predicted"
    assert loaded.pseudo and loaded.pseudo.crf and loaded.pseudo.crf.preset == "psa"
    assert loaded.train_cls and loaded.train_cls.optim.lr == 0.01


def test_all_problems_at_once_with_lines(file: Path) -> None:
    text = (
        TEXT.replace("flip: true", "filp: true").replace("batch_size: 4", "batch_size: 0").replace("lr: 1e-2", "lr: no")
    )
    file.write_text(text, encoding="utf-8")
    assert problems(file) == [
        "  line 11  train_cls.batch_size: must be at least 1 (got 0)",
        "  line 13  train_cls.optim.lr: must be a number, not a text (got 'no')",
        "  line 15  cam.infer.filp: unknown key (got true); did you mean 'flip'?",
        "  line 22  train_seg.batch_size: must be at least 1 (got 0)",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train_cls.max_steps=20_000", "must be a whole number, not a text (got '20_000')"),
        ("train_cls.max_steps=20.5", "must be a whole number"),
        ("train_cls.batch_size=true", "must be a whole number"),
        ("cam.infer.scales=[]", "must have at least 1 item"),
        ("cam.infer.scales=[0.5, x]", "cam.infer.scales[1]: must be a number"),
        ("cam.labels.val=gven", "must be 'given' or 'predicted' (got 'gven'); did you mean 'given'?"),
        ("train_cls.epochs=3", "exactly one of max_steps and epochs"),
        ("train_cls.weights=train_cls", "means this very network"),
        ("train_cls.optim.lr=.nan", "finite"),
        ("pseudo.background={power: 4, threshold: 0.2}", "exactly one of threshold and power"),
        ("dataset.train=[a/b]", "cannot name a split"),
        ("dataset.train=[a, a]", "occurs twice"),
        ("name=a/b", "name"),
        ("sed=1", "unknown key (got 1); did you mean 'seed'?"),
        ("train_cls=null", "cam needs a train_cls section"),
        ("train_cls.optim.betas=[0.8, 0.9]", "train_cls.optim.betas: is not used"),
        ("train_seg.optim.momentum=0.5", "train_seg.optim.momentum: is not used"),
        ("train_cls.schedule.milestones=[0.5]", "train_cls.schedule.milestones: is not used"),
        ("dataset.options.root=${A B}", "use ${NAME}"),
        ("pseudo.crf=3", "pseudo.crf: must be a mapping"),
        ("pseudo.crf=paa", "pseudo.crf.preset: unknown CRF preset 'paa'; did you mean 'psa'?"),
    ],
)
def test_what_set_cannot_say(file: Path, override: str, message: str) -> None:
    lines = problems(file, override)
    assert any(message in line for line in lines), lines


def test_set(file: Path) -> None:
    loaded = recipe.load(file, ["train_cls.optim.lr=2e-2", "refine.refiner.name=crf", "seed=7", "seed=8"]).recipe
    assert loaded.train_cls and loaded.train_cls.optim.lr == 0.02 and loaded.seed == 8
    assert loaded.refine and loaded.refine.refiner.name == "crf"


@pytest.mark.parametrize("override", ["lr", "=3", "a..b=1", "cam.infer.flip.x=1", "a=[1"])
def test_set_that_cannot_be_followed(file: Path, override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        recipe.load(file, [override])


def test_a_variable_is_filled_only_when_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSSEG_TEST_WEIGHTS", raising=False)
    loaded = recipe.load(file)
    assert loaded.section("cam").infer.flip
    with pytest.raises(RecipeError, match=r"line 10  train_cls.weights: .* WSSEG_TEST_WEIGHTS is not set"):
        loaded.section("train-cls")
    monkeypatch.setenv("WSSEG_TEST_WEIGHTS", "/w")
    assert loaded.section("train-cls").weights == "/w/a.safetensors"
    assert loaded.recipe.train_cls and loaded.recipe.train_cls.weights.startswith("${")


def test_a_value_of_a_variable_is_not_filled_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSEG_TEST_WEIGHTS", "${HOME}")
    assert recipe.load(file).section("train-cls").weights == "${HOME}/a.safetensors"


def test_a_section_that_is_not_there(file: Path) -> None:
    with pytest.raises(RecipeError, match="no section refine"):
        recipe.load(file).section("refine")


class _Options(protocols.PluginOptions):
    steps: int = 3
    scales: tuple[float, ...] = (1.0,)


class _Learner(protocols.Refiner[_Options, Any]):
    @classmethod
    def requirements(cls, options: _Options) -> protocols.Requirements:
        return protocols.Requirements(trains=options.steps > 0)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "load", lambda group, name: _Learner)


@pytest.mark.usefixtures("plugins")
def test_options_of_a_plugin(file: Path) -> None:
    loaded = recipe.load(file, ["refine.refiner={name: x, options: {steps: 4, scales: [1, 0.5]}}"])
    cls, options = loaded.plugin("refine")
    assert cls is _Learner and options == _Options(steps=4, scales=(1.0, 0.5))
    with pytest.raises(
        RecipeError, match=r"refine.refiner.options.stps: unknown option \(got 4\); did you mean 'steps'"
    ):
        recipe.load(file, ["refine.refiner={name: x, options: {stps: 4}}"]).plugin("refine")


@pytest.mark.usefixtures("plugins")
def test_check_joins_house_and_plugins(file: Path) -> None:
    found = recipe.check(file, ["refine.refiner={name: x, options: {steps: a}}", "cam.infer.flip=3"])
    found += recipe.check(file, ["refine.refiner={name: x}"])
    text = "\n".join(found)
    for part in ("cam.infer.flip", "refine.refiner.options.steps", "refine.train: is missing", "dataset.options.train"):
        assert part in text


def test_where_a_recipe_is_looked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert recipe.load("whole").recipe.name == "whole"
    assert recipe.locate("quickstart").parent.name == "recipes"
    Path("quickstart.yaml").write_text(TEXT, encoding="utf-8")
    assert recipe.load("quickstart").recipe.name == "whole"
    with pytest.raises(RecipeError, match=r"no recipe 'quikstart'.*did you mean 'quickstart'"):
        recipe.locate("quikstart")
    with pytest.raises(RecipeError, match="no recipe"):
        recipe.locate("../quickstart/none")


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe\x00", b"name: x\n"])
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"x\.yaml"):
        recipe.load(path)


def test_presets_of_the_crf_are_those_that_it_has() -> None:
    from wsseg_cli.ops.crf import PRESETS
    from wsseg_cli.settings import CRF_PRESETS

    assert tuple(PRESETS) == CRF_PRESETS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train_cls.method.options.backbone=smal",
            "train_cls.method.options.backbone: unknown backbone 'smal'; there are",
        ),
        ("train_seg.segmenter.options.backbone=resnet99", "did you mean 'resnet"),
        (
            "train_seg.segmenter.options={backbone: resnet101, backbone_options: {output_strid: 8}}",
            "train_seg.segmenter.options.backbone_options.output_strid: unknown option (got 8); did you mean 'output_s",
        ),
        (
            "train_seg.segmenter.options={backbone: resnet101, backbone_options: {output_stride: 9}}",
            "train_seg.segmenter.options.backbone_options.output_stride: must be 8, 16 or 32 (got 9)",
        ),
        (
            "train_cls.method.options.backbone_options={frozen: batch_nrm}",
            "train_cls.method.options.backbone_options.frozen: unknown frozen 'batch_nrm'; expected one of",
        ),
        ("train_cls.method.options.backbone_options={width: [1]}", "backbone_options.width: must be a whole number"),
    ],
)
def test_backbones_and_their_options_are_checked(file: Path, override: str, message: str) -> None:
    found = recipe.check(file, [override, "dataset.options={}"])
    assert len(found) == 1 and message in found[0], found
    stage = "train-seg" if "train_seg" in override else "train-cls"
    with pytest.raises(RecipeError, match=stage.replace("-", "_")):
        recipe.load(file, [override, "train_cls.weights=none"]).plugin(stage)
