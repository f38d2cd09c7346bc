"""Fleets on a CPU: members are spread over processes of one thread each, and processes over the cores that are free.

A small network is no faster on two threads, and collapses when a neighbour is busy; processes of one thread add up.
Stages may run side by side, so the cores of a machine are tokens, files that are locked: who holds one computes.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshort.errors import LongshortError
from longshort.training.shards import Record, Shard, Show, Told
from longshort.training.shards import work as train_shard

Tell = Callable[[Any], None]
Said = tuple[LongshortError | None, Any]  # why a process cannot go on, or what it tells
_PAUSE = 0.05  # seconds between two looks for a free core


@dataclass(frozen=True)
class Cores:
    """The crew of this machine: a process a core. What is told is recorded by the process that computes, since the disk is one.

    folder  of the tokens; count: how many cores this machine lends
    """

    folder: Path
    count: int

    @property
    def name(self) -> str:
        """What a person calls it."""
        return "cpu (one thread a network)"

    def train(self, places: Sequence[int], shard: Callable[[int], Shard], record: Record, show: Show) -> None:
        """See `Crew`."""

        def work(place: int, tell: Tell) -> None:
            def told(what: Told) -> None:
                record(place, [what])
                if what.entry["kind"] == "epoch":
                    tell((place, what.entry))

            train_shard(shard(place), told)

        spread(places, work, self.folder, self.count, lambda what: show(*what))


def spread(places: Sequence[int], work: Callable[[int, Tell], None], cores: Path, count: int, told: Tell) -> None:
    """Do work for each place, in as many processes as there are cores; each is forked, so nothing is handed over but what is told.

    work    called in some process with a place and what it may tell; it keeps its result on the disk
    cores   the folder of the tokens; count: how many cores this machine lends
    told    called here with everything that is told
    raises  what a work raised, of our own errors; LongshortError when a process died
    """
    if len(places) < 2 or count < 2:
        for place in places:
            with core(cores, count):
                work(place, told)
        return
    context = multiprocessing.get_context("fork")
    following = context.Value("i", 0)
    workers: dict[Any, Any] = {}
    for _ in range(min(count, len(places))):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work_off, args=(places, following, work, cores, count, theirs), daemon=True)
        process.start()
        theirs.close()
        workers[ours] = process
    try:
        for error, what in heard(workers, lambda _, code: lost("a training process", code), lambda: None):
            if error is not None:
                raise error
            told(what)
    finally:
        for process in workers.values():
            process.terminate()
            process.join()


def _work_off(places: Sequence[int], following: Any, work: Callable[[int, Tell], None], cores: Path, count: int, pipe: Any) -> None:
    parent = os.getppid()

    def tell(what: Any) -> None:
        if os.getppid() != parent:
            os._exit(1)  # nobody listens any more, and the next run may be at the same work
        pipe.send((None, what))

    try:
        while True:
            with following.get_lock():
                number, following.value = following.value, following.value + 1
            if number >= len(places):
                break
            with core(cores, count):
                work(places[number], tell)
    except LongshortError as error:
        pipe.send((error, None))
    except KeyboardInterrupt:
        os._exit(130)  # who started us says so


def heard(processes: Mapping[Any, Any], died: Callable[[Any, int], LongshortError], patience: Callable[[], float | None]) -> Iterator[Said]:
    """What processes say over their pipes until every one has ended, or none has said anything for so long.

    processes  pipe -> process
    died       the error of one that ended badly, from its pipe and exit code
    patience   asked before each wait: seconds, or None for as long as it takes
    """
    pipes = dict(processes)
    while pipes:
        ready: list[Any] = multiprocessing.connection.wait(list(pipes), patience())
        if not ready:
            return
        for pipe in ready:
            try:
                yield pipe.recv()
            except EOFError:
                process = pipes.pop(pipe)
                process.join()
                if process.exitcode:
                    yield died(pipe, process.exitcode), None


def lost(who: str, code: int) -> LongshortError:
    """The error of a process that ended with such a code."""
    hint = "; the machine may be out of memory" if code == -9 else ""
    return LongshortError(f"{who} ended with {code}{hint}. Run this again: it goes on from the last checkpoint.")


@contextlib.contextmanager
def core(folder: Path, count: int) -> Iterator[None]:
    """Hold one of the machine's cores; waits until one is free. A process that is killed holds none."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as open_files:
        files = [open_files.enter_context((folder / str(number)).open("w")) for number in range(count)]
        while True:
            for file in files:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield
                return
            time.sleep(_PAUSE)
