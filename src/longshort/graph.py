"""Graph: the stages of dvc.yaml, asked for and run through DVC, which alone decides what must run.

`flows/stages.py` walks this graph side by side; DVC itself walks it one by one with `dvc repro`.
Both leave dvc.lock true. One retraining at a time: `lock` is held by the kernel and dies with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from longshort import forkserver, storage
from longshort.config import Params
from longshort.errors import DataRefused, LongshortError, StorageFull, UsageError

# DVC does not wait for another process that holds its lock; it says one of these and gives up
BUSY = re.compile(r"Unable to acquire lock|is busy, it is being blocked by|Unable to lock|Could not acquire")
PATIENCE_SECONDS = 600
# its list of who reads and writes what, which it writes in place: a kill can cut it short, and then nothing runs any more
CUT_SHORT = "Unable to read RWLock-file"


@dataclass(frozen=True)
class Stage:
    """One stage, or one item of a matrix: ``training@goog-lstm`` and the addresses that it waits for."""

    address: str
    upstream: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What DVC did with a stage: ran its command, or found that nothing had changed.

    device  what a training said that it ran on, else nothing
    """

    address: str
    ran: bool
    seconds: float
    device: str = ""


Slot = dict[str, str]  # what a stage finds in its environment besides ours: the GPUs that are its own, if there are any


def slots(params: Params, gpus: list[str] | None = None) -> list[Slot]:
    """The places in which stages run side by side: `resources.workers` of them; ``auto`` is one a GPU, or one a core.

    Each has GPUs of its own where there are enough: with fewer places than GPUs some have several, over which a training splits its
    fleet (`training.gpus`); with more, some share one.

    gpus  their numbers; default: those of this machine, unless `training.device` is cpu
    """
    if gpus is None:
        gpus = [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    if params.training.device == "cpu":
        gpus = []
    wanted = params.resources.workers
    count = (len(gpus) or len(os.sched_getaffinity(0))) if wanted == "auto" else wanted
    return [{"CUDA_VISIBLE_DEVICES": ",".join(gpus[place::count] or [gpus[place % len(gpus)]])} if gpus else {} for place in range(count)]


def read(root: Path) -> list[Stage]:
    """Every stage of dvc.yaml, upstream first; a person's `.dvc` files are inputs and not listed.

    raises  UsageError when dvc.yaml or dvc.lock cannot be read
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph.copy()
            written = {_address(stage.addressing): place for place, stage in enumerate(repo.index.stages)}
    except DvcException as error:
        if "dvc.lock" in str(error):  # DVC writes it in place, so a crash can cut it short
            raise UsageError(f"{error}. Remove dvc.lock: `longshort run` makes it again, from DVC's cache and without training.") from None
        raise UsageError(f"dvc.yaml: {error}. Mend it, or `git checkout dvc.yaml`.") from None
    # by generations, so that no worker is kept waiting for a neighbour of its own generation; in each, as params.yaml
    # has them, so that a person can put the long ones first
    generations = networkx.topological_generations(graph.reverse(copy=False))
    order = [stage for generation in generations for stage in sorted(generation, key=lambda stage: written[_address(stage.addressing)])]
    stages = [stage for stage in order if not stage.is_data_source]
    return [
        Stage(_address(stage.addressing), tuple(sorted(_address(up.addressing) for up in graph.successors(stage) if up in stages)))
        for stage in stages
    ]


def changed(root: Path) -> set[str]:
    """The addresses whose inputs, command, settings or outputs are not as dvc.lock says."""
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.rwlock import RWLockFileCorruptedError

    began = time.monotonic()
    while True:
        try:
            with Repo(str(root)) as repo:
                return {_address(stage) for stage in repo.status()}
        except (LockError, RWLockFileCorruptedError) as error:  # a stage of a killed run ends, or a person asks DVC something
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise
            if isinstance(error, RWLockFileCorruptedError):
                _mend_list_of_holders(root)
            time.sleep(0.2)


def _mend_list_of_holders(root: Path) -> None:
    """Take DVC's list of who reads and writes what away where it cannot be read: whoever wrote it is dead."""
    from dvc.lock import LockError, make_lock
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        folder, hardlink = Path(str(repo.tmp_dir)), repo.config["core"].get("hardlink_lock", False)
    with contextlib.suppress(LockError), make_lock(str(folder / "rwlock.lock"), tmp_dir=str(folder), hardlink_lock=hardlink):
        try:
            json.loads((folder / "rwlock").read_bytes())
        except FileNotFoundError:
            pass
        except ValueError:
            (folder / "rwlock").unlink()


def _address(addressing: str) -> str:
    """A stage's address from the project's folder; DVC gives it from the folder that the process is in."""
    return addressing.rpartition(":")[2]


def put_lock_in_order(root: Path) -> None:
    """Put dvc.lock's entries in the order of `dvc repro`: side by side they come as stages end, and the file must not tell chance."""
    import networkx
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        order = [_address(stage.addressing) for stage in networkx.dfs_postorder_nodes(repo.index.graph)]
    path = root / "dvc.lock"
    text = path.read_text(encoding="utf-8")
    head, *entries = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)
    place = {address: number for number, address in enumerate(order)}
    entries.sort(key=lambda entry: place.get(entry.partition(":\n")[0].strip(), len(place)))
    if text != head + "".join(entries):
        storage.write_bytes(path, (head + "".join(entries)).encode())


def reproduce(root: Path, address: str, slot: Slot, log: Callable[[str], None]) -> Outcome:
    """Let DVC run one stage in a slot, if it must; its output goes to `.state/logs/<address>.log` and to ``log``.

    raises  the error that the stage's own command ended with, in its words
    """
    path = root / ".state/logs" / f"{address.replace('@', '-')}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    while True:
        code, output = _dvc(root, address, slot, path)
        cut_short = CUT_SHORT in output
        if code == 0 or not (cut_short or BUSY.search(output)) or time.monotonic() - began > PATIENCE_SECONDS:
            break
        if cut_short:
            _mend_list_of_holders(root)
        time.sleep(0.2 + random.random())  # several that wait must not knock at the same time
    log(output)
    if code != 0:
        raise failure(address, output, path)
    ran = re.search(rf"^Running stage '{re.escape(address)}':", output, re.MULTILINE) is not None
    device = re.search(r"^training (on .*)$", output, re.MULTILINE)
    return Outcome(address, ran, time.monotonic() - began, device[1] if device else "")


def failure(address: str, output: str, path: Path) -> LongshortError:
    """The error that a failed stage is told with: its own words and its own exit code."""
    said = re.search(r"^longshort: (.*?)(?=^ERROR:|\Z)", output, re.MULTILINE | re.DOTALL)
    code = re.search(r"exited with (-?\d+)", output)
    kind = {"2": UsageError, "3": DataRefused, "74": StorageFull}.get(code[1] if code else "", LongshortError)
    if said:
        return kind(said[1].strip())
    if missing := re.search(r"^ERROR: .*No such file or directory: '(.*)'", output, re.MULTILINE):
        return DataRefused(
            f"{missing[1]}: there is no such file or folder, and {address} reads it. Take files in with `longshort ingest PATH`, "
            "or bring back what was there with `git checkout` or `dvc checkout`."
        )
    last = [line for line in output.splitlines() if line.strip()][-3:]
    killed = code is not None and code[1] in ("-9", "137")  # 137: a shell stood between, and says it its own way
    hint = " It was killed; the machine may be out of memory." if killed else ""
    return kind(f"{address} failed.{hint} The last it said: {' / '.join(last)}. The whole log: {path}")


_running: set[subprocess.Popen[bytes] | forkserver.Child] = set()
_gate = threading.Lock()
_stopping = threading.Event()


def stop_running() -> None:
    """Tell every stage that runs to stop, and let none start any more; a training keeps its last checkpoint."""
    with _gate:
        _stopping.set()
        running = list(_running)
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def _dvc(root: Path, address: str, slot: Slot, log: Path) -> tuple[int, str]:
    # the stage's command is `longshort`, which must be this one
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("wb") as file:
        process = _start(["repro", "--single-item", address], root, {**os.environ, **slot, "PATH": here}, file.fileno())
        with _gate:
            _running.add(process)
            stopping = _stopping.is_set()
        try:
            if stopping:
                os.killpg(process.pid, signal.SIGTERM)
            code = process.wait()
        finally:
            _running.discard(process)
    if stopping:
        raise LongshortError("stopped before this stage began; `longshort run` goes on from here.")
    return code, log.read_text(errors="replace")


def _start(arguments: list[str], root: Path, environment: dict[str, str], log: int) -> subprocess.Popen[bytes] | forkserver.Child:
    """Start DVC, in a process group of its own, so that it and the command it runs can be stopped together."""
    server = forkserver.running()
    if server and (child := server.dvc(arguments, root, environment, log)):
        return child
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def lock(root: Path, say: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
    """Hold the project for one retraining; a second one waits, saying who holds it."""
    return held(root / ".state/lock", "retraining", say)


@contextlib.contextmanager
def held(path: Path, occasion: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock for an occasion, until the block or the process ends; a second one waits, saying who holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"another {occasion} holds {path} ({_holder(file.read())}); waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}, file)
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']}, since {holder['since']}"
    except (ValueError, KeyError):
        return "a process that has not said its number yet"
