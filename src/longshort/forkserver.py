"""Forkserver: a process that has imported what DVC and the stages need, and forks a child for each of them in milliseconds.

    longshort run ── forkserver ── keeper ┬─ dvc repro ── sh ── forkclient
                                          └─ longshort stage …

A *keeper* is forked a stage: it leads a session of its own, as `python -m dvc` does where there is no server, and holds DVC and
the stage in one process group. DVC starts the stage's command as always; what it finds as `longshort` is `forkclient`, which
asks the keeper to fork the stage. Only libraries are shared: a stage reads the code of this package when it starts, so what DVC
notes in dvc.lock is what ran. All of it is for speed: where there is no server, or it cannot fork, `graph` starts
`python -m dvc`, and bytes and words are the same.

Linux only: elsewhere fork is not safe beside the system's own libraries, or not there.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import io
import os
import secrets
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longshort import forkclient, storage

# what a stage imports of others; a test compares it with what it finds imported when it has ended
LIBRARIES = {
    "dvc": (
        *("dvc.cli", "dvc.cli.parser", "dvc.cachemgr", "dvc.data_cloud", "dvc.lock", "dvc.scm", "dvc.stage.run", "dvc.utils.strictyaml"),
        *("dvc.repo.artifacts", "dvc.repo.datasets", "dvc.repo.metrics", "dvc.repo.open_repo", "dvc.repo.params", "dvc.repo.plots"),
        *("dvc.repo.reproduce", "dvc.repo.stage", "dvc.rwlock", "dvc_data.hashfile.db.local", "scmrepo.git", "pyparsing"),
    ),
    "ingestion": ("pandas", "pyarrow.parquet"),
    "validation": ("great_expectations", "pandas", "pyarrow.parquet", "exchange_calendars"),
    "windows": ("pandas", "pyarrow.parquet", "exchange_calendars"),
    "training": ("torch", "safetensors.torch", "ruamel.yaml"),
    "evaluation": (
        *("torch", "safetensors.torch", "scipy.special", "sklearn.linear_model", "lightgbm"),
        *("matplotlib.figure", "matplotlib.backends.backend_agg"),
    ),
}
# what the process of a retraining imports sooner or later, too: imported before the server is forked from it, it is paid once
COMMON = ("torch", "pandas", "pyarrow.parquet")
# threads of libraries that lay themselves down for a fork and stand up after it
CALM = {"jemalloc_bg_thd"}
PR_SET_PDEATHSIG = 1  # prctl(2)


class Child:
    """A process that a server runs for us; used like a ``subprocess.Popen``."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self.channel, self.pid = channel, pid

    def wait(self) -> int:
        """Wait for its end; its exit code, below 0 the signal that ended it."""
        with self.channel:  # until it is closed the process stays, so that its number is nobody else's
            ended, _ = forkclient.receive(self.channel)
        return int(ended["code"]) if ended else -signal.SIGKILL


class Server:
    """Our end of a forkserver."""

    def __init__(self, channel: socket.socket, folder: Path, wait: Callable[[], object]) -> None:
        self.channel, self.folder, self.wait = channel, folder, wait
        self.lock = threading.Lock()

    def dvc(self, arguments: list[str], root: Path, environment: dict[str, str], log: int) -> Child | None:
        """Let it run `dvc ARGUMENTS` in ``root``, the last of them a stage's address, with its output in ``log``; None when it does not."""
        ours, theirs = socket.socketpair()
        words = {"arguments": arguments, "folder": str(root), "environment": environment, "front": str(self.folder)}
        try:
            with theirs, self.lock:
                forkclient.send(self.channel, words, (theirs.fileno(), log))
            begun, _ = forkclient.receive(ours)
        except OSError:
            begun = None
        if begun is None:
            ours.close()
            return None
        return Child(ours, begun["pid"])

    def end(self) -> None:
        """Let the server go, and wait until it has gone."""
        self.channel.close()
        with contextlib.suppress(ChildProcessError):  # whoever ended us has seen to it
            self.wait()


_server: Server | None = None


def running() -> Server | None:
    """This process's server, if it has one."""
    return _server


def start(root: Path) -> None:
    """Start this process's forkserver, where it has none and the system can: forked from us, or where we have threads a new process."""
    global _server
    if _server is not None or sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return
    folder = _front(root)
    log = root / ".state/logs/forkserver.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = socket.socketpair()
    with theirs, log.open("wb") as file:
        if threading.active_count() == 1:
            for name in COMMON:
                importlib.import_module(name)
            pid = fork(lambda: _serve_here(ours, theirs, file.fileno()))
            wait: Callable[[], object] = functools.partial(os.waitpid, pid, 0)
        else:  # a fork would take a lock that one of them holds with it
            command = [sys.executable, "-P", "-m", "longshort.forkserver", str(theirs.fileno())]
            process = subprocess.Popen(
                command, cwd=root, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()]
            )
            wait = process.wait
    _server = Server(ours, folder, wait)
    atexit.register(_server.end)


def _front(root: Path) -> Path:
    """The folder in which DVC finds `forkclient` as `longshort`."""
    program = root / ".state/forkserver/longshort"
    # -I and -S: nothing of site-packages is looked at, and the start is three times as fast
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(forkclient.__file__)} "$0" "$@"\n'
    if not program.exists() or program.read_text() != text:
        storage.write_bytes(program, text.encode())
    program.chmod(0o755)
    return program.parent


# --- the server, and whom it forks ------------------------------------------------------------


def fork(work: Callable[[], int]) -> int:
    """Fork a child that does ``work``, ends with what it returns, and never comes back here; its process number."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both would write what waits in it
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _serve_here(theirs: socket.socket, ours: socket.socket, log: int) -> int:
    """Be the server, in a process just forked from a retraining."""
    theirs.close()
    null = os.open(os.devnull, os.O_RDONLY)
    _take_files([null, log, log])
    return _serve(ours)


def _serve(control: socket.socket) -> int:
    """Fork a keeper for each request, until nobody is left to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us, too; we end when the retraining has
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, _bury)
    while True:
        words, files = forkclient.receive(control)
        if words is None:
            return 0
        before = len(sys.modules)
        for name in (*LIBRARIES["dvc"], *LIBRARIES.get(words["arguments"][-1].partition("@")[0], ())):
            with contextlib.suppress(Exception):  # the stage will say what is wrong with it
                importlib.import_module(name)
        if len(sys.modules) > before:
            gc.collect()
        if not _alone():
            return 1  # who asks sees us go, and does without
        gc.freeze()  # a child's collector need not look at what is ours, and touch every page of it
        fork(functools.partial(_keep, words, files, control))
        for file in files:
            os.close(file)


def _bury(*_: object) -> None:
    """Let keepers that have ended go; what they came to is known to who asked for them."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _alone() -> bool:
    """Whether no other thread could hold a lock that a fork would copy.

    OpenBLAS stops its threads before a fork and starts them again when it needs them: so one fork is made for nothing.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(timeout=10)
    with contextlib.suppress(ChildProcessError):  # buried already
        os.waitpid(fork(lambda: 0), 0)
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return len([name for name in names if name not in CALM]) == 1


def _keep(words: dict[str, Any], files: list[int], control: socket.socket) -> int:
    """Lead a session in which DVC runs, and its stage when its command asks for it."""
    control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    requester, log = socket.socket(fileno=files[0]), files[1]
    forkclient.send(requester, {"pid": os.getpid()})
    with socket.socket(socket.AF_UNIX) as listener:
        address = f"longshort-{secrets.token_hex(16)}"
        listener.bind(f"\0{address}")  # a name outside all folders: it ends with us, and may be as long as it likes
        listener.listen()
        given = words["environment"]
        path = f"{words['front']}{os.pathsep}{given['PATH']}"
        there = {**words, "umask": None, "environment": {**given, forkclient.VARIABLE: address, "PATH": path}}
        null = os.open(os.devnull, os.O_RDONLY)
        dvc = fork(functools.partial(_be, _dvc, there, [null, log, log], [requester, listener]))
        code = _watch(dvc, listener, requester)
    with contextlib.suppress(OSError):
        forkclient.send(requester, {"code": code})
        requester.recv(1)  # until our number is not needed any more
    return 0


def _watch(dvc: int, listener: socket.socket, requester: socket.socket) -> int:
    """Run what DVC's command asks for until DVC has ended; how it ended."""
    gone = os.pidfd_open(dvc)
    wanted: list[Any] = [gone, listener, requester]
    while gone not in (ready := select.select(wanted, [], [])[0]):
        if requester in ready:  # the retraining was killed: DVC ends in order, but no stage begins any more
            wanted.remove(requester)
        elif listener in ready:
            client, _ = listener.accept()
            with client:
                if forkclient.of_our_session(client):
                    _run_stage(client, gone, listener, requester)
    return _end_of(dvc)


def _run_stage(client: socket.socket, dvc_gone: int, listener: socket.socket, requester: socket.socket) -> None:
    """Fork the stage that a client asks for, and tell it how that ended. It does not outlive the client, DVC or the retraining."""
    words, files = forkclient.receive(client)
    if words is None:
        return
    forkclient.send(client, {})  # taken: from here on the client does not run it itself
    stage = fork(functools.partial(_be, run_command, words, files, [requester, listener, client]))
    for file in files:
        os.close(file)
    gone = os.pidfd_open(stage)
    watched: list[Any] = [gone, client, dvc_gone, requester]
    if gone not in select.select(watched, [], [])[0]:
        os.kill(stage, signal.SIGKILL)
    os.close(gone)
    code = _end_of(stage)
    with contextlib.suppress(OSError):
        forkclient.send(client, {"code": code})


def _end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- the children -----------------------------------------------------------------------------


def _be(work: Callable[[list[str]], object], words: dict[str, Any], files: list[int], others: list[socket.socket]) -> int:
    """Be DVC or a stage, for as long as the keeper lives; returns the exit code."""
    keeper = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:  # it died before it could take us with it
        return 1
    for other in others:
        other.close()
    become(words, files)
    return ended(lambda: work(words["arguments"]))


def become(words: dict[str, Any], files: list[int]) -> None:
    """Make a child what a new process would be: its folder, environment, umask and files, and nothing drawn or caught yet."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _take_files(files)
    os.chdir(words["folder"])
    if words["umask"] is not None:
        os.umask(words["umask"])
    os.environ.clear()
    os.environ.update(words["environment"])
    time.tzset()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # Python's own generator does so by itself, and torch's begins with a constant


def ended(work: Callable[[], object]) -> int:
    """The exit code that a program ends with, after all that an interpreter does at its end, in its order."""
    code = 0
    try:
        work()
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        if code and not isinstance(leave.code, int):
            print(leave.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code & 0xFF


def _take_files(files: list[int]) -> None:
    """Make open files our stdin, stdout and stderr."""
    for place, file in enumerate(files):
        os.dup2(file, place)
    for file in set(files) - {0, 1, 2}:
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=os.isatty(1))


def _dvc(arguments: list[str]) -> None:
    from dvc.cli import main

    sys.argv = ["dvc", *arguments]
    raise SystemExit(main(arguments))


def run_command(arguments: list[str]) -> None:
    """Be `longshort`."""
    # the code of now, not that of when the server began: DVC notes in dvc.lock what is on the disk
    for name in [name for name in sys.modules if name.partition(".")[0] == "longshort"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.argv = ["longshort", *arguments]
    importlib.import_module("longshort.cli").main()


if __name__ == "__main__":
    raise SystemExit(_serve(socket.socket(fileno=int(sys.argv[1]))))
