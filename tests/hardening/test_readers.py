"""Three hundred damaged files to every reader: refused by name or read, without traceback, hang, crash or memory."""

from __future__ import annotations

import pytest

from hardening.campaign import campaign
from hardening.readers import READERS

INPUTS, OF_SLOW_ONES = 300, 40


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name: str) -> None:
    if name in ("imagefolder", "parquet"):
        pytest.importorskip("datasets")
    count = OF_SLOW_ONES if READERS[name].slow else INPUTS
    tally = campaign(name, count, "suite")
    assert tally.bad == [] and tally.counts["refused"] + tally.counts["accepted"] == count
    assert tally.counts["refused"] > 0 or name == "lock"
