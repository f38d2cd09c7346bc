"""Warm: a process that has imported what commands import, and forks them: each a process as real as one that was started, and sooner.

A pytest process has one, from its first command on. What is forked has its own folder, environment, files and session, is killed
and waited for as any other, and reads the code of `longshort` when it begins. A few tests start their commands cold.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from longshort import environment, forkclient, forkserver

BIN = Path(sys.executable).parent
LIBRARIES = ("prefect", "prefect.flows", "prefect.cli.server", "prefect.server.api.server", "uvicorn", "mlflow", "mlflow.pyfunc")


class Process:
    """A forked command, used like a ``subprocess.Popen``."""

    def __init__(self, args: list[str], channel: socket.socket, pid: int) -> None:
        self.args, self.channel, self.pid = args, channel, pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, below 0 the signal that ended it; raises TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self.channel], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            told, _ = forkclient.receive(self.channel)
            assert told is not None, "the warm process died"
            self.returncode = told["code"]
            self.channel.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Signal it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def start(command: list[str], root: Path, env: dict[str, str], files: list[int], sigint: signal.Handlers = signal.SIG_DFL) -> Process:
    """Start `longshort ...` or `python -m MODULE ...` in a session of its own, with three files for stdin, stdout and stderr."""
    ours, theirs = socket.socketpair()
    words = {"command": command, "folder": str(root), "environment": env, "umask": None, "sigint": int(sigint)}
    with theirs:
        forkclient.send(_control(), words, (theirs.fileno(), *files))
    begun, _ = forkclient.receive(ours)
    assert begun is not None, "the warm process does not answer"
    return Process(command, ours, begun["pid"])


@functools.cache
def _control() -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    atexit.register(process.wait)
    atexit.register(ours.close)  # called first
    return ours


# --- in the warm process ----------------------------------------------------------------------


class Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A Popen whose `python -m MODULE` is forked from this process, where that has one thread."""

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any, *more: Any
    ) -> None:
        module = not isinstance(args, str) and list(args[:2]) == [sys.executable, "-m"] and args[2] in ("prefect", "dvc")
        if not module or threading.active_count() > 1 or preexec_fn or pass_fds:
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)  # type: ignore[misc]
            return
        pipes, new_session = more[3:9], more[-2]
        files = [given if given != -1 else own for own, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        words = {"folder": str(cwd or Path.cwd()), "environment": dict(env or os.environ), "umask": None}
        self.pid = forkserver.fork(lambda: _run([str(arg) for arg in args], words, [os.dup(file) for file in files], bool(new_session)))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _run(command: list[str], words: dict[str, Any], files: list[int], new_session: bool, sigint: int = signal.SIG_DFL) -> int:
    """Be a command."""
    if new_session:
        os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    forkserver.become(words, files)
    if sigint == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocess.Popen = Forked  # type: ignore[misc]
    _settle_prefect()
    main = sys.modules["__main__"]
    main.__file__, main.__spec__ = str(BIN / "longshort"), None  # which Prefect's own processes run again
    if command[0] == sys.executable:
        sys.argv = command[2:]
        return forkserver.ended(lambda: runpy.run_module(command[2], run_name="__main__"))
    return forkserver.ended(lambda: forkserver.run_command(command[1:]))


def _settle_prefect() -> None:
    """Let Prefect read its settings when a command would import it, as it does at its import: now, and before a flow is loaded."""
    import prefect.context
    import prefect.flows

    load = prefect.flows.load_flow_from_entrypoint

    def settled(*arguments: Any) -> Any:
        prefect.context.refresh_global_settings_context()
        return load(*arguments)

    prefect.flows.load_flow_from_entrypoint = settled
    prefect.context.refresh_global_settings_context()


def serve(control: socket.socket) -> None:
    """Fork a process for each request, and tell who asked its number and how it ended, until nobody is left to ask."""
    asked: dict[int, socket.socket] = {}

    def bury(*_: object) -> None:
        for pid, channel in list(asked.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del asked[pid]
                with channel, contextlib.suppress(OSError):  # who asked may have gone
                    forkclient.send(channel, {"code": os.waitstatus_to_exitcode(status)})

    os.environ.update(environment.QUIET)
    for name in (*LIBRARIES, *(name for names in forkserver.LIBRARIES.values() for name in names)):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, bury)
    while True:
        words, files = forkclient.receive(control)
        if words is None:
            return
        channel, *others = files
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])

        def child(words: dict[str, Any] = words, files: list[int] = files) -> int:
            for own in (control, *asked.values()):
                own.close()
            os.close(files[0])
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            return _run(words["command"], words, files[1:], True, words["sigint"])

        pid = forkserver.fork(child)
        asked[pid] = socket.socket(fileno=channel)
        forkclient.send(asked[pid], {"pid": pid})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for file in others:
            os.close(file)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
