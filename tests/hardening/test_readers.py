"""Damaged files to every reader: refused by name or read, without traceback, hang, crash or memory."""

from __future__ import annotations

import importlib.util
import os

import pytest

from hardening.campaign import campaign
from hardening.readers import READERS

INPUTS = int(os.environ.get("WSSEG_INPUTS", "20"))
"""Inputs a reader: as many as take about a minute of one core; the campaign has the others."""


@pytest.mark.slow
def test_damaged_files() -> None:
    without = {"imagefolder", "parquet"} if importlib.util.find_spec("datasets") is None else set()
    counts = {name: INPUTS for name in READERS if name not in without}
    found = dict(campaign(counts, "suite"))
    assert [line for tally in found.values() for line in tally.bad] == []
    for name, tally in found.items():
        assert tally.counts["refused"] + tally.counts["accepted"] == INPUTS
        assert tally.counts["refused"] > 0 or name == "lock"
