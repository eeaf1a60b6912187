"""Whole files of labelling tools to damage: COCO's JSON, CVAT's XML and archive, Label Studio's tasks."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hardening.reader import Call, Make

_XML_IN_ZIP = "task.zip"


def _drawn(tool: Any, to: Any, name: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        from wsseg_cli.convert import from_tools, to_tools
        from wsseg_cli.data.stores import write_mask
        from wsseg_cli.errors import DataError

        mask = np.random.default_rng(0).integers(0, 3, (9, 14)).astype(np.uint8)
        for image_id in ("p0", "p1"):
            write_mask(folder / "masks" / f"{image_id}.png", mask)
            (folder / "photos").mkdir(exist_ok=True)
            Image.new("RGB", (14, 9)).save(folder / "photos" / f"{image_id}.jpg")
        names = folder / "names.txt"
        names.write_text("cat\ndog\n")
        path = folder / name
        written = path.with_suffix(".xml") if name == _XML_IN_ZIP else path
        to_tools.run(folder / "masks", written, to, classes=names, photos=folder / "photos")
        if written != path:
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(written, "annotations.xml")
        if tool == "label-studio":
            tasks = json.loads(path.read_text())
            for task in tasks:
                task["annotations"] = task.pop("predictions")
            path.write_text(json.dumps(tasks))

        def read() -> None:
            shutil.rmtree(folder / "out", ignore_errors=True)
            result = from_tools.run(path, folder / "out", tool, classes=names, photos=folder / "photos")
            if result.failures:
                raise DataError(f"{path.name}: {result.failures[0][1]}")

        return path, read

    return make


DRAWN: dict[str, tuple[str, Make]] = {
    "drawn, COCO JSON": ("json", _drawn("coco", "coco", "instances.json")),
    "drawn, CVAT XML": ("text", _drawn("cvat", "cvat", "annotations.xml")),
    "drawn, CVAT XML in an archive": ("zip", _drawn("cvat", "cvat", _XML_IN_ZIP)),
    "drawn, CVAT archive": ("zip", _drawn("cvat", "cvat", "masks.zip")),
    "drawn, Label Studio": ("json", _drawn("label-studio", "label-studio", "tasks.json")),
}
"""Form of the file (see `mutate.FORMS`) and what makes a whole one."""
