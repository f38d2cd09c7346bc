"""Servers: the Prefect and MLflow servers of this project, on loopback, over the project's own stores."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from longshort import databases, environment, storage, tracking
from longshort.config import Params
from longshort.errors import LongshortError, UsageError

HOST = "127.0.0.1"
PATIENCE_SECONDS = 120


@contextlib.contextmanager
def prefect(root: Path, port: int = 4200) -> Iterator[str]:
    """A Prefect server over the project's database; yields its API's address. One that runs already is used and left running."""
    if running := os.environ.get("PREFECT_API_URL") or environment.running_prefect(root):
        yield running
        return
    address = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    # a page of another site may not drive it: no other origin is answered
    settings = {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": address, "PREFECT_UI_API_URL": f"{address}/api"}
    _lay_prefects_database()
    with _serving(root, "prefect", command, settings, port, f"{address}/api/health"):
        noted = root / ".state/prefect-api"
        storage.write_bytes(noted, f"{address}/api".encode())
        os.environ["PREFECT_API_URL"] = f"{address}/api"
        try:
            yield f"{address}/api"
        finally:
            noted.unlink(missing_ok=True)


def start_temporary_prefect(root: Path) -> Callable[[], None]:
    """Start a Prefect server that lives as long as this process; returns what waits until it answers.

    Prefect would start its own, but only once it has been imported, and wait for it idly. This one starts
    while its caller imports what it needs, on the other core. A server that runs already is used instead.
    """
    if os.environ.get("PREFECT_API_URL"):  # a person's, or that of `longshort ui`
        return lambda: None
    port = _free_port()
    address = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--host", HOST, "--port", str(port)]
    # as Prefect's own temporary servers: of its services only those that store what a run sends
    settings = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_API_BLOCKS_REGISTER_ON_START": "false"}
    _lay_prefects_database()
    path = _log(root, "prefect-temporary")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        # in our process group, so that what ends the group ends it too; in the project's folder, by which `end_orphans` knows it
        process = subprocess.Popen(
            command, cwd=root, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    # its event loop hands each question to a thread of SQLite's and back; on one core that takes half the time
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    # registered before Prefect is imported, so called after its threads have sent the last of what they hold
    atexit.register(_end, process, os.getpid())
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    return lambda: _wait(process, "prefect-temporary", root, port, f"{address}/api/health")


def _lay_prefects_database() -> None:
    if "PREFECT_API_DATABASE_CONNECTION_URL" not in os.environ:  # a person's own
        databases.lay("prefect", Path(os.environ["PREFECT_HOME"]) / "prefect.db")


def _end(process: subprocess.Popen[bytes], starter: int) -> None:
    if os.getpid() != starter:
        return  # a process that was forked from it
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def serve(root: Path, flow: Any, cron: str | None, every: float | None) -> NoReturn:
    """Run a flow on a schedule, one run at a time, until SIGINT or SIGTERM."""
    import asyncio
    import multiprocessing

    from prefect.runner import Runner

    told: list[int] = []

    class Interruptible(Runner):
        def handle_sigterm(self, *_: Any) -> None:
            # Prefect's own waits, on the loop that it keeps waiting, for the run that goes on; its way out of SIGINT works
            told.append(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)

        async def __aexit__(self, *why: Any) -> None:
            for run in multiprocessing.active_children():
                run.terminate()  # Prefect would wait for its end; a training goes on from its checkpoint next time
            await super().__aexit__(*why)

    # a shell that starts us in the background lets us ignore SIGINT, and with it the way out that SIGTERM takes
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(_forget_missed(flow.name))
    runner = Interruptible(name="scheduled", limit=1)
    runner.add_flow(flow, name="scheduled", cron=cron, interval=every, parameters={"root": str(root)})
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(runner.start())
    raise SystemExit(128 + (told or [signal.SIGINT])[0])


async def _forget_missed(flow_name: str) -> None:
    """Drop a flow's scheduled runs that came due while nothing served them: the next one takes in all that they would have."""
    from datetime import UTC, datetime

    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    scheduled = filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])
    due = filters.FlowRunFilter(
        state=filters.FlowRunFilterState(type=scheduled),
        next_scheduled_start_time=filters.FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)),  # type: ignore[arg-type]  # pydantic takes it
    )
    # both names: a person's own server may hold other flows with a deployment of this name
    flow = filters.FlowFilter(name=filters.FlowFilterName(any_=[flow_name]))
    deployment = filters.DeploymentFilter(name=filters.DeploymentFilterName(any_=["scheduled"]))
    async with get_client() as client:
        # a page of 200 at a time
        while runs := await client.read_flow_runs(flow_run_filter=due, flow_filter=flow, deployment_filter=deployment):
            for run in runs:
                await client.delete_flow_run(run.id)


def end_orphans(root: Path) -> None:
    """End the temporary Prefect servers of retrainings that were killed; they would run for ever."""
    import psutil

    def works_here(process: psutil.Process | None) -> bool:
        try:
            return process is not None and process.cwd() == str(root)
        except psutil.Error:  # another person's, or gone
            return False

    for server in filter(works_here, psutil.process_iter()):
        with contextlib.suppress(psutil.Error):
            if "PREFECT__SERVER_EPHEMERAL" in server.environ() and not works_here(server.parent()):  # init has adopted it
                server.kill()


@contextlib.contextmanager
def mlflow(root: Path, params: Params, port: int = 5000) -> Iterator[str]:
    """An MLflow server over the project's store; yields its address. A store elsewhere has a server already."""
    if params.tracking.uri != "local":
        yield params.tracking.uri
        return
    tracking.connect(root, params)  # makes the schema under its lock
    store = tracking.uri(root, params)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--default-artifact-root", str(root / "mlflow/store/artifacts")]
    # its runners of jobs, eight processes, are for evaluations of language models that are asked over the network
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with _serving(root, "mlflow", command, settings, port, f"http://{HOST}:{port}/health"):
        yield f"http://{HOST}:{port}"


@contextlib.contextmanager
def _serving(root: Path, name: str, command: list[str], settings: dict[str, str], port: int, health: str) -> Iterator[None]:
    if _answers(health):
        raise UsageError(f"port {port} is taken by another server. Stop it, or give another port with --{name}-port.")
    path = _log(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait(process, name, root, port, health)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def _wait(process: subprocess.Popen[bytes], name: str, root: Path, port: int, health: str) -> None:
    began = time.monotonic()
    while not _answers(health):
        if process.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
            raise LongshortError(f"the {name} server did not start on port {port}; its log: {_log(root, name)}")
        time.sleep(0.1)


def _log(root: Path, name: str) -> Path:
    return root / ".state/logs" / f"{name}.log"


def _answers(address: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(address, timeout=2) as reply:
        return bool(reply.status == 200)
    return False
