"""What a fork server imports before its first fork: what readers and stages need, none of which starts a thread."""

from __future__ import annotations

import importlib
import pkgutil

import wsseg_affinity
import wsseg_cam
import wsseg_datasets
import wsseg_deeplab
import wsseg_onestage
import wsseg_ppc
import wsseg_refine
import wsseg_rsepm
import wsseg_sccam

import wsseg_cli

for package in (
    wsseg_cli,
    wsseg_affinity,
    wsseg_cam,
    wsseg_datasets,
    wsseg_deeplab,
    wsseg_onestage,
    wsseg_ppc,
    wsseg_refine,
    wsseg_rsepm,
    wsseg_sccam,
):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)

for name in ("accelerate", "torch._dynamo"):
    importlib.import_module(name)
