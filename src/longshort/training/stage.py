"""The shell of the training room: `data/windows` in, `data/training` out, epochs into the journal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import longshort
from longshort import journal, storage
from longshort.config import Optimisation, Params, Variant
from longshort.errors import ConfigError, TrainingDiverged
from longshort.models import artefact
from longshort.models.encoder import first_that_runs
from longshort.models.network import Network
from longshort.tasks.task import Task, open_task
from longshort.training import checkpoints
from longshort.training.loop import Epoch, Progress, seed_everything, train

# the rooms whose code decides what a training gives
CODE = ("windows", "tasks", "models", "training")


@dataclass(frozen=True)
class Run:
    """One seed's training. Its identity is what it is made from, so doing it twice is doing it once."""

    item: str
    seed: int
    identity: str
    state: Path  # the project's .state folder

    @property
    def journal(self) -> Path:
        """Where its epochs are written."""
        return journal_path(self.state, self.identity)

    @property
    def checkpoints(self) -> Path:
        """Where its resumable state lies."""
        return self.state / "checkpoints" / f"{self.item}-s{self.seed}" / self.identity[:16]


def journal_path(state: Path, identity: str) -> Path:
    """The journal of a training run."""
    return state / "journal" / f"{identity[:16]}.jsonl"


def run(root: Path, item: str, params: Params) -> None:
    """Train one item, once a seed, going on where a killed process stopped.

    raises  CorruptArtefact; ConfigError when CUDA is asked for and not there; DataRefused when every seed diverged
    """
    entry = params.training.items[item]
    variant = params.models.variants[entry.variant]
    settings: Optimisation = params.of_task(params.training, entry.task)
    folder = root / "data/windows" / entry.dataset
    windows_sha256 = storage.verify(folder)
    task = open_task(entry.task, folder, params)
    device = choose_device(params.training.device)
    make_deterministic(device)
    origin = {
        "windows_sha256": windows_sha256,
        "task": params.of_task(params.tasks, entry.task).model_dump(),
        "variant": variant.model_dump(),
        "optimisation": settings.model_dump(),
        "code_sha256": code_sha256(),
        "device": device.type,
        "torch": torch.__version__.partition("+")[0],
    }
    runs = [Run(item, seed, storage.digest({**origin, "item": item, "seed": seed}), root / ".state") for seed in params.training.seeds]
    _forget_others(runs)
    failures = {}
    with storage.new_artefact(root / "data/training" / item) as place, _display(item, settings) as show:
        for each in runs:
            try:
                progress = _train_seed(each, task, variant, settings, device, show)
            except TrainingDiverged as error:
                failures[each.seed] = str(error)
                print(f"{item}-s{each.seed}: dropped: {error}", file=sys.stderr)
                continue
            _write_seed(place / f"seed-{each.seed}", each, task, variant, progress, origin)
        if len(failures) == len(runs):
            raise TrainingDiverged(f"{item}: every seed diverged. Seed {runs[0].seed}: {failures[runs[0].seed]}")
        storage.write_json(place / "runs.json", _summary(place, runs, entry.dataset, failures))
    for each in runs:
        checkpoints.forget(each.checkpoints)


def choose_device(asked: str) -> torch.device:
    """CUDA when there and not refused, said aloud; the CPU else.

    raises  ConfigError when CUDA is asked for and is not there
    """
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("`training.device` is 'cuda', but torch sees no CUDA device here. Set it to 'auto' or 'cpu'.")
    device = torch.device("cuda" if there and asked != "cpu" else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    print(f"training on {device.type} ({name})", file=sys.stderr)
    return device


def make_deterministic(device: torch.device) -> None:
    """The same bytes on every run on one kind of machine."""
    # a small network is no faster on two threads, and collapses when a neighbour is busy;
    # on one thread the order of every sum is given
    torch.set_num_threads(1)
    if device.type == "cuda":  # on a CPU this would change nothing, and its import of torch's compiler takes 2 s
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def code_sha256() -> str:
    """Digest of the source of the rooms that training runs through."""
    package = Path(longshort.__file__).parent
    sources = sorted(path for room in CODE for path in (package / room).rglob("*.py"))
    return storage.digest({path.relative_to(package).as_posix(): storage.sha256(path) for path in sources})


def _train_seed(
    each: Run, task: Task, variant: Variant, settings: Optimisation, device: torch.device, show: Callable[[Run, Epoch], None]
) -> Progress:
    resumed = checkpoints.load(each.checkpoints)
    begun = {"kind": "begun", "item": each.item, "seed": each.seed, "identity": each.identity, "device": device.type}
    journal.append(each.journal, {**begun, "resumed_after": len(resumed.history) if resumed else 0})
    seed_everything(each.seed, epoch=0)

    def after_epoch(epoch: Epoch, progress: Progress) -> None:
        # journal before checkpoint: an epoch may be told twice, never lost
        journal.append(each.journal, {"kind": "epoch", **epoch.result(), "seconds": epoch.seconds})
        checkpoints.save(each.checkpoints, progress)
        show(each, epoch)

    try:
        progress = train(Network(task, variant, first_that_runs(variant)), task, settings, each.seed, device, resumed, after_epoch)
    except TrainingDiverged as error:
        journal.append(each.journal, {"kind": "dropped", "reason": str(error)})
        raise
    journal.append(each.journal, {"kind": "finished", "best_epoch": progress.best_epoch, "epochs": len(progress.history)})
    return progress


def _write_seed(folder: Path, each: Run, task: Task, variant: Variant, progress: Progress, origin: dict[str, Any]) -> None:
    card = {"description": task.description(), "origin": {**origin, "seed": each.seed, "identity": each.identity}}
    artefact.save(folder, task.name, task, variant, progress.best_weights, card)


def _summary(place: Path, runs: list[Run], dataset: str, failures: dict[int, str]) -> dict[str, Any]:
    seeds = []
    for each in runs:
        entry: dict[str, Any] = {"seed": each.seed, "identity": each.identity}
        if each.seed in failures:
            entry["dropped"] = failures[each.seed]
        else:
            progress = checkpoints.load(each.checkpoints)
            assert progress is not None
            entry["best_epoch"] = progress.best_epoch
            entry["history"] = progress.history
            entry["model_sha256"] = storage.verify(place / f"seed-{each.seed}")
        seeds.append(entry)
    return {"item": runs[0].item, "dataset": dataset, "seeds": seeds}


def _forget_others(runs: list[Run]) -> None:
    """Drop checkpoints of the same seeds under other settings, data or code: they can never be resumed again."""
    for each in runs:
        if each.checkpoints.parent.is_dir():
            for folder in each.checkpoints.parent.iterdir():
                if folder != each.checkpoints:
                    checkpoints.forget(folder)


@contextlib.contextmanager
def _display(item: str, settings: Optimisation) -> Iterator[Callable[[Run, Epoch], None]]:
    """A progress bar on a terminal, one quiet line a seed elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda each, epoch: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        bars: dict[int, Any] = {}

        def show(each: Run, epoch: Epoch) -> None:
            if each.seed not in bars:
                bars[each.seed] = bar.add_task(f"{item}-s{each.seed}", total=settings.max_epochs, said="")
            said = f"epoch {epoch.number}  train {epoch.train_loss:.4f}  validation {epoch.validation_loss:.4f}"
            bar.update(bars[each.seed], completed=epoch.number, said=said)

        yield show
