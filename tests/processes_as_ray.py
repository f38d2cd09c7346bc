"""Ray's interface, as far as `training.cluster` uses it, over processes of this machine.

They share neither memory nor objects with the one that starts them: functions, arguments and results travel pickled, as Ray does
it. A process can be killed in the middle of its work; what it had told by then is still read, as with Ray.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import sys
import types
from typing import Any

import cloudpickle

# children are forked from a server that has imported torch once
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["longshort.training.stage", "longshort.training.cluster", "longshort.windows.stage"])


class RayError(Exception):
    """The root of Ray's errors."""


class WorkerCrashedError(RayError):
    """A process died."""


class GetTimeoutError(RayError):
    """No answer in time."""


class RayTaskError(RayError):
    """A function raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Ref:
    """Something in the object store; or an error in its place."""

    def __init__(self, pickled: bytes | None, error: Exception | None = None) -> None:
        self.pickled, self.error = pickled, error


class Stream:
    """The results of a process, as they come."""

    def __init__(self, ray: Ray, function: Any, arguments: tuple[Any, ...]) -> None:
        self.ray, self.number, self.taken, self.is_over = ray, len(ray.streams), 0, False
        self.pipe, theirs = context.Pipe(duplex=False)
        pickled = [one.pickled if isinstance(one, Ref) else cloudpickle.dumps(one) for one in arguments]
        self.process = context.Process(target=run, args=(cloudpickle.dumps(function), pickled, theirs), daemon=True)
        self.process.start()
        theirs.close()
        ray.streams.append(self)

    def __next__(self) -> Ref:
        if self.is_over:
            raise StopIteration
        try:
            kind, what = cloudpickle.loads(self.pipe.recv_bytes())
        except EOFError:
            self.is_over = True
            return Ref(None, WorkerCrashedError("The worker died unexpectedly while executing this task.\nMore of it."))
        self.taken += 1
        if self.ray.dies(self.number, self.taken):
            os.kill(self.process.pid, signal.SIGKILL)
        if kind == "raised":
            self.is_over = True
            return Ref(None, RayTaskError(what))
        if kind == "ended":
            self.is_over = True
            raise StopIteration
        return Ref(what)


def run(function: bytes, arguments: list[bytes], pipe: Any) -> None:
    """In the process: call the function and send what it yields, or what it returns."""
    try:
        found = cloudpickle.loads(function)(*map(cloudpickle.loads, arguments))
        for one in found if isinstance(found, types.GeneratorType) else [found]:
            pipe.send_bytes(cloudpickle.dumps(("told", cloudpickle.dumps(one))))
        pipe.send_bytes(cloudpickle.dumps(("ended", None)))
    except BaseException as error:
        pipe.send_bytes(cloudpickle.dumps(("raised", error)))


class Function:
    """A function that is called in processes."""

    def __init__(self, ray: Ray, function: Any, options: dict[str, Any]) -> None:
        self.ray, self.function, self.given = ray, function, options

    def options(self, **others: Any) -> Function:
        return Function(self.ray, self.function, self.given | others)

    def remote(self, *arguments: Any) -> Any:
        if self.given.get("num_returns") == "streaming":
            assert self.given["max_retries"] == 0, "Ray would try again by itself, with the checkpoint of the first trial"
            return Stream(self.ray, self.function, arguments)
        node = self.given["scheduling_strategy"].node_id
        return self.ray.answer(node, self.function)


class Ray:
    """Stands in for the module `ray`; how many CPUs each node has is the test's to say."""

    def __init__(self, *nodes: int) -> None:
        self.cpus, self.streams, self.puts = dict(enumerate(nodes)), [], []
        self.address: str | None = None
        self.answers: dict[int, Any] = {}  # of nodes that are not as this machine is

    def dies(self, stream: int, taken: int) -> bool:
        """Whether a process is shot when so much of it has been read."""
        return False

    def answer(self, node: int, function: Any) -> Ref:
        if node in self.answers:
            found = self.answers[node]
            return Ref(None, found) if isinstance(found, Exception) else Ref(cloudpickle.dumps(found))
        stream = Stream(self, function, ())
        self.streams.pop()
        return next(stream)

    def is_initialized(self) -> bool:
        return self.address is not None

    def init(self, address: str, **_: Any) -> None:
        if not self.cpus:
            raise ConnectionError("Could not find any running Ray instance. Please specify one.")
        self.address = address

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "NodeID": number, "NodeManagerAddress": f"10.0.0.{number}", "Resources": {"CPU": cpus}}
            for number, cpus in self.cpus.items()
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": sum(self.cpus.values())}

    def remote(self, **options: Any) -> Any:
        return lambda function: Function(self, function, options)

    def put(self, value: Any) -> Ref:
        self.puts.append(cloudpickle.dumps(value))
        return Ref(self.puts[-1])

    def get(self, ref: Ref, timeout: float | None = None) -> Any:
        if ref.error is not None:
            raise ref.error
        return cloudpickle.loads(ref.pickled)

    def wait(
        self, streams: list[Stream], num_returns: int = 1, timeout: float = 0, fetch_local: bool = True
    ) -> tuple[list[Stream], list[Stream]]:
        over = [one for one in streams if one.is_over]
        ready = set(multiprocessing.connection.wait([one.pipe for one in streams if not one.is_over], 0 if over else timeout))
        there = [one for one in streams if one.is_over or one.pipe in ready][:num_returns]
        return there, [one for one in streams if one not in there]


class Affinity:
    """Ray's NodeAffinitySchedulingStrategy."""

    def __init__(self, node_id: int, soft: bool) -> None:
        self.node_id = node_id


def installed(ray: Ray, monkeypatch: Any) -> Ray:
    """Have `import ray` give the stand-in."""
    exceptions, strategies = types.ModuleType("ray.exceptions"), types.ModuleType("ray.util.scheduling_strategies")
    for error in (RayError, WorkerCrashedError, GetTimeoutError, RayTaskError):
        setattr(exceptions, error.__name__, error)
    strategies.NodeAffinitySchedulingStrategy = Affinity  # type: ignore[attr-defined]
    modules = {
        "ray": ray,
        "ray.exceptions": exceptions,
        "ray.util": types.ModuleType("ray.util"),
        "ray.util.scheduling_strategies": strategies,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/nowhere")  # a person may have a cluster of their own
    return ray
