"""Study: what is tried next, what is given up early, and the record of what has ended. Optuna stands behind these functions.

A suggestion is a function of the seed, the trial's number, the trials of earlier rounds and what was asked for before it in its own
round; whether a trial is given up is one of its own epochs and the trials of earlier rounds. Nothing hangs on time, so nothing of the
sampler has to be kept: the record holds trials that have ended, each written in one transaction, and what was asked for when a process
was killed is asked for again with the same answer.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from longshort import storage
from longshort.config import Space, is_range
from longshort.errors import CorruptArtefact, StorageFull
from longshort.tuning.space import Values, holds

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

# drawn so that half and double are equally far
LOGARITHMIC = ("hidden_size", "projection_size", "chrono_steps", "batch_size", "learning_rate", "clip_norm")
DIGITS = 3  # significant ones of a number that is tried: what a person copies is what was trained
# a trial is given up from this epoch on, when so many have ended before: the first epochs tell most about the rate
FIRST_JUDGED, FIRST_TRIALS = 3, 5
State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One that has ended.

    values   of the settings that the space names
    history  its epochs, oldest first; see `Epoch.result`
    reason   why it failed, or ''
    """

    number: int
    values: Values
    state: State
    history: list[dict[str, Any]]
    reason: str = ""

    @property
    def best(self) -> dict[str, Any] | None:
        """The epoch with the lowest validation loss; None where it failed."""
        return None if self.state == "failed" else min(self.history, key=lambda epoch: epoch["validation_loss"])

    @property
    def loss(self) -> float:
        """That epoch's validation loss, what the search makes small; infinite where it failed."""
        return math.inf if self.best is None else float(self.best["validation_loss"])


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """A space in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, allowed in space.allowed.items():
        low, high = allowed[0], allowed[-1]
        if not is_range(allowed):
            found[name] = CategoricalDistribution(allowed)
        elif isinstance(low, int):
            found[name] = IntDistribution(low, high, log=name in LOGARITHMIC and low > 0)
        else:
            found[name] = FloatDistribution(low, high, log=name in LOGARITHMIC and low > 0)
    return found


def suggest(space: Space, seed: int, number: int, earlier: Sequence[Trial], beside: Sequence[Values]) -> Values:
    """What the trial of a number shall try, by a tree-structured Parzen estimator (Watanabe, 2023, arXiv:2304.11127).

    earlier  trials of the rounds before
    beside   what was asked for before it in its own round: it keeps away from that, whatever comes of it
    """
    import optuna

    _quiet()
    sampler = optuna.samplers.TPESampler(seed=int(storage.digest([seed, number])[:8], 16))
    study = optuna.create_study(sampler=sampler)
    for trial in earlier:
        if holds(space, trial.values):  # the present settings may lie outside
            study.add_trial(_shown(space, trial))
    for values in beside:
        if holds(space, values):
            running = optuna.trial.TrialState.RUNNING
            study.add_trial(optuna.trial.create_trial(state=running, params=values, distributions=distributions(space)))
    return {name: _rounded(value, space.allowed[name]) for name, value in study.ask(distributions(space)).params.items()}


def _shown(space: Space, trial: Trial) -> FrozenTrial:
    """A trial as the sampler sees it: one that diverged is worse than any other, so that its neighbourhood is left alone."""
    import optuna

    state = optuna.trial.TrialState.COMPLETE if trial.state == "complete" else optuna.trial.TrialState.PRUNED
    return optuna.trial.create_trial(
        state=state,
        value=trial.loss if trial.state == "complete" else None,
        params=trial.values,
        distributions=distributions(space),
        intermediate_values={} if trial.state == "failed" else _losses(trial.history),
    )


def _losses(history: Sequence[dict[str, Any]]) -> dict[int, float]:
    return {epoch["epoch"]: epoch["validation_loss"] for epoch in history}


def _rounded(value: Any, allowed: list[Any]) -> Any:
    if not isinstance(value, float) or not is_range(allowed):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), allowed[0]), allowed[1])


def hopeless(earlier: Sequence[Trial]) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a trial with a history is to be given up: its best epoch is worse than the median of earlier trials at the same epoch."""
    import optuna

    _quiet()
    study = optuna.create_study()
    for trial in earlier:
        if trial.state == "complete":
            study.add_trial(optuna.trial.create_trial(value=trial.loss, intermediate_values=_losses(trial.history)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS, n_warmup_steps=FIRST_JUDGED)

    def is_hopeless(history: list[dict[str, Any]]) -> bool:
        running = optuna.trial.TrialState.RUNNING
        given_up = pruner.prune(study, optuna.trial.create_trial(state=running, intermediate_values=_losses(history)))
        return bool(given_up)  # numpy's own is none that a checkpoint may hold

    return is_hopeless


# --- the record -------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(path: Path, identity: str) -> Iterator[optuna.Study]:
    """The record of a study in an SQLite file, begun when it is not there. Other studies of the file stay as they are.

    raises  CorruptArtefact when the file cannot be read; StorageFull
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    _quiet()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # no connection outlives its use: processes are forked meanwhile
        record = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"poolclass": NullPool})
        yield optuna.create_study(storage=record, study_name=identity, load_if_exists=True)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        if "disk is full" in reason:
            raise StorageFull(f"{path}: the disk is full. Free some space; what has ended so far is kept.") from None
        raise CorruptArtefact(f"{path}: cannot be read or written: {reason}. Remove it, and the search begins anew.") from None


def ended(study: optuna.Study) -> list[Trial]:
    """The trials of a record, by their numbers."""
    return [Trial(**trial.user_attrs["trial"]) for trial in study.get_trials(deepcopy=False)]


def add(study: optuna.Study, space: Space, trial: Trial) -> None:
    """Write a trial that has ended into a record; it is there whole or not at all."""
    import optuna

    states = optuna.trial.TrialState
    inside = holds(space, trial.values)
    study.add_trial(
        optuna.trial.create_trial(
            state={"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[trial.state],
            value=trial.loss if trial.state == "complete" else None,
            params=trial.values if inside else {},
            distributions=distributions(space) if inside else {},
            user_attrs={"trial": vars(trial)},
            intermediate_values=_losses(trial.history),
        )
    )


def _quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
