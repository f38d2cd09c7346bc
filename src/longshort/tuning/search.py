"""The shell of the tuning room: an item's windows in, `.state/tuning` out; rounds of trials, then the best beside the present.

Trials go through the one training loop. Killed anywhere and started again, it goes on: trials that have ended are in the record, and those
on their way have their checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from longshort import graph, storage
from longshort.config import Params, Tuning
from longshort.errors import TrainingDiverged, UsageError
from longshort.models import choice
from longshort.tasks.task import Task, open_task
from longshort.training import checkpoints
from longshort.training.loop import Member, Progress
from longshort.training.runs import CODE, Place, Run, code_sha256, complete, display, prepared
from longshort.tuning import study
from longshort.tuning.space import Settings, Values, adoption, of_item, refuse
from longshort.tuning.study import Trial

Say = Callable[[str], None]
UPSTREAM = ("ingestion", "validation", "windows")


@dataclass(frozen=True)
class Plan:
    """A search before it starts: all that it hangs on.

    base    the item as it stands
    origin  what every training in it is made from besides its settings and seed
    seeds   the first is that of the trials; all are for the comparison in the end
    state   the folder of journals and checkpoints
    """

    item: str
    dataset: str
    variant: str
    task: Task
    tuning: Tuning
    base: Settings
    origin: dict[str, Any]
    seeds: list[int]
    where: Place
    state: Path
    params: Params

    @cached_property
    def identity(self) -> str:
        """Of the study: what its trials are made from. More trials go on with the same one; so do other seeds but the first."""
        from optuna import __version__

        searched = {"space": self.tuning.space.model_dump(), "round": self.tuning.round, "optuna": __version__}
        return storage.digest({**self.origin, **searched, **_described(self.base), "seed": self.seeds[0]})

    @property
    def record(self) -> Path:
        """The SQLite file of the item's studies."""
        return self.state.with_suffix(".db")

    def run(self, name: str, settings: Settings, seed: int) -> Run:
        """The training of some settings with a seed."""
        identity = storage.digest({**self.origin, **_described(settings), "seed": seed})
        return Run(self.item, Member(name, seed, self.task, settings.optimisation), settings.variant, identity, self.state)


def _described(settings: Settings) -> dict[str, Any]:
    return {"variant": settings.variant.model_dump(), "optimisation": settings.optimisation.model_dump()}


@dataclass(frozen=True)
class Contender:
    """Settings that were trained with every seed.

    losses  seed -> validation loss of its best epoch; None where it diverged
    """

    trial: int
    values: Values
    losses: dict[int, float | None]

    @property
    def kept(self) -> list[float]:
        """The losses of the seeds that did not diverge."""
        return [loss for loss in self.losses.values() if loss is not None]

    @property
    def mean(self) -> float:
        """Over those seeds; nan where there is none."""
        return float(np.mean(self.kept)) if self.kept else math.nan

    @property
    def sd(self) -> float:
        """Over those seeds, n - 1 in the divisor; one seed has none."""
        return float(np.std(self.kept, ddof=1)) if len(self.kept) > 1 else 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether what was found is better than what there is, and the sentence that says so."""

    better: bool
    reason: str


@dataclass(frozen=True)
class Findings:
    """What a search came to.

    present, found  trial 0 and the best trial over all seeds; found is None where the best trial has the present settings
    naive           baseline -> its loss on the same validation windows, in the same unit
    adopt           what `longshort run --set` takes to adopt what was found; none where nothing was found
    """

    item: str
    identity: str
    seeds: list[int]
    trials: list[Trial]
    present: Contender
    found: Contender | None
    naive: dict[str, float]
    verdict: Verdict
    adopt: list[str]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        told = {**vars(self), "verdict": vars(self.verdict), "trials": [{**vars(one), "loss": _finite(one.loss)} for one in self.trials]}
        for name in ("present", "found"):
            if (one := told[name]) is not None:
                told[name] = {**vars(one), "mean": _finite(one.mean), "sd": one.sd}
        return told


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plan(root: Path, item: str, params: Params) -> Plan:
    """All that a search of an item hangs on.

    raises  UsageError when there is no such item, it has a network a ticker, or its windows are not made; CorruptArtefact;
            ConfigError when a trial could be refused, or CUDA is asked for and not there
    """
    entry = params.training.items.get(item)
    if entry is None:
        raise UsageError(f"there is no item '{item}' to tune. Known: {', '.join(params.training.items)}.")
    if entry.per is not None:
        raise UsageError(
            f"{item} has a network for each ticker, so a trial would be as many trainings as there are tickers. Tune an item of the "
            "same variant without `per`, and give what it finds to this one."
        )
    base, engine = of_item(params, item), choice.engine_of(params, item)
    refuse(params.tuning.space, base, entry.task, engine)
    folder = root / "data/windows" / entry.dataset
    if not folder.exists():
        again = f"Run `dvc repro windows@{entry.dataset}`, or `longshort run`."
        raise UsageError(f"data/windows/{entry.dataset}: there are no windows yet. {again}")
    where = prepared(root, params.training.device, engine, params.resources)
    origin = {
        "item": item,
        "windows_sha256": storage.verify(folder),
        "task": params.of_task(params.tasks, entry.task).model_dump(),
        "code_sha256": code_sha256((*CODE, "tuning")),
        **where.origin(),
    }
    task, state = open_task(entry.task, folder, params), root / ".state/tuning" / item
    return Plan(item, entry.dataset, entry.variant, task, params.tuning, base, origin, params.training.seeds, where, state, params)


def refuse_stale(root: Path, dataset: str) -> None:
    """Refuse windows that are not what their inputs give now.

    raises  UsageError with what has changed, and what to run
    """
    changed = graph.changed(root)
    if stale := [f"{stage}@{dataset}" for stage in UPSTREAM if f"{stage}@{dataset}" in changed]:
        raise UsageError(
            f"data/windows/{dataset}: not what its inputs give now: {', '.join(stale)} must run first. "
            f"Run `dvc repro windows@{dataset}`, or `longshort run`."
        )


def search(plan: Plan, say: Say, after_round: Callable[[list[Trial]], None]) -> Findings:
    """Try settings round by round, then train the best and the present with every seed.

    say          told a line a trial
    after_round  told all trials that have ended
    raises       TrainingDiverged when no trial came to anything
    """
    with study.opened(plan.record, plan.identity) as record:
        trials = study.ended(record)
    if trials:
        say(f"{plan.item}: {min(len(trials), plan.tuning.trials)} of {plan.tuning.trials} trials have ended before")
    while len(trials) < plan.tuning.trials:
        for trial in _round(plan, trials):
            with study.opened(plan.record, plan.identity) as record:
                study.add(record, plan.tuning.space, trial)
            trials.append(trial)
            say(_line(plan, trial))
        after_round(trials)
    trials = trials[: plan.tuning.trials]
    best = min(trials, key=lambda trial: (trial.state != "complete", trial.loss, trial.number))
    if best.state != "complete":
        raise TrainingDiverged(f"{plan.item}: no trial came to anything. Trial 0: {trials[0].reason}")
    return _compare(plan, trials, best, say)


def _line(plan: Plan, trial: Trial) -> str:
    said = f"  trial {trial.number:>{len(str(plan.tuning.trials - 1))}}  {trial.state:<9}"
    if trial.best is None:
        return f"{said} {trial.reason}"
    return f"{said} validation {trial.loss:.4f}, best epoch {trial.best['epoch']} of {len(trial.history)}"


# --- trials -----------------------------------------------------------------------------------


def _round(plan: Plan, trials: Sequence[Trial]) -> Iterator[Trial]:
    """The trials that are missing in the round that the next trial belongs to, trained together."""
    first = len(trials) // plan.tuning.round * plan.tuning.round
    earlier, asked = trials[:first], [trial.values for trial in trials[first:]]
    while first + len(asked) < min(first + plan.tuning.round, plan.tuning.trials):
        asked.append(_values(plan, first + len(asked), earlier, asked))
    # who tries what was tried before comes to the same, and need not be trained
    known = {_key(trial.values): trial for trial in trials}
    places: dict[str, int] = {}
    for number, values in enumerate(asked[len(trials) - first :], start=len(trials)):
        if _key(values) not in known:
            places.setdefault(_key(values), number)
    runs = [plan.run(f"t{number}", plan.base.changed(asked[number - first]), plan.seeds[0]) for number in places.values()]
    is_hopeless = study.hopeless(earlier)
    for key, progress in zip(places, _trained(plan, runs, lambda _, history: is_hopeless(history)), strict=True):
        known[key] = _trial(places[key], asked[places[key] - first], progress)
    for number, values in enumerate(asked[len(trials) - first :], start=len(trials)):
        yield replace(known[_key(values)], number=number)
    for run in runs:
        checkpoints.forget(run.checkpoints)


def _key(values: Values) -> str:
    return storage.digest(values)


def _values(plan: Plan, number: int, earlier: Sequence[Trial], beside: Sequence[Values]) -> Values:
    space = plan.tuning.space
    return study.suggest(space, plan.seeds[0], number, earlier, beside) if number else plan.base.values(space)


def _trained(plan: Plan, runs: list[Run], judge: Callable[[int, list[dict[str, Any]]], bool] | None = None) -> list[Progress]:
    _forget_others(plan.state, runs)
    if not runs:
        return []
    with display(plan.item, len(runs), plan.base.optimisation, stays=False) as show:
        return complete(runs, plan.where, show, judge)


def _forget_others(state: Path, runs: list[Run]) -> None:
    """Drop checkpoints that nobody goes on from: of trials in the record, and of other studies."""
    ours = {run.checkpoints for run in runs}
    for folder in (state / "checkpoints").glob("*/*"):
        if folder not in ours:
            checkpoints.forget(folder)


def _trial(number: int, values: Values, progress: Progress) -> Trial:
    state: study.State = "failed" if progress.dropped else "pruned" if progress.pruned else "complete"
    return Trial(number, values, state, progress.history, progress.dropped)


# --- the comparison ---------------------------------------------------------------------------


def _compare(plan: Plan, trials: list[Trial], best: Trial, say: Say) -> Findings:
    contenders = [trials[0]] if best.values == trials[0].values else [trials[0], best]
    present, *rest = _over_seeds(plan, contenders, say)
    found = rest[0] if rest else None
    adopt = adoption(plan.params, plan.item, plan.base.changed(best.values)) if found else []
    return Findings(plan.item, plan.identity, plan.seeds, trials, present, found, _naive_losses(plan.task), judge(present, found), adopt)


def _over_seeds(plan: Plan, contenders: list[Trial], say: Say) -> list[Contender]:
    """Trials' settings with every seed; with the first they were trained already."""
    runs = {
        (trial.number, seed): plan.run(f"t{trial.number}-s{seed}", plan.base.changed(trial.values), seed)
        for trial in contenders
        for seed in plan.seeds[1:]
    }
    with study.opened(plan.record, plan.identity) as record:
        known: dict[str, Any] = record.user_attrs
    missing = [run for run in runs.values() if run.identity not in known]
    if missing:
        say(f"  {' and '.join(f'trial {trial.number}' for trial in contenders)} with every seed: {len(missing)} trainings more")
    for run, progress in zip(missing, _trained(plan, missing), strict=True):
        known[run.identity] = None if progress.dropped else progress.history[progress.best_epoch - 1]["validation_loss"]
        with study.opened(plan.record, plan.identity) as record:
            record.set_user_attr(run.identity, known[run.identity])
    for run in missing:
        checkpoints.forget(run.checkpoints)
    return [
        Contender(
            trial.number,
            trial.values,
            {plan.seeds[0]: _finite(trial.loss)} | {seed: known[runs[trial.number, seed].identity] for seed in plan.seeds[1:]},
        )
        for trial in contenders
    ]


def judge(present: Contender, found: Contender | None) -> Verdict:
    """Whether what was found is better: its mean is lower by more than two standard errors of the difference, √((s₁² + s₂²) / n)."""
    if found is None:
        return Verdict(False, "no better than what you have: no trial had a lower validation loss than the settings as they stand")
    if None in found.losses.values():
        return Verdict(False, f"no better than what you have: with {_diverged(found)} it diverged")
    if None in present.losses.values():
        return Verdict(True, f"better than what you have, which diverged with {_diverged(present)}")
    gain = present.mean - found.mean
    said = f"{found.mean:.4f} against {present.mean:.4f}"
    if len(found.losses) < 2:
        return Verdict(False, f"{said} with one seed, which does not tell luck from gain. Set two or more in `training.seeds`")
    if gain <= 0:
        return Verdict(False, f"no better than what you have: over all seeds {said}")
    noise = 2 * math.sqrt((found.sd**2 + present.sd**2) / len(found.losses))
    if gain > noise:
        return Verdict(True, f"better than what you have: {said}; the difference {gain:.4f} is more than two standard errors ({noise:.4f})")
    return Verdict(False, f"no better than what you have: {said}; the difference {gain:.4f} is within two standard errors ({noise:.4f})")


def _diverged(contender: Contender) -> str:
    return "seed " + ", ".join(str(seed) for seed, loss in contender.losses.items() if loss is None)


def _naive_losses(task: Task) -> dict[str, float]:
    from longshort.evaluation import rows
    from longshort.evaluation.stage import naive_losses
    from longshort.tasks.forecast import ForecastTask
    from longshort.tasks.language_model import LanguageModelTask

    if isinstance(task, ForecastTask | LanguageModelTask):
        return naive_losses(task.data, task.quantiles if isinstance(task, ForecastTask) else ())
    data: Any = task.data  # type: ignore[attr-defined]  # of the tasks whose examples are rows
    return rows.naive_losses(data)
