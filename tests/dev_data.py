"""Where development data lies that is no part of the project: tests that want it skip without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def dev_data(*parts: str) -> Path:
    """Return a path below the folder of development data; skip the test if it is not there."""
    root = Path(os.environ.get("WSSEG_DEV_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no development data {'/'.join(parts)}; WSSEG_DEV_DATA says where it lies")
    return path
