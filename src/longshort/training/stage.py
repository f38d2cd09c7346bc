"""The shell of the training room: `data/windows` in, `data/training` out, epochs into the journal."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import longshort
from longshort import journal, storage
from longshort.config import Optimisation, Params, Variant
from longshort.errors import ConfigError, DataRefused, TrainingDiverged
from longshort.models import artefact
from longshort.models.encoder import opened
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.task import Task, open_task
from longshort.training import checkpoints, fleet
from longshort.training.loop import Epoch, Member, Progress, state_of, train

# the rooms whose code decides what a training gives
CODE = ("windows", "tasks", "models", "training")
MOST_BARS = 10


@dataclass(frozen=True)
class Run:
    """The training of one member: a seed, and a ticker where each has a model of its own. Doing it twice is doing it once.

    identity  what it is made from
    state     the project's .state folder
    """

    item: str
    seed: int
    ticker: str | None
    identity: str
    state: Path

    @property
    def name(self) -> str:
        """What it is called among the members of its fleet."""
        return f"s{self.seed}" if self.ticker is None else f"{self.ticker}-s{self.seed}"

    @property
    def journal(self) -> Path:
        """Where its epochs are written."""
        return journal_path(self.state, self.identity)

    @property
    def checkpoints(self) -> Path:
        """Where its resumable state lies."""
        return self.state / "checkpoints" / f"{self.item}-{self.name}" / self.identity[:16]


def journal_path(state: Path, identity: str) -> Path:
    """The journal of a training run."""
    return state / "journal" / f"{identity[:16]}.jsonl"


def run(root: Path, item: str, params: Params) -> None:
    """Train one item: a fleet of its seeds, times its tickers where each has a network of its own; goes on where a process was killed.

    raises  CorruptArtefact; ConfigError when CUDA is asked for and not there, or the engine cannot run the variant; DataRefused when
            no ticker is long enough, or every member diverged
    """
    entry = params.training.items[item]
    variant = params.models.variants[entry.variant]
    settings: Optimisation = params.of_task(params.training, entry.task)
    folder = root / "data/windows" / entry.dataset
    windows_sha256 = storage.verify(folder)
    task = open_task(entry.task, folder, params)
    engine = params.engine_of(item)
    device = choose_device(params.training.device, engine)
    opened(engine, variant)  # what it cannot run is refused before anything is said to have begun
    print(f"training on {device_name(device)}, engine {engine}", file=sys.stderr)
    make_deterministic(device)
    origin = {
        "windows_sha256": windows_sha256,
        "task": params.of_task(params.tasks, entry.task).model_dump(),
        "variant": variant.model_dump(),
        "optimisation": settings.model_dump(),
        "code_sha256": code_sha256(),
        "device": device.type,
        "engine": engine,
        "torch": torch.__version__.partition("+")[0],
    }
    tasks: dict[str | None, Task]
    tasks, left_out = _a_task_a_ticker(task) if entry.per == "ticker" else ({None: task}, {})
    for why in left_out.values():
        print(f"{item}: left out: {why}", file=sys.stderr)
    runs = [_run(item, seed, ticker, origin, root / ".state") for seed in params.training.seeds for ticker in tasks]
    _forget_others(runs)
    members = [Member(each.name, each.seed, tasks[each.ticker], settings) for each in runs]
    with storage.new_artefact(root / "data/training" / item) as place:
        _train(runs, members, variant, engine, device, cores(params))
        ended = [progress for each in runs if (progress := checkpoints.load(each.checkpoints)) is not None]
        _write(place, runs, members, ended, variant, origin, task)
        storage.write_json(place / "runs.json", _summary(place, runs, ended, entry.dataset, left_out))
    for each in runs:
        checkpoints.forget(each.checkpoints)


def _run(item: str, seed: int, ticker: str | None, origin: dict[str, Any], state: Path) -> Run:
    made_of = {**origin, "item": item, "seed": seed} | ({} if ticker is None else {"ticker": ticker})
    return Run(item, seed, ticker, storage.digest(made_of), state)


def _a_task_a_ticker(task: Task) -> tuple[dict[str | None, Task], dict[str, str]]:
    """The task over each ticker alone, and why some tickers have none.

    raises  DataRefused when none has one
    """
    assert isinstance(task, ForecastTask)
    tasks: dict[str | None, Task] = {}
    left_out: dict[str, str] = {}
    for ticker in task.data.tickers():
        try:
            tasks[ticker] = ForecastTask.of(task.data.of_ticker(ticker))
        except DataRefused as refusal:
            left_out[ticker] = str(refusal)
    if not tasks:
        raise DataRefused(f"no ticker can have a model of its own. {next(iter(left_out.values()))}.")
    return tasks, left_out


def _train(runs: list[Run], members: list[Member], variant: Variant, engine: str, device: torch.device, count: int) -> None:
    """Bring every run to its end; what each came to is its last checkpoint."""

    def work(places: list[int], tell: fleet.Tell) -> None:
        resumed = [checkpoints.load(runs[k].checkpoints) for k in places]
        for k, progress in zip(places, resumed, strict=True):
            begun = {"kind": "begun", "item": runs[k].item, "member": runs[k].name, "seed": runs[k].seed, "identity": runs[k].identity}
            done = len(progress.history) if progress else 0
            journal.append(runs[k].journal, {**begun, "device": device.type, "engine": engine, "resumed_after": done})

        def after_epoch(number: int, epoch: Epoch, progress: Progress) -> None:
            each = runs[places[number]]
            # journal before checkpoint: an epoch may be told twice, never lost
            journal.append(each.journal, {"kind": "epoch", **epoch.result(), "seconds": epoch.seconds})
            checkpoints.save(each.checkpoints, progress)
            tell((each.name, epoch))

        ended = train([members[k] for k in places], variant, engine, device, resumed, after_epoch)
        for k, progress in zip(places, ended, strict=True):
            if progress.dropped:
                journal.append(runs[k].journal, {"kind": "dropped", "reason": progress.dropped})
                checkpoints.save(runs[k].checkpoints, progress)
            else:
                finished = {"kind": "finished", "best_epoch": progress.best_epoch, "epochs": len(progress.history)}
                journal.append(runs[k].journal, finished)

    with _display(runs[0].item, len(runs), members[0].settings) as show:
        # asked again, since a checkpoint may be damaged that was the last
        while to_do := [k for k, each in enumerate(runs) if not _is_over(checkpoints.load(each.checkpoints), members[k].settings)]:
            if device.type == "cpu":
                fleet.spread(to_do, lambda k, tell: work([k], tell), runs[0].state / "cores", count, show)
            else:
                work(to_do, show)


def _is_over(progress: Progress | None, settings: Optimisation) -> bool:
    return progress is not None and progress.is_over(settings)


def choose_device(asked: str, engine: str = "torch") -> torch.device:
    """CUDA when there and not refused; the CPU else, and always for the engine `native`.

    raises  ConfigError when CUDA is asked for and is not there, or the engine does not run on it
    """
    if engine == "native":
        if asked == "cuda":
            raise ConfigError(
                "`training.device` is 'cuda', and the engine 'native' runs on the CPU. Set the device to 'cpu', or the engine to 'torch'."
            )
        return torch.device("cpu")
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("`training.device` is 'cuda', but torch sees no CUDA device here. Set it to 'auto' or 'cpu'.")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")


def device_name(device: torch.device) -> str:
    """What a person calls it."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu (one thread a network)"


def cores(params: Params) -> int:
    """How many processes may compute at the same time."""
    return len(os.sched_getaffinity(0)) if params.resources.workers == "auto" else params.resources.workers


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
    sources = sorted(path for room in CODE for kind in ("*.py", "*.h", "*.cpp") for path in (package / room).rglob(kind))
    return storage.digest({path.relative_to(package).as_posix(): storage.sha256(path) for path in sources})


def _write(
    place: Path,
    runs: list[Run],
    members: list[Member],
    ended: list[Progress],
    variant: Variant,
    origin: dict[str, Any],
    whole: Task,
) -> None:
    """A model a seed: the weights of its members side by side, best epoch each.

    raises  TrainingDiverged when every member was dropped
    """
    for each, progress in zip(runs, ended, strict=True):
        if progress.dropped:
            print(f"{each.item}-{each.name}: dropped: {progress.dropped}", file=sys.stderr)
    if all(progress.dropped for progress in ended):
        many = "every seed" if runs[0].ticker is None else f"every one of {len(runs)} members"
        raise TrainingDiverged(f"{runs[0].item}: {many} diverged. {runs[0].name}: {ended[0].dropped}")
    skeleton = Network(members[0].task, variant, origin["engine"])
    for seed in dict.fromkeys(each.seed for each in runs):
        own = [k for k, each in enumerate(runs) if each.seed == seed and not ended[k].dropped]
        if not own:
            continue
        states = [state_of(skeleton, ended[k].best_weights) for k in own]
        state = {name: torch.cat([each[name] for each in states]) for name in states[0]}
        identities = {str(runs[k].ticker): runs[k].identity for k in own}
        identity = runs[own[0]].identity if runs[own[0]].ticker is None else storage.digest(identities)
        card: dict[str, Any] = {"description": whole.description(), "origin": {**origin, "seed": seed, "identity": identity}}
        if runs[own[0]].ticker is not None:
            # a list and not an object, whose keys are sorted: the order is that of the axis of members
            card["members"] = [{"ticker": runs[k].ticker, "scaler": members[k].task.description()["scaler"]} for k in own]
        artefact.save(place / f"seed-{seed}", whole.name, whole, variant, state, card)


def _summary(place: Path, runs: list[Run], ended: list[Progress], dataset: str, left_out: dict[str, str]) -> dict[str, Any]:
    seeds = []
    for seed in dict.fromkeys(each.seed for each in runs):
        own = [(each, progress) for each, progress in zip(runs, ended, strict=True) if each.seed == seed]
        kept = [(each, progress) for each, progress in own if not progress.dropped]
        entry: dict[str, Any] = {"seed": seed}
        if kept:
            model = storage.read_json(place / f"seed-{seed}" / artefact.CARD)
            entry |= {"identity": model["origin"]["identity"], "model_sha256": storage.verify(place / f"seed-{seed}")}
            entry["history"] = mean_history([progress for _, progress in kept])
            entry["best_epoch"] = max(epoch["epoch"] for epoch in entry["history"] if epoch["best"])
        else:
            entry |= {"identity": own[0][0].identity, "dropped": own[0][1].dropped}
        if own[0][0].ticker is not None:
            entry["members"] = [
                {"ticker": each.ticker, "identity": each.identity}
                | ({"dropped": progress.dropped} if progress.dropped else {"best_epoch": progress.best_epoch, "history": progress.history})
                for each, progress in own
            ]
        seeds.append(entry)
    return {"item": runs[0].item, "dataset": dataset, "seeds": seeds, **({"left_out": left_out} if left_out else {})}


def mean_history(members: list[Progress]) -> list[dict[str, Any]]:
    """The epochs of a seed's members together: their mean training loss, and the mean validation loss of the weights that each would keep.

    A member that has ended counts with its last training loss.
    """
    if len(members) == 1:
        return members[0].history
    longest = max(len(progress.history) for progress in members)
    trained, kept = np.empty((2, len(members), longest))
    for row, progress in enumerate(members):
        losses = np.array([[entry["train_loss"], entry["validation_loss"]] for entry in progress.history]).T
        missing = longest - losses.shape[1]
        trained[row] = np.pad(losses[0], (0, missing), mode="edge")
        kept[row] = np.pad(np.minimum.accumulate(losses[1]), (0, missing), mode="edge")
    means = [trained.mean(axis=0).tolist(), kept.mean(axis=0).tolist()]
    best = [True, *(after < before for before, after in itertools.pairwise(means[1]))]
    return [
        {"epoch": number, "train_loss": train_loss, "validation_loss": validation_loss, "best": better}
        for number, (train_loss, validation_loss, better) in enumerate(zip(*means, best, strict=True), start=1)
    ]


def _forget_others(runs: list[Run]) -> None:
    """Drop checkpoints of the same seeds under other settings, data or code: they can never be resumed again."""
    for each in runs:
        if each.checkpoints.parent.is_dir():
            for folder in each.checkpoints.parent.iterdir():
                if folder != each.checkpoints:
                    checkpoints.forget(folder)


@contextlib.contextmanager
def _display(item: str, members: int, settings: Optimisation) -> Iterator[fleet.Tell]:
    """On a terminal a progress bar a member, or one for all where they are many; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda told: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    # without a thread of its own: processes are forked meanwhile
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        many = members > MOST_BARS
        bars: dict[str, Any] = {}

        def show(told: tuple[str, Epoch]) -> None:
            name, epoch = told
            place = item if many else f"{item}-{name}"
            if place not in bars:
                bars[place] = bar.add_task(place, total=settings.max_epochs * (members if many else 1), said="")
            said = f"{name} " * many + f"epoch {epoch.number}  train {epoch.train_loss:.4f}  validation {epoch.validation_loss:.4f}"
            bar.update(bars[place], advance=1, said=said, refresh=True)

        yield show
