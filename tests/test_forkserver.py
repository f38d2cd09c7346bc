"""Forkserver: a stage that is forked does, says and ends as one that is started; whoever is killed, nobody is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import clones
import neighbours
import projects
import psutil
import pytest

from longshort import editing, forkclient, forkserver, graph, journal
from longshort.errors import DataRefused, LongshortError, UsageError

# a stage of dvc.yaml by another name, whose command a test chooses
TRIAL = "stages:\n  trial:\n    cmd: {}\n"
NO_END = "training.forecast={optimizer: adam, learning_rate: 1.0e-6, batch_size: 64, max_epochs: 99999, patience: 99999, clip_norm: 1.0}"


@pytest.fixture(scope="module")
def served(retrained, tmp_path_factory):
    """A project, and a forkserver of this process, started as that of a scheduled run is."""
    root = clones.copy(retrained, tmp_path_factory.mktemp("forkserver") / "name of a folder")
    with serving(root) as server:
        yield SimpleNamespace(root=root, server=server)


class serving:
    """A server of this process, as long as the block lasts."""

    def __init__(self, root):
        self.root, self.patch = root, pytest.MonkeyPatch()

    def __enter__(self):
        self.patch.setattr(forkserver, "_server", None)
        for name, value in clones.environment(self.root).items():
            self.patch.setenv(name, value)
        # as in a process of Prefect's, where other threads live
        self.patch.setattr(forkserver.threading, "active_count", lambda: 2)
        forkserver.start(self.root)
        return forkserver.running()

    def __exit__(self, *_):
        forkserver.running().end()
        self.patch.undo()


@pytest.fixture
def project(served, tmp_path):
    """A copy of that project for one test; the server serves any folder."""
    return clones.copy(served.root, tmp_path / "project")


def family(pid):
    """A process and everything below it, by what they are for."""
    top = psutil.Process(pid)
    found = {"keeper": top}
    for child in top.children(recursive=True):
        command = " ".join(child.cmdline())
        if "forkclient" in command:
            found["client"] = child
        elif child.ppid() == pid:
            found.setdefault("dvc" if "dvc" not in found else "stage", child)
        else:
            found[f"other {child.pid}"] = child
    return found


def reproduced(root, address, monkeypatch, server):
    """What became of a stage and what was said, with a server or without."""
    monkeypatch.setattr(forkserver, "_server", server)
    said = []
    try:
        became = graph.reproduce(root, address, {}, said.append).ran
    except LongshortError as error:
        became = (type(error), str(error).replace(str(root), "ROOT"))
    return became, said[0].replace(str(root), "ROOT")


# --- the same, only sooner --------------------------------------------------------------------


def test_with_a_server_and_without_a_stage_says_and_writes_the_same(served, project, tmp_path, monkeypatch):
    other = clones.copy(project, tmp_path / "other")
    for root in (project, other):
        shutil.rmtree(root / ".dvc/cache")
        editing.assign(root / "params.yaml", ["windows.forecast.lookback=11"])
    assert reproduced(project, "windows@goog", monkeypatch, served.server) == reproduced(other, "windows@goog", monkeypatch, None)
    assert clones.outputs(project) == clones.outputs(other) != clones.outputs(served.root)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("command", "kind", "said"),
    [
        ("longshort stage nothing --item goog", UsageError, "no stage 'nothing'"),
        ("longshort stage windows --item a\\ b", UsageError, "has no item 'a b'"),
        ("longshort stage windows", UsageError, "Missing option '--item'"),
        ("longshort leaderboard --nothing", UsageError, "--nothing"),
        ("longshort stage validation --item goog", DataRefused, "table.parquet"),
        ("echo before && longshort stage nothing --item goog; exit 3", DataRefused, "no stage 'nothing'"),
        ("kill -9 $$", LongshortError, "the machine may be out of memory"),
    ],
)
def test_with_a_server_and_without_a_command_fails_with_the_same_code_and_words(served, project, monkeypatch, command, kind, said):
    projects.flip(project / "data/ingestion/goog/table.parquet", place=500)
    (project / "dvc.yaml").write_text(TRIAL.format(command))
    first, second = (reproduced(project, "trial", monkeypatch, server) for server in (served.server, None))
    assert first == second
    assert first[0][0] is kind and said in first[0][1]


def test_a_stage_gets_the_slot_of_its_run_and_the_folder_and_files_that_its_command_gives_it(served, project, monkeypatch):
    monkeypatch.setattr(forkserver, "_server", served.server)
    # `longshort stage` cannot be asked for its environment; the shell around it can
    (project / "dvc.yaml").write_text(TRIAL.format("echo gpu $CUDA_VISIBLE_DEVICES; cd data; longshort stage nothing --item x 2> ../told"))
    said = []
    with pytest.raises(LongshortError):
        graph.reproduce(project, "trial", {"CUDA_VISIBLE_DEVICES": "7"}, said.append)
    assert "gpu 7\n" in said[0] and (project / "told").read_text().startswith("longshort: no stage 'nothing'")


def test_a_stage_runs_the_code_of_now_and_not_that_of_the_servers_start(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))
    with serving(project) as server:
        (project / "dvc.yaml").write_text(TRIAL.format("longshort stage nothing --item goog"))
        assert "exited with 2" in reproduced(project, "trial", monkeypatch, server)[1]
        # a module that the server has imported itself
        code = project / "src/longshort/errors.py"
        code.write_text(code.read_text() + "\nUsageError.exit_code = 7\n")
        assert "exited with 7" in reproduced(project, "trial", monkeypatch, server)[1]
        monkeypatch.setattr(forkserver, "_server", server)


@pytest.mark.long
def test_what_a_server_imported_holds_no_thread_that_a_fork_would_lose():
    code = "import importlib; from longshort import forkserver as f\n"
    code += "[importlib.import_module(n) for names in f.LIBRARIES.values() for n in names]\nassert f._alone()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert done.returncode == 0, done.stderr


# --- the client -------------------------------------------------------------------------------


def test_the_client_imports_nothing_that_is_slow():
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, forkclient.__file__], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert len(loaded) < 90 and not loaded & {"site", "longshort", "typer", "pathlib", "subprocess", "inspect", "dataclasses", "asyncio"}


def test_without_a_server_the_client_runs_the_real_command(served, tmp_path):
    front = forkserver._front(served.root)
    path = f"{front}{os.pathsep}{clones.BIN}{os.pathsep}{os.environ['PATH']}"
    for address in ("", "longshort-of-nobody"):
        env = clones.environment(served.root, PATH=path, **{forkclient.VARIABLE: address})
        done = subprocess.run(["longshort", "stage", "x", "--item", "y"], cwd=served.root, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr.partition(".")[0]) == (2, "longshort: no stage 'x'")


def test_only_processes_of_one_session_speak_with_one_another():
    connect = "import socket, sys; own = socket.socket(socket.AF_UNIX); own.connect('\\0' + sys.argv[1]); own.recv(1)"
    name = f"longshort-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        for another in (False, True):
            process = subprocess.Popen([sys.executable, "-c", connect, name], start_new_session=another)
            channel, _ = listener.accept()
            with channel:
                assert forkclient.of_our_session(channel) is not another
            process.wait(timeout=180)


# --- killed -----------------------------------------------------------------------------------


@pytest.fixture
def training(served, project, monkeypatch):
    """A training without end, as a server runs it: the child that was asked for, its family, and its log."""
    editing.assign(project / "params.yaml", [NO_END, "training.seeds=[0, 1]", "resources.workers=2"])
    changed, lock = graph.changed(project), (project / "dvc.lock").read_bytes()
    log = project / "trial.log"
    here = f"{clones.BIN}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as file:
        child = served.server.dvc(
            ["repro", "--single-item", "training@goog-rnn"], project, clones.environment(project, PATH=here), file.fileno()
        )
    began = time.time()

    def learns():
        journals = [path for path in (project / ".state/journal").glob("*.jsonl") if path.stat().st_mtime > began]
        return any(entry["kind"] == "epoch" for path in journals for entry in journal.read(path))

    neighbours.wait_for(learns, 400)
    members = family(child.pid)
    assert {"keeper", "dvc", "client", "stage"} <= set(members)

    def whole():
        """Nobody is left, nobody holds DVC's locks, and what DVC knows is what it knew; it took the output away before the training."""
        assert neighbours.left(list(members.values())) == []
        neighbours.wait_for(lambda: graph.changed(project) == changed | {"evaluation@goog-rnn"}, 60)
        assert (project / "dvc.lock").read_bytes() == lock

    yield SimpleNamespace(child=child, members=members, log=log, whole=whole)
    for each in members.values():
        if each.is_running():
            each.kill()


@pytest.mark.long
@pytest.mark.parametrize(
    ("victim", "number", "code"),
    [
        ("stage", signal.SIGKILL, 255),
        ("client", signal.SIGKILL, 255),
        ("client", signal.SIGTERM, 255),
        ("client", signal.SIGINT, 255),
        ("dvc", signal.SIGKILL, -9),
        ("keeper", signal.SIGKILL, -9),
        ("group", signal.SIGTERM, -9),
    ],
)
def test_whoever_of_a_stage_is_killed_all_of_it_ends(training, victim, number, code):
    if victim == "group":
        os.killpg(training.child.pid, number)
    else:
        training.members[victim].send_signal(number)
    assert training.child.wait() == code
    training.whole()
    if victim in ("stage", "client"):
        error = graph.failure("training@goog-rnn", training.log.read_text(), training.log)
        assert ("out of memory" in str(error)) == (number == signal.SIGKILL)


def test_when_the_retraining_is_killed_its_stages_end_and_dvc_ends_in_order(training):
    training.child.channel.close()  # as the kernel does
    training.whole()
    assert "failed to reproduce 'training@goog-rnn'" in training.log.read_text()


@pytest.mark.long
def test_when_the_server_is_killed_its_stages_go_on_and_the_next_ones_do_without_it(retrained, tmp_path, monkeypatch):
    root = clones.copy(retrained, tmp_path / "project")
    with serving(root) as server:
        (root / "dvc.yaml").write_text(TRIAL.format("sleep 4"))
        log = root / "trial.log"
        with log.open("wb") as file:
            child = server.dvc(["repro", "trial"], root, clones.environment(root), file.fileno())
        (own,) = [each for each in psutil.Process().children() if "longshort.forkserver" in each.cmdline() and each.cwd() == str(root)]
        members = family(child.pid)
        own.kill()
        assert child.wait() == 0 and neighbours.left(list(members.values())) == []
        (root / "dvc.yaml").write_text(TRIAL.format("echo said"))
        assert reproduced(root, "trial", monkeypatch, server)[0] is True
        monkeypatch.setattr(forkserver, "_server", server)


def test_a_server_ends_with_the_process_that_started_it(retrained, tmp_path):
    code = "import sys, pathlib; from longshort import forkserver; forkserver.start(pathlib.Path(sys.argv[1])); print('up', flush=True); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + "sys.stdin.read()", str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    members = neighbours.family(process)
    process.kill()
    process.wait(timeout=180)
    assert len(members) == 2 and neighbours.left(members) == []
