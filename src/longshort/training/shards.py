"""Shards: the members that one process trains, and what it tells of them.

Who computes is a crew: processes of this machine (`fleet`; `parallel`, where several train one member) or of a cluster (`cluster`).
All do `work`, in which the one loop runs; it writes nothing, and what it tells is written down by `runs`, wherever it comes from.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from longshort.config import EngineName, Variant
from longshort.training import checkpoints
from longshort.training.group import ALONE, Group
from longshort.training.loop import Epoch, Member, Progress, train

Judge = Callable[[int, list[dict[str, Any]]], bool]
Show = Callable[[int, dict[str, Any]], None]
Record = Callable[[int, "Sequence[Told]"], None]


@dataclass(frozen=True)
class Shard:
    """All that a process needs to train members.

    resumed  the newest checkpoint of each as `checkpoints.packed` gives it, or None
    judge    asked after an epoch with a member's place in the shard and its history; when it says so the member is pruned
    """

    members: tuple[Member, ...]
    variant: Variant
    engine: EngineName
    device: str
    resumed: tuple[bytes | None, ...]
    judge: Judge | None = None


@dataclass(frozen=True)
class Told:
    """What is told of a member when it begins, after each of its epochs, and when it has ended.

    place       of the member in its shard
    entry       the line for its journal; that of a beginning lacks what the member is
    epochs      how many it has behind it
    checkpoint  what to go on from, packed, where that has changed; who hands several on may leave out all but the newest
    """

    place: int
    entry: dict[str, Any]
    epochs: int
    checkpoint: bytes | None = None


class Crew(Protocol):
    """Who computes the members of a fleet, one by one."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    def train(self, places: Sequence[int], shard: Callable[[int], Shard], record: Record, show: Show) -> None:
        """Bring the members to their end. When a process is lost, so is no epoch that was recorded.

        places  of the members
        shard   asked with a place when its turn has come: the member alone, to go on from its newest checkpoint
        record  called with a place and what is told of it, in order, where it can be written down on this machine's disk; of
                different places at once, in any threads
        show    called in this process with a place and the entry of each epoch
        raises  what the work raised, of our own errors; LongshortError when processes died
        """


def steady(device: torch.device) -> None:
    """Have this process compute the same bytes on a device on every run on one kind of machine."""
    # a small network is no faster on two threads, and collapses when a neighbour is busy;
    # on one thread the order of every sum is given
    torch.set_num_threads(1)
    if device.type == "cuda":  # on a CPU this would change nothing, and its import of torch's compiler takes 2 s
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def work(shard: Shard, tell: Callable[[Told], None], group: Group = ALONE) -> None:
    """Train a shard's members to their ends, and tell of it.

    group   the processes that do this together, each with the same shard
    raises  what `tell` raises, which stops all
    """
    resumed = [None if checkpoint is None else checkpoints.unpacked(checkpoint) for checkpoint in shard.resumed]
    for place, progress in enumerate(resumed):
        done = len(progress.history) if progress else 0
        tell(Told(place, {"kind": "begun", "resumed_after": done}, done))

    def after_epoch(place: int, epoch: Epoch, progress: Progress) -> None:
        progress.pruned = shard.judge is not None and shard.judge(place, progress.history)
        entry = {"kind": "epoch", **epoch.result(), "seconds": epoch.seconds}
        tell(Told(place, entry, len(progress.history), checkpoints.packed(progress)))

    with _without_subnormals():
        ended = train(shard.members, shard.variant, shard.engine, torch.device(shard.device), resumed, after_epoch, group)
    for place, progress in enumerate(ended):
        tell(_end(place, progress))


@contextlib.contextmanager
def _without_subnormals() -> Iterator[None]:
    """Numbers nearer to 0 than float32 has at full precision, 1.2e-38, are 0 in this thread and those that it starts.

    A CPU takes a hundred cycles and more for each of them, and where gates are shut gradients are made of little else: 804 steps of an
    LSTM of 512 units that began as `nguyen_widrow` has it took 23 s of a core with them and 5 s without, to the same losses.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _end(place: int, progress: Progress) -> Told:
    epochs = len(progress.history)
    if progress.dropped:
        return Told(place, {"kind": "dropped", "reason": progress.dropped}, epochs, checkpoints.packed(progress))
    kind = "pruned" if progress.pruned else "finished"
    return Told(place, {"kind": kind, "best_epoch": progress.best_epoch, "epochs": epochs}, epochs)
