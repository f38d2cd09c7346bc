"""Parallel: one large network trained by several processes of this machine together, one a GPU, or one a core where there is none.

Small networks are not trained so: members of a fleet see nothing of each other, and are spread whole (`fleet`, `gpus`). What a process
does is `shards.work`, as everywhere; the first one tells of it, and the stage writes it down. When one is lost the others cannot go on:
the stage ends with a sentence, and the next run goes on from the last whole epoch.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from longshort.errors import ConfigError, LongshortError
from longshort.training import fleet
from longshort.training.group import GroupLost, joined
from longshort.training.shards import Record, Shard, Show, Told, steady, work

GRACE = 10  # seconds for the others to end when one has: of several reasons the best is told


@dataclass(frozen=True)
class Processes:
    """The crew that trains one member after the other, each by so many processes.

    cores  of which the group holds one: two groups that wait for each other's second would wait for ever
    """

    count: int
    device: torch.device
    cores: fleet.Cores

    @property
    def name(self) -> str:
        """What a person calls it."""
        if self.device.type == "cpu":
            return f"cpu ({self.count} processes of one thread train one network)"
        return f"cuda ({self.count} × {torch.cuda.get_device_name(self.device)} train one network)"

    def train(self, places: Sequence[int], shard: Callable[[int], Shard], record: Record, show: Show) -> None:
        """See `Crew`."""

        def told(place: int, what: Told) -> None:
            record(place, [what])
            if what.entry["kind"] == "epoch":
                show(place, what.entry)

        for place in places:
            with fleet.core(self.cores.folder, self.cores.count):
                _together(shard(place), self.count, functools.partial(told, place))


def processes(count: int, device: torch.device, cores: fleet.Cores) -> Processes:
    """The crew, where there is a GPU for each process.

    raises  ConfigError when there are fewer
    """
    if device.type == "cuda" and torch.cuda.device_count() < count:
        raise ConfigError(
            f"params.yaml: an item's data_parallel is {count}, and this stage sees {torch.cuda.device_count()} of the machine's GPUs. "
            "Stages that run side by side share them: set `resources.workers` to 1, or data_parallel to as many as there are for a stage."
        )
    return Processes(count, device, cores)


def _together(shard: Shard, count: int, told: Callable[[Told], None]) -> None:
    """Train a shard's member in so many processes. Each is started anew: one that has asked for a GPU cannot be forked."""
    context = multiprocessing.get_context("spawn")
    started: dict[Any, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for rank in range(count):
                ours, theirs = context.Pipe(duplex=False)
                own = replace(shard, device="cpu" if shard.device == "cpu" else f"cuda:{rank}")
                given = (own, rank, count, Path(folder, "meeting"), theirs)
                started[ours] = context.Process(target=_take_part, args=given, daemon=True)
                started[ours].start()
                theirs.close()
            _listen(started, told)
        finally:
            for process in started.values():
                process.terminate()
                process.join()


def _take_part(shard: Shard, rank: int, count: int, meeting: Path, pipe: Any) -> None:
    """What a process of the group does."""
    threading.Thread(target=_end_with_the_stage, daemon=True).start()
    device = torch.device(shard.device)
    steady(device)

    def tell(what: Told) -> None:
        if rank == 0:
            pipe.send((None, what))

    try:
        with joined(rank, count, device, meeting) as group:
            work(shard, tell, group)
    except LongshortError as error:
        pipe.send((error, None))
    except KeyboardInterrupt:
        os._exit(130)  # who started us says so


def _end_with_the_stage() -> None:
    stage = multiprocessing.parent_process()
    assert stage is not None
    stage.join()
    os._exit(1)  # nobody listens any more, and the next run may be at the same work


def _listen(started: dict[Any, Any], told: Callable[[Told], None]) -> None:
    """Hand on what is told until every process has ended well.

    started  pipe -> process, the first one first
    raises   what a process raised, of our own errors; LongshortError when one died
    """
    reasons, ranks = list[LongshortError](), {pipe: rank for rank, pipe in enumerate(started)}

    def died(pipe: Any, code: int) -> LongshortError:
        return fleet.lost(f"of {len(started)} processes that train one network together, number {ranks[pipe] + 1}", code)

    for error, what in fleet.heard(started, died, lambda: GRACE if reasons else None):
        if error is None:
            told(what)
        else:
            reasons.append(error)
    if reasons:
        raise min(reasons, key=lambda reason: isinstance(reason, GroupLost))
