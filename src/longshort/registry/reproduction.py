"""Reproduction: a run made again from its commit, its data and its settings, and held against what it was.

The project is laid out anew in a git worktree below `.state/reproduction`; the stages run there by `dvc repro --force`, with the code
of that commit, and nothing of it reaches the project's outputs or DVC's cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import longshort
from longshort import environment, storage, tracking
from longshort.errors import CorruptArtefact, UsageError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TAG = "longshort.reproduction"  # of a run: PASS or FAIL, and how
# what may differ on another kind of machine: figures, and the distance of all weights from what they were, relative to their norm
FIGURES_WITHIN, WEIGHTS_WITHIN = 0.01, 0.05
OF_THE_MACHINE = ("device", "engine", "torch")  # parts of an origin
COMPILED = Path("src/longshort/models/compiled")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """What a training came to.

    data_sha256  of the tidy data set
    origin       what the model says that it was made from
    weights      by their names; figures on the test part by theirs
    """

    data_sha256: str
    origin: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    figures: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a run that was made again compares: at which level, how many models, and what differed first, or None."""

    run_id: str
    level: str
    models: int
    difference: str | None
    worktree: str | None

    @property
    def sentence(self) -> str:
        """PASS or FAIL, and how."""
        asked = "bitwise" if self.level == "bitwise" else f"figures within {FIGURES_WITHIN:.0%}, weights within {WEIGHTS_WITHIN:.0%}"
        if self.difference is None:
            return f"PASS: {self.models} model{'s' * (self.models != 1)} made again, compared {asked}"
        return f"FAIL: compared {asked}; the first difference: {self.difference}"


def reproduce(client: MlflowClient, root: Path, asked: str, say: Say) -> Outcome:
    """Make a run again and compare; PASS or FAIL becomes a tag of the run. A worktree that differs is left to be looked at.

    asked   the id of a retraining or of one of its trainings, or the beginning of it
    raises  UsageError when the run is not there, or its commit or its data cannot be had; CorruptArtefact
    """
    run, parent = _find(client, asked)
    items, children = _children(client, run, parent)
    machine = json.loads(parent.data.tags.get("longshort.machine", "{}"))
    tree = root / ".state/reproduction" / run.info.run_id[:12]
    with _worktree(root, parent.data.tags["git_commit"], tree) as place:
        _lay_out(client, root, place, parent, say)
        _repro(place, tree, items, say)
        level, difference = "bitwise", None
        for child in children:
            before, after = _original(client, parent, child), _remade(place, child)
            same = machine == environment.machine() and all(before.origin.get(key) == after.origin.get(key) for key in OF_THE_MACHINE)
            level = level if same else "tolerance"
            if difference is None and (what := differs(before, after, bitwise=same)):
                difference = f"{child.info.run_name}: {what}"
    if difference is None:
        _remove(root, tree)
    found = Outcome(run.info.run_id, level, len(children), difference, str(tree) if difference else None)
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    client.set_tag(run.info.run_id, TAG, f"{found.sentence} ({when}, {environment.machine()['cpu']})"[:5000])
    return found


def differs(before: Made, after: Made, bitwise: bool) -> str | None:
    """What differs first of two trainings, in the order in which one comes from the other: data, settings and code, weights, figures.

    bitwise  else within tolerances, and what names the machine, or hangs on its rounding, may differ
    """
    if before.data_sha256 != after.data_sha256:
        return f"the data set is {after.data_sha256[:12]}, was {before.data_sha256[:12]}"
    machine = () if bitwise else (*OF_THE_MACHINE, "windows_sha256")
    for name in before.origin:
        if name not in (*machine, "identity") and before.origin[name] != after.origin.get(name):
            return f"{name} is {_short(after.origin.get(name))}, was {_short(before.origin[name])}"
    if before.weights.keys() != after.weights.keys():
        return f"the weights are {', '.join(sorted(after.weights))}, were {', '.join(sorted(before.weights))}"
    return _weights_differ(before, after, bitwise) or _figures_differ(before, after, bitwise)


def _weights_differ(before: Made, after: Made, bitwise: bool) -> str | None:
    for name, old in before.weights.items():
        new = after.weights[name]
        if old.shape != new.shape:
            return f"weights {name} have shape {new.shape}, had {old.shape}"
        if bitwise and old.tobytes() != new.tobytes():
            place = np.flatnonzero(old.view(np.uint32) != new.view(np.uint32))
            first = int(place[0])
            count = f"{len(place):,} of {old.size:,} weights of {name}"
            return f"{count}, the first at {first}: {new.ravel()[first]:.9g}, was {old.ravel()[first]:.9g}"
    if not bitwise:
        apart = np.sqrt(sum(float(np.square(after.weights[name] - old, dtype=np.float64).sum()) for name, old in before.weights.items()))
        norm = np.sqrt(sum(float(np.square(old, dtype=np.float64).sum()) for old in before.weights.values()))
        if not apart <= WEIGHTS_WITHIN * norm:
            return f"the weights lie {apart / norm:.1%} of their norm from what they were, asked {WEIGHTS_WITHIN:.0%} at most"
    return None


def _figures_differ(before: Made, after: Made, bitwise: bool) -> str | None:
    for name, old in before.figures.items():
        new = after.figures.get(name)
        if new is None or (new != old if bitwise else not abs(new - old) <= FIGURES_WITHIN * max(abs(old), 1.0)):
            return f"{name} is {'not there' if new is None else f'{new:.9g}'}, was {old:.9g}"
    return None


def _short(value: Any) -> str:
    return str(value)[:12] if isinstance(value, str) else json.dumps(value)


# --- what the run was ---------------------------------------------------------------------------


def _find(client: MlflowClient, asked: str) -> tuple[Run, Run]:
    """The run, and the retraining that it belongs to."""
    places = [place.experiment_id for place in client.search_experiments()]
    runs = client.search_runs(places, f"tags.`{tracking.KIND}` LIKE '%training'", max_results=50_000)
    found = [run for run in runs if run.info.run_id.startswith(asked)] if asked else []
    if len(found) != 1:
        many = f"{len(found)} begin so; write more of its id" if found else "`longshort history` and the models' cards name some"
        raise UsageError(f"no one training or retraining has the id '{asked}': {many}.")
    parent = found[0].data.tags.get(tracking.PARENT)
    whole = client.get_run(parent) if parent else found[0]
    if whole.data.tags.get("git_commit", "none") == "none" or tracking.COMPLETE not in whole.data.tags:
        raise UsageError(f"run {found[0].info.run_id} says of no commit that it was made from, so it cannot be made again.")
    return found[0], whole


def _children(client: MlflowClient, run: Run, parent: Run) -> tuple[list[str], list[Run]]:
    """The trainings that are compared, and their items."""
    children = [run]
    if run.info.run_id == parent.info.run_id:
        told = json.loads(_artifact(client, parent, "children.json").read_text())
        runs = [tracking.find_run(client, parent.info.experiment_id, child["identity"]) for child in told.values()]
        children = [child for child in runs if child is not None]
    return sorted({child.data.tags["item"] for child in children}), children


def _artifact(client: MlflowClient, run: Run, name: str) -> Path:
    import mlflow

    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name))


def _original(client: MlflowClient, parent: Run, child: Run) -> Made:
    import mlflow

    logged = Path(mlflow.artifacts.download_artifacts(f"models:/{child.data.tags['longshort.model_id']}"))
    folders = [path.parent for path in sorted(logged.glob(f"data/*/{storage.MANIFEST}"))]
    if not folders:
        raise CorruptArtefact(f"run {child.info.run_id}: its model's files are gone from {logged}, so there is nothing to compare with.")
    told = json.loads(_artifact(client, parent, "children.json").read_text())
    figures = next(each["test"] for each in told.values() if each["identity"] == child.data.tags[tracking.IDENTITY])
    return _made(folders[0], parent.data.tags["data_sha256"], figures)


def _made(folder: Path, data_sha256: str, figures: dict[str, float]) -> Made:
    from safetensors.numpy import load

    storage.verify(folder)
    weights = load((folder / "weights.safetensors").read_bytes())
    return Made(data_sha256, storage.read_json(folder / "model.json")["origin"], weights, figures)


# --- made again -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _worktree(root: Path, commit: str, tree: Path) -> Iterator[Path]:
    """The project's folder in a new worktree at a commit."""
    _remove(root, tree)
    made = _git(root, "worktree", "add", "--detach", "--force", str(tree), commit)
    if made.returncode != 0:
        raise UsageError(f"commit {commit} cannot be laid out: {made.stderr.strip()}. `git fetch` may bring it.")
    prefix = _git(root, "rev-parse", "--show-prefix").stdout.strip()
    try:
        yield tree / prefix
    except BaseException:
        _remove(root, tree)
        raise


def _remove(root: Path, tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    _git(root, "worktree", "prune")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, errors="replace")


def _lay_out(client: MlflowClient, root: Path, place: Path, parent: Run, say: Say) -> None:
    """Put over the commit what the run carried: what was not committed, settings, lock and pointers; and bring the raw data.

    raises  UsageError when something does not fit, or the data cannot be had
    """
    named = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    if "uncommitted.diff" in named:
        # from a file with bytes as they are; git takes no other line ends than those of the diff
        patch = _artifact(client, parent, "uncommitted.diff")
        applied = _git(place, "apply", "--whitespace=nowarn", str(patch))
        if applied.returncode != 0:
            raise UsageError(f"what was not committed does not fit {parent.data.tags['git_commit'][:12]}: {applied.stderr.strip()}.")
    pointers = sorted(name for name in named if name.endswith(".dvc"))
    for name in {"params.yaml", "dvc.yaml", "dvc.lock"} & named:
        shutil.copyfile(_artifact(client, parent, name), place / name)
    for name in pointers:
        (place / "data/raw").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_artifact(client, parent, name), place / "data/raw" / name)
    storage.write_bytes(place / ".dvc/config.local", f"[cache]\n    dir = {root / '.dvc/cache'}\n".encode())
    if pointers:
        targets = [f"data/raw/{name}" for name in pointers]
        say(f"raw data: {', '.join(targets)}")
        if _dvc(place, "checkout", *targets).returncode != 0:
            pulled = _dvc(place, "pull", *targets)
            if pulled.returncode != 0:
                raise UsageError(f"the raw data are neither in DVC's cache nor in its remote: {pulled.stderr.strip()[-500:]}.")
    _compile(place, say)


def _compile(place: Path, say: Say) -> None:
    """The compiled library: ours, where it comes from the same sources; else it is built as that commit builds it."""
    build = place / COMPILED / "build.py"
    if not build.exists():
        return
    ours = Path(longshort.__file__).parent / "models/compiled"
    of_both = [runpy.run_path(str(folder / "build.py"))["digest"]() for folder in (ours, place / COMPILED)]
    if (ours / "_native.so").exists() and of_both[0] == of_both[1]:
        shutil.copyfile(ours / "_native.so", place / COMPILED / "_native.so")
    elif (ours / "_native.so").exists():
        say("compiling the library of that commit")
        subprocess.run([sys.executable, str(build)], cwd=place, capture_output=True)


def _repro(place: Path, tree: Path, items: list[str], say: Say) -> None:
    """Run every stage that the items need, whatever DVC's cache holds, and leave the cache as it is."""
    say(f"dvc repro --force of {', '.join(items)} in {tree}")
    done = _dvc(place, "repro", "--force", "--no-commit", *[f"evaluation@{item}" for item in items])
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-3:]
        raise UsageError(f"the run cannot be made again: `dvc repro` ended with {done.returncode}: {' / '.join(said)}")


def _dvc(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # the stages' command must be this environment's, and its code that of the worktree
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(place / "src")}
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=place, env=env, capture_output=True, text=True, errors="replace")


def _remade(place: Path, child: Run) -> Made:
    item, seed = child.data.tags["item"], child.data.tags["seed"]
    dataset = storage.read_json(place / "data/training" / item / "runs.json")["dataset"]
    figures = storage.read_json(place / "data/evaluation" / item / "metrics.json")["seeds"][seed]
    return _made(place / "data/training" / item / f"seed-{seed}", storage.verify(place / "data/ingestion" / dataset), figures)
