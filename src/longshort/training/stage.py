"""The shell of the training room: `data/windows` in, `data/training` out, epochs into the journal."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longshort import storage
from longshort.config import Params
from longshort.errors import DataRefused, TrainingDiverged
from longshort.models import artefact, choice
from longshort.models.encoder import opened
from longshort.models.network import Network
from longshort.tasks.forecast import ForecastTask
from longshort.tasks.task import Task, open_task
from longshort.training import checkpoints
from longshort.training.loop import Member, Progress, state_of
from longshort.training.runs import Run, code_sha256, complete, display, prepared


def run(root: Path, item: str, params: Params) -> None:
    """Train one item: a fleet of its seeds, times the folds, times its tickers where each has a network of its own; goes on where a
    process was killed.

    raises  CorruptArtefact; ConfigError when CUDA is asked for and not there, or the engine cannot run the variant; DataRefused when
            no ticker is long enough, or every member diverged
    """
    entry = params.training.items[item]
    variant, settings = params.models.variants[entry.variant], params.optimisation_of(item)
    folder = root / "data/windows" / entry.dataset
    windows_sha256 = storage.verify(folder)
    task = open_task(entry.task, folder, params)
    where = prepared(root, params.training.device, choice.engine_of(params, item), params.resources, entry.data_parallel)
    opened(where.engine, variant)  # what it cannot run is refused before anything is said to have begun
    print(f"training on {where.name}", file=sys.stderr)
    origin = {
        "windows_sha256": windows_sha256,
        "task": params.of_task(params.tasks, entry.task).model_dump(),
        "variant": variant.model_dump(),
        "optimisation": settings.model_dump(),
        "code_sha256": code_sha256(),
        **where.origin(),
    }
    if entry.data_parallel:  # sums of shares round otherwise than sums of batches
        origin["data_parallel"] = entry.data_parallel
    # the newest has no number
    folds: dict[int | None, Task] = {**dict(enumerate(task.earlier(), start=1)), None: task}
    runs: list[Run] = []
    left_out: dict[str, str] = {}  # of the newest fold in the end
    for fold, whole in folds.items():
        tasks, left_out = _a_task_a_ticker(whole) if entry.per == "ticker" else ({None: whole}, {})
        for why in left_out.values():
            print(f"{item}: left out{f' of fold {fold}' if fold else ''}: {why}", file=sys.stderr)
        for seed in params.training.seeds:
            for ticker, own in tasks.items():
                what = {"ticker": ticker, "fold": fold}
                identity = storage.digest({**origin, "item": item, "seed": seed} | {name: value for name, value in what.items() if value})
                name = "".join(f"{part}-" for part in (fold and f"f{fold}", ticker) if part) + f"s{seed}"
                member = Member(name, seed, own, settings)
                runs.append(Run(item, member, variant, identity, root / ".state", ticker, fold))
    _forget_others(runs)
    with storage.new_artefact(root / "data/training" / item) as place:
        with display(item, len(runs), settings) as show:
            ended = complete(runs, where, show)
        told = {}
        for fold, whole in folds.items():
            places = [k for k, each in enumerate(runs) if each.fold == fold]
            own_runs, own_ended = [runs[k] for k in places], [ended[k] for k in places]
            _write(place, own_runs, own_ended, origin, whole)
            told[fold] = _seeds(place, own_runs, own_ended)
        newest = told.pop(None)
        earlier = {"earlier": list(told.values())} if told else {}
        summary = {"item": item, "dataset": entry.dataset, "seeds": newest, **earlier, **({"left_out": left_out} if left_out else {})}
        storage.write_json(place / "runs.json", summary)
    for each in runs:
        checkpoints.forget(each.checkpoints)


def _a_task_a_ticker(task: Task) -> tuple[dict[str | None, Task], dict[str, str]]:
    """The task over each ticker alone, and why some tickers have none.

    raises  DataRefused when none has one
    """
    assert isinstance(task, ForecastTask)
    tasks: dict[str | None, Task] = {}
    left_out: dict[str, str] = {}
    for ticker in task.data.tickers():
        try:
            tasks[ticker] = ForecastTask.of(task.data.of_ticker(ticker), task.quantiles)
        except DataRefused as refusal:
            left_out[ticker] = str(refusal)
    if not tasks:
        raise DataRefused(f"no ticker can have a model of its own. {next(iter(left_out.values()))}.")
    return tasks, left_out


def _write(
    place: Path,
    runs: Sequence[Run],
    ended: Sequence[Progress],
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
        many += f" of fold {runs[0].fold}" if runs[0].fold else ""
        raise TrainingDiverged(f"{runs[0].item}: {many} diverged. {runs[0].name}: {ended[0].dropped}")
    variant = runs[0].variant
    skeleton = Network(runs[0].member.task, variant, origin["engine"])
    for seed in dict.fromkeys(each.member.seed for each in runs):
        own = [k for k, each in enumerate(runs) if each.member.seed == seed and not ended[k].dropped]
        if not own:
            continue
        states = [state_of(skeleton, ended[k].best_weights) for k in own]
        state = {name: torch.cat([each[name] for each in states]) for name in states[0]}
        identities = {str(runs[k].ticker): runs[k].identity for k in own}
        identity = runs[own[0]].identity if runs[own[0]].ticker is None else storage.digest(identities)
        own_origin = {**origin, "seed": seed, "identity": identity}
        card: dict[str, Any] = {"description": whole.description(), "extent": whole.extent(), "origin": own_origin}
        if runs[own[0]].ticker is not None:
            # a list and not an object, whose keys are sorted: the order is that of the axis of members
            card["members"] = [{"ticker": runs[k].ticker, "scaler": runs[k].member.task.description()["scaler"]} for k in own]
        artefact.save(artefact.place_of(place, runs[0].fold, seed), whole.name, whole, variant, state, card)


def _seeds(place: Path, runs: Sequence[Run], ended: Sequence[Progress]) -> list[dict[str, Any]]:
    """What `runs.json` says of each seed of a fold."""
    seeds = []
    for seed in dict.fromkeys(each.member.seed for each in runs):
        own = [(each, progress) for each, progress in zip(runs, ended, strict=True) if each.member.seed == seed]
        kept = [(each, progress) for each, progress in own if not progress.dropped]
        entry: dict[str, Any] = {"seed": seed}
        if kept:
            model = artefact.place_of(place, own[0][0].fold, seed)
            identity = storage.read_json(model / artefact.CARD)["origin"]["identity"]
            entry |= {"identity": identity, "model_sha256": storage.verify(model)}
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
    return seeds


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
