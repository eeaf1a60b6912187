"""Readers of networks on disk: training state, model files, folders of the hub, what SC-CAM keeps between rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hardening.reader import Call, Make


def state(name: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        import torch

        from wsseg_cli.engine import train_state

        def network() -> tuple[Any, Any]:
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
            return model, torch.optim.AdamW(model.parameters(), 0.01)

        model, optimizer = network()
        model(torch.randn(2, 3, 8, 8)).mean().backward()
        optimizer.step()
        train_state.write(folder / "train", 5, model, optimizer, None)

        def read() -> None:
            model, optimizer = network()
            train_state.resume(folder / "train", model, optimizer, None)
            model(torch.randn(2, 3, 8, 8)).mean().backward()
            optimizer.step()

        return folder / "train" / "step_000005" / name, read

    return make


def model(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.engine import checkpoint
    from wsseg_cli.plugin import discovery
    from wsseg_cli.stages.plugins import predictor_from, trained
    from wsseg_cli.types import ClassNames

    cls: Any = discovery.load("segmenters", "deeplabv2")
    options = cls.Options.model_validate({"backbone": "small", "backbone_options": {"width": 8}, "form": "v2_small"})
    segmenter = cls(options, ClassNames(["cat", "dog"]))
    header = {
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": options.model_dump(mode="json"),
        "classes": ["cat", "dog"],
        "normalization": {n: getattr(segmenter.normalization, n) for n in ("mean", "std", "scale", "order")},
        "weights": "none",
    }
    path = folder / "model.safetensors"
    checkpoint.write_model(path, segmenter.build_model(), header)

    def read() -> None:
        trained(predictor_from(path), path, "cpu", fast=True)

    return path, read


def card(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli import hub_folder
    from wsseg_cli.predict import model_at
    from wsseg_cli.stages.model_card import card_of_file

    path, _ = model(folder)

    def read() -> None:
        chosen = model_at(path)
        hub_folder.write_hub_folder(chosen.file, chosen.section, card_of_file(path), folder / "out")

    return path, read


def hub(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.predict import model_at

    _, write = card(folder)
    write()
    return folder / "out" / "config.json", lambda: model_at(folder / "out")


def frozen(folder: Path) -> tuple[Path, Call]:
    import tiny_clip

    from wsseg_cli.engine.frozen import load_trained, write_frozen

    method = tiny_clip.clipes()
    weights = tiny_clip.write(folder / "clip.safetensors")
    path = folder / "model.safetensors"
    write_frozen(path, method, str(weights), {"kind": "methods", "name": "clipes"})
    return path, lambda: load_trained(method.build_model(), path)


def rounds(name: str) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        import numpy as np
        from wsseg_sccam.rounds import FEATURES, Round, _kept_features

        from wsseg_cli.data.tensor_files import write_tensors
        from wsseg_cli.types import ClassNames, Sample

        samples = [Sample(f"p{number}", folder / "a.png", (number % 2,)) for number in range(4)]
        found = Round(folder, "abc", 1, samples, ClassNames(["cat", "dog"]), 2, 1)
        features = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
        write_tensors(folder / FEATURES, {"features": features}, {"fingerprint": "abc"})
        found._write(features)

        def read() -> None:
            _kept_features(folder / FEATURES, "abc", 4)
            found._array(found._read() or {})

        return folder / name, read

    return make
