"""What a project has around it, for tests: an MLflow server, and servers that lose answers, hang or refuse."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clones
import psutil
import warm

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as own:
        own.bind((HOST, 0))
        return int(own.getsockname()[1])


def wait_for(what: Callable[[], Any], seconds: float, process: subprocess.Popen[Any] | warm.Process | None = None) -> Any:
    """The first answer that is true; fails when none comes in time, or when the process that should bring it ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if answer := what():
                return answer
        assert process is None or process.poll() is None, f"it ended with {process.returncode}"
        time.sleep(0.2)
    raise AssertionError(f"nothing after {seconds} s")


def get(address: str) -> str:
    """What an address answers."""
    with urllib.request.urlopen(address, timeout=20) as reply:
        return reply.read().decode()


def ask(address: str, body: Any = None, tries: int = 10) -> Any:
    """What an API answers in JSON; with a body, to a POST of it. Prefect answers 503 while its SQLite is busy: ask again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=180) as reply:
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        if error.code != 503 or tries == 1:
            raise
    time.sleep(1)
    return ask(address, body, tries - 1)


def start(
    root: Path, *command: str, log: Path, in_background: bool = False, cold: bool = False, **more: str
) -> subprocess.Popen[bytes] | warm.Process:
    """Start a command in a process group of its own, its output in a file.

    cold           in a process that is started, where it would be forked from a warm one
    in_background  as a script's `command &` does: SIGINT is ignored. Else it is not, however these tests were started.
    """
    sigint = signal.SIG_IGN if in_background else signal.SIG_DFL
    with log.open("wb") as file, Path(os.devnull).open("rb") as null:
        if command[0] == str(clones.BIN / "longshort") and not cold:
            return warm.start([*command], root, clones.environment(root, **more), [null.fileno(), file.fileno(), file.fileno()], sigint)
        return subprocess.Popen(
            command,
            cwd=root,
            env=clones.environment(root, **more),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, sigint),
        )


def stop(process: subprocess.Popen[bytes] | warm.Process, number: int = signal.SIGKILL) -> int:
    """Signal a process and everything it started; its exit code."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    return process.wait(timeout=180)


def stop_gently(process: subprocess.Popen[bytes] | warm.Process, number: int) -> int:
    """Signal a process alone, as Ctrl-C or a service manager would; its exit code."""
    process.send_signal(number)
    return process.wait(timeout=180)


def stop_all(process: subprocess.Popen[bytes] | warm.Process, known: list[psutil.Process]) -> None:
    """Kill a process and everything that it started, whatever became of it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        known = [*known, *family(process)]
    for each in known:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(timeout=180)


def family(process: subprocess.Popen[bytes] | warm.Process) -> list[psutil.Process]:
    """A process and everything that it started and that runs now."""
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


def left(processes: list[psutil.Process]) -> list[str]:
    """Those that still run a little later, by their command lines."""
    _, alive = psutil.wait_procs(processes, timeout=30)
    return [" ".join(each.cmdline()) for each in alive if each.status() != psutil.STATUS_ZOMBIE]


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """The addresses and ports at which they take connections."""
    found = set()
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ran when they were counted
            found |= {(entry.laddr.ip, entry.laddr.port) for entry in each.net_connections("inet") if entry.status == psutil.CONN_LISTEN}
    return found


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real MLflow server over SQLite in a folder."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = start(folder, *command, log=folder / "server.log", **settings)
    try:
        wait_for(lambda: get(f"http://{HOST}:{port}/health"), 400, process)
        yield process
    finally:
        stop(process)


@contextlib.contextmanager
def answering(handle: Callable[[http.server.BaseHTTPRequestHandler, bytes], None]) -> Iterator[int]:
    """A small HTTP server of the test's own; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            handle(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextlib.contextmanager
def losing_answers(port: int) -> Iterator[tuple[int, set[str]]]:
    """A way to the server at ``port`` that does every request, and loses the first answer of every kind; its port, and the kinds so far."""
    lost: set[str] = set()

    def forward(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        onward = http.client.HTTPConnection(HOST, port, timeout=180)
        onward.request(request.command, request.path, body, headers)
        reply = onward.getresponse()
        content = reply.read()
        # runs and models are of one kind, whatever their ids; so are the files of one name
        kind = re.sub(r"/m-[0-9a-f]{32}", "/ID", f"{request.command} {request.path.partition('?')[0]}")
        kind = re.sub(r"/mlflow-artifacts/.+", "/mlflow-artifacts/FILE", kind)
        if kind not in lost:
            lost.add(kind)
            return  # the connection is closed without a word
        request.send_response(reply.status)
        request.send_header("Content-Type", reply.getheader("Content-Type") or "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    with answering(forward) as own:
        yield own, lost


@contextlib.contextmanager
def hanging() -> Iterator[int]:
    """A server that takes every connection and never answers; its port."""
    with socket.socket() as own:
        own.bind((HOST, 0))
        own.listen(50)
        yield int(own.getsockname()[1])
