"""Batch norm over two processes: outputs, gradients and running statistics of one process that sees all images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from end_to_end.toy_run import environment
from torch import nn

from wsseg_cli.engine.sync_norm import sync_batch_norms

SCRIPT = """
import sys
import torch
from torch import nn
from wsseg_cli.engine import processes
from wsseg_cli.engine.sync_norm import sync_batch_norms

device = processes.start("cpu")
given = torch.load(sys.argv[1])
model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False, momentum=None), nn.BatchNorm2d(3).eval())
model = sync_batch_norms(model, device)
images = given["images"].chunk(2)[processes.rank()].requires_grad_()
result = model(images)
(result * given["factors"].chunk(2)[processes.rank()]).sum().backward()
found = {"result": processes.gather(result), "images": processes.gather(images.grad)}
found["weight"] = processes.sum_over_processes(model[0].weight.grad)
if processes.is_main():
    torch.save(found | model.state_dict(), sys.argv[2])
processes.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_halves_are_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images, factors = 100 + torch.randn(4, 3, 5, 6), torch.randn(4, 3, 5, 6)
    torch.save({"images": images, "factors": factors}, tmp_path / "given.pt")
    (tmp_path / "script.py").write_text(SCRIPT)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    places = [str(tmp_path / name) for name in ("script.py", "given.pt", "found.pt")]
    path = {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    run = subprocess.run([*start, *places], env=environment() | path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found = torch.load(tmp_path / "found.pt")
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False, momentum=None), nn.BatchNorm2d(3).eval())
    result = model(images.requires_grad_())
    (result * factors).sum().backward()
    want = {"result": result.detach(), "images": images.grad, "weight": model[0].weight.grad} | model.state_dict()
    assert set(found) == set(want)
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


def test_under_autocast_it_is_torchs() -> None:
    """A convolution hands it bf16: the statistics are of float32 and the result is bf16, as of torch's own."""
    torch.manual_seed(0)
    images = (100 + torch.randn(4, 3, 5, 6)).to(torch.bfloat16)
    plain = nn.BatchNorm2d(3)
    synced = sync_batch_norms(nn.BatchNorm2d(3), torch.device("cpu"))
    want, found = plain(images), synced(images)
    assert found.dtype == want.dtype == torch.bfloat16
    torch.testing.assert_close(found, want)
    torch.testing.assert_close(synced.state_dict(), plain.state_dict())
