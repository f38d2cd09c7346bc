"""Group: the processes that train one network together, each on its share of the rows of every batch.

What the loop asks of a group is here, and nothing of who starts it (`parallel`). Each process holds all weights and takes the same steps:
gradients of shares, each already divided by the terms that the whole batch is charged for, add up to those of the batch, and so do
losses. A sum comes out with the same bytes for all of them, so all decide alike, and their weights stay the same to the byte. The
average over processes that torch's DistributedDataParallel takes would be wrong wherever shares are not charged alike.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor

from longshort.errors import LongshortError
from longshort.tasks.task import Batch


class GroupLost(LongshortError):
    """Another process of the group is gone: it knows why, and this one does not."""


@dataclass(frozen=True)
class Group:
    """A process among those of its group.

    rank  from 0 to size - 1
    """

    rank: int = 0
    size: int = 1

    def share(self, batch: Batch, uncharged: float) -> tuple[Tensor, Tensor, int]:
        """This process's rows of a batch, the axis of members in front, and the place in the batch of the first of them.

        uncharged  the target of what is not charged. A process for which there is no row has one that is not: others wait for its sums
        """
        read, target = batch
        rows = read.shape[1]
        first, end = (rows * rank // self.size for rank in (self.rank, self.rank + 1))
        if first == end:
            return read[:, :1], torch.full_like(target[:, :1], uncharged), 0
        return read[:, first:end], target[:, first:end], first

    def of_batch(self, losses: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Summed losses and terms of the whole batch, from those of this process's share; each (members,), losses without a gradient."""
        losses = losses.detach()
        if self.size == 1:
            return losses, counts
        sums = torch.stack([losses.double(), counts.double()])
        self.add(sums)
        return sums[0], sums[1].to(counts.dtype)

    def add(self, shares: Tensor) -> None:
        """Make a tensor the sum of those that all processes have."""
        if self.size == 1:
            return
        try:
            torch.distributed.all_reduce(shares)
        except RuntimeError as error:
            raise GroupLost(
                f"of {self.size} processes that train one network together, number {self.rank + 1} has lost the others: "
                f"{str(error).splitlines()[0]} Run this again: it goes on from the last checkpoint."
            ) from None


ALONE = Group()


@contextlib.contextmanager
def joined(rank: int, size: int, device: torch.device, meeting: Path) -> Iterator[Group]:
    """Be in the group of this machine's processes that meet over a file; waits for all of them.

    meeting  where no file is yet, the same for all
    """
    for backend in ("GLOO", "NCCL"):  # else they would listen where other machines hear them
        os.environ.setdefault(f"{backend}_SOCKET_IFNAME", "lo")
    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":  # else each process would also take memory of the first GPU
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(backend, init_method=meeting.as_uri(), rank=rank, world_size=size)
    yield Group(rank, size)
    torch.distributed.destroy_process_group()
