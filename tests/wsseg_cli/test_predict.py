"""predict: photos, folders and patterns; upright, as large as the photo; bad photos collected."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from wsseg_deeplab.segmenter import DeepLabV2

from wsseg_cli import main as cli
from wsseg_cli import predict
from wsseg_cli.data.images import read_image
from wsseg_cli.data.strips import Pixels
from wsseg_cli.data.tensor_files import write_tensors
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import WssegError
from wsseg_cli.ops.masks import mask_at_size
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import predictor_from, trained
from wsseg_cli.stages.windows import mask_in_windows
from wsseg_cli.types import ClassNames, resize_scores

ROOT = Path(__file__).resolve().parents[2]


def wsseg(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words), prog_name="wsseg", env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a network whose weights are random, so that its masks change from pixel to pixel."""
    torch.manual_seed(0)
    segmenter = DeepLabV2(DeepLabV2.Options(backbone="small", multi_scale=(0.5,)), ClassNames(["disc", "ring"]))
    network = segmenter.build_model()
    with torch.no_grad():
        for branch in network.head.branches:  # type: ignore[union-attr]
            branch.weight.normal_(std=0.2)
            branch.weight -= branch.weight.mean((1, 2, 3), keepdim=True)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    header = {
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": segmenter.options.model_dump(mode="json"),
        "classes": list(segmenter.classes),
        "normalization": asdict(segmenter.normalization),
    }
    checkpoint.write_model(path, network, header)
    return path


def photo(path: Path, size: tuple[int, int] = (40, 56), orientation: int = 1, seed: int = 0) -> Path:
    """Write a photo of `size` (H, W) as stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))).save(path, exif=exif)
    return path


def mask(path: Path) -> np.ndarray:
    picture = Image.open(path)
    assert picture.mode == "P"
    return np.asarray(picture)


def test_quiet_leaves_the_results(model: Path, tmp_path: Path) -> None:
    words = ["predict", str(photo(tmp_path / "a.png")), "--model", str(model), "--out", str(tmp_path / "masks")]
    loud, quiet = wsseg(*words), wsseg(*words, "--quiet")
    assert "initial weights" in loud.stderr and quiet.stderr == ""
    assert quiet.stdout == loud.stdout


def test_scores_say_how_sure_each_pixel_is(model: Path, tmp_path: Path) -> None:
    picture = photo(tmp_path / "a.png", (64, 320))
    segmenter = predictor_from(model)
    logits = segmenter.logits(trained(segmenter, model, "cpu"), read_image(picture), InferSettings())
    highest = torch.softmax(torch.from_numpy(logits), 0).amax(0).numpy()
    command = ["predict", str(picture), "--model", str(model), "--out", str(tmp_path / "out"), "--scores"]
    done = wsseg(*command)
    assert done.exit_code == 0 and f", confidence in {tmp_path / 'out' / 'confidence'}" in done.stdout, done.output

    def found() -> np.ndarray:
        with Image.open(tmp_path / "out" / "confidence" / "a.png") as grey:
            assert grey.mode == "L"
            return np.asarray(grey) / 255

    np.testing.assert_allclose(found(), highest, atol=0.01)
    # in windows, which agree with the whole picture away from their borders, and shrunk
    done = wsseg(*command, "--tile", "256", "--overlap", "64", "--json")
    assert json.loads(done.stdout)["images"][0]["confidence"] == str(tmp_path / "out" / "confidence" / "a.png")
    assert found().shape == highest.shape and 0.4 < found().mean() < 1
    assert wsseg(*command, "--longest", "64").exit_code == 0 and found().shape == highest.shape


def test_photos_folders_and_patterns(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "deep" / "b.png", seed=1)
    photo(tmp_path / "in" / ".hidden" / "c.png")
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    photo(tmp_path / "x1.png", seed=2), photo(tmp_path / "x2.png", seed=3)
    out = tmp_path / "in" / "out"
    places = [str(tmp_path / "in"), str(tmp_path / "x*.png"), str(tmp_path / "x1.png")]
    for _ in range(2):  # the second time the folder holds masks, which are no photos
        done = wsseg("predict", *places, "--model", str(model), "--out", str(out), "--overlay", "--json")
        assert done.exit_code == 0, done.output
        images = json.loads(done.stdout)["images"]
        assert [image["name"] for image in images] == ["a", "deep/b", "x1", "x2"]
    for image in images:
        found = mask(Path(image["mask"]))
        assert list(found.shape) == image["size"] == [40, 56]
        assert np.asarray(Image.open(image["overlay"])).shape == (40, 56, 3)
        assert sum(image["areas"].values()) == pytest.approx(1, abs=1e-5)
        names = ("background", "disc", "ring")
        assert image["areas"] == {names[v]: round(float((found == v).mean()), 6) for v in np.unique(found)}


def test_mask_is_the_segmenters_own(model: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    done = wsseg("predict", str(path), "-m", str(model), "-o", str(tmp_path / "out"), "--scales", "0.5,1", "--flip")
    assert done.exit_code == 0 and "predict    1 masks" in done.stdout
    segmenter = predictor_from(model)
    infer = predict.Model(model).section.infer.model_copy(update={"scales": (0.5, 1.0), "flip": True})
    want = segmenter.logits(trained(segmenter, model, "cpu"), np.asarray(Image.open(path)), infer).argmax(0)
    assert (mask(tmp_path / "out" / "a.png") == want).mean() > 0.999  # one thread there, all cores here
    assert len(np.unique(want)) > 1


def test_precision(model: Path, tmp_path: Path) -> None:
    words = ["predict", str(photo(tmp_path / "a.png")), "-m", str(model), "--device", "cpu", "-o"]
    for precision in ("fp32", "bf16"):
        assert wsseg(*words, str(tmp_path / precision), "--precision", precision).exit_code == 0
    assert (mask(tmp_path / "fp32" / "a.png") == mask(tmp_path / "bf16" / "a.png")).mean() > 0.9
    done = wsseg(*words, str(tmp_path / "fp16"), "--precision", "fp16")
    assert done.exit_code == 2 and "fp16 is for GPUs" in done.stderr
    assert wsseg(*words, str(tmp_path / "fp8"), "--precision", "fp8").exit_code == 2


@pytest.mark.parametrize(
    ("key", "value"), [("options", {"backbone": "small", "backbone_options": {"width": False}}), ("name", "nobody's")]
)
def test_errors_about_a_header_name_the_file(model: Path, tmp_path: Path, key: str, value: Any) -> None:
    tensors, header = checkpoint.read_tensors(model)
    damaged = tmp_path / "damaged.safetensors"
    write_tensors(damaged, tensors, header | {key: value})
    with pytest.raises(WssegError, match=r"damaged\.safetensors: "):
        predictor_from(damaged)


def test_upright_photos(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "turned.png", orientation=6)
    Image.fromarray(predict.read_upright(tmp_path / "turned.png")).save(tmp_path / "upright.png")
    done = wsseg("predict", str(tmp_path), "-m", str(model), "-o", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    turned = mask(tmp_path / "out" / "turned.png")
    assert turned.shape == (56, 40)
    np.testing.assert_array_equal(turned, mask(tmp_path / "out" / "upright.png"))


def test_large_photos_are_seen_smaller(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "a.png", size=(80, 120))
    words = ["predict", str(tmp_path / "a.png"), "-m", str(model), "-o", str(tmp_path / "out"), "--longest", "60"]
    done = wsseg(*words)
    assert done.exit_code == 0 and "1 scaled down" in done.stdout
    assert mask(tmp_path / "out" / "a.png").shape == (80, 120)
    assert json.loads(wsseg(*words, "--json").stdout)["images"][0]["seen_at"] == [40, 60]


def test_large_photos_in_windows(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "a.tif", size=(304, 1104))
    words = ["predict", str(tmp_path / "a.tif"), "-m", str(model), "-o", str(tmp_path / "out"), "--json"]
    words += ["--tile", "256", "--overlap", "64"]
    done = wsseg(*words)
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)["images"]
    assert record["size"] == record["seen_at"] == [304, 1104] and sum(record["areas"].values()) == pytest.approx(1)
    segmenter = predictor_from(model)
    infer = predict.Model(model).section.infer.model_copy(update={"tile": 256, "overlap": 64})
    pixels = Pixels(tmp_path / "a.tif")
    want = mask_in_windows(segmenter, trained(segmenter, model, "cpu"), infer, pixels)
    assert (mask(tmp_path / "out" / "a.png") == want).mean() > 0.999
    (record,) = json.loads(wsseg(*words, "--longest", "552").stdout)["images"]
    assert record["seen_at"] == [152, 552] and mask(tmp_path / "out" / "a.png").shape == (304, 1104)
    (record,) = json.loads(wsseg(*words, "--crf", "psa", "--longest", "400").stdout)["images"]
    assert record["seen_at"] == [110, 400]
    for wrong in (["--overlap", "200"], ["--tile", "100"]):
        done = wsseg(*words, *wrong)
        assert done.exit_code == 2 and "--tile, --overlap" in done.stderr


def test_scores_enlarged_class_by_class_are_scores_enlarged() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 7, 9)).astype(np.float32)
    np.testing.assert_array_equal(mask_at_size(scores, (20, 31)), resize_scores(scores, (20, 31)).argmax(0))


def test_bad_photos_are_collected(model: Path, tmp_path: Path) -> None:
    good = photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    (tmp_path / "in" / "cut.png").write_bytes(good.read_bytes()[:90])
    Image.new("CMYK", (8, 8)).save(tmp_path / "in" / "print.jpg")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "in" / "film.webp", save_all=True, append_images=frames[1:])
    out = tmp_path / "out"
    done = wsseg(
        "predict", str(tmp_path / "in"), str(tmp_path / "none.jpg"), "-m", str(model), "-o", str(out), "--json"
    )
    assert done.exit_code == 4 and "4 of 6 images failed" in done.stderr and "Traceback" not in done.output
    said = json.loads(done.stdout)
    assert [image["name"] for image in said["images"]] == ["good", "print"] and len(said["failed"]) == 4
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {line["id"] for line in lines} == {"empty", "cut", "film", "none"}
    assert mask(out / "good.png").shape == (40, 56)


def test_photos_of_the_same_name(model: Path, tmp_path: Path) -> None:
    for place in ("p/a.png", "p/a.jpg", "q/a.png"):
        photo(tmp_path / place)
    found = predict.photos_at([str(tmp_path / "p"), str(tmp_path / "q" / "a.png")], tmp_path / "out")
    assert len(found) == 3 and "a.jpg" in found


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a.png", "-m", "none"], 6, "no such run or file"),
        (["a.png", "-m", "."], 6, "not a run"),
        (["a.png", "-m", "a.png"], 6, "not a readable safetensors file"),
        (["b*.png", "-m", "MODEL"], 4, "no file matches"),
        (["void", "-m", "MODEL"], 4, "holds no photos"),
        (["a.png", "-m", "MODEL", "-o", "."], 2, "is one of the photos"),
        (["a.png", "-m", "MODEL", "--crf", "psaa"], 2, "did you mean 'psa'"),
        (["a.png", "-m", "MODEL", "--scales", "1;2"], 2, "expected numbers"),
        (["a.png", "-m", "MODEL", "--scales", "0"], 2, "--scales"),
        (["a.png", "-m", "MODEL", "--device", "gpu"], 2, "--device"),
        (["-m", "MODEL"], 2, "IMAGE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_followed(
    words: list[str], code: int, message: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(Path("a.png"))
    Path("void").mkdir()
    done = wsseg("predict", *[str(model) if word == "MODEL" else word for word in words])
    assert done.exit_code == code and message in done.stderr, done.output


def test_a_run_looks_as_its_eval_does(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)
    run = tmp_path / "run"
    (run / "train-seg").mkdir(parents=True)
    (run / "recipe.yaml").write_text((ROOT / "recipes" / "cam_voc_lite.yaml").read_text())
    done = wsseg("predict", "a.png", "-m", str(run))
    assert done.exit_code == 6 and "run `wsseg train-seg` first" in done.stderr
    (run / "train-seg" / "model.safetensors").write_bytes(model.read_bytes())
    opened = predict.model_at(run)
    assert opened.section.infer.flip and not predict.model_at(model).section.infer.flip


def test_a_crf_changes_the_mask(model: Path, tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    for crf in ("none", "deeplab"):
        done = wsseg("predict", str(tmp_path / "a.png"), "-m", str(model), "-o", str(tmp_path / crf), "--crf", crf)
        assert done.exit_code == 0, done.output
    assert (mask(tmp_path / "none" / "a.png") != mask(tmp_path / "deeplab" / "a.png")).any()
