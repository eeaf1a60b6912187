"""A network as a folder in Hugging Face's layout: README.md with front matter, model.safetensors, config.json.

Nothing is uploaded: `hf upload NAME FOLDER` does that. The folder is a model for `wsseg predict --model FOLDER`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError, with_config
from typing_extensions import TypedDict

from . import __version__
from .disk.records import OPEN, read_record
from .disk.writing import write_atomically, write_text
from .errors import CheckpointError, RecipeError
from .recipe import yaml_core
from .recipe.evaluating import EvalSettings
from .run.evaluation import Evaluation
from .run.records import write_json
from .stages.model_card import header_of_file
from .types import Json

README, MODEL, CONFIG = "README.md", "model.safetensors", "config.json"


@with_config(OPEN)
class _Ours(TypedDict):
    eval: Json


@with_config(OPEN)
class _Config(TypedDict):
    """The part of config.json that is read back: how the network processes photos."""

    wsseg: _Ours


def write_hub_folder(
    model: Path,
    section: EvalSettings,
    card: str,
    out: Path,
    records: Sequence[Evaluation] = (),
    licence: str | None = None,
) -> list[Path]:
    """Write the three files into `out` and return them.

    model: the model file; section: how it processes photos; card: its model card; records: its results in `eval`;
    licence: as the hub names licences, such as cc-by-4.0; None: none is stated.

    Raises:
        RecipeError: `out` is the folder of the model itself. CheckpointError: `model` is not a model file.
    """
    header = header_of_file(model)
    files = [out / name for name in (README, MODEL, CONFIG)]
    if files[1].exists() and files[1].samefile(model):
        raise RecipeError(f"--out {out}: the model itself is in that folder; choose another one")
    write_atomically(files[1], lambda to: shutil.copyfile(model, to))
    write_json(files[2], _config(header, section))
    write_text(files[0], f"---\n{yaml_core.dump(_front(header, records, licence))}---\n\n{card}{_USE}")
    return files


_USE = """\
## Use

```sh
hf download NAME --local-dir FOLDER
wsseg predict PHOTO --model FOLDER
```
"""


def _config(header: Json, section: EvalSettings) -> Json:
    names = ["background", *map(str, header.get("classes", ()))]
    ours = {key: header.get(key) for key in ("kind", "name", "options", "normalization")}
    return {
        "model_type": "wsseg",
        "architectures": [header.get("name")],
        "id2label": {str(value): name for value, name in enumerate(names)},
        "label2id": {name: value for value, name in enumerate(names)},
        "wsseg": {"version": header.get("wsseg", __version__)} | ours | {"eval": section.model_dump(mode="json")},
    }


def _front(header: Json, records: Sequence[Evaluation], licence: str | None) -> Json:
    """Return the front matter of a model card on the hub, with the scores as its `model-index`."""
    front: Json = {"license": licence} if licence else {}
    front |= {
        "library_name": "wsseg",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "weakly-supervised"],
    }
    results = [
        {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": str(header.get("recipe", "unknown")), "type": "wsseg", "split": record.split},
            "metrics": [{"type": "mean_iou", "name": "mIoU in per cent", "value": record.miou}],
        }
        for record in records
        if record.artefact == "seg" and record.miou is not None
    ]
    if results:
        front["model-index"] = [{"name": str(header.get("recipe", "unknown")), "results": results}]
    return front


def is_hub_folder(place: Path) -> bool:
    """Return whether a folder holds a model in this layout."""
    return (place / CONFIG).is_file() and (place / MODEL).is_file()


def read_hub_folder(place: Path) -> EvalSettings:
    """Return how the network in such a folder processes photos, as its config.json says.

    Raises:
        CheckpointError: config.json is damaged, or not one of ours.
    """
    path, remedy = place / CONFIG, f"fetch it again; without it, give {MODEL} itself to --model"
    record = read_record(path, _Config, remedy, CheckpointError)
    if record is None:
        raise CheckpointError(f"{path}: missing; {remedy}")
    try:
        return EvalSettings.model_validate_json(json.dumps(record["wsseg"]["eval"]))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{path}: wsseg.eval.{at}: {first['msg']}; {remedy}") from None
