"""Data parallelism: several processes (ranks) train one student, each on its part of every mini-batch.

Every rank runs the loop of one process, on all rows and in the same order. `Gradients` computes the gradient
of the rank's part of a batch and adds those of all ranks. So every rank takes the step of the whole batch.

torch's DistributedDataParallel is not used. It wraps a module's forward, and adapters also call other
methods; it averages over ranks, and parts with unequal weights, or without any text, would need corrections.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.student.device import device
from tutelage.student.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """The number of this process, from 0, among the `count` that train a student together."""

    rank: int = 0
    count: int = 1
    on_this_host: int = 1

    def part(self, batch: Sequence[int]) -> Sequence[int]:
        """Return this rank's part of a batch. Its texts are sorted by length, so that all parts pad alike."""
        return batch[self.rank :: self.count]

    def start(self, parameters: Sequence[Any], seed: int) -> None:
        """Set the parameters to those of rank 0, in place, and let each rank draw its own dropout."""
        if self.count == 1:
            return
        import torch

        with torch.no_grad():
            for parameter in parameters:
                torch.distributed.broadcast(parameter, 0)
        if self.rank:
            torch.manual_seed(seed + self.rank)

    def add(self, loss: "Tensor | None", parameters: Sequence[Any]) -> "Tensor | None":
        """Add the gradients of all ranks to each other, in place, and return the sum of their losses.

        A parameter has no gradient afterwards if it has none on any rank; the loss is then None.
        """
        if self.count == 1:
            return loss
        import torch

        found = [parameter.grad is not None for parameter in parameters]
        grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        first = torch.tensor([0.0 if loss is None else float(loss), *found], device=grads[0].device)
        flat = torch.cat([first, *(grad.flatten() for grad in grads)])
        torch.distributed.all_reduce(flat)
        parts = torch.split_with_sizes(flat, [1, len(found), *(grad.numel() for grad in grads)])
        found_on = parts[1].tolist()  # on how many ranks
        for parameter, ranks, part in zip(parameters, found_on, parts[2:], strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype) if ranks else None
        return parts[0][0].clone() if any(found_on) else None  # a view would keep all gradients in memory

    def from_first(self, value: float) -> float:
        """Return the value of rank 0, on every rank."""
        if self.count == 1:
            return value
        import torch

        values = [value]
        torch.distributed.broadcast_object_list(values, 0)
        return values[0]


ALONE = Ranks()


def join(wanted: str) -> Ranks:
    """Join the other ranks, as the launcher's variables say.

    Args:
        wanted: the device of the students, as in `TrainingConfig`. If it is a GPU, each rank of a host takes
            another one.

    Raises:
        InputError: the process was not started as one of several.
    """
    import torch

    if missing := [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]:
        raise InputError(
            f"`student.launcher` did not set {missing[0]} for the process that it started; take a command"
            " that starts several processes as torchrun does"
        )
    if device(wanted).startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group()  # gloo for tensors on a CPU, nccl for those on a GPU
    count = torch.distributed.get_world_size()
    return Ranks(torch.distributed.get_rank(), count, int(os.environ.get("LOCAL_WORLD_SIZE", count)))


def leave() -> None:
    """Leave the other ranks, after the last training."""
    import torch

    torch.distributed.destroy_process_group()
