"""Clones of this project for tests: the real dvc.yaml, flows and stages, with networks so small that a retraining takes seconds."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import warm

from longshort import cli, config, editing, tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
STAGES = ("ingestion", "validation", "windows", "training", "evaluation")
# where MLflow's store names folders of its project
ADDRESSES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
SMALL = (
    "training.items={goog-rnn: {dataset: goog, task: forecast, variant: rnn}, goog-lstm: {dataset: goog, task: forecast, variant: lstm}, "
    "topics-gru: {dataset: topics, task: language-model, variant: gru}}",
    "training.seeds=[0, 1]",
    "training.forecast={optimizer: adam, learning_rate: 0.01, batch_size: 64, max_epochs: 3, patience: 1, clip_norm: 1.0}",
    "training.language-model={optimizer: adam, learning_rate: 0.02, batch_size: 64, max_epochs: 2, patience: 1, clip_norm: 1.0}",
    "windows.forecast.lookback=10",
    "windows.language-model.lookback=20",
    "windows.language-model.min_count=10",
    "tasks.language-model.embedding_size=8",
    "models.variants.rnn.hidden_size=4",
    "models.variants.lstm.hidden_size=4",
    "models.variants.gru.hidden_size=8",
)


def clone(folder: Path, *settings: str) -> Path:
    """What `git clone` of the working tree would give, committed, with params.yaml made small and then ``settings``."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in listed:
        source = ROOT / name
        if name and name != "dvc.lock" and source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    editing.assign(folder / "params.yaml", [*SMALL, *settings])
    git(folder, "init", "--quiet")
    commit(folder, "a small project")
    return folder


def commit(root: Path, message: str) -> None:
    """Commit everything that is not ignored."""
    git(root, "add", "--all")
    git(root, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", message)


def git(root: Path, *arguments: str) -> str:
    """Run git; its output."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def environment(root: Path, **more: str) -> dict[str, str]:
    """An environment with an empty HOME and nothing of a person's Prefect, MLflow or DVC settings."""
    home = root.parent / f"{root.name}-home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "DVC_", "GX_", "LONGSHORT_"))}
    return {**kept, "HOME": str(home), "PATH": f"{BIN}{os.pathsep}{kept['PATH']}", "DVC_NO_ANALYTICS": "1", **more}


def longshort(root: Path, *arguments: str, code: int = 0, cold: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a project and check its exit code.

    cold  in a process that was started for it, as a person's is; else in one that was forked, which saves its imports
    """
    done = _run(root, [str(BIN / "longshort"), *arguments], cold, more)
    assert done.returncode == code, f"longshort {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def dvc(root: Path, *arguments: str) -> str:
    """Run DVC in a project; its output."""
    done = _run(root, [sys.executable, "-m", "dvc", *arguments], False, {})
    assert done.returncode == 0, f"dvc {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _run(root: Path, command: list[str], cold: bool, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = environment(root, **more)
    if cold:
        return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=400)
    with Path(os.devnull).open("rb") as null, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = warm.start(command, root, env, [null.fileno(), out.fileno(), err.fileno()])
        try:
            code = process.wait(timeout=400)
        finally:
            process.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def stages(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a retraining said of each stage: address -> Cached or ran."""
    lines = [line.split() for line in done.stderr.splitlines() if "@" in line and line.startswith("  ")]
    return {words[0]: "Cached" if words[1] == "Cached" else "ran" for words in lines}


def copy(root: Path, folder: Path) -> Path:
    """A project with all its state, elsewhere, and MLflow's addresses with it: nothing done there reaches the first one."""
    shutil.copytree(root, folder, symlinks=True)
    with contextlib.closing(sqlite3.connect(folder / "mlflow/store/mlflow.db")) as store, store:
        for table, column in ADDRESSES.items():
            store.execute(f"update {table} set {column} = replace({column}, ?, ?)", (f"{root}/", f"{folder}/"))
    return folder


def main(root: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The command line in this process, which saves three seconds of imports, and a check of its exit code."""
    kept, here, given = dict(os.environ), Path.cwd(), sys.argv
    out, err = io.StringIO(), io.StringIO()
    ended: object = None
    try:
        os.chdir(root)
        sys.argv = ["longshort", *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as left:
        ended = left.code
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(kept)
        sys.argv = given
    assert ended == code, f"longshort {' '.join(arguments)}: exit {ended}\n{out.getvalue()}\n{err.getvalue()}"
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def outputs(root: Path) -> dict[str, bytes]:
    """Every byte that the stages wrote, and dvc.lock where there is one."""
    files = [path for stage in STAGES for path in (root / "data" / stage).rglob("*")] + [root / "dvc.lock"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.is_file()}


def flow_runs(root: Path) -> list[str]:
    """The names of the states in which Prefect's database holds the project's flow runs, oldest first."""
    with contextlib.closing(sqlite3.connect(root / ".state/prefect/prefect.db")) as store:
        return [name for (name,) in store.execute("select state_name from flow_run order by created")]


def flow_run_ids(root: Path) -> list[str]:
    """The ids of the project's flow runs in Prefect's database, oldest first."""
    with contextlib.closing(sqlite3.connect(root / ".state/prefect/prefect.db")) as store:
        return [str(uuid.UUID(identity)) for (identity,) in store.execute("select id from flow_run order by created")]


def mlflow_client(root: Path) -> MlflowClient:
    """A client of the project's MLflow store."""
    return tracking.connect(root, config.read(root / "params.yaml"))


def mlflow_runs(root: Path) -> list[Run]:
    """Every run in the project's MLflow store."""
    client = mlflow_client(root)
    return list(client.search_runs([found.experiment_id for found in client.search_experiments()], max_results=1000))
