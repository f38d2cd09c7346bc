"""Cluster: members of a fleet are tasks of an existing Ray cluster, one a CPU.

Nothing of a cluster is set up here: where it is says Ray's own RAY_ADDRESS, else it is the one that this machine is a node of.
Its nodes have longshort installed. Ray pickles what travels, so who may join the cluster may run anything in it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from longshort.config import EngineName
from longshort.errors import ConfigError, LongshortError, UsageError
from longshort.models.compiled import build, library
from longshort.tasks.task import Task
from longshort.training import runs
from longshort.training.dispatch import Ended, Lost, dispatch
from longshort.training.shards import Record, Shard, Show, Told, work

INSTALL = "python -m pip install -e '.[ray]'"
REACH_SECONDS = 5
PROBE_SECONDS = 120  # a process of a node starts, and imports torch
POLL_SECONDS = 10
A_CPU = 2  # shards sent for each CPU of the cluster: one that it computes, and one that waits for it
UNREAD = 16  # objects that a process may be ahead of what is read here: eight epochs

Facts = dict[str, str]


@dataclass(frozen=True)
class Cluster:
    """The crew of a cluster.

    facts  what a node must have in common with this machine, for its bytes to be the same
    """

    ray: Any
    facts: Facts
    nodes: int
    cpus: int

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"cpu (one thread a network; Ray, {self.nodes} {'node' if self.nodes == 1 else 'nodes'}, {self.cpus} CPUs)"

    def train(self, places: Sequence[int], shard: Callable[[int], Shard], record: Record, show: Show) -> None:
        """See `Crew`."""
        dispatch(Tasks(self.ray, self.facts), places, shard, record, show, lambda said: print(said, file=sys.stderr))


def joined(engine: EngineName) -> Cluster:
    """The cluster that this machine is a node of, once each of its nodes is known to compute the bytes that this machine computes.

    raises  ConfigError when Ray is not installed, or no cluster answers; UsageError when a node differs from this machine
    """
    wanted = "params.yaml: `resources.engine` is 'ray', but"
    mend = "or set `resources.engine` to 'local'."
    try:
        ray: Any = importlib.import_module("ray")  # half of it has no types
    except ImportError:
        raise ConfigError(f"{wanted} Ray is not installed here. Install it with `{INSTALL}`, {mend}") from None
    address = _address()
    refused = f"{wanted} {'this machine is in no cluster' if address == 'auto' else f'no cluster answers at {address}'}"
    start = "Start one with `ray start --head`, or have this machine join one with `ray start --address=HOST:6379 --num-cpus=0`"
    if not ray.is_initialized():
        if reason := _unreachable(address):
            raise ConfigError(f"{refused}: {reason}. {start}, {mend}")
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{refused}: {str(error).strip().splitlines()[0].rstrip('.')}. {start}, {mend}") from None
    there = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not there:
        raise ConfigError(
            f"{wanted} no node of the cluster lends a CPU. Have machines join it with `ray start --address=HOST:6379`, {mend}"
        )
    facts = facts_here(engine)
    _compare(ray, there, engine, facts)
    return Cluster(ray, facts, len(there), int(sum(node["Resources"]["CPU"] for node in there)))


def _address() -> str:
    """Where the cluster is: as RAY_ADDRESS says, or as `ray start` noted on this machine; else Ray looks for its processes."""
    named = os.environ.get("RAY_ADDRESS") or "auto"
    noted = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray/ray_current_cluster")
    return noted.read_text().strip() if named == "auto" and noted.exists() else named


def _unreachable(address: str) -> str | None:
    """Why nobody can answer there, as part of a sentence. Ray itself would try for minutes."""
    if address == "auto":
        return None
    if "://" in address or address == "local":
        return "it has to be the HOST:PORT of a cluster that this machine is a node of"
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        return str(error)
    return None


# --- the same bytes everywhere ----------------------------------------------------------------


@functools.cache
def facts_here(engine: EngineName) -> Facts:
    """What the bytes of a training hang on in a machine, besides its data and settings."""
    facts = {
        "longshort": importlib.metadata.version("longshort"),
        "code of longshort": runs.code_sha256()[:12],
        "torch": torch.__version__.partition("+")[0],
        "vector width of the CPU": torch.backends.cpu.get_cpu_capability(),
    }
    if engine == "native":
        facts["library of the engine 'native'"] = library.absent() or build.digest()[:12]
    return facts


def refuse_other(here: Facts, there: Facts, node: str) -> None:
    """Refuse a node that would compute other bytes.

    here    of the machine of the stage; there: of the node
    raises  UsageError with the first fact that differs
    """
    for name, ours in here.items():
        if (theirs := there.get(name)) != ours:
            raise UsageError(
                f"Ray's node {node}: {name}: {theirs}; this machine: {ours}. It would compute other bytes. Install the same longshort on "
                f"every node, on machines with the same kind of CPU, or take the node out of the cluster with `ray stop`."
            )


def _compare(ray: Any, nodes: list[dict[str, Any]], engine: EngineName, facts: Facts) -> None:
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def facts_there() -> Any:  # inside, so that it travels as code and can say that there is no longshort
        try:
            from longshort.training.cluster import facts_here
        except ImportError as error:
            return str(error)
        return facts_here(engine)

    probe = ray.remote(num_cpus=0, max_retries=0)(facts_there)
    asked = {}
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        asked[node["NodeManagerAddress"]] = probe.options(scheduling_strategy=where).remote()
    for name, answer in asked.items():
        try:
            there = ray.get(answer, timeout=PROBE_SECONDS)
        except GetTimeoutError:
            raise UsageError(
                f"Ray's node {name} does not answer within {PROBE_SECONDS} seconds. Look at it with `ray status`, or take it out of the "
                "cluster with `ray stop`, then run this again."
            ) from None
        except RayTaskError:
            raise
        except RayError:
            continue  # it has left the cluster meanwhile
        if isinstance(there, str):
            raise UsageError(f"Ray's node {name}: {there}. Install longshort there as it is here, in the Python that runs `ray start`.")
        refuse_other(facts, there, name)


# --- tasks ------------------------------------------------------------------------------------


class Tasks:
    """A pool of Ray's tasks: a task a shard, whose epochs come as a stream."""

    def __init__(self, ray: Any, facts: Facts) -> None:
        self._ray, self._facts = ray, facts
        # a task that is tried again by Ray would begin with the checkpoint of its first trial
        options = {"num_cpus": 1, "max_retries": 0, "num_returns": "streaming", "_generator_backpressure_num_objects": UNREAD}
        self._train = ray.remote(**options)(train_there)
        self._streams: dict[Any, None] = {}  # in the order in which they were sent
        self._data: dict[int, Any] = {}
        self._cpus, self._counted = 0, -float("inf")

    def room(self) -> int:
        """See `Pool`; nodes may come and go."""
        if time.monotonic() - self._counted > POLL_SECONDS:
            self._cpus, self._counted = int(self._ray.cluster_resources().get("CPU", 0)), time.monotonic()
            if not self._cpus:
                raise LongshortError(
                    "the Ray cluster lends no CPU any more. Let machines join it with `ray start`, and run this again: it goes on from the "
                    "last checkpoints."
                )
        return A_CPU * self._cpus

    def send(self, shard: Shard) -> Hashable:
        """See `Pool`."""
        bare = replace(shard, members=tuple(replace(member, task=cast(Task, None)) for member in shard.members))
        stream = self._train.remote(bare, self._facts, *(self._there(member.task) for member in shard.members))
        self._streams[stream] = None
        return cast(Hashable, stream)

    def _there(self, task: Task) -> Any:
        """The data in Ray's object store: put there once, however many members learn them."""
        if id(task) not in self._data:
            self._data[id(task)] = self._ray.put(task)
        return self._data[id(task)]

    def news(self) -> Iterator[tuple[Hashable, list[Told] | Ended | Lost]]:
        """See `Pool`."""
        streams = list(self._streams)
        ready, _ = self._ray.wait(streams, num_returns=1, timeout=POLL_SECONDS, fetch_local=False)
        if ready:  # and all others that are
            ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0, fetch_local=False)
        for stream in ready:
            told, end = self._read(stream)
            if told:
                yield stream, told
            if end is not None:
                del self._streams[stream]
                yield stream, end

    def _read(self, stream: Any) -> tuple[list[Told], Ended | Lost | None]:
        """All that a stream has now; the checkpoints that newer ones have overtaken stay where they are."""
        from ray.exceptions import RayError, RayTaskError

        told: list[Told] = []
        newest: tuple[int, Any] | None = None
        end: Ended | Lost | None = None
        try:
            try:
                while True:
                    entry, checkpoint = self._step(stream)
                    if entry.checkpoint is not None:
                        newest = len(told), checkpoint
                    told.append(replace(entry, checkpoint=None))
                    if not self._ray.wait([stream], timeout=0, fetch_local=False)[0]:
                        break
            except StopIteration:
                end = Ended()
            except RayTaskError:
                raise
            except RayError as error:
                end = _lost(error)
            if newest is not None:
                place, checkpoint = newest
                told[place] = replace(told[place], checkpoint=self._ray.get(checkpoint))
        except RayTaskError as error:
            if isinstance(error.cause, LongshortError):
                raise error.cause from None
            raise
        except RayError as error:  # gone with its machine, so its epochs were not
            return [], _lost(error)
        return told, end

    def _step(self, stream: Any) -> tuple[Told, Any]:
        """The next that was told, and where its checkpoint lies.

        raises  StopIteration when that was all; what became of the task
        """
        checkpoint = next(stream)
        try:
            return cast(Told, self._ray.get(next(stream))), checkpoint
        except StopIteration:  # it was what became of the task
            self._ray.get(checkpoint)
            raise


def _lost(error: Exception) -> Lost:
    return Lost(str(error).strip().splitlines()[0].rstrip("."))


def train_there(shard: Shard, facts: Facts, *tasks: Task) -> Iterator[bytes | Told]:
    """What a task does: `work` on a shard whose data come apart.

    facts   of the machine of the stage
    yields  two objects for each that is told: its checkpoint, and the rest of it with b"" where there is one; so who is behind
            need not fetch all of them
    raises  UsageError when this machine would compute other bytes, and what `work` raises
    """
    refuse_other(facts, facts_here(shard.engine), socket.gethostname())
    members = tuple(replace(member, task=task) for member, task in zip(shard.members, tasks, strict=True))
    told: queue.Queue[Told | BaseException | None] = queue.Queue(1)

    def train() -> None:
        torch.set_num_threads(1)  # a setting of this thread
        try:
            work(replace(shard, members=members), told.put)
            told.put(None)
        except BaseException as error:
            told.put(error)

    # the loop calls whom it tells, and a stream of Ray's is asked: so each has a thread
    threading.Thread(target=train, daemon=True).start()
    while (what := told.get()) is not None:
        if isinstance(what, BaseException):
            raise what
        yield what.checkpoint or b""
        yield what if what.checkpoint is None else replace(what, checkpoint=b"")
