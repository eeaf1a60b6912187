"""The processes of a run: who am I, who is main, what all of them computed. One process needs nothing started."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from ..data.threads import cores
from ..errors import StageError
from ..settings import RuntimeSettings
from ..signals import Terminated

if TYPE_CHECKING:  # `prepare` asks who is main, and does without the start of torch
    import torch
    from torch import Tensor

_log = logging.getLogger(__name__)


def start(device: str = "auto") -> torch.device:
    """Start what several processes need (accelerate's PartialState) and return this process' device.

    Raises:
        StageError: the device cannot be shared by the processes that were started.
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
    """Tell whether networks run on the CPU: as `device` says, or "auto" where there is nothing else.

    accelerate joins several processes on a CPU only if it is told so.
    """
    import torch

    return device == "cpu" or (device == "auto" and not torch.accelerator.is_available())


def rank() -> int:
    """Return the number of this process, 0 for main."""
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Tell whether this process writes what is written once."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        from accelerate.utils import wait_for_everyone

        wait_for_everyone()


def agree(value: Any) -> Any:
    """Return the main process' `value` in all processes; an exception of main is raised in all."""
    if world() > 1:
        from accelerate.utils import broadcast_object_list

        value = broadcast_object_list([value], from_process=0)[0]
    if isinstance(value, BaseException):
        raise value
    return value


def agree_to_stop(asked: type[KeyboardInterrupt] | None) -> type[KeyboardInterrupt] | None:
    """Return what any process was asked, the same in all of them: all stop after the same step.

    The processes speak through gloo, which does not wait for a GPU.
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
    """Return (world * N, …) of each process' (N, …), same shape in all; carries no gradient."""
    if world() == 1:
        return x.detach()
    import torch

    parts = [torch.empty_like(x) for _ in range(world())]
    torch.distributed.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of each process' `x`, same shape in all; carries no gradient."""
    x = x.detach().clone()
    if world() > 1:
        import torch

        torch.distributed.all_reduce(x)
    return x


def worker_count(runtime: RuntimeSettings) -> int:
    """Return the workers of this process: the recipe's, or the cores of the job, shared between its processes."""
    if runtime.workers is not None:
        return runtime.workers
    return max(1, cores() // world())
