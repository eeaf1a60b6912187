"""`wsseg run` from nothing to a trained network on ten scenes; a second run has nothing to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from end_to_end.toy_run import write_recipe, wsseg


@pytest.mark.slow
def test_run_and_again(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    first = wsseg(recipe, "run")
    assert "all background" in first.stdout
    run = tmp_path / "runs" / "tiny"
    metrics = [json.loads(line) for line in (run / "train-cls" / "metrics.jsonl").read_text().splitlines()]
    assert [m["step"] for m in metrics] == [1, 5, 10, 15, 20, 25, 30]
    assert metrics[0]["cls"] == pytest.approx(0.7738, abs=0.01)
    records = {
        p.stem: json.loads(p.read_text()) for p in (run / "eval").glob("*.json") if p.stem[-3:] in ("ain", "val")
    }
    assert set(records) == {f"{a}-{s}" for a in ("cam", "pseudo", "seg") for s in ("train", "val")}
    for name, record in records.items():
        assert record["protocol"]["images"] == (10 if name.endswith("train") else 6)
        assert 0 < record["miou"] < 100
    assert records["cam-val"]["protocol"]["labels"] == "given"
    assert records["cam-val"]["threshold"]["chosen"] == "chosen on train masks"
    report = Path("runs/tiny/report.html")
    assert f"Next: open {report} in a browser\n      wsseg predict PHOTO… --model runs/tiny\n" in first.stderr
    log = (run / "wsseg.log").read_text(encoding="utf-8").splitlines()
    assert log[0].endswith(f": wsseg run --recipe {recipe}") and " exit code 0 after " in log[-1]
    before = (run / "train-cls" / "model.safetensors").stat().st_mtime_ns
    second = wsseg(recipe, "run")
    assert second.stdout.count("is up to date") == 5
    assert (run / "train-cls" / "model.safetensors").stat().st_mtime_ns == before
    refused = wsseg(recipe, "cam", "--set", "cam.infer.flip=false", code=5)
    assert "cam.infer.flip: true → false" in refused.stderr and "--force" in refused.stderr
    below = wsseg(recipe, "eval", "--what", "seg", "--min-miou", "99.5", code=1)
    assert "seg on train: mIoU" in below.stderr and "seg on val: mIoU" in below.stderr and "below 99.5" in below.stderr
    assert json.loads(wsseg(recipe, "eval", "--what", "cam", "--json").stdout)["schema_version"] == 1
