import numpy as np
from golden_cases import Case, golden

from wsseg_cli.data.palette import palette, palette_bytes, voc_colours


@golden("voc_palette")
def test_colour_map(case: Case) -> None:
    case.check_all({"rgb": voc_colours()[case.inputs["index"]]})


@golden("rsepm-palettes")
def test_palettes_of_two_data_sets(case: Case) -> None:
    case.check_all(
        {f"{name}_bgr": palette(len(case.inputs[f"{name}_class_names"]) - 1)[:, ::-1] for name in ("VOC", "COCO")}
    )


def test_bytes_are_the_palette() -> None:
    assert np.array_equal(np.frombuffer(palette_bytes(20), np.uint8).reshape(256, 3), palette(20))
    assert len({tuple(colour) for colour in palette().tolist()}) == 256
