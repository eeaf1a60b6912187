"""The processes of a run: their ranks, which one is main, and collectives. A single process needs no setup."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from ..data.threads import cores
from ..errors import StageError
from ..settings import RuntimeSettings
from ..signals import Terminated

if TYPE_CHECKING:  # `prepare` asks which process is main, and must not wait for torch to load
    import torch
    from torch import Tensor

_log = logging.getLogger(__name__)


def start(device: str = "auto") -> torch.device:
    """Set up what several processes need (accelerate's PartialState) and return this process's device.

    Raises:
        StageError: the processes that were started cannot work together on this device.
    """
    from accelerate import PartialState

    state = PartialState(cpu=on_cpu(device))
    if state.num_processes != world():
        raise StageError(
            f"{world()} processes were started, but on {state.device} each would work on its own; "
            "start one, or add `--set runtime.device=cpu`"
        )
    _log.debug("process %d of %d computes on %s", rank(), world(), state.device)
    return state.device


def on_cpu(device: str) -> bool:
    """Return whether networks run on the CPU: as `device` says, or "auto" if there is no other device.

    accelerate joins several processes on a CPU only if it is told to.
    """
    import torch

    return device == "cpu" or (device == "auto" and not torch.accelerator.is_available())


def rank() -> int:
    """Return the rank of this process, 0 for main."""
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Return whether this process writes what is written only once."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        from accelerate.utils import wait_for_everyone

        wait_for_everyone()


def agree(value: Any) -> Any:
    """Return the main process's `value` in all processes; an exception in main is raised in all."""
    if world() > 1:
        from accelerate.utils import broadcast_object_list

        value = broadcast_object_list([value], from_process=0)[0]
    if isinstance(value, BaseException):
        raise value
    return value


def agree_to_stop(asked: type[KeyboardInterrupt] | None) -> type[KeyboardInterrupt] | None:
    """Return the request to stop that any process received, the same in all of them: all stop after the same step.

    The processes communicate through gloo, which does not wait for a GPU.
    """
    if world() == 1:
        return asked
    import torch

    number = torch.tensor(_REQUESTS.index(asked))
    torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX, group=_host_group())
    return _REQUESTS[int(number)]


_REQUESTS = (None, KeyboardInterrupt, Terminated)


@cache
def _host_group() -> Any:
    import torch

    return torch.distributed.new_group(backend="gloo")


def gather_objects(values: list[Any]) -> list[Any]:
    """Return the lists of all processes as one, in the order of the processes."""
    if world() == 1:
        return values
    from accelerate.utils import gather_object

    return list(gather_object(values))


def gather(x: Tensor) -> Tensor:
    """Return (world * N, …) from each process's (N, …), the same shape in all; carries no gradient."""
    if world() == 1:
        return x.detach()
    import torch

    parts = [torch.empty_like(x) for _ in range(world())]
    torch.distributed.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of `x` over the processes, the same shape in all; carries no gradient."""
    x = x.detach().clone()
    if world() > 1:
        import torch

        torch.distributed.all_reduce(x)
    return x


def worker_count(runtime: RuntimeSettings) -> int:
    """Return the workers of this process: the recipe's number, or the cores of the job divided among its processes."""
    if runtime.workers is not None:
        return runtime.workers
    return max(1, cores() // world())
