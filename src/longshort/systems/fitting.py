"""Fitting: the networks of a system, trained by the one training room, and what they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from longshort import journal, storage
from longshort.config import EngineName, Optimisation, Variant, unfit
from longshort.errors import TrainingDiverged, UsageError
from longshort.models.cells import CELLS
from longshort.models.encoder import at_hand
from longshort.models.engines.engine import SCORING_BATCH
from longshort.models.network import Network
from longshort.systems.occasion import Occasion
from longshort.tasks.series import SeriesTask
from longshort.tasks.task import Task
from longshort.training import checkpoints
from longshort.training.loop import Member, state_of
from longshort.training.runs import Run, code_sha256, complete, display, prepared

# besides the rooms that a training runs through
CODE = ("ingestion", "windows", "tasks", "models", "training", "systems")


@dataclass(frozen=True)
class Fitted:
    """A trained network, at its best epoch, in evaluation mode on the CPU.

    history  its epochs, oldest first
    """

    seed: int
    network: Network
    history: list[dict[str, Any]]

    @property
    def best(self) -> dict[str, Any]:
        """The epoch that was kept."""
        return [epoch for epoch in self.history if epoch["best"]][-1]


def fit(occasion: Occasion, label: str, tasks: Sequence[Task], variant: Variant, optimisation: Optimisation) -> tuple[list[Fitted], float]:
    """Train one network a task and seed; goes on where a process was killed, and takes up what it had ended.

    label    what the networks are called, among those of the system
    tasks    one, or one a fold
    returns  task by task, seed by seed; and the seconds that it took, with those of the epochs that an earlier process trained
    raises   TrainingDiverged when a network did; ConfigError when no engine runs the variant; UsageError when it would read its answer,
             or attends once where there is an answer a step
    """
    _refuse(variant, tasks)
    asked = occasion.params.training.engine
    engine = cast(EngineName, at_hand("native" if asked in ("auto", "cuda") else asked, variant))
    # not on a GPU: fleets there are told apart by shapes that only the pipeline's tasks have
    where = prepared(occasion.root, "cpu", engine, occasion.params.resources)
    item = f"systems-{occasion.name}-{label}"
    origin = {
        "item": item,
        "data": data_sha256(occasion),
        "fast": occasion.fast,
        "variant": variant.model_dump(),
        "optimisation": optimisation.model_dump(),
        "code_sha256": code_sha256(CODE),
        **where.origin(),
    }
    runs = []
    for fold, task in enumerate(tasks, start=1):
        for seed in occasion.seeds:
            name = f"f{fold}-s{seed}" if len(tasks) > 1 else f"s{seed}"
            identity = storage.digest({**origin, "name": name, "description": task.description()})
            runs.append(Run(item, Member(name, seed, task, optimisation), variant, identity, occasion.root / ".state"))
    occasion.trained.checkpoints.extend(each.checkpoints for each in runs)
    earlier = sum(map(_seconds, runs))
    occasion.trained.earlier += earlier
    began = time.monotonic()
    with display(f"{occasion.name} {label}", len(runs), optimisation) as show:
        ended = complete(runs, where, show)
    seconds = time.monotonic() - began + earlier
    for each, progress in zip(runs, ended, strict=True):
        if progress.dropped:
            raise TrainingDiverged(f"{item}-{each.name}: {progress.dropped.replace(' in params.yaml', ' with --set learning_rate=…')}")
    fitted = []
    for each, progress in zip(runs, ended, strict=True):
        network = Network(each.member.task, variant, where.engine)
        network.load_state_dict(state_of(network, progress.best_weights))
        fitted.append(Fitted(each.member.seed, network.eval(), progress.history))
    return fitted, seconds


def _refuse(variant: Variant, tasks: Sequence[Task]) -> None:
    series = any(isinstance(task, SeriesTask) for task in tasks)
    if variant.bidirectional and series:
        raise UsageError("--set bidirectional: at each step it would have read the next one, which it shall forecast. Leave it out.")
    if CELLS[variant.cell].attends and (series or any(unfit(task.name, variant, None) for task in tasks)):
        raise UsageError(
            f"--set cell: '{variant.cell}' attends to all states for one answer at the end, and here there is an answer at every step. "
            "Take cell 'lstm', which is the same without it."
        )


def _seconds(run: Run) -> float:
    """What the epochs took from which a run goes on; 0 when it begins."""
    progress = checkpoints.load(run.checkpoints)
    if progress is None:
        return 0.0
    took = {entry["epoch"]: float(entry["seconds"]) for entry in journal.read(run.journal) if entry["kind"] == "epoch"}
    return sum(took.get(epoch["epoch"], 0.0) for epoch in progress.history)


def data_sha256(occasion: Occasion) -> str:
    """Digest of a person's files; the embedded data are what code and libraries make them."""
    if occasion.data is None:
        return "embedded"
    if occasion.data.is_file():
        return storage.sha256(occasion.data)
    files = sorted(path for path in occasion.data.rglob("*") if path.is_file())
    return storage.digest({path.relative_to(occasion.data).as_posix(): storage.sha256(path) for path in files})


@torch.inference_mode()
def named(fitted: Fitted, task: Task, part: str) -> NDArray[np.int64]:
    """The label that a classifier scores highest for each sequence of a part, in its order."""
    torch.set_num_threads(1)
    batches = task.batches(part, SCORING_BATCH, seed=0, epoch=0)
    return np.concatenate([fitted.network(read.unsqueeze(0))[0].argmax(-1).numpy() for read, _ in batches])


def described(variant: Variant) -> str:
    """A network in a few words: 2 × lstm of 128, both ways."""
    layers = f"{variant.num_layers} × " if variant.num_layers > 1 else ""
    return f"{layers}{variant.cell} of {variant.hidden_size}{', both ways' if variant.bidirectional else ''}"
