"""Runs: trainings that go on where a process was killed, brought to their end one by one by a crew, or side by side on GPUs.

What a run has come to is its last checkpoint, and its epochs are in its journal; both are found again by its identity.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import longshort
from longshort import journal, storage
from longshort.config import EngineName, Optimisation, Resources, Variant
from longshort.errors import ConfigError, LongshortError
from longshort.models import artefact
from longshort.models.engines import ENGINES
from longshort.training import checkpoints, fleet, gpus, parallel, shards
from longshort.training.loop import Member, Progress
from longshort.training.shards import Crew, Judge, Shard, Told

# the rooms whose code decides what a training gives
CODE = ("windows", "tasks", "models", "training")
MOST_BARS = 10

Show = Callable[[str, dict[str, Any]], None]  # told a member's name and the journal's entry of its epoch


@dataclass(frozen=True)
class Run:
    """The training of one member. Doing it twice is doing it once.

    identity  what it is made from
    state     the folder in which its journal and its checkpoints lie
    ticker    of a network that is a ticker's own
    fold      of walk-forward training, from 1, the oldest; None: the newest, whose networks serve
    """

    item: str
    member: Member
    variant: Variant
    identity: str
    state: Path
    ticker: str | None = None
    fold: int | None = None

    @property
    def name(self) -> str:
        """What it is called among the members of its fleet."""
        return self.member.name

    @property
    def journal(self) -> Path:
        """Where its epochs are written."""
        return self.state / "journal" / f"{self.identity[:16]}.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where its resumable state lies."""
        return self.state / "checkpoints" / f"{self.item}-{self.name}" / self.identity[:16]

    def is_over(self) -> bool:
        """Whether its last checkpoint is its end."""
        progress = checkpoints.load(self.checkpoints)
        return progress is not None and progress.is_over(self.member.settings)


@dataclass(frozen=True)
class Place:
    """Where runs are computed, and by whom where they go one by one."""

    device: torch.device
    engine: EngineName
    crew: Crew

    @property
    def name(self) -> str:
        """What a person calls it."""
        device = self.crew.name if self.by_crew else f"cuda ({torch.cuda.get_device_name(self.device)})"
        return f"{device}, engine {self.engine}"

    @property
    def by_crew(self) -> bool:
        """Whether the crew trains the members, one by one; else they train side by side on GPUs."""
        return self.device.type == "cpu" or isinstance(self.crew, parallel.Processes)

    def origin(self) -> dict[str, str]:
        """What of it the bits hang on."""
        return {"device": self.device.type, "engine": self.engine, "torch": torch.__version__.partition("+")[0]}


def prepared(root: Path, device: str, engine: EngineName, resources: Resources, data_parallel: int | None = None) -> Place:
    """Where to train, as params.yaml asks for it; this process computes the same bytes there on every run on one kind of machine.

    data_parallel  how many processes train one network together; None: each network has one
    raises  ConfigError when CUDA is asked for and is not there, or the engine does not run on it, or a cluster is asked for and
            cannot be used; UsageError when one of its nodes would compute other bytes
    """
    chosen = choose_device(device, engine)
    shards.steady(chosen)
    return Place(chosen, engine, _crew(root, chosen, engine, resources, data_parallel))


def _crew(root: Path, device: torch.device, engine: EngineName, resources: Resources, data_parallel: int | None) -> Crew:
    if resources.engine == "ray":
        if device.type != "cpu":
            raise ConfigError(
                "params.yaml: `resources.engine` is 'ray', which spreads networks over the CPUs of a cluster, and training would run on "
                "this machine's CUDA device. Set `training.device` to 'cpu', or `resources.engine` to 'local'."
            )
        from longshort.training import cluster

        return cluster.joined(engine)
    cores = fleet.Cores(root / ".state/cores", len(os.sched_getaffinity(0)) if resources.workers == "auto" else resources.workers)
    return cores if data_parallel is None else parallel.processes(data_parallel, device, cores)


def choose_device(asked: str, engine: EngineName = "torch") -> torch.device:
    """CUDA when there and not refused; the CPU else, and always for the engine `native`, never for the engine `cuda`.

    raises  ConfigError when CUDA is asked for and is not there, or the engine does not run on it
    """
    if engine == "native":
        if asked == "cuda":
            raise ConfigError(
                "`training.device` is 'cuda', and the engine 'native' runs on the CPU. Set the device to 'cpu', or the engine to 'torch'."
            )
        return torch.device("cpu")
    if engine == "cuda" and asked == "cpu":
        raise ConfigError(
            "`training.device` is 'cpu', and the engine 'cuda' runs on a GPU. Set the device to 'auto', or the engine to 'torch'."
        )
    if engine == "cuda" and (reason := ENGINES["cuda"].absent()):
        raise ConfigError(f"engine 'cuda' is not there: {reason}. Name another engine.")
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("`training.device` is 'cuda', but torch sees no CUDA device here. Set it to 'auto' or 'cpu'.")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")


def code_sha256(rooms: Sequence[str] = CODE) -> str:
    """Digest of the source of rooms; by default of those that a training runs through."""
    package = Path(longshort.__file__).parent
    sources = sorted(path for room in rooms for kind in ("*.py", "*.h", "*.cpp") for path in (package / room).rglob(kind))
    return storage.digest({path.relative_to(package).as_posix(): storage.sha256(path) for path in sources})


def complete(runs: Sequence[Run], where: Place, show: Show, judge: Judge | None = None) -> list[Progress]:
    """Bring every run to its end, from where an earlier process was killed; returns what each came to.

    judge  asked after an epoch with a run's place and its history; when it says so the run is pruned. What it says must
           not hang on when it is asked, or on what other runs do meanwhile
    """

    def shard(*places: int, device: torch.device = where.device) -> Shard:
        members, resumed = [runs[k].member for k in places], [checkpoints.newest(runs[k].checkpoints) for k in places]
        own = None if judge is None else lambda number, history: judge(places[number], history)
        return Shard(tuple(members), runs[places[0]].variant, where.engine, str(device), tuple(resumed), own)

    def showing(place: int, entry: dict[str, Any]) -> None:
        show(runs[place].name, entry)

    stopping, one_at_a_time = threading.Event(), threading.Lock()  # of the threads of several GPUs

    def beside(places: Sequence[int], device: torch.device) -> None:
        own = shard(*places, device=device)

        def judged(number: int, history: list[dict[str, Any]]) -> bool:
            with one_at_a_time:
                return own.judge is not None and own.judge(number, history)

        def tell(told: Told) -> None:
            _record(runs[places[told.place]], where, [told])
            if told.entry["kind"] == "epoch":
                with one_at_a_time:
                    showing(places[told.place], told.entry)
            if stopping.is_set():
                raise LongshortError("stopped, since the training on another GPU failed. Run this again: it goes on from here.")

        shards.work(dataclasses.replace(own, judge=judged), tell)

    # asked again, since a checkpoint may be damaged that was the last
    while to_do := [k for k, each in enumerate(runs) if not each.is_over()]:
        if where.by_crew:
            where.crew.train(to_do, shard, lambda place, news: _record(runs[place], where, news), showing)
            continue
        for places in of_one_shape(runs, to_do):
            gpus.spread(places, gpus.there(), beside, _say(runs[places[0]].item), stopping)
    return [progress for each in runs if (progress := checkpoints.load(each.checkpoints)) is not None]


def _say(item: str) -> Callable[[str], None]:
    """Tell a person something of an item."""
    return lambda text: print(f"{item}: {text}", file=sys.stderr, flush=True)


def of_one_shape(runs: Sequence[Run], places: Sequence[int]) -> list[list[int]]:
    """The places of runs that can train side by side: of one shape, variant, batch size, optimiser and averaging.

    Folds of a text have vocabularies of different sizes; and where states are carried, streams of different lengths, even where sizes
    are the same.
    """
    fleets: dict[Any, list[int]] = {}
    for k in places:
        task, settings = runs[k].member.task, runs[k].member.settings
        streams = runs[k].fold if task.carried else None
        shape = tuple(artefact.shape_of(task.name, task).values())
        alike = settings.batch_size, settings.optimizer, settings.averaged_after
        fleets.setdefault((shape, streams, runs[k].variant, *alike), []).append(k)
    return list(fleets.values())


def _record(run: Run, where: Place, news: Sequence[Told]) -> None:
    """Write down what is told of a run. Journal before checkpoint: an epoch may be told twice, never lost."""
    begun = {"item": run.item, "member": run.name, "seed": run.member.seed, "identity": run.identity}
    begun |= {"device": where.device.type, "engine": where.engine} | ({} if run.fold is None else {"fold": run.fold})
    journal.append(run.journal, *(told.entry | begun if told.entry["kind"] == "begun" else told.entry for told in news))
    for told in news:
        if told.checkpoint is not None:
            checkpoints.store(run.checkpoints, told.epochs, told.checkpoint)


@contextlib.contextmanager
def display(item: str, members: int, settings: Optimisation, stays: bool = True) -> Iterator[Show]:
    """On a terminal a progress bar a member, or one for all where they are many; elsewhere nothing.

    stays  whether the bars are left on the screen in the end
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name, entry: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    # without a thread of its own: processes are forked meanwhile
    with Bars(*columns, console=console, auto_refresh=False, transient=not stays) as bar:
        many = members > MOST_BARS
        bars: dict[str, Any] = {}

        def show(name: str, entry: dict[str, Any]) -> None:
            place = item if many else f"{item}-{name}"
            if place not in bars:
                bars[place] = bar.add_task(place, total=settings.max_epochs * (members if many else 1), said="")
            losses = f"train {entry['train_loss']:.4f}  validation {entry['validation_loss']:.4f}"
            said = f"{name} " * many + f"epoch {entry['epoch']}  {losses}"
            bar.update(bars[place], advance=1, said=said, refresh=True)

        yield show
