from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from golden_cases import Case, golden
from wsseg_toco.augment import Drawn, Look, ToCoTransform
from wsseg_toco.method import ToCo

from wsseg_cli.data.transforms import CropBox, Jitter
from wsseg_cli.errors import RecipeError
from wsseg_cli.settings import AugmentSettings
from wsseg_cli.types import ClassNames

AUGMENT = AugmentSettings(
    scale_range=(0.5, 2.0), interpolation="pillow_bilinear", flip=0.5, crop=48, color_jitter=(0.4, 0.4, 0.2, 0.1)
)


def transform(crop: int = 48, augment: AugmentSettings = AUGMENT, **options: Any) -> tuple[ToCo, ToCoTransform]:
    m = ToCo(ToCo.Options(local_size=8, **options), ClassNames(["cat", "dog"]))
    made = m.train_transform(augment.model_copy(update={"crop": crop}))
    assert isinstance(made, ToCoTransform)
    return m, made


def look(given: dict[str, np.ndarray], view: str) -> Look:
    brightness, contrast, saturation, hue = given[f"{view}_factors_b_c_s_h"].tolist()
    jitter = Jitter(tuple(given[f"{view}_order"].tolist()), brightness, contrast, saturation, hue)
    return Look(
        flipped=bool(given[f"{view}_flip"]),
        jitter=jitter if given[f"{view}_jitter"] else None,
        grey=bool(given[f"{view}_gray"]),
        blur=float(given[f"{view}_blur"]),
        solarized=bool(given.get(f"{view}_solarize", False)),
    )


@golden("toco_augment")
def test_views_of_an_image(case: Case) -> None:
    a = case.arguments
    for name in sorted({key.partition("/")[0] for key in case.inputs}):
        given = {k.partition("/")[2]: v for k, v in case.inputs.items() if k.startswith(f"{name}/")}
        side, image = int(given["crop_size"]), given["image"]
        augment = AUGMENT.model_copy(
            update={"scale_range": tuple(a["rescale_range"]), "color_jitter": tuple(a["jitter"])}
        )
        m, made = transform(side, augment, view2_area=tuple(a["view2_scale"]))
        assert (made.rectangle.area, made.rectangle.ratio) == (tuple(a["view2_scale"]), tuple(a["view2_ratio"]))
        assert np.allclose(m.normalization.mean, a["mean"]) and np.allclose(m.normalization.std, a["std"])
        size = made.resized(image.shape[:2], float(given["ratio"]))
        crop = CropBox(
            side,
            *(int(given[word]) for word in ("crop_top", "crop_left", "pad_top", "pad_left")),
            *(min(side, length) for length in size),
        )
        looks = {view: look(given, view) for view in ("image", "local", "view2")}
        rectangle = tuple(given["view2_area"].tolist())
        drawn = Drawn(float(given["ratio"]), bool(given["flip"]), crop, **looks, rectangle=rectangle)
        made.draw = lambda rng, size, drawn=drawn: drawn  # type: ignore[method-assign, misc]
        arrays = {"image": image, "label": np.zeros(2, np.float32)}
        tensors = made(arrays, np.random.default_rng(0))
        levels = {view: m.normalization.invert(tensors[view]).round().byte() for view in looks}
        plain = replace(drawn, local=Look())
        made.draw = lambda rng, size, plain=plain: plain  # type: ignore[method-assign, misc]
        unchanged = m.normalization.invert(made(arrays, np.random.default_rng(0))["local"]).round().byte()
        rows, columns = a["slices"][f"{name}/image_normalized"]["step"]
        got = {"resized_hw": np.array(size), "box": tensors["box"], "crop": unchanged.permute(1, 2, 0), **levels}
        got["image_normalized"] = tensors["image"][:, ::rows, ::columns]
        for output, value in got.items():
            case.check(f"{name}/{output}", value)
    assert case.checked == set(case.outputs)


def photo(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_draws_follow_their_generator_and_differ() -> None:
    _, made = transform()
    drawn = [made.draw(np.random.default_rng(seed), (60, 90)) for seed in range(200)]
    assert drawn[0] == made.draw(np.random.default_rng(0), (60, 90))
    looks = {word: [getattr(d, word) for d in drawn] for word in ("image", "local", "view2")}
    assert all(0.1 <= one.blur <= 2 and not one.solarized for one in looks["image"])
    assert 0.35 < np.mean([one.blur > 0 for one in looks["local"]]) < 0.65
    assert 0.03 < np.mean([one.blur > 0 for one in looks["view2"]]) < 0.2
    assert 0.1 < np.mean([one.solarized for one in looks["view2"]]) < 0.32
    for views in looks.values():
        assert 0.7 < np.mean([one.jitter is not None for one in views]) < 0.9
        assert 0.1 < np.mean([one.grey for one in views]) < 0.32
    flipped = [(d.image.flipped, d.local.flipped) for d in drawn]
    assert {(True, False), (False, True), (True, True), (False, False)} == set(flipped)


def test_box_and_source_may_follow_the_input() -> None:
    _, made = transform(same_flip=True)
    for seed in range(20):
        drawn = made.draw(np.random.default_rng(seed), (60, 90))
        assert drawn.image.flipped == drawn.local.flipped
    arrays = {"image": photo(20, 30), "label": np.zeros(2, np.float32)}
    for rule in (False, True):
        _, made = transform(flip_box=rule, augment=AUGMENT.model_copy(update={"scale_range": None}))
        crop = CropBox(48, 0, 0, 5, 2, 20, 30)
        drawn = Drawn(1.0, False, crop, Look(flipped=True), Look(), Look(), (0, 0, 20, 30))
        made.draw = lambda rng, size, drawn=drawn: drawn  # type: ignore[method-assign, misc]
        box = made(arrays, np.random.default_rng(0))["box"].tolist()
        assert box == ([5, 25, 16, 46] if rule else [5, 25, 2, 32])


@pytest.mark.parametrize(
    "augment, said",
    [
        (AugmentSettings(crop=None), "augment.crop is null"),
        (AugmentSettings(crop=8), "augment.crop is 8"),
        (AugmentSettings(crop=64, hsv=(1, 1, 1)), "does not know augment.hsv"),
        (AugmentSettings(crop=64, resize_long=(50, 60)), "does not know augment.resize_long"),
    ],
)
def test_an_augmentation_that_does_not_fit_is_named(augment: AugmentSettings, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        ToCo(ToCo.Options(local_size=8), ClassNames(["cat"])).train_transform(augment)
