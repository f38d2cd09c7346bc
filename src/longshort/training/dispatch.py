"""Dispatch: members of a fleet sent to processes that share neither memory nor disk with this one, and may die.

What they tell is recorded here as it comes, so what a lost process had told is kept, and who takes its member over goes on from
there. It knows no cluster: a *pool* is whatever takes shards and tells of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from longshort.errors import LongshortError
from longshort.training.shards import Record, Shard, Show, Told

MOST_LOSSES = 3  # of one member in a row, without an epoch between: then it is not the machine
WRITERS = 8  # threads that record, each waiting for the disk


@dataclass(frozen=True)
class Ended:
    """A shard was trained to its end, and all that was to be told has been told."""


@dataclass(frozen=True)
class Lost:
    """A shard's process is gone, and why, as a pool says it; nothing more will be told."""

    reason: str


class Pool(Protocol):
    """Processes that train shards."""

    def room(self) -> int:
        """How many shards it should have at a time, so that none of its processes waits.

        raises  LongshortError when nobody is left to compute
        """

    def send(self, shard: Shard) -> Hashable:
        """Have a shard trained; returns what its news will be marked with."""

    def news(self) -> Iterable[tuple[Hashable, list[Told] | Ended | Lost]]:
        """What has come in since, each shard's in order; waits a while for the first.

        raises  what a process raised, of our own errors
        """


def dispatch(
    pool: Pool, places: Sequence[int], shard: Callable[[int], Shard], record: Record, show: Show, say: Callable[[str], None]
) -> None:
    """Bring members to their end in a pool; see `shards.Crew.train`.

    say     told a sentence for each process that is lost
    raises  what the pool raises; LongshortError when a member's process is lost again and again
    """
    waiting, sent = deque(places), dict[Hashable, int]()
    losses, epochs = Counter[int](), Counter[int]()
    with ThreadPoolExecutor(WRITERS) as writers:
        while waiting or sent:
            room = pool.room()
            while waiting and len(sent) < room:
                place = waiting.popleft()
                sent[pool.send(shard(place))] = place
            # what a mark tells that is not there any more was given up for lost, and another goes on with its member
            came = [(mark, sent[mark], news) for mark, news in pool.news() if mark in sent]
            told = [(place, news) for _, place, news in came if isinstance(news, list)]
            list(writers.map(lambda one: record(*one), told))
            for place, news in told:
                epochs[place] = news[-1].epochs
                for entry in (each.entry for each in news if each.entry["kind"] == "epoch"):
                    losses[place] = 0
                    show(place, entry)
            for mark, place, end in came:
                if not isinstance(end, list):
                    del sent[mark]
                if isinstance(end, Lost):
                    losses[place] += 1
                    say(_loss(shard(place).members[0].name, epochs[place] + 1, losses[place], end))
                    waiting.appendleft(place)


def _loss(name: str, epoch: int, times: int, lost: Lost) -> str:
    """What to say of a loss.

    raises  LongshortError when it is one too many
    """
    if times == MOST_LOSSES:
        raise LongshortError(
            f"{name}: {times} processes in a row were lost in its epoch {epoch}: {lost.reason}. Their machines may be out of memory. "
            "Run this again when that is mended: it goes on from the last checkpoint."
        )
    return f"{name}: its process was lost in epoch {epoch}; another goes on from there"
